/* Goal: the name, the hash and the device that a result stands for change with everything that its numbers depend on,
 * and with nothing else.
 * Method: a copy of raven-tiny, whole and in shards, is changed byte by byte (each file, each tensor's ends) and loaded
 * again; files that the loader does not open are changed as well. The same folder is reached by other paths. Devices
 * are made up. XXH64 is held against its published values. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/rows/identity.h"
#include "engine/files/safetensors_write.h"
#include "engine/vulkan/device_id.h"
#include "tests/testing.h"

enum { PATH_BYTES = 512, HANG_SECONDS = 300 };

static const char weights_name[] = "model.safetensors", index_name[] = "model.safetensors.index.json";

/* ---- files ---- */

struct content {
    uint8_t *bytes;
    size_t n;
};

static const char *join(char *path, const char *dir, const char *name)
{
    snprintf(path, PATH_BYTES, "%s/%s", dir, name);
    return path;
}

static struct content read_file(const char *dir, const char *name)
{
    char path[PATH_BYTES];
    struct content c = {malloc(1 << 22), 0};
    FILE *file = fopen(join(path, dir, name), "rb");
    assert_non_null(file);
    assert_non_null(c.bytes);
    c.n = fread(c.bytes, 1, 1 << 22, file);
    assert_true(c.n < 1 << 22);
    fclose(file);
    return c;
}

static void write_file(const char *dir, const char *name, const void *bytes, size_t n)
{
    char path[PATH_BYTES];
    FILE *file = fopen(join(path, dir, name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void write_text(const char *dir, const char *name, const char *text)
{
    write_file(dir, name, text, strlen(text));
}

static void copy_file(const char *from, const char *to, const char *name)
{
    struct content c = read_file(from, name);
    write_file(to, name, c.bytes, c.n);
    free(c.bytes);
}

/* A fresh folder with raven-tiny's small files, and with one that no model has a use for. */
static char *new_folder(void)
{
    char *dir = strdup("/tmp/muninn-identity-XXXXXX");
    assert_non_null(mkdtemp(dir));
    copy_file(RAVEN_TINY, dir, "config.json");
    copy_file(RAVEN_TINY, dir, "generation_config.json");
    copy_file(RAVEN_TINY, dir, "tokenizer.json");
    write_text(dir, "README.md", "# a model\n");
    return dir;
}

static void remove_folder(char *dir)
{
    static const char *const names[] = {
        "config.json", "generation_config.json", "tokenizer.json", "README.md",         weights_name,
        index_name,    "a.safetensors",          "b.safetensors",  "other.safetensors", "tokenizer_config.json"};
    char path[PATH_BYTES];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(join(path, dir, names[i]));
    assert_int_equal(rmdir(dir), 0);
    free(dir);
}

/* ---- hashes ---- */

static uint64_t hash_of(const struct mn_engine_params *params)
{
    struct mn_engine *engine;
    struct mn_model_info info;
    struct test_log log;
    test_log_init(&log);
    struct mn_engine_params with_log = *params;
    with_log.log = &log.log;
    if (mn_engine_create(&engine, &with_log))
        fail_msg("%s: %s", params->model_dir ? params->model_dir : params->synthetic, log.last);
    mn_engine_info(engine, &info);
    mn_engine_destroy(engine);
    assert_true(info.model_hash != 0);
    return info.model_hash;
}

static uint64_t folder_hash(const char *dir)
{
    return hash_of(&(struct mn_engine_params){.model_dir = dir});
}

/* Does the hash change with this byte, and come back with it? */
static void check_byte(const char *dir, const char *name, struct content *c, size_t at, uint8_t instead, uint64_t hash)
{
    const uint8_t kept = c->bytes[at];
    c->bytes[at] = instead;
    write_file(dir, name, c->bytes, c->n);
    if (folder_hash(dir) == hash)
        fail_msg("%s: the hash does not see byte %zu", name, at);
    c->bytes[at] = kept;
    write_file(dir, name, c->bytes, c->n);
}

/* A value's lowest bit, at the end of every tensor of a file, also at its beginning and in its middle when asked for;
 * and a blank of its header, where it has one. */
static void check_tensors(const char *dir, const char *name, bool all, uint64_t hash)
{
    char path[PATH_BYTES];
    struct safetensors *file;
    struct content c = read_file(dir, name);
    assert_int_equal(safetensors_open_file(&file, join(path, dir, name), NULL, NULL), MN_OK);
    for (uint32_t i = 0; i < safetensors_n_tensors(file); i++) {
        const struct tensor_view *t = safetensors_tensor(file, i);
        const uint32_t n = tensor_dtype_bytes(t->dtype);
        const uint64_t places[] = {t->bytes - n, 0, t->bytes / n / 2 * n};
        for (size_t k = 0; k < (all ? sizeof places / sizeof *places : 1); k++)
            check_byte(dir, name, &c, t->offset + places[k], c.bytes[t->offset + places[k]] ^ 1, hash);
    }
    const size_t first = safetensors_tensor(file, 0)->offset;
    safetensors_close(file);
    if (c.bytes[first - 1] == ' ')
        check_byte(dir, name, &c, first - 1, '\n', hash);
    free(c.bytes);
}

/* Texts: their meaning, and a blank that means nothing, since nobody wants to argue which bytes do. */
static void check_text(const char *dir, const char *name, const char *what, const char *instead, uint64_t hash)
{
    struct content c = read_file(dir, name);
    c.bytes[c.n] = '\0';
    const char *text = (const char *)c.bytes, *at = strstr(text, what);
    assert_non_null(at);
    char *changed = malloc(c.n + 256);
    assert_non_null(changed);
    snprintf(changed, c.n + 256, "%.*s%s%s", (int)(at - text), text, instead, at + strlen(what));
    write_text(dir, name, changed);
    if (folder_hash(dir) == hash)
        fail_msg("%s: the hash does not see %s", name, instead);
    snprintf(changed, c.n + 256, "%s\n", text);
    write_text(dir, name, changed);
    if (folder_hash(dir) == hash)
        fail_msg("%s: the hash does not see another byte at the end", name);
    write_file(dir, name, c.bytes, c.n);
    free(changed);
    free(c.bytes);
}

static void check_small_files(const char *dir, uint64_t hash)
{
    char path[PATH_BYTES];
    check_text(dir, "config.json", "\"mean_recurrence\": ", "\"mean_recurrence\": 1", hash);
    check_text(dir, "generation_config.json", "eos_token_id", "eos_token_ix", hash);
    check_text(dir, "tokenizer.json", "\"id\":", "\"id\" :", hash);
    struct content c = read_file(dir, "generation_config.json");
    unlink(join(path, dir, "generation_config.json"));
    assert_true(folder_hash(dir) != hash);
    write_file(dir, "generation_config.json", c.bytes, c.n);
    free(c.bytes);
    c = read_file(dir, "tokenizer.json");
    unlink(join(path, dir, "tokenizer.json"));
    assert_true(folder_hash(dir) != hash);
    write_file(dir, "tokenizer.json", c.bytes, c.n);
    free(c.bytes);
    /* Which template a conversation goes into. */
    write_text(dir, "tokenizer_config.json", "{}");
    assert_true(folder_hash(dir) != hash);
    unlink(join(path, dir, "tokenizer_config.json"));
    write_text(dir, "chat_template.jinja", "{{ messages }}");
    assert_true(folder_hash(dir) != hash);
    unlink(join(path, dir, "chat_template.jinja"));
    /* What the loader does not open: a folder's other files, among them weights and even what cannot be read. */
    write_text(dir, "README.md", "# another text\n");
    assert_int_equal(mkfifo(join(path, dir, "other.safetensors"), 0600), 0);
    assert_int_equal(folder_hash(dir), hash);
    unlink(path);
    write_text(dir, "other.safetensors", "weights of something else");
    assert_int_equal(folder_hash(dir), hash);
}

static void test_whole(void **state)
{
    (void)state;
    char *dir = new_folder();
    copy_file(RAVEN_TINY, dir, weights_name);
    const uint64_t hash = folder_hash(dir);
    assert_int_equal(hash, folder_hash(RAVEN_TINY)); /* the path is not in it */
    assert_int_equal(hash, hash_of(&(struct mn_engine_params){.model_dir = dir, .weight_type = "f32"}));
    check_small_files(dir, hash);
    check_tensors(dir, weights_name, true, hash);
    remove_folder(dir);
}

/* raven-tiny's tensors in turn in two shards, and one that no model has. */
static void write_shards(const char *dir)
{
    enum { MOST = 64 };
    static const char *const names[] = {"a.safetensors", "b.safetensors"};
    static const uint8_t unused[3 << 20] = {1};
    struct tensor_source sources[2][MOST];
    uint32_t n[2] = {0};
    char path[PATH_BYTES];
    struct safetensors *file;
    FILE *index = fopen(join(path, dir, index_name), "w");
    assert_non_null(index);
    assert_int_equal(safetensors_open(&file, RAVEN_TINY, NULL, NULL), MN_OK);
    assert_true(safetensors_n_tensors(file) < MOST);
    fputs("{\"metadata\":{\"total_size\":0},\"weight_map\":{\"unused.weight\":\"b.safetensors\"", index);
    for (uint32_t i = 0; i < safetensors_n_tensors(file); i++) {
        const struct tensor_view *view = safetensors_tensor(file, i);
        uint8_t *bytes = malloc(view->bytes);
        assert_non_null(bytes);
        assert_int_equal(safetensors_read(file, view, 0, view->bytes, bytes, NULL), MN_OK);
        struct tensor_source *t = &sources[i % 2][n[i % 2]++];
        *t = (struct tensor_source){.name = view->name, .dtype = view->dtype, .rank = view->rank, .data = bytes};
        memcpy(t->shape, view->shape, sizeof t->shape);
        fprintf(index, ",\"%s\":\"%s\"", view->name, names[i % 2]);
    }
    fputs("}}", index);
    fclose(index);
    sources[1][n[1]++] = (struct tensor_source){
        .name = "unused.weight", .dtype = TENSOR_U8, .rank = 1, .shape = {sizeof unused}, .data = unused};
    for (int s = 0; s < 2; s++) {
        struct output_file out;
        assert_int_equal(output_open(&out, join(path, dir, names[s]), NULL), MN_OK);
        assert_int_equal(safetensors_write(&out, sources[s], n[s], NULL), MN_OK);
        assert_int_equal(output_commit(&out, NULL), MN_OK);
        for (uint32_t i = 0; i < n[s]; i++)
            if (sources[s][i].data != unused)
                free((void *)sources[s][i].data);
    }
    safetensors_close(file);
}

static void test_shards(void **state)
{
    (void)state;
    char *dir = new_folder();
    write_shards(dir);
    const uint64_t hash = folder_hash(dir);
    check_text(dir, index_name, "\"total_size\":0", "\"total_size\":1", hash);
    check_tensors(dir, "a.safetensors", false, hash);
    struct content c = read_file(dir, "b.safetensors");
    check_byte(dir, "b.safetensors", &c, c.n - 1, 7, hash); /* of the tensor that nobody needs */
    check_byte(dir, "b.safetensors", &c, c.n - (2 << 20), 7, hash);
    free(c.bytes);
    write_text(dir, "other.safetensors", "not in the index");
    assert_int_equal(folder_hash(dir), hash);
    remove_folder(dir);
}

/* More rows than the vocabulary: no number depends on them, but the file is another one. */
static void test_padding(void **state)
{
    (void)state;
    struct random_shape shape = {.n_embd = 16,
                                 .n_heads = 2,
                                 .intermediate_size = 32,
                                 .vocab_size = 20,
                                 .n_prelude = 1,
                                 .n_core = 1,
                                 .n_coda = 1,
                                 .block_size = 64,
                                 .tied = true,
                                 .qk_bias = true,
                                 .seed = 5};
    char *dir;
    random_model_write(&shape, &dir);
    struct content config = read_file(dir, "config.json");
    config.bytes[config.n] = '\0';
    char *text = strstr((char *)config.bytes, "\"vocab_size\":20");
    assert_non_null(text);
    text[strlen("\"vocab_size\":1")] = '7';
    text[strlen("\"vocab_size\":")] = '1';
    write_file(dir, "config.json", config.bytes, config.n);
    free(config.bytes);
    const uint64_t hash = folder_hash(dir);
    check_tensors(dir, weights_name, false, hash);
    random_model_remove(dir);
}

static void test_synthetic(void **state)
{
    (void)state;
    static const char shape[] = "d=16,heads=2,ff=32,vocab=20,layers=1-1-1", other[] = "ff=32,d=16,heads=2,vocab=20,"
                                                                                      "layers=1-1-1";
    const uint64_t hash = hash_of(&(struct mn_engine_params){.synthetic = shape});
    assert_int_equal(hash, hash_of(&(struct mn_engine_params){.synthetic = other}));
    assert_true(hash != hash_of(&(struct mn_engine_params){.synthetic = shape, .synthetic_seed = 1}));
    assert_true(hash != hash_of(&(struct mn_engine_params){.synthetic = shape, .synthetic_seed = 1ull << 32}));
    assert_true(hash != hash_of(&(struct mn_engine_params){.synthetic = "d=16,heads=4,ff=32,vocab=20,layers=1-1-1"}));
    /* From a config.json: what the shape does not show counts, too. */
    char *dir = new_folder(), path[PATH_BYTES];
    const struct mn_engine_params params = {.synthetic = join(path, dir, "config.json")};
    const uint64_t from_file = hash_of(&params);
    struct content c = read_file(dir, "config.json");
    c.bytes[c.n] = '\0';
    char *eps = strstr((char *)c.bytes, "\"norm_eps\": 1e-06");
    assert_non_null(eps);
    memcpy(eps, "\"norm_eps\": 1e-05", strlen("\"norm_eps\": 1e-05"));
    write_file(dir, "config.json", c.bytes, c.n);
    free(c.bytes);
    assert_true(hash_of(&params) != from_file);
    remove_folder(dir);
}

/* ---- names ---- */

static void expect_name(const char *dir, const char *name)
{
    char got[IDENTITY_NAME_BYTES];
    assert_int_equal(identity_model_name(got, dir, NULL), MN_OK);
    assert_string_equal(got, name);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const folders[] = {"tiny",
                                          "models--org--huginn-0125",
                                          "models--org--huginn-0125/snapshots",
                                          "models--org--huginn-0125/snapshots/2a364bd96e53",
                                          "other",
                                          "other/snapshots",
                                          "other/snapshots/rev"};
    enum { N = sizeof folders / sizeof *folders };
    char top[] = "/tmp/muninn-names-XXXXXX", path[PATH_BYTES], link[PATH_BYTES], here[PATH_BYTES];
    assert_non_null(mkdtemp(top));
    assert_non_null(getcwd(here, sizeof here));
    for (int i = 0; i < N; i++)
        assert_int_equal(mkdir(join(path, top, folders[i]), 0700), 0);
    expect_name(join(path, top, "tiny"), "tiny");
    expect_name(join(path, top, "tiny/"), "tiny");
    expect_name(join(path, top, "tiny/."), "tiny");
    expect_name(join(path, top, "other/../tiny//"), "tiny");
    assert_int_equal(symlink("tiny", join(link, top, "link")), 0);
    expect_name(link, "tiny");
    assert_int_equal(chdir(join(path, top, "tiny")), 0);
    expect_name(".", "tiny");
    assert_int_equal(chdir(here), 0);
    expect_name("/", "/");
    expect_name(join(path, top, folders[3]), "huginn-0125");
    unlink(link);
    assert_int_equal(symlink(folders[3], link), 0);
    expect_name(link, "huginn-0125");
    expect_name(join(path, top, "other/snapshots/rev"), "rev");
    struct test_log log;
    char name[IDENTITY_NAME_BYTES];
    test_log_init(&log);
    assert_int_equal(identity_model_name(name, join(path, top, "none"), &log.log), MN_ERR_FILE);
    assert_int_equal(log.n_errors, 1);
    unlink(link);
    for (int i = N; i-- > 0;)
        rmdir(join(path, top, folders[i]));
    assert_int_equal(rmdir(top), 0);
}

/* ---- devices ---- */

static void test_devices(void **state)
{
    (void)state;
    struct device_candidate all[4] = {{.caps = {.name = "GPU", .driver = "d 1"}},
                                      {.caps = {.name = "GPU", .driver = "d 1"}},
                                      {.caps = {.name = "GPU", .driver = "d 2"}},
                                      {.caps = {.name = "CPU", .driver = "d 1", .is_cpu = true}}};
    all[1].caps.uuid[15] = 0xab;
    struct caps caps = all[0].caps;
    device_id_write(&caps, all, 1, 0);
    assert_string_equal(caps.id, ""); /* alone: a kind of device */
    device_id_write(&caps, all + 1, 3, 0);
    assert_string_equal(caps.id, ""); /* the other driver tells it apart */
    device_id_write(&caps, all, 4, 0);
    assert_string_equal(caps.id, "00000000000000000000000000000000");
    device_id_write(&caps, all, 4, 1);
    assert_string_equal(caps.id, "000000000000000000000000000000ab");
    all[0].caps.uuid[15] = 0xab;
    device_id_write(&caps, all, 4, 0);
    assert_string_equal(caps.id, "number 1 of 2");
    device_id_write(&caps, all, 4, 1);
    assert_string_equal(caps.id, "number 2 of 2");
    caps = all[3].caps;
    device_id_write(&caps, all, 4, 3);
    assert_non_null(strstr(caps.id, " processors"));
}

/* ---- XXH64 ---- */

static void test_hash(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t seed, hash;
    } published[] = {{"", 0, 0xef46db3751d8e999},
                     {"a", 0, 0xd24ec4f1a98c6e5b},
                     {"abc", 0, 0x44bc2cf5ad770999},
                     {"Nobody inspects the spammish repetition", 0, 0xfbcea83c8a378bf1}};
    for (size_t i = 0; i < sizeof published / sizeof *published; i++)
        assert_int_equal(hash_block(published[i].seed, published[i].text, strlen(published[i].text)),
                         published[i].hash);
    uint8_t bytes[100];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    for (size_t n = 0; n <= sizeof bytes; n++) {
        const uint64_t hash = hash_block(1, bytes, n);
        assert_true(hash != hash_block(2, bytes, n));
        for (size_t i = 0; i < n; i++) {
            bytes[i] ^= 128;
            assert_true(hash != hash_block(1, bytes, n));
            bytes[i] ^= 128;
        }
    }
}

int main(void)
{
    struct test_devices devices;
    test_devices_find(&devices); /* skipped without one */
    alarm(HANG_SECONDS);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_hash),     cmocka_unit_test(test_names),
                                       cmocka_unit_test(test_devices),  cmocka_unit_test(test_whole),
                                       cmocka_unit_test(test_shards),   cmocka_unit_test(test_padding),
                                       cmocka_unit_test(test_synthetic)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
