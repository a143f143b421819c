/* A program's settings, with the defaults and ranges that job files have for their keys
 * (tests/test_library_settings.c compares them with the schema). */
#include "base/number.h"
#include "library/optimizer.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

_Static_assert((int)VARIO_IVON == (int)OPTIMIZER_IVON && (int)VARIO_ADAMW == (int)OPTIMIZER_ADAMW &&
                   (int)VARIO_PRICE == (int)HESSIAN_PRICE &&
                   (int)VARIO_GRADSQ == (int)HESSIAN_GRADSQ &&
                   (int)VARIO_CLIP_MICROBATCH == (int)SCOPE_MICROBATCH &&
                   (int)VARIO_CLIP_STEP == (int)SCOPE_STEP &&
                   (int)VARIO_SHARD_NONE == (int)SHARD_NONE &&
                   (int)VARIO_SHARD_OPTIMIZER == (int)SHARD_OPTIMIZER &&
                   (int)VARIO_SHARD_GRADIENTS == (int)SHARD_GRADIENTS &&
                   (int)VARIO_FP32 == (int)DTYPE_F32 && (int)VARIO_BF16 == (int)DTYPE_BF16,
               "the words of settings are those of the runtime");

typedef struct {
    const char *name;
    size_t given, kept; /* where it stands in a program's settings and in the runtime's */
    double standard, standard_adamw;
    number_range range;
} number_setting;

#define NUMBER(name, member)                                                                       \
#name, offsetof(vario_settings, name), offsetof(runtime_settings, member)

static const number_setting numbers[] = {
    {NUMBER(ess, optimizer.ess), 1e10, 1e10, {0.0, 1e30, ENDS_OPEN_MIN}},
    {NUMBER(hessian_init, optimizer.hessian_init), 1e-3, 1e-3, {1e-30, 1e30, ENDS_CLOSED}},
    {NUMBER(beta1, optimizer.beta1), 0.9, 0.9, {0.0, 1.0, ENDS_OPEN_MAX}},
    {NUMBER(beta2, optimizer.beta2), 0.99999, 0.95, {0.0, 1.0, ENDS_OPEN}},
    {NUMBER(weight_decay, optimizer.weight_decay), 1e-6, 0.1, {0.0, 1e30, ENDS_CLOSED}},
    {NUMBER(epsilon, optimizer.epsilon), 1e-8, 1e-8, {0.0, 1.0, ENDS_OPEN_MIN}},
    {NUMBER(clip_norm, clip.norm), INFINITY, INFINITY, {0.0, INFINITY, ENDS_OPEN_MIN}},
    {NUMBER(clip_update, clip.update), INFINITY, INFINITY, {0.0, INFINITY, ENDS_OPEN_MIN}},
};
enum { NUMBERS = sizeof numbers / sizeof numbers[0], RANGE_TEXT = 120 };

static const number_range rates = {0.0, 1e30, ENDS_CLOSED};

static void set_defaults(vario_settings *settings, int kind)
{
    *settings = (vario_settings){.seed = 1337,
                                 .optimizer = kind,
                                 .clip_scope = VARIO_CLIP_MICROBATCH,
                                 .hessian = VARIO_PRICE,
                                 .rescale_lr = 1,
                                 .debias = 1,
                                 .shard = VARIO_SHARD_GRADIENTS,
                                 .wire = VARIO_FP32};
    for (const number_setting *n = numbers; n < numbers + NUMBERS; n++)
        *(double *)((char *)settings + n->given) =
            kind == VARIO_ADAMW ? n->standard_adamw : n->standard;
}

static void give_defaults(vario_settings *settings, int kind, const char *call)
{
    library_begin();
    if (settings) set_defaults(settings, kind);
    library_end(settings ? STATUS_OK
                         : fail(STATUS_INPUT, "%s: settings to set expected, NULL found", call));
}

void vario_defaults(vario_settings *settings)
{
    give_defaults(settings, VARIO_IVON, "vario_defaults");
}

void vario_defaults_adamw(vario_settings *settings)
{
    give_defaults(settings, VARIO_ADAMW, "vario_defaults_adamw");
}

static status set_number(runtime_settings *s, const number_setting *n, const vario_settings *given)
{
    char text[NUMBER_TEXT], expected[RANGE_TEXT];
    const double value = *(const double *)((const char *)given + n->given);
    *(double *)((char *)s + n->kept) = value + 0.0; /* -0 is 0 */
    if (number_fits(&n->range, value)) return STATUS_OK;
    if (value > 0.0 && isinf(value))
        snprintf(text, sizeof text, ".inf");
    else
        snprintf(text, sizeof text, "%.17g", value);
    number_describe_range(&n->range, "a number", expected, sizeof expected);
    return fail(STATUS_INPUT, "vario_settings.%s: %s found, %s expected", n->name, text, expected);
}

static status check_word(const char *name, int value, int max)
{
    if (value >= 0 && value <= max) return STATUS_OK;
    return fail(STATUS_INPUT, "vario_settings.%s: %d found, one of 0 to %d expected", name, value,
                max);
}

static status set_words(runtime_settings *s, const vario_settings *given)
{
    status result = check_word("clip_scope", given->clip_scope, VARIO_CLIP_STEP);
    if (!result) result = check_word("hessian", given->hessian, VARIO_GRADSQ);
    if (!result) result = check_word("rescale_lr", given->rescale_lr, 1);
    if (!result) result = check_word("debias", given->debias, 1);
    if (!result) result = check_word("nesterov", given->nesterov, 1);
    if (!result) result = check_word("shard", given->shard, VARIO_SHARD_GRADIENTS);
    if (!result) result = check_word("wire", given->wire, VARIO_BF16);
    s->clip.scope = (clip_scope)given->clip_scope;
    s->optimizer.hessian = (hessian_kind)given->hessian;
    s->optimizer.rescale_lr = given->rescale_lr;
    s->optimizer.debias = given->debias;
    s->optimizer.nesterov = given->nesterov;
    s->shard = (shard_stage)given->shard;
    s->wire = (dtype)given->wire;
    return result;
}

static status check_reserved(const vario_settings *s)
{
    for (size_t i = 0; i < sizeof s->reserved / sizeof s->reserved[0]; i++)
        if (s->reserved[i])
            return fail(STATUS_INPUT,
                        "vario_settings.reserved: %" PRIu64 " found, 0 expected: begin with "
                        "vario_defaults",
                        s->reserved[i]);
    return STATUS_OK;
}

status library_settings(runtime_settings *s, const vario_settings *settings, size_t ranks)
{
    vario_settings given;
    set_defaults(&given, VARIO_IVON);
    if (settings) given = *settings;
    memset(s, 0, sizeof *s);
    status result = check_reserved(&given);
    if (!result) result = check_word("optimizer", given.optimizer, VARIO_ADAMW);
    if (result) return result;
    s->seed = given.seed;
    s->optimizer.kind = (optimizer_kind)given.optimizer;
    s->optimizer.mc_samples = 1;
    s->row = optimizer_row(s->optimizer.kind);
    s->microbatches = given.items ? given.items : ranks;
    s->parts = 1;
    for (size_t i = 0; !result && i < NUMBERS; i++) result = set_number(s, &numbers[i], &given);
    if (!result) result = set_words(s, &given);
    if (!result && s->microbatches > UINT32_MAX)
        result = fail(STATUS_INPUT, "vario_settings.items: %" PRIu64 " found, below 2^32 expected",
                      given.items);
    if (!result) settings_decide(s);
    return result;
}

/* In range, and finite in the update, which is made in fp32. */
status library_rate(const runtime_settings *s, double lr)
{
    char expected[RANGE_TEXT];
    const double scale = optimizer_rate_scale(s->row, &s->optimizer);
    if (!number_fits(&rates, lr)) {
        number_describe_range(&rates, "a number", expected, sizeof expected);
        return fail(STATUS_INPUT, "vario_step: learning rate %g found, %s expected", lr, expected);
    }
    if (lr * scale <= (double)FLT_MAX) return STATUS_OK;
    return fail(STATUS_INPUT,
                "vario_step: learning rate %g found, times %g in the update: a product of at most "
                "%.2g expected",
                lr, scale, (double)FLT_MAX);
}
