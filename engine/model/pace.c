#include "engine/model/pace.h"

#include <math.h>
#include <string.h>

#include "engine/base/clock.h"

/* Before anything is measured, a piece counts as a whole submit. On a GPU that is 133 G units of work a second: 30 GB/s
 * of bf16 weights for one row, or 0.12 T multiply-adds a second for many; on a CPU device a twentieth of it. */
static const double SUBMIT_NS = 150e6, PIECE_WORK_GPU = 20e9, PIECE_WORK_CPU = 1e9, LEAST_FACTOR = 1e-3;

double pace_matmul_work(double weights, double rows)
{
    return weights * (rows + PACE_READ_ROWS);
}

double pace_attention_work(const struct session *s, double positions)
{
    return positions * 2.0 * s->model->config.n_heads * s->model->head_pad;
}

void pace_init(struct session *s, double piece_work)
{
    s->submit_ns = SUBMIT_NS;
    s->piece_work = piece_work > 0.0 ? piece_work : s->model->device->caps.is_cpu ? PIECE_WORK_CPU : PIECE_WORK_GPU;
    s->now_ns = clock_ns;
    for (uint32_t i = 0; i < SESSION_N_STAMPS; i++) {
        s->ns_per_work[i] = SUBMIT_NS / s->piece_work;
        s->measured[i] = false;
    }
}

static double estimate(const struct session *s, const struct piece *piece, uint32_t stamp, uint32_t n_rows,
                       double positions)
{
    const uint32_t n_max = session_tile(s, stamp)->n_max, groups = (n_rows + n_max - 1) / n_max;
    return s->ns_per_work[stamp] *
           (pace_matmul_work(piece->weights, groups * n_max) + piece->n_attention * pace_attention_work(s, positions));
}

static double total(const struct pace *p, bool measured)
{
    double ns = 0.0;
    for (uint32_t i = 0; i < SESSION_N_STAMPS; i++)
        ns += p->session->measured[i] == measured ? p->estimate_ns[i] : 0.0;
    return ns;
}

/* Every submit teaches what a unit of work takes. What is beyond the estimate of stamps that have been measured belongs
 * to those that have not; with none of these, all were wrong by the same factor, for want of a better guess. */
static void learn(struct pace *p, double ns)
{
    struct session *s = p->session;
    const double known = total(p, true), unknown = total(p, false);
    const double factor = unknown > 0.0 ? fmax((ns - known) / unknown, LEAST_FACTOR) : ns / known;
    for (uint32_t i = 0; i < SESSION_N_STAMPS; i++)
        if (p->estimate_ns[i] > 0.0 && s->measured[i] == !(unknown > 0.0)) {
            s->ns_per_work[i] *= s->measured[i] ? 0.5 + 0.5 * factor : factor;
            s->measured[i] = true;
        }
}

static void flush(struct pace *p)
{
    struct session *s = p->session;
    if (p->n == 0 || p->status)
        return;
    const double start = s->now_ns();
    p->status = stream_run(&s->stream, p->list, p->n);
    const double ns = s->now_ns() - start;
    if (!p->status && p->teaches && total(p, true) + total(p, false) > 0.0 && ns > 0.0)
        learn(p, ns);
    p->n = 0;
    memset(p->estimate_ns, 0, sizeof p->estimate_ns);
}

void pace_pass(struct pace *p, enum pass pass, uint32_t stamp, uint32_t n_rows, double positions)
{
    const struct session *s = p->session;
    const struct pass_recording *recording = &s->recordings[pass][stamp];
    for (uint32_t i = 0; i < recording->n && !p->status; i++) {
        const struct piece *piece = &s->pieces[recording->first + i];
        if (p->n == PACE_MAX_RECORDINGS ||
            total(p, true) + total(p, false) + estimate(s, piece, stamp, n_rows, positions) > s->submit_ns)
            flush(p);
        p->list[p->n++] = &piece->recording;
        p->estimate_ns[stamp] += estimate(s, piece, stamp, n_rows,
                                          positions); /* anew: the flush may have taught something */
    }
}

enum mn_status pace_end(struct pace *p)
{
    flush(p);
    return p->status;
}

uint32_t pace_chunk_rows(const struct session *s, uint32_t last)
{
    const uint32_t least = s->model->tuning.prefill.n_max; /* fewer would not read the weights less often */
    uint32_t rows = s->info.prefill_rows;
    while (rows > least &&
           s->ns_per_work[SESSION_N_STAMPS - 1] * pace_attention_work(s, (double)rows * (last + 1)) > s->submit_ns)
        rows /= 2;
    return rows;
}
