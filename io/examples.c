/* The moons and a curve, until there are more. */
#include "io/examples.h"

#include "kernels/noise.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CURVE_KEY = 2, MOONS_KEY = 3, MISLABELLED_KEY = 4 };

struct examples {
    uint64_t seed, first, count;
    size_t outputs;
    double mislabelled;
    bool curve;
};

status examples_open(examples **x, const examples_spec *spec, bool values)
{
    uint64_t first, last;
    char name[8], end;
    *x = NULL;
    int found = sscanf(spec->text, "%5[a-z]:%" SCNu64 "-%" SCNu64 "%c", name, &first, &last, &end);
    bool curve = found == 3 && strcmp(name, "curve") == 0;
    if (found != 3 || (!curve && strcmp(name, "moons") != 0) || last < first)
        return fail(STATUS_INPUT, "%s: moons:FIRST-LAST or curve:FIRST-LAST expected", spec->text);
    if (values != curve)
        return fail(STATUS_INPUT, "%s: targets are %s, %s expected", spec->text,
                    curve ? "real values" : "classes", values ? "real values" : "classes");
    if (spec->outputs && (curve ? spec->outputs != 1 : spec->outputs < 2))
        return fail(STATUS_INPUT, "%s: %d found, at most %zu expected", spec->text, curve ? 1 : 2,
                    spec->outputs);
    examples *made = calloc(1, sizeof *made);
    if (!made) return fail(STATUS_NOMEM, "memory for a data set");
    *made = (examples){.seed = spec->seed,
                       .first = first,
                       .count = last - first + 1,
                       .outputs = spec->outputs ? spec->outputs
                                  : curve       ? 1
                                                : 2,
                       .mislabelled = spec->mislabelled,
                       .curve = curve};
    *x = made;
    return STATUS_OK;
}

void examples_close(examples **x)
{
    free(*x);
    *x = NULL;
}

uint64_t examples_count(const examples *x)
{
    return x->count;
}

size_t examples_inputs(const examples *x)
{
    return x->curve ? 1 : 2;
}

size_t examples_outputs(const examples *x)
{
    return x->outputs;
}

bool examples_classes(const examples *x)
{
    return !x->curve;
}

static noise_key key_of(const examples *x, uint64_t i, uint32_t kind)
{
    return (noise_key){.seed = x->seed,
                       .stream = STREAM_EXAMPLES,
                       .sample = (uint32_t)(x->first + i),
                       .step = kind};
}

static void moon(float inputs[2], uint16_t *label, const uint32_t *words, const float *normals)
{
    bool other = words[1] >> 31;
    double angle = 3.14159265358979323846 * (words[0] >> 8) * 0x1p-24;
    double point[2] = {other ? 1.0 - cos(angle) : cos(angle),
                       other ? 0.5 - sin(angle) : sin(angle)};
    for (int k = 0; k < 2; k++) inputs[k] = (float)(point[k] + 0.2 * (double)normals[k]);
    *label = other;
}

status examples_row(const examples *x, uint64_t i, float *inputs, uint16_t *label, float *values)
{
    uint32_t words[4];
    float normals[4], drawn[2];
    uint16_t own;
    noise_key key = key_of(x, i, x->curve ? CURVE_KEY : MOONS_KEY);
    noise_uniform_words(words, key, 0, 4);
    noise_normals(normals, NULL, key, 4, 4);
    if (x->curve) {
        double away = 1.0 + 3.0 * (words[0] >> 8) * 0x1p-24, at = words[1] >> 31 ? away : -away;
        if (inputs) *inputs = (float)at;
        if (values)
            *values =
                (float)(sin(1.57079632679489661923 * at) + 0.25 * at + 0.1 * (double)*normals);
        return STATUS_OK;
    }
    moon(drawn, &own, words, normals);
    if (inputs) memcpy(inputs, drawn, sizeof drawn);
    if (label) *label = (uint16_t)((own + examples_mislabelled(x, i)) % 2);
    return STATUS_OK;
}

bool examples_mislabelled(const examples *x, uint64_t i)
{
    uint32_t words[4];
    noise_uniform_words(words, key_of(x, i, MISLABELLED_KEY), 0, 4);
    return words[0] * 0x1p-32 < x->mislabelled;
}
