#include "engine/vulkan/spirv.h"

#include <stdbool.h>

#include "engine/base/numbers.h"

/* Numbers of the SPIR-V specification. */
enum { MAGIC = 0x07230203, HEADER_WORDS = 5, DIM_BUFFER = 5, IMAGE_STORAGE = 2, WORD_BITS = 32 };
enum op {
    OP_TYPE_INT = 21,
    OP_TYPE_FLOAT = 22,
    OP_TYPE_VECTOR = 23,
    OP_TYPE_IMAGE = 25,
    OP_TYPE_ARRAY = 28,
    OP_TYPE_STRUCT = 30,
    OP_TYPE_POINTER = 32,
    OP_CONSTANT = 43,
    OP_FUNCTION = 54,
    OP_VARIABLE = 59,
    OP_DECORATE = 71,
    OP_MEMBER_DECORATE = 72
};
enum decoration { DECORATION_SPEC_ID = 1, DECORATION_BINDING = 33, DECORATION_SET = 34, DECORATION_OFFSET = 35 };
enum storage { STORAGE_UNIFORM_CONSTANT = 0, STORAGE_WORKGROUP = 4, STORAGE_PUSH = 9, STORAGE_BUFFER = 12 };

/* The instructions in front of the first function: types, decorations and global variables are all there. Their lengths
 * are known to fit once module_open has returned. */
struct module {
    const uint32_t *words;
    size_t begin, end;
};

static uint32_t length_at(const struct module *m, size_t at)
{
    return m->words[at] >> 16;
}

static bool is_at(const struct module *m, size_t at, enum op op, uint32_t min_length)
{
    return (m->words[at] & 0xffff) == (uint32_t)op && length_at(m, at) >= min_length;
}

static bool module_open(struct module *m, const uint32_t *words, size_t n_words)
{
    *m = (struct module){.words = words, .begin = HEADER_WORDS, .end = n_words};
    if (n_words < HEADER_WORDS || words[0] != MAGIC)
        return false;
    for (size_t at = m->begin; at < n_words; at += length_at(m, at)) {
        if (is_at(m, at, OP_FUNCTION, 1)) {
            m->end = at;
            return true;
        }
        if (length_at(m, at) == 0 || length_at(m, at) > n_words - at)
            return false;
    }
    return false; /* a shader has a function */
}

/* The instruction of this kind whose word `index` is `id`, or NULL. */
static const uint32_t *find(const struct module *m, enum op op, uint32_t index, uint32_t id, uint32_t min_length)
{
    for (size_t at = m->begin; at < m->end; at += length_at(m, at))
        if (is_at(m, at, op, min_length) && m->words[at + index] == id)
            return m->words + at;
    return NULL;
}

/* What a variable of this id points to, or 0. Ids begin at 1. */
static uint32_t pointee(const struct module *m, uint32_t variable_id, uint32_t *storage)
{
    const uint32_t *variable = find(m, OP_VARIABLE, 2, variable_id, 4);
    const uint32_t *pointer = variable ? find(m, OP_TYPE_POINTER, 1, variable[1], 4) : NULL;
    *storage = variable ? variable[3] : 0;
    return pointer ? pointer[3] : 0;
}

static const char *add_binding(struct spirv_interface *out, const struct module *m, uint32_t id, uint32_t binding)
{
    uint32_t storage;
    const uint32_t type = pointee(m, id, &storage);
    if (binding >= SPIRV_MAX_BINDINGS)
        return "the number of a binding is too high";
    const uint32_t *image = type ? find(m, OP_TYPE_IMAGE, 1, type, 9) : NULL;
    const bool texel = storage == STORAGE_UNIFORM_CONSTANT && image && image[3] == DIM_BUFFER &&
                       image[7] == IMAGE_STORAGE;
    if (!type || (!texel && storage != STORAGE_BUFFER))
        return "a binding is neither a storage buffer nor a storage texel buffer";
    const uint32_t bit = 1u << binding;
    if ((out->bindings & bit) && ((out->texel_bindings & bit) != 0) != texel)
        return "two kinds of buffers have one binding";
    out->bindings |= bit;
    out->texel_bindings |= texel ? bit : 0;
    out->n_bindings = max_u32(out->n_bindings, binding + 1);
    return NULL;
}

static const char *add_decoration(struct spirv_interface *out, const struct module *m, const uint32_t *at)
{
    const uint32_t id = at[1], value = at[3];
    switch (at[2]) {
    case DECORATION_SPEC_ID:
        if (value == SPIRV_DEVICE_CONSTANT)
            return NULL;
        out->n_constants = value < UINT32_MAX ? max_u32(out->n_constants, value + 1) : UINT32_MAX;
        return NULL;
    case DECORATION_SET: return value == 0 ? NULL : "a binding lies in another set than 0";
    case DECORATION_BINDING: return add_binding(out, m, id, value);
    default: return NULL;
    }
}

/* A block whose one member is a struct of words, one after the other, as C lays them out. */
static const char *add_push(struct spirv_interface *out, const struct module *m, uint32_t variable_id)
{
    uint32_t storage;
    const uint32_t *block = find(m, OP_TYPE_STRUCT, 1, pointee(m, variable_id, &storage), 3);
    const uint32_t *args = block ? find(m, OP_TYPE_STRUCT, 1, block[2], 3) : NULL;
    if (!args || block[0] >> 16 != 3 || out->push_bytes)
        return "push constants are not one struct";
    const uint32_t n_members = (args[0] >> 16) - 2;
    for (uint32_t i = 0; i < n_members; i++) {
        const uint32_t *number = find(m, OP_TYPE_INT, 1, args[2 + i], 4);
        if (!number)
            number = find(m, OP_TYPE_FLOAT, 1, args[2 + i], 3);
        if (!number || number[2] != WORD_BITS)
            return "a push constant is not a 32-bit word";
    }
    for (size_t at = m->begin; at < m->end; at += length_at(m, at)) {
        const uint32_t *w = m->words + at;
        if (is_at(m, at, OP_MEMBER_DECORATE, 5) && w[1] == args[1] && w[3] == DECORATION_OFFSET && w[4] != 4 * w[2])
            return "push constants are not one word after the other";
    }
    out->push_bytes = 4 * n_members;
    return NULL;
}

enum mn_status spirv_reflect(struct spirv_interface *out, const uint32_t *words, size_t n_words, const char *name,
                             const struct mn_log *log)
{
    struct module m;
    *out = (struct spirv_interface){0};
    const char *fault = module_open(&m, words, n_words) ? NULL : "not a SPIR-V module";
    for (size_t at = m.begin; !fault && at < m.end; at += length_at(&m, at)) {
        if (is_at(&m, at, OP_DECORATE, 4))
            fault = add_decoration(out, &m, words + at);
        else if (is_at(&m, at, OP_VARIABLE, 4) && words[at + 3] == STORAGE_PUSH)
            fault = add_push(out, &m, words[at + 2]);
    }
    if (!fault)
        return MN_OK;
    *out = (struct spirv_interface){0};
    return log_fail(log, MN_ERR_FORMAT, "shader %s: %s", name, fault);
}

/* ---- shared memory ---- */

enum { TYPE_DEPTH = 8 };
static const uint64_t SHARED_BYTES_MAX = UINT64_C(1) << 31;

/* Bytes of a value of this type; 0: not known. */
static uint64_t type_bytes(const struct module *m, uint32_t type, uint32_t depth)
{
    const uint32_t *w, *n;
    if (depth == TYPE_DEPTH)
        return 0;
    if ((w = find(m, OP_TYPE_INT, 1, type, 4)) || (w = find(m, OP_TYPE_FLOAT, 1, type, 3)))
        return w[2] / 8;
    if ((w = find(m, OP_TYPE_VECTOR, 1, type, 4)))
        return type_bytes(m, w[2], depth + 1) * w[3];
    if ((w = find(m, OP_TYPE_ARRAY, 1, type, 4)) && (n = find(m, OP_CONSTANT, 2, w[3], 4))) {
        const uint64_t bytes = type_bytes(m, w[2], depth + 1);
        return bytes <= SHARED_BYTES_MAX ? bytes * n[3] : 0;
    }
    return 0;
}

/* Does code behind the declarations name it? A literal of the same value is taken for it: the sum is never too small.
 */
static bool is_used(const struct module *m, size_t n_words, uint32_t id)
{
    for (size_t at = m->end; at < n_words && length_at(m, at) > 0 && length_at(m, at) <= n_words - at;
         at += length_at(m, at))
        for (uint32_t i = 1; i < length_at(m, at); i++)
            if (m->words[at + i] == id)
                return true;
    return false;
}

enum mn_status spirv_shared_bytes(uint32_t *bytes, const uint32_t *words, size_t n_words, const char *name,
                                  const struct mn_log *log)
{
    struct module m;
    uint64_t sum = 0;
    *bytes = 0;
    if (!module_open(&m, words, n_words))
        return log_fail(log, MN_ERR_FORMAT, "shader %s: not a SPIR-V module", name);
    for (size_t at = m.begin; at < m.end; at += length_at(&m, at)) {
        uint32_t storage;
        if (!is_at(&m, at, OP_VARIABLE, 4) || words[at + 3] != STORAGE_WORKGROUP ||
            !is_used(&m, n_words, words[at + 2]))
            continue;
        const uint64_t size = type_bytes(&m, pointee(&m, words[at + 2], &storage), 0);
        if (size == 0 || size > SHARED_BYTES_MAX - sum)
            return log_fail(log, MN_ERR_FORMAT, "shader %s: the size of a variable in shared memory is not known",
                            name);
        sum += size;
    }
    *bytes = (uint32_t)sum;
    return MN_OK;
}
