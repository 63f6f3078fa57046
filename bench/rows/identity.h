/* What a result stands for: the build, the device and the model it was measured with. One list for the keys and the
 * rows of every subcommand: what can be told apart on a machine can be told apart in both, and what is equal is equal.
 *
 * Owns: the list, and how a model is called.
 * Never: decides what a setting is; that is each subcommand's.
 * Thread-safety: none. */
#ifndef MUNINN_BENCH_ROWS_IDENTITY_H
#define MUNINN_BENCH_ROWS_IDENTITY_H

#include <stdio.h>

#include "api/muninn.h"
#include "engine/base/hash.h"

enum { IDENTITY_TEXTS = 12, IDENTITY_NAME_BYTES = 272, IDENTITY_NUMBER_BYTES = 16 };

struct identity_text {
    const char *name, *value; /* the row's key; never NULL */
    bool in_key;              /* false: follows from the others, or is only how people call it */
};

struct identity {
    struct identity_text texts[IDENTITY_TEXTS]; /* into here, into the engine, and constants */
    char model[IDENTITY_NAME_BYTES], model_hash[HASH_TEXT_BYTES], driver_version[IDENTITY_NUMBER_BYTES];
};

/* `dir` or `synthetic`, the other NULL; without either there is no model, and its texts are empty. `cpu_threads`: the
 * worker threads of a CPU device, NULL where results do not depend on them. Points into *identity and to the engine's
 * strings: do not copy it. MN_ERR_FILE: the folder is gone.
 */
enum mn_status identity_init(struct identity *identity, const struct mn_model_info *info, const char *dir,
                             const char *synthetic, const char *cpu_threads, const struct mn_log *log);

/* Which passes run on matrix units: "few rows", "prompts", "all"; "": none. */
const char *identity_matrix_units(const struct mn_model_info *info);

/* The texts that belong into a key, each with a bar behind it. */
void identity_write_key(const struct identity *identity, FILE *out);
/* The same as a hash. */
uint64_t identity_hash(const struct identity *identity);

/* The name of a model folder in `name` [IDENTITY_NAME_BYTES]: that of the folder a path leads to, however it is spelled
 * and through whatever links; in a Hugging Face cache (models--ORG--NAME/snapshots/COMMIT) NAME. */
enum mn_status identity_model_name(char *name, const char *dir, const struct mn_log *log);

#endif
