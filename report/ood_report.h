/** What `vario ood` says: JSON, a table for people, a picture. Rank 0 alone. */
#ifndef VARIO_REPORT_OOD_REPORT_H
#define VARIO_REPORT_OOD_REPORT_H

#include "analysis/ensemble.h"
#include "analysis/ood.h"
#include "io/files/plot.h"

/** What one average says of both sets. */
typedef struct {
    predictions in, out;
    double accuracy; /**< in distribution */
    ood_result results[OOD_SCORES];
    ood_histogram histogram; /**< of the predictive entropy */
} detection;

typedef struct {
    const ensemble *e;
    const char *in_text, *out_text;
    bool has_average;
    detection mean, averaged;
} ood_report;

/** Score and rank. @return STATUS_OK or STATUS_NOMEM */
status detection_score(detection *d);
ood_sets detection_sets(const detection *d);

void ood_print(const ood_report *r);

/** @return STATUS_OK or STATUS_NOMEM */
status ood_print_json(const ood_report *r);

enum {
    OOD_PANEL = 480,
    OOD_HEIGHT = 380 /**< pixels; a panel each for the mean and the average */
};

/** Histograms of the predictive entropy of both sets. */
void ood_draw(const ood_report *r, plot *p);

#endif
