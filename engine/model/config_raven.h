/* What configurations of model_type huginn_raven have in common: Huginn's own and those of retrofitted models, which
 * are written by the same code.
 *
 * Thread-safety: stateless. */
#ifndef MUNINN_ENGINE_MODEL_CONFIG_RAVEN_H
#define MUNINN_ENGINE_MODEL_CONFIG_RAVEN_H

#include "engine/model/config_read.h"

/* The parts that the published code can be put together from; this engine has one of each. */
enum mn_status raven_check_building_blocks(const struct json_doc *doc);
/* The counts that give the weights their shapes: all required; only prelude and coda may be empty. */
enum mn_status raven_read_counts(struct model_config *config, const struct json_doc *doc);
/* Noise between steps, which inference here does not have. */
enum mn_status raven_check_noise(const struct json_doc *doc);
/* tie_embeddings, or tie_word_embeddings; `fallback` where neither is there. */
enum mn_status raven_read_tied(struct model_config *config, const struct json_doc *doc, bool fallback);
/* How random initial states are drawn; `scale`: what the embedding is multiplied with, which they are, too. */
enum mn_status raven_read_state_std(struct model_config *config, const struct json_doc *doc, double scale);

#endif
