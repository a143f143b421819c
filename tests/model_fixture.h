/* A small model's weights and gradients as plain buffers, hooks that hand them out, hooks that
 * write down who asks, and gradients against differences. */
#ifndef VARIO_TESTS_MODEL_FIXTURE_H
#define VARIO_TESTS_MODEL_FIXTURE_H

#include "kernels/kernels.h"
#include "kernels/reference.h"
#include "model/hooks.h"
#include "optimizer/optimizer.h"

#include <criterion/criterion.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    parameters p;
    layout weights_layout, gradients_layout;
    model_hooks hooks;
    float *theta; /* [p.count] */
    char **weights;
    float **gradients;
} buffers;

static const void *give_weights(void *context, size_t u)
{
    return ((buffers *)context)->weights[u];
}

static float *give_gradients(void *context, size_t u)
{
    return ((buffers *)context)->gradients[u];
}

static void nothing(void *context, size_t u)
{
    (void)context;
    (void)u;
}

static bool is_narrow(const buffers *w, const tensor *t)
{
    return layout_element_bytes(&w->weights_layout, t) == sizeof(bf16);
}

/* Weights are theta from here on. */
static void load_weights(buffers *w)
{
    for (size_t i = 0; i < w->p.tensor_count; i++) {
        const tensor *t = &w->p.tensors[i];
        convert(w->weights[t->unit] + w->weights_layout.tensor_offset[i],
                is_narrow(w, t) ? DTYPE_BF16 : DTYPE_F32, w->theta + t->index, DTYPE_F32, t->count);
    }
}

/* For w->p, which the caller has opened and buffers_close closes. */
static void buffers_open(buffers *w, dtype precision)
{
    omp_set_num_threads(2);
    kernels_open();
    cr_assert_eq(layout_open(&w->weights_layout, &w->p, precision), STATUS_OK);
    cr_assert_eq(layout_open(&w->gradients_layout, &w->p, DTYPE_F32), STATUS_OK);
    w->theta = calloc(w->p.count, sizeof(float));
    w->weights = calloc(w->p.unit_count, sizeof(char *));
    w->gradients = calloc(w->p.unit_count, sizeof(float *));
    for (size_t u = 0; u < w->p.unit_count; u++) {
        w->weights[u] = aligned_alloc(64, w->weights_layout.unit_bytes[u]);
        w->gradients[u] = aligned_alloc(64, w->gradients_layout.unit_bytes[u]);
        memset(w->gradients[u], 0xff, w->gradients_layout.unit_bytes[u]); /* NaN unless written */
    }
    w->hooks = (model_hooks){w, give_weights, give_gradients, nothing, NULL, NULL};
}

static void buffers_close(buffers *w)
{
    for (size_t u = 0; u < w->p.unit_count; u++) {
        free(w->weights[u]);
        free(w->gradients[u]);
    }
    free(w->weights);
    free(w->gradients);
    free(w->theta);
    layout_close(&w->weights_layout);
    layout_close(&w->gradients_layout);
    parameters_close(&w->p);
    kernels_close();
}

static inline const float *gradient_of(const buffers *w, size_t i)
{
    const tensor *t = &w->p.tensors[i];
    return w->gradients[t->unit] + w->gradients_layout.tensor_offset[i] / sizeof(float);
}

static inline double *widened(const float *values, size_t count)
{
    double *out = calloc(count, sizeof *out);
    for (size_t i = 0; i < count; i++) out[i] = (double)values[i];
    return out;
}

/* Hooks that write down their calls, and whose weights are NaN unless they are held: a model that
 * reads what was given up for another unit, or never asked for, gives NaN. */
typedef struct {
    buffers *w;
    model_hooks hooks;
    char calls[512];
    char **held;
    size_t polls;
} recorder;

static void record(recorder *r, const char *call, size_t u)
{
    size_t used = strlen(r->calls);
    snprintf(r->calls + used, sizeof r->calls - used, "%s%zu ", call, u);
}

static const void *recorded_weights(void *context, size_t u)
{
    recorder *r = context;
    record(r, "w", u);
    for (size_t k = 1; k + 1 < r->w->p.unit_count; k++)
        if (k != u) memset(r->held[k], 0xff, r->w->weights_layout.unit_bytes[k]);
    memcpy(r->held[u], r->w->weights[u], r->w->weights_layout.unit_bytes[u]);
    return r->held[u];
}

static float *recorded_gradients(void *context, size_t u)
{
    recorder *r = context;
    record(r, "g", u);
    return r->w->gradients[u];
}

static void recorded_done(void *context, size_t u)
{
    recorder *r = context;
    const unit *whole = &r->w->p.units[u];
    record(r, "d", u);
    for (size_t i = whole->first; i < whole->first + whole->tensors; i++)
        for (size_t e = 0; e < r->w->p.tensors[i].count; e++)
            cr_assert(isfinite(gradient_of(r->w, i)[e]), "%s", r->w->p.tensors[i].name);
    memset(r->w->gradients[u], 0xff, r->w->gradients_layout.unit_bytes[u]);
}

static void recorded_poll(void *context)
{
    ((recorder *)context)->polls++;
}

static inline void recorder_open(recorder *r, buffers *w)
{
    *r = (recorder){
        .w = w,
        .hooks = {r, recorded_weights, recorded_gradients, recorded_done, recorded_poll, NULL},
        .held = calloc(w->p.unit_count, sizeof(char *))};
    for (size_t u = 0; u < w->p.unit_count; u++) {
        r->held[u] = aligned_alloc(64, w->weights_layout.unit_bytes[u]);
        memset(r->held[u], 0xff, w->weights_layout.unit_bytes[u]);
    }
}

static inline void recorder_close(recorder *r)
{
    for (size_t u = 0; u < r->w->p.unit_count; u++) free(r->held[u]);
    free(r->held);
}

/* The twin's loss in double at theta, of the fixture that is the context. */
typedef double twin_loss(const void *context, const double *theta);

/* The twin's gradient of every tensor against central differences along random directions. */
static inline void check_twin(const parameters *p, double *theta, const double *gradient,
                              twin_loss *loss_at, const void *context, double step,
                              double tolerance, double smallest)
{
    for (size_t i = 0; i < p->tensor_count; i++) {
        const tensor *t = &p->tensors[i];
        double way[t->count], slope = 0.0, loss[2];
        noise_normals_reference(way, (noise_key){.seed = 9}, t->index, t->count);
        for (size_t e = 0; e < t->count; e++) slope += way[e] * gradient[t->index + e];
        for (int side = 0; side < 2; side++) {
            double moved[t->count], *values = theta + t->index;
            memcpy(moved, values, sizeof moved);
            for (size_t e = 0; e < t->count; e++) values[e] += (side ? -step : step) * way[e];
            loss[side] = loss_at(context, theta);
            memcpy(values, moved, sizeof moved);
        }
        double difference = (loss[0] - loss[1]) / (2.0 * step);
        cr_expect_lt(fabs(difference - slope), tolerance * fmax(fabs(slope), smallest),
                     "%s: %.9g by differences, %.9g by gradient", t->name, difference, slope);
    }
}

/* The loss of the model at the weights that are loaded, whose gradients it leaves behind. */
typedef double model_loss(const void *context);

/* The loss after a move of `step` along `way` of tensor i. */
static double moved_loss(buffers *w, size_t i, const float *way, float step, model_loss *loss_now,
                         const void *context)
{
    const tensor *t = &w->p.tensors[i];
    float *values = w->theta + t->index, before[t->count];
    memcpy(before, values, sizeof before);
    for (size_t e = 0; e < t->count; e++) values[e] += step * way[e];
    load_weights(w);
    double loss = loss_now(context);
    memcpy(values, before, sizeof before);
    return loss;
}

/* With fixed noise the loss is a smooth function of the weights. A move of length 5e-3 along a
 * tensor's own gradient changes an fp32 loss by some 1e-3, known to 1e-6 or so, and the third
 * derivative adds about as much: 1e-2. */
static inline void check_slopes(buffers *w, model_loss *loss_now, const void *context)
{
    const float length = 5e-3F;
    for (size_t i = 0; i < w->p.tensor_count; i++) {
        size_t count = w->p.tensors[i].count;
        float way[count];
        double norm = 0.0;
        load_weights(w);
        loss_now(context);
        memcpy(way, gradient_of(w, i), sizeof way);
        for (size_t e = 0; e < count; e++) norm += (double)way[e] * (double)way[e];
        norm = sqrt(norm);
        for (size_t e = 0; e < count; e++) way[e] /= (float)norm;
        double up = moved_loss(w, i, way, length, loss_now, context);
        double slope =
            (up - moved_loss(w, i, way, -length, loss_now, context)) / (2.0 * (double)length);
        cr_expect_lt(fabs(slope - norm), 1e-2 * norm, "%s: slope %.6g, gradient %.6g",
                     w->p.tensors[i].name, slope, norm);
    }
}

#endif
