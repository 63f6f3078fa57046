#include "engine/text/regex.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum frame_kind {
    FRAME_GO,     /* on at op and place */
    FRAME_REPEAT, /* a character less than up to `at`, but not less than up to `other` */
    FRAME_LAZY,   /* a character more, at most `other` */
    FRAME_LOOP,   /* loop `op` had the place `at` */
    FRAME_FENCE,  /* an atomic group or a look-around began; `other` is the fence outside of it */
};

struct regex_frame {
    uint32_t kind, op, at, other;
};

#define NO_FENCE UINT32_MAX

/* One attempt. */
struct attempt {
    const struct regex *m;
    struct regex_run *run;
    const char *text;
    uint32_t n, at, pc, fence;
    enum regex_result result;
};

static bool stop(struct attempt *a, enum regex_result result)
{
    a->result = result;
    return false;
}

static bool push(struct attempt *a, enum frame_kind kind, uint32_t op, uint32_t at, uint32_t other)
{
    struct regex_run *run = a->run;
    if (run->n_stack == run->stack_capacity) {
        const size_t capacity = run->stack_capacity ? 2 * run->stack_capacity : 256;
        if (capacity * sizeof *run->stack > REGEX_STACK_BYTES_MAX)
            return stop(a, REGEX_STACK);
        struct regex_frame *stack = realloc(run->stack, capacity * sizeof *stack);
        if (!stack)
            return stop(a, REGEX_MEMORY);
        run->stack = stack;
        run->stack_capacity = capacity;
    }
    run->stack[run->n_stack++] = (struct regex_frame){kind, op, at, other};
    return true;
}

static uint32_t character_read(const char *text, uint32_t *n_bytes)
{
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80) {
        *n_bytes = 1;
        return s[0];
    }
    *n_bytes = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    uint32_t c = s[0] & (0x7fu >> *n_bytes);
    for (uint32_t i = 1; i < *n_bytes; i++)
        c = c << 6 | (s[i] & 0x3fu);
    return c;
}

static uint32_t character_before(const char *text, uint32_t at)
{
    do
        at--;
    while (((unsigned char)text[at] & 0xc0) == 0x80);
    return at;
}

/* Bytes of the character at `at` if the op takes it, else 0; also 0, with a result, when memory ran out. */
static uint32_t unit_take(struct attempt *a, const struct regex_op *op, uint32_t at)
{
    uint32_t n_bytes;
    bool takes = false;
    if (at == a->n)
        return 0;
    const uint32_t c = character_read(a->text + at, &n_bytes);
    if (op->unit == UNIT_CHARACTER)
        return c == op->target ? n_bytes : 0;
    if (op->unit == UNIT_ANY)
        return c != '\n' ? n_bytes : 0;
    const uint64_t n_asked = a->run->cache.n_steps;
    if (charset_has(&a->m->sets[op->target], &a->run->cache, c, &takes))
        stop(a, REGEX_MEMORY);
    a->run->n_steps += a->run->cache.n_steps - n_asked;
    return takes ? n_bytes : 0;
}

/* True where the attempt goes on: at the next op, or at the newest way not yet tried. */
static bool fail_back(struct attempt *a);

static bool op_one(struct attempt *a, const struct regex_op *op)
{
    const uint32_t n_bytes = unit_take(a, op, a->at);
    if (a->result != REGEX_FOUND)
        return false;
    if (!n_bytes)
        return fail_back(a);
    a->at += n_bytes;
    a->pc++;
    return true;
}

static bool op_repeat(struct attempt *a, const struct regex_op *op)
{
    const uint32_t pc = a->pc++, wanted = op->mode == MODE_LAZY ? op->min : op->max;
    uint32_t n = 0, low = a->at, n_bytes;
    /* A text ends, so a scan does; what it looked at is charged at once. */
    while (n < wanted && (n_bytes = unit_take(a, op, a->at)) != 0) {
        a->at += n_bytes;
        if (++n == op->min)
            low = a->at;
    }
    a->run->n_steps += n;
    if (a->result != REGEX_FOUND)
        return false;
    if (n < op->min)
        return fail_back(a);
    if (op->mode == MODE_GREEDY && a->at > low)
        return push(a, FRAME_REPEAT, pc, a->at, low);
    if (op->mode == MODE_LAZY && op->max > op->min)
        return push(a, FRAME_LAZY, pc, a->at, op->max == UINT32_MAX ? UINT32_MAX : op->max - op->min);
    return true;
}

static bool op_back(struct attempt *a, const struct regex_op *op)
{
    uint32_t n = 0;
    for (; n < op->target && a->at > 0; n++)
        a->at = character_before(a->text, a->at);
    a->run->n_steps += n;
    if (n < op->target)
        return fail_back(a);
    a->pc++;
    return true;
}

/* What began at the innermost fence is over: the ways back into it are forgotten. */
static struct regex_frame fence_take(struct attempt *a)
{
    const struct regex_frame fence = a->run->stack[a->fence];
    a->run->n_stack = a->fence;
    a->fence = fence.other;
    return fence;
}

static bool op_fence(struct attempt *a)
{
    const uint32_t fence = (uint32_t)a->run->n_stack;
    if (!push(a, FRAME_FENCE, a->pc++, a->at, a->fence))
        return false;
    a->fence = fence;
    return true;
}

static bool op_look_end(struct attempt *a)
{
    const struct regex_frame fence = fence_take(a);
    if (a->m->ops[fence.op].is_negative)
        return fail_back(a);
    a->at = fence.at;
    a->pc++;
    return true;
}

static bool op_loop(struct attempt *a, const struct regex_op *op)
{
    if (!push(a, FRAME_LOOP, op->other, a->run->loops[op->other], 0))
        return false;
    a->run->loops[op->other] = a->at;
    a->pc++;
    return true;
}

static bool op_split(struct attempt *a, const struct regex_op *op)
{
    if (!push(a, FRAME_GO, op->other, a->at, 0))
        return false;
    a->pc = op->target;
    return true;
}

static bool op_anchor(struct attempt *a, bool holds)
{
    if (!holds)
        return fail_back(a);
    a->pc++;
    return true;
}

/* Lines end with a line feed alone, and behind the last one none starts. */
static bool op_step(struct attempt *a, const struct regex_op *op)
{
    const char *text = a->text;
    const uint32_t at = a->at, n = a->n;
    switch ((enum regex_op_code)op->code) {
    case OP_ONE: return op_one(a, op);
    case OP_REPEAT: return op_repeat(a, op);
    case OP_SPLIT: return op_split(a, op);
    case OP_JUMP: a->pc = op->target; return true;
    case OP_LOOP: return op_loop(a, op);
    case OP_LOOP_END: a->pc = a->run->loops[op->other] == at ? op->target : a->pc + 1; return true;
    case OP_BACK: return op_back(a, op);
    case OP_ATOMIC: return op_fence(a);
    case OP_CUT: fence_take(a), a->pc++; return true;
    case OP_LOOK: return op_fence(a);
    case OP_LOOK_END: return op_look_end(a);
    case OP_LINE_START: return op_anchor(a, at == 0 || (at < n && text[at - 1] == '\n'));
    case OP_LINE_END: return op_anchor(a, at == n || text[at] == '\n');
    case OP_TEXT_START: return op_anchor(a, at == 0);
    case OP_TEXT_END: return op_anchor(a, at == n);
    case OP_LAST_LINE_END: return op_anchor(a, at == n || (at + 1 == n && text[at] == '\n'));
    case OP_MATCH: break;
    }
    return false;
}

/* One character more of a lazy repeat. */
static bool lazy_more(struct attempt *a, struct regex_frame frame, bool *goes_on)
{
    const uint32_t n_bytes = unit_take(a, &a->m->ops[frame.op], frame.at);
    if (a->result != REGEX_FOUND)
        return false;
    *goes_on = n_bytes > 0;
    a->at = frame.at + n_bytes;
    a->pc = frame.op + 1;
    const uint32_t left = frame.other == UINT32_MAX ? UINT32_MAX : frame.other - 1;
    return !n_bytes || !left || push(a, FRAME_LAZY, frame.op, a->at, left);
}

static bool repeat_less(struct attempt *a, struct regex_frame frame)
{
    a->at = character_before(a->text, frame.at);
    a->pc = frame.op + 1;
    return a->at == frame.other || push(a, FRAME_REPEAT, frame.op, a->at, frame.other);
}

static bool fail_back(struct attempt *a)
{
    struct regex_run *run = a->run;
    while (run->n_stack) {
        const struct regex_frame frame = run->stack[--run->n_stack];
        bool goes_on = false;
        run->n_steps++;
        switch ((enum frame_kind)frame.kind) {
        case FRAME_GO: a->pc = frame.op, a->at = frame.at; return true;
        case FRAME_REPEAT: return repeat_less(a, frame);
        case FRAME_LAZY:
            if (!lazy_more(a, frame, &goes_on))
                return false;
            if (goes_on)
                return true;
            break;
        case FRAME_LOOP: run->loops[frame.op] = frame.at; break;
        case FRAME_FENCE:
            a->fence = frame.other;
            if (a->m->ops[frame.op].is_negative) {
                a->pc = a->m->ops[frame.op].target;
                a->at = frame.at;
                return true;
            }
            break;
        }
    }
    return stop(a, REGEX_NONE);
}

static enum regex_result loops_reserve(struct regex_run *run, uint32_t n)
{
    if (n <= run->n_loops)
        return REGEX_FOUND;
    uint32_t *loops = realloc(run->loops, n * sizeof *loops);
    if (!loops)
        return REGEX_MEMORY;
    memset(loops, 0, n * sizeof *loops);
    run->loops = loops;
    run->n_loops = n;
    return REGEX_FOUND;
}

enum regex_result regex_match(const struct regex *m, struct regex_run *run, const char *text, size_t n_bytes, size_t at,
                              size_t *end)
{
    assert(n_bytes < UINT32_MAX && at <= n_bytes);
    struct attempt a = {.m = m,
                        .run = run,
                        .text = text,
                        .n = (uint32_t)n_bytes,
                        .at = (uint32_t)at,
                        .fence = NO_FENCE,
                        .result = loops_reserve(run, m->n_loops)};
    if (a.result != REGEX_FOUND)
        return a.result;
    run->n_stack = 0;
    do
        if (++run->n_steps > run->max_steps)
            return REGEX_STEPS;
    while (op_step(&a, &m->ops[a.pc]));
    if (a.result == REGEX_FOUND)
        *end = a.at;
    return a.result;
}

void regex_run_finish(struct regex_run *run)
{
    if (!run)
        return;
    free(run->stack);
    free(run->loops);
    charset_cache_destroy(&run->cache);
    *run = (struct regex_run){0};
}
