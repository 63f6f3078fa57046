/* A matrix on the device: rows of equal length, cut into what the device binds and allocates at once.
 *
 * Never: owns device memory; knows a model. Thread-safety: stateless.
 */
#ifndef MUNINN_ENGINE_MODEL_MATRIX_H
#define MUNINN_ENGINE_MODEL_MATRIX_H

#include "engine/model/weight_type.h"
#include "engine/vulkan/buffer.h"

/* Windows and dispatches start at multiples of so many rows: their byte offsets then meet any alignment (rows are
 * multiples of 16 bytes), and they hold whole workgroups of every tile. */
enum { MATRIX_ROWS_STEP = 256 };

/* Rows of equal length, in windows: usually one. */
struct matrix {
    struct span *windows; /* [n_windows], all but the last of window_rows rows */
    enum weight_type type;
    bool kept;            /* in the type that the file has: the one asked for has groups that do not fit its rows */
    uint32_t n_out;       /* rows */
    uint32_t n_chunks;    /* input length / 8, padded */
    uint64_t row_bytes;   /* its values, and behind them its scales, where the type has some */
    uint64_t value_bytes; /* where the scales of a row begin */
    uint32_t n_windows, window_rows;
};

/* Bytes that a pass over the whole matrix reads. */
uint64_t matrix_bytes(const struct matrix *matrix);
/* Rows from `row0` on that lie in one window, at most `most`; and these rows for binding. */
uint32_t matrix_rows_at(const struct matrix *matrix, uint32_t row0, uint32_t most);
struct span matrix_span(const struct matrix *matrix, uint32_t row0, uint32_t n);

#endif
