/* Goal: a hostile tokenizer.json ends in the right status and exactly one message, which names the file and what is
 * wrong with it, without a tokenizer; one that can be read costs bounded work.
 *
 * Method: a small valid file with one thing wrong, in a table per bug class; strings, arrays and patterns at their
 * limit and one over; spellings built to collide, merges built to be slow (counters, not clocks), a pattern built to
 * hang.
 */
#include "engine/base/hash.h"
#include "engine/files/json.h"
#include "engine/text/bpe.h"
#include "engine/text/tokenizer_internal.h"
#include "tests/tokenizer_file.h"

#define SEQUENCE "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}"
#define SPECIAL(name) "{\"SpecialToken\":{\"id\":\"" name "\",\"type_id\":0}}"
#define TEMPLATE(single, ids) \
    "{\"type\":\"TemplateProcessing\",\"single\":[" single \
    "],\"pair\":[],\"special_tokens\":{\"x\":{\"id\":\"x\",\"ids\":[" ids "],\"tokens\":[\"x\"]}}}"
#define TIMES_16(text) text text text text text text text text text text text text text text text text
#define REPLACE_BY_256(text) \
    "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"[" text "]\"},\"content\":\"" TIMES_16(TIMES_16("a")) "\"},"

static void test_bad_files(void **state)
{
    (void)state;
    static const struct {
        struct parts parts;
        enum mn_status status;
        const char *message;
    } cases[] = {
        /* merges */
        {{.merges = "[]"}, MN_ERR_FORMAT, "without a single merge"},
        {{.merges = "[\"#version: 0.2\"]"}, MN_ERR_FORMAT, "without a single merge"},
        {{.merges = "null"}, MN_ERR_FORMAT, "merges"},
        {{.merges = "{}"}, MN_ERR_FORMAT, "merges"},
        {{.merges = "[\"ab\"]"}, MN_ERR_FORMAT, "exactly one space"},
        {{.merges = "[\"a b c\"]"}, MN_ERR_FORMAT, "exactly one space"},
        {{.merges = "[\"a  b\"]"}, MN_ERR_FORMAT, "exactly one space"},
        {{.merges = "[\" b\"]"}, MN_ERR_FORMAT, "entry 0"},
        {{.merges = "[[\"a\"]]"}, MN_ERR_FORMAT, "pair of strings"},
        {{.merges = "[[\"a\",\"b\",\"c\"]]"}, MN_ERR_FORMAT, "pair of strings"},
        {{.merges = "[[\"a\",1]]"}, MN_ERR_FORMAT, "pair of strings"},
        {{.merges = "[7]"}, MN_ERR_FORMAT, "pair of strings"},
        {{.merges = "[[\"a\",\"zz\"]]"}, MN_ERR_FORMAT, "not in the vocabulary"},
        {{.merges = "[[\"a\",\"b\"],[\"b\",\"c\"]]"}, MN_ERR_FORMAT, "entry 1"},
        /* ids */
        {{.vocab = ",\"ab\":-1,\"abc\":257"}, MN_ERR_FORMAT, "-1"},
        {{.vocab = ",\"ab\":1048576,\"abc\":257"}, MN_ERR_FORMAT, "1048576"},
        {{.vocab = ",\"ab\":4294967296,\"abc\":257"}, MN_ERR_FORMAT, "4294967296"},
        {{.vocab = ",\"ab\":1e300,\"abc\":257"}, MN_ERR_FORMAT, "1e"},
        {{.vocab = ",\"ab\":256.5,\"abc\":257"}, MN_ERR_FORMAT, "256.5"},
        {{.vocab = ",\"ab\":\"256\",\"abc\":257"}, MN_ERR_FORMAT, "model.vocab"},
        {{.vocab = ",\"ab\":97,\"abc\":257"}, MN_ERR_FORMAT, "used twice"},
        {{.vocab = ",\"ab\":256,\"abc\":257,\"ab\":258"}, MN_ERR_FORMAT, "ab"},
        {{.vocab = ",\"ab\":256,\"abc\":257,\"\\u0061b\":258"}, MN_ERR_FORMAT, "ab"},
        {{.added = "[{\"id\":-5,\"content\":\"<x>\"}]"}, MN_ERR_FORMAT, "-5"},
        {{.added = "[{\"id\":1048576,\"content\":\"<x>\"}]"}, MN_ERR_FORMAT, "1048576"},
        {{.added = "[{\"id\":97,\"content\":\"<x>\"}]"}, MN_ERR_FORMAT, "belongs to another token"},
        {{.added = "[{\"id\":300,\"content\":\"ab\"}]"}, MN_ERR_FORMAT, "differs"},
        {{.added = "[{\"id\":300,\"content\":\"<x>\"},{\"id\":300,\"content\":\"<y>\"}]"}, MN_ERR_FORMAT, "used twice"},
        {{.added = "[{\"id\":300,\"content\":\"<x>\"},{\"id\":301,\"content\":\"<x>\"}]"},
         MN_ERR_FORMAT,
         "same content"},
        {{.added = "[{\"id\":300,\"content\":\"\"}]"}, MN_ERR_FORMAT, "without content"},
        {{.added = "[{\"id\":300}]"}, MN_ERR_FORMAT, "content"},
        {{.added = "[{\"content\":\"<x>\"}]"}, MN_ERR_FORMAT, "id"},
        {{.added = "[{\"id\":300,\"content\":\"<x>\",\"special\":1}]"}, MN_ERR_FORMAT, "special"},
        {{.added = "[5]"}, MN_ERR_FORMAT, "id"},
        {{.added = "{}"}, MN_ERR_FORMAT, "added_tokens"},
        /* JSON: duplicate keys, junk, bytes that are no text */
        {{.tail = ",\"model\":{}"}, MN_ERR_FORMAT, "model"},
        {{.tail = "} {"}, MN_ERR_FORMAT, "tokenizer.json"},
        {{.vocab = ",\"ab\":256,\"abc\":257,\"\xff\":258"}, MN_ERR_FORMAT, "tokenizer.json"},
        {{.vocab = ",\"ab\":256,\"abc\":257,\"a\\u0000b\":258"}, MN_ERR_FORMAT, "tokenizer.json"},
        {{.model = ",\"unk_token\":\"<none>\""}, MN_ERR_FORMAT, "unknown token"},
        {{.model = ",\"dropout\":-1"}, MN_ERR_FORMAT, "dropout"},
        /* what this build cannot do, by name */
        {{.model = ",\"byte_fallback\":true"}, MN_ERR_UNSUPPORTED, "byte_fallback"}, /* with ByteLevel */
        {{.model = ",\"dropout\":0.1"}, MN_ERR_UNSUPPORTED, "dropout"},
        {{.model = ",\"continuing_subword_prefix\":\"##\""}, MN_ERR_UNSUPPORTED, "continuing_subword_prefix"},
        {{.model = ",\"end_of_word_suffix\":\"</w>\""}, MN_ERR_UNSUPPORTED, "end_of_word_suffix"},
        {{.normalizer = "{\"type\":\"BertNormalizer\"}"}, MN_ERR_UNSUPPORTED, "BertNormalizer"},
        {{.normalizer = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Precompiled\"}]}"},
         MN_ERR_UNSUPPORTED,
         "Precompiled"},
        {{.normalizer = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Sequence\"}]}"},
         MN_ERR_FORMAT,
         "normalizers"},
        {{.normalizer = "{\"type\":\"Prepend\"}"}, MN_ERR_FORMAT, "prepend"},
        {{.normalizer = "{\"type\":\"Replace\",\"content\":\"\"}"}, MN_ERR_FORMAT, "pattern"},
        {{.normalizer = "{\"type\":\"Replace\",\"content\":\"\",\"pattern\":{\"Regex\":\"(a)\\\\1\"}}"},
         MN_ERR_UNSUPPORTED,
         "key 'normalizer': pattern, offset"},
        {{.normalizer = "{\"type\":\"Prepend\",\"prepend\":\"_\"}",
          .pre_tokenizer = "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\"}"},
         MN_ERR_UNSUPPORTED,
         "without a normalizer"},
        {{.normalizer = "{\"type\":\"Replace\",\"content\":\"\",\"pattern\":{\"String\":\"x\"}}",
          .added = "[{\"id\":300,\"content\":\"xx\",\"normalized\":true}]"},
         MN_ERR_FORMAT,
         "empty"},
        {{.normalizer = "\"NFC\""}, MN_ERR_FORMAT, "type"},
        {{.pre_tokenizer = "{\"type\":\"Whitespace\"}"}, MN_ERR_UNSUPPORTED, "Whitespace"},
        {{.pre_tokenizer = "{\"type\":\"Metaspace\"}"}, MN_ERR_FORMAT, "replacement"},
        {{.pre_tokenizer = "{\"type\":\"Metaspace\",\"replacement\":\"__\"}"}, MN_ERR_FORMAT, "one character"},
        {{.pre_tokenizer = "{\"type\":\"Metaspace\",\"replacement\":\"\"}"}, MN_ERR_FORMAT, "one character"},
        {{.pre_tokenizer = "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"last\"}"},
         MN_ERR_UNSUPPORTED,
         "last"},
        {{.pre_tokenizer = "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"add_prefix_space\":false}"},
         MN_ERR_FORMAT,
         "contradicts"},
        {{.pre_tokenizer = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"},{\"type\":\"Metaspace\","
                           "\"replacement\":\"_\",\"prepend_scheme\":\"first\"}]}"},
         MN_ERR_UNSUPPORTED,
         "first step"},
        {{.pre_tokenizer = "{\"type\":\"Sequence\"}"}, MN_ERR_FORMAT, "pretokenizers"},
        {{.pre_tokenizer = "{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL("true") "," BYTE_LEVEL("true") "]}"},
         MN_ERR_UNSUPPORTED,
         "follow ByteLevel"},
        {{.pre_tokenizer = "{\"type\":\"Split\",\"behavior\":\"Dropped\",\"pattern\":{\"Regex\":\"a\"}}"},
         MN_ERR_UNSUPPORTED,
         "Dropped"},
        {{.pre_tokenizer = "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Glob\":\"a\"}}"},
         MN_ERR_UNSUPPORTED,
         "neither Regex nor String"},
        {{.pre_tokenizer = "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"String\":\"\"}}"},
         MN_ERR_UNSUPPORTED,
         "empty pattern"},
        {{.pre_tokenizer = "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"(a)\\\\1\"}}"},
         MN_ERR_UNSUPPORTED,
         "offset"},
        {{.decoder = "null"}, MN_ERR_UNSUPPORTED, "decoder"},
        {{.decoder = "{\"type\":\"WordPiece\"}"}, MN_ERR_UNSUPPORTED, "WordPiece"},
        {{.decoder = "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"CTC\"}]}"},
         MN_ERR_UNSUPPORTED,
         "CTC"},
        {{.decoder = "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"ByteFallback\"}]}"},
         MN_ERR_UNSUPPORTED,
         "behind"},
        {{.decoder = "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteFallback\"},{\"type\":\"Replace\","
                     "\"pattern\":{\"String\":\"a\"},\"content\":\"\"}]}"},
         MN_ERR_UNSUPPORTED,
         "behind"},
        {{.decoder = "{\"type\":\"Strip\",\"content\":\" \",\"start\":0,\"stop\":1}"}, MN_ERR_UNSUPPORTED, "stop"},
        {{.decoder = "{\"type\":\"Strip\",\"content\":\"ab\",\"start\":1,\"stop\":0}"}, MN_ERR_FORMAT, "one character"},
        {{.decoder = "{\"type\":\"Strip\",\"content\":\"\",\"start\":1,\"stop\":0}"}, MN_ERR_FORMAT, "one character"},
        {{.decoder = "{\"type\":\"Strip\",\"content\":\"a\",\"start\":4294967295,\"stop\":0}"}, MN_ERR_FORMAT, "start"},
        {{.post_processor = "{\"type\":\"BertProcessing\"}"}, MN_ERR_UNSUPPORTED, "BertProcessing"},
        {{.post_processor = "{\"type\":\"TemplateProcessing\"}"}, MN_ERR_FORMAT, "single"},
        {{.post_processor = "{\"type\":\"TemplateProcessing\",\"single\":[]}"}, MN_ERR_FORMAT, "without the text"},
        {{.post_processor = TEMPLATE(SPECIAL("x"), "1")}, MN_ERR_FORMAT, "without the text"},
        {{.post_processor = TEMPLATE(SEQUENCE "," SPECIAL("x"), "1")}, MN_ERR_UNSUPPORTED, "in front of the text"},
        {{.post_processor = TEMPLATE(SEQUENCE "," SEQUENCE, "1")}, MN_ERR_UNSUPPORTED, "in front of the text"},
        {{.post_processor = TEMPLATE(SPECIAL("x") "," SPECIAL("x") "," SEQUENCE, "1")},
         MN_ERR_UNSUPPORTED,
         "more than one"},
        {{.post_processor = TEMPLATE(SPECIAL("x") "," SEQUENCE, "1,2")}, MN_ERR_UNSUPPORTED, "more than one"},
        {{.post_processor = TEMPLATE(SPECIAL("y") "," SEQUENCE, "1")}, MN_ERR_FORMAT, "'y'"},
        {{.post_processor = TEMPLATE(SPECIAL("x") "," SEQUENCE, "258")}, MN_ERR_FORMAT, "258"},
        {{.post_processor = TEMPLATE(SPECIAL("x") "," SEQUENCE, "-1")}, MN_ERR_FORMAT, "-1"},
        {{.post_processor = TEMPLATE("7", "1")}, MN_ERR_UNSUPPORTED, "in front of the text"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct messages messages = {0};
        const struct mn_log log = {message_write, &messages};
        struct tokenizer *tokenizer = (void *)&messages;
        enum mn_status status = create(&tokenizer, &cases[i].parts, &log);
        if (status != cases[i].status || messages.n_errors != 1 || !strstr(messages.last, cases[i].message) ||
            tokenizer)
            fail_msg("case %zu (%s): status %s, %u messages, '%s'", i, cases[i].message, mn_status_name(status),
                     messages.n_errors, messages.last);
        assert_non_null(strstr(messages.last, "tokenizer.json"));
    }
    struct tokenizer *tokenizer;
    assert_int_equal(tokenizer_create(&tokenizer, MN_SOURCE_DIR "/none.json", NULL), MN_ERR_FILE);
    assert_null(tokenizer);
    tokenizer_destroy(NULL);
}

/* Strings, arrays and patterns without bound. */
static void test_long_parts(void **state)
{
    (void)state;
    static const struct {
        const char *before, *unit, *after;
        size_t times;
        int where; /* 0 vocab, 1 added, 2 pre_tokenizer, 3 merges, 4 normalizer, 5 decoder */
        enum mn_status status;
        const char *message;
    } cases[] = {
        {",\"ab\":256,\"abc\":257,\"", "x", "\":258", 2049, 0, MN_ERR_FORMAT, "2049 bytes, limit 2048"},
        {",\"ab\":256,\"abc\":257,\"", "x", "\":258", 2048, 0, MN_OK, ""},
        {"[{\"id\":300,\"content\":\"", "x", "\"}]", 513, 1, MN_ERR_FORMAT, "content"},
        {"[{\"id\":300,\"content\":\"", "x", "\"}]", 512, 1, MN_OK, ""},
        {"{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"", "x", "\"}}", 8193, 2, MN_ERR_FORMAT,
         "limit 8192"},
        {"{\"type\":\"Sequence\",\"pretokenizers\":[",
         "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"x\"}},", BYTE_LEVEL("false") "]}", 9,
         2, MN_ERR_UNSUPPORTED, "more than 8 steps"},
        {"{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"String\":\"", "x", "\"}}", 257, 2, MN_ERR_FORMAT,
         "String"},
        {"{\"type\":\"Sequence\",\"normalizers\":[", "{\"type\":\"NFC\"},", "{\"type\":\"NFC\"}]}", 8, 4,
         MN_ERR_UNSUPPORTED, "more than 8 steps"},
        {"{\"type\":\"Prepend\",\"prepend\":\"", "x", "\"}", 257, 4, MN_ERR_FORMAT, "prepend"},
        {"{\"type\":\"Sequence\",\"decoders\":[", "{\"type\":\"Strip\",\"content\":\"a\",\"start\":1,\"stop\":0},",
         "{\"type\":\"Fuse\"}]}", 9, 5, MN_ERR_UNSUPPORTED, "more than 8 steps"},
        /* a token of 3 letters becomes one of 768 bytes, and then of 65,536 */
        {"{\"type\":\"Sequence\",\"decoders\":[", REPLACE_BY_256("abc"), "{\"type\":\"Fuse\"}]}", 2, 5, MN_ERR_FORMAT,
         "decodes to"},
        {"[[\"", "a", "\",\"b\"]]", 5000, 3, MN_ERR_FORMAT, "not in the vocabulary"},
        {"", "[", "", 100000, 3, MN_ERR_FORMAT, "tokenizer.json"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct messages messages = {0};
        const struct mn_log log = {message_write, &messages};
        struct tokenizer *tokenizer;
        struct builder b = {0};
        char *middle = repeated(cases[i].unit, cases[i].times);
        add(&b, "%s%s%s", cases[i].before, middle, cases[i].after);
        const struct parts parts = {.vocab = cases[i].where == 0 ? b.text : NULL,
                                    .added = cases[i].where == 1 ? b.text : NULL,
                                    .pre_tokenizer = cases[i].where == 2 ? b.text : NULL,
                                    .merges = cases[i].where == 3 ? b.text : NULL,
                                    .normalizer = cases[i].where == 4 ? b.text : NULL,
                                    .decoder = cases[i].where == 5 ? b.text : NULL};
        enum mn_status status = create(&tokenizer, &parts, &log);
        if (status != cases[i].status || messages.n_errors != (status != MN_OK) ||
            !strstr(messages.last, cases[i].message))
            fail_msg("case %zu: status %s, '%s'", i, mn_status_name(status), messages.last);
        tokenizer_destroy(tokenizer);
        free(middle);
        free(b.text);
    }
}

/* Spellings chosen to fall into one slot of the vocabulary's hash table make loading quadratic: refused. */
static void test_built_collisions(void **state)
{
    (void)state;
    struct builder vocab = {0};
    struct messages messages = {0};
    const struct mn_log log = {message_write, &messages};
    struct tokenizer *tokenizer;
    add(&vocab, ",\"ab\":256,\"abc\":257");
    for (unsigned i = 0, n = 0; n < 300; i++) {
        char spelling[16];
        snprintf(spelling, sizeof spelling, "x%u", i);
        uint64_t h = hash_string(HASH_START, spelling); /* as in bpe.c: FNV-1a and the finalizer of MurmurHash3 */
        h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
        h = (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
        if (((h ^ h >> 33) & 2047) == 7)
            add(&vocab, ",\"%s\":%u", spelling, 300 + n++);
    }
    assert_int_equal(create(&tokenizer, &(struct parts){.vocab = vocab.text}, &log), MN_ERR_FORMAT);
    assert_non_null(strstr(messages.last, "collide by construction"));
    free(vocab.text);
}

/* A million times 'a' with merges that double: a scan per merge would need 10^12 operations. */
static void test_merge_blow_up(void **state)
{
    (void)state;
    enum { N = 1 << 20, N_DOUBLINGS = 8 };
    struct builder vocab = {0}, merges = {0}, file;
    struct json_doc doc;
    struct bpe bpe;
    struct bpe_scratch scratch = {0};
    struct id_vector ids = {0};
    char *run = repeated("a", 1 << N_DOUBLINGS), *text = repeated("a", N);

    for (int k = 1; k <= N_DOUBLINGS; k++) {
        add(&vocab, ",\"%.*s\":%d", 1 << k, run, 255 + k);
        add(&merges, "%s[\"%.*s\",\"%.*s\"]", k > 1 ? "," : "[", 1 << (k - 1), run, 1 << (k - 1), run);
    }
    add(&merges, "]");
    build(&file, &(struct parts){.vocab = vocab.text, .merges = merges.text});
    assert_int_equal(json_parse(&doc, "f", file.text, file.n, file.n, NULL), MN_OK);
    assert_int_equal(bpe_read(&bpe, &doc, json_find(doc.root, "model"), NULL), MN_OK);
    assert_int_equal(bpe_encode(&bpe, &scratch, text, N, &ids, NULL), MN_OK);
    assert_int_equal(ids.n, N >> N_DOUBLINGS);
    for (size_t i = 0; i < ids.n; i++)
        assert_int_equal(ids.ids[i], 255 + N_DOUBLINGS);
    /* 3 N candidates, each pushed and popped along at most 21 levels. */
    assert_true(scratch.n_operations < UINT64_C(3) * N * (2 * 21 + 4));
    print_message("%d bytes of 'a': %.1f operations per byte\n", N, (double)scratch.n_operations / N);

    /* One pre-token over the limit. */
    char *too_long = repeated("a", BPE_PIECE_BYTES_MAX + 1);
    assert_int_equal(bpe_encode(&bpe, &scratch, too_long, BPE_PIECE_BYTES_MAX + 1, &ids, NULL), MN_ERR_MEMORY);
    free(too_long);
    bpe_scratch_destroy(&scratch);
    bpe_destroy(&bpe);
    json_destroy(&doc);

    /* The same text through the whole tokenizer. */
    struct tokenizer *t;
    uint32_t *all;
    size_t n_all;
    assert_int_equal(tokenizer_create_from_memory(&t, "f", file.text, file.n, NULL), MN_OK);
    assert_int_equal(tokenizer_encode(t, text, N, ENCODE_SPECIAL, &all, &n_all, NULL), MN_OK);
    assert_int_equal(n_all, ids.n);
    free(all);
    tokenizer_destroy(t);
    free(ids.ids);
    free(run);
    free(text);
    free(vocab.text);
    free(merges.text);
    free(file.text);
}

/* What an encoding took, and how it ended. */
static enum mn_status encode_steps(const struct tokenizer *t, const char *text, size_t n, uint64_t *n_steps,
                                   size_t *n_ids, struct messages *messages)
{
    const struct mn_log log = {message_write, messages};
    struct encode_run run;
    uint32_t *ids = NULL;
    encode_init(&run, t, n, ENCODE_SPECIAL, &log);
    enum mn_status status = encode_text(&run, text, n);
    *n_steps = run.split.matcher.regex.n_steps;
    status = encode_finish(&run, status, &ids, n_ids);
    free(ids);
    return status;
}

/* Added tokens cost a bounded number of steps per byte of text: where all of them strip the same row of spaces, where
 * they are prefixes of each other, and, refused, where a long one all but occurs at every place. */
static void test_added_tokens_are_linear(void **state)
{
    (void)state;
    enum { N = 200000, LONG = 500, NESTED = 200 };
    static char text[N], tail[LONG + 2], added[NESTED * (NESTED + 40)];
    struct messages messages = {0};
    uint64_t n_steps;
    size_t n_ids, at = 0;
    struct tokenizer *t = create_valid(
        &(struct parts){.added = "[{\"id\":300,\"content\":\" \",\"rstrip\":true,\"lstrip\":true}]"});
    memset(text, ' ', N);
    assert_int_equal(encode_steps(t, text, N, &n_steps, &n_ids, &messages), MN_OK);
    assert_int_equal(n_ids, N);
    assert_true(n_steps <= 10 * N);
    tokenizer_destroy(t);

    memset(tail, 'a', LONG); /* <a, <aa, <aaa, ... */
    for (int i = 0; i < NESTED; i++)
        at += (size_t)snprintf(added + at, sizeof added - at, "%c{\"id\":%d,\"content\":\"<%.*s\"}", i ? ',' : '[',
                               300 + i, i + 1, tail);
    snprintf(added + at, sizeof added - at, "]");
    t = create_valid(&(struct parts){.added = added});
    memset(text, '<', N);
    assert_int_equal(encode_steps(t, text, N, &n_steps, &n_ids, &messages), MN_OK);
    assert_true(n_ids == N && n_steps <= 10 * N);
    for (int i = 0; i < N; i++)
        text[i] = i % 100 ? 'a' : '<';
    assert_int_equal(encode_steps(t, text, N, &n_steps, &n_ids, &messages), MN_OK);
    assert_true(n_ids == N / 100 && n_steps <= 10 * N);
    tokenizer_destroy(t);
    assert_int_equal(messages.n_errors, 0);

    tail[LONG] = 'b';
    snprintf(added, sizeof added, "[{\"id\":300,\"content\":\"%s\"}]", tail);
    t = create_valid(&(struct parts){.added = added});
    memset(text, 'a', N);
    assert_int_equal(encode_steps(t, text, N, &n_steps, &n_ids, &messages), MN_ERR_UNSUPPORTED);
    assert_int_equal(messages.n_errors, 1);
    assert_non_null(strstr(messages.last, "added_tokens"));
    assert_true(n_steps <= 20000000 + 400 * (uint64_t)N + 8 * LONG);
    tokenizer_destroy(t);
}

/* A hostile pattern is an error of encoding. */
static void test_pattern_blow_up(void **state)
{
    (void)state;
    struct tokenizer *t = create_valid(&(struct parts){
        .pre_tokenizer = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"behavior\":\"Isolated\","
                         "\"pattern\":{\"Regex\":\"(?:a|a)+b\"}}," BYTE_LEVEL("false") "]}"});
    struct messages messages = {0};
    const struct mn_log log = {message_write, &messages};
    uint32_t *ids;
    size_t n_ids;
    assert_int_equal(
        tokenizer_encode(t, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 40, ENCODE_SPECIAL, &ids, &n_ids, &log),
        MN_ERR_UNSUPPORTED);
    assert_int_equal(messages.n_errors, 1);
    tokenizer_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_long_parts),
        cmocka_unit_test(test_built_collisions),
        cmocka_unit_test(test_merge_blow_up),
        cmocka_unit_test(test_added_tokens_are_linear),
        cmocka_unit_test(test_pattern_blow_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
