/* The model on a device: configuration, weights, pipelines; and how its kernels are tiled there.
 *
 * Owns: device, kernels, weights. Never: holds per-sequence state (that is the session).
 * Thread-safety: none.
 */
#ifndef MUNINN_ENGINE_MODEL_MODEL_H
#define MUNINN_ENGINE_MODEL_MODEL_H

#include "engine/model/weights.h"

/* How a matmul is cut into workgroups; see shaders/skeleton.glsl. The order of additions depends on `path` and
 * `k_lanes` alone. */
struct tile {
    uint32_t threads;        /* workgroup size */
    uint32_t k_lanes;        /* lanes that share output rows: they divide the inputs or, tiled, the activation rows */
    uint32_t rows;           /* output rows per lane, a multiple of four; tiled: four */
    uint32_t n_max;          /* most activation rows that share one read of the weights */
    uint32_t path;           /* PATH_..; sharing: k_lanes = 1; matrix: always n_max activation rows, zeros among them */
    uint32_t side, subgroup; /* matrix: of the squares, lanes of a subgroup */
};

/* The tile of many rows: 64 outputs of 32 rows. */
extern const struct tile tile_tiled;

/* Tiles of matrix units with squares of `side`: four subgroups, for few rows each with a part of the inputs, for many
 * each with outputs of its own. */
struct tile tile_matrix_few(uint32_t side, uint32_t subgroup);
struct tile tile_matrix_many(uint32_t side, uint32_t subgroup);

/* Activation rows of a workgroup when `rows` run. */
uint32_t tile_rows(const struct tile *tile, uint32_t rows);

/* Sizes that follow from what the device is, chosen once. */
struct tuning {
    struct tile decode, prefill;
    uint32_t attention_threads, attention_split; /* positions per attention workgroup */
    uint32_t attention_per_lane;                 /* positions a lane scores per block */
    uint32_t attention_tile_rows;                /* rows of a prompt that share keys and values; 0: none do,
                                                    as without shuffles */
    uint32_t attention_tile_per_lane;            /* positions a lane scores per block for them */
    uint32_t row_threads;                        /* workgroup size of the kernels with one workgroup per row */
};

/* Within the device's limits; the order of additions of decoding and of prefill follows from it. */
struct tuning tuning_choose(const struct caps *caps);

struct model {
    struct device *device;
    struct kernels kernels;
    struct model_config config;
    struct weight_scheme weight_scheme;
    struct weights weights;
    struct tuning tuning;
    uint64_t hash;      /* of what its numbers depend on, but for its tokenizer */
    uint32_t stride;    /* floats of one padded d-vector */
    uint32_t ff_stride; /* floats of one padded F-vector */
    uint32_t head_pad;
    uint32_t heads_stride; /* floats of the padded q, k and v of all heads */
    bool plan_only;
};

/* Matrix units: never; where they are faster; always. */
enum matrix_wish { MATRIX_OFF, MATRIX_AUTO, MATRIX_ON };

struct model_params {
    const char *dir;
    const char *synthetic; /* instead of dir: a shape, see synthetic.h */
    uint64_t synthetic_seed;
    struct device_params device;
    struct weight_scheme weight_scheme;
    enum matrix_wish matrix_units;
    bool plan_only; /* sizes and pipelines alone: no weights are loaded, nothing can run */
};

enum mn_status model_load(struct model **out, const struct model_params *params, const struct mn_log *log);
void model_free(struct model *model);

/* Workgroups that cover `n_out` rows with this tile. */
uint32_t tile_groups(const struct tile *tile, uint32_t n_out);

#endif
