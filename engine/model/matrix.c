#include "engine/model/matrix.h"

#include "engine/base/numbers.h"

uint64_t matrix_bytes(const struct matrix *matrix)
{
    return matrix->row_bytes * matrix->n_out;
}

uint32_t matrix_rows_at(const struct matrix *matrix, uint32_t row0, uint32_t most)
{
    const uint32_t in_window = matrix->window_rows - row0 % matrix->window_rows;
    return min_u32(min_u32(matrix->n_out - row0, in_window), most);
}

struct span matrix_span(const struct matrix *matrix, uint32_t row0, uint32_t n)
{
    struct span span = matrix->windows[row0 / matrix->window_rows];
    span.offset += row0 % matrix->window_rows * matrix->row_bytes;
    span.bytes = n * matrix->row_bytes;
    return span;
}
