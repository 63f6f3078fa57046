/* The recorder: a pass under construction.
 *
 * A pass is recorded for one stamp of rows, in pieces that are short enough for a submit of their own (pace.h). The
 * first failure sticks, so that a pass reads as a list of operations (operations.h). What was recorded is kept as a
 * list too, for those who measure.
 *
 * Owns: the pass under construction. Never: submits, allocates device memory, looks at tokens, or knows a family.
 * Thread-safety: none.
 */
#ifndef MUNINN_ENGINE_MODEL_RECORDER_H
#define MUNINN_ENGINE_MODEL_RECORDER_H

#include "engine/model/session_internal.h"

/* One operation as it was recorded: one dispatch, or one of several over the rows of a matrix. */
struct operation {
    const char *what; /* "qkv", "attention", "projection", "gate", "down", ... */
    enum kernel_id kernel;
    const struct matrix *matrix; /* NULL: none */
    uint32_t n_in;               /* inputs without padding that a sum of the matrix runs over */
    uint32_t n_dispatches;       /* that the operation has in all */
};

struct recorder {
    struct session *session;
    const struct model *model;
    const struct tile *tile;
    uint32_t table, n, groups_y; /* row table; activation rows per workgroup; workgroups over rows */
    uint32_t attention_tile;     /* rows that share keys and values; 0: none do */
    uint32_t pass, stamp;
    struct pass_recording *out;
    struct piece piece; /* under construction */
    double piece_work;
    struct operation *operations; /* [n_operations] owned; NULL while not listed */
    uint32_t n_operations;
    bool lists;
    enum mn_status status;
};

/* Begins and ends the pass; pieces are added to the session's. */
void recorder_begin(struct recorder *r, struct session *session, enum pass pass, uint32_t stamp,
                    struct pass_recording *out);
enum mn_status recorder_end(struct recorder *r);

/* One dispatch. */
struct dispatch {
    const char *what;
    enum kernel_id kernel;
    const void *constants; /* the kernel's struct of args.h */
    size_t constants_bytes;
    const struct span *bindings;
    const void *args; /* the kernel's push constants */
    uint32_t groups_x, groups_y;
    const struct span *groups; /* not NULL: the device reads the group counts there */
    double work;               /* pace.h; 0: too little to count */
    double weights;            /* matrix elements that it reads */
    bool attends;
    const struct matrix *matrix;
    uint32_t n_in, n_dispatches;
};

void recorder_dispatch(struct recorder *r, const struct dispatch *d);

#endif
