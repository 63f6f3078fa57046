/* Reading config.json: what the families' readers share. Messages name file, key and value.
 *
 * Thread-safety: stateless.
 */
#ifndef MUNINN_ENGINE_MODEL_CONFIG_READ_H
#define MUNINN_ENGINE_MODEL_CONFIG_READ_H

#include "engine/files/json.h"
#include "engine/model/config.h"

enum { CONFIG_CHOICES_MAX = 3 };

/* A setting that must be a name this engine implements. Absent means the reference's default, which is the first. */
struct config_choice {
    const char *key;
    const char *names[CONFIG_CHOICES_MAX];
};
/* MN_ERR_UNSUPPORTED for another name. */
enum mn_status config_check_choices(const struct json_doc *doc, const struct config_choice *choices, size_t n);

/* A required whole number. */
struct config_count {
    const char *key;
    uint32_t min, max;
    uint32_t *out;
};
enum mn_status config_read_counts(const struct json_doc *doc, const struct config_count *counts, size_t n);

/* A key that says again what another key says: a contradiction means that one of the two readings is wrong. */
struct config_repeat {
    const char *key;
    uint32_t expected;
    enum mn_status status; /* of another value */
    const char *why;
};
enum mn_status config_check_repeats(const struct json_doc *doc, const struct config_repeat *repeats, size_t n);

/* head_dim must be even and at most CONFIG_HEAD_DIM_MAX; the message names `key`, whose value is `value`. */
enum mn_status config_check_head_dim(const struct json_doc *doc, const char *key, uint32_t value, uint32_t head_dim);
/* "padded_vocab_size", at least vocab_size. */
enum mn_status config_read_padded_vocabulary(struct model_config *config, const struct json_doc *doc);
/* A constant that stays a normal number as float: an eps of 1e-50 would silently become 0. `fallback` 0: it must be
 * there. */
enum mn_status config_read_eps(struct model_config *config, const struct json_doc *doc, const char *key,
                               double fallback);
/* "rope_theta", and "rope_scaling" as far as it is none or Llama 3's. */
enum mn_status config_read_rope(struct model_config *config, const struct json_doc *doc);
/* Key and value heads (`key`) divide those of the queries; head_dim as above. */
enum mn_status config_check_heads(const struct model_config *config, const struct json_doc *doc, const char *key);

/* A switch that must be off, or absent. */
struct config_flag {
    const char *key, *why;
};
enum mn_status config_check_flags(const struct json_doc *doc, const struct config_flag *flags, size_t n);

#endif
