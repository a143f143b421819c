/* Scores of both sets in one array, those of the in-distribution set first. */
#include "analysis/ood.h"

#include <math.h>
#include <stdlib.h>

static size_t item_count(const predictions *p)
{
    return p->rows / p->length;
}

static double row_score(const predictions *p, ood_score which, size_t row)
{
    static const size_t columns[] = {CLASS_CONFIDENCE, CLASS_ENTROPY, CLASS_MUTUAL, CLASS_NLL};
    double value = predictions_column(p, p->points - 1, columns[which])[row];
    return which == OOD_PROBABILITY ? 1.0 - value : value;
}

static void score_items(double *scores, const predictions *p, ood_score which)
{
    for (size_t i = 0; i < item_count(p); i++) {
        double sum = 0.0;
        for (size_t t = 0; t < p->length; t++) sum += row_score(p, which, i * p->length + t);
        scores[i] = sum / (double)p->length;
    }
}

bool ood_has(const ood_sets *sets, ood_score which)
{
    const predictions *p = sets->in;
    if (which == OOD_MUTUAL) return p->members[p->points - 1] > 1;
    return which != OOD_NLL || p->length > 1;
}

/* The caller frees it; NULL and a pending message without memory. */
static double *score_both(const ood_sets *sets, ood_score which)
{
    size_t in = item_count(sets->in), out = item_count(sets->out);
    double *scores = calloc(in + out, sizeof *scores);
    if (!scores) {
        fail(STATUS_NOMEM, "memory for the scores of %zu items", in + out);
        return NULL;
    }
    score_items(scores, sets->in, which);
    score_items(scores + in, sets->out, which);
    return scores;
}

status ood_rank(ood_result *result, const ood_sets *sets, ood_score which)
{
    size_t in = item_count(sets->in), out = item_count(sets->out);
    double *scores = score_both(sets, which);
    if (!scores) return STATUS_NOMEM;
    bool *positive = calloc(in + out, sizeof *positive);
    status code = positive ? STATUS_OK : fail(STATUS_NOMEM, "memory to rank %zu items", in + out);
    for (size_t i = in; !code && i < in + out; i++) positive[i] = true;
    if (!code) code = metrics_rank(&result->rank, scores, positive, in + out, METRICS_TPR);
    result->mean_in = metrics_mean(scores, in);
    result->mean_out = metrics_mean(scores + in, out);
    free(positive);
    free(scores);
    return code;
}

static size_t bin_of(const ood_histogram *h, double score)
{
    double place = (score - h->from) / (h->to - h->from) * OOD_BINS;
    if (!(place > 0.0)) return 0; /* all scores equal, too */
    return place < OOD_BINS ? (size_t)place : OOD_BINS - 1;
}

status ood_count(ood_histogram *h, const ood_sets *sets, ood_score which)
{
    size_t in = item_count(sets->in), out = item_count(sets->out);
    double *scores = score_both(sets, which);
    if (!scores) return STATUS_NOMEM;
    *h = (ood_histogram){.from = INFINITY, .to = -INFINITY, .in_count = in, .out_count = out};
    for (size_t i = 0; i < in + out; i++) {
        h->from = fmin(h->from, scores[i]);
        h->to = fmax(h->to, scores[i]);
    }
    for (size_t i = 0; i < in + out; i++) (i < in ? h->in : h->out)[bin_of(h, scores[i])]++;
    free(scores);
    return STATUS_OK;
}
