/* Weight types: how numbers of a matrix are stored on the device. One table in weight_type.c; shaders/weights.glsl is
 * its counterpart. Also the host's conversions between number formats.
 *
 * Weights lie in groups of consecutive inputs of a row. A group's numbers are whole words of 16 bytes; where a type has
 * scales, those of a row lie together behind all of its numbers, padded to whole words.
 *
 * Never: knows matrices, files or devices. Thread-safety: stateless.
 */
#ifndef MUNINN_ENGINE_MODEL_WEIGHT_TYPE_H
#define MUNINN_ENGINE_MODEL_WEIGHT_TYPE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/status.h"
#include "shaders/args.h"

/* Inputs that a kernel multiplies at once: rows are padded to whole chunks. Bytes that it loads at once. Values of the
 * largest group. */
enum { WEIGHT_CHUNK = 8, WEIGHT_WORD = 16, WEIGHT_GROUP_MAX = 32 };

struct weight_format {
    const char *name;
    uint32_t group;       /* inputs of a group, a multiple of WEIGHT_CHUNK */
    uint32_t group_bytes; /* of its numbers, a multiple of 16 */
    uint32_t scale_bytes; /* of its scale (and minimum); 0: none */
    /* One group of values to out [group_bytes] and scale [scale_bytes]. False when a finite value does not fit the
     * type. */
    bool (*encode)(const float *values, uint8_t *out, uint8_t *scale);
    /* Back, exactly: the values that kernels compute with. */
    void (*decode)(const uint8_t *in, const uint8_t *scale, float *values);
};

const struct weight_format *weight_format(enum weight_type type);

const char *weight_type_name(enum weight_type type); /* "bf16" */
enum mn_status weight_type_parse(const char *text, enum weight_type *out, const struct mn_log *log);

/* Whether it stands for a group of values by whole numbers and a scale: another model, in which values were rounded. */
bool weight_type_quantised(enum weight_type type);

/* Host conversions, round to nearest even. */
uint16_t f32_to_f16(float x);
float f16_to_f32(uint16_t h);
uint16_t f32_to_bf16(float x);
float bf16_to_f32(uint16_t b);

#endif
