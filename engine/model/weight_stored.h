/* A matrix as a checkpoint holds it: one tensor of numbers, or, in a quantised folder (docs/models.md), two: of tensor
 * NAME [rows, columns] in type T the groups NAME.T.values, U8 [rows, columns / group * group_bytes], and their scales
 * NAME.T.scales, F16 [rows, columns / group], with [.., 2] behind it where a group has a scale and a minimum.
 *
 * Owns: these names and shapes; that a tensor is there in one form only; that scales are finite and not negative.
 * Never: keeps bytes. Thread-safety: stateless.
 */
#ifndef MUNINN_ENGINE_MODEL_WEIGHT_STORED_H
#define MUNINN_ENGINE_MODEL_WEIGHT_STORED_H

#include "engine/files/safetensors.h"
#include "engine/model/weight_type.h"

enum { STORED_NAME_BYTES = 160 };

struct weight_plan;

struct stored_matrix {
    const struct tensor_view *values; /* NULL: synthetic */
    const struct tensor_view *scales; /* of a quantised one, else NULL */
    enum weight_type type;
};

/* "NAME.T.values" or "NAME.T.scales" in `text` [STORED_NAME_BYTES], and text. */
const char *stored_name(char *text, const char *name, enum weight_type type, bool scales);

/* Is it there, in any form, or half of one? */
bool stored_exists(const struct weight_plan *plan, const char *name);
/* The matrix called `name`, in whatever form it is there. MN_ERR_FORMAT: it is not, or twice, or without its scales, or
 * groups and scales are not of their types. MN_ERR_UNSUPPORTED: of a type that no weight has. */
enum mn_status stored_find(const struct weight_plan *plan, const char *name, struct stored_matrix *out);
/* Do groups and scales have the shapes of a matrix [rows, columns]? For quantised ones. `rows` 0: any number, the same
 * for both. MN_ERR_FORMAT. */
enum mn_status stored_check_shape(const struct weight_plan *plan, const struct stored_matrix *stored, const char *name,
                                  uint64_t rows, uint32_t columns);
uint64_t stored_rows(const struct stored_matrix *stored);

/* Bytes that `columns` of a row take in `values`, and in `scales`. */
uint64_t stored_value_bytes(const struct stored_matrix *stored, uint64_t columns);
uint64_t stored_scale_bytes(const struct stored_matrix *stored, uint64_t columns);

/* MN_ERR_FORMAT: one of the scales of `columns` values is negative or not finite. Numbers as they are have none. */
enum mn_status stored_check_scales(const struct weight_plan *plan, const struct stored_matrix *stored,
                                   const uint8_t *scales, uint64_t columns);
/* `columns` values from their bytes, exactly; of groups whole ones, whose scales are checked. MN_ERR_FORMAT: values
 * that are not finite. */
enum mn_status stored_decode(const struct weight_plan *plan, const struct stored_matrix *stored, const uint8_t *values,
                             const uint8_t *scales, uint64_t columns, float *out);

#endif
