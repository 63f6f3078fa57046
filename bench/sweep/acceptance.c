/* muninn bench --acceptance. */
#include "bench/sweep/acceptance.h"

#include <inttypes.h>
#include <string.h>

#include "bench/rows/lists.h"
#include "bench/rows/nearest.h"
#include "engine/base/decimal.h"

enum { NUMBER_BYTES = 24 };

/* Published figures, each a share of right predictions at a depth, of models that take 32 steps. Where they are from is
 * in docs/benchmarking.md. */
static const struct profile {
    const char *name, *pairs;
} profiles[] = {{"huginn", "4:0.94"},
                {"retrofit", "2:0.94,8:0.99"},
                {"retrofit-low", "2:0.92,8:0.99"},
                {"retrofit-high", "2:0.96,8:0.99"}};
enum { N_PROFILES = sizeof profiles / sizeof *profiles };

const char *acceptance_profile_at(uint32_t index)
{
    return index < N_PROFILES ? profiles[index].name : NULL;
}

/* ---- pieces ---- */

static enum mn_status refuse(const char *piece, size_t n, const char *why, const struct mn_log *log)
{
    return log_fail(log, MN_ERR_USAGE, "--acceptance: '%.*s': %s", (int)(n < 60 ? n : 60), piece, why);
}

/* Digits with at most one point among them: no sign, no exponent, no names of what is no number. */
static bool read_share(const char *text, size_t n, float *share)
{
    char copy[NUMBER_BYTES];
    size_t n_points = 0;
    for (size_t i = 0; i < n; i++)
        n_points += text[i] == '.';
    if (n <= n_points || n >= sizeof copy || n_points > 1)
        return false;
    memcpy(copy, text, n);
    copy[n] = '\0';
    if (strspn(copy, "0123456789.") != n)
        return false;
    const double value = decimal_read(copy, NULL);
    *share = (float)value;
    return value >= 0.0 && value <= 1.0;
}

static bool read_depth(const char *text, size_t n, uint32_t *depth)
{
    *depth = 0;
    for (size_t i = 0; i < n && n <= 4; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        *depth = 10 * *depth + (uint32_t)(text[i] - '0');
    }
    return n <= 4 && *depth >= 1 && *depth <= 4096;
}

/* ---- by place ---- */

static enum mn_status add_flat(struct acceptance *a, const char *piece, size_t n, const struct mn_log *log)
{
    float share;
    if (!read_share(piece, n, &share))
        return refuse(piece, n, "must be a number from 0 to 1 for each place, or DEPTH:SHARE for each depth", log);
    if (a->n_flat == ACCEPTANCE_MAX)
        return refuse(piece, n, "more than 63 places", log);
    a->flat[a->n_flat++] = share;
    return MN_OK;
}

/* ---- by depth ---- */

static float share_at(const struct acceptance *a, uint32_t from, uint32_t depth, uint32_t place)
{
    float share = 0.0f;
    for (uint32_t i = from; i < a->n_at && a->at[i].depth == depth; i++)
        if (a->at[i].place <= place)
            share = a->at[i].share;
    return share;
}

/* The depth whose shares begin at `first` and end the list: behind the depth before it, never less in any place. */
static enum mn_status check_depth(const struct acceptance *a, uint32_t first, const char *piece, size_t n,
                                  const struct mn_log *log)
{
    if (first == 0)
        return MN_OK;
    const uint32_t depth = a->at[first].depth, lesser = a->at[first - 1].depth, n_lesser = a->at[first - 1].place + 1,
                   n_here = a->at[a->n_at - 1].place + 1, n_places = n_here > n_lesser ? n_here : n_lesser;
    if (depth <= lesser)
        return refuse(piece, n, "depths must rise", log);
    for (uint32_t place = 0; place < n_places; place++)
        if (share_at(a, first, depth, place) < share_at(a, first - n_lesser, lesser, place))
            return refuse(piece, n, "less than at the depth before it: what agrees once goes on agreeing", log);
    return MN_OK;
}

static enum mn_status add_depth(struct acceptance *a, const char *piece, size_t n, const struct mn_log *log)
{
    const char *colon = memchr(piece, ':', n), *const end = piece + n;
    const uint32_t first = a->n_at;
    uint32_t depth, place = 0;
    if (!colon)
        return refuse(piece, n, "no depth: by depth, each is DEPTH:SHARE or DEPTH:SHARE/SHARE..", log);
    if (!read_depth(piece, (size_t)(colon - piece), &depth))
        return refuse(piece, n, "the depth must be a number from 1 to 4096", log);
    for (const char *at = colon; at < end; place++) {
        const char *const from = at + 1, *slash = memchr(from, '/', (size_t)(end - from));
        float share;
        at = slash ? slash : end;
        if (!read_share(from, (size_t)(at - from), &share))
            return refuse(piece, n, "shares must be numbers from 0 to 1", log);
        if (place == ACCEPTANCE_MAX)
            return refuse(piece, n, "more than 63 places", log);
        if (a->n_at == ACCEPTANCE_SHARES_MAX)
            return refuse(piece, n, "more than 256 shares", log);
        a->at[a->n_at++] = (struct mn_acceptance_at){depth, place, share};
    }
    return check_depth(a, first, piece, n, log);
}

/* ---- all of it ---- */

static enum mn_status read_list(struct acceptance *a, const char *text, const struct mn_log *log)
{
    const bool by_depth = strchr(text, ':') != NULL;
    enum mn_status status = MN_OK;
    for (const char *at = text; !status;) {
        const size_t n = strcspn(at, ",");
        status = by_depth ? add_depth(a, at, n, log) : add_flat(a, at, n, log);
        at += n;
        if (*at == '\0')
            break;
        at++;
    }
    return status;
}

static enum mn_status refuse_name(const char *text, const struct mn_log *log)
{
    char names[CHOICES_BYTES], hint[NEAREST_HINT_BYTES];
    struct nearest nearest = {.word = text};
    join_choices(acceptance_profile_at, names, sizeof names);
    nearest_offer_choices(&nearest, names);
    return log_fail(log, MN_ERR_USAGE, "--acceptance '%.60s': must be P,P,.., DEPTH:SHARE,.. or one of %s%s", text,
                    names, nearest_hint(&nearest, "", hint));
}

enum mn_status acceptance_parse(struct acceptance *a, const char *text, const struct mn_log *log)
{
    *a = (struct acceptance){.given = text, .pairs = text};
    if (!text)
        return MN_OK;
    if (strlen(text) >= ACCEPTANCE_BYTES)
        return log_fail(log, MN_ERR_USAGE, "--acceptance: more than %d bytes", ACCEPTANCE_BYTES - 1);
    const char first = *text;
    if ((first < 'a' || first > 'z') && (first < 'A' || first > 'Z'))
        return read_list(a, text, log);
    for (uint32_t i = 0; i < N_PROFILES; i++)
        if (!strcmp(text, profiles[i].name))
            a->pairs = profiles[i].pairs;
    return a->pairs != text ? read_list(a, a->pairs, log) : refuse_name(text, log);
}

/* The first share that models of so many steps cannot have, or NULL: at full depth it is 1. */
static const struct mn_acceptance_at *misfit(const struct acceptance *a, uint32_t num_steps)
{
    for (uint32_t i = 0; i < a->n_at; i++)
        if (a->at[i].depth > num_steps || (a->at[i].depth == num_steps && a->at[i].share < 1.0f))
            return &a->at[i];
    return NULL;
}

bool acceptance_fits(const struct acceptance *a, uint32_t num_steps)
{
    return !misfit(a, num_steps);
}

enum mn_status acceptance_check(const struct acceptance *a, uint32_t num_steps, const struct mn_log *log)
{
    const struct mn_acceptance_at *at = misfit(a, num_steps);
    if (!at)
        return MN_OK;
    return log_fail(log, MN_ERR_USAGE, "--acceptance %s: depth %" PRIu32 " %s R %" PRIu32 "%s", a->given, at->depth,
                    at->depth > num_steps ? "is above" : "is", num_steps,
                    at->depth > num_steps ? "" : ", where the share is 1");
}

void acceptance_set(const struct acceptance *a, const char *strategy, struct mn_measuring_params *measuring)
{
    *measuring = (struct mn_measuring_params){0};
    if (!a || !(mn_strategy_find(strategy)->uses & MN_USES_FORCED_ACCEPTANCE))
        return;
    *measuring = (struct mn_measuring_params){.forced_acceptance = a->n_flat ? a->flat : NULL,
                                              .n_forced_acceptance = a->n_flat,
                                              .forced_at = a->n_at ? a->at : NULL,
                                              .n_forced_at = a->n_at};
}
