/* Goal: no text makes a tokenizer crash, leak, hang or break its promises.
 *
 * Method: libFuzzer target. The first byte chooses one of the models' own tokenizers or one whose added tokens have
 * every flag; the rest is the text. What is no UTF-8 is refused with one line by every mode. Else plain encoding gives
 * no special id, text -> ids -> text is the identity where no token strips spaces, token-by-token decoding equals
 * decoding at once, and a message of a conversation brings no structure with it. */
#include "engine/text/chat.h"
#include "tests/fuzz_tokens.h"

enum { STRIPS = 401, N_STRUCTURE = 6 };

static void check_ids(const struct tokenizer *tokenizer, const uint32_t *ids, size_t n_ids, const char *text, size_t n)
{
    bool is_lossless = true; /* only a token that strips spaces loses text */
    for (size_t i = 0; i < n_ids; i++) {
        CHECK(ids[i] < tokenizer_vocab_size(tokenizer));
        is_lossless = is_lossless && !(tokenizer == fixed_tokenizer() && ids[i] == STRIPS);
    }
    decode_both_ways(tokenizer, ids, n_ids, false, is_lossless ? text : NULL, n);
    decode_both_ways(tokenizer, ids, n_ids, true, NULL, 0);
}

static void check_conversation(const struct tokenizer *tokenizer, const char *text, size_t n)
{
    const struct mn_chat_message message = {"user", text, n};
    uint32_t *ids;
    size_t n_ids, n_special = 0;
    if (chat_encode(tokenizer, &(const struct chat_style){CHAT_HUGINN, false}, &message, 1, &ids, &n_ids, NULL))
        return;
    for (size_t i = 0; i < n_ids; i++)
        n_special += tokenizer_is_special(tokenizer, ids[i]);
    CHECK(n_special == N_STRUCTURE);
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!n)
        return 0;
    const struct tokenizer *tokenizer = some_tokenizer(data[0] == 'F' ? 3 : data[0]);
    const char *text = (const char *)data + 1;
    n--;
    enum mn_status statuses[2];
    for (int mode = 0; mode < 2; mode++) {
        uint32_t *ids;
        size_t n_ids;
        unsigned n_messages = 0;
        const struct mn_log log = {message_count, &n_messages};
        statuses[mode] = tokenizer_encode(tokenizer, text, n, (enum encode_mode)mode, &ids, &n_ids, &log);
        CHECK(n_messages == (statuses[mode] != MN_OK) && (statuses[mode] == MN_OK || !ids));
        for (size_t i = 0; i < n_ids; i++)
            CHECK(mode != ENCODE_PLAIN || !tokenizer_is_special(tokenizer, ids[i]));
        if (!statuses[mode])
            check_ids(tokenizer, ids, n_ids, text, n);
        free(ids);
    }
    CHECK((statuses[0] == MN_ERR_USAGE) == (statuses[1] == MN_ERR_USAGE));
    if (!statuses[1])
        check_conversation(tokenizer, text, n);
    return 0;
}
