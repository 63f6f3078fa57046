#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/regex.h"

/* How many characters a part takes; counts stay at the largest where they would pass it. */
struct length {
    uint32_t min, max;
};

static const char too_large[] = "a pattern that is too large with its intervals written out";

#define LENGTH_MAX UINT32_C(1000000)

struct compiler {
    struct regex *m;
    const char *text;
    uint32_t n, at;
    uint32_t *sets_at; /* [n] the set + 1 of what stands there */
    uint32_t ops_capacity, sets_capacity, n_copies;
    pcre2_compile_context *context;
    pcre2_match_data *match;
    enum mn_status status;
    const char *why;
};

/* What stands behind an item: how often it may come. */
struct quantifier {
    uint32_t min, max;
    enum regex_mode mode;
};

static struct length length_add(struct length a, struct length b)
{
    const struct length sum = {a.min + b.min, a.max + b.max};
    return (struct length){sum.min < LENGTH_MAX ? sum.min : LENGTH_MAX, sum.max < LENGTH_MAX ? sum.max : LENGTH_MAX};
}

static struct length length_repeat(struct length a, uint32_t min, uint32_t max)
{
    const uint64_t low = (uint64_t)a.min * min, high = (uint64_t)a.max * max;
    return (struct length){low < LENGTH_MAX ? (uint32_t)low : LENGTH_MAX,
                           high < LENGTH_MAX ? (uint32_t)high : LENGTH_MAX};
}

static void refuse(struct compiler *c, enum mn_status status, const char *why)
{
    if (!c->status) {
        c->status = status;
        c->why = why;
    }
    c->at = c->n; /* ends every loop */
}

/* A failed append gives op 0, which exists once the first did. */
static uint32_t op_add(struct compiler *c, struct regex_op op)
{
    struct regex *m = c->m;
    if (m->n_ops == c->ops_capacity) {
        const uint32_t capacity = c->ops_capacity ? 2 * c->ops_capacity : 64;
        if (capacity > REGEX_OPS_MAX)
            return refuse(c, MN_ERR_UNSUPPORTED, too_large), 0;
        struct regex_op *ops = realloc(m->ops, capacity * sizeof *ops);
        if (!ops)
            return refuse(c, MN_ERR_MEMORY, NULL), 0;
        m->ops = ops;
        c->ops_capacity = capacity;
    }
    m->ops[m->n_ops] = op;
    return m->n_ops++;
}

static bool next_is(const struct compiler *c, const char *text)
{
    const size_t n = strlen(text);
    return c->n - c->at >= n && !memcmp(c->text + c->at, text, n);
}

static bool take(struct compiler *c, const char *text)
{
    const bool is_next = next_is(c, text);
    if (is_next)
        c->at += (uint32_t)strlen(text);
    return is_next;
}

/* Behind the class, character or escape at `at`. In pattern.c's spelling nothing but syntax is bare: characters that
 * could be taken for it are written \x{...}. */
static uint32_t simple_end(const struct compiler *c, uint32_t at)
{
    const char *end = NULL;
    if (c->text[at] == '[')
        end = strchr(c->text + at, ']');
    else if (!strncmp(c->text + at, "\\x{", 3))
        end = strchr(c->text + at, '}');
    else if (c->text[at] == '\\')
        end = c->text + at + 1;
    return end ? (uint32_t)(end - c->text) + 1 : at + 1;
}

/* From `at`, inside a group, to its next alternative or its end. */
static uint32_t alternative_end(const struct compiler *c, uint32_t at)
{
    for (uint32_t depth = 0; at < c->n; at = simple_end(c, at)) {
        const char byte = c->text[at];
        if (!depth && (byte == '|' || byte == ')'))
            break;
        depth += byte == '(';
        depth -= byte == ')';
    }
    return at;
}

/* Behind the group that begins at `at`. */
static uint32_t group_end(const struct compiler *c, uint32_t at)
{
    for (at = alternative_end(c, at + 1); at < c->n && c->text[at] == '|';)
        at = alternative_end(c, at + 1);
    return at + 1;
}

static uint32_t number_take(struct compiler *c)
{
    uint32_t value = 0;
    while (c->at < c->n && c->text[c->at] >= '0' && c->text[c->at] <= '9')
        value = value * 10 + (uint32_t)(c->text[c->at++] - '0');
    return value;
}

static struct quantifier quantifier_take(struct compiler *c)
{
    struct quantifier q = {1, 1, MODE_GREEDY};
    if (take(c, "*")) {
        q.min = 0;
        q.max = UINT32_MAX;
    } else if (take(c, "+")) {
        q.max = UINT32_MAX;
    } else if (take(c, "?")) {
        q.min = 0;
    } else if (take(c, "{")) {
        q.min = number_take(c);
        take(c, ",");
        q.max = next_is(c, "}") ? UINT32_MAX : number_take(c);
        take(c, "}");
    } else {
        return q;
    }
    if (take(c, "?"))
        q.mode = MODE_LAZY;
    else if (take(c, "+"))
        q.mode = MODE_POSSESSIVE;
    return q;
}

/* The set of the class [at, end), made when it is met first. */
static uint32_t set_find(struct compiler *c, const char *members, uint32_t n_bytes, uint32_t at, bool caseless)
{
    struct regex *m = c->m;
    if (c->sets_at[at])
        return c->sets_at[at] - 1;
    if (m->n_sets == c->sets_capacity) {
        const uint32_t capacity = c->sets_capacity ? 2 * c->sets_capacity : 16;
        struct charset *sets = realloc(m->sets, capacity * sizeof *sets);
        if (!sets)
            return refuse(c, MN_ERR_MEMORY, NULL), 0;
        m->sets = sets;
        c->sets_capacity = capacity;
    }
    const enum mn_status status = charset_init(&m->sets[m->n_sets], members, n_bytes, caseless, c->context, c->match);
    if (status)
        return refuse(c, status, NULL), 0;
    c->sets_at[at] = ++m->n_sets;
    return m->n_sets - 1;
}

/* One character of a class, '.', or itself. */
static struct regex_op unit_read(struct compiler *c, uint32_t end, bool caseless)
{
    struct regex_op op = {.code = OP_ONE, .unit = UNIT_CHARACTER};
    const char *s = c->text + c->at;
    const bool is_letter = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z');
    if (*s == '.') {
        op.unit = UNIT_ANY;
    } else if (*s == '[') {
        op.unit = UNIT_SET;
        op.target = set_find(c, s, end - c->at, c->at, caseless);
    } else if (*s == '\\') {
        op.target = (uint32_t)strtoul(s + 3, NULL, 16);
    } else if (is_letter && caseless) {
        const char members[] = {'[', *s, ']'};
        op.unit = UNIT_SET;
        op.target = set_find(c, members, sizeof members, c->at, true);
    } else {
        op.target = (unsigned char)*s;
    }
    return op;
}

static struct length alternatives_compile(struct compiler *c, bool caseless, bool is_behind);

/* The group at c->at, once. */
static struct length group_compile(struct compiler *c, bool caseless)
{
    struct regex_op op = {.code = OP_JUMP};
    bool is_behind = false;
    take(c, "(?");
    if (take(c, ">")) {
        op.code = OP_ATOMIC;
    } else if (take(c, "i:")) {
        caseless = true;
    } else if (take(c, "-i:")) {
        caseless = false;
    } else if (!take(c, ":")) {
        op.code = OP_LOOK;
        is_behind = take(c, "<");
        op.is_negative = !take(c, "=") && take(c, "!");
    }
    const uint32_t start = op.code == OP_JUMP ? 0 : op_add(c, op);
    const struct length length = alternatives_compile(c, caseless, is_behind);
    take(c, ")");
    if (op.code == OP_ATOMIC)
        op_add(c, (struct regex_op){.code = OP_CUT});
    if (op.code != OP_LOOK)
        return length;
    op_add(c, (struct regex_op){.code = OP_LOOK_END});
    if (!c->status)
        c->m->ops[start].target = c->m->n_ops;
    return (struct length){0, 0};
}

/* Again, from where it starts. Empty groups make no ops, so copies are counted. */
static struct length group_copy(struct compiler *c, uint32_t start, bool caseless)
{
    c->at = start;
    if (++c->n_copies > REGEX_OPS_MAX)
        refuse(c, MN_ERR_UNSUPPORTED, too_large);
    return c->status ? (struct length){0, 0} : group_compile(c, caseless);
}

/* Where `op`, an OP_SPLIT, goes: into the group first, or past it first. */
static void split_set(struct compiler *c, uint32_t op, enum regex_mode mode, uint32_t into, uint32_t past)
{
    if (c->status)
        return;
    c->m->ops[op].target = mode == MODE_LAZY ? past : into;
    c->m->ops[op].other = mode == MODE_LAZY ? into : past;
}

/* The last part of {n,}: once or more often. */
static void loop_compile(struct compiler *c, uint32_t start, struct quantifier q, bool caseless)
{
    const uint32_t first = c->m->n_ops;
    const uint32_t loop = op_add(c, (struct regex_op){.code = OP_LOOP, .other = c->m->n_loops++});
    const uint32_t number = c->m->n_loops - 1;
    const struct length length = group_copy(c, start, caseless);
    const uint32_t end = op_add(c, (struct regex_op){.code = OP_LOOP_END, .other = number});
    const uint32_t split = op_add(c, (struct regex_op){.code = OP_SPLIT});
    split_set(c, split, q.mode, first, c->m->n_ops);
    if (c->status)
        return;
    c->m->ops[end].target = c->m->n_ops;
    if (length.min > 0) { /* an iteration always takes something */
        c->m->ops[loop] = (struct regex_op){.code = OP_JUMP, .target = loop + 1};
        c->m->ops[end] = (struct regex_op){.code = OP_JUMP, .target = end + 1};
        split_set(c, split, q.mode, first + 1, c->m->n_ops);
    }
}

/* {n,m} is written out: n times, and what may come behind that nested or in a loop. */
static struct length repeated_compile(struct compiler *c, uint32_t start, struct quantifier q, bool caseless)
{
    struct length length = {0, 0};
    uint32_t last = UINT32_MAX; /* chain of splits that go to the end */
    if (q.mode == MODE_POSSESSIVE)
        op_add(c, (struct regex_op){.code = OP_ATOMIC});
    const bool is_endless = q.max == UINT32_MAX;
    const uint32_t n_plain = is_endless && q.min > 0 ? q.min - 1 : q.min;
    for (uint32_t i = 0; i < n_plain && !c->status; i++)
        length = group_copy(c, start, caseless);
    const uint32_t n_optional = is_endless ? q.min == 0 : q.max - q.min;
    for (uint32_t i = 0; i < n_optional && !c->status; i++) {
        last = op_add(c, (struct regex_op){.code = OP_SPLIT, .min = last});
        if (!is_endless)
            length = group_copy(c, start, caseless);
    }
    if (is_endless)
        loop_compile(c, start, q, caseless);
    while (!c->status && last != UINT32_MAX) {
        const uint32_t before = c->m->ops[last].min;
        split_set(c, last, q.mode, last + 1, c->m->n_ops);
        last = before;
    }
    if (q.mode == MODE_POSSESSIVE)
        op_add(c, (struct regex_op){.code = OP_CUT});
    /* Of a loop only whether it takes something matters: look-behind has none. */
    return is_endless ? (struct length){0, LENGTH_MAX} : length_repeat(length, q.min, q.max);
}

static struct length group_item(struct compiler *c, bool caseless)
{
    const uint32_t start = c->at;
    c->at = group_end(c, c->at);
    const struct quantifier q = quantifier_take(c);
    const uint32_t end = c->at;
    struct length length;
    if (q.min == 1 && q.max == 1)
        length = group_copy(c, start, caseless);
    else
        length = repeated_compile(c, start, q, caseless);
    if (!c->status)
        c->at = end;
    return length;
}

static struct length unit_item(struct compiler *c, bool caseless)
{
    const uint32_t end = simple_end(c, c->at);
    struct regex_op op = unit_read(c, end, caseless);
    if (c->status)
        return (struct length){0, 0};
    c->at = end;
    const struct quantifier q = quantifier_take(c);
    if (q.min != 1 || q.max != 1)
        op.code = OP_REPEAT;
    op.min = q.min;
    op.max = q.max;
    op.mode = (uint8_t)q.mode;
    op_add(c, op);
    return length_repeat((struct length){1, 1}, q.min, q.max);
}

static struct length item_compile(struct compiler *c, bool caseless)
{
    static const struct {
        const char *text;
        enum regex_op_code code;
    } anchors[] = {{"^", OP_LINE_START},
                   {"$", OP_LINE_END},
                   {"\\A", OP_TEXT_START},
                   {"\\z", OP_TEXT_END},
                   {"\\Z", OP_LAST_LINE_END}};
    for (size_t i = 0; i < sizeof anchors / sizeof *anchors; i++) {
        if (take(c, anchors[i].text)) {
            op_add(c, (struct regex_op){.code = (uint8_t)anchors[i].code});
            return (struct length){0, 0};
        }
    }
    return next_is(c, "(") ? group_item(c, caseless) : unit_item(c, caseless);
}

static struct length alternative_compile(struct compiler *c, bool caseless, bool is_behind)
{
    struct length length = {0, 0};
    const uint32_t back = is_behind ? op_add(c, (struct regex_op){.code = OP_BACK}) : 0;
    while (c->at < c->n && c->text[c->at] != '|' && c->text[c->at] != ')')
        length = length_add(length, item_compile(c, caseless));
    if (is_behind && (length.min != length.max || length.max == LENGTH_MAX))
        refuse(c, MN_ERR_UNSUPPORTED, "a look-behind without a fixed length");
    if (is_behind && !c->status)
        c->m->ops[back].target = length.min;
    return length;
}

/* Up to the end of the group or of the pattern. */
static struct length alternatives_compile(struct compiler *c, bool caseless, bool is_behind)
{
    struct length length = {LENGTH_MAX, 0};
    uint32_t last = UINT32_MAX; /* chain of jumps to the end */
    for (bool more = true; more;) {
        const uint32_t end = alternative_end(c, c->at);
        more = end < c->n && c->text[end] == '|';
        const uint32_t split = more ? op_add(c, (struct regex_op){.code = OP_SPLIT}) : 0;
        const struct length one = alternative_compile(c, caseless, is_behind);
        length.min = one.min < length.min ? one.min : length.min;
        length.max = one.max > length.max ? one.max : length.max;
        if (c->status)
            return length;
        if (!more)
            break;
        c->at = end + 1;
        last = op_add(c, (struct regex_op){.code = OP_JUMP, .target = last});
        split_set(c, split, MODE_GREEDY, split + 1, c->m->n_ops);
    }
    while (!c->status && last != UINT32_MAX) {
        const uint32_t before = c->m->ops[last].target;
        c->m->ops[last].target = c->m->n_ops;
        last = before;
    }
    return length;
}

enum mn_status regex_compile(struct regex *regex, const char *translated, const char **why)
{
    *regex = (struct regex){0};
    struct compiler c = {.m = regex, .text = translated, .n = (uint32_t)strlen(translated)};
    c.sets_at = calloc(c.n + 1, sizeof *c.sets_at);
    c.context = pcre2_compile_context_create(NULL);
    c.match = pcre2_match_data_create(1, NULL);
    if (!c.sets_at || !c.context || !c.match)
        refuse(&c, MN_ERR_MEMORY, NULL);
    if (!c.status)
        alternatives_compile(&c, false, false);
    if (!c.status)
        op_add(&c, (struct regex_op){.code = OP_MATCH});
    free(c.sets_at);
    pcre2_compile_context_free(c.context);
    pcre2_match_data_free(c.match);
    *why = c.why;
    if (c.status)
        regex_destroy(regex);
    return c.status;
}

void regex_destroy(struct regex *regex)
{
    if (!regex)
        return;
    for (uint32_t i = 0; i < regex->n_sets; i++)
        charset_destroy(&regex->sets[i]);
    free(regex->sets);
    free(regex->ops);
    *regex = (struct regex){0};
}
