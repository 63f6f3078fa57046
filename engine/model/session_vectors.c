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
                   slot0 = (uint64_t)sequence * s->info.n_ctx + first;
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
                   slot0 = (uint64_t)sequence * s->info.n_ctx + first;
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

struct copy {
    const struct kv_shape *shape;
    uint32_t from, to, first, n; /* sequences; positions */
};

/* One slot of a block: all heads, all parts. */
static enum mn_status copy_slot(struct session *s, const struct copy *c, const struct kv_block *block, uint32_t slot)
{
    enum { PIECES = 384 };
    const uint64_t piece = kv_piece_bytes(c->shape), slot_bytes = c->shape->n_kv_heads * piece;
    struct stream_piece pieces[PIECES];
    struct kv_part parts[KV_PARTS_MAX];
    const uint32_t n_parts = kv_parts(c->shape, parts);
    enum mn_status status = MN_OK;
    uint32_t n = 0;
    for (uint32_t head = 0; head < c->shape->n_kv_heads && !status; head++) {
        for (uint32_t i = 0; i < n_parts; i++) {
            const uint64_t at = head * piece + parts[i].offset + c->first * parts[i].position_bytes;
            pieces[n++] = (struct stream_piece){.from = ((uint64_t)c->from * block->n_slots + slot) * slot_bytes + at,
                                                .to = ((uint64_t)c->to * block->n_slots + slot) * slot_bytes + at,
                                                .bytes = c->n * parts[i].position_bytes};
        }
        if (n + KV_PARTS_MAX <= PIECES && head + 1 < c->shape->n_kv_heads)
            continue;
        status = stream_copy_pieces(&s->stream, block->kv, pieces, n);
        n = 0;
    }
    return status;
}

enum mn_status session_copy_positions(struct session *s, uint32_t from, uint32_t to, uint32_t first, uint32_t n,
                                      uint32_t num_steps)
{
    const struct copy c = {&s->cache.shape, from, to, first, n};
    const uint64_t n_ctx = s->info.n_ctx, word = sizeof(uint32_t);
    const struct stream_piece depths = {(from * n_ctx + first) * word, (to * n_ctx + first) * word, n * word};
    enum mn_status status = stream_copy_pieces(&s->stream, s->cache.depths, &depths, 1);
    for (uint32_t i = 0; i < kv_n_blocks(c.shape) && !status; i++) {
        const struct kv_block *block = &s->cache.blocks[i];
        for (uint32_t slot = 0; slot < block->n_slots && slot < num_steps && !status; slot++)
            status = copy_slot(s, &c, block, slot);
    }
    return status;
}
