/* Keys that are absent mean what transformers takes for them. */
#include "io/weights/config_json.h"

#include "io/files/json_text.h"
#include "io/jobs/job_schema.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { END_OF_TEXT = 50256 };

static json_t *end_of_text(const gpt2_config *c)
{
    return c->vocab_size > END_OF_TEXT ? json_integer(END_OF_TEXT) : json_null();
}

char *config_json_make(const gpt2_config *c)
{
    json_t *o = json_pack(
        "{ss s[s] sI sI sI sI sI sI ss sf sf sf sf sb so so ss sb}", "model_type", "gpt2",
        "architectures", "GPT2LMHeadModel", "n_layer", (json_int_t)c->n_layer, "n_head",
        (json_int_t)c->n_head, "n_embd", (json_int_t)c->n_embd, "n_positions",
        (json_int_t)c->block_size, "n_ctx", (json_int_t)c->block_size, "vocab_size",
        (json_int_t)c->vocab_size, "activation_function", "gelu_new", "layer_norm_epsilon", 1e-5,
        "resid_pdrop", c->dropout, "embd_pdrop", c->dropout, "attn_pdrop", c->dropout,
        "tie_word_embeddings", 1, "bos_token_id", end_of_text(c), "eos_token_id", end_of_text(c),
        "torch_dtype", "float32", "bias", c->bias);
    return json_text_make(o, JSON_REAL_PRECISION(6));
}

char *config_json_make_generation(const gpt2_config *c)
{
    return json_text_make(json_pack("{sb so so}", "_from_model_config", 1, "bos_token_id",
                                    end_of_text(c), "eos_token_id", end_of_text(c)),
                          0);
}

/* "PATH: 'KEY' is VALUE, EXPECTED expected". */
static status refuse(const char *path, const char *key, json_t *found, const char *expected)
{
    char *text = found ? json_dumps(found, JSON_ENCODE_ANY) : NULL;
    status result =
        found ? fail(STATUS_INPUT, "%s: '%s' is %.200s, %s expected", path, key, text, expected)
              : fail(STATUS_INPUT, "%s: '%s' expected, not found", path, key);
    free(text);
    return result;
}

static status read_size(size_t *size, json_t *root, const char *path, const char *key,
                        const char *job_key)
{
    const schema_row *row = schema_find(job_key);
    json_t *value = json_object_get(root, key);
    double number = json_is_integer(value) ? (double)json_integer_value(value) : -1.0;
    char expected[80];
    snprintf(expected, sizeof expected, "%.0f to %.0f", row->min, row->max);
    if (number < row->min || number > row->max) return refuse(path, key, value, expected);
    *size = (size_t)number;
    return STATUS_OK;
}

/* A number, with transformers' default where it is absent. */
static status check_number(json_t *root, const char *path, const char *key, double expected)
{
    json_t *value = json_object_get(root, key);
    char text[40];
    if (!value || fabs(json_number_value(value) - expected) <= 1e-6 * expected) return STATUS_OK;
    snprintf(text, sizeof text, "%g", expected);
    return refuse(path, key, value, text);
}

static status check_bool(json_t *root, const char *path, const char *key, bool expected)
{
    json_t *value = json_object_get(root, key);
    if (!value || json_is_true(value) == expected) return STATUS_OK;
    return refuse(path, key, value, expected ? "true" : "false");
}

static status check_text(json_t *root, const char *path, const char *key, const char *either,
                         const char *other)
{
    json_t *value = json_object_get(root, key);
    const char *text = json_string_value(value);
    char expected[80];
    snprintf(expected, sizeof expected, "\"%s\"", either);
    if (!value || (text && (strcmp(text, either) == 0 || strcmp(text, other) == 0)))
        return STATUS_OK;
    return refuse(path, key, value, expected);
}

static status check_computation(json_t *root, const char *path, const gpt2_config *c)
{
    json_t *inner = json_object_get(root, "n_inner");
    status result = check_text(root, path, "activation_function", "gelu_new", "gelu_pytorch_tanh");
    if (!result) result = check_number(root, path, "layer_norm_epsilon", 1e-5);
    if (!result && inner && !json_is_null(inner))
        result = check_number(root, path, "n_inner", 4.0 * (double)c->n_embd);
    if (!result) result = check_bool(root, path, "tie_word_embeddings", true);
    if (!result) result = check_bool(root, path, "scale_attn_weights", true);
    if (!result) result = check_bool(root, path, "scale_attn_by_inverse_layer_idx", false);
    if (!result) result = check_bool(root, path, "add_cross_attention", false);
    if (!result && c->n_embd % c->n_head)
        result = fail(STATUS_INPUT, "%s: 'n_embd' is %zu, a multiple of n_head (%zu) expected",
                      path, c->n_embd, c->n_head);
    return result;
}

static status read_config(gpt2_config *c, json_t *root, const char *path)
{
    json_t *type = json_object_get(root, "model_type");
    if (!json_is_string(type) || strcmp(json_string_value(type), "gpt2") != 0)
        return refuse(path, "model_type", type, "\"gpt2\"");
    status result = read_size(&c->n_layer, root, path, "n_layer", "model.n_layer");
    if (!result) result = read_size(&c->n_head, root, path, "n_head", "model.n_head");
    if (!result) result = read_size(&c->n_embd, root, path, "n_embd", "model.n_embd");
    if (!result) result = read_size(&c->block_size, root, path, "n_positions", "model.block_size");
    if (!result) result = read_size(&c->vocab_size, root, path, "vocab_size", "model.vocab_size");
    c->bias = !json_is_false(json_object_get(root, "bias"));
    return result ? result : check_computation(root, path, c);
}

status config_json_read(gpt2_config *c, const char *path)
{
    json_t *root;
    *c = (gpt2_config){0};
    status result = json_text_read_object(&root, path, 0);
    if (!result) result = read_config(c, root, path);
    json_decref(root);
    return result;
}
