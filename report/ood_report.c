/* Scores are named and defined in docs/posterior.md. */
#include "report/ood_report.h"

#include "base/terminal.h"
#include "io/files/json_text.h"

#include <inttypes.h>
#include <jansson.h>

static const struct {
    const char *key, *words;
} names[OOD_SCORES] = {[OOD_PROBABILITY] = {"max_probability", "1 - max probability"},
                       [OOD_ENTROPY] = {"entropy", "predictive entropy"},
                       [OOD_MUTUAL] = {"mutual_information", "mutual information"},
                       [OOD_NLL] = {"nll", "loss"}};

ood_sets detection_sets(const detection *d)
{
    return (ood_sets){&d->in, &d->out};
}

status detection_score(detection *d)
{
    ood_sets sets = detection_sets(d);
    calibration_bin bin;
    prediction_scores scores;
    status result = predictions_score(&d->in, d->in.points - 1, &bin, 1, &scores);
    d->accuracy = scores.accuracy;
    for (ood_score k = 0; !result && k < OOD_SCORES; k++)
        if (ood_has(&sets, k)) result = ood_rank(&d->results[k], &sets, k);
    return result ? result : ood_count(&d->histogram, &sets, OOD_ENTROPY);
}

static void print_detection(const detection *d, const char *title)
{
    ood_sets sets = detection_sets(d);
    printf("  %s, accuracy %.4f in distribution\n", title, d->accuracy);
    for (ood_score k = 0; k < OOD_SCORES; k++) {
        const ranking *r = &d->results[k].rank;
        if (ood_has(&sets, k))
            printf("    %-22s %8.4f %8.4f %8.4f %8.4f %8.4f\n", names[k].words, r->auroc, r->aupr,
                   r->aupr_negative, r->fpr, r->detection_error);
    }
}

void ood_print(const ood_report *r)
{
    char words[128], title[160];
    const ensemble *e = r->e;
    terminal_print(stdout, "%s, step %" PRIu64 ": %zu of %s in, %zu of %s out of distribution\n",
                   e->jobs[0].name, e->facts[0].steps, r->mean.histogram.in_count, r->in_text,
                   r->mean.histogram.out_count, r->out_text);
    printf("%-26s %8s %8s %8s %8s %8s\n", "", "AUROC", "AUPR out", "AUPR in", "FPR 95%", "error");
    print_detection(&r->mean, "at the mean");
    if (!r->has_average) return;
    ensemble_describe(e, words, sizeof words);
    snprintf(title, sizeof title, "averaged over %s", words);
    print_detection(&r->averaged, title);
}

static json_t *scores_json(const detection *d)
{
    ood_sets sets = detection_sets(d);
    json_t *scores = json_object();
    for (ood_score k = 0; k < OOD_SCORES; k++) {
        const ood_result *r = &d->results[k];
        if (!ood_has(&sets, k)) continue;
        json_text_set(
            &scores, names[k].key,
            json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "auroc", json_text_number(r->rank.auroc),
                      "aupr_out", json_text_number(r->rank.aupr), "aupr_in",
                      json_text_number(r->rank.aupr_negative), "fpr95",
                      json_text_number(r->rank.fpr), "detection_error",
                      json_text_number(r->rank.detection_error), "mean_in",
                      json_text_number(r->mean_in), "mean_out", json_text_number(r->mean_out)));
    }
    return scores;
}

static json_t *counts_json(const size_t *counts)
{
    json_t *array = json_array();
    for (size_t b = 0; b < OOD_BINS; b++)
        json_text_add(&array, json_integer((json_int_t)counts[b]));
    return array;
}

static json_t *histogram_json(const ood_histogram *h)
{
    return json_pack("{s:o,s:o,s:o,s:o}", "from", json_text_number(h->from), "to",
                     json_text_number(h->to), "in", counts_json(h->in), "out", counts_json(h->out));
}

static json_t *detection_json(const detection *d)
{
    return json_pack("{s:o,s:o,s:o}", "accuracy", json_text_number(d->accuracy), "scores",
                     scores_json(d), "entropy_histogram", histogram_json(&d->histogram));
}

status ood_print_json(const ood_report *r)
{
    const ensemble *e = r->e;
    const ood_histogram *h = &r->mean.histogram;
    json_t *runs = json_array();
    for (size_t i = 0; i < e->count; i++) json_text_add(&runs, json_string(e->jobs[i].name));
    json_t *o = json_pack("{s:s,s:o,s:I,s:o,s:I,s:o,s:I,s:o}", "run", e->jobs[0].name, "runs", runs,
                          "step", (json_int_t)e->facts[0].steps, "in", json_text_string(r->in_text),
                          "in_count", (json_int_t)h->in_count, "out", json_text_string(r->out_text),
                          "out_count", (json_int_t)h->out_count, "mean", detection_json(&r->mean));
    if (r->has_average) {
        json_text_set(&o, "samples", json_integer((json_int_t)e->samples));
        json_text_set(&o, "members", json_integer((json_int_t)e->member_count));
        json_text_set(&o, "averaged", detection_json(&r->averaged));
    }
    return json_text_print(stdout, o, 0);
}

static void draw_panel(FILE *out, const detection *d, const char *title, size_t panel)
{
    const ood_histogram *h = &d->histogram;
    double width = (h->to - h->from) / OOD_BINS;
    fprintf(out, "$panel%zu << EOD\n", panel);
    for (size_t b = 0; b < OOD_BINS; b++)
        fprintf(out, "%.17g %.17g %.17g\n", h->from + ((double)b + 0.5) * width,
                (double)h->in[b] / (double)h->in_count, (double)h->out[b] / (double)h->out_count);
    fprintf(out,
            "EOD\nset title '%s: AUROC %.3f'\n"
            "plot $panel%zu using 1:2 with boxes fs transparent solid 0.6 lc rgb blue "
            "title 'in distribution', '' using 1:3 with boxes fs transparent solid 0.5 "
            "lc rgb orange title 'out of distribution'\n",
            title, d->results[OOD_ENTROPY].rank.auroc, panel);
}

void ood_draw(const ood_report *r, plot *p)
{
    FILE *out = p->commands;
    fprintf(out,
            "set multiplot layout 1,%d\nset xlabel 'predictive entropy (nats)'\n"
            "set ylabel 'share of the set'\nset yrange [0:*]\nset boxwidth 1 relative\n",
            r->has_average ? 2 : 1);
    draw_panel(out, &r->mean, "mean", 0);
    if (r->has_average) draw_panel(out, &r->averaged, "averaged", 1);
    fprintf(out, "unset multiplot\n");
}
