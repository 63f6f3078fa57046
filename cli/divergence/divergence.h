/* muninn divergence in three files: the runs (divergence.c), the texts (divergence_texts.c), rows and the table
 * (divergence_rows.c). The option table is cli/divergence.c. */
#ifndef MUNINN_CLI_DIVERGENCE_DIVERGENCE_H
#define MUNINN_CLI_DIVERGENCE_DIVERGENCE_H

#include "bench/rows/divergence.h"
#include "bench/rows/identity.h"
#include "bench/rows/lists.h"
#include "bench/rows/rows.h"
#include "cli/common/options.h"
#include "cli/common/paths.h"

struct divergence_options {
    const char *model, *file, *device, *num_steps, *weight_types, *kv_types, *reference_weight_type, *reference_kv_type,
        *results, *output, *cpu_threads;
    uint32_t ctx, parallel; /* 0 when not given */
    bool no_bos, resume, beyond;
};

struct divergence_run {
    const struct divergence_options *options;
    const struct mn_log *log;
    char dir[CLI_PATH_BYTES]; /* the model's folder */
    struct mn_engine *engine;
    struct mn_model_info info;
    struct identity identity;          /* of the reference; the candidates' but for their weight type */
    char *kept[IDENTITY_TEXTS];        /* what its texts point to; owned */
    const char *reference_weight_type; /* owned */
    struct number_list num_steps;
    struct word_list weight_types, kv_types;
    uint32_t deepest, n_ctx; /* n_ctx: most positions of a text */
    /* Texts: a line, or a piece of one that is longer than the context. */
    struct mn_score_item *items; /* [n_items], owned with their ids; all ids but the first are scored */
    uint32_t *ends;              /* [n_items]: positions up to the end of the item; owned */
    uint32_t n_items, n_positions, longest;
    size_t items_max;
    char text_set[LIST_TEXT_BYTES];    /* the file's name and a hash of all ids */
    float *logits;                     /* of the reference: [n_positions, num_steps.n, vocab_size], owned */
    struct divergence_point *points;   /* of the candidate under way: [num_steps.n, n_positions], owned */
    const char *weight_type, *kv_type; /* of what runs now */
    struct rows rows;                  /* of the file with --resume, then those made */
    struct output_file file;           /* results; closed: none */
    size_t n_done, n_all;              /* candidates */
};

/* ---- divergence_texts.c ---- */

/* All texts of a file of JSON lines. MN_ERR_FORMAT with file, line and key for a line that is none. */
enum mn_status divergence_read(struct divergence_run *run, const char *text, size_t n_bytes);
void divergence_texts_free(struct divergence_run *run);

/* ---- divergence_rows.c ---- */

/* The name of the row of weight_type and kv_type at a depth. malloc'ed, NULL without memory. */
char *divergence_key(struct divergence_run *run, uint32_t num_steps);
/* Is there nothing left to do for weight_type and kv_type? */
enum mn_status divergence_is_known(struct divergence_run *run, bool *known);
/* Makes the row of a depth from its points and hands it on. */
enum mn_status divergence_put(struct divergence_run *run, uint32_t depth);
/* The rows of all candidates on standard output, in the order of the lists. */
enum mn_status divergence_print(struct divergence_run *run);

/* ---- divergence.c ---- */

/* The command. */
enum mn_status run_divergence(const struct divergence_options *options, const struct mn_log *log);

#endif
