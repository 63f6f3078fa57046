/* Answers in Spec-Bench's form, which its own scripts (speed.py, equal.py) read: a file per setting, a line per
 * question. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/sweep/measure.h"
#include "engine/base/decimal.h"
#include "engine/files/disk.h"
#include "engine/files/json.h"
#include "engine/files/output_file.h"

enum { ID_BYTES = 256, PATH_BYTES = 4096 };

/* The setting as a file name: what is neither letter nor digit becomes a dash. */
static void make_id(char *id, const struct bench_model *model, const struct bench_setting *s,
                    const struct bench_common *common)
{
    char temperature[DECIMAL_BYTES];
    int n = snprintf(id, ID_BYTES, ANSWERS_PREFIX "%.60s-%s-%s-R%" PRIu32, model->identity.model,
                     model->info.weight_type, s->strategy, s->num_steps);
    if (s->draft_steps)
        n += snprintf(id + n, ID_BYTES - (size_t)n, "-K%" PRIu32, s->draft_steps);
    if (s->lookahead)
        n += snprintf(id + n, ID_BYTES - (size_t)n, "-L%" PRIu32, s->lookahead);
    if (s->max_inflight)
        n += snprintf(id + n, ID_BYTES - (size_t)n, "-W%" PRIu32, s->max_inflight);
    if (s->lookup)
        n += snprintf(id + n, ID_BYTES - (size_t)n, "-lookup-%" PRIu32, s->lookup);
    if (s->branches)
        n += snprintf(id + n, ID_BYTES - (size_t)n, "-branches-%" PRIu32, s->branches);
    decimal_write_float(temperature, common->temperature);
    snprintf(id + n, ID_BYTES - (size_t)n, "-kv-%.20s-%s-n%" PRIu32 "-temperature-%s", s->kv_policy, s->kv_type,
             s->n_new, temperature);
    for (char *c = id; *c; c++)
        if (!strchr("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_", *c))
            *c = '-';
}

static enum mn_status write_turns(FILE *file, const struct bench_model *model, uint32_t first, uint32_t n,
                                  const struct answer *answers)
{
    enum mn_status status = MN_OK;
    fputs("\"turns\":[", file);
    for (uint32_t i = first; i < first + n && !status; i++) {
        char *text = NULL;
        size_t n_bytes = 0;
        status = mn_detokenize(model->engine, answers[i].tokens, answers[i].n_tokens, true, &text, &n_bytes);
        fputs(i > first ? "," : "", file);
        if (!status)
            json_write_string(file, text, n_bytes);
        free(text);
    }
    fputs("],\"decoding_steps\":[", file);
    for (uint32_t i = first; i < first + n; i++)
        fprintf(file, "%s%" PRIu32, i > first ? "," : "", answers[i].n_lengths);
    fputs("],\"new_tokens\":[", file);
    for (uint32_t i = first; i < first + n; i++)
        fprintf(file, "%s%" PRIu32, i > first ? "," : "", answers[i].n_tokens);
    fputs("],\"wall_time\":[", file);
    for (uint32_t i = first; i < first + n; i++) {
        fputs(i > first ? "," : "", file);
        json_write_double(file, answers[i].wall_s);
    }
    fputs("],\"accept_lengths\":[", file);
    bool any = false;
    for (uint32_t i = first; i < first + n; i++)
        for (uint32_t j = 0; j < answers[i].n_lengths; j++, any = true)
            fprintf(file, "%s%" PRIu32, any ? "," : "", answers[i].lengths[j]);
    fputs("]", file);
    return status;
}

enum mn_status answers_write(const struct bench_model *model, const struct bench_setting *setting,
                             const struct bench_common *common, const struct answer *answers)
{
    char id[ID_BYTES], path[PATH_BYTES];
    make_id(id, model, setting, common);
    if (snprintf(path, sizeof path, "%s/%s.jsonl", common->answers_dir, id) >= (int)sizeof path)
        return log_fail(common->log, MN_ERR_FILE, "--answers: a path of more than %d bytes", PATH_BYTES);
    if (!folder_make(common->answers_dir, 0777) && errno != EEXIST)
        return log_fail(common->log, MN_ERR_FILE, "%s: cannot be made: %s", common->answers_dir, strerror(errno));
    struct output_file out;
    enum mn_status status = output_open(&out, path, common->log);
    if (status)
        return status;
    for (uint32_t i = 0; i < model->n_expected && !status;) {
        const struct prompt *p = model->expected[i].prompt;
        FILE *file = out.text;
        fprintf(file, "{\"question_id\":%s,\"category\":", p->question_id);
        json_write_string(file, p->category, strlen(p->category));
        fprintf(file, ",\"answer_id\":\"%s-%" PRIu32 "\",\"model_id\":\"%s\",\"choices\":[{\"index\":0,", id, i, id);
        status = write_turns(file, model, i, p->n_turns, answers);
        fprintf(file, "}],\"tstamp\":%lld}\n", (long long)time(NULL));
        if (!status)
            status = output_flush(&out, common->log);
        i += p->n_turns;
    }
    if (!status)
        return output_commit(&out, common->log);
    output_discard(&out);
    return status;
}
