/* What the fuzz targets of the tokenizer share: a check that libFuzzer sees, a log that counts, tokenizers that are
 * made once, and decoding at once against decoding token by token. Functions are inline: no target needs all.
 */
#ifndef MUNINN_TESTS_FUZZ_TOKENS_H
#define MUNINN_TESTS_FUZZ_TOKENS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/tokenizer.h"

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

/* Exactly one message per failure, so that the count says whether a caller would see one. */
static inline void message_count(void *user, enum mn_log_level level, const char *line)
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
static inline const struct tokenizer *fixed_tokenizer(void)
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

/* The tokenizers of the models, the one of the vectors, and one whose added tokens have every flag. */
static inline const struct tokenizer *some_tokenizer(unsigned which)
{
    static const char *const paths[] = {MN_SOURCE_DIR "/models/raven-deep/tokenizer.json",
                                        MN_SOURCE_DIR "/models/raven-tiny/tokenizer.json",
                                        MN_SOURCE_DIR "/tests/vectors/tokenizer-huginn-pattern/tokenizer.json"};
    static struct tokenizer *tokenizers[sizeof paths / sizeof *paths];
    which %= sizeof paths / sizeof *paths + 1;
    if (which == sizeof paths / sizeof *paths)
        return fixed_tokenizer();
    if (!tokenizers[which])
        CHECK(tokenizer_create(&tokenizers[which], paths[which], NULL) == MN_OK);
    return tokenizers[which];
}

static inline void decode_both_ways(const struct tokenizer *tokenizer, const uint32_t *ids, size_t n_ids,
                                    bool skip_special, const char *expected, size_t n_expected)
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

#endif
