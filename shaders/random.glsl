// Counter-based noise: Philox4x32-10 (Salmon et al. 2011), keyed by the seed; the counter says what the number is for, so
// that every pass which needs the noise of a position draws the same one. engine/base/philox.c has the C version.

uvec4 philox(uvec4 counter, uvec2 key)
{
    for (int round = 0; round < 10; round++) {
        uint hi0, lo0, hi1, lo1;
        umulExtended(0xD2511F53u, counter.x, hi0, lo0);
        umulExtended(0xCD9E8D57u, counter.z, hi1, lo1);
        counter = uvec4(hi1 ^ counter.y ^ key.x, lo1, hi0 ^ counter.w ^ key.y, lo0);
        key += uvec2(0x9E3779B9u, 0xBB67AE85u);
    }
    return counter;
}

// Uniform in the open interval (0, 1): 23 bits and a half, so that neither end can appear.
float unit(uint bits);

// -log(u) for the u of these bits. Near 1, where the largest Gumbel noise comes from, Vulkan's log is too coarse: there the
// series of -log(1 - t) is summed, t = 1 - u being exact.
float minus_log_unit(uint bits)
{
    float t = (float(8388607u - (bits >> 9)) + 0.5) * (1.0 / 8388608.0);
    if (t < 0.0625)
        return t * fma(t, fma(t, fma(t, fma(t, 0.2, 0.25), 1.0 / 3.0), 0.5), 1.0);
    return -log(unit(bits));
}

float unit(uint bits) { return (float(bits >> 9) + 0.5) * (1.0 / 8388608.0); }
