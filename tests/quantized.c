#include "tests/quantized.h"

void place_open(struct place *p)
{
    strcpy(p->dir, "/tmp/muninn-quantize-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->out, sizeof p->out, "%s/out", p->dir);
    test_log_init(&p->log);
}

void run_shell(const char *what, const char *a, const char *b)
{
    char command[3 * PATH_BYTES];
    snprintf(command, sizeof command, "%s '%s'%s%s%s", what, a, b ? " '" : "", b ? b : "", b ? "'" : "");
    assert_int_equal(system(command), 0);
}

void place_close(struct place *p)
{
    run_shell("rm -r", p->dir, NULL);
}

uint32_t count_files(const char *path)
{
    uint32_t n = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 2;
}

enum mn_status quantize(struct place *p, const char *model, const char *type)
{
    return mn_quantize(
        &(struct mn_quantize_params){.model_dir = model, .out_dir = p->out, .weight_type = type, .log = &p->log.log},
        NULL);
}

void quantize_well(struct place *p, const char *model, const char *type)
{
    if (quantize(p, model, type))
        fail_msg("%s as %s: %s", model, type, p->log.last);
    assert_int_equal(count_files(p->dir), 1);
}

void tensors_read(struct tensors *t, const char *dir)
{
    t->n = 0;
    assert_int_equal(safetensors_open(&t->file, dir, NULL, NULL), MN_OK);
    for (uint32_t i = 0; i < safetensors_n_tensors(t->file); i++) {
        const struct tensor_view *view = safetensors_tensor(t->file, i);
        assert_true(t->n < MAX_TENSORS - 4);
        t->bytes[t->n] = malloc(view->bytes + 1);
        assert_non_null(t->bytes[t->n]);
        assert_int_equal(safetensors_read(t->file, view, 0, view->bytes, t->bytes[t->n], NULL), MN_OK);
        t->headers[t->n] = (struct tensor_header){view->name, view->dtype_name, view->rank, {0}, view->bytes};
        memcpy(t->headers[t->n++].shape, view->shape, sizeof view->shape);
    }
}

void tensors_free(struct tensors *t)
{
    for (uint32_t i = 0; i < t->n; i++)
        free(t->bytes[i]);
    safetensors_close(t->file);
}

void tensors_write(const struct tensors *t, const char *dir)
{
    char path[PATH_BYTES];
    struct output_file out;
    assert_true(snprintf(path, sizeof path, "%s/model.safetensors", dir) < (int)sizeof path);
    assert_int_equal(output_open(&out, path, NULL), MN_OK);
    assert_int_equal(safetensors_write_header(&out, t->headers, t->n, NULL), MN_OK);
    for (uint32_t i = 0; i < t->n; i++)
        assert_int_equal(output_write(&out, t->bytes[i], t->headers[i].bytes, NULL), MN_OK);
    assert_int_equal(output_commit(&out, NULL), MN_OK);
}

uint32_t find(const struct tensors *t, const char *name)
{
    for (uint32_t i = 0; i < t->n; i++)
        if (!strcmp(t->headers[i].name, name))
            return i;
    fail_msg("no tensor %s", name);
    return 0;
}

void expect_same_tensors(const struct tensors *a, const struct tensors *b)
{
    assert_int_equal(a->n, b->n);
    for (uint32_t i = 0; i < a->n; i++) {
        const uint32_t k = find(b, a->headers[i].name);
        assert_string_equal(a->headers[i].dtype_name, b->headers[k].dtype_name);
        assert_int_equal(a->headers[i].bytes, b->headers[k].bytes);
        assert_memory_equal(a->headers[i].shape, b->headers[k].shape, sizeof a->headers[i].shape);
        assert_memory_equal(a->bytes[i], b->bytes[k], a->headers[i].bytes);
    }
}

char *read_text(const char *dir, const char *name)
{
    char path[PATH_BYTES], *text = NULL;
    size_t n;
    assert_true(snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path);
    assert_int_equal(input_read_all(&text, &n, path, CONFIG_MAX, NULL), MN_OK);
    return text;
}

void write_text(const char *dir, const char *name, const char *text)
{
    char path[PATH_BYTES];
    assert_true(snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

char *replaced(const char *text, const char *old, const char *by)
{
    const char *at = strstr(text, old);
    char *out = malloc(strlen(text) + strlen(by) + 1);
    if (!at || !out)
        fail_msg("no '%s' in %s", old, text);
    sprintf(out, "%.*s%s%s", (int)(at - text), text, by, at + strlen(old));
    return out;
}
