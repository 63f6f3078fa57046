/* Goal: the library works inside any program and changes nothing of it. Method: this program has the shared library and
 * muninn.h alone. (1) What a process has - locale, environment, working directory, umask, signal handlers and mask,
 * rounding, denormals, timers, open files - is the same before and after a generation, and a generation in a process
 * that has other ones of these (a comma for a point, a timer that interrupts every call, another folder after the model
 * was opened, no room for files) gives the same tokens or one error line. (2) Engines on threads of their own, and
 * several sessions of one engine by turns. (3) The library has no variables. */
#define _XOPEN_SOURCE 700 /* sigaltstack */
#include <dirent.h>
#include <errno.h>
#include <fenv.h>
#include <float.h>
#include <limits.h>
#include <locale.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>
/* cmocka.h needs the four headers setjmp, stdarg, stddef and stdint. */
#include <cmocka.h>

#include "api/muninn.h"

#define MODEL MN_SOURCE_DIR "/models/raven-tiny"

extern char **environ;

enum { N_NEW = 12, N_SIGNALS = 65, ENVIRONMENT_BYTES = 1 << 16 };

static const uint32_t prompt[] = {0, 393, 226, 23, 226, 29, 226, 21, 226, 22, 286};

struct run {
    struct mn_log log;
    char last[1024]; /* error line */
    uint32_t n_errors, n_tokens, tokens[N_NEW];
    enum mn_status status;
};

static void write_log(void *user, enum mn_log_level level, const char *line)
{
    struct run *run = user;
    if (level != MN_LOG_ERROR)
        return;
    run->n_errors++;
    snprintf(run->last, sizeof run->last, "%s", line);
}

static int add_token(void *user, uint32_t token)
{
    struct run *run = user;
    run->tokens[run->n_tokens++] = token;
    return 0;
}

static void run_init(struct run *run)
{
    *run = (struct run){.log = {write_log, run}};
}

static enum mn_status open_engine(struct run *run, const char *dir, struct mn_engine **engine)
{
    return mn_engine_create(engine, &(struct mn_engine_params){.model_dir = dir, .log = &run->log});
}

static enum mn_status open_session(struct mn_engine *engine, struct mn_session **session)
{
    return mn_session_create(session, engine, &(struct mn_session_params){.n_ctx = 64, .num_steps = 8, .max_rows = 4});
}

static enum mn_status generate(struct run *run, struct mn_session *session)
{
    struct mn_stats stats;
    run->n_tokens = 0;
    return mn_generate(session,
                       &(struct mn_generate_params){.prompt = prompt,
                                                    .n_prompt = sizeof prompt / sizeof *prompt,
                                                    .n_new = N_NEW,
                                                    .strategy = "draft-verify",
                                                    .sampler = {.temperature = 0.7f, .top_p = 0.95f, .seed = 3},
                                                    .speculation = {.draft_steps = 2, .lookahead = 3},
                                                    .exit = {.rule = "latent-diff:0.25"},
                                                    .ignore_eos = true,
                                                    .on_token = add_token,
                                                    .user = run},
                       &stats);
}

static void generate_once(struct run *run)
{
    struct mn_engine *engine = NULL;
    struct mn_session *session = NULL;
    run_init(run);
    run->status = open_engine(run, MODEL, &engine);
    if (!run->status)
        run->status = open_session(engine, &session);
    if (!run->status)
        run->status = generate(run, session);
    mn_session_destroy(session);
    mn_engine_destroy(engine);
}

static struct run first; /* in the process as it began */

static void assert_same_tokens(const struct run *run)
{
    if (run->status)
        fail_msg("%s: %s", mn_status_name(run->status), run->last);
    assert_int_equal(run->n_tokens, first.n_tokens);
    assert_memory_equal(run->tokens, first.tokens, sizeof first.tokens);
}

/* ---- what a process has ---- */

struct process {
    char locale[512], directory[PATH_MAX], environment[ENVIRONMENT_BYTES];
    locale_t thread_locale;
    mode_t mask;
    struct sigaction actions[N_SIGNALS];
    sigset_t blocked;
    stack_t stack;
    struct itimerval timers[3];
    struct rlimit files;
    int rounding, priority;
    bool denormals;
    unsigned n_files;
};

static unsigned count_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static void look(struct process *p)
{
    memset(p, 0, sizeof *p);
    snprintf(p->locale, sizeof p->locale, "%s", setlocale(LC_ALL, NULL));
    p->thread_locale = uselocale((locale_t)0);
    assert_non_null(getcwd(p->directory, sizeof p->directory));
    for (size_t i = 0, n = 0; environ[i] && n < sizeof p->environment; i++)
        n += (size_t)snprintf(p->environment + n, sizeof p->environment - n, "%s\n", environ[i]);
    p->mask = umask(0);
    umask(p->mask);
    for (int i = 1; i < N_SIGNALS; i++)
        sigaction(i, NULL, &p->actions[i]);
    pthread_sigmask(SIG_SETMASK, NULL, &p->blocked);
    sigaltstack(NULL, &p->stack);
    static const int timers[] = {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF};
    for (int i = 0; i < 3; i++)
        getitimer(timers[i], &p->timers[i]);
    getrlimit(RLIMIT_NOFILE, &p->files);
    p->rounding = fegetround();
    p->priority = getpriority(PRIO_PROCESS, 0);
    volatile float smallest = FLT_MIN;
    p->denormals = smallest / 4 > 0;
    p->n_files = count_files();
}

static void assert_unchanged(const struct process *before, const struct process *after)
{
    assert_string_equal(after->locale, before->locale);
    assert_true(after->thread_locale == before->thread_locale);
    assert_string_equal(after->directory, before->directory);
    assert_string_equal(after->environment, before->environment);
    assert_int_equal(after->mask, before->mask);
    for (int i = 1; i < N_SIGNALS; i++) {
        if (after->actions[i].sa_handler != before->actions[i].sa_handler ||
            after->actions[i].sa_flags != before->actions[i].sa_flags)
            fail_msg("signal %d is handled otherwise", i);
        assert_int_equal(sigismember(&after->blocked, i), sigismember(&before->blocked, i));
    }
    assert_memory_equal(&after->stack, &before->stack, sizeof before->stack);
    for (int i = 0; i < 3; i++)
        assert_int_equal(after->timers[i].it_interval.tv_usec, before->timers[i].it_interval.tv_usec);
    assert_int_equal(after->files.rlim_cur, before->files.rlim_cur);
    assert_int_equal(after->rounding, before->rounding);
    assert_int_equal(after->priority, before->priority);
    assert_int_equal(after->denormals, before->denormals);
    assert_int_equal(after->n_files, before->n_files);
}

static void nothing_is_changed(void **state)
{
    static struct process before, after;
    struct run run;
    (void)state;
    look(&before);
    generate_once(&run);
    look(&after);
    assert_same_tokens(&run);
    assert_unchanged(&before, &after);
}

/* ---- other processes ---- */

/* A locale with a comma, made for this test: few systems have one. */
static bool use_comma(char *dir)
{
    char command[256];
    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >/dev/null 2>&1", dir);
    const int made = system(command);
    (void)made; /* warnings give an exit code as well */
    setenv("LOCPATH", dir, 1);
    return setlocale(LC_ALL, "de_DE.UTF-8") && !strcmp(localeconv()->decimal_point, ",");
}

static void numbers_have_a_point(void **state)
{
    static struct process before, after;
    char dir[] = "/tmp/muninn-locale-XXXXXX", command[64];
    struct run run;
    (void)state;
    assert_non_null(mkdtemp(dir));
    const bool comma = use_comma(dir);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
    if (!comma) {
        setlocale(LC_ALL, "C");
        print_message("no locale with a comma: localedef needs the package locales\n");
        skip();
    }
    look(&before);
    generate_once(&run); /* config.json and exit.rule have numbers with a point */
    look(&after);
    run_init(&run);
    const enum mn_status status = mn_sampler_check(&(struct mn_sampler_params){.temperature = -0.5f}, &run.log);
    struct run again;
    generate_once(&again);
    setlocale(LC_ALL, "C");
    assert_same_tokens(&again);
    assert_unchanged(&before, &after);
    assert_int_equal(status, MN_ERR_USAGE);
    assert_non_null(strstr(run.last, "temperature -0.5:"));
}

static atomic_int n_alarms; /* drivers have threads, which take signals, too */

static void on_alarm(int signal)
{
    (void)signal;
    atomic_fetch_add(&n_alarms, 1);
}

static void calls_are_interrupted(void **state)
{
    struct sigaction action = {.sa_handler = on_alarm}, old; /* without SA_RESTART */
    const struct itimerval often = {{0, 700}, {0, 700}}, never = {{0, 0}, {0, 0}};
    struct run run;
    (void)state;
    sigaction(SIGALRM, &action, &old);
    setitimer(ITIMER_REAL, &often, NULL);
    generate_once(&run);
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &old, NULL);
    assert_true(n_alarms > 10);
    assert_same_tokens(&run);
}

/* Whatever a model has is read when it is opened. */
static void another_folder_and_no_files(void **state)
{
    char directory[PATH_MAX];
    struct run run;
    struct mn_engine *engine = NULL, *second = NULL;
    struct mn_session *session = NULL;
    struct rlimit files, none;
    uint32_t *ids = NULL;
    size_t n_ids;
    (void)state;
    run_init(&run);
    assert_non_null(getcwd(directory, sizeof directory));
    assert_int_equal(chdir(MN_SOURCE_DIR), 0);
    assert_int_equal(open_engine(&run, "models/raven-tiny", &engine), MN_OK);
    assert_int_equal(chdir("/"), 0);
    run.status = open_session(engine, &session);
    if (!run.status)
        run.status = mn_tokenize(engine, "sort 2 8 :", 10, true, &ids, &n_ids);
    free(ids);
    getrlimit(RLIMIT_NOFILE, &files);
    none = files;
    none.rlim_cur = 0; /* not another file */
    setrlimit(RLIMIT_NOFILE, &none);
    if (!run.status)
        run.status = generate(&run, session);
    const uint32_t n_errors = run.n_errors;
    const enum mn_status refused = open_engine(&run, MODEL, &second);
    setrlimit(RLIMIT_NOFILE, &files);
    mn_session_destroy(session);
    mn_engine_destroy(engine);
    assert_int_equal(chdir(directory), 0);
    assert_same_tokens(&run);
    assert_int_equal(n_errors, 0);
    assert_true(refused == MN_ERR_FILE || refused == MN_ERR_NO_DEVICE);
    assert_int_equal(run.n_errors, 1);
    assert_null(second);
    generate_once(&run);
    assert_same_tokens(&run);
}

/* ---- threads ---- */

static void *on_thread(void *user)
{
    generate_once(user);
    return NULL;
}

static void engines_on_threads(void **state)
{
    enum { N_THREADS = 3 };
    static struct run runs[N_THREADS];
    pthread_t threads[N_THREADS];
    (void)state;
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, on_thread, &runs[i]), 0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < N_THREADS; i++)
        assert_same_tokens(&runs[i]);
}

/* Sessions of one engine and a second engine of the model, by turns on one thread and then on another. */
static void *by_turns(void *user)
{
    struct mn_session *const *sessions = user;
    static struct run runs[2];
    for (int turn = 0; turn < 4; turn++) {
        run_init(&runs[turn % 2]);
        runs[turn % 2].status = generate(&runs[turn % 2], sessions[turn % 3]);
        assert_same_tokens(&runs[turn % 2]);
    }
    return NULL;
}

static void sessions_by_turns(void **state)
{
    struct run run;
    struct mn_engine *engines[2] = {NULL, NULL};
    struct mn_session *sessions[3] = {NULL, NULL, NULL};
    pthread_t thread;
    (void)state;
    run_init(&run);
    for (int i = 0; i < 2; i++)
        assert_int_equal(open_engine(&run, MODEL, &engines[i]), MN_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(open_session(engines[i % 2], &sessions[i]), MN_OK);
    by_turns(sessions);
    assert_int_equal(pthread_create(&thread, NULL, by_turns, sessions), 0);
    pthread_join(thread, NULL);
    for (int i = 0; i < 3; i++)
        mn_session_destroy(sessions[i]);
    for (int i = 0; i < 2; i++)
        mn_engine_destroy(engines[i]);
}

/* ---- variables ---- */

/* What the loader fills in once (.data.rel.ro) is constant; .data, .bss and their thread-local kin are not. */
static void no_variables(void **state)
{
    FILE *list = popen("nm " MN_LIBRARY " 2>/dev/null", "r");
    char line[512], kind, name[256];
    unsigned n_functions = 0;
    (void)state;
    assert_non_null(list);
    while (fgets(line, sizeof line, list)) {
        if (sscanf(line, "%*x %c %255s", &kind, name) != 2)
            continue;
        n_functions += kind == 'T';
        if (strchr("bBCgGsS", kind))
            fail_msg("%s is a variable", name);
    }
    pclose(list);
    if (n_functions == 0) {
        print_message("nm does not read the library\n");
        skip();
    }
    list = popen("readelf -SW " MN_LIBRARY " 2>/dev/null", "r");
    unsigned long size;
    while (list && fgets(line, sizeof line, list)) {
        const char *at = strchr(line, ']');
        if (at && sscanf(at + 1, "%255s %*s %*x %*x %lx", name, &size) == 2 && size > 0 &&
            (!strcmp(name, ".data") || !strcmp(name, ".bss") || !strcmp(name, ".tdata") || !strcmp(name, ".tbss")))
            fail_msg("%lu bytes of variables in %s", size, name);
    }
    if (list)
        pclose(list);
}

int main(void)
{
    generate_once(&first);
    if (first.status == MN_ERR_NO_DEVICE)
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_changed),    cmocka_unit_test(numbers_have_a_point),
        cmocka_unit_test(calls_are_interrupted), cmocka_unit_test(another_folder_and_no_files),
        cmocka_unit_test(engines_on_threads),    cmocka_unit_test(sessions_by_turns),
        cmocka_unit_test(no_variables)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
