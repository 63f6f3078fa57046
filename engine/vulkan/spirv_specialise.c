#include "engine/vulkan/spirv_specialise.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Numbers of the SPIR-V specification. */
enum { MAGIC = 0x07230203, HEADER_WORDS = 5, DECORATION_SPEC_ID = 1 };
enum op {
    OP_NAME = 5,
    OP_MEMBER_NAME = 6,
    OP_LINE = 8,
    OP_ENTRY_POINT = 15,
    OP_TYPE_BOOL = 20,
    OP_CONSTANT_TRUE = 41,
    OP_CONSTANT_FALSE = 42,
    OP_CONSTANT = 43,
    OP_CONSTANT_COMPOSITE = 44,
    OP_SPEC_CONSTANT_TRUE = 48,
    OP_SPEC_CONSTANT_FALSE = 49,
    OP_SPEC_CONSTANT = 50,
    OP_SPEC_CONSTANT_COMPOSITE = 51,
    OP_SPEC_CONSTANT_OP = 52,
    OP_FUNCTION = 54,
    OP_FUNCTION_END = 56,
    OP_FUNCTION_CALL = 57,
    OP_STORE = 62,
    OP_COPY_MEMORY = 63,
    OP_COPY_MEMORY_SIZED = 64,
    OP_DECORATE = 71,
    OP_IMAGE_WRITE = 99,
    OP_I_ADD = 128,
    OP_I_SUB = 130,
    OP_I_MUL = 132,
    OP_U_DIV = 134,
    OP_U_MOD = 137,
    OP_LOGICAL_OR = 166,
    OP_LOGICAL_AND = 167,
    OP_LOGICAL_NOT = 168,
    OP_SELECT = 169,
    OP_I_EQUAL = 170,
    OP_I_NOT_EQUAL = 171,
    OP_U_GREATER_THAN = 172,
    OP_U_LESS_THAN = 176,
    OP_SHIFT_LEFT = 196,
    OP_CONTROL_BARRIER = 224,
    OP_MEMORY_BARRIER = 225,
    OP_ATOMIC_STORE = 228,
    OP_PHI = 245,
    OP_LOOP_MERGE = 246,
    OP_SELECTION_MERGE = 247,
    OP_LABEL = 248,
    OP_BRANCH = 249,
    OP_BRANCH_CONDITIONAL = 250,
    OP_SWITCH = 251,
    OP_COOPERATIVE_MATRIX_STORE = 4458
};

/* What is known of an id. */
struct fact {
    uint32_t value; /* of a constant; a truth value is 0 or 1 */
    bool known;     /* it is a constant of one word */
    bool open;      /* it has the decoration SpecId: the constant of this number */
    uint32_t number;
    bool live;   /* a function that is called, a block that is reached */
    bool gone;   /* what an instruction that is left out defines */
    size_t exit; /* of a block: where it says how it goes on; 0: not seen yet */
};

struct module {
    const uint32_t *words;
    size_t n;
    uint32_t bound, bool_type;
    struct fact *facts; /* [bound]; entry 0, which is no id, takes what is said of ids beyond the bound */
    uint32_t *out;
    size_t n_out;
};

static uint32_t length_at(const struct module *m, size_t at)
{
    return m->words[at] >> 16;
}

static bool is_at(const struct module *m, size_t at, enum op op, uint32_t min_length)
{
    return at < m->n && (m->words[at] & 0xffff) == (uint32_t)op && length_at(m, at) >= min_length;
}

/* Of the id that is word `index` of an instruction. */
static struct fact *fact_at(const struct module *m, size_t at, uint32_t index)
{
    const uint32_t id = index < length_at(m, at) ? m->words[at + index] : 0;
    return &m->facts[id < m->bound ? id : 0];
}

static bool module_open(struct module *m)
{
    if (m->n < HEADER_WORDS || m->words[0] != MAGIC || m->words[3] == 0 || m->words[3] > m->n)
        return false; /* every id is the result of an instruction of two words or more */
    for (size_t at = HEADER_WORDS; at < m->n; at += length_at(m, at))
        if (length_at(m, at) == 0 || length_at(m, at) > m->n - at)
            return false;
    m->bound = m->words[3];
    return true;
}

/* ---- constants ---- */

static bool fold(const struct module *m, size_t at, uint32_t *value)
{
    const struct fact *f[3];
    const uint32_t n = length_at(m, at) - 4;
    if (n < 1 || n > 3)
        return false;
    for (uint32_t i = 0; i < 3; i++) {
        f[i] = fact_at(m, at, 4 + (i < n ? i : 0));
        if (!f[i]->known)
            return false;
    }
    const uint32_t a = f[0]->value, b = f[1]->value;
    const uint32_t op = m->words[at + 3];
    if (n != (op == OP_LOGICAL_NOT ? 1u : op == OP_SELECT ? 3u : 2u))
        return false;
    switch (op) {
    case OP_I_ADD: *value = a + b; return true;
    case OP_I_SUB: *value = a - b; return true;
    case OP_I_MUL: *value = a * b; return true;
    case OP_U_DIV: *value = b ? a / b : 0; return b != 0;
    case OP_U_MOD: *value = b ? a % b : 0; return b != 0;
    case OP_SHIFT_LEFT: *value = b < 32 ? a << b : 0; return b < 32;
    case OP_LOGICAL_OR: *value = a || b; return true;
    case OP_LOGICAL_AND: *value = a && b; return true;
    case OP_LOGICAL_NOT: *value = !a; return true;
    case OP_SELECT: *value = a ? b : f[2]->value; return true;
    case OP_I_EQUAL: *value = a == b; return true;
    case OP_I_NOT_EQUAL: *value = a != b; return true;
    case OP_U_GREATER_THAN: *value = a > b; return true;
    case OP_U_LESS_THAN: *value = a < b; return true;
    default: return false; /* stays an operation, of constants that are fixed */
    }
}

/* Constants are defined before what they are used in. Returns a fault, or NULL. */
static const char *find_constants(struct module *m, const struct spirv_constants *constants)
{
    for (size_t at = HEADER_WORDS; at < m->n && !is_at(m, at, OP_FUNCTION, 1); at += length_at(m, at)) {
        const uint32_t op = m->words[at] & 0xffff;
        struct fact *f = fact_at(m, at, 2);
        const bool given = f->open && f->number < constants->n;
        if (is_at(m, at, OP_DECORATE, 4) && m->words[at + 2] == DECORATION_SPEC_ID) {
            f = fact_at(m, at, 1);
            f->open = true;
            f->number = m->words[at + 3];
        } else if (is_at(m, at, OP_TYPE_BOOL, 2)) {
            m->bool_type = m->words[at + 1];
        } else if (op == OP_CONSTANT_TRUE || op == OP_CONSTANT_FALSE) {
            f->known = true;
            f->value = op == OP_CONSTANT_TRUE;
        } else if (op == OP_SPEC_CONSTANT_TRUE || op == OP_SPEC_CONSTANT_FALSE) {
            f->known = true;
            f->value = given ? constants->values[f->number] != 0 : op == OP_SPEC_CONSTANT_TRUE;
        } else if (op == OP_CONSTANT && length_at(m, at) == 4) {
            f->known = true;
            f->value = m->words[at + 3];
        } else if (op == OP_SPEC_CONSTANT) {
            if (length_at(m, at) != 4)
                return "a constant is not one word";
            f->known = true;
            f->value = given ? constants->values[f->number] : m->words[at + 3];
        } else if (is_at(m, at, OP_SPEC_CONSTANT_OP, 5)) {
            f->known = fold(m, at, &f->value);
        }
    }
    m->facts[0] = (struct fact){0};
    return NULL;
}

/* ---- what is reached ---- */

/* A selection whose condition is a constant: the label it always goes to, else 0. */
static uint32_t decided(const struct module *m, size_t at)
{
    const size_t branch = at + length_at(m, at);
    if (!is_at(m, at, OP_SELECTION_MERGE, 3) || !is_at(m, branch, OP_BRANCH_CONDITIONAL, 4))
        return 0;
    const struct fact *condition = fact_at(m, branch, 1);
    return condition->known ? m->words[branch + (condition->value ? 2 : 3)] : 0;
}

/* Which words of an instruction are labels of blocks that may come next: *first, *first + *step, .. below *end. */
static void labels_of(const struct module *m, size_t at, uint32_t *first, uint32_t *step, uint32_t *end)
{
    *step = 1;
    *end = length_at(m, at);
    switch (m->words[at] & 0xffff) {
    case OP_BRANCH: *first = 1; break;
    case OP_BRANCH_CONDITIONAL:
        *first = 2;
        *end = *end < 4 ? *end : 4; /* weights may follow */
        break;
    case OP_SWITCH: *first = *step = 2; break;
    default: *first = *end;
    }
}

static bool reach(struct fact *f)
{
    const bool is_new = !f->live;
    f->live = true;
    return is_new;
}

/* One instruction of a block that is reached; true: something is reached that was not before. */
static bool follow(const struct module *m, size_t at, struct fact *block)
{
    bool more = false;
    uint32_t first, step, end;
    if (is_at(m, at, OP_FUNCTION_CALL, 4))
        return reach(fact_at(m, at, 3));
    if (decided(m, at)) {
        const uint32_t to = decided(m, at);
        block->exit = at;
        return reach(&m->facts[to < m->bound ? to : 0]);
    }
    /* A merge block and a loop's last block are named, and so have to be there, whether a branch leads to them or not.
     */
    if (is_at(m, at, OP_SELECTION_MERGE, 3))
        return reach(fact_at(m, at, 1));
    if (is_at(m, at, OP_LOOP_MERGE, 4)) {
        more = reach(fact_at(m, at, 1));
        return reach(fact_at(m, at, 2)) || more;
    }
    labels_of(m, at, &first, &step, &end);
    if (first < end)
        block->exit = at;
    for (uint32_t i = first; i < end; i += step)
        more = reach(fact_at(m, at, i)) || more;
    return more;
}

static void find_live(struct module *m)
{
    for (bool more = true; more;) {
        bool in_function = false, entry = false;
        struct fact *block = NULL; /* NULL: not one that is reached */
        more = false;
        for (size_t at = HEADER_WORDS; at < m->n; at += length_at(m, at)) {
            if (is_at(m, at, OP_ENTRY_POINT, 3)) {
                reach(fact_at(m, at, 2));
            } else if (is_at(m, at, OP_FUNCTION, 5)) {
                in_function = entry = fact_at(m, at, 2)->live;
                block = NULL;
            } else if (is_at(m, at, OP_LABEL, 2)) {
                block = fact_at(m, at, 1);
                block->live = block->live || entry;
                entry = false;
                if (!in_function || !block->live)
                    block = NULL;
            } else if (block) {
                const size_t after_decided = block->exit && decided(m, block->exit) ? block->exit : m->n;
                if (at <= after_decided)
                    more = follow(m, at, block) || more;
            }
        }
    }
}

static bool has_edge(const struct module *m, const struct fact *from, uint32_t label)
{
    uint32_t first, step, end;
    if (!from->live || !from->exit)
        return false;
    if (decided(m, from->exit))
        return decided(m, from->exit) == label;
    labels_of(m, from->exit, &first, &step, &end);
    for (uint32_t i = first; i < end; i += step)
        if (m->words[from->exit + i] == label)
            return true;
    return false;
}

/* ---- output ---- */

static void put(struct module *m, const uint32_t *words, uint32_t n)
{
    memcpy(m->out + m->n_out, words, n * sizeof *words);
    m->n_out += n;
}

/* An instruction in front of the functions. */
static void put_global(struct module *m, size_t at)
{
    const uint32_t *w = m->words + at;
    const struct fact *f = fact_at(m, at, 2);
    if (length_at(m, at) < 3) {
        put(m, w, length_at(m, at));
        return;
    }
    const uint32_t truth[] = {3u << 16 | (f->value ? OP_CONSTANT_TRUE : OP_CONSTANT_FALSE), w[1], w[2]};
    const uint32_t number[] = {4u << 16 | OP_CONSTANT, w[1], w[2], f->value};
    switch (w[0] & 0xffff) {
    case OP_NAME:
    case OP_MEMBER_NAME: return;
    case OP_DECORATE:
        if (!fact_at(m, at, 1)->gone && !(length_at(m, at) >= 4 && w[2] == DECORATION_SPEC_ID))
            put(m, w, length_at(m, at));
        return;
    case OP_SPEC_CONSTANT_TRUE:
    case OP_SPEC_CONSTANT_FALSE: put(m, truth, 3); return;
    case OP_SPEC_CONSTANT: put(m, number, 4); return;
    case OP_SPEC_CONSTANT_COMPOSITE:
        put(m, w, length_at(m, at));
        m->out[m->n_out - length_at(m, at)] = (w[0] & 0xffff0000) | OP_CONSTANT_COMPOSITE;
        return;
    case OP_SPEC_CONSTANT_OP:
        if (!f->known || length_at(m, at) < 5)
            put(m, w, length_at(m, at));
        else if (w[1] == m->bool_type)
            put(m, truth, 3);
        else
            put(m, number, 4);
        return;
    default: put(m, w, length_at(m, at));
    }
}

/* Without the values of blocks that no longer come before this one. */
static void put_phi(struct module *m, size_t at, uint32_t label)
{
    const uint32_t *w = m->words + at;
    const size_t begin = m->n_out;
    put(m, w, 3);
    for (uint32_t i = 3; i + 1 < length_at(m, at); i += 2)
        if (has_edge(m, fact_at(m, at, i + 1), label))
            put(m, w + i, 2);
    m->out[begin] = (uint32_t)(m->n_out - begin) << 16 | OP_PHI;
}

/* Instructions of functions that have a third word and define nothing. */
static bool defines_nothing(uint32_t op)
{
    static const uint16_t ops[] = {OP_LINE,
                                   OP_STORE,
                                   OP_COPY_MEMORY,
                                   OP_COPY_MEMORY_SIZED,
                                   OP_IMAGE_WRITE,
                                   OP_CONTROL_BARRIER,
                                   OP_MEMORY_BARRIER,
                                   OP_ATOMIC_STORE,
                                   OP_LOOP_MERGE,
                                   OP_SELECTION_MERGE,
                                   OP_BRANCH_CONDITIONAL,
                                   OP_SWITCH,
                                   OP_COOPERATIVE_MATRIX_STORE};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (op == ops[i])
            return true;
    return false;
}

/* Goes over the functions; writes what is kept, or (`write` false) notes what is not. */
static void pass_functions(struct module *m, size_t at, bool write)
{
    bool in_function = false, in_block = true;
    uint32_t label = 0;
    for (; at < m->n; at += length_at(m, at)) {
        const uint32_t op = m->words[at] & 0xffff;
        if (is_at(m, at, OP_FUNCTION, 5)) {
            in_function = fact_at(m, at, 2)->live;
            in_block = true; /* its parameters */
        } else if (is_at(m, at, OP_LABEL, 2)) {
            label = m->words[at + 1];
            in_block = fact_at(m, at, 1)->live;
        } else if (op == OP_FUNCTION_END) {
            in_block = true;
        }
        const bool kept = in_function && in_block;
        const uint32_t to = kept ? decided(m, at) : 0;
        if (!kept && !write && length_at(m, at) >= 3 && !defines_nothing(op))
            fact_at(m, at, 2)->gone = true;
        if (kept && write && to)
            put(m, (uint32_t[]){2u << 16 | OP_BRANCH, to}, 2);
        else if (kept && write && is_at(m, at, OP_PHI, 3))
            put_phi(m, at, label);
        else if (kept && write)
            put(m, m->words + at, length_at(m, at));
        if (to)
            at += length_at(m, at); /* the branch is part of it */
    }
}

static void write_module(struct module *m)
{
    size_t functions = HEADER_WORDS;
    while (functions < m->n && !is_at(m, functions, OP_FUNCTION, 1))
        functions += length_at(m, functions);
    pass_functions(m, functions, false);
    put(m, m->words, HEADER_WORDS);
    for (size_t at = HEADER_WORDS; at < functions; at += length_at(m, at))
        put_global(m, at);
    pass_functions(m, functions, true);
}

enum mn_status spirv_specialise(uint32_t **out, size_t *n_out, const uint32_t *words, size_t n_words,
                                const struct spirv_constants *constants, const char *name, const struct mn_log *log)
{
    struct module m = {.words = words, .n = n_words};
    *out = NULL;
    *n_out = 0;
    if (!module_open(&m))
        return log_fail(log, MN_ERR_FORMAT, "shader %s: not a SPIR-V module", name);
    m.facts = calloc(m.bound, sizeof *m.facts);
    m.out = malloc(n_words * sizeof *m.out);
    enum mn_status status = MN_OK;
    if (!m.facts || !m.out)
        status = log_fail(log, MN_ERR_MEMORY, "out of host memory for shader %s", name);
    const char *fault = status ? NULL : find_constants(&m, constants);
    if (fault)
        status = log_fail(log, MN_ERR_FORMAT, "shader %s: %s", name, fault);
    if (!status) {
        find_live(&m);
        write_module(&m);
        *out = m.out;
        *n_out = m.n_out;
        m.out = NULL;
    }
    free(m.facts);
    free(m.out);
    return status;
}
