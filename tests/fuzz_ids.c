/* Goal: no list of ids makes decoding crash, leak or say one thing at once and another token by token.
 *
 * Method: libFuzzer target. The first byte chooses a tokenizer (fuzz_text.c) and whether special tokens are shown; each
 * two bytes behind it are an id. An id without a token is refused with one line, and leaves the decoder of a stream as
 * it was; the others are decoded both ways. */
#include "tests/fuzz_tokens.h"

enum { N_IDS_MAX = 1024 };

static bool has_token(const struct tokenizer *tokenizer, uint32_t id)
{
    static struct stream_decoder decoder, before;
    unsigned n_messages = 0;
    const struct mn_log log = {message_count, &n_messages};
    const char *part;
    char *text;
    size_t n_bytes, n_part;
    const enum mn_status status = tokenizer_decode(tokenizer, &id, 1, false, &text, &n_bytes, &log);
    CHECK(status == MN_OK || (status == MN_ERR_USAGE && !text));
    CHECK(n_messages == (status != MN_OK));
    free(text);
    if (status) {
        memset(&decoder, 0, sizeof decoder);
        stream_decoder_init(&decoder, tokenizer, false);
        before = decoder;
        CHECK(stream_decoder_push(&decoder, id, &part, &n_part, &log) == status && !n_part && n_messages == 2);
        CHECK(!memcmp(&before, &decoder, sizeof before));
    }
    return status == MN_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    uint32_t ids[N_IDS_MAX];
    size_t n_ids = 0;
    if (!n)
        return 0;
    const struct tokenizer *tokenizer = some_tokenizer(data[0] == 'F' ? 3 : data[0] >> 1);
    for (size_t i = 1; i + 1 < n && n_ids < N_IDS_MAX; i += 2) {
        uint32_t id = data[i] | (uint32_t)data[i + 1] << 8;
        id %= tokenizer_vocab_size(tokenizer) + 2; /* and a few that are none */
        if (has_token(tokenizer, id))
            ids[n_ids++] = id;
    }
    decode_both_ways(tokenizer, ids, n_ids, data[0] & 1, NULL, 0);
    return 0;
}
