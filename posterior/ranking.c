/* Positives against negatives by a score. Scores are sorted once and walked in groups of equals,
 * whose counts are whole numbers: results depend neither on the order of the input nor on how
 * sorting treats equals. */
#include "base/memory.h"
#include "posterior/metrics.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

typedef struct {
    double score;
    bool positive;
} scored;

static int by_falling_score(const void *a, const void *b)
{
    double x = ((const scored *)a)->score, y = ((const scored *)b)->score;
    return (x < y) - (x > y);
}

/* Count the positives and negatives that share the score of item i; the next item is returned. */
static size_t count_equals(double *positives, double *negatives, const scored *items, size_t i,
                           size_t count)
{
    double value = items[i].score;
    *positives = *negatives = 0.0;
    for (; i < count && items[i].score == value; i++)
        *(items[i].positive ? positives : negatives) += 1.0;
    return i;
}

/* Of P positives and N negatives, tp and fp lie above the group at hand, which has p and n. */
static ranking walk(const scored *items, size_t count, double P, double N, double tpr)
{
    ranking r = {.detection_error = 0.5};
    double tp = 0.0, fp = 0.0, p, n;
    for (size_t i = 0; i < count;) {
        i = count_equals(&p, &n, items, i, count);
        r.auroc += n * (tp + 0.5 * p);
        r.aupr_negative += n * ((N - fp) / (P - tp + N - fp));
        double t0 = tp / P, f0 = fp / N;
        tp += p;
        fp += n;
        double t1 = tp / P, f1 = fp / N;
        r.aupr += p * (tp / (tp + fp));
        if (t0 < tpr && t1 >= tpr) r.fpr = f0 + (f1 - f0) * ((tpr - t0) / (t1 - t0));
        r.detection_error = fmin(r.detection_error, 0.5 * (f1 + (P - tp) / P));
    }
    r.auroc /= P * N;
    r.aupr /= P;
    r.aupr_negative /= N;
    return r;
}

status metrics_rank(ranking *out, const double *score, const bool *positive, size_t count,
                    double tpr)
{
    assert(tpr > 0.0 && tpr <= 1.0);
    *out = (ranking){NAN, NAN, NAN, NAN, NAN};
    if (count == 0) return STATUS_OK;
    size_t bytes;
    scored *items = memory_product(&bytes, count, sizeof *items) ? malloc(bytes) : NULL;
    if (!items) return fail(STATUS_NOMEM, "ranking: no memory to sort %zu scores", count);
    double P = 0.0;
    bool defined = true;
    for (size_t i = 0; i < count; i++) {
        items[i] = (scored){score[i], positive[i]};
        if (positive[i]) P += 1.0;
        if (isnan(score[i])) defined = false;
    }
    double N = (double)count - P;
    if (defined && P > 0.0 && N > 0.0) {
        qsort(items, count, sizeof *items, by_falling_score);
        *out = walk(items, count, P, N, tpr);
    }
    free(items);
    return STATUS_OK;
}
