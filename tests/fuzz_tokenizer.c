/* Goal: no tokenizer.json, pattern, text or list of ids makes the tokenizer crash, leak, hang or break its promises.
 *
 * Method: libFuzzer target. The first byte chooses what the rest is: a tokenizer.json, a text for a fixed small
 * tokenizer, ids for it, or a pre-tokenizer pattern. Checked on the way: text -> ids -> text is the identity, plain
 * encoding gives no special id, token-by-token decoding equals decoding at once, pieces concatenate to the
 * text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/chat.h"
#include "engine/text/pretokenizer.h"
#include "engine/text/tokenizer.h"

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

/* Exactly one message per failure, so that the count says whether a caller would see one. */
static void message_count(void *user, enum mn_log_level level, const char *line)
{
    (void)line;
    if (level == MN_LOG_ERROR)
        ++*(unsigned *)user;
}

static const char fixed_head[] =
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<|begin_text|>\",\"special\":true},"
    "{\"id\":2,\"content\":\"<|begin_header|>\",\"special\":true},{\"id\":3,\"content\":\"<|end_header|>\",\"special\":"
    "true},"
    "{\"id\":4,\"content\":\"<|end_turn|>\",\"special\":true},{\"id\":400,\"content\":\"<w>\",\"single_word\":true},"
    "{\"id\":401,\"content\":\"<l>\",\"lstrip\":true,\"rstrip\":true}],\"normalizer\":null,\"pre_tokenizer\":{\"type\":"
    "\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":"
    "\"[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|"
    "\\\\s+(?!\\\\S)|\\\\s+\"}},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},"
    "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{";
static const char fixed_tail[] =
    ",\"ab\":300,\"abc\":301,\"aa\":302,\"aaaa\":303,\"<|\":304,\"|>\":305},"
    "\"merges\":[[\"a\",\"b\"],[\"ab\",\"c\"],[\"a\",\"a\"],[\"aa\",\"aa\"],[\"<\",\"|\"],[\"|\",\">\"]]}}";

/* Built once and never destroyed: creating it takes longer than most inputs. */
static const struct tokenizer *fixed_tokenizer(void)
{
    static struct tokenizer *tokenizer;
    char text[16384];
    size_t n = 0;
    unsigned next = 0x100;
    if (tokenizer)
        return tokenizer;
    n += (size_t)snprintf(text, sizeof text, "%s", fixed_head);
    for (unsigned b = 0; b < 256; b++) {
        unsigned c = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae ? b : next++;
        n += (size_t)snprintf(text + n, sizeof text - n, "%s\"\\u%04x\":%u", b ? "," : "", c, b + 10);
    }
    n += (size_t)snprintf(text + n, sizeof text - n, "%s", fixed_tail);
    CHECK(tokenizer_create_from_memory(&tokenizer, "fixed", text, n, NULL) == MN_OK);
    return tokenizer;
}

static void decode_both_ways(const struct tokenizer *tokenizer, const uint32_t *ids, size_t n_ids, bool skip_special,
                             const char *expected, size_t n_expected)
{
    static struct stream_decoder decoder;
    char *text;
    const char *part;
    size_t n_bytes, n_part, n = 0;
    CHECK(tokenizer_decode(tokenizer, ids, n_ids, skip_special, &text, &n_bytes, NULL) == MN_OK);
    CHECK(!expected || (n_bytes == n_expected && !memcmp(text, expected, n_bytes)));
    stream_decoder_init(&decoder, tokenizer, skip_special);
    for (size_t i = 0; i <= n_ids; i++) {
        if (i < n_ids)
            CHECK(stream_decoder_push(&decoder, ids[i], &part, &n_part, NULL) == MN_OK);
        else
            stream_decoder_finish(&decoder, &part, &n_part);
        CHECK(n_part <= n_bytes - n && !memcmp(text + n, part, n_part));
        n += n_part;
    }
    CHECK(n == n_bytes);
    free(text);
}

static void fuzz_file(const char *data, size_t n)
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
}

static void fuzz_text(const char *text, size_t n)
{
    const struct tokenizer *tokenizer = fixed_tokenizer();
    const struct mn_chat_message message = {"user", text, n};
    uint32_t *ids;
    size_t n_ids, n_special = 0;
    if (tokenizer_encode(tokenizer, text, n, ENCODE_PLAIN, &ids, &n_ids, NULL) != MN_OK) {
        CHECK(tokenizer_encode(tokenizer, text, n, ENCODE_SPECIAL, &ids, &n_ids, NULL) != MN_OK && !ids);
        return;
    }
    for (size_t i = 0; i < n_ids; i++)
        CHECK(!tokenizer_is_special(tokenizer, ids[i]));
    /* Only a token that strips spaces loses text. */
    bool is_lossless = true;
    for (size_t i = 0; i < n_ids; i++)
        is_lossless = is_lossless && ids[i] != 401;
    decode_both_ways(tokenizer, ids, n_ids, false, is_lossless ? text : NULL, n);
    free(ids);
    CHECK(tokenizer_encode(tokenizer, text, n, ENCODE_SPECIAL, &ids, &n_ids, NULL) == MN_OK);
    decode_both_ways(tokenizer, ids, n_ids, false, is_lossless ? text : NULL, n);
    free(ids);
    CHECK(chat_encode(tokenizer, &(const struct chat_style){CHAT_HUGINN, false}, &message, 1, &ids, &n_ids, NULL) ==
          MN_OK);
    for (size_t i = 0; i < n_ids; i++)
        n_special += tokenizer_is_special(tokenizer, ids[i]);
    CHECK(n_special == 6);
    free(ids);
}

static void fuzz_ids(const uint8_t *data, size_t n)
{
    const struct tokenizer *tokenizer = fixed_tokenizer();
    uint32_t ids[1024];
    size_t n_ids = 0;
    for (; 2 * n_ids + 1 < n && n_ids < 1024; n_ids++) {
        char *text;
        size_t n_bytes;
        ids[n_ids] = data[2 * n_ids] | (uint32_t)(data[2 * n_ids + 1] & 1) << 8;
        if (tokenizer_decode(tokenizer, &ids[n_ids], 1, false, &text, &n_bytes, NULL) != MN_OK)
            ids[n_ids] = 10; /* a hole: refused, and replaced to go on */
        free(text);
    }
    decode_both_ways(tokenizer, ids, n_ids, n & 1, NULL, 0);
}

struct piece_state {
    const char *text;
    size_t at;
};

static enum mn_status piece_check(void *user, const char *piece, size_t n_bytes)
{
    struct piece_state *state = user;
    CHECK(n_bytes && piece == state->text + state->at);
    state->at += n_bytes;
    return MN_OK;
}

static void fuzz_pattern(const char *pattern, size_t n)
{
    static const char text[] = "aab \xc3\xa9'S 12\n\xe1\xa0\x8e\xc2\x85";
    struct pretokenizer pretokenizer;
    struct pretokenizer_run run;
    struct piece_state state = {text, 0};
    unsigned n_messages = 0;
    const struct mn_log log = {message_count, &n_messages};
    enum mn_status status = pretokenizer_from_pattern(&pretokenizer, "fuzz", pattern, n, &log);
    CHECK(n_messages == (status != MN_OK));
    if (status == MN_OK) {
        pretokenizer_run_init(&run, &pretokenizer, 0);
        if (pretokenizer_split(&run, text, sizeof text - 1, piece_check, &state, NULL) == MN_OK)
            CHECK(state.at == sizeof text - 1);
        pretokenizer_run_finish(&run);
    }
    pretokenizer_destroy(&pretokenizer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!n)
        return 0;
    const char *rest = (const char *)data + 1;
    switch (data[0]) {
    case 'J': fuzz_file(rest, n - 1); break;
    case 'T': fuzz_text(rest, n - 1); break;
    case 'I': fuzz_ids(data + 1, n - 1); break;
    case 'P': fuzz_pattern(rest, n - 1); break;
    default: break;
    }
    return 0;
}
