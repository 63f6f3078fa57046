/* Goal: when memory runs out at any one allocation, opening the files of a model, loading its weights, encoding and
 * decoding end in MN_ERR_MEMORY with exactly one message, no result, and nothing left allocated.
 *
 * Method: allocations are counted, and then the n-th one fails, for every n up to the count of a run without failure.
 * Blocks alive are counted as well, so that a leak shows in every build; the sanitizer build looks for the rest.
 *   engine:   this executable alone is linked with --wrap for malloc, calloc, realloc, strdup and free, which redirects
 *             the calls in the engine's own objects but not those inside of libraries
 *   cJSON:    its hooks
 *   PCRE2:    contexts and match data are created with memory functions of this test; code and matching inherit them
 *   utf8proc: utf8proc_map as a whole counts as one allocation
 * Not covered: what the C library allocates for itself (glibc's qsort does, and goes on without).
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <cjson/cJSON.h>
#include <pcre2.h>
#include <utf8proc.h>

#include "engine/files/safetensors.h"
#include "engine/model/config.h"
#include "engine/model/family.h"
#include "engine/model/weights.h"
#include "engine/text/chat.h"
#include "tests/tokenizer_file.h"

enum source { ENGINE, CJSON, PCRE2, UTF8PROC, N_SOURCES };

static struct {
    bool on;
    unsigned n, fail_at; /* allocations so far; the one that fails, 0 for none */
    unsigned n_by[N_SOURCES];
    long n_alive; /* blocks */
} faults;

static pcre2_general_context *pcre2_memory;

static bool fails(enum source source)
{
    if (!faults.on)
        return false;
    faults.n_by[source]++;
    return ++faults.n == faults.fail_at;
}

static void *counted(void *block)
{
    faults.n_alive += block != NULL;
    return block;
}

/* --- what the linker and the libraries call --------------------------------------------------------------------- */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *block, size_t n);
char *__real_strdup(const char *text);
void __real_free(void *block);
pcre2_compile_context *__real_pcre2_compile_context_create_8(pcre2_general_context *general);
pcre2_match_data *__real_pcre2_match_data_create_8(uint32_t n, pcre2_general_context *general);
utf8proc_ssize_t __real_utf8proc_map(const utf8proc_uint8_t *text, utf8proc_ssize_t n, utf8proc_uint8_t **out,
                                     utf8proc_option_t options);

void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *block, size_t n);
char *__wrap_strdup(const char *text);
void __wrap_free(void *block);
pcre2_compile_context *__wrap_pcre2_compile_context_create_8(pcre2_general_context *general);
pcre2_match_data *__wrap_pcre2_match_data_create_8(uint32_t n, pcre2_general_context *general);
utf8proc_ssize_t __wrap_utf8proc_map(const utf8proc_uint8_t *text, utf8proc_ssize_t n, utf8proc_uint8_t **out,
                                     utf8proc_option_t options);

void *__wrap_malloc(size_t n)
{
    return fails(ENGINE) ? NULL : counted(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails(ENGINE) ? NULL : counted(__real_calloc(n, size));
}

void *__wrap_realloc(void *block, size_t n)
{
    if (fails(ENGINE))
        return NULL;
    return block ? __real_realloc(block, n) : counted(__real_malloc(n));
}

char *__wrap_strdup(const char *text)
{
    return fails(ENGINE) ? NULL : counted(__real_strdup(text));
}

void __wrap_free(void *block)
{
    faults.n_alive -= block != NULL;
    __real_free(block);
}

static void *cjson_malloc(size_t n)
{
    return fails(CJSON) ? NULL : counted(__real_malloc(n));
}

static void *pcre2_malloc(PCRE2_SIZE n, void *user)
{
    (void)user;
    return fails(PCRE2) ? NULL : counted(__real_malloc(n));
}

static void pcre2_free(void *block, void *user)
{
    (void)user;
    __wrap_free(block);
}

pcre2_compile_context *__wrap_pcre2_compile_context_create_8(pcre2_general_context *general)
{
    assert_null(general);
    return __real_pcre2_compile_context_create_8(pcre2_memory);
}

pcre2_match_data *__wrap_pcre2_match_data_create_8(uint32_t n, pcre2_general_context *general)
{
    assert_null(general);
    return __real_pcre2_match_data_create_8(n, pcre2_memory);
}

utf8proc_ssize_t __wrap_utf8proc_map(const utf8proc_uint8_t *text, utf8proc_ssize_t n, utf8proc_uint8_t **out,
                                     utf8proc_option_t options)
{
    *out = NULL;
    if (fails(UTF8PROC))
        return UTF8PROC_ERROR_NOMEM;
    /* A library in the program itself takes its memory by the calls above: not to be counted twice. */
    const bool on = faults.on;
    const long n_alive = faults.n_alive;
    faults.on = false;
    utf8proc_ssize_t result = __real_utf8proc_map(text, n, out, options);
    faults.on = on;
    faults.n_alive = n_alive;
    counted(*out);
    return result;
}

/* --- every single failure --------------------------------------------------------------------------------------- */

/* Returns the first failure, or MN_OK; releases everything either way. */
typedef enum mn_status scenario(const struct mn_log *log, const void *user);

static enum mn_status attempt(scenario *run, const void *user, unsigned fail_at, struct messages *messages)
{
    const struct mn_log log = {message_write, messages};
    *messages = (struct messages){0};
    memset(&faults, 0, sizeof faults);
    faults.fail_at = fail_at;
    faults.on = true;
    enum mn_status status = run(&log, user);
    faults.on = false;
    return status;
}

/* At least so many allocations must come from each source: else the redirection has stopped working. */
static void fail_each(const char *name, scenario *run, const void *user, const unsigned least[N_SOURCES])
{
    struct messages messages;
    if (attempt(run, user, 0, &messages) != MN_OK)
        fail_msg("%s: %s", name, messages.last);
    assert_int_equal(messages.n_errors, 0);
    assert_int_equal(faults.n_alive, 0);
    const unsigned n = faults.n;
    print_message("%s: %u single failures: engine %u, cJSON %u, PCRE2 %u, utf8proc %u\n", name, n, faults.n_by[ENGINE],
                  faults.n_by[CJSON], faults.n_by[PCRE2], faults.n_by[UTF8PROC]);
    for (int i = 0; i < N_SOURCES; i++)
        assert_true(faults.n_by[i] >= least[i]);
    for (unsigned at = 1; at <= n; at++) {
        enum mn_status status = attempt(run, user, at, &messages);
        if (status != MN_ERR_MEMORY || messages.n_errors != 1 || faults.n_alive || faults.n < at)
            fail_msg("%s: allocation %u of %u fails: status %s, %u messages, the last '%s', %ld blocks left", name, at,
                     n, mn_status_name(status), messages.n_errors, messages.last, faults.n_alive);
    }
}

/* --- a model folder --------------------------------------------------------------------------------------------- */

static enum mn_status open_folder(const struct mn_log *log, const void *dir)
{
    struct model_config config;
    struct safetensors *st = NULL;
    char bytes[64];
    enum mn_status status = config_load(&config, dir, log);
    if (status != MN_OK) {
        assert_int_equal(config.n_embd, 0);
        return status;
    }
    status = safetensors_open(&st, dir, NULL, log);
    if (status != MN_OK) {
        assert_null(st);
        return status;
    }
    status = safetensors_read(st, safetensors_tensor(st, 0), 0, sizeof bytes, bytes, log);
    safetensors_close(st);
    return status;
}

static void test_model_folders(void **state)
{
    (void)state;
    static const unsigned least[N_SOURCES] = {[ENGINE] = 10, [CJSON] = 500};
    fail_each("one file", open_folder, MN_SOURCE_DIR "/tests/vectors/square", least);
    fail_each("index and shards", open_folder, MN_SOURCE_DIR "/tests/vectors/odd-bf16-sharded", least);
    fail_each("default model", open_folder, MN_SOURCE_DIR "/models/raven-tiny", least);
    /* Which family it is the tensors say: memory that runs out there must not make it another one. */
    fail_each("OLMo retrofit", open_folder, MN_SOURCE_DIR "/tests/vectors/retrofit-olmo", least);
    fail_each("retrofit in shards", open_folder, MN_SOURCE_DIR "/tests/vectors/retrofit-tinyllama-bf16-sharded", least);
    fail_each("Ouro", open_folder, MN_SOURCE_DIR "/tests/vectors/ouro", least);
}

/* --- weights, onto a device that is there already --------------------------------------------------------------- */

struct loading {
    struct device *device;
    struct stream *stream;
    struct model_config config;
    const char *dir;
};

static enum mn_status load_weights(const struct mn_log *log, const void *user)
{
    const struct loading *l = user;
    struct weights weights = {0};
    l->device->log = log;
    const struct weight_scheme scheme = weight_scheme_as_stored();
    enum mn_status status = weights_load(&weights, l->dir, &l->config, &scheme, l->device, l->stream);
    weights_finish(&weights);
    return status;
}

static void test_weights(void **state)
{
    (void)state;
    static const char *const dirs[] = {MN_SOURCE_DIR "/tests/vectors/retrofit-olmo",
                                       MN_SOURCE_DIR "/tests/vectors/ouro"};
    static const unsigned least[N_SOURCES] = {[ENGINE] = 100, [CJSON] = 100};
    struct messages messages = {0};
    const struct mn_log log = {message_write, &messages};
    struct kernels kernels;
    struct stream stream;
    struct loading l = {.stream = &stream};
    enum mn_status status = device_create(&l.device, &(struct device_params){.validate = false}, &log);
    if (status == MN_ERR_NO_DEVICE)
        skip();
    assert_int_equal(status, MN_OK);
    assert_int_equal(kernels_init(&kernels, l.device), MN_OK);
    assert_int_equal(stream_init(&stream, l.device, &kernels), MN_OK);
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        l.dir = dirs[i];
        assert_int_equal(config_load(&l.config, l.dir, &log), MN_OK);
        assert_int_equal(load_weights(&log, &l), MN_OK); /* what the stream keeps it has by now */
        fail_each(l.config.family->name, load_weights, &l, least);
    }
    l.device->log = &log;
    stream_finish(&stream);
    kernels_finish(&kernels);
    device_destroy(l.device);
}

/* --- tokenizers ------------------------------------------------------------------------------------------------- */

static enum mn_status round_trip(const struct tokenizer *tokenizer, enum encode_mode mode, const struct mn_log *log)
{
    static const char text[] = "Once upon a time, there were e\xcc\x81 12 dogs. <|begin_text|>\n";
    uint32_t *ids;
    size_t n_ids, n_bytes;
    char *decoded;
    enum mn_status status = tokenizer_encode(tokenizer, text, sizeof text - 1, mode, &ids, &n_ids, log);
    if (status != MN_OK) {
        assert_null(ids);
        return status;
    }
    status = tokenizer_decode(tokenizer, ids, n_ids, false, &decoded, &n_bytes, log);
    assert_true((status == MN_OK) == (decoded != NULL));
    free(decoded);
    free(ids);
    return status;
}

static enum mn_status chat(const struct tokenizer *tokenizer, const struct mn_log *log)
{
    static const struct mn_chat_message messages[] = {{"system", "Be brief.", 9}, {"user", "Hello!", 6}};
    static const struct chat_style style = {CHAT_HUGINN, false};
    uint32_t *ids;
    size_t n_ids, n_bytes;
    char *text;
    enum mn_status status = chat_encode(tokenizer, &style, messages, 2, &ids, &n_ids, log);
    assert_true((status == MN_OK) == (ids != NULL));
    free(ids);
    if (status != MN_OK)
        return status;
    status = chat_format(&style, messages, 2, &text, &n_bytes, log);
    assert_true((status == MN_OK) == (text != NULL));
    free(text);
    return status;
}

static enum mn_status use_shipped(const struct mn_log *log, const void *path)
{
    struct tokenizer *tokenizer;
    enum mn_status status = tokenizer_create(&tokenizer, path, log);
    assert_true((status == MN_OK) == (tokenizer != NULL));
    for (int mode = 0; status == MN_OK && mode < 2; mode++)
        status = round_trip(tokenizer, (enum encode_mode)mode, log);
    if (status == MN_OK)
        status = chat(tokenizer, log);
    tokenizer_destroy(tokenizer);
    return status;
}

static enum mn_status use_built(const struct mn_log *log, const void *file)
{
    const struct builder *b = file;
    struct tokenizer *tokenizer;
    enum mn_status status = tokenizer_create_from_memory(&tokenizer, "tokenizer.json", b->text, b->n, log);
    assert_true((status == MN_OK) == (tokenizer != NULL));
    if (status == MN_OK)
        status = round_trip(tokenizer, ENCODE_SPECIAL, log);
    tokenizer_destroy(tokenizer);
    return status;
}

static void test_tokenizers(void **state)
{
    (void)state;
    static const unsigned shipped_least[N_SOURCES] = {[ENGINE] = 20, [CJSON] = 2000, [PCRE2] = 6};
    fail_each("shipped tokenizer", use_shipped, MN_SOURCE_DIR "/models/raven-tiny/tokenizer.json", shipped_least);

    /* What the shipped one does not have: NFC, a prefix space, two patterns, normalized added tokens. */
    static const unsigned built_least[N_SOURCES] = {[ENGINE] = 20, [CJSON] = 500, [PCRE2] = 8, [UTF8PROC] = 2};
    struct builder b;
    build(
        &b,
        &(struct parts){
            .normalizer = "{\"type\":\"NFC\"}",
            .added = "[{\"id\":300,\"content\":\"<e\xcc\x81>\",\"normalized\":true},{\"id\":301,\"content\":\"dogs\"},"
                     "{\"id\":302,\"content\":\"<|begin_text|>\",\"special\":true}]",
            .pre_tokenizer = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"behavior\":\"Isolated\","
                             "\"pattern\":{\"Regex\":\"[^\\\\s]+\"}},{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
                             "\"trim_offsets\":true,\"use_regex\":true}]}"});
    fail_each("built tokenizer", use_built, &b, built_least);
    free(b.text);

    /* BPE over characters: patterns in every part, a decoder that minds the first token, byte fallback. */
    static const unsigned characters_least[N_SOURCES] = {[ENGINE] = 40, [CJSON] = 500, [PCRE2] = 12, [UTF8PROC] = 1};
    build(&b,
          &(struct parts){
              .vocab = ",\" \":256,\"an\":257",
              .merges = "[[\"a\",\"n\"]]",
              .model = ",\"unk_token\":\"a\",\"byte_fallback\":true",
              .normalizer = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"},{\"type\":\"Replace\","
                            "\"pattern\":{\"Regex\":\"[.]+\"},\"content\":\"!\"},{\"type\":\"Prepend\",\"prepend\":"
                            "\"_\"},{\"type\":\"Lowercase\"}]}",
              .added = "[{\"id\":300,\"content\":\"<E>\",\"normalized\":true}]",
              .pre_tokenizer = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"},{\"type\":\"Split\","
                               "\"behavior\":\"MergedWithNext\",\"pattern\":{\"String\":\"i\"}},{\"type\":"
                               "\"Metaspace\",\"replacement\":\"_\"}]}",
              .decoder = "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"q+\"},"
                         "\"content\":\"\"},{\"type\":\"Metaspace\",\"replacement\":\"_\"},{\"type\":"
                         "\"ByteFallback\"},{\"type\":\"Fuse\"}]}"});
    fail_each("tokenizer over characters", use_built, &b, characters_least);
    free(b.text);
}

int main(void)
{
    cJSON_Hooks hooks = {.malloc_fn = cjson_malloc, .free_fn = __wrap_free};
    cJSON_InitHooks(&hooks);
    pcre2_memory = pcre2_general_context_create(pcre2_malloc, pcre2_free, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_folders),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_tokenizers),
    };
    int failed = pcre2_memory ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
    pcre2_general_context_free(pcre2_memory);
    return failed;
}
