#include "engine/model/recorder.h"

#include <math.h>
#include <stdlib.h>

#include "engine/base/numbers.h"
#include "engine/model/pace.h"
#include "engine/model/pipelines.h"

/* ---- pieces ---- */

static void end_piece(struct recorder *r)
{
    struct session *s = r->session;
    if (s->uses)
        return;
    if (!r->status)
        r->status = stream_end(&s->stream, &r->piece.recording);
    if (r->status || r->piece.recording.n_dispatches == 0) /* a pass may have nothing to do: no coda, say */
        return;
    struct piece *pieces = realloc(s->pieces, (s->n_pieces + 1) * sizeof *pieces);
    if (!pieces) {
        r->status = log_fail(s->info.log, MN_ERR_MEMORY, "out of host memory for recordings");
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
    if (!r->status && !r->session->uses)
        r->status = stream_record(&r->session->stream, &r->piece.recording);
}

void recorder_begin(struct recorder *r, struct session *session, enum pass pass, uint32_t stamp,
                    struct pass_recording *out)
{
    static const uint32_t tables[PASS_COUNT] = {TABLE_PRELUDE, TABLE_CORE, TABLE_CODA, TABLE_HEAD, TABLE_HEAD};
    const uint32_t rows = session_stamp_rows(stamp);
    r->session = session;
    r->model = session->model;
    r->tile = session_tile(session, stamp);
    r->attention_tile = stamp == SESSION_N_STAMPS - 1 ? session->model->tuning.attention_tile_rows : 0;
    r->table = tables[pass];
    r->pass = pass;
    r->stamp = stamp;
    r->n = tile_rows(r->tile, rows);
    r->groups_y = (rows + r->n - 1) / r->n;
    r->out = out;
    *out = (struct pass_recording){.first = session->n_pieces};
    begin_piece(r);
}

enum mn_status recorder_end(struct recorder *r)
{
    end_piece(r);
    return r->status;
}

/* ---- dispatches ---- */

static void list_operation(struct recorder *r, const struct dispatch *d)
{
    struct operation *operations = realloc(r->operations, (r->n_operations + 1) * sizeof *operations);
    if (!operations) {
        r->status = log_fail(r->session->info.log, MN_ERR_MEMORY, "out of host memory for a list of operations");
        return;
    }
    r->operations = operations;
    r->operations[r->n_operations++] = (struct operation){d->what, d->kernel, d->matrix, d->n_in, d->n_dispatches};
}

void recorder_dispatch(struct recorder *r, const struct dispatch *d)
{
    struct session *s = r->session;
    const struct pipeline *pipeline;
    if (!r->status)
        r->status = kernels_get(&s->model->kernels, d->kernel, d->constants,
                                (uint32_t)(d->constants_bytes / sizeof(uint32_t)), &pipeline);
    if (!r->status && s->uses) {
        r->status = pipelines_add(s->uses, pipeline, d->what, r->pass, r->stamp, s->info.log);
        return;
    }
    if (r->status)
        return;
    /* A piece that would become too long with it ends here. */
    if (d->work > 0.0 && r->piece_work > 0.0 && r->piece_work + d->work > s->piece_work) {
        end_piece(r);
        begin_piece(r);
    }
    r->piece_work += d->work;
    r->piece.weights += d->weights;
    r->piece.n_attention += d->attends;
    if (!r->status && d->groups)
        r->status = stream_dispatch_indirect(&s->stream, &r->piece.recording, pipeline, d->bindings, d->args,
                                             *d->groups);
    else if (!r->status)
        r->status = stream_dispatch(&s->stream, &r->piece.recording, pipeline, d->bindings, d->args, d->groups_x,
                                    d->groups_y, 1);
    if (!r->status && r->lists)
        list_operation(r, d);
}
