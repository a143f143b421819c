/* The dense answer as text, JSON and CSV. */
#include "cli/exact.h"
#include "io/file.h"
#include "io/json_text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const predictions[] = {"mode", "exact", "run"};

static void print_problem(const exact_report *r)
{
    const oracle *o = r->o;
    int grid[2];
    exact_grid_shape(o->grid, grid);
    printf("%s", r->name);
    if (r->is_run) printf(", step %" PRIu64, r->step);
    printf(": %zu unknowns, %" PRIu64 " training %s, on a grid of %d x %d ranks\n", o->unknowns,
           o->count, o->fixed ? "tokens" : "examples", grid[0], grid[1]);
    if (!o->fixed)
        printf("  mode after %zu Newton steps, loss %.6f nats an example\n", o->newton_steps,
               o->loss);
    if (!isnan(o->log_evidence)) printf("  log evidence %.6f\n", o->log_evidence);
    printf("  log determinant of the precision %.6f\n", o->log_determinant);
    if (r->maximized)
        printf("  largest log evidence %.6f at prior precision %.6g and noise variance %.6g%s\n",
               r->maximum.log_evidence, r->maximum.prior, r->maximum.noise_variance,
               r->maximum.at_edge ? ", at the edge of what was looked at" : "");
}

static void print_comparison(const exact_report *r)
{
    const oracle_comparison *c = &r->comparison;
    printf("\nthe run's posterior beside it\n");
    printf("  |mean - mode| / |mode|              %10.5f\n", c->mean_error);
    printf("  sigma^2 over the optimum 1/L_ii     %10.5f median; 5%% %.4f, 25%% %.4f, 75%% %.4f, "
           "95%% %.4f\n",
           c->quantiles[2], c->quantiles[0], c->quantiles[1], c->quantiles[3], c->quantiles[4]);
    printf("  sigma^2 over the exact variance     %10.5f median\n", c->inverse);
    printf("  KL(run || exact)                    %10.5g nats: %.5g of the mean, %.5g of the "
           "variances, %.5g of any diagonal\n",
           c->kl, c->kl_mean, c->kl_variance, c->kl_diagonal);
    printf("  KL(run || best diagonal)            %10.5g nats\n", c->kl_best);
}

static void print_scores(const exact_report *r)
{
    static const char *const names[] = {"exact mode", "exact posterior", "run's posterior"};
    bool classes = r->o->classes;
    printf("\n%-18s %10s %10s %10s\n", "predictions", "NLL", classes ? "accuracy" : "RMSE",
           classes ? "ECE" : "coverage");
    for (size_t k = 0; k < PREDICTIONS; k++) {
        const oracle_score *s = &r->scores[k];
        if (k == PREDICT_RUN && !r->sigma) continue;
        printf("%-18s %10.5f %10.5f %10.5f\n", names[k], s->nll, classes ? s->accuracy : s->rmse,
               classes ? s->ece : s->coverage_error);
    }
}

void exact_print(const exact_report *r)
{
    print_problem(r);
    if (r->sigma) print_comparison(r);
    if (r->predicted) print_scores(r);
    if (r->left) {
        printf("\nleave-one-out loss %.6f nats an example, %.6f with it\n", r->loo_loss,
               r->o->loss);
        if (!isnan(r->loo_correlation))
            printf("  rank correlation with vario sensitivity: %.4f of the loss added, %.4f of how "
                   "far predictions move\n",
                   r->loo_correlation, r->moved_correlation);
    }
    if (r->spectrum) {
        size_t n = r->o->unknowns;
        printf("\ncurvature: eigenvalues %.4g to %.4g, diagonal %.4g to %.4g\n", r->spectrum[0],
               r->spectrum[n - 1], r->curvature[0], r->curvature[n - 1]);
    }
}

/* A member of a JSON object, unless there is no such number. */
static void member(const char *name, double value)
{
    if (isnan(value)) return;
    if (isinf(value))
        printf(", \"%s\": null", name);
    else
        printf(", \"%s\": %.17g", name, value);
}

static void print_json_comparison(const exact_report *r)
{
    const oracle_comparison *c = &r->comparison;
    member("mean_error", c->mean_error);
    printf(", \"variance_ratio\": [");
    for (size_t k = 0; k < 5; k++) printf("%s%.17g", k ? ", " : "", c->quantiles[k]);
    printf("]");
    member("variance_over_exact", c->inverse);
    member("kl", c->kl);
    member("kl_mean", c->kl_mean);
    member("kl_variance", c->kl_variance);
    member("kl_diagonal", c->kl_diagonal);
    member("kl_best_diagonal", c->kl_best);
}

static void print_json_scores(const exact_report *r)
{
    for (size_t k = 0; k < PREDICTIONS; k++) {
        const oracle_score *s = &r->scores[k];
        if (k == PREDICT_RUN && !r->sigma) continue;
        printf(", \"%s\": {\"nll\": %.17g", predictions[k], s->nll);
        member("accuracy", s->accuracy);
        member("ece", s->ece);
        member("rmse", s->rmse);
        member("coverage_error", s->coverage_error);
        putchar('}');
    }
}

static void print_json_list(const char *name, const double *values, size_t count)
{
    printf(", \"%s\": [", name);
    for (size_t i = 0; i < count; i++) printf("%s%.9g", i ? ", " : "", values[i]);
    printf("]");
}

void exact_print_json(const exact_report *r)
{
    const oracle *o = r->o;
    int grid[2];
    exact_grid_shape(o->grid, grid);
    printf("{\"name\": ");
    json_text_print(stdout, r->name);
    if (r->is_run) printf(", \"step\": %" PRIu64, r->step);
    printf(", \"unknowns\": %zu, \"training_rows\": %" PRIu64 ", \"grid\": [%d, %d]", o->unknowns,
           o->count, grid[0], grid[1]);
    member("ess", o->ess);
    member("loss", o->loss);
    member("log_evidence", o->log_evidence);
    member("log_determinant", o->log_determinant);
    if (r->maximized)
        printf(", \"maximum\": {\"log_evidence\": %.17g, \"prior\": %.17g, \"noise_variance\": "
               "%.17g, \"at_edge\": %s}",
               r->maximum.log_evidence, r->maximum.prior, r->maximum.noise_variance,
               r->maximum.at_edge ? "true" : "false");
    if (r->sigma) print_json_comparison(r);
    if (r->predicted) print_json_scores(r);
    if (r->left) member("loo_loss", r->loo_loss);
    member("loo_correlation", r->loo_correlation);
    member("moved_correlation", r->moved_correlation);
    if (r->spectrum) print_json_list("spectrum", r->spectrum, o->unknowns);
    if (r->spectrum) print_json_list("curvature_diagonal", r->curvature, o->unknowns);
    if (r->hessian) print_json_list("hessian", r->hessian, o->unknowns);
    printf("}\n");
}

/* Write through memory, so that a file is whole or absent. */
static status write_file(const exact_report *r, const char *path,
                         void (*write)(FILE *, const exact_report *))
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return fail(STATUS_NOMEM, "memory to write %s", path);
    write(out, r);
    status result = fclose(out) == 0 ? file_write_atomic(path, text, size)
                                     : fail(STATUS_NOMEM, "memory to write %s", path);
    free(text);
    return result;
}

static void write_unknowns(FILE *out, const exact_report *r)
{
    const oracle *o = r->o;
    fprintf(out, "tensor,element,mode,exact_deviation,optimal_deviation%s\n",
            r->is_run ? r->sigma ? ",mean,deviation" : ",mean" : "");
    for (size_t i = 0; i < o->unknowns; i++) {
        size_t element;
        const tensor *t = jacobian_tensor(o->x, i, &element);
        fprintf(out, "%s,%zu,%.17g,%.17g,%.17g", t->name, element, o->mode[i],
                sqrt(r->variances[i]), 1.0 / sqrt(o->diagonal[i]));
        if (r->is_run) fprintf(out, ",%.9g", r->mean[i]);
        if (r->sigma) fprintf(out, ",%.9g", r->sigma[i]);
        fputc('\n', out);
    }
}

static void write_examples(FILE *out, const exact_report *r)
{
    fprintf(out, "index,left_out,loss,loo_loss,moved\n");
    for (uint64_t i = 0; i < r->examples; i++)
        fprintf(out, "%" PRIu64 ",%d,%.17g,%.17g,%.17g\n", i, dataset_left_out(r->o->data, i),
                r->left[i].loss, r->left[i].loo_loss, r->left[i].moved);
}

status exact_write_unknowns(const exact_report *r, const char *path)
{
    return write_file(r, path, write_unknowns);
}

status exact_write_examples(const exact_report *r, const char *path)
{
    return write_file(r, path, write_examples);
}
