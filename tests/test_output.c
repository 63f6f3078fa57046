/* Goal: whatever stands at an output's path, it is replaced by a complete file, written through, or refused; after
 * every failure the old content is there and nothing lies beside it. Method: a folder of our own with one thing of each
 * kind in it; a file size limit plays the full disk, /dev/full is one. output_check: a table of spellings over files,
 * links and a model folder. */
#define _DEFAULT_SOURCE /* mknod */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/files/output_file.h"
#include "tests/capture.h"

static char folder[] = "/tmp/muninn-test-XXXXXX";
static struct capture capture;
static const struct mn_log log_ = {capture_write, &capture};

static int make_folder(void **state)
{
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    capture = (struct capture){0};
    strcpy(folder, "/tmp/muninn-test-XXXXXX");
    return !mkdtemp(folder) || chdir(folder) != 0;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return chdir("/") != 0 || system(command) != 0;
}

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void holds(const char *path, const char *text)
{
    char got[256] = "";
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    got[fread(got, 1, sizeof got - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(got, text);
}

/* What is in the folder but for what the test put there. */
static void n_entries(int n)
{
    char command[96];
    snprintf(command, sizeof command, "test $(ls -A %s | wc -l) -eq %d", folder, n);
    assert_int_equal(system(command), 0);
}

static enum mn_status write_text(const char *path, const char *text)
{
    struct output_file out;
    enum mn_status status = output_open(&out, path, &log_);
    if (status)
        return status;
    fputs(text, out.text);
    return output_commit(&out, &log_);
}

static void limit_size(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_plain(void **state)
{
    (void)state;
    struct stat info;
    struct output_file out;
    const mode_t mask = umask(027);
    assert_int_equal(write_text("new", "one"), MN_OK);
    umask(mask);
    holds("new", "one");
    assert_int_equal(stat("new", &info), 0);
    assert_int_equal(info.st_mode & 07777, 0640);
    assert_int_equal(chmod("new", 04604), 0);
    assert_int_equal(write_text("new", "two"), MN_OK);
    holds("new", "two");
    assert_int_equal(stat("new", &info), 0);
    assert_int_equal(info.st_mode & 07777, 0604);
    assert_int_equal(write_text("new", ""), MN_OK);
    holds("new", "");
    put("new", "old");
    /* Nothing lies there before there is something to write, and a run that gives up leaves the old one. */
    assert_int_equal(output_open(&out, "new", &log_), MN_OK);
    n_entries(1);
    fputs("half", out.text);
    assert_int_equal(output_flush(&out, &log_), MN_OK);
    n_entries(2);
    holds("new", "old");
    output_discard(&out);
    output_discard(&out);
    n_entries(1);
    holds("new", "old");
    assert_int_equal(output_open(&out, "new", &log_), MN_OK);
    for (int i = 0; i < 3; i++) {
        fprintf(out.text, "%d", i);
        assert_int_equal(output_write(&out, "-", 1, &log_), MN_OK);
    }
    assert_int_equal(out.n_bytes, 6);
    assert_int_equal(output_commit(&out, &log_), MN_OK);
    holds("new", "0-1-2-");
    n_entries(1);
    assert_int_equal(capture.n, 0);
}

/* A name of the greatest length still has a file beside it. */
static void test_names(void **state)
{
    (void)state;
    char name[256], path[OUTPUT_PATH_BYTES + 8];
    memset(name, 'n', 255);
    name[255] = '\0';
    assert_int_equal(write_text(name, "x"), MN_OK);
    holds(name, "x");
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    assert_int_equal(write_text(path, "x"), MN_ERR_FILE);
    capture.n = 0;
    static const char *const none[] = {"", "none/file", "none/", "file/"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_int_equal(write_text(none[i], "x"), MN_ERR_FILE);
        expect_log(&capture, "cannot be written: ", none[i]);
    }
    n_entries(1);
}

static void test_links(void **state)
{
    (void)state;
    struct stat info;
    struct output_file out;
    assert_int_equal(mkdir("far", 0777), 0);
    put("far/file", "old");
    assert_int_equal(symlink("file", "far/near"), 0);
    assert_int_equal(symlink("far/near", "link"), 0);
    assert_int_equal(write_text("link", "new"), MN_OK);
    holds("far/file", "new");
    assert_true(lstat("link", &info) == 0 && S_ISLNK(info.st_mode));
    assert_true(lstat("far/near", &info) == 0 && S_ISLNK(info.st_mode));
    assert_true(lstat("far/file", &info) == 0 && S_ISREG(info.st_mode));
    assert_int_equal(output_append(&out, "link", &log_), MN_OK);
    fputs("er", out.text);
    assert_int_equal(output_commit(&out, &log_), MN_OK);
    holds("far/file", "newer");
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    assert_int_equal(symlink("loop", "loop"), 0);
    assert_int_equal(write_text("dangling", "x"), MN_ERR_FILE);
    expect_log(&capture, "dangling", "is a link that leads nowhere");
    assert_int_equal(output_append(&out, "dangling", &log_), MN_ERR_FILE);
    expect_log(&capture, "dangling", "is a link that leads nowhere");
    assert_int_equal(write_text("loop", "x"), MN_ERR_FILE);
    expect_log(&capture, "loop", strerror(ELOOP));
    n_entries(4);
}

static void test_refused(void **state)
{
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct output_file out;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(mkdir("folder", 0777), 0);
    assert_int_equal(write_text("socket", "x"), MN_ERR_USAGE);
    expect_log(&capture, "socket", "is a socket");
    assert_int_equal(write_text("folder", "x"), MN_ERR_USAGE);
    expect_log(&capture, "folder", "is a folder");
    assert_int_equal(output_append(&out, "folder", &log_), MN_ERR_USAGE);
    expect_log(&capture, "folder", "is a folder");
    if (mknod("disk", S_IFBLK | 0600, makedev(7, 250)) == 0) {
        assert_int_equal(write_text("disk", "x"), MN_ERR_USAGE);
        expect_log(&capture, "disk", "is a disk");
    }
    if (geteuid() != 0) { /* root may */
        put("file", "old");
        assert_int_equal(chmod("file", 0444), 0);
        assert_int_equal(write_text("file", "x"), MN_ERR_FILE);
        expect_log(&capture, "file", strerror(EACCES));
        assert_int_equal(chmod("folder", 0555), 0);
        assert_int_equal(write_text("folder/file", "x"), MN_ERR_FILE);
        expect_log(&capture, "folder/file", strerror(EACCES));
    }
    close(fd);
}

static void test_through(void **state)
{
    (void)state;
    struct output_file out;
    struct stat info;
    char got[16] = "", path[32];
    assert_int_equal(mkfifo("pipe", 0600), 0);
    const int reader = open("pipe", O_RDONLY | O_NONBLOCK);
    assert_int_equal(symlink("pipe", "link"), 0);
    for (int append = 0; append < 2; append++) {
        assert_int_equal(append ? output_append(&out, "link", &log_) : output_open(&out, "link", &log_), MN_OK);
        fputs("text", out.text);
        assert_int_equal(output_flush(&out, &log_), MN_OK);
        assert_int_equal(read(reader, got, sizeof got), 4); /* at once */
        assert_int_equal(output_sync(&out, &log_), MN_OK);
        assert_int_equal(output_commit(&out, &log_), MN_OK);
    }
    assert_true(lstat("pipe", &info) == 0 && S_ISFIFO(info.st_mode));
    assert_int_equal(output_open(&out, "pipe", &log_), MN_OK);
    close(reader);
    fputs("text", out.text);
    assert_int_equal(output_commit(&out, &log_), MN_ERR_RUN);
    expect_log(&capture, "pipe: writing failed", strerror(EPIPE));
    assert_int_equal(write_text("pipe", "x"), MN_ERR_FILE);
    expect_log(&capture, "pipe", "is a pipe that nobody reads");
    assert_int_equal(write_text("/dev/null", "x"), MN_OK);
    assert_int_equal(write_text("/dev/full", "x"), MN_ERR_RUN);
    expect_log(&capture, "/dev/full: writing failed", strerror(ENOSPC));
    assert_true(stat("/dev/full", &info) == 0 && S_ISCHR(info.st_mode));
    /* A descriptor of ours: what was written there stays, whatever stands behind it. */
    put("file", "");
    const int fd = open("file", O_WRONLY);
    assert_int_equal(write(fd, "before ", 7), 7);
    snprintf(path, sizeof path, "/dev/fd/%d", fd);
    assert_int_equal(symlink(path, "stdout"), 0);
    assert_int_equal(write_text(path, "then "), MN_OK);
    assert_int_equal(write_text("stdout", "now "), MN_OK);
    assert_int_equal(write(fd, "behind", 6), 6);
    close(fd);
    holds("file", "before then now behind");
    n_entries(4);
}

static void test_full(void **state)
{
    (void)state;
    struct output_file out;
    static char many[3000];
    memset(many, 'x', sizeof many);
    put("file", "old\n");
    limit_size(1000);
    assert_int_equal(output_open(&out, "file", &log_), MN_OK);
    fputs("text", out.text);
    assert_int_equal(output_write(&out, many, sizeof many, &log_), MN_ERR_RUN);
    expect_log(&capture, "file: writing failed", strerror(EFBIG));
    fputs("more", out.text);
    assert_int_equal(output_flush(&out, &log_), MN_ERR_RUN); /* said once */
    assert_int_equal(output_commit(&out, &log_), MN_ERR_RUN);
    assert_int_equal(capture.n, 0);
    n_entries(1);
    holds("file", "old\n");
    assert_int_equal(output_append(&out, "file", &log_), MN_OK);
    fputs("whole\n", out.text);
    assert_int_equal(output_flush(&out, &log_), MN_OK);
    fprintf(out.text, "%.*s", (int)sizeof many, many);
    assert_int_equal(output_flush(&out, &log_), MN_ERR_RUN);
    expect_log(&capture, "file: writing failed", strerror(EFBIG));
    output_discard(&out);
    limit_size(RLIM_INFINITY);
    holds("file", "old\nwhole\n");
    assert_int_equal(output_append(&out, "file", &log_), MN_OK);
    assert_int_equal(output_cut(&out, 4, &log_), MN_OK);
    fputs("last\n", out.text);
    assert_int_equal(output_commit(&out, &log_), MN_OK);
    holds("file", "old\nlast\n");
    assert_int_equal(output_append(&out, "made", &log_), MN_OK);
    output_discard(&out);
    holds("made", "");
    n_entries(2);
}

/* What is put there while the run goes on is not run over either. */
static void test_meanwhile(void **state)
{
    (void)state;
    struct output_file out;
    assert_int_equal(output_open(&out, "file", &log_), MN_OK);
    fputs("text", out.text);
    assert_int_equal(output_flush(&out, &log_), MN_OK);
    assert_int_equal(mkfifo("file", 0600), 0);
    assert_int_equal(output_commit(&out, &log_), MN_ERR_RUN);
    expect_log(&capture, "file: writing failed", strerror(EEXIST));
    n_entries(1);
}

static void test_check(void **state)
{
    (void)state;
    assert_int_equal(mkdir("model", 0777), 0);
    put("model/config.json", "{}");
    put("model/a.safetensors", "");
    put("model/notes.md", "");
    put("prompt", "");
    assert_int_equal(link("prompt", "hard"), 0);
    assert_int_equal(symlink("model", "m"), 0);
    assert_int_equal(symlink("../prompt", "model/soft"), 0);
    assert_int_equal(mkfifo("pipe", 0600), 0);
    const struct {
        const char *output, *other, *model, *prompt, *word; /* word NULL: accepted */
    } cases[] = {
        {"new", "newer", "model", "prompt", NULL},
        {"new", NULL, "model", "-", NULL},
        {"prompt", NULL, "model", "prompt", "--out prompt: is the input prompt"},
        {"./m/../prompt", NULL, "model", "prompt", "is the input prompt"},
        {"hard", NULL, "model", "prompt", "is the input prompt"},
        {"model/soft", NULL, "model", "hard", "is the input hard"},
        {"model/config.json", NULL, "m", "prompt", "is the input m/config.json"},
        {"m/a.safetensors", NULL, "model", "prompt", "is the input model/a.safetensors"},
        {"m/b.safetensors", NULL, "model", "prompt", NULL},
        {"model/notes.md", NULL, "model", "prompt", NULL},
        {"new", "new", "model", "prompt", "--out new: is the file of --other, too"},
        {"m/new", "./model/new", "model", "prompt", "is the file of --other, too"},
        {"model/new", "new", "model", "prompt", NULL},
        {"hard", "prompt", "model", NULL, "is the file of --other, too"},
        {"new", "prompt", "model", "hard", "--other prompt: is the input hard"},
        {"pipe", NULL, "model", "pipe", "is the input pipe"},
        {"/dev/null", "/dev/null", "model", "/dev/null", NULL},
        {"none/new", "none/new", "nowhere", "nothing", NULL}, /* whoever opens them says so */
        {"model", NULL, "model", "prompt", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct output_use uses[] = {{"--out", cases[i].output, true},
                                          {"--other", cases[i].other, true},
                                          {"-m", cases[i].model, false},
                                          {"-f", cases[i].prompt, false}};
        const enum mn_status status = output_check(uses, sizeof uses / sizeof *uses, &log_);
        if (status != (cases[i].word ? MN_ERR_USAGE : MN_OK))
            fail_msg("case %zu: %d, \"%s\"", i, (int)status, capture.line);
        if (cases[i].word)
            expect_log(&capture, cases[i].word, "");
    }
    assert_int_equal(capture.n, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {TEST(test_plain),   TEST(test_names), TEST(test_links),     TEST(test_refused),
                                       TEST(test_through), TEST(test_full),  TEST(test_meanwhile), TEST(test_check)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
