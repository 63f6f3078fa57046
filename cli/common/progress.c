#include "cli/common/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common/interrupt.h"
#include "cli/common/process.h"
#include "cli/common/talk.h"
#include "engine/base/clock.h"
#include "engine/base/system.h"
#include "engine/base/text.h"

enum { WORDS_BYTES = 160, LINE_BYTES = 256, USUAL_WIDTH = 80 };
static const double SILENT_S = 0.5, REDRAW_S = 0.1;

struct phase {
    char what[WORDS_BYTES]; /* "": there is none */
    double began;
    uint64_t done, total;
};

/* A process has one terminal to show it on: the one global beside the signals'. */
static struct {
    struct phase own, library;
    char shown[2 * LINE_BYTES]; /* "": the line is empty */
    double drawn;
} line;

static bool is_shown(void)
{
    return cli_is_watched() && process_terminal_redraws();
}

/* Asked each time: windows change. */
static size_t width(void)
{
    const char *columns = system_variable("COLUMNS");
    const size_t there = process_terminal_columns();
    if (there > 1)
        return there;
    const long said = columns ? strtol(columns, NULL, 10) : 0;
    return said > 1 && said < LINE_BYTES ? (size_t)said : USUAL_WIDTH;
}

/* "40 s", "12 min", "3 h". */
static void put_time(char *out, size_t n_bytes, double seconds)
{
    const bool minutes = seconds >= 100.0, hours = seconds >= 6000.0;
    snprintf(out, n_bytes, "%.0f %s",
             hours     ? seconds / 3600.0
             : minutes ? seconds / 60.0
                       : seconds,
             hours     ? "h"
             : minutes ? "min"
                       : "s");
}

/* Returns the length. */
static size_t put_phase(char *out, size_t n_bytes, const struct phase *p, double now)
{
    char gone[32], left[32];
    const double seconds = now - p->began, share = p->total ? (double)p->done / (double)p->total : 0.0;
    if (!*p->what || seconds < SILENT_S)
        return 0;
    put_time(gone, sizeof gone, seconds);
    put_time(left, sizeof left, share > 0.0 ? seconds * (1.0 - share) / share : 0.0);
    if (share > 0.0)
        snprintf(out, n_bytes, "%s: %u %%, %s, %s left", p->what, (unsigned)(100.0 * share), gone, left);
    else
        snprintf(out, n_bytes, p->total ? "%s: %s" : "%s", p->what, gone);
    return strlen(out);
}

/* What there is to say, or nothing where there is nothing. */
static void draw(double now)
{
    char text[sizeof line.shown] = "";
    size_t n = put_phase(text, LINE_BYTES, &line.own, now);
    if (put_phase(text + n + 2 * (n > 0), LINE_BYTES - 2, &line.library, now) && n)
        memcpy(text + n, "; ", 2);
    n = strlen(text);
    const size_t most = width() - 1; /* a full line would wrap */
    text[utf8_whole(text, n < most ? n : most)] = '\0';
    if (!*text) {
        cli_progress_clear();
    } else if (strcmp(text, line.shown) != 0 && now - line.drawn >= REDRAW_S) {
        fprintf(stderr, "\r\033[K%s", text); /* in one piece */
        fflush(stderr);
        strcpy(line.shown, text);
        line.drawn = now;
    }
}

void cli_progress_clear(void)
{
    if (*line.shown) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
    line.shown[0] = '\0';
}

static void set_phase(struct phase *p, const char *what, uint64_t done, uint64_t total, double now)
{
    if (!*p->what || done < p->done)
        p->began = now;
    p->done = done;
    p->total = total;
    p->what[0] = '\0';
    for (size_t at = 0, n = 0, left = what ? strlen(what) : 0; left > 0;) {
        char shown[TEXT_SHOWN_BYTES]; /* names may be in it */
        const size_t step = text_show(shown, what + at, left, true);
        if (n + strlen(shown) >= sizeof p->what)
            break;
        strcpy(p->what + n, shown);
        n += strlen(shown);
        at += step;
        left -= step;
    }
}

void cli_progress_own(const char *what, uint64_t done, uint64_t total)
{
    if (!is_shown())
        return;
    const double now = clock_s();
    set_phase(&line.own, what, done, total, now);
    draw(now);
}

static int report(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)user;
    if (is_shown()) {
        const double now = clock_s();
        set_phase(&line.library, done < total ? what : NULL, done, total, now);
        draw(now);
    }
    return cli_interrupted();
}

struct mn_progress cli_progress(void)
{
    return (struct mn_progress){report, NULL};
}
