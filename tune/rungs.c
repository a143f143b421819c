/* Steps are rounded up: a rung has at least its share of the whole. */
#include "tune/rungs.h"

#include <math.h>

static size_t highest(size_t runs, uint64_t eta, uint64_t first, uint64_t steps)
{
    size_t top = 0;
    if (first == 0) first = 1;
    while (eta > 1 && top + 1 < RUNGS && runs / eta >= 1 && steps / eta >= first) {
        runs /= eta;
        steps /= eta;
        top++;
    }
    return top;
}

void rungs_make(tune_rungs *r, size_t runs, uint64_t eta, uint64_t first, uint64_t steps)
{
    size_t top = highest(runs, eta, first, steps);
    *r = (tune_rungs){.count = top + 1};
    for (size_t i = 0; i <= top; i++) {
        r->runs[i] = runs;
        runs /= eta;
    }
    uint64_t share = 1;
    for (size_t i = top + 1; i-- > 0; share *= eta) r->steps[i] = (steps + share - 1) / share;
}

size_t rungs_best(size_t *kept, size_t keep, const double *scores, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        size_t better = 0;
        for (size_t k = 0; k < count; k++)
            better += scores[k] < scores[i] || (scores[k] == scores[i] && k < i);
        if (isfinite(scores[i]) && better < keep) kept[n++] = i;
    }
    return n;
}
