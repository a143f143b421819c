/* Metrics against NumPy, SciPy and scikit-learn (tests/fixtures/make_metrics_fixture.py), and what
 * they say where those say nothing. */
#include "posterior/metrics.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>

typedef struct {
    const char *name;
    size_t count, classes, bin_count;
    const double *p;       /* (count, classes) */
    const size_t *targets; /* [count], as the next five */
    const size_t *top;
    const double *confidence, *nll, *brier, *entropy;
    double accuracy, mean_nll, mean_brier, ece;
    const size_t *bin_counts; /* [bin_count], as the next two */
    const double *bin_confidence, *bin_accuracy;
} prediction_case;

typedef struct {
    const char *name;
    size_t count;
    double tpr;
    const double *score;  /* [count] */
    const bool *positive; /* [count] */
    double auroc, aupr, aupr_negative, fpr, detection_error;
} ranking_case;

typedef struct {
    const char *name;
    size_t samples, classes;
    const double *p; /* (samples, classes) */
    double predictive, expected, mutual;
} entropy_case;

typedef struct {
    const char *name;
    size_t count;
    const double *x, *y;
    double spearman, pearson;
} correlation_case;

typedef struct {
    const char *name;
    size_t count;
    const double *values;
    double mean, deviation;
} spread_case;

typedef struct {
    const char *name;
    size_t count;
    const double *target, *mean, *variance; /* [count] */
    const double *observed;                 /* [METRICS_LEVELS] */
    double error;
} coverage_case;

#include "fixtures/metrics.inc"

enum { MAX_EXAMPLES = 128, MAX_BINS = 20, MAX_CLASSES = 8 };

#define CASES(list) for (size_t k = 0; k < sizeof(list) / sizeof *(list); k++)

/* Sums of at most some hundred terms: far fewer than 1000 roundings. */
static void expect_near(const char *name, const char *what, double found, double expected)
{
    bool same = isnan(expected)   ? isnan(found)
                : isinf(expected) ? found == expected
                                  : fabs(found - expected) <= 1e-13 * fmax(1.0, fabs(expected));
    cr_expect(same, "%s: %s is %.17g, %.17g expected", name, what, found, expected);
}

static void expect_predictions(const prediction_case *c)
{
    double confidence[MAX_EXAMPLES], nll[MAX_EXAMPLES], brier[MAX_EXAMPLES];
    bool right[MAX_EXAMPLES];
    for (size_t i = 0; i < c->count; i++) {
        prediction_score s = metrics_score(c->p + i * c->classes, c->classes, c->targets[i]);
        cr_expect_eq(s.top, c->top[i], "%s: example %zu is taken for %zu", c->name, i, s.top);
        expect_near(c->name, "confidence", s.confidence, c->confidence[i]);
        expect_near(c->name, "nll", s.nll, c->nll[i]);
        expect_near(c->name, "brier", s.brier, c->brier[i]);
        expect_near(c->name, "entropy", s.entropy, c->entropy[i]);
        confidence[i] = s.confidence;
        nll[i] = s.nll;
        brier[i] = s.brier;
        right[i] = s.top == c->targets[i];
    }
    calibration_bin bins[MAX_BINS];
    calibration found = metrics_calibrate(bins, c->bin_count, confidence, right, c->count);
    expect_near(c->name, "mean nll", metrics_mean(nll, c->count), c->mean_nll);
    expect_near(c->name, "mean brier", metrics_mean(brier, c->count), c->mean_brier);
    expect_near(c->name, "accuracy", found.accuracy, c->accuracy);
    expect_near(c->name, "confidence", found.confidence, metrics_mean(confidence, c->count));
    expect_near(c->name, "ece", found.ece, c->ece);
    for (size_t b = 0; b < c->bin_count; b++) {
        cr_expect_eq(bins[b].count, c->bin_counts[b], "%s: bin %zu holds %zu, %zu expected",
                     c->name, b, bins[b].count, c->bin_counts[b]);
        expect_near(c->name, "bin's confidence", bins[b].confidence, c->bin_confidence[b]);
        expect_near(c->name, "bin's accuracy", bins[b].accuracy, c->bin_accuracy[b]);
    }
}

Test(metrics, predictions_and_calibration)
{
    CASES(prediction_cases) expect_predictions(&prediction_cases[k]);
}

/* Every end of every bin, and the doubles beside it: products with the number of bins round some to
 * the wrong side (7/25 * 25 > 7). */
Test(metrics, ends_belong_to_the_bin_below)
{
    calibration_bin bins[100];
    for (size_t count = 1; count <= 100; count++)
        for (size_t end = 1; end < count; end++) {
            double at = (double)end / (double)count;
            const double confidence[] = {nextafter(at, 0.0), at, nextafter(at, 1.0)};
            metrics_calibrate(bins, count, confidence, (const bool[]){1, 1, 1}, 3);
            cr_expect(bins[end - 1].count == 2 && bins[end].count == 1, "end %zu of %zu", end,
                      count);
        }
    metrics_calibrate(bins, 20, (const double[]){0.0, 1.0, 1.0 + 1e-15, nextafter(1.0, 0.0)},
                      (const bool[]){1, 1, 1, 1}, 4);
    cr_expect_eq(bins[0].count, 1);
    cr_expect_eq(bins[19].count, 3);
}

Test(metrics, nothing_and_nan)
{
    calibration_bin bin;
    calibration none = metrics_calibrate(&bin, 1, NULL, NULL, 0);
    cr_expect(isnan(none.accuracy) && isnan(none.confidence) && isnan(none.ece));
    cr_expect(bin.count == 0 && isnan(bin.accuracy) && isnan(bin.confidence));
    cr_expect(isnan(metrics_mean(NULL, 0)));
    calibration unknown =
        metrics_calibrate(&bin, 1, (const double[]){0.5, NAN}, (const bool[]){1, 0}, 2);
    cr_expect(isnan(unknown.ece) && unknown.accuracy == 0.5);
    for (size_t at = 0; at < 3; at++) {
        double p[] = {0.25, 0.5, 0.25};
        p[at] = NAN;
        prediction_score s = metrics_score(p, 3, at);
        cr_expect(isnan(s.confidence) && isnan(s.nll) && isnan(s.brier) && isnan(s.entropy));
    }
}

Test(metrics, coverage)
{
    double observed[METRICS_LEVELS];
    CASES(coverage_cases)
    {
        const coverage_case *c = &coverage_cases[k];
        metrics_cover(observed, c->target, c->mean, c->variance, c->count);
        for (size_t i = 0; i < METRICS_LEVELS; i++)
            expect_near(c->name, "observed coverage", observed[i], c->observed[i]);
        expect_near(c->name, "coverage error", metrics_coverage_error(observed), c->error);
    }
}

/* Without variance an interval is its mean; NaN and nothing have no share. */
Test(metrics, intervals_without_a_width)
{
    double observed[METRICS_LEVELS];
    metrics_cover(observed, (const double[]){1.0, 2.0, 3.0}, (const double[]){1.0, 2.5, 3.5},
                  (const double[]){0.0, 0.0, 0.0}, 3);
    cr_expect(observed[0] == 1.0 / 3.0 && observed[METRICS_LEVELS - 1] == 1.0 / 3.0);
    for (size_t at = 0; at < 3; at++) {
        double row[] = {1.0, 1.0, 1.0};
        row[at] = NAN;
        metrics_cover(observed, row, row + 1, row + 2, 1);
        cr_expect(isnan(observed[0]) && isnan(metrics_coverage_error(observed)));
    }
    metrics_cover(observed, NULL, NULL, NULL, 0);
    cr_expect(isnan(observed[0]));
}

Test(metrics, certain_predictions)
{
    prediction_score right = metrics_score((const double[]){0.0, 1.0}, 2, 1);
    cr_expect(right.nll == 0.0 && !signbit(right.nll), "an empty loss is printed without a sign");
    cr_expect(right.entropy == 0.0 && !signbit(right.entropy));
    prediction_score wrong = metrics_score((const double[]){0.0, 1.0}, 2, 0);
    cr_expect(isinf(wrong.nll) && wrong.nll > 0.0);
    cr_expect_eq(wrong.brier, 2.0);
    cr_expect_eq(metrics_entropy((const double[]){1.0 + 1e-15, 0.0}, 2), 0.0);
}

Test(metrics, rankings)
{
    CASES(ranking_cases)
    {
        const ranking_case *c = &ranking_cases[k];
        ranking r;
        cr_assert_eq(metrics_rank(&r, c->score, c->positive, c->count, c->tpr), STATUS_OK);
        expect_near(c->name, "auroc", r.auroc, c->auroc);
        expect_near(c->name, "aupr", r.aupr, c->aupr);
        expect_near(c->name, "aupr of negatives", r.aupr_negative, c->aupr_negative);
        expect_near(c->name, "fpr", r.fpr, c->fpr);
        expect_near(c->name, "detection error", r.detection_error, c->detection_error);
    }
}

static bool undefined(const double *score, const bool *positive, size_t count)
{
    ranking r;
    cr_assert_eq(metrics_rank(&r, score, positive, count, METRICS_TPR), STATUS_OK);
    return isnan(r.auroc) && isnan(r.aupr) && isnan(r.aupr_negative) && isnan(r.fpr) &&
           isnan(r.detection_error);
}

Test(metrics, a_ranking_needs_both_sides)
{
    const double score[] = {0.5, 0.25, 0.75};
    cr_expect(undefined(score, (const bool[]){1, 1, 1}, 3));
    cr_expect(undefined(score, (const bool[]){0, 0, 0}, 3));
    cr_expect(undefined(score, (const bool[]){1}, 1));
    cr_expect(undefined(NULL, NULL, 0));
    cr_expect(undefined((const double[]){0.5, NAN, 0.75}, (const bool[]){1, 0, 1}, 3));
}

/* Negative log-likelihoods of impossible events are scores too. */
Test(metrics, infinite_scores_rank)
{
    const double score[] = {-INFINITY, INFINITY, 0.0, -INFINITY, INFINITY};
    const bool positive[] = {0, 1, 1, 0, 0};
    ranking r;
    cr_assert_eq(metrics_rank(&r, score, positive, 5, METRICS_TPR), STATUS_OK);
    expect_near("infinite", "auroc", r.auroc, (0.5 + 2 + 2) / 6);
    double rho;
    cr_assert_eq(metrics_spearman(&rho, (const double[]){-INFINITY, 0.0, INFINITY},
                                  (const double[]){1.0, 2.0, INFINITY}, 3),
                 STATUS_OK);
    expect_near("infinite", "spearman", rho, 1.0);
}

Test(metrics, order_of_examples_is_nothing_to_a_ranking)
{
    const ranking_case *c = &ranking_cases[1];
    double score[MAX_EXAMPLES];
    bool positive[MAX_EXAMPLES];
    ranking first, turned;
    cr_assert_eq(metrics_rank(&first, c->score, c->positive, c->count, METRICS_TPR), STATUS_OK);
    for (size_t i = 0; i < c->count; i++) {
        score[i] = c->score[c->count - 1 - i];
        positive[i] = c->positive[c->count - 1 - i];
    }
    cr_assert_eq(metrics_rank(&turned, score, positive, c->count, METRICS_TPR), STATUS_OK);
    cr_expect_arr_eq(&first, &turned, sizeof first);
}

static entropy_parts parts_of(const double *p, size_t samples, size_t classes)
{
    double average[MAX_CLASSES] = {0}, expected = 0.0;
    for (size_t s = 0; s < samples; s++) {
        for (size_t c = 0; c < classes; c++) average[c] += p[s * classes + c] / (double)samples;
        expected += metrics_entropy(p + s * classes, classes) / (double)samples;
    }
    return metrics_entropy_parts(average, classes, expected);
}

Test(metrics, entropies)
{
    CASES(entropy_cases)
    {
        const entropy_case *c = &entropy_cases[k];
        entropy_parts e = parts_of(c->p, c->samples, c->classes);
        expect_near(c->name, "predictive entropy", e.predictive, c->predictive);
        expect_near(c->name, "expected entropy", e.expected, c->expected);
        expect_near(c->name, "mutual information", e.mutual, c->mutual);
        cr_expect_geq(e.mutual, 0.0, "%s", c->name);
        if (c->samples == 1) cr_expect_eq(e.mutual, 0.0, "one sample agrees with itself");
    }
}

Test(metrics, correlations)
{
    double rho;
    CASES(correlation_cases)
    {
        const correlation_case *c = &correlation_cases[k];
        cr_assert_eq(metrics_spearman(&rho, c->x, c->y, c->count), STATUS_OK);
        expect_near(c->name, "spearman", rho, c->spearman);
        double r = metrics_pearson(c->x, c->y, c->count);
        cr_expect_lt(fabs(r - c->pearson), 1e-10, "%s: pearson is %.17g, %.17g expected", c->name,
                     r, c->pearson); /* six digits are lost far from zero */
    }
}

/* sqrt(6)^2 rounds to less than 6. */
Test(metrics, correlations_end_at_one)
{
    const double up[] = {1.0, -1.0, 1.0, -1.0, 1.0, -1.0},
                 down[] = {-1.0, 1.0, -1.0, 1.0, -1.0, 1.0};
    cr_expect_eq(metrics_pearson(up, up, 6), 1.0);
    cr_expect_eq(metrics_pearson(up, down, 6), -1.0);
}

Test(metrics, nothing_correlates_with_a_constant)
{
    const double x[] = {1.0, 2.0, 3.0}, same[] = {0.1, 0.1, 0.1}, holes[] = {1.0, NAN, 3.0};
    double rho = 0.0;
    cr_expect(isnan(metrics_pearson(x, same, 3)) && isnan(metrics_pearson(same, x, 3)));
    cr_expect(isnan(metrics_pearson(x, x, 1)) && isnan(metrics_pearson(x, x, 0)));
    cr_expect(isnan(metrics_pearson(x, holes, 3)));
    const struct {
        const double *y;
        size_t count;
    } undefined_for[] = {{same, 3}, {holes, 3}, {x, 1}, {x, 0}};
    CASES(undefined_for)
    {
        rho = 0.0;
        cr_assert_eq(metrics_spearman(&rho, x, undefined_for[k].y, undefined_for[k].count),
                     STATUS_OK);
        cr_expect(isnan(rho));
    }
}

Test(metrics, spreads)
{
    CASES(spread_cases)
    {
        const spread_case *c = &spread_cases[k];
        expect_near(c->name, "mean", metrics_mean(c->values, c->count), c->mean);
        expect_near(c->name, "deviation", metrics_deviation(c->values, c->count), c->deviation);
    }
    cr_expect_eq(metrics_mean((const double[]){3.0}, 1), 3.0);
    cr_expect(isnan(metrics_deviation((const double[]){3.0}, 1)));
}

/* Sizes whose bytes a size_t cannot hold are refused before anything is read. */
Test(metrics, too_many_to_sort)
{
    ranking r;
    double rho;
    cr_expect_eq(metrics_rank(&r, NULL, NULL, SIZE_MAX / 8, METRICS_TPR), STATUS_NOMEM);
    cr_expect(isnan(r.auroc) && isnan(r.fpr));
    status_clear();
    cr_expect_eq(metrics_spearman(&rho, NULL, NULL, SIZE_MAX / 8), STATUS_NOMEM);
    cr_expect(isnan(rho));
    status_clear();
}
