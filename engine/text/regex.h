/* Regex: one attempt of a pre-tokenizer pattern at one place of a text, with every step counted.
 *
 * Owns: patterns as programs for a backtracking machine (regex_compile.c) and the machine (regex.c).
 * Never: searches (an attempt starts where it is told to), captures, knows Unicode (charset.h does), translates
 *       (pattern.h does).
 * Thread-safety: `struct regex` is immutable after compiling; every thread matches with its own `struct regex_run`.
 *
 * Why not a library: the limits of PCRE2 and Oniguruma count where a match branches, and not what is scanned between
 * two branches. So `a+b|.` costs the square of a text's length and reaches no limit. Here an instruction, a character
 * that was looked at and a step back cost one each, whatever the pattern: what an attempt takes is bounded by the steps
 * it is given. Alternatives, repeats, atomic groups and look-around are tried in the order of PCRE2 and Oniguruma.
 */
#ifndef MUNINN_ENGINE_TEXT_REGEX_H
#define MUNINN_ENGINE_TEXT_REGEX_H

#include "engine/text/charset.h"

enum {
    REGEX_OPS_MAX = 65536,
    REGEX_STACK_BYTES_MAX = 67108864, /* what one attempt remembers to come back to */
};

enum regex_op_code {
    OP_ONE,      /* one character */
    OP_REPEAT,   /* min to max of the same */
    OP_SPLIT,    /* goes to `target`, and to `other` when that fails */
    OP_JUMP,     /* to `target` */
    OP_LOOP,     /* notes in loop `other` where an iteration starts */
    OP_LOOP_END, /* an iteration that took nothing ends its loop: to `target` */
    OP_BACK,     /* `target` characters back */
    OP_ATOMIC,   /* up to its OP_CUT there is one way only */
    OP_CUT,
    OP_LOOK,     /* up to its OP_LOOK_END: looks, and goes back */
    OP_LOOK_END, /* of a negative one: `target` is where it goes on */
    OP_LINE_START,
    OP_LINE_END,
    OP_TEXT_START,
    OP_TEXT_END,
    OP_LAST_LINE_END,
    OP_MATCH,
};

enum regex_unit { UNIT_CHARACTER, UNIT_SET, UNIT_ANY };
enum regex_mode { MODE_GREEDY, MODE_LAZY, MODE_POSSESSIVE };

struct regex_op {
    uint8_t code, unit, mode;
    bool is_negative; /* OP_LOOK */
    uint32_t target;  /* OP_ONE, OP_REPEAT: the character, or the index of its set */
    uint32_t other;
    uint32_t min, max; /* UINT32_MAX: as many as there are */
};

/* Zeroed is a valid empty one for regex_destroy. */
struct regex {
    struct regex_op *ops;
    struct charset *sets;
    uint32_t n_ops, n_sets, n_loops;
};

struct regex_frame;

/* Working memory of attempts, reused from one to the next. Zeroed is empty, with no steps. */
struct regex_run {
    struct regex_frame *stack;
    uint32_t *loops;
    size_t n_stack, stack_capacity;
    uint32_t n_loops;
    struct charset_cache cache;
    uint64_t n_steps, max_steps; /* taken and granted, over all attempts */
};

/* Compiles what pattern_translate wrote and PCRE2 accepts. *why is what is wrong, or NULL when out of memory. */
enum mn_status regex_compile(struct regex *regex, const char *translated, const char **why);
void regex_destroy(struct regex *regex);

enum regex_result { REGEX_FOUND, REGEX_NONE, REGEX_STEPS, REGEX_STACK, REGEX_MEMORY };

/* Does the pattern match from text[at]? *end is where the match ends, and stays where there is none. The text is valid
 * UTF-8 of less than 4 GiB. */
enum regex_result regex_match(const struct regex *regex, struct regex_run *run, const char *text, size_t n_bytes,
                              size_t at, size_t *end);
void regex_run_finish(struct regex_run *run);

#endif
