/* Texts, targets and planted mistakes; the kinds themselves are in files of their own. */
#include "io/examples/examples.h"

#include "io/examples/examples_kinds.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TAKES_CLASSES = 1, TAKES_VALUES = 2, TAKES_FEATURES = 4, IS_RANGE = 8 };

typedef struct {
    const char *name, *where;
    unsigned traits;
    status (*open)(examples *x, const char *where);
} examples_kind;

static const examples_kind kinds[] = {
    {"glyphs", "FIRST-LAST", TAKES_CLASSES | IS_RANGE, glyphs_open},
    {"letters", "FIRST-LAST", TAKES_CLASSES | IS_RANGE, letters_open},
    {"curve", "FIRST-LAST", TAKES_VALUES | TAKES_FEATURES | IS_RANGE, curve_open},
    {"moons", "FIRST-LAST", TAKES_CLASSES | IS_RANGE, moons_open},
    {"idx", "IMAGES,LABELS", TAKES_CLASSES, idx_open},
    {"cifar", "PATTERN", TAKES_CLASSES, cifar_open},
    {"csv", "FILE", TAKES_CLASSES | TAKES_VALUES, csv_open},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* Both ends included. */
typedef struct {
    uint64_t first, last;
    bool some; /* else all stay */
} class_range;

static status find_kind(const examples_kind **kind, const char *text)
{
    char forms[256] = "";
    for (size_t k = 0, used = 0; k < KINDS; k++) {
        size_t length = strlen(kinds[k].name);
        *kind = &kinds[k];
        if (strncmp(text, kinds[k].name, length) == 0 && text[length] == ':') return STATUS_OK;
        used += (size_t)snprintf(forms + used, sizeof forms - used, "%s%s:%s", k ? ", " : "",
                                 kinds[k].name, kinds[k].where);
    }
    return fail(STATUS_INPUT, "%s: a data set expected, one of %s", text, forms);
}

static bool read_number(uint64_t *number, const char **at)
{
    char *end;
    if (!isdigit((unsigned char)**at)) return false;
    errno = 0;
    *number = strtoull(*at, &end, 10);
    *at = end;
    return errno == 0 && *number <= UINT32_MAX;
}

static bool read_pair(uint64_t *first, uint64_t *last, const char **at)
{
    return read_number(first, at) && *(*at)++ == '-' && read_number(last, at);
}

/* FIRST-LAST, and the classes that stay where some are wanted. */
static status read_range(examples *x, const char *where, bool has_classes, class_range *wanted)
{
    uint64_t last;
    bool whole = read_pair(&x->first, &last, &where);
    wanted->some = whole && has_classes && *where == '/';
    if (!whole || (*where && !wanted->some))
        return fail(STATUS_INPUT, "%s: FIRST-LAST expected, whole numbers from 0 to %u", x->text,
                    UINT32_MAX);
    if (wanted->some && (where++, !read_pair(&wanted->first, &wanted->last, &where) || *where))
        return fail(STATUS_INPUT, "%s: FIRST-LAST/CLASS-CLASS expected, whole numbers", x->text);
    if (last < x->first)
        return fail(STATUS_INPUT, "%s: the last example comes before the first", x->text);
    x->count = last - x->first + 1;
    return STATUS_OK;
}

static uint64_t number_of(const examples *x, uint64_t i)
{
    return x->kept ? x->kept[i] : x->first + i;
}

/* Keep the examples of the wanted classes, in their order. */
static status keep_classes(examples *x, const class_range *wanted)
{
    uint64_t kept = 0;
    if (!wanted->some) return STATUS_OK;
    x->kept = calloc(x->count, sizeof *x->kept);
    if (!x->kept) return fail(STATUS_NOMEM, "%s: memory to choose examples", x->text);
    for (uint64_t i = 0; i < x->count; i++) {
        uint16_t label = 0;
        x->row(x, x->first + i, NULL, &label, NULL);
        if (label >= wanted->first && label <= wanted->last) x->kept[kept++] = x->first + i;
    }
    if (kept == 0)
        return fail(STATUS_INPUT, "%s: no example of these classes found, at least one expected",
                    x->text);
    x->count = kept;
    return STATUS_OK;
}

static status check_wishes(const examples_spec *spec, const examples_kind *kind, bool values)
{
    const char *text = spec->text;
    if (values && !(kind->traits & TAKES_VALUES))
        return fail(STATUS_INPUT, "%s: targets are classes, real values expected", text);
    if (!values && !(kind->traits & TAKES_CLASSES))
        return fail(STATUS_INPUT, "%s: targets are real values, classes expected", text);
    if (spec->features && !(kind->traits & TAKES_FEATURES))
        return fail(STATUS_INPUT, "%s: %zu features asked for, which only curve has", text,
                    spec->features);
    if (!(spec->mislabelled >= 0 && spec->mislabelled < 1))
        return fail(STATUS_INPUT, "%s: mislabelled share %g found, from 0 to below 1 expected",
                    text, spec->mislabelled);
    if (values && spec->mislabelled > 0)
        return fail(STATUS_INPUT, "%s: mislabelled rows asked for, but targets are real values",
                    text);
    return STATUS_OK;
}

/* What the kind has found, against what the model has. */
static status settle_outputs(examples *x, const examples_spec *spec)
{
    size_t wanted = spec->outputs;
    if (wanted && (x->classes ? x->outputs > wanted : x->outputs != wanted))
        return fail(STATUS_INPUT, "%s: %zu %s found, %s%zu expected", x->text, x->outputs,
                    x->classes ? "classes" : "values a row", x->classes ? "at most " : "", wanted);
    if (wanted) x->outputs = wanted;
    if (x->mislabelled > 0 && x->outputs < 2)
        return fail(STATUS_INPUT, "%s: mislabelled rows asked for, but there is one class only",
                    x->text);
    return STATUS_OK;
}

static status open_kind(examples *x, const examples_spec *spec, bool values)
{
    const examples_kind *kind;
    class_range wanted = {.some = false};
    status result = find_kind(&kind, spec->text);
    if (!result) result = check_wishes(spec, kind, values);
    if (result) return result;
    const char *where = spec->text + strlen(kind->name) + 1;
    if (kind->traits & IS_RANGE)
        result = read_range(x, where, kind->traits & TAKES_CLASSES, &wanted);
    if (!result) result = kind->open(x, where);
    if (!result) result = keep_classes(x, &wanted);
    if (!result) result = settle_outputs(x, spec);
    return result;
}

status examples_open(examples **out, const examples_spec *spec, bool values)
{
    *out = NULL;
    examples *x = calloc(1, sizeof *x);
    char *text = strdup(spec->text);
    if (!x || !text) {
        free(x);
        free(text);
        return fail(STATUS_NOMEM, "memory for a data set");
    }
    bool few_classes = spec->outputs && spec->outputs < EXAMPLES_CLASSES;
    *x = (examples){.text = text,
                    .seed = spec->seed,
                    .features = spec->features,
                    .limit = few_classes ? spec->outputs : EXAMPLES_CLASSES,
                    .classes = !values,
                    .mislabelled = spec->mislabelled};
    status result = open_kind(x, spec, values);
    if (result) examples_close(&x);
    *out = x;
    return result;
}

void examples_close(examples **out)
{
    examples *x = *out;
    if (!x) return;
    if (x->close) x->close(x);
    free(x->kept);
    free(x->text);
    free(x);
    *out = NULL;
}

uint64_t examples_count(const examples *x)
{
    return x->count;
}

size_t examples_inputs(const examples *x)
{
    return x->inputs;
}

size_t examples_outputs(const examples *x)
{
    return x->outputs;
}

bool examples_classes(const examples *x)
{
    return x->classes;
}

/* How many classes on the wrong one is: 0 for a row that keeps its own. */
static unsigned wrong_by(const examples *x, uint64_t number)
{
    uint32_t words[4];
    if (x->mislabelled <= 0) return 0;
    noise_uniform_words(words, draw_key(x->seed, GENERATED_MISTAKES, number), 0, 4);
    if ((double)words[0] * 0x1p-32 >= x->mislabelled) return 0;
    return 1 + draw_below(words[1], x->outputs - 1);
}

bool examples_mislabelled(const examples *x, uint64_t i)
{
    return wrong_by(x, number_of(x, i)) != 0;
}

status examples_row(const examples *x, uint64_t i, float *inputs, uint16_t *label, float *values)
{
    if (i >= x->count)
        return fail(STATUS_INPUT, "%s: row %llu asked for, a row below %llu expected", x->text,
                    (unsigned long long)i, (unsigned long long)x->count);
    uint64_t number = number_of(x, i);
    uint16_t own;
    float value;
    x->row(x, number, inputs, &own, &value);
    if (x->classes && label) *label = (uint16_t)((own + wrong_by(x, number)) % x->outputs);
    if (!x->classes && values) *values = value;
    return STATUS_OK;
}
