/* Goal: a model folder is opened or refused at once and by name, whatever its names lead to: pipes, devices, sockets,
 * folders, links that lead nowhere or in circles, Git LFS pointers, web pages, empty files. Only a name that is not
 * there is absent. Method: a folder with links to the default model's files; every name a folder may have is put there
 * in every way, the folder is opened as programs open it, and the refusal must name the file. An alarm ends the test
 * when a call waits.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/files/input.h"
#include "engine/files/json.h"
#include "tests/testing.h"

enum { WAIT_SECONDS = 300 };

static const char lfs_pointer[] = "version https://git-lfs.github.com/spec/v1\n"
                                  "oid sha256:0000000000000000000000000000000000000000000000000000000000000000\n"
                                  "size 1812728\n";
static const char index_name[] = "model.safetensors.index.json";

struct folder {
    char dir[32];
    struct test_log log;
};

static void path_of(const struct folder *f, const char *name, char *path)
{
    snprintf(path, 128, "%s/%s", f->dir, name);
}

static void link_to(const struct folder *f, const char *name, const char *target)
{
    char path[128];
    path_of(f, name, path);
    remove(path);
    assert_int_equal(symlink(target, path), 0);
}

/* The default model's own file, or nothing where it has none. */
static void restore(const struct folder *f, const char *name)
{
    char path[128], own[512];
    path_of(f, name, path);
    remove(path);
    snprintf(own, sizeof own, "%s/%s", RAVEN_TINY, name);
    if (access(own, R_OK) == 0)
        link_to(f, name, own);
}

static void write_text(const struct folder *f, const char *name, const char *text)
{
    char path[128];
    path_of(f, name, path);
    remove(path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state)
{
    struct folder *f = calloc(1, sizeof *f);
    if (!f)
        return -1;
    strcpy(f->dir, "/tmp/muninn-folder-XXXXXX");
    test_log_init(&f->log);
    *state = f;
    if (!mkdtemp(f->dir))
        return -1;
    restore(f, "config.json");
    restore(f, "generation_config.json");
    restore(f, "tokenizer.json");
    restore(f, "model.safetensors");
    alarm(WAIT_SECONDS);
    return 0;
}

static int tear_down(void **state)
{
    struct folder *f = *state;
    char command[64];
    alarm(0);
    snprintf(command, sizeof command, "rm -r %s", f->dir);
    const int result = system(command);
    free(f);
    return result;
}

/* ---- the ways a name can be there ---- */

static void as_pipe(const struct folder *f, const char *name)
{
    char path[128];
    path_of(f, name, path);
    assert_int_equal(mkfifo(path, 0600), 0);
}

static void as_folder(const struct folder *f, const char *name)
{
    char path[128];
    path_of(f, name, path);
    assert_int_equal(mkdir(path, 0700), 0);
}

static void as_socket(const struct folder *f, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", f->dir, name);
    const int s = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(s >= 0);
    assert_int_equal(bind(s, (const struct sockaddr *)&address, sizeof address), 0);
    close(s);
}

static void as_link_to_pipe(const struct folder *f, const char *name)
{
    char path[128];
    path_of(f, "the-pipe", path);
    remove(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    link_to(f, name, path);
}

static void as_endless_device(const struct folder *f, const char *name)
{
    link_to(f, name, "/dev/zero");
}

static void as_broken_link(const struct folder *f, const char *name)
{
    link_to(f, name, "../blobs/not-there-yet");
}

static void as_circle(const struct folder *f, const char *name)
{
    link_to(f, name, name);
}

static void as_link_through_file(const struct folder *f, const char *name)
{
    link_to(f, name, RAVEN_TINY "/README.md/file"); /* ENOTDIR */
}

static void as_lfs_pointer(const struct folder *f, const char *name)
{
    write_text(f, name, lfs_pointer);
}

static void as_page(const struct folder *f, const char *name)
{
    write_text(f, name, "\xef\xbb\xbf\n <!DOCTYPE html>\n<html><head><title>Access denied</title></head></html>\n");
}

static void as_page_without_type(const struct folder *f, const char *name)
{
    write_text(f, name, "<HTML>\n<body>Moved</body></HTML>\n");
}

static void as_nothing(const struct folder *f, const char *name)
{
    write_text(f, name, "");
}

static const struct way {
    void (*make)(const struct folder *f, const char *name);
    enum mn_status status;
    const char *says;
} ways[] = {
    {as_pipe, MN_ERR_FILE, "not a regular file but a named pipe"},
    {as_folder, MN_ERR_FILE, "not a regular file but a folder"},
    {as_socket, MN_ERR_FILE, "not a regular file but a socket"},
    {as_link_to_pipe, MN_ERR_FILE, "not a regular file but a named pipe"},
    {as_endless_device, MN_ERR_FILE, "not a regular file but a device"},
    {as_broken_link, MN_ERR_FILE, "a link to '../blobs/not-there-yet', which is not there"},
    {as_circle, MN_ERR_FILE, "symbolic links"},
    {as_link_through_file, MN_ERR_FILE, "ot a directory"},
    {as_lfs_pointer, MN_ERR_FORMAT, "a Git LFS pointer"},
    {as_page, MN_ERR_FORMAT, "a web page"},
    {as_page_without_type, MN_ERR_FORMAT, "a web page"},
    {as_nothing, MN_ERR_FORMAT, "is empty"},
};

static void expect_refusal(struct folder *f, enum mn_status status, const char *name, const struct way *way)
{
    if (status != way->status || f->log.n_errors != 1 || !strstr(f->log.last, name) || !strstr(f->log.last, way->says))
        fail_msg("%s, expected '%s': %s, %u error lines, the last: %s", name, way->says, mn_status_name(status),
                 f->log.n_errors, f->log.last);
    f->log.n_errors = 0;
}

static enum mn_status open_weights(const struct folder *f)
{
    struct safetensors *st;
    enum mn_status status = safetensors_open(&st, f->dir, NULL, &f->log.log);
    safetensors_close(st);
    return status;
}

static enum mn_status open_shape(const struct folder *f)
{
    struct mn_model_shape shape;
    return mn_model_shape(&shape, &(struct mn_engine_params){.model_dir = f->dir, .log = &f->log.log});
}

static enum mn_status open_text(const struct folder *f)
{
    struct mn_engine *engine;
    enum mn_status status = mn_engine_create(
        &engine, &(struct mn_engine_params){.model_dir = f->dir, .tokenizer_only = true, .log = &f->log.log});
    mn_engine_destroy(engine);
    return status;
}

static enum mn_status open_all(const struct folder *f)
{
    struct mn_engine *engine;
    enum mn_status status = mn_engine_create(
        &engine, &(struct mn_engine_params){.model_dir = f->dir, .device = test_device, .log = &f->log.log});
    mn_engine_destroy(engine);
    return status;
}

static void try_ways(struct folder *f, const char *name, enum mn_status (*open)(const struct folder *f))
{
    char path[128];
    path_of(f, name, path);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        remove(path);
        ways[i].make(f, name);
        expect_refusal(f, open(f), name, &ways[i]);
        remove(path);
    }
    restore(f, name);
    assert_int_equal(open(f), MN_OK);
}

static void test_configuration(void **state)
{
    try_ways(*state, "config.json", open_shape);
    try_ways(*state, "generation_config.json", open_shape);
}

static void test_tokenizer(void **state)
{
    try_ways(*state, "tokenizer.json", open_text);
}

/* With an engine an absent tokenizer is no mistake; a broken one is. */
static void test_engine_tokenizer(void **state)
{
    struct folder *f = *state;
    char path[128];
    path_of(f, "tokenizer.json", path);
    remove(path);
    const enum mn_status status = open_all(f);
    if (status == MN_ERR_NO_DEVICE)
        skip();
    assert_int_equal(status, MN_OK);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (ways[i].make == as_pipe || ways[i].make == as_broken_link || ways[i].make == as_circle) {
            ways[i].make(f, "tokenizer.json");
            expect_refusal(f, open_all(f), "tokenizer.json", &ways[i]);
            remove(path);
        }
}

static void test_weights(void **state)
{
    struct folder *f = *state;
    char path[128], shard[128];
    try_ways(f, "model.safetensors", open_weights);
    path_of(f, "model.safetensors", path);
    path_of(f, "model-00001-of-00001.safetensors", shard);
    remove(path);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        ways[i].make(f, index_name);
        expect_refusal(f, open_weights(f), index_name, &ways[i]);
        path_of(f, index_name, path);
        remove(path);
    }
    write_text(f, index_name, "{\"weight_map\":{\"a\":\"model-00001-of-00001.safetensors\"}}");
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        ways[i].make(f, "model-00001-of-00001.safetensors");
        expect_refusal(f, open_weights(f), "model-00001-of-00001.safetensors", &ways[i]);
        remove(shard);
    }
}

/* An index beside model.safetensors was not looked at at all. */
static void test_index_beside_file(void **state)
{
    struct folder *f = *state;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char path[128];
        path_of(f, index_name, path);
        ways[i].make(f, index_name);
        expect_refusal(f, open_weights(f), index_name, &ways[i]);
        remove(path);
    }
}

/* ---- chat templates ---- */

/* The text of docs/models.md. */
#define OWN_TEMPLATE \
    "{{ bos_token }}{% for message in messages %}<|begin_header|>{{ message['role'] }}<|end_header|>\n\n" \
    "{{ message['content'] }}<|end_turn|>{% endfor %}{% if add_generation_prompt " \
    "%}<|begin_header|>Huginn<|end_header|>" \
    "\n\n{% endif %}"

/* The same as a JSON string. */
static void quoted(char *json, size_t n_bytes, const char *text)
{
    FILE *out = fmemopen(json, n_bytes, "w");
    assert_non_null(out);
    json_write_string(out, text, strlen(text));
    assert_int_equal(fclose(out), 0);
}

static enum mn_status chat(const struct folder *f, uint32_t n_times)
{
    struct mn_engine *engine;
    const struct mn_chat_message message = {"user", "x", 1};
    enum mn_status status = mn_engine_create(
        &engine, &(struct mn_engine_params){.model_dir = f->dir, .tokenizer_only = true, .log = &f->log.log});
    for (uint32_t i = 0; i < n_times && !status; i++) {
        uint32_t *ids = NULL;
        size_t n_ids;
        status = mn_chat(engine, &message, 1, &ids, &n_ids);
        free(ids);
    }
    mn_engine_destroy(engine);
    return status;
}

static void expect_chat(struct folder *f, enum mn_status status, uint32_t n_warnings, const char *name)
{
    const enum mn_status got = chat(f, 3);
    const bool refused = got && f->log.n_errors == 1 && strstr(f->log.last, name);
    if (got != status || (status && !refused) || f->log.n_warnings != n_warnings ||
        (n_warnings && !strstr(f->log.last_warning, name)))
        fail_msg("%s: %s, %u errors, the last: %s; %u warnings, the last: %s", name, mn_status_name(got),
                 f->log.n_errors, f->log.last, f->log.n_warnings, f->log.last_warning);
    f->log.n_errors = f->log.n_warnings = 0;
}

static void test_chat_template(void **state)
{
    struct folder *f = *state;
    static const char jinja[] = "chat_template.jinja", config[] = "tokenizer_config.json";
    static const char other[] = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[bot]";
    /* the tokens are kept, what stands between them is not */
    static const char similar[] = "{% for m in messages %}<|begin_header|>{{ m.role }}<|end_header|>\n{{ m.content }}"
                                  "<|end_turn|>{% endfor %}<|begin_header|>Huginn<|end_header|>";
    char text[2048], json[1024];
    expect_chat(f, MN_OK, 0, "");
    write_text(f, jinja, other);
    expect_chat(f, MN_ERR_UNSUPPORTED, 0, jinja);
    write_text(f, jinja, similar);
    expect_chat(f, MN_OK, 1, jinja);
    write_text(f, jinja, OWN_TEMPLATE "\n");
    expect_chat(f, MN_OK, 0, "");
    restore(f, jinja);

    write_text(f, config, "{\"model_max_length\": 1000000000000000019884624838656, \"chat_template\": null}");
    expect_chat(f, MN_OK, 0, "");
    quoted(json, sizeof json, OWN_TEMPLATE);
    snprintf(text, sizeof text, "{\"chat_template\": %s}", json);
    write_text(f, config, text);
    expect_chat(f, MN_OK, 0, "");
    write_text(f, jinja, other); /* wins */
    expect_chat(f, MN_ERR_UNSUPPORTED, 0, jinja);
    restore(f, jinja);
    snprintf(text, sizeof text,
             "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"x\"}, {\"name\": \"default\", "
             "\"template\": %s}]}",
             json);
    write_text(f, config, text);
    expect_chat(f, MN_OK, 0, "");
    static const char *const refused[] = {"\"\"", "\"x\"", "[]", "[{\"name\": \"tool_use\", \"template\": \"x\"}]",
                                          "[{\"name\": \"default\", \"template\": \"x\"}]"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        snprintf(text, sizeof text, "{\"chat_template\": %s}", refused[i]);
        write_text(f, config, text);
        expect_chat(f, MN_ERR_UNSUPPORTED, 0, config);
        assert_int_equal(chat(f, 0), MN_OK); /* who asks for no conversation is not held up */
    }
    static const char *const malformed[] = {"5", "{}", "[5]", "[{\"name\": 5}]", "[{\"name\": \"default\"}]"};
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        snprintf(text, sizeof text, "{\"chat_template\": %s}", malformed[i]);
        write_text(f, config, text);
        expect_chat(f, MN_ERR_FORMAT, 0, config);
    }
}

/* ---- the begin token ---- */

#define POST_PROCESSOR "\"post_processor\": null"
#define TEMPLATE(single) \
    "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [" single \
    "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}], \"pair\": [], \"special_tokens\": {\"b\": {\"id\": \"b\", " \
    "\"ids\": [5], " \
    "\"tokens\": [\"b\"]}}}"

/* The default model's tokenizer with another post-processor. */
static void write_tokenizer(const struct folder *f, const char *post_processor)
{
    char *text = NULL;
    size_t n_bytes;
    assert_int_equal(input_read_all(&text, &n_bytes, RAVEN_TINY "/tokenizer.json", 1 << 20, NULL), MN_OK);
    char *at = strstr(text, POST_PROCESSOR), *whole = malloc(n_bytes + 1024);
    assert_true(at && whole);
    snprintf(whole, n_bytes + 1024, "%.*s%s%s", (int)(at - text), text, post_processor, at + strlen(POST_PROCESSOR));
    write_text(f, "tokenizer.json", whole);
    free(whole);
    free(text);
}

/* generation_config.json, then the tokenizer's template, then config.json (whose token is 0). */
static void test_begin_token(void **state)
{
    struct folder *f = *state;
    static const struct {
        const char *generation, *post_processor; /* NULL: no file */
        uint32_t expected;
    } cases[] = {
        {NULL, POST_PROCESSOR, 0},
        {NULL, TEMPLATE(""), UINT32_MAX},
        {NULL, TEMPLATE("{\"SpecialToken\": {\"id\": \"b\", \"type_id\": 0}}, "), 5},
        {"{\"eos_token_id\": 1}", TEMPLATE(""), UINT32_MAX},
        {"{\"eos_token_id\": 1}", POST_PROCESSOR, 0},
        {"{\"bos_token_id\": null}", TEMPLATE(""), UINT32_MAX},
        {"{\"bos_token_id\": 3}", TEMPLATE(""), 3},
        {"{\"bos_token_id\": 3}", TEMPLATE("{\"SpecialToken\": {\"id\": \"b\", \"type_id\": 0}}, "), 3},
        {"{\"bos_token_id\": 3}", NULL, 3},
        {NULL, NULL, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mn_engine *engine;
        struct mn_model_info info;
        char path[128];
        path_of(f, "generation_config.json", path);
        remove(path);
        if (cases[i].generation)
            write_text(f, "generation_config.json", cases[i].generation);
        path_of(f, "tokenizer.json", path);
        remove(path);
        if (cases[i].post_processor)
            write_tokenizer(f, cases[i].post_processor);
        if (mn_engine_create(&engine, &(struct mn_engine_params){
                                          .model_dir = f->dir, .device = test_device, .log = &f->log.log}) != MN_OK)
            fail_msg("case %zu: %s", i, f->log.last);
        mn_engine_info(engine, &info);
        if (info.bos_token_id != cases[i].expected)
            fail_msg("case %zu: begin token %u instead of %u", i, info.bos_token_id, cases[i].expected);
        mn_engine_destroy(engine);
    }
}

static void test_chat_files(void **state)
{
    try_ways(*state, "chat_template.jinja", open_text);
    try_ways(*state, "tokenizer_config.json", open_text);
}

/* Names nobody asks for may be what they like. */
static void test_other_names(void **state)
{
    struct folder *f = *state;
    as_pipe(f, "extra.safetensors");
    as_broken_link(f, "notes.json");
    assert_int_equal(open_weights(f), MN_OK);
    assert_int_equal(open_shape(f), MN_OK);
    assert_int_equal(open_text(f), MN_OK);
    assert_int_equal(f->log.n_errors, 0);
}

static void test_instead(void **state)
{
    (void)state;
    static const char *const fine[] = {"{",    "{}", "version https://git-lfs", " \t\n", "\xef\xbb\xbf", "<",
                                       "<htm", "\0"};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
        assert_null(input_instead(fine[i], strlen(fine[i]) ? strlen(fine[i]) : 1));
    assert_non_null(input_instead("", 0));
    assert_non_null(input_instead(lfs_pointer, 40));
    assert_null(input_instead(lfs_pointer, 39));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_instead),
        cmocka_unit_test_setup_teardown(test_configuration, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tokenizer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_engine_tokenizer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_weights, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_index_beside_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_chat_template, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_begin_token, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_chat_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_names, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
