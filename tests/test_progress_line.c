/* Goal: the line on a terminal says what is under way, soon enough and not too often, and never stands in the way.
 * Method: stderr is a pseudo-terminal, the clock is the test's own. What comes out is read byte for byte. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
/* cmocka.h needs the four headers at the top. */
#include <cmocka.h>

#include "cli/common/interrupt.h"
#include "cli/common/progress.h"
#include "cli/common/talk.h"

#define ERASE "\r\033[K"

double __wrap_clock_s(void);
static double now = 100.0;
static int terminal = -1, saved = -1;

double __wrap_clock_s(void)
{
    return now;
}

static int setup(void **state)
{
    (void)state;
    setenv("TERM", "xterm", 1);
    setenv("COLUMNS", "60", 1);
    terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) || unlockpt(terminal))
        return -1;
    const int other = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    saved = dup(STDERR_FILENO);
    return other < 0 || dup2(other, STDERR_FILENO) < 0 || close(other) || fcntl(terminal, F_SETFL, O_NONBLOCK);
}

static int teardown(void **state)
{
    (void)state;
    dup2(saved, STDERR_FILENO);
    return 0;
}

/* What the terminal got since the last time. */
static const char *got(void)
{
    static char text[4096];
    const ssize_t n = read(terminal, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static int tell(const char *what, uint64_t done, uint64_t total)
{
    const struct mn_progress progress = cli_progress();
    return progress.report(progress.user, what, done, total);
}

static void test_when(void **state)
{
    (void)state;
    assert_int_equal(tell("reading weights", 0, 1000), 0);
    now += 0.4;
    tell("reading weights", 200, 1000);
    assert_string_equal(got(), "");
    now += 0.6;
    tell("reading weights", 250, 1000);
    assert_string_equal(got(), ERASE "reading weights: 25 %, 1 s, 3 s left");
    now += 0.05; /* too soon */
    tell("reading weights", 500, 1000);
    assert_string_equal(got(), "");
    now += 199.0;
    tell("reading weights", 500, 1000);
    assert_string_equal(got(), ERASE "reading weights: 50 %, 3 min, 3 min left");
    now += 1.0; /* nothing new */
    tell("reading weights", 500, 1000);
    assert_string_equal(got(), "");
    tell("reading weights", 1000, 1000);
    assert_string_equal(got(), ERASE);
    tell(NULL, 0, 0);
    assert_string_equal(got(), "");
    tell("building pipelines", 0, 4); /* another phase: its own half second */
    now += 0.3;
    tell("building pipelines", 3, 4);
    assert_string_equal(got(), "");
    now += 0.3;
    tell("building pipelines", 3, 4);
    assert_string_equal(got(), ERASE "building pipelines: 75 %, 1 s, 0 s left");
    cli_progress_clear(); /* somebody writes */
    assert_string_equal(got(), ERASE);
    cli_progress_clear();
    assert_string_equal(got(), "");
    now += 1.0;
    tell("building pipelines", 3, 4);
    assert_string_equal(got(), ERASE "building pipelines: 75 %, 2 s, 1 s left");
    tell(NULL, 0, 0); /* it failed, and something else goes on */
    assert_string_equal(got(), ERASE);
}

static void test_within(void **state)
{
    (void)state;
    cli_progress_own("3/20 ar R 4", 0, 0);
    assert_string_equal(got(), "");
    now += 1.0;
    tell(NULL, 0, 0);
    assert_string_equal(got(), ERASE "3/20 ar R 4");
    tell("warming up", 0, 10);
    now += 1.0;
    tell("warming up", 5, 10);
    assert_string_equal(got(), ERASE "3/20 ar R 4; warming up: 50 %, 1 s, 1 s left");
    tell("warming up", 10, 10);
    now += 1.0;
    tell(NULL, 0, 0);
    assert_string_equal(got(), ERASE "3/20 ar R 4");
    now += 1.0;
    cli_progress_own("4/20 ar R 4", 5, 10);
    assert_string_equal(got(), ERASE "4/20 ar R 4: 50 %, 4 s, 4 s left");
    cli_progress_own(NULL, 0, 0);
    assert_string_equal(got(), ERASE);
}

static void test_width(void **state)
{
    (void)state;
    const struct winsize narrow = {.ws_row = 10, .ws_col = 12};
    tell("a phase with a name that takes a lot of room", 0, 2);
    now += 1.0;
    tell("a phase with a name that takes a lot of room", 1, 2);
    const char *all = got();
    assert_int_equal(strlen(all), strlen(ERASE) + 59); /* COLUMNS: pseudo-terminals have no size of their own */
    assert_int_equal(ioctl(terminal, TIOCSWINSZ, &narrow), 0);
    now += 1.0;
    tell("a phase with a name that takes a lot of room", 1, 2);
    assert_string_equal(got(), ERASE "a phase wit");
    tell(NULL, 0, 0);
    got();
    tell("caf\xc3\xa9s\033[31m", 0, 2); /* cut between characters, and nothing that drives a terminal */
    now += 1.0;
    tell("caf\xc3\xa9s\033[31m", 1, 2);
    assert_string_equal(got(), ERASE "caf\xc3\xa9s\\u001");
    tell(NULL, 0, 0);
    got();
}

static void test_off(void **state)
{
    (void)state;
    tell("reading weights", 0, 2);
    now += 1.0;
    tell("reading weights", 1, 2);
    assert_string_not_equal(got(), "");
    cli_progress_clear();
    assert_string_equal(got(), ERASE);
    assert_int_equal(cli_talk(true, false, NULL), MN_OK);
    now += 1.0;
    tell("reading weights", 1, 2);
    cli_progress_own("own", 1, 2);
    now += 1.0;
    tell("reading weights", 1, 2);
    assert_string_equal(got(), "");
    cli_interrupt_closed_pipe();
    assert_int_not_equal(tell("reading weights", 1, 2), 0);
    assert_int_equal(cli_interrupt_exit_code(), 141);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_when), cmocka_unit_test(test_within), cmocka_unit_test(test_width),
        cmocka_unit_test(test_off), /* the last one: quiet stays quiet */
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
