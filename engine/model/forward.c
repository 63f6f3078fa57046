#include "engine/model/forward.h"

#include <math.h>
#include <stdlib.h>

#include "engine/model/pace.h"

/* A matrix of activations with what the next kernel must know: where its norm statistics lie and which norm is
 * pending. */
struct activation {
    struct span data, parts;
    uint32_t stride, n_parts;
    bool by_slot;               /* rows are slots (sequence, position); otherwise rows of the row table */
    const struct span *pending; /* weight of the RMSNorm still to be applied; NULL: plain values */
};

/* The pass being recorded. The first failure sticks, so that a pass reads as a list of dispatches. */
struct recorder {
    struct session *session;
    const struct model *model;
    struct piece piece; /* under construction */
    double piece_work;
    struct pass_recording *out;
    const struct tile *tile;
    uint32_t table, n, groups_y; /* row table; activation rows per workgroup; workgroups over rows */
    enum mn_status status;
};

/* Matmul flavours beyond the tile; see the specialization constants of matmul.glsl and the shader itself. */
struct flavour {
    uint32_t input, scale;
    uint32_t extra[4];
};

/* ---- pieces ---- */

static void end_piece(struct recorder *r)
{
    struct session *s = r->session;
    if (!r->status)
        r->status = stream_end(&s->stream, &r->piece.recording);
    if (r->status)
        return;
    struct piece *pieces = realloc(s->pieces, (s->n_pieces + 1) * sizeof *pieces);
    if (!pieces) {
        r->status = log_fail(r->model->device->log, MN_ERR_MEMORY, "out of host memory for recordings");
        return;
    }
    s->pieces = pieces;
    s->pieces[s->n_pieces++] = r->piece;
    r->out->n++;
}

static void begin_piece(struct recorder *r)
{
    r->piece = (struct piece){0};
    r->piece_work = 0.0;
    if (!r->status)
        r->status = stream_record(&r->session->stream, &r->piece.recording);
}

/* The dispatch that comes next takes `work`: a piece that would become too long with it ends here. */
static void make_room(struct recorder *r, double work)
{
    if (r->piece_work > 0.0 && r->piece_work + work > r->session->piece_work) {
        end_piece(r);
        begin_piece(r);
    }
    r->piece_work += work;
}

/* ---- dispatches ---- */

static struct matmul_args base_args(const struct recorder *r)
{
    const struct session *s = r->session;
    const struct model_config *config = &r->model->config;
    return (struct matmul_args){.table = r->table,
                                .parts_in_stride = s->parts_stride,
                                .parts_residual_stride = s->parts_stride,
                                .parts_out_stride = s->parts_stride,
                                .n_norm = config->n_embd,
                                .eps = config->norm_eps,
                                .n_ctx = s->n_ctx,
                                .n_heads = config->n_heads,
                                .n_kv_heads = config->n_heads,
                                .head_dim = config->head_dim,
                                .head_pad = r->model->head_pad,
                                .split = r->model->tuning.attention_split,
                                .n_splits = s->n_splits,
                                .query_scale = 1.0f / sqrtf((float)config->head_dim),
                                .residual_stride = r->model->stride};
}

static void input_args(struct matmul_args *args, const struct activation *in)
{
    args->in_stride = in->stride;
    args->in_by_slot = in->by_slot;
    args->n_parts_in = in->n_parts;
}

/* Most rows of a matrix in one dispatch, for it to fit into a piece. */
static uint32_t rows_per_dispatch(const struct recorder *r, const struct matrix *matrix)
{
    const double most = r->session->piece_work / pace_matmul_work(matrix->n_chunks * 8.0, r->n * r->groups_y);
    return most >= matrix->n_out         ? matrix->n_out
           : most < 2 * MATRIX_ROWS_STEP ? MATRIX_ROWS_STEP
                                         : (uint32_t)most & ~(uint32_t)(MATRIX_ROWS_STEP - 1);
}

/* One dispatch per window of the matrix, or more where that would take too long. bindings[1] is filled with the
 * rows. */
static void matmul(struct recorder *r, enum kernel_id id, const struct matrix *matrix, const struct flavour *flavour,
                   struct span *bindings, struct matmul_args *args, uint32_t advance_index)
{
    const struct tile *tile = r->tile;
    const uint32_t rows_per_group = tile->threads / tile->k_lanes * tile->rows, most = rows_per_dispatch(r, matrix);
    for (uint32_t row0 = 0, n; row0 < matrix->n_out && !r->status; row0 += n) {
        n = matrix_rows_at(matrix, row0, most);
        uint32_t spec[] = {tile->threads,          tile->k_lanes,     tile->rows,        r->n,
                           (uint32_t)matrix->type, flavour->input,    flavour->scale,    tile->broadcast,
                           flavour->extra[0],      flavour->extra[1], flavour->extra[2], flavour->extra[3]};
        if (advance_index && row0 + n < matrix->n_out)
            spec[advance_index] = 0; /* depths advance once, in the last window */
        const struct pipeline *pipeline;
        r->status = kernels_get(&r->session->model->kernels, id, spec, sizeof spec / sizeof *spec, &pipeline);
        if (r->status)
            return;
        bindings[1] = matrix_span(matrix, row0, n);
        args->n_chunks = matrix->n_chunks;
        args->n_out = n;
        args->row0 = row0;
        args->parts_out0 = row0 / rows_per_group;
        const double weights = n * (matrix->n_chunks * 8.0);
        make_room(r, pace_matmul_work(weights, r->n * r->groups_y));
        r->piece.weights += weights;
        if (!r->status)
            r->status = stream_dispatch(&r->session->stream, &r->piece.recording, pipeline, bindings, args,
                                        tile_groups(tile, n), r->groups_y, 1);
    }
}

static uint32_t scale_of(const struct activation *in)
{
    return in->pending ? SCALE_TWO : SCALE_ONE;
}

static void qkv(struct recorder *r, const struct block_weights *w, const struct kv_block *kv, bool core,
                const struct activation *x)
{
    struct session *s = r->session;
    struct matmul_args args = base_args(r);
    input_args(&args, x);
    args.n_slots = kv->n_slots;
    struct flavour flavour = {INPUT_NORM,
                              scale_of(x),
                              {s->cache.type == KV_F16, core, kv->n_slots < s->num_steps, r->model->config.head_dim}};
    struct span bindings[] = {s->state, {0},     x->data,   w->input_norm, x->parts,
                              s->query, w->bias, s->rotary, kv->kv,        s->cache.depths};
    matmul(r, KERNEL_QKV, &w->qkv, &flavour, bindings, &args, 0);
}

static void attention(struct recorder *r, const struct kv_block *kv, bool core)
{
    struct session *s = r->session;
    const struct tuning *tuning = &r->model->tuning;
    if (r->status)
        return;
    const bool shared_slots = kv->n_slots < s->num_steps;
    uint32_t spec[] = {tuning->attention_threads,
                       tuning->attention_split,
                       s->cache.type == KV_F16,
                       core,
                       r->model->head_pad / 8,
                       tuning->attention_per_lane,
                       shared_slots,
                       s->n_splits == 1,
                       1}; /* query heads per key and value head */
    const struct pipeline *pipeline;
    r->status = kernels_get(&s->model->kernels, KERNEL_ATTENTION, spec, sizeof spec / sizeof *spec, &pipeline);
    if (r->status)
        return;
    struct attention_args args = {.table = r->table,
                                  .n_heads = r->model->config.n_heads,
                                  .head_pad = r->model->head_pad,
                                  .n_slots = kv->n_slots,
                                  .n_ctx = s->n_ctx,
                                  .n_splits = s->n_splits};
    struct span bindings[] = {s->state, s->query, kv->kv, s->cache.depths, s->partial_o, s->partial_ml};
    struct span groups = s->state;
    groups.offset += (STATE_GROUPS + 3 * r->table) * sizeof(uint32_t);
    make_room(r, pace_attention_work(s, (double)r->n * r->groups_y * s->n_ctx));
    r->piece.n_attention++;
    if (!r->status)
        r->status = stream_dispatch_indirect(&s->stream, &r->piece.recording, pipeline, bindings, &args, groups);
}

/* out = W in + residual, with statistics for the norm `pending` that follows. */
static void project(struct recorder *r, const struct matrix *w, uint32_t input, uint32_t scale,
                    const struct activation *in, const struct span *in_norm, const struct activation *residual,
                    const struct activation *out, bool advance, bool stats)
{
    struct session *s = r->session;
    struct matmul_args args = base_args(r);
    input_args(&args, in);
    args.out_stride = out->stride;
    args.out_by_slot = out->by_slot;
    if (residual) {
        args.residual_stride = residual->stride;
        args.residual_by_slot = residual->by_slot;
        args.n_parts_residual = residual->n_parts;
    }
    struct flavour flavour = {input,
                              scale,
                              {!residual           ? RESIDUAL_NONE
                               : residual->pending ? RESIDUAL_NORM
                                                   : RESIDUAL_PLAIN,
                               advance, stats}};
    struct span bindings[] = {s->state,
                              {0},
                              in->data,
                              in_norm ? *in_norm : s->state,
                              in->parts,
                              out->data,
                              residual ? residual->data : s->state,
                              residual && residual->pending ? *residual->pending : s->state,
                              residual ? residual->parts : s->state,
                              out->pending ? *out->pending : r->model->weights.norm_f,
                              out->parts,
                              s->state};
    matmul(r, KERNEL_PROJ, w, &flavour, bindings, &args, 9);
}

static void gate(struct recorder *r, const struct block_weights *w, const struct activation *y)
{
    struct session *s = r->session;
    struct matmul_args args = base_args(r);
    input_args(&args, y);
    args.out_stride = r->model->ff_stride;
    struct flavour flavour = {INPUT_NORM, SCALE_TWO, {0}};
    struct span bindings[] = {s->state, {0}, y->data, w->gate_norm, y->parts, s->hidden};
    matmul(r, KERNEL_GATE, &w->gate, &flavour, bindings, &args, 0);
}

static void embed(struct recorder *r, const struct activation *x)
{
    struct session *s = r->session;
    const struct matrix *wte = &r->model->weights.embedding;
    uint32_t spec[] = {r->model->tuning.row_threads, (uint32_t)wte->type};
    const struct pipeline *pipeline;
    r->status = kernels_get(&s->model->kernels, KERNEL_EMBED, spec, 2, &pipeline);
    if (r->status)
        return;
    struct embed_args args = {.table = r->table,
                              .n_embd = r->model->config.n_embd,
                              .stride = r->model->stride,
                              .n_ctx = s->n_ctx,
                              .parts_stride = s->parts_stride,
                              .n_chunks = wte->n_chunks,
                              .scale = sqrtf((float)r->model->config.n_embd)};
    struct span bindings[] = {s->state, {0}, x->data, x->parts, s->states};
    for (uint32_t row0 = 0; row0 < wte->n_out && !r->status; row0 += wte->window_rows) {
        args.row0 = row0;
        args.n_rows = matrix_rows_at(wte, row0, wte->window_rows);
        bindings[1] = matrix_span(wte, row0, args.n_rows);
        r->status = stream_dispatch(&s->stream, &r->piece.recording, pipeline, bindings, &args, r->n * r->groups_y, 1,
                                    1);
    }
}

static void norm(struct recorder *r, const struct activation *state, const struct activation *y)
{
    struct session *s = r->session;
    if (r->status)
        return;
    uint32_t spec[] = {r->model->tuning.row_threads};
    const struct pipeline *pipeline;
    r->status = kernels_get(&s->model->kernels, KERNEL_NORM, spec, 1, &pipeline);
    if (r->status)
        return;
    struct norm_args args = {.table = r->table,
                             .n_embd = r->model->config.n_embd,
                             .in_stride = state->stride,
                             .out_stride = y->stride,
                             .n_ctx = s->n_ctx,
                             .n_parts_in = state->n_parts,
                             .parts_in_stride = s->parts_stride,
                             .parts_out_stride = s->parts_stride,
                             .eps = r->model->config.norm_eps};
    struct span bindings[] = {s->state,     state->data, *state->pending, r->model->weights.norm_f,
                              state->parts, y->data,     y->parts};
    r->status = stream_dispatch(&s->stream, &r->piece.recording, pipeline, bindings, &args, r->n * r->groups_y, 1, 1);
}

static void pick(struct recorder *r, bool sampled)
{
    struct session *s = r->session;
    if (r->status)
        return;
    uint32_t spec[] = {r->model->tuning.row_threads};
    const struct pipeline *pipeline;
    r->status = kernels_get(&s->model->kernels, sampled ? KERNEL_SAMPLE : KERNEL_ARGMAX, spec, 1, &pipeline);
    if (r->status)
        return;
    struct argmax_args argmax = {.table = r->table, .n_groups = tile_groups(r->tile, r->model->config.vocab_size)};
    struct sample_args sample = {
        .table = r->table, .n_vocab = r->model->config.vocab_size, .stride = r->model->config.vocab_size};
    struct span bindings[] = {s->state, sampled ? s->logits : s->best};
    r->status = stream_dispatch(&s->stream, &r->piece.recording, pipeline, bindings,
                                sampled ? (const void *)&sample : &argmax, r->n * r->groups_y, 1, 1);
}

/* x = norm_2(x + attn(norm_1 x)), x = norm_4(x + mlp(norm_3 x)), the last norm left pending on `out`. */
static void block(struct recorder *r, uint32_t index, bool core, const struct activation *x,
                  const struct activation *out, bool advance)
{
    struct session *s = r->session;
    const struct block_weights *w = &r->model->weights.blocks[index];
    const struct kv_block *kv = &s->cache.blocks[index];
    const uint32_t n_parts = tile_groups(r->tile, r->model->config.n_embd);
    const struct activation heads = {
        .data = s->partial_o, .parts = s->partial_ml, .stride = r->model->config.n_heads * r->model->head_pad};
    const struct activation y = {s->y, s->y_parts, r->model->stride, n_parts, false, &w->norm_2};
    const struct activation hidden = {.data = s->hidden, .parts = s->state, .stride = r->model->ff_stride};
    qkv(r, w, kv, core, x);
    attention(r, kv, core);
    project(r, &w->proj, s->n_splits > 1 ? INPUT_MERGE : INPUT_PLAIN, SCALE_NONE, &heads, NULL, x, &y, false, true);
    gate(r, w, &y);
    project(r, &w->down, INPUT_PLAIN, SCALE_NONE, &hidden, NULL, &y, out, advance, true);
}

enum mn_status forward_record(struct session *session, enum pass pass, uint32_t stamp, struct pass_recording *out)
{
    static const uint32_t tables[PASS_COUNT] = {TABLE_PRELUDE, TABLE_CORE, TABLE_CODA, TABLE_HEAD, TABLE_HEAD};
    const struct model *model = session->model;
    const struct model_config *config = &model->config;
    const struct weights *w = &model->weights;
    struct recorder recorder = {
        .session = session, .model = model, .out = out, .tile = forward_tile(session, stamp), .table = tables[pass]};
    struct recorder *r = &recorder;
    const uint32_t rows = session_stamp_rows(stamp), d = config->n_embd, n_parts = tile_groups(r->tile, d);
    r->n = rows < r->tile->n_max ? rows : r->tile->n_max;
    r->groups_y = (rows + r->n - 1) / r->n;

    const uint32_t core0 = config->n_prelude, coda0 = core0 + config->n_core, end = coda0 + config->n_coda;
    const struct activation state = {
        session->states, session->state_parts, model->stride, n_parts, true, &w->blocks[coda0 - 1].norm_4};
    const struct activation injected = {session->injected, session->x_parts, model->stride, 0, true, NULL};
    struct activation x = {session->x, session->x_parts, model->stride, 1, false, NULL};

    *out = (struct pass_recording){.first = session->n_pieces};
    begin_piece(r);
    switch (r->status ? PASS_COUNT : pass) {
    case PASS_PRELUDE:
        embed(r, &x);
        for (uint32_t i = 0; i < core0; i++) {
            struct activation next = {session->x, session->x_parts,    model->stride, n_parts,
                                      false,      &w->blocks[i].norm_4};
            block(r, i, false, &x, &next, false);
            x = next;
        }
        project(r, &w->adapter_embed, x.pending ? INPUT_NORM : INPUT_PLAIN, x.pending ? SCALE_ONE : SCALE_NONE, &x,
                x.pending, NULL, &injected, false, false);
        break;
    case PASS_CORE:
        x.n_parts = n_parts;
        project(r, &w->adapter_state, INPUT_STATE, SCALE_ONE, &state, state.pending, &injected, &x, false, true);
        for (uint32_t i = core0; i < coda0; i++) {
            struct activation next = {session->x, session->x_parts,    model->stride, n_parts,
                                      false,      &w->blocks[i].norm_4};
            bool last = i + 1 == coda0;
            block(r, i, true, &x, last ? &state : &next, last);
            x = next;
        }
        break;
    case PASS_CODA:
        norm(r, &state, &x);
        for (uint32_t i = coda0; i < end; i++) {
            struct activation next = {session->x, session->x_parts,    model->stride, n_parts,
                                      false,      &w->blocks[i].norm_4};
            block(r, i, false, &x, &next, false);
            x = next;
        }
        break;
    case PASS_HEAD_GREEDY:
    case PASS_HEAD_SAMPLED: {
        struct matmul_args args = base_args(r);
        x.n_parts = config->n_coda ? n_parts : 1;
        input_args(&args, &x);
        args.out_stride = config->vocab_size;
        args.parts_out_stride = tile_groups(r->tile, config->vocab_size);
        struct flavour flavour = {INPUT_NORM, config->n_coda ? SCALE_TWO : SCALE_ONE, {config->vocab_size % 4 == 0}};
        struct span bindings[] = {session->state, {0}, x.data, w->head_norm, x.parts, session->logits, session->best};
        matmul(r, KERNEL_HEAD, &w->head, &flavour, bindings, &args, 0);
        pick(r, pass == PASS_HEAD_SAMPLED);
        break;
    }
    case PASS_COUNT: break;
    }
    end_piece(r);
    return r->status;
}

enum mn_status forward_record_whole(struct session *session, enum pass pass, uint32_t stamp, struct recording *out)
{
    const double limit = session->piece_work;
    struct pass_recording whole;
    session->piece_work = INFINITY;
    enum mn_status status = forward_record(session, pass, stamp, &whole);
    session->piece_work = limit;
    if (!status)
        *out = session->pieces[--session->n_pieces].recording;
    return status;
}

const struct tile *forward_tile(const struct session *session, uint32_t stamp)
{
    return stamp == SESSION_N_STAMPS - 1 ? &session->model->tuning.prefill : &session->model->tuning.decode;
}
