#include "engine/model/forward.h"

#include <math.h>
#include <stdlib.h>

#include "engine/model/family.h"

/* The transformer, with r steps between prelude and coda: what each part does is the family's. */
static enum mn_status record(struct recorder *r, struct session *session, enum pass pass, uint32_t stamp,
                             struct pass_recording *out)
{
    const struct family *family = session->info.config->family;
    recorder_begin(r, session, pass, stamp, out);
    switch (pass) {
    case PASS_PRELUDE: family->prelude(r); break;
    case PASS_CORE: family->step(r); break;
    case PASS_CODA: family->coda(r); break;
    case PASS_HEAD_GREEDY: family->head(r, false); break;
    case PASS_HEAD_SAMPLED: family->head(r, true); break;
    case PASS_COUNT: break;
    }
    return recorder_end(r);
}

enum mn_status forward_record(struct session *session, enum pass pass, uint32_t stamp, struct pass_recording *out)
{
    return record(&(struct recorder){0}, session, pass, stamp, out);
}

enum mn_status forward_record_whole(struct session *session, enum pass pass, uint32_t stamp, struct whole_pass *out)
{
    const double limit = session->piece_work;
    struct recorder recorder = {.lists = true};
    struct pass_recording whole;
    session->piece_work = INFINITY;
    enum mn_status status = record(&recorder, session, pass, stamp, &whole);
    session->piece_work = limit;
    *out = (struct whole_pass){.operations = recorder.operations, .n_operations = recorder.n_operations};
    if (status)
        whole_pass_finish(out);
    else if (whole.n)
        out->recording = session->pieces[--session->n_pieces].recording;
    return status;
}

void whole_pass_finish(struct whole_pass *whole)
{
    free(whole->operations);
    *whole = (struct whole_pass){0};
}
