/* Goal: no config.json or generation_config.json makes the parser crash or return a field outside its limits.
 * Method: libFuzzer target. Input up to the first zero byte is config.json, the rest, if any, generation_config.json;
 * an accepted configuration is checked against every promise of config.h.
 * Runs under gcc too, by fuzz_replay.c.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort(); /* what libFuzzer reports as a crash, with or without NDEBUG */
}

static bool in_range(uint32_t value, uint32_t max)
{
    return value >= 1 && value <= max;
}

static void check_config(const struct model_config *c)
{
    require(in_range(c->n_embd, CONFIG_EMBD_MAX) && in_range(c->n_heads, CONFIG_HEADS_MAX));
    require(c->head_dim > 0 && c->head_dim <= CONFIG_HEAD_DIM_MAX && c->head_dim % 2 == 0 &&
            c->head_dim * c->n_heads == c->n_embd);
    require(in_range(c->intermediate_size, CONFIG_INTERMEDIATE_MAX) && in_range(c->vocab_size, CONFIG_VOCAB_MAX));
    require(c->padded_vocab_size >= c->vocab_size && c->padded_vocab_size <= CONFIG_VOCAB_MAX);
    require(c->n_prelude <= CONFIG_LAYERS_MAX && in_range(c->n_core, CONFIG_LAYERS_MAX) &&
            c->n_coda <= CONFIG_LAYERS_MAX);
    require(in_range(c->mean_recurrence, CONFIG_RECURRENCE_MAX));
    require(in_range(c->block_size, CONFIG_BLOCK_MAX));
    require(isfinite(c->norm_eps) && c->norm_eps > 0 && isfinite(c->rope_base) && c->rope_base >= 1);
    require(c->bos_token_id == UINT32_MAX || c->bos_token_id < c->vocab_size);
    require(c->n_eos <= CONFIG_EOS_MAX);
    for (uint32_t i = 0; i < c->n_eos; i++)
        require(c->eos_token_ids[i] < c->vocab_size);
    require(memchr(c->torch_dtype, 0, sizeof c->torch_dtype) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model_config config;
    const uint8_t *zero = size > 0 ? memchr(data, 0, size) : NULL;
    size_t n = zero ? (size_t)(zero - data) : size;
    const uint8_t *generation = zero ? zero + 1 : NULL;
    enum mn_status status = config_parse(&config, "config", data, n, "generation", generation, zero ? size - n - 1 : 0,
                                         NULL);
    require(status == MN_OK || status == MN_ERR_FORMAT || status == MN_ERR_UNSUPPORTED);
    if (status == MN_OK)
        check_config(&config);
    else
        require(config.n_embd == 0);
    return 0;
}
