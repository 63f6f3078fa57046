/* Short names for content: FNV-1a for a few words, XXH64 for files. Not for anything that somebody may want to forge.
 * Never: keeps state; the caller hands the hash on from piece to piece. Thread-safety: stateless. */
#ifndef MUNINN_ENGINE_BASE_HASH_H
#define MUNINN_ENGINE_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_START UINT64_C(0xcbf29ce484222325)

/* 16 hexadecimal digits and the end. */
enum { HASH_TEXT_BYTES = 17 };

/* The hash of what `hash` stands for with these bytes behind it. */
uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t n_bytes);
/* The same with the bytes of a string, without its end. */
uint64_t hash_string(uint64_t hash, const char *text);
/* XXH64 of a piece of data, the same on every machine: some GB/s, where the byte by byte of FNV-1a is slower than the
 * disk. A seed of what stands before, or of where the piece lies. https://github.com/Cyan4973/xxHash */
uint64_t hash_block(uint64_t seed, const void *bytes, size_t n_bytes);
/* text [HASH_TEXT_BYTES] */
void hash_write(uint64_t hash, char *text);

#endif
