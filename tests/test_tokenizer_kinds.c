/* Goal: every kind of step that docs/tokenizers.md lists does what the Hugging Face tokenizers library does, alone and
 * together with others: pre-tokenizers, normalizers, decoders, BPE over characters, added tokens.
 *
 * Method: golden cases of that library for the tokenizers of the families (tests/vectors/tokenizer-*), and for small
 * files that put the kinds together at random (tests/vectors/tokenizer-kinds.jsonl, written by
 * make_tokenizer_kinds.py beside it; another such file may be named on the command line). Everything is decoded token
 * by token as well. Single rules, and what is refused, in small files built here. */
#include "engine/files/json.h"
#include "tests/tokenizer_file.h"

#define VECTORS MN_SOURCE_DIR "/tests/vectors/"

static const char *kinds_file = VECTORS "tokenizer-kinds.jsonl";

/* --- golden cases ----------------------------------------------------------------------------------------------- */

static void family_case(const struct json_doc *doc, void *user)
{
    uint32_t ids[4096];
    size_t n = ids_read(json_find(doc->root, "ids"), ids, 4096);
    const char *text = json_find(doc->root, "text")->valuestring;
    const char *decoded = json_find(doc->root, "decoded")->valuestring;
    encode_expect(user, text, strlen(text), ENCODE_SPECIAL, ids, n);
    decode_expect(user, ids, n, false, decoded, strlen(decoded));
}

static void test_families(void **state)
{
    (void)state;
    static const struct {
        const char *file, *cases;
        uint32_t vocab_size;
    } families[] = {
        {"tokenizer-huginn-pattern/tokenizer.json", "tokenizer-huginn-pattern/cases.jsonl", 1500},
        {"tokenizer-huginn-pattern/tokenizer-string-merges.json", "tokenizer-huginn-pattern/cases.jsonl", 1500},
        {"tokenizer-llama3/tokenizer.json", "tokenizer-llama3/cases.jsonl", 1400},
        {"tokenizer-smollm/tokenizer.json", "tokenizer-smollm/cases.jsonl", 1400},
        {"tokenizer-dolma2/tokenizer.json", "tokenizer-dolma2/cases.jsonl", 1400},
        {"tokenizer-sentencepiece/tokenizer.json", "tokenizer-sentencepiece/cases.jsonl", 1155},
    };
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        char path[512];
        struct tokenizer *tokenizer;
        snprintf(path, sizeof path, VECTORS "%s", families[i].file);
        assert_int_equal(tokenizer_create(&tokenizer, path, NULL), MN_OK);
        assert_int_equal(tokenizer_vocab_size(tokenizer), families[i].vocab_size);
        snprintf(path, sizeof path, VECTORS "%s", families[i].cases);
        assert_int_equal(lines_visit(path, family_case, tokenizer), 400);
        tokenizer_destroy(tokenizer);
    }
}

static void kinds_case(const struct json_doc *doc, void *user)
{
    struct messages messages = {0};
    const struct mn_log log = {message_write, &messages};
    const struct cJSON *one;
    struct tokenizer *tokenizer;
    uint32_t ids[4096];
    size_t *n_failed = user;
    char *file = cJSON_PrintUnformatted(json_find(doc->root, "file"));
    assert_non_null(file);
    if (tokenizer_create_from_memory(&tokenizer, "tokenizer.json", file, strlen(file), &log) != MN_OK) {
        print_message("%s\n", messages.last);
        ++*n_failed;
        free(file);
        return;
    }
    cJSON_ArrayForEach (one, json_find(doc->root, "encode")) {
        const char *text = cJSON_GetArrayItem(one, 0)->valuestring;
        const char *decoded = cJSON_GetArrayItem(one, 2)->valuestring;
        size_t n = ids_read(cJSON_GetArrayItem(one, 1), ids, 4096);
        encode_expect(tokenizer, text, strlen(text), ENCODE_SPECIAL, ids, n);
        decode_expect(tokenizer, ids, n, false, decoded, strlen(decoded));
    }
    cJSON_ArrayForEach (one, json_find(doc->root, "decode")) {
        const char *decoded = cJSON_GetArrayItem(one, 2)->valuestring;
        size_t n = ids_read(cJSON_GetArrayItem(one, 0), ids, 4096);
        decode_expect(tokenizer, ids, n, cJSON_IsTrue(cJSON_GetArrayItem(one, 1)), decoded, strlen(decoded));
    }
    tokenizer_destroy(tokenizer);
    free(file);
}

static void test_kinds(void **state)
{
    (void)state;
    size_t n_failed = 0, n = lines_visit(kinds_file, kinds_case, &n_failed);
    print_message("%u files, %u refused\n", (unsigned)n, (unsigned)n_failed);
    assert_true(n > 0);
    assert_int_equal(n_failed, 0);
}

/* --- BPE over characters ---------------------------------------------------------------------------------------- */

/* A file without a pre-tokenizer: ids 0 to 255 are <0x00> to <0xFF>, 256 is unknown, then `letters` and `merges`. */
static struct tokenizer *create_characters(const char *letters, const char *merges, const char *model)
{
    struct messages messages = {0};
    const struct mn_log log = {message_write, &messages};
    struct tokenizer *tokenizer;
    struct builder b = {0};
    add(&b, "{\"decoder\":{\"type\":\"ByteFallback\"},\"model\":{\"type\":\"BPE\",%s\"vocab\":{", model);
    for (unsigned i = 0; i < 256; i++)
        add(&b, "\"<0x%02X>\":%u,", i, i);
    add(&b, "\"<unk>\":256%s},\"merges\":%s}}", letters, merges);
    if (tokenizer_create_from_memory(&tokenizer, "tokenizer.json", b.text, b.n, &log) != MN_OK)
        fail_msg("%s", messages.last);
    free(b.text);
    return tokenizer;
}

static void test_unknown_characters(void **state)
{
    (void)state;
    static const char letters[] = ",\"a\":257,\"b\":258,\"ab\":259", merges[] = "[[\"a\",\"b\"]]";
    struct tokenizer *t = create_characters(letters, merges, "\"byte_fallback\":true,");
    encode_expect(t,
                  "ab\xc3\xa9"
                  "b",
                  5, ENCODE_SPECIAL, IDS(259, 0xc3, 0xa9, 258));
    tokenizer_destroy(t);
    t = create_characters(letters, merges, "\"unk_token\":\"<unk>\",");
    encode_expect(t, "xya\xc3\xa9", 5, ENCODE_SPECIAL, IDS(256, 256, 257, 256));
    tokenizer_destroy(t);
    t = create_characters(letters, merges, "\"unk_token\":\"<unk>\",\"fuse_unk\":true,");
    encode_expect(t, "xya\xc3\xa9", 5, ENCODE_SPECIAL, IDS(256, 257, 256));
    tokenizer_destroy(t);

    /* Neither: refused by the character, where the library would drop it. */
    struct messages messages = {0};
    const struct mn_log log = {message_write, &messages};
    uint32_t *ids;
    size_t n_ids;
    t = create_characters(letters, merges, "");
    assert_int_equal(tokenizer_encode(t, "ab\xc3\xa9", 4, ENCODE_SPECIAL, &ids, &n_ids, &log), MN_ERR_UNSUPPORTED);
    assert_non_null(strstr(messages.last, "U+00E9"));
    assert_null(ids);
    tokenizer_destroy(t);
}

/* A text without pre-tokens is one word, longer than what may be merged at once, but for places that no merge crosses.
 * A word that merges do cross costs O(n log n): a scan per merge would take hours. */
static void test_long_words(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    struct tokenizer *t = create_characters(",\"a\":257,\"b\":258,\"aa\":259,\"aaaa\":260,\"ba\":261",
                                            "[\"a a\",\"aa aa\",\"b a\"]", "\"byte_fallback\":true,");
    uint32_t *ids;
    size_t n_ids;
    char *text = repeated("a", N);
    assert_int_equal(tokenizer_encode(t, text, N, ENCODE_SPECIAL, &ids, &n_ids, NULL), MN_OK);
    assert_int_equal(n_ids, N / 4);
    for (size_t i = 0; i < n_ids; i++)
        assert_int_equal(ids[i], 260);
    free(ids);
    free(text);

    text = repeated("aaaab\xe4\xb8\xad", N / 2); /* no merge has b in front of anything but a, or bytes */
    assert_int_equal(tokenizer_encode(t, text, strlen(text), ENCODE_SPECIAL, &ids, &n_ids, NULL), MN_OK);
    assert_int_equal(n_ids, 5 * (N / 2));
    for (size_t i = 0; i < n_ids; i += 5) {
        static const uint32_t expected[] = {260, 258, 0xe4, 0xb8, 0xad};
        assert_memory_equal(ids + i, expected, sizeof expected);
    }
    free(ids);
    free(text);
    tokenizer_destroy(t);
}

/* --- decoding --------------------------------------------------------------------------------------------------- */

/* A row of bytes that fell back is text or nothing but U+FFFD, as a whole; a very long one is judged in parts, between
 * characters, so that a stream of them comes out at last. */
static void test_rows_of_bytes(void **state)
{
    (void)state;
    enum { N = 3000 };
    static uint32_t ids[N + 1];
    static char expected[3 * N + 2];
    struct tokenizer *t = create_characters(",\"a\":257,\"b\":258,\"ab\":259", "[\"a b\"]", "\"byte_fallback\":true,");
    decode_expect(t, IDS(0xe4, 0xb8, 0xad, 257), false,
                  "\xe4\xb8\xad"
                  "a",
                  4);
    decode_expect(t, IDS(0xe4, 0xb8, 0xad, 0xe4, 257), false,
                  "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
                  "a",
                  13);
    for (size_t i = 0; i < N; i++) { /* 1024 is no multiple of 3 */
        ids[i] = (unsigned char)"\xe4\xb8\xad"[i % 3];
        expected[i] = (char)ids[i];
    }
    decode_expect(t, ids, N, false, expected, N);
    ids[N] = 257;
    expected[N] = 'a';
    decode_expect(t, ids, N + 1, false, expected, N + 1);
    for (size_t i = 0; i < N; i++) {
        ids[i] = 0xff;
        memcpy(expected + 3 * i, "\xef\xbf\xbd", 3);
    }
    decode_expect(t, ids, N, false, expected, 3 * N);
    tokenizer_destroy(t);

    /* Nothing of a row is said before its end. */
    static struct stream_decoder decoder;
    const char *part;
    size_t n;
    t = create_characters(",\"a\":257,\"b\":258,\"ab\":259", "[\"a b\"]", "\"byte_fallback\":true,");
    stream_decoder_init(&decoder, t, false);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(stream_decoder_push(&decoder, (unsigned char)"\xe4\xb8\xad"[i], &part, &n, NULL), MN_OK);
        assert_int_equal(n, 0);
    }
    assert_int_equal(stream_decoder_push(&decoder, 257, &part, &n, NULL), MN_OK);
    assert_int_equal(n, 4);
    assert_memory_equal(part,
                        "\xe4\xb8\xad"
                        "a",
                        4);
    tokenizer_destroy(t);
}

/* --- normalizers ------------------------------------------------------------------------------------------------ */

/* Characters that are no marks but fall apart into some, in an order that sorting takes quadratic time for. */
static void test_marks(void **state)
{
    (void)state;
    static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD"};
    char *text = repeated("\xe0\xbd\xb3\xcc\x81", 600); /* U+0F73 U+0301 */
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char normalizer[64];
        uint32_t *ids;
        size_t n_ids;
        snprintf(normalizer, sizeof normalizer, "{\"type\":\"%s\"}", forms[i]);
        struct tokenizer *t = create_valid(&(struct parts){.normalizer = normalizer});
        assert_int_equal(tokenizer_encode(t, text, strlen(text), ENCODE_SPECIAL, &ids, &n_ids, NULL), MN_ERR_USAGE);
        assert_int_equal(tokenizer_encode(t, text, 500, ENCODE_SPECIAL, &ids, &n_ids, NULL), MN_OK);
        free(ids);
        tokenizer_destroy(t);
    }
    free(text);
}

/* A text may grow, but not without bound. */
static void test_growth(void **state)
{
    (void)state;
    struct messages messages = {0};
    const struct mn_log log = {message_write, &messages};
    char *content = repeated("x", 256), *text = repeated("a", 2 << 20);
    struct builder b = {0};
    uint32_t *ids;
    size_t n_ids;
    add(&b, "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"%s\"}", content);
    struct tokenizer *t = create_valid(&(struct parts){.normalizer = b.text});
    assert_int_equal(tokenizer_encode(t, text, 2 << 20, ENCODE_SPECIAL, &ids, &n_ids, &log), MN_ERR_MEMORY);
    assert_non_null(strstr(messages.last, "normalized text"));
    tokenizer_destroy(t);
    free(b.text);
    free(content);
    free(text);
}

/* --- the begin token -------------------------------------------------------------------------------------------- */

#define SEQUENCE "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}"
#define TEMPLATE(single) \
    "{\"type\":\"TemplateProcessing\",\"single\":[" single \
    "],\"pair\":[],\"special_tokens\":{\"x\":{\"id\":\"x\",\"ids\":" \
    "[7],\"tokens\":[\"x\"]}}}"
#define WITH_BEGIN TEMPLATE("{\"SpecialToken\":{\"id\":\"x\",\"type_id\":0}}," SEQUENCE)

static void test_begin_token(void **state)
{
    (void)state;
    static const struct {
        const char *post_processor;
        bool is_said, has_token;
    } cases[] = {
        {"null", false, false},
        {BYTE_LEVEL("true"), false, false},
        {TEMPLATE(SEQUENCE), true, false},
        {WITH_BEGIN, true, true},
        {"{\"type\":\"Sequence\",\"processors\":[" BYTE_LEVEL("true") "," WITH_BEGIN "]}", true, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tokenizer *t = create_valid(&(struct parts){.post_processor = cases[i].post_processor});
        bool is_said;
        uint32_t id;
        assert_int_equal(tokenizer_begin_token(t, &is_said, &id), cases[i].has_token);
        assert_int_equal(is_said, cases[i].is_said);
        assert_true(!cases[i].has_token || id == 7);
        encode_expect(t, "a", 1, ENCODE_SPECIAL, IDS('a')); /* who wants one in front puts it there */
        tokenizer_destroy(t);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_unknown_characters),
        cmocka_unit_test(test_long_words),
        cmocka_unit_test(test_rows_of_bytes),
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_growth),
        cmocka_unit_test(test_begin_token),
    };
    if (argc > 1)
        kinds_file = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
