/* Differences from a model, rather than sums of models: where all agree the result is theirs to the
 * bit. */
#include "posterior/merge.h"

#include <math.h>

const char *const merge_method_names[MERGE_METHODS] = {
    [MERGE_HESSIAN] = "hessian", [MERGE_TASK] = "task", [MERGE_MEAN] = "mean"};

typedef struct {
    merge_method method;
    const merge_model *base, *models;
    size_t model_count;
    double alpha;
} recipe;

/* What a model's data say; an estimate below 0 would take precision away that others have. */
static double curvature(const merge_model *x, size_t i)
{
    return x->h[i] > 0.0F ? x->scale * (double)x->h[i] : 0.0;
}

static double precision(const merge_model *x, size_t i)
{
    return x->scale * ((double)x->h[i] + x->delta);
}

static double difference(const merge_model *x, const merge_model *from, size_t i)
{
    return (double)x->m[i] - (double)from->m[i];
}

static double add_differences(const recipe *r, size_t i)
{
    double moved = 0.0;
    for (size_t t = 0; t < r->model_count; t++) moved += difference(&r->models[t], r->base, i);
    double share = r->method == MERGE_TASK ? 1.0 : 1.0 / (double)r->model_count;
    return (double)r->base->m[i] + r->alpha * share * moved;
}

static double add_weighted(const recipe *r, double whole, size_t i)
{
    double moved = 0.0, before = (double)r->base->h[i] + r->base->delta;
    for (size_t t = 0; t < r->model_count; t++) {
        const merge_model *x = &r->models[t];
        moved += (before + curvature(x, i)) / whole * difference(x, r->base, i);
    }
    return (double)r->base->m[i] + r->alpha * moved;
}

/* h is NULL where none is made. */
static double merge_onto_base(const recipe *r, size_t i, double *h)
{
    if (!h) return add_differences(r, i);
    double sum = 0.0;
    for (size_t t = 0; t < r->model_count; t++) sum += curvature(&r->models[t], i);
    *h = (double)r->base->h[i] + r->alpha * sum;
    return r->method == MERGE_TASK ? add_differences(r, i)
                                   : add_weighted(r, *h + r->base->delta, i);
}

static double average(const recipe *r, size_t i, double *h)
{
    const merge_model *first = r->models;
    bool weighted = r->method == MERGE_HESSIAN && h;
    double moved = 0.0, sum = 0.0, count = (double)r->model_count;
    for (size_t t = 0; t < r->model_count; t++) {
        const merge_model *x = &r->models[t];
        double p = h ? precision(x, i) : 0.0;
        moved += (weighted ? p : 1.0) * difference(x, first, i);
        sum += p;
    }
    if (h) *h = (weighted ? sum : sum / count) - first->delta;
    return (double)first->m[i] + moved / (weighted ? sum : count);
}

bool merge_is_good(float m, const float *h, double delta)
{
    if (!isfinite(m)) return false;
    if (!h) return true;
    float sum = *h + (float)delta;
    return sum > 0.0F && isfinite(sum);
}

static bool model_is_good(const merge_model *x, size_t i)
{
    return merge_is_good(x->m[i], x->h ? &x->h[i] : NULL, x->delta);
}

static uint64_t count_bad(const recipe *r, size_t i)
{
    bool good = !r->base || model_is_good(r->base, i);
    for (size_t t = 0; t < r->model_count; t++) good = good && model_is_good(&r->models[t], i);
    return good ? 0 : 1;
}

static uint64_t count_negative(const recipe *r, size_t i)
{
    uint64_t negative = 0;
    for (size_t t = 0; t < r->model_count; t++) negative += r->models[t].h[i] < 0.0F ? 1 : 0;
    return negative;
}

void merge_values(float *m, float *h, merge_method method, const merge_model *base,
                  const merge_model *models, size_t model_count, double alpha, size_t count,
                  merge_counts *counts)
{
    const recipe r = {method, base, models, model_count, alpha};
    double delta = base ? base->delta : models->delta;
    uint64_t negative = 0, bad = 0;
#pragma omp parallel for schedule(static) reduction(+ : negative, bad)
    for (size_t i = 0; i < count; i++) {
        double merged_h = 0.0, *wanted = h ? &merged_h : NULL;
        m[i] = (float)(base ? merge_onto_base(&r, i, wanted) : average(&r, i, wanted));
        if (h) h[i] = (float)merged_h;
        if (h && base) negative += count_negative(&r, i);
        bad += merge_is_good(m[i], h ? &h[i] : NULL, delta) ? count_bad(&r, i) : 1;
    }
    counts->negative += negative;
    counts->bad += bad;
}
