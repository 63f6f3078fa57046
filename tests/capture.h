/* A log that remembers, for tests of what knows nothing of devices: how many messages came, and the last one. */
#ifndef MUNINN_TESTS_CAPTURE_H
#define MUNINN_TESTS_CAPTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four headers above it. */
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "engine/base/status.h"

struct capture {
    unsigned n;
    char line[1024];
};

static inline void capture_write(void *user, enum mn_log_level level, const char *line)
{
    struct capture *c = user;
    (void)level;
    c->n++;
    snprintf(c->line, sizeof c->line, "%s", line);
}

/* Asserts one message holding both texts, and forgets it. */
static inline void expect_log(struct capture *c, const char *first, const char *second)
{
    if (c->n != 1 || !strstr(c->line, first) || !strstr(c->line, second))
        fail_msg("%u messages, last \"%s\", expected one with \"%s\" and \"%s\"", c->n, c->line, first, second);
    *c = (struct capture){0};
}

#endif
