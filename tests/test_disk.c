/* Goal: files, folders and streams of the system behave as everybody above expects, on every system, with names that
 * are not ASCII. Method: a temporary folder with such a name; each call of engine/files/disk.h, outputs that replace,
 * grow and become folders, text in memory, the environment. What POSIX alone has is in test_output.c and test_folder.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/decimal.h"
#include "engine/base/system.h"
#include "engine/files/input.h"
#include "engine/files/lines.h"
#include "engine/files/output_file.h"
#include "engine/files/output_folder.h"
#include "tests/testing.h"

struct place {
    char top[64], dir[128], a[160], b[160];
    struct test_log log;
};

static int make_place(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    assert_non_null(p);
    strcpy(p->top, "/tmp/muninn-test-XXXXXX");
    assert_non_null(mkdtemp(p->top));
    snprintf(p->dir, sizeof p->dir, "%s/\xe6\xa8\xa1\xe5\x9e\x8b \xc3\xbcn\xc3\xaf", p->top);
    snprintf(p->a, sizeof p->a, "%s/\xc3\xa4.txt", p->dir);
    snprintf(p->b, sizeof p->b, "%s/\xf0\x9f\x90\xa6.txt", p->dir);
    assert_true(folder_make(p->dir, 0777));
    test_log_init(&p->log);
    *state = p;
    return 0;
}

static int remove_place(void **state)
{
    struct place *p = *state;
    disk_remove(p->a);
    disk_remove(p->b);
    assert_true(folder_remove(p->dir));
    assert_true(folder_remove(p->top));
    free(p);
    return 0;
}

static void check_content(const char *path, const char *expected)
{
    char bytes[256];
    const int fd = disk_open_read(path);
    assert_true(fd >= 0);
    const int64_t n = disk_read_at(fd, bytes, sizeof bytes, 0);
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(bytes, expected, strlen(expected));
    assert_true(disk_close(fd));
}

static void write_plain(const char *path, const char *text)
{
    const int fd = disk_open_new(path, 0666);
    assert_true(fd >= 0);
    assert_true(disk_write(fd, text, strlen(text)));
    assert_true(disk_sync(fd));
    assert_true(disk_close(fd));
}

/* Bytes stay as they are; a name is taken once; what stands there is told. */
static void test_files(void **state)
{
    struct place *p = *state;
    struct disk_info info, other;
    errno = 0;
    assert_false(disk_look(&info, p->a));
    assert_int_equal(errno, ENOENT);
    write_plain(p->a, "one\ntwo\r\n\x1a three");
    check_content(p->a, "one\ntwo\r\n\x1a three");
    assert_int_equal(disk_open_new(p->a, 0666), -1);
    assert_int_equal(errno, EEXIST);
    assert_true(disk_look(&info, p->a));
    assert_int_equal(info.kind, DISK_PLAIN);
    assert_int_equal(info.n_bytes, 16);
    assert_true(info.own);
    assert_true(llabs((long long)info.changed_ns / 1000000000 - (long long)time(NULL)) < 3600);
    write_plain(p->b, "");
    assert_true(disk_look(&other, p->b));
    assert_false(disk_is_same(&info, &other));
    const int fd = disk_open_read(p->a);
    assert_true(fd >= 0 && disk_look_open(&other, fd));
    assert_true(disk_is_same(&info, &other));
    char middle[4] = "";
    assert_int_equal(disk_read_at(fd, middle, 3, 4), 3);
    assert_string_equal(middle, "two");
    assert_int_equal(disk_read_at(fd, middle, 3, 15), 1);
    assert_int_equal(disk_read_at(fd, middle, 3, 99), 0);
    assert_true(disk_close(fd));
    assert_true(disk_rename(p->a, p->b)); /* over a file that is there */
    check_content(p->b, "one\ntwo\r\n\x1a three");
    assert_false(disk_look(&info, p->a));
    assert_true(disk_touch(p->b));
    assert_true(disk_may_make(p->dir) && disk_may_write(p->b));
    assert_false(disk_may_make(p->a));
    assert_true(disk_look(&info, p->dir));
    assert_int_equal(info.kind, DISK_FOLDER);
}

/* Adding goes to the end; one writer at a time; the end can be cut off. */
static void test_growing(void **state)
{
    struct place *p = *state;
    assert_int_equal(disk_open_grow(p->a, false), -1);
    assert_int_equal(errno, ENOENT);
    int fd = disk_open_grow(p->a, true);
    assert_true(fd >= 0);
    assert_true(disk_lock(fd));
    assert_true(disk_write(fd, "12345\n", 6));
    check_content(p->a, "12345\n"); /* others may read */
    assert_true(disk_cut(fd, 3));
    assert_true(disk_write(fd, "x", 1));
    assert_true(disk_close(fd));
    fd = disk_open_grow(p->a, false);
    assert_true(fd >= 0 && disk_lock(fd) && disk_write(fd, "y", 1) && disk_close(fd));
    check_content(p->a, "123xy");
}

static void test_names(void **state)
{
    struct place *p = *state;
    const char *name;
    struct disk_info info;
    uint32_t n = 0;
    char path[200];
    assert_null(folder_open(p->a));
    assert_int_equal(errno, ENOENT);
    write_plain(p->a, "a");
    write_plain(p->b, "b");
    struct folder *folder = folder_open(p->dir);
    assert_non_null(folder);
    for (; (name = folder_next(folder)) != NULL; n++) {
        snprintf(path, sizeof path, "%s/%s", p->dir, name);
        assert_true(!strcmp(path, p->a) || !strcmp(path, p->b));
        assert_true(folder_look_here(&info, folder, name));
        assert_int_equal(info.n_bytes, 1);
        const int fd = folder_open_read(folder, name);
        assert_true(fd >= 0 && disk_close(fd));
        assert_true(folder_remove_file(folder, name));
    }
    folder_close(folder);
    assert_int_equal(n, 2);
    assert_false(disk_look(&info, p->a) || disk_look(&info, p->b));
    assert_int_equal(path_folder_bytes("a/b/c"), 4);
    assert_int_equal(path_folder_bytes("c"), 0);
    assert_int_equal(path_bytes("a/b//"), 3);
    assert_int_equal(path_bytes("/"), 1);
    assert_true(path_is_absolute("/a"));
    assert_false(path_is_absolute("a/b"));
    snprintf(path, sizeof path, "%s/.", p->dir);
    char *real = path_real(path);
    assert_non_null(real);
    assert_string_equal(real + path_folder_bytes(real), p->dir + path_folder_bytes(p->dir));
    free(real);
}

/* An old file stays until a complete new one is there; a folder comes whole, over an empty one. */
static void test_outputs(void **state)
{
    struct place *p = *state;
    struct output_file out;
    struct output_folder folder;
    char path[OUTPUT_PATH_BYTES];
    struct disk_info info;
    write_plain(p->a, "old");
    assert_int_equal(output_open(&out, p->a, &p->log.log), MN_OK);
    fputs("new\r\ntext\n", out.text);
    assert_int_equal(output_flush(&out, &p->log.log), MN_OK);
    check_content(p->a, "old");
    fputs("!", out.text);
    assert_int_equal(output_commit(&out, &p->log.log), MN_OK);
    check_content(p->a, "new\r\ntext\n!");
    assert_int_equal(output_append(&out, p->a, &p->log.log), MN_OK);
    fputs("?", out.text);
    assert_int_equal(output_commit(&out, &p->log.log), MN_OK);
    check_content(p->a, "new\r\ntext\n!?");
    assert_int_equal(output_open(&out, p->dir, &p->log.log), MN_ERR_USAGE);
    assert_int_equal(output_check((struct output_use[]){{"-o", p->a, true}, {"-f", p->a, false}}, 2, &p->log.log),
                     MN_ERR_USAGE);
    assert_true(disk_remove(p->a));

    assert_true(folder_make(p->a, 0777)); /* empty: it gives way */
    assert_int_equal(output_folder_open(&folder, p->a, p->top, &p->log.log), MN_ERR_USAGE);
    assert_int_equal(output_folder_open(&folder, p->a, RAVEN_TINY, &p->log.log), MN_OK);
    assert_int_equal(output_folder_path(&folder, "x", path, &p->log.log), MN_OK);
    write_plain(path, "in it");
    assert_int_equal(output_folder_commit(&folder, &p->log.log), MN_OK);
    snprintf(path, sizeof path, "%s/x", p->a);
    check_content(path, "in it");
    assert_int_equal(output_folder_open(&folder, p->a, RAVEN_TINY, &p->log.log), MN_ERR_USAGE); /* no longer empty */
    assert_int_equal(output_folder_open(&folder, p->b, RAVEN_TINY, &p->log.log), MN_OK);
    output_folder_discard(&folder);
    assert_false(disk_look(&info, p->b));
    assert_true(disk_remove(path));
    assert_true(folder_remove(p->a));
}

/* Nothing is left beside what was written, whatever became of it. */
static void test_nothing_beside(void **state)
{
    struct place *p = *state;
    struct output_file out;
    assert_int_equal(output_open(&out, p->a, &p->log.log), MN_OK);
    fputs("part", out.text);
    assert_int_equal(output_flush(&out, &p->log.log), MN_OK);
    output_discard(&out);
    struct folder *folder = folder_open(p->dir);
    assert_non_null(folder);
    assert_null(folder_next(folder));
    folder_close(folder);
}

static void test_inputs(void **state)
{
    struct place *p = *state;
    char *bytes;
    size_t n;
    assert_false(input_exists(p->a));
    assert_int_equal(input_read_all(&bytes, &n, p->a, 100, &p->log.log), MN_ERR_FILE);
    assert_non_null(strstr(p->log.last, "No such file"));
    assert_int_equal(input_read_all(&bytes, &n, p->dir, 100, &p->log.log), MN_ERR_FILE);
    assert_non_null(strstr(p->log.last, "not a regular file but a folder"));
    write_plain(p->a, "l1\r\nl2");
    assert_int_equal(text_file_read(p->a, &bytes, &n, &p->log.log), MN_OK);
    assert_int_equal(n, 6);
    assert_string_equal(bytes, "l1\r\nl2");
    free(bytes);
    FILE *stream = disk_stream(p->a, "rb");
    char *line = NULL;
    size_t capacity = 0;
    assert_non_null(stream);
    assert_true(line_read(stream, &line, &capacity, &n));
    assert_string_equal(line, "l1\r\n");
    assert_true(line_read(stream, &line, &capacity, &n));
    assert_string_equal(line, "l2");
    assert_false(line_read(stream, &line, &capacity, &n));
    free(line);
    fclose(stream);
}

static void test_memory_text(void **state)
{
    char *text = NULL;
    size_t n = 0;
    (void)state;
    FILE *stream = memory_open(&text, &n);
    assert_non_null(stream);
    assert_false(stream_is_terminal(stream));
    for (int i = 0; i < 10000; i++)
        fprintf(stream, "%d\n", i % 10);
    fputc('\0', stream);
    fprintf(stream, "%zu %.17g %s", (size_t)-1, 0.1, "\xc3\xa4");
    assert_true(memory_close(stream, &text, &n));
    const char expected[] = "18446744073709551615 0.10000000000000001 \xc3\xa4";
    assert_int_equal(n, 20001 + strlen(expected));
    assert_string_equal(text + 20001, expected);
    free(text);
}

static void test_process(void **state)
{
    (void)state;
    uint64_t a = 0, b = 0;
    system_set_variable("MUNINN_TEST", "v\xc3\xa4lue");
    assert_string_equal(system_variable("MUNINN_TEST"), "v\xc3\xa4lue");
    system_set_variable("MUNINN_TEST", NULL);
    assert_null(system_variable("MUNINN_TEST"));
    assert_true(system_random(&a, sizeof a) && system_random(&b, sizeof b));
    assert_true(a != b);
    assert_true(system_processors() >= 1 && system_processors_usable() >= 1);
    assert_true(system_available_bytes() > 0);
    const double before = system_monotonic_ns();
    assert_true(system_sleep_ms(2));
    assert_true(system_monotonic_ns() > before);
    assert_int_equal(system_utc(86400 * 365).tm_year, 71);
    assert_null(library_open((const char *const[]){"muninn-no-such-library.so", NULL}));
    char text[DECIMAL_BYTES];
    decimal_write(text, 0.1);
    assert_string_equal(text, "0.1");
    assert_true(decimal_read("2.2250738585072014e-308", NULL) == 2.2250738585072014e-308);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_files, make_place, remove_place),
        cmocka_unit_test_setup_teardown(test_growing, make_place, remove_place),
        cmocka_unit_test_setup_teardown(test_names, make_place, remove_place),
        cmocka_unit_test_setup_teardown(test_outputs, make_place, remove_place),
        cmocka_unit_test_setup_teardown(test_nothing_beside, make_place, remove_place),
        cmocka_unit_test_setup_teardown(test_inputs, make_place, remove_place),
        cmocka_unit_test(test_memory_text),
        cmocka_unit_test(test_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
