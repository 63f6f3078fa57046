/* Kept branches: a wave whose rows stand on a tree of two lines (docs/contract.md, 6).
 *
 * When a prediction changes on the way, the rows behind it go on as they are, and the new continuation enters beside
 * them: on the branch, whose entries lie in cells of their own (engine/model/session.h). HOME are the rows of the
 * sequence itself. The line that the last prediction speaks for is ahead: it alone gets new rows. It wins, and the
 * other one is dropped, when it has been ahead for a while, when the branch has no cells left, when another split needs
 * them, or when the row in front of both reaches full depth.
 *
 * Lossless as the wave is: a row is committed at full depth only, and what it read was computed on the tokens in front
 * of it, whichever line they stood on.
 *
 * Never: decides what is committed other than by rows at full depth. Thread-safety: none. */
#ifndef MUNINN_SPEC_TREE_H
#define MUNINN_SPEC_TREE_H

#include "spec/proposals.h"

struct tree_node {
    struct row row;
    uint32_t predicted;
    uint32_t index; /* of its row in the request */
    bool late;      /* another token had stood here first */
    bool turned;    /* what it predicts has changed under a row behind it */
};

struct tree_line {
    struct tree_node at[SESSION_MAX_ROWS]; /* [n] by position */
    uint32_t n;
};

struct tree {
    struct tree_line home, branch;
    uint32_t first;   /* where the branch begins; 0: there is none */
    uint32_t n_quiet; /* ticks since the lines changed places */
    bool ahead;       /* the branch is */
    struct proposals proposals;
};

/* The wave's tick: spec/strategy.h. */
enum mn_status tree_next(struct generation *generation, struct tree *tree, struct request *request);
enum mn_status tree_absorb(struct generation *generation, struct tree *tree);

#endif
