/* Goal: ids and texts equal those of the Hugging Face tokenizers library; hostile texts end in one message and a
 * status; merging is what the definition says; plain text gives no special token. Hostile files:
 * test_tokenizer_files.c.
 *
 * Method: golden cases of the shipped model; small tokenizer.json files built by tokenizer_file.h; every string also
 * decoded token by token. Golden cases of other tokenizers, and steps of other kinds: test_tokenizer_kinds.c. */
#include "engine/files/json.h"
#include "engine/text/bpe.h"
#include "tests/tokenizer_file.h"

#define RAVEN_TINY_JSON MN_SOURCE_DIR "/models/raven-tiny/tokenizer.json"

/* --- the shipped model ------------------------------------------------------------------------------------------ */

static void generate_case(const struct json_doc *doc, void *tokenizer)
{
    uint32_t ids[1024];
    const char *prompt = json_find(doc->root, "prompt")->valuestring;
    const char *text = json_find(doc->root, "text")->valuestring;
    size_t n = ids_read(json_find(doc->root, "ids"), ids, 1024);
    encode_expect(tokenizer, prompt, strlen(prompt), ENCODE_SPECIAL, ids, n);
    decode_expect(tokenizer, ids, n, false, prompt, strlen(prompt));
    n = ids_read(json_find(doc->root, "tokens"), ids, 1024);
    decode_expect(tokenizer, ids, n, false, text, strlen(text));
}

static void test_raven_tiny(void **state)
{
    (void)state;
    struct tokenizer *tokenizer;
    assert_int_equal(tokenizer_create(&tokenizer, RAVEN_TINY_JSON, NULL), MN_OK);
    assert_true(lines_visit(MN_SOURCE_DIR "/tests/vectors/raven-tiny-generate.jsonl", generate_case, tokenizer) > 0);

    /* Any valid UTF-8 comes back, zero bytes and unassigned characters included. */
    static const char texts[][80] = {
        "",
        " ",
        "\n",
        "plain words",
        "  two  spaces\t\n\n",
        "\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x8b",
        "e\xcc\x81",
        "\xf4\x8f\xbf\xbf\xef\xbf\xbe",
        "<|begin_text|>x<|end_text|>",
        "\xe1\xa0\x8e\xc2\x85\xe2\x80\xa8",
        "\x01\x7f",
    };
    for (size_t i = 0; i <= sizeof texts / sizeof *texts; i++) {
        const char *text = i < sizeof texts / sizeof *texts ? texts[i] : "a\0b\0";
        size_t n_bytes = i < sizeof texts / sizeof *texts ? strlen(text) : 4, n_ids;
        uint32_t *ids;
        for (int mode = 0; mode < 2; mode++) {
            assert_int_equal(tokenizer_encode(tokenizer, text, n_bytes, (enum encode_mode)mode, &ids, &n_ids, NULL),
                             MN_OK);
            decode_expect(tokenizer, ids, n_ids, false, text, n_bytes);
            free(ids);
        }
    }
    tokenizer_destroy(tokenizer);
}

/* --- merges ----------------------------------------------------------------------------------------------------- */

/* The definition of BPE, by scanning: lowest rank first, then leftmost. */
static size_t merge_by_scanning(const struct bpe *bpe, uint32_t *ids, size_t n, const uint32_t (*ranks)[260])
{
    for (;;) {
        size_t best = n;
        uint32_t best_rank = UINT32_MAX;
        for (size_t i = 0; i + 1 < n; i++) {
            if (ids[i] < 260 && ids[i + 1] < 260 && ranks[ids[i]][ids[i + 1]] < best_rank) {
                best = i;
                best_rank = ranks[ids[i]][ids[i + 1]];
            }
        }
        if (best == n)
            return n;
        char joined[64];
        snprintf(joined, sizeof joined, "%s%s", bpe_spelling(bpe, ids[best]), bpe_spelling(bpe, ids[best + 1]));
        ids[best] = bpe_find(bpe, joined, strlen(joined));
        memmove(ids + best + 1, ids + best + 2, (n - best - 2) * sizeof *ids);
        n--;
    }
}

/* The heap gives what scanning gives, on random strings under merges that overlap and chain. */
static void test_merge_equals_scanning(void **state)
{
    (void)state;
    static uint32_t ranks[260][260];
    static const char *const pairs[][2] = {{"b", "a"}, {"a", "a"}, {"aa", "b"}, {"a", "b"}, {"ba", "b"}, {"b", "aa"}};
    struct builder file;
    struct json_doc doc;
    struct bpe bpe;
    struct bpe_scratch scratch = {0};
    uint64_t seed = 0x9e3779b97f4a7c15;

    build(&file, &(struct parts){.vocab = ",\"ba\":256,\"aa\":257,\"aab\":258,\"ab\":259,\"bab\":260,\"baa\":261",
                                 .merges = "[\"b a\",\"a a\",\"aa b\",\"a b\",\"ba b\",\"b aa\"]"});
    assert_int_equal(json_parse(&doc, "f", file.text, file.n, file.n, NULL), MN_OK);
    assert_int_equal(bpe_read(&bpe, &doc, json_find(doc.root, "model"), NULL), MN_OK);
    memset(ranks, 0xff, sizeof ranks);
    for (uint32_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        ranks[bpe_find(&bpe, pairs[i][0], strlen(pairs[i][0]))][bpe_find(&bpe, pairs[i][1], strlen(pairs[i][1]))] = i;
    for (int round = 0; round < 5000; round++) {
        struct id_vector ids = {0};
        char text[64];
        uint32_t expected[64];
        size_t n = 1 + (size_t)round % 60;
        for (size_t i = 0; i < n; i++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
            text[i] = "aaabbbc"[(seed >> 33) % 7];
            expected[i] = (unsigned char)text[i];
        }
        assert_int_equal(bpe_encode(&bpe, &scratch, text, n, &ids, NULL), MN_OK);
        n = merge_by_scanning(&bpe, expected, n, (const uint32_t(*)[260])ranks);
        assert_int_equal(ids.n, n);
        assert_memory_equal(ids.ids, expected, n * sizeof *expected);
        free(ids.ids);
    }
    bpe_scratch_destroy(&scratch);
    bpe_destroy(&bpe);
    json_destroy(&doc);
    free(file.text);
}

static void test_merge_rules(void **state)
{
    (void)state;
    struct tokenizer *t = create_valid(&(struct parts){0});
    encode_expect(t, "abcab", 5, ENCODE_SPECIAL, IDS(257, 256));
    encode_expect(t, "", 0, ENCODE_SPECIAL, NULL, 0);
    tokenizer_destroy(t);

    /* Both spellings in one file, a pair listed twice (its last rank counts), a hole, a token without a merge. */
    t = create_valid(&(struct parts){.vocab = ",\"ab\":256,\"bc\":300,\"abc\":257,\"lonely\":301",
                                     .merges = "[\"a b\",[\"b\",\"c\"],\"a b\"]"});
    encode_expect(t, "abc", 3, ENCODE_SPECIAL, IDS('a', 300));
    encode_expect(t, "lonely", 6, ENCODE_SPECIAL, IDS('l', 'o', 'n', 'e', 'l', 'y'));
    assert_int_equal(tokenizer_vocab_size(t), 302);
    tokenizer_destroy(t);

    /* ignore_merges takes a pre-token that is a token whole. */
    t = create_valid(&(struct parts){
        .vocab = ",\"ab\":256,\"lonely\":257", .merges = "[\"a b\"]", .model = ",\"ignore_merges\":true"});
    encode_expect(t, "lonely", 6, ENCODE_SPECIAL, IDS(257));
    encode_expect(t, "lonelyab", 8, ENCODE_SPECIAL, IDS('l', 'o', 'n', 'e', 'l', 'y', 256));
    tokenizer_destroy(t);

    /* A byte without a token: the unknown token, fused or not, or a refusal, never silence. */
    t = create_valid(&(struct parts){.skip_byte = 'q', .model = ",\"unk_token\":\"ab\""});
    encode_expect(t, "xqqx", 4, ENCODE_SPECIAL, IDS('x', 256, 256, 'x'));
    tokenizer_destroy(t);
    t = create_valid(&(struct parts){.skip_byte = 'q', .model = ",\"unk_token\":\"ab\",\"fuse_unk\":true"});
    encode_expect(t, "xqqx", 4, ENCODE_SPECIAL, IDS('x', 256, 'x'));
    tokenizer_destroy(t);
    t = create_valid(&(struct parts){.skip_byte = 'q'});
    uint32_t *ids;
    size_t n_ids;
    struct messages messages = {0};
    const struct mn_log log = {message_write, &messages};
    assert_int_equal(tokenizer_encode(t, "xq", 2, ENCODE_SPECIAL, &ids, &n_ids, &log), MN_ERR_UNSUPPORTED);
    assert_non_null(strstr(messages.last, "0x71"));
    assert_null(ids);
    tokenizer_destroy(t);
}

/* --- texts ------------------------------------------------------------------------------------------------------ */

static void test_bad_texts(void **state)
{
    (void)state;
    static const char *const texts[] = {"\xff",         "ab\x80",       "\xc3",
                                        "\xc0\xaf",     "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                        "\xe0\x80\x80", "\xf0\x9f\x98", "\xf8\x88\x80\x80\x80"};
    struct tokenizer *t = create_valid(&(struct parts){0});
    uint32_t *ids;
    size_t n_ids;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct messages messages = {0};
        const struct mn_log log = {message_write, &messages};
        assert_int_equal(tokenizer_encode(t, texts[i], strlen(texts[i]), ENCODE_SPECIAL, &ids, &n_ids, &log),
                         MN_ERR_USAGE);
        assert_int_equal(messages.n_errors, 1);
        assert_non_null(strstr(messages.last, "not UTF-8"));
        assert_null(ids);
        assert_int_equal(n_ids, 0);
    }
    /* The length is refused before the text is read. */
    assert_int_equal(tokenizer_encode(t, "a", TOKENIZER_TEXT_BYTES_MAX + 1, ENCODE_SPECIAL, &ids, &n_ids, NULL),
                     MN_ERR_USAGE);
    tokenizer_destroy(t);
}

static void test_normalizer(void **state)
{
    (void)state;
    static const char *const nfc[] = {"{\"type\":\"NFC\"}",
                                      "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}]}"};
    const char *added = "[{\"id\":300,\"content\":\"<e\xcc\x81>\",\"normalized\":true},"
                        "{\"id\":301,\"content\":\"[e\xcc\x81]\",\"normalized\":false}]";
    for (int i = 0; i < 2; i++) {
        struct tokenizer *t = create_valid(&(struct parts){.normalizer = nfc[i], .added = added});
        encode_expect(t, "e\xcc\x81", 3, ENCODE_SPECIAL, IDS(0xc3, 0xa9));
        /* A token marked normalized is found in the normalized text, the other one only as it is. */
        encode_expect(t, "<\xc3\xa9>", 4, ENCODE_SPECIAL, IDS(300));
        encode_expect(t, "<e\xcc\x81>", 5, ENCODE_SPECIAL, IDS(300));
        encode_expect(t, "[e\xcc\x81]", 5, ENCODE_SPECIAL, IDS(301));
        encode_expect(t, "[\xc3\xa9]", 4, ENCODE_SPECIAL, IDS('[', 0xc3, 0xa9, ']'));

        /* Marks in descending order make canonical ordering quadratic: runs are capped. */
        char *marks = repeated("\xcc\x81\xcc\xa3", 600);
        uint32_t *ids;
        size_t n_ids;
        assert_int_equal(tokenizer_encode(t, marks, 2400, ENCODE_SPECIAL, &ids, &n_ids, NULL), MN_ERR_USAGE);
        free(marks);
        tokenizer_destroy(t);
    }
    struct tokenizer *t = create_valid(&(struct parts){.normalizer = "{\"type\":\"Sequence\",\"normalizers\":[]}"});
    encode_expect(t, "e\xcc\x81", 3, ENCODE_SPECIAL, IDS('e', 0xcc, 0x81));
    tokenizer_destroy(t);
}

static void test_prefix_space_and_sequences(void **state)
{
    (void)state;
    struct tokenizer *t = create_valid(
        &(struct parts){.pre_tokenizer = "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true}",
                        .added = "[{\"id\":300,\"content\":\"<x>\",\"special\":true}]"});
    /* Every stretch between added tokens gets its space, unless it has one. */
    encode_expect(t, "a<x>b<x> c", 10, ENCODE_SPECIAL, IDS(' ', 'a', 300, ' ', 'b', 300, ' ', 'c'));
    tokenizer_destroy(t);

    /* Split first: every piece of it gets the space. Merges do not cross pieces. */
    t = create_valid(&(struct parts){
        .pre_tokenizer = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"behavior\":\"Isolated\","
                         "\"pattern\":{\"Regex\":\"b\"}},{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
                         "\"trim_offsets\":true,\"use_regex\":false}]}"});
    encode_expect(t, "abc", 3, ENCODE_SPECIAL, IDS(' ', 'a', ' ', 'b', ' ', 'c'));
    tokenizer_destroy(t);
}

/* --- added tokens ----------------------------------------------------------------------------------------------- */

static void test_added_tokens(void **state)
{
    (void)state;
    struct tokenizer *t = create_valid(&(struct parts){
        .added = "[{\"id\":300,\"content\":\"<s>\",\"special\":true},"
                 "{\"id\":301,\"content\":\"<s>>\",\"normalized\":false},"
                 "{\"id\":302,\"content\":\"LEFT\",\"lstrip\":true},{\"id\":303,\"content\":\"RIGHT\",\"rstrip\":true},"
                 "{\"id\":304,\"content\":\"word\",\"single_word\":true},{\"id\":310,\"content\":\"\xc3\xa9 \"}]"});
    encode_expect(t, "a<s>b", 5, ENCODE_SPECIAL, IDS('a', 300, 'b'));
    encode_expect(t, "<s", 2, ENCODE_SPECIAL, IDS('<', 's'));
    encode_expect(t, "<s>>", 4, ENCODE_SPECIAL, IDS(301)); /* the longest */
    encode_expect(t, "<<s>", 4, ENCODE_SPECIAL, IDS('<', 300));
    encode_expect(t, "a \t\nLEFT b", 10, ENCODE_SPECIAL, IDS('a', 302, ' ', 'b'));
    encode_expect(t, "\xe3\x80\x80LEFT", 7, ENCODE_SPECIAL, IDS(302));
    encode_expect(t, "a RIGHT \xc2\x85 b", 12, ENCODE_SPECIAL, IDS('a', ' ', 303, 'b'));
    encode_expect(t, "RIGHT LEFT", 10, ENCODE_SPECIAL, IDS(303, 302));
    encode_expect(t, "word", 4, ENCODE_SPECIAL, IDS(304));
    encode_expect(t, "-word.", 6, ENCODE_SPECIAL, IDS('-', 304, '.'));
    encode_expect(t, "sword", 5, ENCODE_SPECIAL, IDS('s', 'w', 'o', 'r', 'd'));
    encode_expect(t, "word\xcc\x81", 6, ENCODE_SPECIAL, IDS('w', 'o', 'r', 'd', 0xcc, 0x81));
    encode_expect(t, "\xc3\xa9 ", 3, ENCODE_SPECIAL, IDS(310));
    /* Recognition off concerns special tokens; others stay tokens. */
    encode_expect(t, "a<s>b", 5, ENCODE_PLAIN, IDS('a', '<', 's', '>', 'b'));
    encode_expect(t, "<s>>", 4, ENCODE_PLAIN, IDS(301));

    uint32_t id;
    assert_true(tokenizer_token_to_id(t, "<s>", &id) && id == 300);
    assert_true(tokenizer_token_to_id(t, "abc", &id) && id == 257);
    assert_false(tokenizer_token_to_id(t, "<none>", &id));
    assert_false(tokenizer_token_to_id(t, "", &id));
    assert_int_equal(tokenizer_vocab_size(t), 311);
    assert_true(tokenizer_is_special(t, 300));
    assert_false(tokenizer_is_special(t, 301));
    assert_false(tokenizer_is_special(t, 305));
    assert_false(tokenizer_is_special(t, UINT32_MAX));

    /* A content with a character outside the byte alphabet (the space) stands for itself. */
    decode_expect(t, IDS(310), false, "\xc3\xa9 ", 3);
    decode_expect(t, IDS('a', 300, 'b'), false, "a<s>b", 5);
    decode_expect(t, IDS('a', 300, 'b'), true, "ab", 2);
    tokenizer_destroy(t);
}

/* --- decoding --------------------------------------------------------------------------------------------------- */

static void test_decode_malformed(void **state)
{
    (void)state;
    struct tokenizer *t = create_valid(&(struct parts){.added = "[{\"id\":300,\"content\":\"<s>\",\"special\":true}]"});
    /* One U+FFFD per maximal part of a character, as Rust's from_utf8_lossy. */
    decode_expect(t, IDS(0xff, 'a'), false,
                  "\xef\xbf\xbd"
                  "a",
                  4);
    decode_expect(t, IDS(0xe4, 0xb8, 'a'), false,
                  "\xef\xbf\xbd"
                  "a",
                  4);
    decode_expect(t, IDS(0xe4, 0xb8), false, "\xef\xbf\xbd", 3);
    decode_expect(t, IDS(0xf0, 0x9f, 0xe4, 0xb8, 0xad), false, "\xef\xbf\xbd\xe4\xb8\xad", 6);
    decode_expect(t, IDS(0xed, 0xa0, 0x80), false, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 9);
    decode_expect(t, IDS(0xc0, 0xaf), false, "\xef\xbf\xbd\xef\xbf\xbd", 6);
    decode_expect(t, IDS(0xf4, 0x90, 0x80, 0x80), false, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 12);
    /* A skipped special token does not interrupt a character, a printed one does. */
    decode_expect(t, IDS(0xc3, 300, 0xa9), true, "\xc3\xa9", 2);
    decode_expect(t, IDS(0xc3, 300, 0xa9), false, "\xef\xbf\xbd<s>\xef\xbf\xbd", 9);
    decode_expect(t, NULL, 0, false, "", 0);

    static const uint32_t bad[] = {258, 299, 301, 1048576, UINT32_MAX};
    static struct stream_decoder decoder;
    stream_decoder_init(&decoder, t, false);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct messages messages = {0};
        const struct mn_log log = {message_write, &messages};
        char *text;
        const char *part;
        size_t n;
        assert_int_equal(tokenizer_decode(t, &bad[i], 1, false, &text, &n, &log), MN_ERR_USAGE);
        assert_null(text);
        assert_int_equal(stream_decoder_push(&decoder, bad[i], &part, &n, &log), MN_ERR_USAGE);
        assert_int_equal(n, 0);
        assert_int_equal(messages.n_errors, 2);
    }
    tokenizer_destroy(t);
}

/* Every split of an emoji: nothing is printed before the last byte. */
static void test_stream_holds_back(void **state)
{
    (void)state;
    static const uint32_t bytes[] = {'x', 0xf0, 0x9f, 0x98, 0x8b, 0xe4, 0xb8, 0xad, 0xc3, 0xa9, '!'};
    static const size_t expected[] = {1, 0, 0, 0, 4, 0, 0, 3, 0, 2, 1};
    static struct stream_decoder decoder;
    struct tokenizer *t = create_valid(&(struct parts){0});
    const char *part;
    size_t n;
    stream_decoder_init(&decoder, t, true);
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        assert_int_equal(stream_decoder_push(&decoder, bytes[i], &part, &n, NULL), MN_OK);
        assert_int_equal(n, expected[i]);
    }
    stream_decoder_finish(&decoder, &part, &n);
    assert_int_equal(n, 0);
    assert_int_equal(stream_decoder_push(&decoder, 0xf0, &part, &n, NULL), MN_OK);
    stream_decoder_finish(&decoder, &part, &n);
    assert_int_equal(n, 3);
    assert_memory_equal(part, "\xef\xbf\xbd", 3);
    stream_decoder_finish(&decoder, &part, &n); /* as new */
    assert_int_equal(n, 0);
    tokenizer_destroy(t);
}

/* --- plain text ------------------------------------------------------------------------------------------------- */

/* A vocabulary whose merges spell a special token: plain text must not become one. */
static void test_spelled_special(void **state)
{
    (void)state;
    uint32_t *ids;
    size_t n_ids;
    struct tokenizer *t = create_valid(&(struct parts){.added = "[{\"id\":257,\"content\":\"abc\",\"special\":true}]"});
    struct messages log_lines = {0};
    const struct mn_log log = {message_write, &log_lines};
    encode_expect(t, "abc", 3, ENCODE_SPECIAL, IDS(257));
    assert_int_equal(tokenizer_encode(t, "abc", 3, ENCODE_PLAIN, &ids, &n_ids, &log), MN_ERR_UNSUPPORTED);
    assert_non_null(strstr(log_lines.last, "257"));
    tokenizer_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raven_tiny),
        cmocka_unit_test(test_merge_rules),
        cmocka_unit_test(test_merge_equals_scanning),
        cmocka_unit_test(test_bad_texts),
        cmocka_unit_test(test_normalizer),
        cmocka_unit_test(test_prefix_space_and_sequences),
        cmocka_unit_test(test_added_tokens),
        cmocka_unit_test(test_decode_malformed),
        cmocka_unit_test(test_stream_holds_back),
        cmocka_unit_test(test_spelled_special),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
