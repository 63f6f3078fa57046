#include "engine/text/pretokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* GPT-2's pattern, which ByteLevel applies with use_regex. */
static const char gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* --- reading ---------------------------------------------------------------------------------------------------- */

static enum mn_status split_read(struct pretokenizer_step *step, const struct json_doc *doc, const struct cJSON *node,
                                 const struct mn_log *log)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const char *behavior;
    size_t i = 0;
    step->kind = STEP_SPLIT;
    enum mn_status status = json_get_string(doc, node, "behavior", 64, &behavior);
    if (!status)
        status = json_get_bool_or(doc, node, "invert", false, &step->invert);
    if (status)
        return status;
    while (i < sizeof names / sizeof *names && strcmp(behavior, names[i]))
        i++;
    if (i == sizeof names / sizeof *names)
        return json_refuse(doc, MN_ERR_UNSUPPORTED, "pre_tokenizer.behavior", json_find(node, "behavior"),
                           "only Isolated, Removed, MergedWithPrevious, MergedWithNext and Contiguous are understood");
    step->behavior = (enum split_behavior)i;
    step->has_pattern = true;
    return matcher_read(&step->matcher, doc, "pre_tokenizer", node, log);
}

static enum mn_status digits_read(struct pretokenizer_step *step, const struct json_doc *doc, const struct cJSON *node)
{
    bool individual;
    enum mn_status status = json_get_bool_or(doc, node, "individual_digits", false, &individual);
    step->kind = STEP_DIGITS;
    step->behavior = !status && individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS;
    return status;
}

static enum mn_status metaspace_step_read(struct pretokenizer *p, struct pretokenizer_step *step,
                                          const struct json_doc *doc, const struct cJSON *node,
                                          const struct mn_log *log)
{
    step->kind = STEP_METASPACE;
    enum mn_status status = metaspace_read(&step->metaspace, doc, "pre_tokenizer", node, log);
    if (!status && step->metaspace.scheme == PREPEND_FIRST && p->n_steps)
        status = json_refuse(doc, MN_ERR_UNSUPPORTED, "pre_tokenizer.prepend_scheme", json_find(node, "prepend_scheme"),
                             "understood only as the first step");
    return status;
}

static enum mn_status byte_level_read(struct pretokenizer *p, struct pretokenizer_step *step,
                                      const struct json_doc *doc, const struct cJSON *node, const struct mn_log *log)
{
    step->kind = STEP_BYTE_LEVEL;
    p->is_byte_level = true;
    enum mn_status status = json_get_bool(doc, node, "add_prefix_space", &step->add_prefix_space);
    if (!status)
        status = json_get_bool_or(doc, node, "use_regex", true, &step->has_pattern);
    if (status || !step->has_pattern)
        return status;
    return matcher_create(&step->matcher, doc->file, "pre_tokenizer", gpt2_pattern, sizeof gpt2_pattern - 1, log);
}

static enum mn_status step_read(struct pretokenizer *p, const struct json_doc *doc, const struct cJSON *node,
                                const char *type, const struct mn_log *log)
{
    if (p->n_steps == PRETOKENIZER_STEPS_MAX)
        return log_fail(log, MN_ERR_UNSUPPORTED, "%s: key 'pre_tokenizer': more than %d steps", doc->file,
                        PRETOKENIZER_STEPS_MAX);
    /* Later steps would see bytes spelled as characters. */
    if (p->is_byte_level)
        return json_refuse(doc, MN_ERR_UNSUPPORTED, "pre_tokenizer.type", json_find(node, "type"),
                           "no step may follow ByteLevel");
    struct pretokenizer_step *step = &p->steps[p->n_steps];
    enum mn_status status;
    if (!strcmp(type, "Split"))
        status = split_read(step, doc, node, log);
    else if (!strcmp(type, "Digits"))
        status = digits_read(step, doc, node);
    else if (!strcmp(type, "Metaspace"))
        status = metaspace_step_read(p, step, doc, node, log);
    else if (!strcmp(type, "ByteLevel"))
        status = byte_level_read(p, step, doc, node, log);
    else
        status = json_refuse(doc, MN_ERR_UNSUPPORTED, "pre_tokenizer.type", json_find(node, "type"),
                             "only Split, Digits, Metaspace, ByteLevel and Sequence are understood");
    if (!status)
        p->n_steps++;
    return status;
}

/* A step, or a sequence of steps. The recursion is as deep as the file is nested, which the JSON reader bounds. */
static enum mn_status steps_read(struct pretokenizer *p, const struct json_doc *doc, const struct cJSON *node,
                                 const struct mn_log *log)
{
    const struct cJSON *steps, *step;
    const char *type;
    enum mn_status status = json_get_string(doc, node, "type", 64, &type);
    if (status)
        return status;
    if (strcmp(type, "Sequence"))
        return step_read(p, doc, node, type, log);
    status = json_get_array(doc, node, "pretokenizers", &steps);
    if (status)
        return status;
    cJSON_ArrayForEach (step, steps) {
        status = steps_read(p, doc, step, log);
        if (status)
            return status;
    }
    return MN_OK;
}

enum mn_status pretokenizer_read(struct pretokenizer *pretokenizer, const struct json_doc *doc,
                                 const struct mn_log *log)
{
    *pretokenizer = (struct pretokenizer){0};
    if (!json_is_given(doc->root, "pre_tokenizer"))
        return MN_OK;
    enum mn_status status = steps_read(pretokenizer, doc, json_find(doc->root, "pre_tokenizer"), log);
    if (status)
        pretokenizer_destroy(pretokenizer);
    return status;
}

enum mn_status pretokenizer_from_pattern(struct pretokenizer *pretokenizer, const char *file, const char *pattern,
                                         size_t n_bytes, const struct mn_log *log)
{
    *pretokenizer = (struct pretokenizer){.n_steps = 1, .steps[0] = {.kind = STEP_SPLIT, .has_pattern = true}};
    enum mn_status status = matcher_create(&pretokenizer->steps[0].matcher, file, "pre_tokenizer", pattern, n_bytes,
                                           log);
    if (status)
        *pretokenizer = (struct pretokenizer){0};
    return status;
}

void pretokenizer_destroy(struct pretokenizer *pretokenizer)
{
    if (!pretokenizer)
        return;
    for (uint32_t i = 0; i < PRETOKENIZER_STEPS_MAX; i++)
        matcher_destroy(&pretokenizer->steps[i].matcher);
    *pretokenizer = (struct pretokenizer){0};
}

/* --- splitting -------------------------------------------------------------------------------------------------- */

void pretokenizer_run_init(struct pretokenizer_run *run, const struct pretokenizer *pretokenizer, size_t n_bytes)
{
    *run = (struct pretokenizer_run){.pretokenizer = pretokenizer};
    matcher_run_init(&run->matcher, n_bytes);
}

void pretokenizer_run_finish(struct pretokenizer_run *run)
{
    if (!run)
        return;
    matcher_run_finish(&run->matcher);
    *run = (struct pretokenizer_run){0};
}

struct split_state {
    struct pretokenizer_run *run;
    pretokenizer_sink *sink;
    void *user;
    const struct mn_log *log;
};

static enum mn_status split_step(const struct split_state *s, uint32_t i_step, const char *text, size_t n_bytes);

/* Puts the stretches of a text together to pieces, as a behaviour says, and hands them to the next step. */
struct cutter {
    const struct split_state *split;
    uint32_t i_next;
    const char *text;
    enum split_behavior behavior;
    size_t start, end; /* the piece that may still grow */
    bool was_match;    /* of the stretch before */
    bool has_piece;
};

static enum mn_status cut_emit(const struct cutter *c, size_t start, size_t end)
{
    return end > start ? split_step(c->split, c->i_next, c->text + start, end - start) : MN_OK;
}

/* The next stretch, which may be empty when it matches. */
static enum mn_status cut_stretch(struct cutter *c, size_t start, size_t end, bool is_match)
{
    bool grows = false;
    switch (c->behavior) {
    case SPLIT_ISOLATED: return cut_emit(c, start, end);
    case SPLIT_REMOVED: return is_match ? MN_OK : cut_emit(c, start, end);
    case SPLIT_MERGED_WITH_PREVIOUS: grows = is_match && !c->was_match; break;
    case SPLIT_MERGED_WITH_NEXT: grows = !is_match && c->was_match; break;
    case SPLIT_CONTIGUOUS: grows = is_match == c->was_match; break;
    }
    c->was_match = is_match;
    if (c->has_piece && grows) {
        c->end = end;
        return MN_OK;
    }
    enum mn_status status = c->has_piece ? cut_emit(c, c->start, c->end) : MN_OK;
    c->start = start;
    c->end = end;
    c->has_piece = true;
    return status;
}

static enum mn_status cut_finish(const struct cutter *c)
{
    return c->has_piece ? cut_emit(c, c->start, c->end) : MN_OK;
}

static enum mn_status split_by_pattern(const struct split_state *s, uint32_t i_step, const char *text, size_t n_bytes)
{
    const struct pretokenizer_step *step = &s->run->pretokenizer->steps[i_step];
    struct cutter cutter = {.split = s, .i_next = i_step + 1, .text = text, .behavior = step->behavior};
    struct match match = MATCHER_START;
    size_t done = 0;
    for (;;) {
        enum mn_status status = matcher_next(&s->run->matcher, &step->matcher, text, n_bytes, &match, s->log);
        if (status)
            return status;
        if (match.start == SIZE_MAX)
            break;
        if (match.start > done)
            status = cut_stretch(&cutter, done, match.start, step->invert);
        if (!status)
            status = cut_stretch(&cutter, match.start, match.end, !step->invert);
        if (status)
            return status;
        done = match.end;
    }
    enum mn_status status = done < n_bytes ? cut_stretch(&cutter, done, n_bytes, step->invert) : MN_OK;
    return status ? status : cut_finish(&cutter);
}

/* Rust's char::is_numeric; *n_bytes is the character's length. */
static bool is_numeric(const char *text, size_t n_left, size_t *n_bytes)
{
    unsigned char lead = (unsigned char)text[0];
    *n_bytes = 1;
    if (lead < 0x80)
        return lead >= '0' && lead <= '9';
    utf8proc_int32_t c;
    *n_bytes = (size_t)utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)n_left, &c);
    utf8proc_category_t category = utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}

static enum mn_status split_digits(const struct split_state *s, uint32_t i_step, const char *text, size_t n_bytes)
{
    struct cutter cutter = {
        .split = s, .i_next = i_step + 1, .text = text, .behavior = s->run->pretokenizer->steps[i_step].behavior};
    size_t done = 0, length;
    for (size_t at = 0; at < n_bytes; at += length) {
        if (!is_numeric(text + at, n_bytes - at, &length))
            continue;
        enum mn_status status = at > done ? cut_stretch(&cutter, done, at, false) : MN_OK;
        done = at + length;
        if (!status)
            status = cut_stretch(&cutter, at, done, true);
        if (status)
            return status;
    }
    enum mn_status status = done < n_bytes ? cut_stretch(&cutter, done, n_bytes, false) : MN_OK;
    return status ? status : cut_finish(&cutter);
}

/* `text` as Metaspace spells it, cut in front of each of its characters. */
static enum mn_status split_metaspace(const struct split_state *s, uint32_t i_step, const char *text, size_t n_bytes)
{
    const struct metaspace *m = &s->run->pretokenizer->steps[i_step].metaspace;
    const struct matcher space = {.literal = (char *)m->replacement, .n_literal = strlen(m->replacement)};
    struct cutter cutter = {.split = s, .i_next = i_step + 1, .text = text, .behavior = SPLIT_MERGED_WITH_NEXT};
    struct match match = MATCHER_START;
    size_t done = 0;
    enum mn_status status = MN_OK;
    if (!m->split)
        return split_step(s, i_step + 1, text, n_bytes);
    while (!status) {
        status = matcher_next(&s->run->matcher, &space, text, n_bytes, &match, s->log);
        if (status || match.start == SIZE_MAX)
            break;
        status = match.start > done ? cut_stretch(&cutter, done, match.start, false) : MN_OK;
        if (!status)
            status = cut_stretch(&cutter, match.start, match.end, true);
        done = match.end;
    }
    if (!status && done < n_bytes)
        status = cut_stretch(&cutter, done, n_bytes, false);
    return status ? status : cut_finish(&cutter);
}

/* Spaces become Metaspace's character, and one is put in front where the scheme says so and none is. */
static enum mn_status run_metaspace(const struct split_state *s, uint32_t i_step, const char *text, size_t n_bytes)
{
    const struct metaspace *m = &s->run->pretokenizer->steps[i_step].metaspace;
    size_t length = strlen(m->replacement), n = 0;
    if (n_bytes > (SIZE_MAX - length) / length)
        return log_fail(s->log, MN_ERR_MEMORY, "tokenizer: a piece of %zu bytes", n_bytes);
    char *spelled = malloc(length + n_bytes * length);
    if (!spelled)
        return log_fail(s->log, MN_ERR_MEMORY, "tokenizer: out of memory for a piece of %zu bytes", n_bytes);
    bool has_one = text[0] == ' ' || (n_bytes >= length && !memcmp(text, m->replacement, length));
    if (!has_one && (m->scheme == PREPEND_ALWAYS || (m->scheme == PREPEND_FIRST && s->run->at_start))) {
        memcpy(spelled, m->replacement, length);
        n = length;
    }
    for (size_t i = 0; i < n_bytes; i++) {
        if (text[i] == ' ') {
            memcpy(spelled + n, m->replacement, length);
            n += length;
        } else {
            spelled[n++] = text[i];
        }
    }
    enum mn_status status = split_metaspace(s, i_step, spelled, n);
    free(spelled);
    return status;
}

static enum mn_status run_byte_level(const struct split_state *s, uint32_t i_step, const char *text, size_t n_bytes)
{
    const struct pretokenizer_step *step = &s->run->pretokenizer->steps[i_step];
    char *prefixed = NULL;
    if (step->add_prefix_space && text[0] != ' ') {
        prefixed = malloc(n_bytes + 1);
        if (!prefixed)
            return log_fail(s->log, MN_ERR_MEMORY, "tokenizer: out of memory for a piece of %zu bytes", n_bytes);
        prefixed[0] = ' ';
        memcpy(prefixed + 1, text, n_bytes);
        text = prefixed;
        n_bytes++;
    }
    enum mn_status status = step->has_pattern ? split_by_pattern(s, i_step, text, n_bytes)
                                              : split_step(s, i_step + 1, text, n_bytes);
    free(prefixed);
    return status;
}

/* Hands a piece, which is not empty, to a step. The recursion is as deep as there are steps. */
static enum mn_status split_step(const struct split_state *s, uint32_t i_step, const char *text, size_t n_bytes)
{
    const struct pretokenizer *p = s->run->pretokenizer;
    if (i_step == p->n_steps)
        return s->sink(s->user, text, n_bytes);
    switch (p->steps[i_step].kind) {
    case STEP_DIGITS: return split_digits(s, i_step, text, n_bytes);
    case STEP_METASPACE: return run_metaspace(s, i_step, text, n_bytes);
    case STEP_BYTE_LEVEL: return run_byte_level(s, i_step, text, n_bytes);
    case STEP_SPLIT: break;
    }
    return split_by_pattern(s, i_step, text, n_bytes);
}

enum mn_status pretokenizer_split(struct pretokenizer_run *run, const char *text, size_t n_bytes,
                                  pretokenizer_sink *sink, void *user, const struct mn_log *log)
{
    const struct split_state state = {run, sink, user, log};
    return n_bytes ? split_step(&state, 0, text, n_bytes) : MN_OK;
}
