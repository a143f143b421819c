/* The program's tensors as the logical parameter vector. */
#include "base/memory.h"
#include "library/optimizer.h"
#include "runtime/agree.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

_Static_assert((int)VARIO_DIMENSIONS == (int)PARAMETER_DIMENSIONS &&
                   (int)VARIO_NAME == (int)sizeof((tensor *)0)->name,
               "tensors are those of base");

/* Names stand in JSON as they are. */
static status check_name(const vario_tensor *tensors, size_t i)
{
    const char *name = tensors[i].name;
    if (!name || !*name || strlen(name) >= VARIO_NAME)
        return fail(STATUS_INPUT,
                    "vario_create: tensor %zu: a name of 1 to %d bytes expected, '%.100s' found", i,
                    VARIO_NAME - 1, name ? name : "");
    for (const char *c = name; *c; c++)
        if (*c < ' ' || *c > '~' || *c == '"' || *c == '\\')
            return fail(STATUS_INPUT,
                        "vario_create: tensor %zu: byte %u found in its name, printable ASCII "
                        "without \" and \\ expected",
                        i, (unsigned char)*c);
    for (size_t k = 0; k < i; k++)
        if (strcmp(tensors[k].name, name) == 0)
            return fail(STATUS_INPUT,
                        "vario_create: tensors %zu and %zu are both called '%s', names of their "
                        "own expected",
                        k, i, name);
    return STATUS_OK;
}

static status check_shape(const vario_tensor *x, size_t i)
{
    size_t count = 1;
    if (x->dimensions < 1 || x->dimensions > VARIO_DIMENSIONS)
        return fail(STATUS_INPUT,
                    "vario_create: tensor %zu ('%s'): %d dimensions found, 1 to %d expected", i,
                    x->name, x->dimensions, VARIO_DIMENSIONS);
    for (int d = 0; d < x->dimensions; d++)
        if (x->shape[d] == 0 || !memory_product(&count, count, x->shape[d]) || count > INT_MAX)
            return fail(STATUS_INPUT,
                        "vario_create: tensor %zu ('%s'): from 1 to 2^31 - 1 elements expected, "
                        "shape[%d] is %zu",
                        i, x->name, d, x->shape[d]);
    return STATUS_OK;
}

static status add_tensor(parameters *p, const vario_tensor *tensors, size_t i)
{
    const vario_tensor *x = &tensors[i];
    size_t before = i ? tensors[i - 1].unit : 0;
    status result = check_name(tensors, i);
    if (!result) result = check_shape(x, i);
    if (!result && x->unit != before && (i == 0 || x->unit != before + 1))
        result =
            fail(STATUS_INPUT, "vario_create: tensor %zu ('%s'): unit %zu found, %zu%s expected", i,
                 x->name, x->unit, before, i ? " or the next" : "");
    if (result) return result;
    tensor t = {.unit = x->unit, .dimensions = x->dimensions, .decayed = x->decayed != 0};
    snprintf(t.name, sizeof t.name, "%s", x->name);
    memcpy(t.shape, x->shape, sizeof t.shape);
    parameters_append(p, &t);
    return STATUS_OK;
}

status library_parameters(parameters *p, const vario_tensor *tensors, size_t count)
{
    if (!tensors || count == 0)
        return fail(STATUS_INPUT, "vario_create: at least one tensor expected, none found");
    size_t units = tensors[count - 1].unit < count ? tensors[count - 1].unit + 1 : count;
    status result = parameters_open(p, units, count);
    if (result) return result;
    for (size_t i = 0; !result && i < count; i++)
        result = tensors[i].unit < units
                     ? add_tensor(p, tensors, i)
                     : fail(STATUS_INPUT,
                            "vario_create: tensor %zu: unit %zu found, at most %zu "
                            "expected",
                            i, tensors[i].unit, units - 1);
    if (result) parameters_close(p);
    return result;
}

status library_values(const parameters *p, float *const *values, const char *call)
{
    if (!values)
        return fail(STATUS_INPUT, "%s: pointers to %zu tensors expected, NULL found", call,
                    p->tensor_count);
    for (size_t i = 0; i < p->tensor_count; i++)
        if (!values[i])
            return fail(STATUS_INPUT, "%s: tensor %zu ('%s'): a pointer expected, NULL found", call,
                        i, p->tensors[i].name);
    return STATUS_OK;
}

static status check_finite(const parameters *p, float *const *values)
{
    for (size_t i = 0; i < p->tensor_count; i++)
        for (size_t e = 0; e < p->tensors[i].count; e++)
            if (!isfinite(values[i][e]))
                return fail(STATUS_INPUT,
                            "vario_create: tensor %zu ('%s'): element %zu is %g, a finite number "
                            "expected",
                            i, p->tensors[i].name, e, (double)values[i][e]);
    return STATUS_OK;
}

static uint64_t hash_of(const parameters *p, float *const *values, size_t first, size_t end)
{
    uint64_t sum = 0;
    for (size_t i = first; i < end; i++)
        sum = XXH3_64bits_withSeed(values[i], p->tensors[i].count * sizeof(float), sum);
    return sum;
}

/* One hash where all is well; else the tensor is looked for. */
status library_agree_weights(const vario_optimizer *v, float *const *values)
{
    const parameters *p = &v->r.p;
    size_t n = p->tensor_count;
    status result = agree(v->c.world, check_finite(p, values));
    if (result || !library_differ(v, hash_of(p, values, 0, n))) return result;
    for (size_t i = 0; i < n; i++)
        if (library_differ(v, hash_of(p, values, i, i + 1)))
            return fail(STATUS_INPUT,
                        "vario_create: ranks differ in the weights of tensor %zu ('%s'), the same "
                        "expected",
                        i, p->tensors[i].name);
    return fail(STATUS_INPUT, "vario_create: ranks differ in the weights, the same expected");
}
