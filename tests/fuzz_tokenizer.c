/* Goal: no tokenizer.json makes the tokenizer crash, leak, hang or break its promises.
 *
 * Method: libFuzzer target. The input is a tokenizer.json. What is accepted encodes a text of trouble: ids are in the
 * vocabulary, plain encoding gives no special one, token-by-token decoding equals decoding at once. Texts, ids and
 * patterns have targets of their own. */
#include "tests/fuzz_tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char text[] = "ab  abc<s>\n\xc3\xa9 e\xcc\x81 \xf0\x9f\x98\x8b don't 12 <|end_turn|>";
    unsigned n_messages = 0;
    const struct mn_log log = {message_count, &n_messages};
    struct tokenizer *tokenizer;
    enum mn_status status = tokenizer_create_from_memory(&tokenizer, "fuzz", data, n, &log);
    CHECK((status == MN_OK) == (tokenizer != NULL) && n_messages == (status != MN_OK));
    for (int mode = 0; tokenizer && mode < 2; mode++) {
        uint32_t *ids;
        size_t n_ids;
        n_messages = 0;
        status = tokenizer_encode(tokenizer, text, sizeof text - 1, (enum encode_mode)mode, &ids, &n_ids, &log);
        CHECK(n_messages == (status != MN_OK));
        for (size_t i = 0; i < n_ids; i++) {
            CHECK(ids[i] < tokenizer_vocab_size(tokenizer));
            CHECK(mode != ENCODE_PLAIN || !tokenizer_is_special(tokenizer, ids[i]));
        }
        decode_both_ways(tokenizer, ids, n_ids, mode, NULL, 0);
        free(ids);
    }
    tokenizer_destroy(tokenizer);
    return 0;
}
