/** What the files of `vario exact` share; rank 0 alone calls what is here. */
#ifndef VARIO_REPORT_EXACT_H
#define VARIO_REPORT_EXACT_H

#include "analysis/oracle.h"

typedef enum { LEAVE_NONE, LEAVE_GRAM, LEAVE_PRECISION } leave_kind;

typedef struct {
    const oracle *o;
    const char *name;             /**< of the run or job */
    bool is_run;                  /**< the start is a run's mean, not a job's initial weights */
    uint64_t step;                /**< of the run's checkpoint */
    oracle_posterior posterior;   /**< the run's; sigma NULL: it has none */
    double *variances;            /**< [unknowns] diag(Lambda^-1) */
    oracle_comparison comparison; /**< where there is one */
    bool sampled;
    oracle_distances distances; /**< with draws */
    bool predicted;
    oracle_score scores[PREDICTIONS];
    bool maximized;
    oracle_maximum maximum;
    double *spectrum; /**< [unknowns] ascending; NULL */
    double
        *curvature;  /**< [unknowns] Lambda_ii's data part over lambda, ascending; with spectrum */
    double *hessian; /**< [unknowns] the run's h, ascending; NULL without a posterior */
    oracle_left_out *left; /**< [examples] NULL */
    uint64_t examples;
    double loo_loss; /**< mean over the examples that were not left out; NaN: none was asked for */
    double loo_correlation,
        moved_correlation; /**< Spearman's with `vario sensitivity`: loss added,
                                and how far predictions move; NaN: no posterior */
} exact_report;

void exact_print(const exact_report *r);

/** @return STATUS_OK or STATUS_NOMEM */
status exact_print_json(const exact_report *r);

/** A line an unknown. */
status exact_write_unknowns(const exact_report *r, const char *path);

/** A line an example: what leaving it out does. */
status exact_write_examples(const exact_report *r, const char *path);

/** sigma^2 over the optimum and means; the spectrum, where it was computed. */
status exact_draw(const exact_report *r, const char *path);

#endif
