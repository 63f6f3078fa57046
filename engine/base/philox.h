/* Counter-based random numbers: the same bits for the same counter and key, in any order and on any machine. The
 * shaders have their own copy of it, word for word the same.
 *
 * Owns: nothing. Never: keeps a state. Thread-safety: stateless. */
#ifndef MUNINN_ENGINE_BASE_PHILOX_H
#define MUNINN_ENGINE_BASE_PHILOX_H

#include <stdint.h>

/* Philox4x32-10 (Salmon et al. 2011): four random words for a counter and a key. */
void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* Uniform in the open interval (0, 1) from 32 random bits. */
float unit_from_bits(uint32_t bits);

#endif
