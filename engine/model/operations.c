#include "engine/model/operations.h"

#include <math.h>

#include "engine/base/numbers.h"
#include "engine/model/family.h"
#include "engine/model/pace.h"

/* ---- vectors ---- */

/* Workgroups that share a vector of d, each of which leaves one part of its statistics. */
static uint32_t vector_parts(const struct recorder *r)
{
    return tile_groups(r->tile, r->model->config.n_embd);
}

struct activation row_vectors(const struct recorder *r)
{
    const struct session *s = r->session;
    return (struct activation){.data = s->x,
                               .parts = s->x_parts,
                               .length = r->model->config.n_embd,
                               .stride = r->model->stride,
                               .n_parts = vector_parts(r)};
}

struct activation sum_vectors(const struct recorder *r)
{
    const struct session *s = r->session;
    return (struct activation){.data = s->y,
                               .parts = s->y_parts,
                               .length = r->model->config.n_embd,
                               .stride = r->model->stride,
                               .n_parts = vector_parts(r)};
}

struct activation hidden_vectors(const struct recorder *r)
{
    return (struct activation){
        .data = r->session->hidden, .length = r->model->config.intermediate_size, .stride = r->model->ff_stride};
}

struct activation state_vectors(const struct recorder *r)
{
    const struct session *s = r->session;
    return (struct activation){.data = s->states,
                               .parts = s->state_parts,
                               .length = r->model->config.n_embd,
                               .stride = r->model->stride,
                               .n_parts = vector_parts(r),
                               .by_slot = true,
                               .raw_at_depth_0 = true};
}

struct activation injected_vectors(const struct recorder *r)
{
    return (struct activation){
        .data = r->session->injected, .length = r->model->config.n_embd, .stride = r->model->stride, .by_slot = true};
}

struct activation head_vectors(const struct recorder *r)
{
    return (struct activation){
        .data = r->session->heads, .length = r->model->weights.blocks->qkv.n_out, .stride = r->model->heads_stride};
}

struct activation owing(struct activation value, const struct span *norm)
{
    value.owed = norm;
    return value;
}

struct block block_at(const struct recorder *r, uint32_t index)
{
    const struct model_config *config = &r->model->config;
    return (struct block){.w = &r->model->weights.blocks[index],
                          .kv = &r->session->cache.blocks[index],
                          .core = index >= config->n_prelude && index < config->n_prelude + config->n_core};
}

/* ---- matrices ---- */

static struct matmul_args base_args(const struct recorder *r, const struct activation *in)
{
    const struct session *s = r->session;
    const struct model_config *config = &r->model->config;
    return (struct matmul_args){.table = r->table,
                                .in_stride = in->stride,
                                .in_by_slot = in->by_slot,
                                .n_parts_in = in->n_parts,
                                .parts_in_stride = s->parts_stride,
                                .residual_stride = r->model->stride,
                                .parts_residual_stride = s->parts_stride,
                                .parts_out_stride = s->parts_stride,
                                .n_norm = config->n_embd,
                                .eps = config->norm_eps,
                                .n_cells = session_cells(s),
                                .n_heads = config->n_heads,
                                .n_kv_heads = config->n_kv_heads,
                                .head_dim = config->head_dim,
                                .head_pad = r->model->head_pad,
                                .split = r->model->tuning.attention_split,
                                .n_splits = s->n_splits,
                                .query_scale = 1.0f / sqrtf((float)config->head_dim)};
}

static struct matmul_constants base_constants(const struct recorder *r, const struct matrix *matrix, uint32_t input,
                                              uint32_t scale)
{
    return (struct matmul_constants){.threads = r->tile->threads,
                                     .k_lanes = r->tile->k_lanes,
                                     .rows_per_lane = r->tile->rows,
                                     .n_rows = r->n,
                                     .weight_type = (uint32_t)matrix->type,
                                     .input = input,
                                     .scale = scale,
                                     .path = r->tile->path,
                                     .side = r->tile->side,
                                     .subgroup = r->tile->subgroup};
}

/* What a reader that norms for itself scales by: a norm of a norm where the value is owed one already. */
static uint32_t scale_of(const struct activation *in)
{
    return in->owed ? SCALE_TWO : SCALE_ONE;
}

/* Most rows of a matrix in one dispatch, for it to fit into a piece. */
static uint32_t rows_per_dispatch(const struct recorder *r, const struct matrix *matrix)
{
    const double most = r->session->piece_work / pace_matmul_work(matrix->n_chunks * 8.0, r->n * r->groups_y);
    return most >= matrix->n_out         ? matrix->n_out
           : most < 2 * MATRIX_ROWS_STEP ? MATRIX_ROWS_STEP
                                         : (uint32_t)most & ~(uint32_t)(MATRIX_ROWS_STEP - 1);
}

struct matmul {
    const char *what;
    enum kernel_id kernel;
    const struct matrix *matrix;
    uint32_t n_in;
    void *constants; /* begins with matmul_constants */
    size_t constants_bytes;
    uint32_t *only_last;   /* not NULL: a flag among the constants that is for the last dispatch alone */
    struct span *bindings; /* [1] is filled with the rows */
    struct matmul_args *args;
};

/* One dispatch per window of the matrix, or more where that would take too long. */
static void matmul(struct recorder *r, const struct matmul *m)
{
    const struct matrix *matrix = m->matrix;
    const uint32_t rows_per_group = r->tile->threads / r->tile->k_lanes * r->tile->rows;
    const uint32_t most = rows_per_dispatch(r, matrix), flag = m->only_last ? *m->only_last : 0;
    uint32_t n_dispatches = 0;
    for (uint32_t row0 = 0; row0 < matrix->n_out; row0 += matrix_rows_at(matrix, row0, most))
        n_dispatches++;
    for (uint32_t row0 = 0, n; row0 < matrix->n_out && !r->status; row0 += n) {
        n = matrix_rows_at(matrix, row0, most);
        if (m->only_last)
            *m->only_last = row0 + n == matrix->n_out ? flag : 0;
        m->bindings[1] = matrix_span(matrix, row0, n);
        m->args->n_chunks = matrix->n_chunks;
        m->args->n_out = n;
        m->args->row0 = row0;
        m->args->parts_out0 = row0 / rows_per_group;
        const double weights = n * (matrix->n_chunks * 8.0);
        recorder_dispatch(r, &(struct dispatch){.what = m->what,
                                                .kernel = m->kernel,
                                                .constants = m->constants,
                                                .constants_bytes = m->constants_bytes,
                                                .bindings = m->bindings,
                                                .args = m->args,
                                                .groups_x = tile_groups(r->tile, n),
                                                .groups_y = r->groups_y,
                                                .work = pace_matmul_work(weights, r->n * r->groups_y),
                                                .weights = weights,
                                                .matrix = matrix,
                                                .n_in = m->n_in,
                                                .n_dispatches = n_dispatches});
    }
}

/* Which inputs a projection reads: those it norms itself, those of attention, a value that is owed a norm, or plain
 * ones. */
static uint32_t projection_input(const struct activation *in, const struct span *norm)
{
    if (norm)
        return INPUT_NORM;
    if (in->splits)
        return INPUT_MERGE;
    return !in->owed ? INPUT_PLAIN : in->raw_at_depth_0 ? INPUT_STATE : INPUT_NORM;
}

void project(struct recorder *r, const struct project *p)
{
    const struct session *s = r->session;
    const struct activation *in = p->in, *add = p->add;
    struct activation *out = p->out;
    const struct span none = s->state; /* stands where nothing is read or written */
    struct matmul_args args = base_args(r, in);
    args.out_stride = out->stride;
    args.out_by_slot = out->by_slot;
    if (add) {
        args.residual_stride = add->stride;
        args.residual_by_slot = add->by_slot;
        args.n_parts_residual = add->n_parts;
    }
    const bool has_stats = out->parts.block != NULL;
    const uint32_t scale = p->norm ? scale_of(in) : in->owed ? SCALE_ONE : SCALE_NONE;
    struct proj_constants constants = {.matmul = base_constants(r, p->matrix, projection_input(in, p->norm), scale),
                                       .residual = !add        ? RESIDUAL_NONE
                                                   : add->owed ? RESIDUAL_NORM
                                                               : RESIDUAL_PLAIN,
                                       .advance = p->ends_step,
                                       .stats = has_stats};
    struct span bindings[] = {s->state,
                              {0},
                              in->data,
                              p->norm    ? *p->norm
                              : in->owed ? *in->owed
                                         : none,
                              in->parts.block ? in->parts : none,
                              out->data,
                              add ? add->data : none,
                              add && add->owed ? *add->owed : none,
                              add && add->parts.block ? add->parts : none,
                              out->owed ? *out->owed : r->model->weights.head_norm,
                              has_stats ? out->parts : none,
                              s->state};
    matmul(r, &(struct matmul){.what = p->what,
                               .kernel = KERNEL_PROJ,
                               .matrix = p->matrix,
                               .n_in = in->length,
                               .constants = &constants,
                               .constants_bytes = sizeof constants,
                               .only_last = &constants.advance,
                               .bindings = bindings,
                               .args = &args});
    out->n_parts = vector_parts(r);
}

void gate(struct recorder *r, const struct block *block, const struct activation *in, const struct span *norm,
          struct activation *out)
{
    const struct session *s = r->session;
    struct matmul_args args = base_args(r, in);
    args.out_stride = out->stride;
    struct gate_constants constants = {.matmul = base_constants(r, &block->w->gate, norm ? INPUT_NORM : INPUT_PLAIN,
                                                                norm ? scale_of(in) : SCALE_NONE)};
    struct span bindings[] = {s->state, {0}, in->data, norm ? *norm : s->state, in->parts, out->data};
    matmul(r, &(struct matmul){.what = "gate",
                               .kernel = KERNEL_GATE,
                               .matrix = &block->w->gate,
                               .n_in = r->model->config.n_embd,
                               .constants = &constants,
                               .constants_bytes = sizeof constants,
                               .bindings = bindings,
                               .args = &args});
}

void logits(struct recorder *r, const struct activation *in, const struct span *norm)
{
    const struct session *s = r->session;
    const struct model_config *config = &r->model->config;
    const struct matrix *head = &r->model->weights.head;
    struct matmul_args args = base_args(r, in);
    args.out_stride = config->vocab_size;
    args.parts_out_stride = tile_groups(r->tile, config->vocab_size);
    struct head_constants constants = {.matmul = base_constants(r, head, INPUT_NORM, scale_of(in)),
                                       .whole_quads = config->vocab_size % 4 == 0};
    struct span bindings[] = {s->state, {0}, in->data, *norm, in->parts, s->logits, s->best};
    matmul(r, &(struct matmul){.what = "head",
                               .kernel = KERNEL_HEAD,
                               .matrix = head,
                               .n_in = config->n_embd,
                               .constants = &constants,
                               .constants_bytes = sizeof constants,
                               .bindings = bindings,
                               .args = &args});
}

/* ---- the rest ---- */

struct activation attention(struct recorder *r, const struct block *block)
{
    const struct session *s = r->session;
    const struct model *model = r->model;
    const struct tuning *tuning = &model->tuning;
    const uint32_t shared_rows = r->attention_tile, n_splits = shared_rows ? 1 : s->n_splits;
    const bool shares_slots = block->kv->n_slots < s->info.num_steps;
    const bool branches = s->info.n_branch > 0;
    const struct attention_constants constants = {.threads = tuning->attention_threads,
                                                  .split = tuning->attention_split,
                                                  .kv_type = (uint32_t)s->info.kv_type,
                                                  .core = block->core,
                                                  .octets = model->head_pad / 8,
                                                  .per_lane = shared_rows ? tuning->attention_tile_per_lane
                                                                          : tuning->attention_per_lane,
                                                  .shared_slots = shares_slots,
                                                  .whole = n_splits == 1,
                                                  .heads_per_kv = model->config.n_heads / model->config.n_kv_heads,
                                                  .tile_rows = shared_rows,
                                                  .branches = branches};
    const struct attention_args args = {.table = r->table,
                                        .n_heads = model->config.n_heads,
                                        .head_pad = model->head_pad,
                                        .n_slots = block->kv->n_slots,
                                        .n_cells = session_cells(s),
                                        .n_splits = n_splits,
                                        .n_positions = s->info.n_ctx};
    const struct span bindings[] = {s->state, s->query, block->kv->kv, s->cache.depths, s->partial_o, s->partial_ml};
    struct span groups = s->state;
    groups.offset += (STATE_GROUPS + 3 * r->table) * sizeof(uint32_t);
    recorder_dispatch(r, &(struct dispatch){.what = "attention",
                                            .kernel = shared_rows ? KERNEL_ATTENTION_TILE : KERNEL_ATTENTION,
                                            .constants = &constants,
                                            .constants_bytes = sizeof constants,
                                            .bindings = bindings,
                                            .args = &args,
                                            .groups = &groups,
                                            .work = pace_attention_work(s, (double)r->n * r->groups_y * s->info.n_ctx),
                                            .attends = true,
                                            .n_dispatches = 1});
    return (struct activation){.data = s->partial_o,
                               .parts = s->partial_ml,
                               .length = model->config.n_heads * model->config.head_dim,
                               .stride = model->config.n_heads * model->head_pad,
                               .splits = n_splits > 1};
}

/* One workgroup per row. */
static void dispatch_rows(struct recorder *r, const char *what, enum kernel_id kernel, const void *constants,
                          uint32_t n_constants, const struct span *bindings, const void *args)
{
    recorder_dispatch(r, &(struct dispatch){.what = what,
                                            .kernel = kernel,
                                            .constants = constants,
                                            .constants_bytes = n_constants * sizeof(uint32_t),
                                            .bindings = bindings,
                                            .args = args,
                                            .groups_x = r->n * r->groups_y,
                                            .groups_y = 1,
                                            .n_dispatches = 1});
}

void embed(struct recorder *r, struct activation *out)
{
    const struct session *s = r->session;
    const struct matrix *wte = &r->model->weights.embedding;
    const struct embed_constants constants = {r->model->tuning.row_threads, (uint32_t)wte->type,
                                              !r->model->config.family->injects};
    struct embed_args args = {.table = r->table,
                              .n_embd = r->model->config.n_embd,
                              .stride = r->model->stride,
                              .n_cells = session_cells(s),
                              .parts_stride = s->parts_stride,
                              .n_chunks = wte->n_chunks,
                              .scale = r->model->config.embed_scale};
    struct span bindings[] = {s->state, {0}, out->data, out->parts, s->states};
    for (; args.row0 < wte->n_out; args.row0 += wte->window_rows) {
        args.n_rows = matrix_rows_at(wte, args.row0, wte->window_rows);
        bindings[1] = matrix_span(wte, args.row0, args.n_rows);
        recorder_dispatch(r, &(struct dispatch){.what = "embed",
                                                .kernel = KERNEL_EMBED,
                                                .constants = &constants,
                                                .constants_bytes = sizeof constants,
                                                .bindings = bindings,
                                                .args = &args,
                                                .groups_x = r->n * r->groups_y,
                                                .groups_y = 1,
                                                .n_dispatches = wte->n_windows});
    }
    out->n_parts = 1;
}

/* out = norm(in) + add: norm_vectors and add_vectors. */
static void combine(struct recorder *r, const char *what, const struct activation *in, const struct span *norm,
                    const struct activation *add, struct activation *out, bool ends_step)
{
    const struct session *s = r->session;
    const struct span none = r->model->weights.head_norm; /* stands where nothing is read */
    const struct norm_constants constants = {.threads = r->model->tuning.row_threads,
                                             .in_by_slot = in->by_slot,
                                             .raw_at_depth_0 = in->raw_at_depth_0,
                                             .owed = in->owed != NULL,
                                             .norm = norm != NULL,
                                             .add = add != NULL,
                                             .add_by_slot = add && add->by_slot,
                                             .out_by_slot = out->by_slot,
                                             .advance = ends_step};
    const struct norm_args args = {.table = r->table,
                                   .n_embd = r->model->config.n_embd,
                                   .in_stride = in->stride,
                                   .add_stride = add ? add->stride : 0,
                                   .out_stride = out->stride,
                                   .n_cells = session_cells(s),
                                   .n_parts_in = in->n_parts,
                                   .parts_in_stride = s->parts_stride,
                                   .parts_out_stride = s->parts_stride,
                                   .eps = r->model->config.norm_eps};
    const struct span bindings[] = {
        s->state,  in->data,  in->owed ? *in->owed : none, norm ? *norm : none, in->parts, add ? add->data : none,
        out->data, out->parts};
    dispatch_rows(r, what, KERNEL_NORM, KERNEL_CONSTANTS(constants), bindings, &args);
    out->n_parts = 1;
}

void norm_vectors(struct recorder *r, const struct activation *in, const struct span *norm, struct activation *out)
{
    combine(r, "norm", in, norm, NULL, out, false);
}

void add_vectors(struct recorder *r, const struct activation *x, const struct activation *branch,
                 struct activation *out, bool ends_step)
{
    combine(r, "add", branch, NULL, x, out, ends_step);
}

/* Query, key and value as whole vectors, and then what has to wait for them: norms over all heads (`normed`), or a q8
 * cache, in which the values of a group have one scale. */
static void qkv_apart(struct recorder *r, const struct block *block, const struct activation *in,
                      const struct span *norm, bool normed)
{
    const struct session *s = r->session;
    const struct model_config *config = &r->model->config;
    struct activation heads = head_vectors(r);
    PROJECT(r, .what = "qkv", .matrix = &block->w->qkv, .in = in, .norm = norm, .out = &heads);
    const struct heads_constants constants = {.threads = r->model->tuning.row_threads,
                                              .kv_type = (uint32_t)s->info.kv_type,
                                              .core = block->core,
                                              .shared_slots = block->kv->n_slots < s->info.num_steps,
                                              .normed = normed};
    const struct heads_args args = {.table = r->table,
                                    .in_stride = heads.stride,
                                    .n_heads = config->n_heads,
                                    .n_kv_heads = config->n_kv_heads,
                                    .head_dim = config->head_dim,
                                    .head_pad = r->model->head_pad,
                                    .n_slots = block->kv->n_slots,
                                    .n_cells = session_cells(s),
                                    .eps = config->norm_eps,
                                    .query_scale = 1.0f / sqrtf((float)config->head_dim)};
    const struct span bindings[] = {s->state,       heads.data, normed ? block->w->heads_norm : block->w->bias,
                                    s->rotary,      s->query,   block->kv->kv,
                                    s->cache.depths};
    dispatch_rows(r, "heads", KERNEL_HEADS, KERNEL_CONSTANTS(constants), bindings, &args);
}

void qkv_normed(struct recorder *r, const struct block *block, const struct activation *in)
{
    qkv_apart(r, block, in, NULL, true);
}

void qkv(struct recorder *r, const struct block *block, const struct activation *in, const struct span *norm)
{
    const struct session *s = r->session;
    const struct model_config *config = &r->model->config;
    if (s->info.kv_type == KV_Q8) {
        qkv_apart(r, block, in, norm, false);
        return;
    }
    struct matmul_args args = base_args(r, in);
    args.n_slots = block->kv->n_slots;
    struct qkv_constants constants = {.matmul = base_constants(r, &block->w->qkv, INPUT_NORM, scale_of(in)),
                                      .kv_type = (uint32_t)s->info.kv_type,
                                      .core = block->core,
                                      .shared_slots = block->kv->n_slots < s->info.num_steps,
                                      .head_dim = config->head_dim};
    struct span bindings[] = {s->state,       {0},       in->data,      *norm,          in->parts, s->query,
                              block->w->bias, s->rotary, block->kv->kv, s->cache.depths};
    matmul(r, &(struct matmul){.what = "qkv",
                               .kernel = KERNEL_QKV,
                               .matrix = &block->w->qkv,
                               .n_in = config->n_embd,
                               .constants = &constants,
                               .constants_bytes = sizeof constants,
                               .bindings = bindings,
                               .args = &args});
}

void pick(struct recorder *r, bool sampled)
{
    const struct session *s = r->session;
    const uint32_t n_vocab = r->model->config.vocab_size;
    const struct argmax_args argmax = {.table = r->table, .n_groups = tile_groups(r->tile, n_vocab)};
    const struct sample_args sample = {.table = r->table, .n_vocab = n_vocab, .stride = n_vocab};
    const struct span bindings[] = {s->state, sampled ? s->logits : s->best};
    const struct row_constants constants = {r->model->tuning.row_threads};
    dispatch_rows(r, sampled ? "sample" : "argmax", sampled ? KERNEL_SAMPLE : KERNEL_ARGMAX,
                  KERNEL_CONSTANTS(constants), bindings, sampled ? (const void *)&sample : &argmax);
}
