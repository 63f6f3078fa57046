/* What safetensors.c (headers, files, use) and safetensors_index.c (the index of a checkpoint in several shards) share.
 * Everybody else includes safetensors.h.
 *
 * A checkpoint is built in this order: create, open_shard for every shard, build_names.
 */
#ifndef MUNINN_ENGINE_FILES_SAFETENSORS_INTERNAL_H
#define MUNINN_ENGINE_FILES_SAFETENSORS_INTERNAL_H

#include "engine/files/safetensors.h"

/* With defaults in place of zeros; NULL means all defaults. */
struct safetensors_limits safetensors_effective_limits(const struct safetensors_limits *limits);

/* An empty checkpoint; the paths of its shards are dir/names[i], or names[i] when dir is NULL, and are copied. `file`
 * is only the name for messages. MN_ERR_MEMORY. On success the caller closes *out. */
enum mn_status safetensors_create(struct safetensors **out, const char *file, const char *dir, const char *const *names,
                                  uint32_t n_shards, const struct safetensors_limits *limits, const struct mn_log *log);

/* Opens shard i and appends its tensors. */
enum mn_status safetensors_open_shard(struct safetensors *st, uint32_t i, const struct mn_log *log);

/* Makes tensors findable by name, once all shards are open, and refuses a name that two shards give. */
enum mn_status safetensors_build_names(struct safetensors *st, const struct mn_log *log);

/* Opens the shards that an index file in `dir` names. `limits` are effective ones. *out is only written on success. */
enum mn_status safetensors_open_index(struct safetensors **out, const char *dir, const char *index_path,
                                      const struct safetensors_limits *limits, const struct mn_log *log);

/* Does the index beside a single file list the same tensors? Warns where it has them in other files. */
enum mn_status safetensors_check_index(const struct safetensors *st, const char *index_path,
                                       const struct safetensors_limits *limits, const struct mn_log *log);

#endif
