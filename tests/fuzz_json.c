/* Goal: no input makes the strict JSON layer crash, leak, or accept what it must refuse.
 * Method: libFuzzer target. Input is parsed as one document under a 64 KiB cap; accepted trees are walked with every
 * getter, and every string of an accepted tree must survive json_write_string and a second parse byte for byte.
 * An accepted tree is printed, parsed and printed again: the same bytes. What the strict parser takes, the one for
 * files of other programs takes as well.
 * The raw input, valid UTF-8 or not, must also come out of json_write_string as one valid JSON document.
 * Runs under gcc too, by fuzz_replay.c.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/files/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CAP_BYTES = 65536 };

static void require(bool condition)
{
    if (!condition)
        abort(); /* what libFuzzer reports as a crash, with or without NDEBUG */
}

/* Writes bytes as a JSON string and parses that again. */
static void round_trip(const char *bytes, size_t n_bytes, bool expect_equal)
{
    char *text = NULL;
    size_t n_text = 0;
    FILE *stream = open_memstream(&text, &n_text);
    require(stream != NULL);
    json_write_string(stream, bytes, n_bytes);
    require(fclose(stream) == 0);

    struct json_doc doc;
    /* A zero byte is written as \u0000, which the reader refuses by design. */
    enum mn_status expected = memchr(bytes, 0, n_bytes) ? MN_ERR_FORMAT : MN_OK;
    require(json_parse(&doc, "again", text, n_text, n_text, NULL) == expected);
    if (expected == MN_OK) {
        require(cJSON_IsString(doc.root));
        if (expect_equal)
            require(strcmp(doc.root->valuestring, bytes) == 0);
    }
    json_destroy(&doc);
    free(text);
}

static void walk(const struct json_doc *doc, const struct cJSON *node)
{
    const struct cJSON *child;
    if (cJSON_IsString(node))
        round_trip(node->valuestring, strlen(node->valuestring), true);
    if (!cJSON_IsObject(node) && !cJSON_IsArray(node))
        return;
    cJSON_ArrayForEach (child, node) {
        if (cJSON_IsObject(node)) {
            uint32_t u32;
            uint64_t u64;
            double number;
            bool flag;
            const char *string;
            round_trip(child->string, strlen(child->string), true);
            require(json_find(node, child->string) == child); /* fails when a key is there twice */
            if (json_get_u32(doc, node, child->string, 3, 1000, &u32) == MN_OK)
                require(u32 >= 3 && u32 <= 1000);
            if (json_get_u64(doc, node, child->string, 0, JSON_INTEGER_MAX, &u64) == MN_OK)
                require(u64 <= JSON_INTEGER_MAX && (double)u64 == child->valuedouble);
            if (json_get_double(doc, node, child->string, -1, 1, &number) == MN_OK)
                require(number >= -1 && number <= 1);
            if (json_get_bool_or(doc, node, child->string, false, &flag) == MN_OK)
                require(cJSON_IsBool(child) || (cJSON_IsNull(child) && !flag));
            if (json_get_string(doc, node, child->string, 8, &string) == MN_OK)
                require(strlen(string) <= 8);
        }
        walk(doc, child);
    }
}

/* What is written from a tree is that tree, to the last digit: a second time it is written the same. */
static void print_again(const struct json_doc *doc)
{
    struct json_doc again;
    char *text = json_print(doc->root), *name = json_print_name(doc->root);
    require(text && name);
    require(json_parse(&again, "again", text, strlen(text), SIZE_MAX, NULL) == MN_OK);
    char *text_again = json_print(again.root), *name_again = json_print_name(again.root);
    require(text_again && name_again && !strcmp(text, text_again) && !strcmp(name, name_again));
    json_destroy(&again);
    free(text);
    free(name);
    free(text_again);
    free(name_again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_doc doc;
    enum mn_status status = json_parse(&doc, "input", data, size, CAP_BYTES, NULL);
    require(status == MN_OK || status == MN_ERR_FORMAT);
    if (status == MN_OK) {
        require(size <= CAP_BYTES);
        walk(&doc, doc.root);
        print_again(&doc);
    } else {
        require(doc.root == NULL);
    }
    json_destroy(&doc);
    const bool strict = status == MN_OK;
    status = json_parse_foreign(&doc, "input", data, size, CAP_BYTES, NULL);
    require(status == MN_OK || (status == MN_ERR_FORMAT && !strict));
    if (status == MN_OK)
        print_again(&doc);
    json_destroy(&doc);
    round_trip((const char *)data, size, false);
    return 0;
}
