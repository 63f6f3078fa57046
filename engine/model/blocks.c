#include "engine/model/blocks.h"

#include <stdio.h>

#include "engine/model/weight_check.h"

void llama_block(struct recorder *r, const struct block *b, const struct activation *x, struct activation *out,
                 bool ends_step)
{
    struct activation y = sum_vectors(r), hidden = hidden_vectors(r);
    qkv(r, b, x, &b->w->attention_in);
    const struct activation heads = attention(r, b);
    PROJECT(r, .what = "projection", .matrix = &b->w->proj, .in = &heads, .add = x, .out = &y);
    gate(r, b, &y, &b->w->mlp_in, &hidden);
    PROJECT(r, .what = "down", .matrix = &b->w->down, .in = &hidden, .add = &y, .out = out, .ends_step = ends_step);
}

void olmo_block(struct recorder *r, const struct block *b, const struct activation *x, struct activation *out,
                bool ends_step)
{
    struct activation y = row_vectors(r), hidden = hidden_vectors(r),
                      branch = owing(sum_vectors(r), &b->w->attention_out);
    qkv_normed(r, b, x);
    const struct activation heads = attention(r, b);
    PROJECT(r, .what = "projection", .matrix = &b->w->proj, .in = &heads, .out = &branch);
    add_vectors(r, x, &branch, &y, false);
    gate(r, b, &y, NULL, &hidden);
    branch = owing(branch, &b->w->mlp_out);
    PROJECT(r, .what = "down", .matrix = &b->w->down, .in = &hidden, .out = &branch);
    add_vectors(r, &y, &branch, out, ends_step);
}

void ouro_block(struct recorder *r, const struct block *b, const struct activation *x, struct activation *out,
                bool ends_step)
{
    struct activation y = row_vectors(r), hidden = hidden_vectors(r),
                      branch = owing(sum_vectors(r), &b->w->attention_out);
    qkv(r, b, x, &b->w->attention_in);
    const struct activation heads = attention(r, b);
    PROJECT(r, .what = "projection", .matrix = &b->w->proj, .in = &heads, .out = &branch);
    add_vectors(r, x, &branch, &y, false);
    gate(r, b, &y, &b->w->mlp_in, &hidden);
    branch = owing(branch, &b->w->mlp_out);
    PROJECT(r, .what = "down", .matrix = &b->w->down, .in = &hidden, .out = &branch);
    add_vectors(r, &y, &branch, out, ends_step);
}

void block_row(struct recorder *r, block_function *block, uint32_t first, uint32_t n, struct activation x,
               struct activation *out, bool ends_step)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct block b = block_at(r, first + i);
        const bool last = i + 1 == n;
        struct activation next = row_vectors(r);
        block(r, &b, &x, last ? out : &next, last && ends_step);
        x = next;
    }
}

/* ---- plans ---- */

void plan_block_norms(struct weight_plan *plan, struct block_weights *w, const char *prefix, const char *const norms[4])
{
    struct span *const spans[4] = {&w->attention_in, &w->attention_out, &w->mlp_in, &w->mlp_out};
    char name[PLAN_NAME_BYTES];
    for (int i = 0; i < 4; i++)
        if (norms[i])
            plan_norm(plan, spans[i], plan_name(name, prefix, norms[i]), NULL, plan->config->n_embd);
}

static void part(struct matrix_plan *plan, uint32_t i, const char *prefix, const char *name, uint32_t rows)
{
    plan_name(plan->parts[i].name, prefix, name);
    plan->parts[i].rows = rows;
}

static void plan_llama_block(struct weight_plan *plan, struct block_weights *w, const char *prefix,
                             const char *const norms[4])
{
    const struct model_config *c = plan->config;
    const uint32_t d = c->n_embd, f = c->intermediate_size, n_q = c->n_heads * c->head_dim,
                   n_k = c->n_kv_heads * c->head_dim;
    struct matrix_plan qkv = {.columns = d, .layout = LAYOUT_QKV}, proj = {.columns = n_q, .layout = LAYOUT_HEADS},
                       gate = {.columns = d, .layout = LAYOUT_GATE}, down = {.columns = f};
    part(&qkv, 0, prefix, "self_attn.q_proj.weight", n_q);
    part(&qkv, 1, prefix, "self_attn.k_proj.weight", n_k);
    part(&qkv, 2, prefix, "self_attn.v_proj.weight", n_k);
    part(&proj, 0, prefix, "self_attn.o_proj.weight", d);
    part(&gate, 0, prefix, "mlp.gate_proj.weight", f);
    part(&gate, 1, prefix, "mlp.up_proj.weight", f);
    part(&down, 0, prefix, "mlp.down_proj.weight", d);
    plan_matrix(plan, &w->qkv, &qkv);
    plan_matrix(plan, &w->proj, &proj);
    plan_matrix(plan, &w->gate, &gate);
    plan_matrix(plan, &w->down, &down);
    plan_block_norms(plan, w, prefix, norms);
    plan_bias(plan, &w->bias, NULL, n_q + n_k);
}

void plan_vocabulary(struct weight_plan *plan, struct weights *w, const char *embedding, const char *head)
{
    const struct model_config *c = plan->config;
    struct matrix_plan matrix = {.parts = {{.rows = c->vocab_size}}, .columns = c->n_embd, .vocabulary = true};
    snprintf(matrix.parts[0].name, PLAN_NAME_BYTES, "%s", embedding);
    plan_matrix(plan, &w->embedding, &matrix);
    if (c->tie_embeddings) {
        plan_tied(plan, head, embedding);
        w->head = w->embedding;
        return;
    }
    snprintf(matrix.parts[0].name, PLAN_NAME_BYTES, "%s", head);
    plan_matrix(plan, &w->head, &matrix);
}

void plan_llama_stack(struct weight_plan *plan, struct weights *w, const char *const norms[4])
{
    plan_vocabulary(plan, w, "model.embed_tokens.weight", "lm_head.weight");
    for (uint32_t i = 0; i < plan->config->n_core; i++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "model.layers.%u", i);
        plan_llama_block(plan, &w->blocks[i], prefix, norms);
    }
}

void plan_raven_adapter(struct weight_plan *plan, struct weights *w)
{
    const uint32_t d = plan->config->n_embd;
    struct matrix_plan adapter = {
        .parts = {{"transformer.adapter.weight", d}}, .columns = 2 * d, .n_columns = d}; /* the state's half */
    plan_matrix(plan, &w->adapter_state, &adapter);
    adapter.column0 = d; /* the embedding's */
    plan_matrix(plan, &w->adapter_embed, &adapter);
}

void plan_raven_matrices(struct weight_plan *plan, struct block_weights *w, const char *prefix)
{
    const struct model_config *c = plan->config;
    const uint32_t d = c->n_embd, f = c->intermediate_size, n_q = c->n_heads * c->head_dim,
                   n_k = c->n_kv_heads * c->head_dim;
    struct matrix_plan wqkv = {.columns = d, .layout = LAYOUT_QKV}, proj = {.columns = n_q, .layout = LAYOUT_HEADS},
                       fc = {.columns = d, .layout = LAYOUT_GATE}, down = {.columns = f};
    part(&wqkv, 0, prefix, "attn.Wqkv.weight", n_q + 2 * n_k);
    part(&proj, 0, prefix, "attn.proj.weight", d);
    part(&fc, 0, prefix, "mlp.fc.weight", 2 * f);
    part(&down, 0, prefix, "mlp.proj.weight", d);
    plan_matrix(plan, &w->qkv, &wqkv);
    plan_matrix(plan, &w->proj, &proj);
    plan_matrix(plan, &w->gate, &fc);
    plan_matrix(plan, &w->down, &down);
}
