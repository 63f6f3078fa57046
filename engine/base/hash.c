#include "engine/base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ ((const uint8_t *)bytes)[i]) * UINT64_C(0x100000001b3);
    return hash;
}

uint64_t hash_string(uint64_t hash, const char *text)
{
    return hash_bytes(hash, text, strlen(text));
}

/* ---- XXH64 ---- */

#define PRIME1 UINT64_C(0x9e3779b185ebca87)
#define PRIME2 UINT64_C(0xc2b2ae3d27d4eb4f)
#define PRIME3 UINT64_C(0x165667b19e3779f9)
#define PRIME4 UINT64_C(0x85ebca77c2b2ae63)
#define PRIME5 UINT64_C(0x27d4eb2f165667c5)
enum { STRIPE_LANES = 4, STRIPE_BYTES = 32 };

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

/* The lowest byte first, whatever the machine; written out, compilers make one load of it. */
static uint32_t load32(const uint8_t *b)
{
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static uint64_t load64(const uint8_t *b)
{
    return (uint64_t)b[0] | (uint64_t)b[1] << 8 | (uint64_t)b[2] << 16 | (uint64_t)b[3] << 24 | (uint64_t)b[4] << 32 |
           (uint64_t)b[5] << 40 | (uint64_t)b[6] << 48 | (uint64_t)b[7] << 56;
}

static uint64_t mix_lane(uint64_t lane, uint64_t word)
{
    return rotate(lane + word * PRIME2, 31) * PRIME1;
}

/* All whole stripes, as four lanes that do not wait for each other. */
static uint64_t mix_stripes(uint64_t seed, const uint8_t *b, size_t n_stripes)
{
    uint64_t lanes[STRIPE_LANES] = {seed + PRIME1 + PRIME2, seed + PRIME2, seed, seed - PRIME1};
    for (size_t i = 0; i < n_stripes; i++)
        for (int lane = 0; lane < STRIPE_LANES; lane++)
            lanes[lane] = mix_lane(lanes[lane], load64(b + STRIPE_BYTES * i + 8 * lane));
    uint64_t hash = rotate(lanes[0], 1) + rotate(lanes[1], 7) + rotate(lanes[2], 12) + rotate(lanes[3], 18);
    for (int lane = 0; lane < STRIPE_LANES; lane++)
        hash = (hash ^ mix_lane(0, lanes[lane])) * PRIME1 + PRIME4;
    return hash;
}

uint64_t hash_block(uint64_t seed, const void *bytes, size_t n_bytes)
{
    const uint8_t *b = bytes, *end = b + n_bytes;
    const size_t n_stripes = n_bytes / STRIPE_BYTES;
    uint64_t hash = n_stripes ? mix_stripes(seed, b, n_stripes) : seed + PRIME5;
    hash += n_bytes;
    for (b += n_stripes * STRIPE_BYTES; end - b >= 8; b += 8)
        hash = rotate(hash ^ mix_lane(0, load64(b)), 27) * PRIME1 + PRIME4;
    if (end - b >= 4) {
        hash = rotate(hash ^ load32(b) * PRIME1, 23) * PRIME2 + PRIME3;
        b += 4;
    }
    for (; b < end; b++)
        hash = rotate(hash ^ *b * PRIME5, 11) * PRIME1;
    hash = (hash ^ hash >> 33) * PRIME2;
    hash = (hash ^ hash >> 29) * PRIME3;
    return hash ^ hash >> 32;
}

void hash_write(uint64_t hash, char *text)
{
    snprintf(text, HASH_TEXT_BYTES, "%016" PRIx64, hash);
}
