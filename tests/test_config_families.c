/* Goal: config.json of retrofits, Ouro and Llama: each key that shapes the function is read, in range, from where the
 * family keeps it; whatever would change the function and is not built is refused by key and value; the rotary
 * frequencies are the published ones.
 * Method: a complete configuration per family, of which each key in turn is missing or out of range; tables of single
 * changes; frequencies against the formula in double. */
#include <math.h>
#include <stdlib.h>

#include "engine/model/config.h"
#include "engine/model/family.h"
#include "engine/model/rotary.h"
#include "tests/capture.h"

enum kind { COUNT, NUMBER, OTHER }; /* what a required key holds */

struct pair {
    const char *key, *value;
    enum kind kind;
    bool optional;
};

static const struct pair llama[] = {{"model_type", "\"llama\"", OTHER, false},
                                    {"hidden_size", "64", COUNT, false},
                                    {"num_attention_heads", "4", COUNT, false},
                                    {"num_key_value_heads", "2", COUNT, true},
                                    {"head_dim", "16", COUNT, true},
                                    {"intermediate_size", "96", COUNT, false},
                                    {"vocab_size", "256", COUNT, false},
                                    {"num_hidden_layers", "4", COUNT, false},
                                    {"max_position_embeddings", "128", COUNT, false},
                                    {"rms_norm_eps", "1e-5", NUMBER, true},
                                    {"rope_theta", "500000.0", NUMBER, false}};

static const struct pair ouro[] = {{"model_type", "\"ouro\"", OTHER, false},
                                   {"hidden_act", "\"silu\"", OTHER, false},
                                   {"hidden_size", "64", COUNT, false},
                                   {"num_attention_heads", "4", COUNT, false},
                                   {"num_key_value_heads", "4", COUNT, false},
                                   {"head_dim", "16", COUNT, false},
                                   {"intermediate_size", "112", COUNT, false},
                                   {"vocab_size", "256", COUNT, false},
                                   {"num_hidden_layers", "3", COUNT, false},
                                   {"total_ut_steps", "4", COUNT, false},
                                   {"max_position_embeddings", "128", COUNT, false},
                                   {"rms_norm_eps", "1e-6", NUMBER, false},
                                   {"rope_theta", "1000000.0", NUMBER, false},
                                   {"tie_word_embeddings", "false", OTHER, false}};

static const struct pair retrofit[] = {{"model_type", "\"huginn_raven\"", OTHER, false},
                                       {"n_embd", "64", COUNT, false},
                                       {"n_heads", "4", COUNT, false},
                                       {"num_key_value_heads", "2", COUNT, false},
                                       {"head_dim", "16", COUNT, false},
                                       {"intermediate_size", "96", COUNT, false},
                                       {"vocab_size", "256", COUNT, false},
                                       {"n_layers_in_prelude", "2", OTHER, false}, /* may be none */
                                       {"n_layers_in_recurrent_block", "3", COUNT, false},
                                       {"n_layers_in_coda", "2", OTHER, false},
                                       {"mean_recurrence", "8", COUNT, false},
                                       {"block_size", "128", COUNT, false},
                                       {"norm_eps", "1e-5", NUMBER, false},
                                       {"init_values", "{\"embed_scale\": 1.0}", OTHER, true}, /* its key is required */
                                       {"rope_theta", "500000.0", NUMBER, true}}; /* without it the file is Huginn's */

static const struct {
    const char *name;
    const struct pair *pairs;
    size_t n;
} families[] = {{"llama", llama, sizeof llama / sizeof *llama},
                {"ouro", ouro, sizeof ouro / sizeof *ouro},
                {"retrofit-llama", retrofit, sizeof retrofit / sizeof *retrofit}};
enum { LLAMA, OURO, RETROFIT, N_FAMILIES };

/* A family's configuration with key's value replaced or added; NULL value removes the key, NULL key changes nothing. */
static enum mn_status parse_with(struct model_config *c, int family, const char *key, const char *value,
                                 const struct mn_log *log)
{
    char text[2048];
    size_t n = (size_t)snprintf(text, sizeof text, "{\"other\": 1");
    bool replaced = false;
    for (size_t i = 0; i < families[family].n; i++) {
        const struct pair *pair = &families[family].pairs[i];
        const bool same = key && !strcmp(key, pair->key);
        const char *v = same ? value : pair->value;
        replaced |= same;
        if (v)
            n += (size_t)snprintf(text + n, sizeof text - n, ", \"%s\": %s", pair->key, v);
    }
    if (key && value && !replaced)
        n += (size_t)snprintf(text + n, sizeof text - n, ", \"%s\": %s", key, value);
    n += (size_t)snprintf(text + n, sizeof text - n, "}");
    return config_parse(c, "m/config.json", text, n, NULL, NULL, 0, log);
}

static void refused(int family, const char *key, const char *value, enum mn_status expected, const char *log_key,
                    const char *why)
{
    struct capture capture = {0};
    const struct mn_log log = {capture_write, &capture};
    struct model_config c;
    char named[64];
    enum mn_status status = parse_with(&c, family, key, value, &log);
    if (status != expected)
        fail_msg("%s: %s = %s: %s, log \"%s\"", families[family].name, key, value ? value : "(removed)",
                 mn_status_name(status), capture.line);
    snprintf(named, sizeof named, "m/config.json: key '%s': value ", log_key);
    expect_log(&capture, named, why);
    assert_int_equal(c.n_embd, 0);
}

static void test_accepted(void **state)
{
    (void)state;
    struct model_config c;
    for (int f = 0; f < N_FAMILIES; f++) {
        assert_int_equal(parse_with(&c, f, NULL, NULL, NULL), MN_OK);
        assert_string_equal(c.family->name, families[f].name);
        assert_true(c.n_embd == 64 && c.n_heads == 4 && c.n_kv_heads == (f == OURO ? 4 : 2) && c.head_dim == 16);
        assert_true(c.vocab_size == 256 && c.padded_vocab_size == 256 && c.block_size == 128 && c.rotary_halves);
        assert_true(c.embed_scale == 1.0f && !c.tie_embeddings && !c.qk_bias && !c.heads_normed);
        assert_true(c.rope_scaling.factor == 0.0f);
        /* The rotary base is rope_theta, whatever else the file has. */
        assert_int_equal(parse_with(&c, f, "rope_base", "777.0", NULL), MN_OK);
        assert_true(c.rope_base == (f == OURO ? 1e6f : 5e5f));
    }
    assert_int_equal(parse_with(&c, LLAMA, NULL, NULL, NULL), MN_OK);
    assert_true(c.n_prelude == 0 && c.n_core == 4 && c.n_coda == 0 && c.mean_recurrence == 1 && c.max_recurrence == 1);
    assert_true(c.norm_eps == 1e-5f);
    assert_int_equal(parse_with(&c, OURO, NULL, NULL, NULL), MN_OK);
    assert_true(c.n_core == 3 && c.mean_recurrence == 4 && c.max_recurrence == 4 && c.norm_eps == 1e-6f);
    assert_int_equal(parse_with(&c, RETROFIT, NULL, NULL, NULL), MN_OK);
    assert_true(c.n_prelude == 2 && c.n_core == 3 && c.n_coda == 2 && c.mean_recurrence == 8 && !c.max_recurrence);
}

static void test_required(void **state)
{
    (void)state;
    for (int f = 0; f < N_FAMILIES; f++)
        for (size_t i = 0; i < families[f].n; i++) {
            const struct pair *pair = &families[f].pairs[i];
            if (!pair->optional)
                refused(f, pair->key, NULL, MN_ERR_FORMAT, pair->key, "(missing)");
            if (!pair->optional && pair->kind != OTHER)
                refused(f, pair->key, "null", MN_ERR_FORMAT, pair->key, "null");
            if (pair->kind == OTHER)
                continue;
            refused(f, pair->key, "0", MN_ERR_FORMAT, pair->key, "0: must be");
            refused(f, pair->key, "-4", MN_ERR_FORMAT, pair->key, "-4: must be");
            refused(f, pair->key, "NaN", MN_ERR_FORMAT, pair->key, "NaN: must be");
            refused(f, pair->key, "\"4\"", MN_ERR_FORMAT, pair->key, "\"4\": must be");
            refused(f, pair->key, "1e300", MN_ERR_FORMAT, pair->key, "1e300: must be");
            if (pair->kind == COUNT) {
                refused(f, pair->key, "4.5", MN_ERR_FORMAT, pair->key, "4.5: must be");
                refused(f, pair->key, "4294967297", MN_ERR_FORMAT, pair->key, "4294967297: must be"); /* 1 mod 2^32 */
            }
        }
    refused(RETROFIT, "init_values", NULL, MN_ERR_FORMAT, "embed_scale", "(missing)");
    refused(RETROFIT, "init_values", "{\"std\": 1}", MN_ERR_FORMAT, "embed_scale", "(missing)");
    refused(RETROFIT, "init_values", "{\"embed_scale\": 0}", MN_ERR_FORMAT, "embed_scale", "0: must be");
    refused(RETROFIT, "init_values", "{\"embed_scale\": 1e39}", MN_ERR_FORMAT, "embed_scale", "1e39: must be");
}

#define LLAMA3(factor, low, high, original) \
    "{\"rope_type\": \"llama3\", \"factor\": " factor ", \"low_freq_factor\": " low ", \"high_freq_factor\": " high \
    ", \"original_max_position_embeddings\": " original "}"

static void test_refused_everywhere(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
        enum mn_status status;
        const char *log_key, *why;
    } rows[] = {
        {"num_key_value_heads", "3", MN_ERR_FORMAT, "num_key_value_heads", "3: must divide"},
        {"num_key_value_heads", "8", MN_ERR_FORMAT, "num_key_value_heads", "8: must divide"},
        {"head_dim", "15", MN_ERR_FORMAT, "head_dim", "15: gives heads of 15, must be even"},
        {"head_dim", "258", MN_ERR_UNSUPPORTED, "head_dim", "258: gives heads of 258, at most 256"},
        {"rope_theta", "0.5", MN_ERR_FORMAT, "rope_theta", "0.5: must be"},
        {"rope_scaling", "{\"rope_type\": \"yarn\", \"factor\": 4.0}", MN_ERR_UNSUPPORTED, "rope_type",
         "\"yarn\": only llama3"},
        {"rope_scaling", "{\"type\": \"linear\", \"factor\": 4.0}", MN_ERR_UNSUPPORTED, "type",
         "\"linear\": only llama3"},
        {"rope_scaling", "{\"factor\": 4.0}", MN_ERR_FORMAT, "type", "(missing)"},
        {"rope_scaling", "{\"rope_type\": 3}", MN_ERR_FORMAT, "rope_type", "3: must be"},
        {"rope_scaling", "[4.0]", MN_ERR_FORMAT, "rope_scaling", "[...]: must be an object"},
        {"rope_scaling", "NaN", MN_ERR_FORMAT, "rope_scaling", "NaN: must be an object"},
        {"rope_scaling", LLAMA3("0.5", "1", "4", "64"), MN_ERR_FORMAT, "factor", "0.5: must be"},
        {"rope_scaling", LLAMA3("NaN", "1", "4", "64"), MN_ERR_FORMAT, "factor", "NaN: must be"},
        {"rope_scaling", LLAMA3("32", "0", "4", "64"), MN_ERR_FORMAT, "low_freq_factor", "0: must be"},
        {"rope_scaling", LLAMA3("32", "1", "\"4\"", "64"), MN_ERR_FORMAT, "high_freq_factor", "\"4\": must be"},
        {"rope_scaling", LLAMA3("32", "4", "4", "64"), MN_ERR_FORMAT, "high_freq_factor", "4: must be above"},
        {"rope_scaling", LLAMA3("32", "1", "1.00000000001", "64"), MN_ERR_FORMAT, "high_freq_factor",
         "1.00000000001: must be above"}, /* equal as float: t would be 0 / 0 */
        {"rope_scaling", LLAMA3("32", "1", "4", "0"), MN_ERR_FORMAT, "original_max_position_embeddings", "0: must be"},
        {"rope_scaling", LLAMA3("32", "1", "4", "64.5"), MN_ERR_FORMAT, "original_max_position_embeddings", "64.5:"},
        {"rope_scaling", "{\"rope_type\": \"llama3\", \"factor\": 32.0}", MN_ERR_FORMAT, "low_freq_factor",
         "(missing)"},
        {"partial_rotary_factor", "0.5", MN_ERR_UNSUPPORTED, "partial_rotary_factor", "0.5: only whole heads"},
        {"eos_token_id", "256", MN_ERR_FORMAT, "eos_token_id", "256:"},
        {"torch_dtype", "5", MN_ERR_FORMAT, "torch_dtype", "5:"},
    };
    for (int f = 0; f < N_FAMILIES; f++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            refused(f, rows[i].key, rows[i].value, rows[i].status, rows[i].log_key, rows[i].why);
}

static void test_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        int family;
        const char *key, *value;
        enum mn_status status;
        const char *why;
    } rows[] = {
        {LLAMA, "hidden_act", "\"gelu\"", MN_ERR_UNSUPPORTED, "\"gelu\": only silu"},
        {LLAMA, "attention_bias", "true", MN_ERR_UNSUPPORTED, "true:"},
        {LLAMA, "mlp_bias", "true", MN_ERR_UNSUPPORTED, "true:"},
        {LLAMA, "use_sliding_window", "true", MN_ERR_UNSUPPORTED, "true:"},
        {LLAMA, "attention_bias", "1", MN_ERR_FORMAT, "1: must be true or false"},
        {LLAMA, "tie_word_embeddings", "\"no\"", MN_ERR_FORMAT, "\"no\":"},
        {OURO, "hidden_act", "\"gelu\"", MN_ERR_UNSUPPORTED, "\"gelu\": only silu"},
        {OURO, "attention_bias", "true", MN_ERR_UNSUPPORTED, "true:"},
        {OURO, "mlp_bias", "true", MN_ERR_UNSUPPORTED, "true:"},
        {OURO, "use_sliding_window", "true", MN_ERR_UNSUPPORTED, "true: sliding windows"},
        {OURO, "layer_types", "[\"full_attention\", \"sliding_attention\"]", MN_ERR_UNSUPPORTED,
         "\"sliding_attention\": only full_attention"},
        {OURO, "layer_types", "[\"full_attention\", 1]", MN_ERR_UNSUPPORTED, "1: only full_attention"},
        {OURO, "layer_types", "\"sliding_attention\"", MN_ERR_FORMAT, "\"sliding_attention\": must be an array"},
        {OURO, "layer_types", "{\"0\": \"full_attention\"}", MN_ERR_FORMAT, "{...}: must be an array"},
        {OURO, "total_ut_steps", "4097", MN_ERR_FORMAT, "4097:"},
        {RETROFIT, "initial_state_mode", "\"learned\"", MN_ERR_UNSUPPORTED, "\"learned\": only random"},
        {RETROFIT, "test_time_noise", "0.1", MN_ERR_UNSUPPORTED, "0.1: noise"},
        {RETROFIT, "qk_bias", "true", MN_ERR_UNSUPPORTED, "true:"},
        {RETROFIT, "bias", "true", MN_ERR_UNSUPPORTED, "true:"},
        {RETROFIT, "nonlin_name", "\"GELU\"", MN_ERR_UNSUPPORTED, "\"GELU\": only SiLU"},
        {RETROFIT, "injection_type", "\"add\"", MN_ERR_UNSUPPORTED, "\"add\": only linear"},
        {RETROFIT, "n_layers_in_prelude", "-1", MN_ERR_FORMAT, "-1: must be"},
        {RETROFIT, "n_layers_in_coda", "257", MN_ERR_FORMAT, "257: must be"},
        {RETROFIT, "padded_vocab_size", "255", MN_ERR_FORMAT, "255: must be"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        refused(rows[i].family, rows[i].key, rows[i].value, rows[i].status, rows[i].key, rows[i].why);
    /* A retrofit without rope_theta is Huginn's file, and Huginn has no such heads. */
    refused(RETROFIT, "rope_theta", NULL, MN_ERR_UNSUPPORTED, "num_key_value_heads", "2: grouped");
}

/* What may be missing, and what the same value may be called. */
static void test_variants(void **state)
{
    (void)state;
    struct model_config c;
    static const struct {
        int family;
        const char *key, *value;
    } rows[] = {{LLAMA, "use_sliding_window", "false"},
                {LLAMA, "sliding_window", "null"},
                {LLAMA, "rope_scaling", "null"},
                {LLAMA, "rope_scaling", "{\"rope_type\": \"default\"}"},
                {LLAMA, "rope_scaling", "{\"type\": \"default\"}"},
                {LLAMA, "partial_rotary_factor", "1.0"},
                {OURO, "layer_types", "[\"full_attention\", \"full_attention\", \"full_attention\"]"},
                {OURO, "layer_types", "null"},
                {OURO, "use_sliding_window", "false"},
                {RETROFIT, "initial_state_mode", "\"zero\""},
                {RETROFIT, "initial_state_mode", "\"random\""},
                {RETROFIT, "test_time_noise", "0"},
                {RETROFIT, "n_layers_in_prelude", "0"},
                {RETROFIT, "n_layers_in_coda", "0"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(parse_with(&c, rows[i].family, rows[i].key, rows[i].value, NULL), MN_OK);
        assert_true(c.rope_scaling.factor == 0.0f);
    }
    /* Llama files leave out what follows from the rest; null is the same as nothing. */
    assert_int_equal(parse_with(&c, LLAMA, "num_key_value_heads", NULL, NULL), MN_OK);
    assert_int_equal(c.n_kv_heads, 4);
    assert_int_equal(parse_with(&c, LLAMA, "num_key_value_heads", "null", NULL), MN_OK);
    assert_int_equal(c.n_kv_heads, 4);
    assert_int_equal(parse_with(&c, LLAMA, "head_dim", "null", NULL), MN_OK);
    assert_int_equal(c.head_dim, 16);
    assert_int_equal(parse_with(&c, LLAMA, "head_dim", "32", NULL), MN_OK);
    assert_int_equal(c.head_dim, 32);
    assert_int_equal(parse_with(&c, LLAMA, "tie_word_embeddings", "true", NULL), MN_OK);
    assert_true(c.tie_embeddings);
    assert_int_equal(parse_with(&c, RETROFIT, "tie_embeddings", "true", NULL), MN_OK);
    assert_true(c.tie_embeddings);
    assert_int_equal(parse_with(&c, RETROFIT, "init_values", "{\"embed_scale\": 12.5}", NULL), MN_OK);
    assert_true(c.embed_scale == 12.5f);
}

/* Without a head_dim, or with null for it, the heads share hidden_size. */
static void test_llama_head_dim(void **state)
{
    (void)state;
    static const char *const given[] = {"", ", \"head_dim\": null"};
    for (int i = 0; i < 2; i++) {
        struct capture capture = {0};
        const struct mn_log log = {capture_write, &capture};
        struct model_config c;
        char text[512];
        snprintf(text, sizeof text,
                 "{\"model_type\": \"llama\", \"hidden_size\": 66, \"num_attention_heads\": 4, \"intermediate_size\": "
                 "96, \"vocab_size\": 256, \"num_hidden_layers\": 4, \"max_position_embeddings\": 128, \"rope_theta\": "
                 "1e4%s}",
                 given[i]);
        assert_int_equal(config_parse(&c, "m/config.json", text, strlen(text), NULL, NULL, 0, &log), MN_ERR_FORMAT);
        expect_log(&capture, "key 'hidden_size': value 66", "must be a multiple of num_attention_heads");
    }
}

static void test_ouro_stops(void **state)
{
    (void)state;
    static const struct {
        const char *eos;
        uint32_t n, last;
    } rows[] = {{"0", 2, 2}, {"[0]", 2, 2}, {"2", 1, 2}, {"[0, 7]", 2, 7}, {"5", 1, 5}};
    struct model_config c;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(parse_with(&c, OURO, "eos_token_id", rows[i].eos, NULL), MN_OK);
        assert_int_equal(c.n_eos, rows[i].n);
        assert_int_equal(c.eos_token_ids[c.n_eos - 1], rows[i].last);
    }
    assert_int_equal(parse_with(&c, LLAMA, "eos_token_id", "0", NULL), MN_OK);
    assert_int_equal(c.n_eos, 1);
}

/* ---- rotary frequencies ---- */

/* Llama 3, by the definition; *kind 0: stays, 1: in between, 2: stretched. */
static double expected_frequency(double base, uint32_t head_dim, uint32_t pair, double factor, double low, double high,
                                 double original, int *kind)
{
    const double pi = acos(-1.0), f = pow(base, -2.0 * pair / head_dim), wavelength = 2.0 * pi / f;
    *kind = wavelength < original / high ? 0 : wavelength > original / low ? 2 : 1;
    const double t = (original / wavelength - low) / (high - low);
    return *kind == 0 ? f : *kind == 2 ? f / factor : (1.0 - t) * f / factor + t * f;
}

static void test_rotary_frequency(void **state)
{
    (void)state;
    static const struct {
        uint32_t head_dim, original;
        const char *scaling;
        double factor, low, high;
    } rows[] = {{64, 8192, LLAMA3("32.0", "1.0", "4.0", "8192"), 32.0, 1.0, 4.0},
                {128, 8192, LLAMA3("8.0", "1.0", "4.0", "8192"), 8.0, 1.0, 4.0},
                {16, 64, LLAMA3("32.0", "1.0", "4.0", "64"), 32.0, 1.0, 4.0},
                {24, 1000, LLAMA3("3.5", "0.5", "7.0", "1000"), 3.5, 0.5, 7.0}};
    struct model_config c;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t n[3] = {0};
        assert_int_equal(parse_with(&c, LLAMA, "rope_scaling", rows[i].scaling, NULL), MN_OK);
        c.head_dim = rows[i].head_dim;
        for (uint32_t pair = 0; pair < c.head_dim / 2; pair++) {
            int kind;
            const double expected = expected_frequency(5e5, c.head_dim, pair, rows[i].factor, rows[i].low, rows[i].high,
                                                       rows[i].original, &kind);
            const double got = (double)rotary_frequency(&c, pair);
            if (!(fabs(got - expected) <= 2e-6 * expected))
                fail_msg("row %zu pair %u: %.9g, expected %.9g", i, pair, got, expected);
            n[kind]++;
        }
        assert_true(n[0] > 0 && n[1] > 0 && n[2] > 0); /* else a branch would go untested */
    }
    assert_int_equal(parse_with(&c, LLAMA, NULL, NULL, NULL), MN_OK);
    for (uint32_t pair = 0; pair < c.head_dim / 2; pair++) {
        const double expected = pow(5e5, -2.0 * pair / c.head_dim);
        assert_true(fabs((double)rotary_frequency(&c, pair) - expected) <= 1e-6 * expected);
    }
}

/* ---- folders: what tells retrofits apart are the tensors ---- */

static void test_golden_folders(void **state)
{
    (void)state;
    static const struct {
        const char *folder, *family;
        uint32_t n_embd, n_heads, n_kv_heads, head_dim, n_core, depth;
        float base;
    } rows[] = {{"retrofit-llama", "retrofit-llama", 64, 8, 2, 8, 3, 8, 5e5f},
                {"retrofit-olmo", "retrofit-olmo", 72, 3, 3, 24, 3, 8, 5e5f},
                {"ouro", "ouro", 64, 4, 4, 16, 3, 4, 1e6f},
                {"llama-fixed-depth", "llama", 64, 4, 2, 16, 4, 1, 5e5f},
                {"square", "huginn", 64, 4, 4, 16, 4, 8, 5e4f}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct capture capture = {0};
        const struct mn_log log = {capture_write, &capture};
        struct model_config c;
        char path[512];
        snprintf(path, sizeof path, "%s/tests/vectors/%s", MN_SOURCE_DIR, rows[i].folder);
        if (config_load(&c, path, &log) != MN_OK)
            fail_msg("%s", capture.line);
        assert_string_equal(c.family->name, rows[i].family);
        assert_true(c.n_embd == rows[i].n_embd && c.n_heads == rows[i].n_heads && c.n_kv_heads == rows[i].n_kv_heads);
        assert_true(c.head_dim == rows[i].head_dim && c.n_core == rows[i].n_core && c.rope_base == rows[i].base);
        assert_true(c.mean_recurrence == rows[i].depth || i == 4);
        assert_true(c.heads_normed == (i == 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),           cmocka_unit_test(test_required),
        cmocka_unit_test(test_refused_everywhere), cmocka_unit_test(test_refused_by_name),
        cmocka_unit_test(test_variants),           cmocka_unit_test(test_llama_head_dim),
        cmocka_unit_test(test_ouro_stops),         cmocka_unit_test(test_rotary_frequency),
        cmocka_unit_test(test_golden_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
