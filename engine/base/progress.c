#include "engine/base/progress.h"

enum mn_status progress_poll(struct progress *p)
{
    if (!p->to.report)
        return MN_OK;
    return p->to.report(p->to.user, p->what, p->done, p->total) ? MN_ERR_INTERRUPTED : MN_OK;
}

enum mn_status progress_begin(struct progress *p, const char *what, uint64_t total)
{
    if (p->what) {
        p->n_nested++;
    } else {
        p->what = what;
        p->done = 0;
        p->total = total ? total : 1; /* nothing to do is done at the end as well */
    }
    return progress_poll(p);
}

enum mn_status progress_add(struct progress *p, uint64_t n)
{
    /* Complete is said once, by the end. */
    if (p->what)
        p->done = n < p->total - p->done ? p->done + n : p->total - 1;
    return progress_poll(p);
}

enum mn_status progress_end(struct progress *p, enum mn_status status)
{
    if (p->n_nested > 0) {
        p->n_nested--;
        return status;
    }
    if (!status && p->what) {
        p->done = p->total;
        status = progress_poll(p);
    }
    p->what = NULL;
    p->done = p->total = 0;
    return status;
}
