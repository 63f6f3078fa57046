#include "engine/model/matrix.h"

#include "engine/base/numbers.h"

uint64_t matrix_bytes(const struct matrix *matrix)
{
    return (matrix->row_bytes + matrix->scale_row_bytes) * matrix->n_out;
}

uint32_t matrix_rows_at(const struct matrix *matrix, uint32_t row0, uint32_t most)
{
    const uint32_t in_window = matrix->window_rows - row0 % matrix->window_rows;
    return min_u32(min_u32(matrix->n_out - row0, in_window), most);
}

static struct span rows_of(const struct matrix *matrix, struct span span, uint32_t row0, uint32_t n, uint64_t row_bytes)
{
    span.offset += row0 % matrix->window_rows * row_bytes;
    span.bytes = n * row_bytes;
    return span;
}

struct span matrix_span(const struct matrix *matrix, uint32_t row0, uint32_t n)
{
    return rows_of(matrix, matrix->windows[row0 / matrix->window_rows].values, row0, n, matrix->row_bytes);
}

struct span matrix_scale_span(const struct matrix *matrix, uint32_t row0, uint32_t n)
{
    return rows_of(matrix, matrix->windows[row0 / matrix->window_rows].scales, row0, n, matrix->scale_row_bytes);
}
