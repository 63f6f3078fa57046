/* Logits, states and injected vectors from and to the host; cache entries from one sequence to another. */
#include <math.h>
#include <stdlib.h>

#include "engine/model/session_internal.h"

enum mn_status session_read_logits_rows(struct session *s, uint32_t row, uint32_t n, float *logits)
{
    const uint64_t bytes = s->model->config.vocab_size * sizeof *logits;
    const uint32_t first = ((const uint32_t *)span_host(s->state))[2 * TABLE_HEAD];
    return stream_download(&s->stream, s->logits, (first + row) * bytes, logits, n * bytes);
}

enum mn_status session_read_logits(struct session *s, uint32_t row, float *logits)
{
    return session_read_logits_rows(s, row, 1, logits);
}

/* Vectors of consecutive positions of a [slots, stride] buffer, without their padding: [n, n_embd]. */
static enum mn_status read_vectors(struct session *s, struct span from, uint32_t sequence, uint32_t first, uint32_t n,
                                   float *out)
{
    const uint64_t d = s->model->config.n_embd, row_bytes = s->model->stride * sizeof *out,
                   slot0 = (uint64_t)sequence * session_cells(s) + first;
    if (s->model->stride == d)
        return stream_download(&s->stream, from, slot0 * row_bytes, out, n * row_bytes);
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < n && !status; i++)
        status = stream_download(&s->stream, from, (slot0 + i) * row_bytes, out + i * d, d * sizeof *out);
    return status;
}

static enum mn_status write_vectors(struct session *s, struct span to, uint32_t sequence, uint32_t first, uint32_t n,
                                    const float *in)
{
    const uint64_t d = s->model->config.n_embd, row_bytes = s->model->stride * sizeof *in,
                   slot0 = (uint64_t)sequence * session_cells(s) + first;
    if (s->model->stride == d)
        return stream_upload(&s->stream, to, slot0 * row_bytes, in, n * row_bytes);
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < n && !status; i++)
        status = stream_upload(&s->stream, to, (slot0 + i) * row_bytes, in + i * d, d * sizeof *in);
    return status;
}

enum mn_status session_read_states(struct session *s, uint32_t sequence, uint32_t first, uint32_t n, uint32_t depth,
                                   float *states)
{
    const uint32_t d = s->model->config.n_embd;
    enum mn_status status = read_vectors(s, s->states, sequence, first, n, states);
    const float *norm = s->model->weights.state_norm; /* what they are owed on the device */
    for (uint32_t i = 0; i < n && depth > 0 && norm && !status; i++) {
        float *state = states + (size_t)i * d;
        double sum = 0.0;
        for (uint32_t k = 0; k < d; k++)
            sum += (double)state[k] * (double)state[k];
        double scale = 1.0 / sqrt(sum / d + (double)s->model->config.norm_eps);
        for (uint32_t k = 0; k < d; k++)
            state[k] = (float)((double)state[k] * scale * (double)norm[k]);
    }
    return status;
}

enum mn_status session_read_state(struct session *s, uint32_t sequence, uint32_t position, uint32_t depth, float *state)
{
    return session_read_states(s, sequence, position, 1, depth, state);
}

enum mn_status session_write_states(struct session *s, uint32_t sequence, uint32_t first, const float *states,
                                    uint32_t n)
{
    return write_vectors(s, s->states, sequence, first, n, states);
}

enum mn_status session_read_injected(struct session *s, uint32_t sequence, uint32_t first, uint32_t n, float *injected)
{
    return read_vectors(s, s->injected, sequence, first, n, injected);
}

enum mn_status session_write_injected(struct session *s, uint32_t sequence, uint32_t first, const float *injected,
                                      uint32_t n)
{
    return write_vectors(s, s->injected, sequence, first, n, injected);
}

/* One state as a step leaves it: in front of the norm that it is owed, and its sums of squares in the first part. */
static void undo_norm(const struct session *s, const float *state, float *data, float *parts)
{
    const float *norm = s->model->weights.state_norm;
    double sum = 0.0, normed = 0.0;
    for (uint32_t k = 0; k < s->model->config.n_embd; k++) {
        const double weight = norm ? (double)norm[k] : 1.0;
        data[k] = weight != 0.0 ? (float)((double)state[k] / weight) : 0.0f;
        sum += (double)data[k] * (double)data[k];
        normed += (double)data[k] * weight * (double)data[k] * weight;
    }
    parts[0] = (float)sum;
    parts[1] = norm ? (float)normed : 0.0f;
}

enum mn_status session_replace_states(struct session *s, uint32_t sequence, uint32_t first, uint32_t n,
                                      const float *states)
{
    const uint64_t d = s->model->config.n_embd, slot0 = (uint64_t)sequence * s->info.n_ctx + first,
                   row_bytes = s->model->stride * sizeof(float), n_parts = 2 * (uint64_t)s->parts_stride;
    float *data = calloc(d + n_parts, sizeof *data), *parts = data + d;
    if (!data)
        return log_fail(s->info.log, MN_ERR_MEMORY, "out of host memory for a state");
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < n && !status; i++) {
        undo_norm(s, states + i * d, data, parts);
        status = stream_upload(&s->stream, s->states, (slot0 + i) * row_bytes, data, d * sizeof *data);
        if (!status)
            status = stream_upload(&s->stream, s->state_parts, (slot0 + i) * n_parts * sizeof *parts, parts,
                                   n_parts * sizeof *parts);
    }
    free(data);
    return status;
}

/* ---- cache entries ---- */

/* So many cells, from one to another, counted from the first sequence's first cell. */
struct copy {
    const struct kv_shape *shape;
    uint32_t from, to, n;
};

/* The first slots of a block: all heads, all parts. */
static enum mn_status copy_slots(struct session *s, const struct copy *c, const struct kv_block *block,
                                 uint32_t n_slots)
{
    enum { PIECES = 384 };
    const uint32_t n_cells = kv_cells(c->shape), n_heads = c->shape->n_kv_heads;
    const uint64_t piece = kv_piece_bytes(c->shape), sequence_bytes = (uint64_t)block->n_slots * n_heads * piece;
    const uint64_t from = c->from / n_cells * sequence_bytes, to = c->to / n_cells * sequence_bytes;
    struct stream_piece pieces[PIECES];
    struct kv_part parts[KV_PARTS_MAX];
    const uint32_t n_parts = kv_parts(c->shape, parts);
    enum mn_status status = MN_OK;
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_slots * n_heads && !status; i++) {
        for (uint32_t k = 0; k < n_parts; k++) {
            const uint64_t at = i * piece + parts[k].offset, bytes = parts[k].cell_bytes;
            pieces[n++] = (struct stream_piece){.from = from + at + c->from % n_cells * bytes,
                                                .to = to + at + c->to % n_cells * bytes,
                                                .bytes = c->n * bytes};
        }
        if (n + KV_PARTS_MAX <= PIECES && i + 1 < n_slots * n_heads)
            continue;
        status = stream_copy_pieces(&s->stream, block->kv, pieces, n);
        n = 0;
    }
    return status;
}

/* What a buffer has of each cell. */
static enum mn_status copy_vectors(struct session *s, const struct copy *c, struct span in, uint64_t cell_bytes)
{
    const struct stream_piece piece = {c->from * cell_bytes, c->to * cell_bytes, c->n * cell_bytes};
    return in.bytes ? stream_copy_pieces(&s->stream, in, &piece, 1) : MN_OK;
}

static enum mn_status copy_cells(struct session *s, const struct copy *c, uint32_t num_steps)
{
    enum mn_status status = copy_vectors(s, c, s->cache.depths, sizeof(uint32_t));
    for (uint32_t i = 0; i < kv_n_blocks(c->shape) && !status; i++) {
        const struct kv_block *block = &s->cache.blocks[i];
        status = copy_slots(s, c, block, block->n_slots < num_steps ? block->n_slots : num_steps);
    }
    return status;
}

enum mn_status session_copy_positions(struct session *s, uint32_t from, uint32_t to, uint32_t first, uint32_t n,
                                      uint32_t num_steps)
{
    const uint32_t n_cells = session_cells(s);
    return copy_cells(s, &(struct copy){&s->cache.shape, from * n_cells + first, to * n_cells + first, n}, num_steps);
}

enum mn_status session_take_branch(struct session *s, uint32_t sequence, uint32_t first, uint32_t n, uint32_t num_steps)
{
    const uint32_t begin = sequence * session_cells(s);
    const struct copy c = {&s->cache.shape, begin + s->info.n_ctx, begin + first, n};
    const uint64_t vector = s->model->stride * sizeof(float);
    enum mn_status status = copy_vectors(s, &c, s->states, vector);
    if (!status)
        status = copy_vectors(s, &c, s->injected, vector);
    if (!status)
        status = copy_vectors(s, &c, s->state_parts, s->parts_stride * 2 * sizeof(float));
    return status ? status : copy_cells(s, &c, num_steps);
}
