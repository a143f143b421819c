/* The dense answer as text, JSON and CSV. */
#include "base/terminal.h"
#include "io/files/file.h"
#include "io/files/json_text.h"
#include "report/exact.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>

static const char *const predictions[] = {"mode", "exact", "run"};

static void print_problem(const exact_report *r)
{
    const oracle *o = r->o;
    int grid[2];
    exact_grid_shape(o->grid, grid);
    terminal_print(stdout, "%s", r->name);
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
    bool turned = r->posterior.block_count > 0;
    printf("  sigma^2 over the optimum 1/%s     %10.5f median; 5%% %.4f, 25%% %.4f, 75%% %.4f, "
           "95%% %.4f\n",
           turned ? "q'Lq" : "L_ii", c->quantiles[2], c->quantiles[0], c->quantiles[1],
           c->quantiles[3], c->quantiles[4]);
    printf("  sigma^2 over the exact variance     %10.5f median\n", c->inverse);
    printf("  KL(run || exact)                    %10.5g nats: %.5g of the mean, %.5g of the "
           "variances, %.5g of %s\n",
           c->kl, c->kl_mean, c->kl_variance, c->kl_basis,
           turned ? "its directions q" : "any diagonal");
    if (turned) printf("  KL(best diagonal || exact)          %10.5g nats\n", c->kl_diagonal);
    printf("  KL(run || best diagonal)            %10.5g nats\n", c->kl_best);
}

static void print_distances(const exact_report *r)
{
    const oracle_distances *d = &r->distances;
    printf("\ndistances from the posterior itself, its constant to %.2g nats\n", d->error);
    if (r->posterior.sigma) printf("  KL(run || posterior)                %10.5g nats\n", d->run);
    printf("  KL(exact Gaussian || posterior)     %10.5g nats\n", d->gaussian);
    printf("  KL(best diagonal || posterior)      %10.5g nats\n", d->diagonal);
}

static void print_scores(const exact_report *r)
{
    static const char *const names[] = {"exact mode", "exact posterior", "run's posterior"};
    bool classes = r->o->classes;
    printf("\n%-18s %10s %10s %10s\n", "predictions", "NLL", classes ? "accuracy" : "RMSE",
           classes ? "ECE" : "coverage");
    for (size_t k = 0; k < PREDICTIONS; k++) {
        const oracle_score *s = &r->scores[k];
        if (k == PREDICT_RUN && !r->posterior.sigma) continue;
        printf("%-18s %10.5f %10.5f %10.5f\n", names[k], s->nll, classes ? s->accuracy : s->rmse,
               classes ? s->ece : s->coverage_error);
    }
}

void exact_print(const exact_report *r)
{
    print_problem(r);
    if (r->posterior.sigma) print_comparison(r);
    if (r->sampled) print_distances(r);
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

static json_t *list_json(const double *values, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) json_text_add(&list, json_text_number(values[i]));
    return list;
}

static void put_comparison(json_t **o, const oracle_comparison *c)
{
    json_text_put(o, "mean_error", c->mean_error);
    json_text_set(o, "variance_ratio", list_json(c->quantiles, 5));
    json_text_put(o, "variance_over_exact", c->inverse);
    json_text_put(o, "kl", c->kl);
    json_text_put(o, "kl_mean", c->kl_mean);
    json_text_put(o, "kl_variance", c->kl_variance);
    json_text_put(o, "kl_basis", c->kl_basis);
    json_text_put(o, "kl_diagonal", c->kl_diagonal);
    json_text_put(o, "kl_best_diagonal", c->kl_best);
}

static json_t *distances_json(const oracle_distances *d)
{
    json_t *o = json_object();
    json_text_put(&o, "run", d->run);
    json_text_put(&o, "gaussian", d->gaussian);
    json_text_put(&o, "diagonal", d->diagonal);
    json_text_put(&o, "error", d->error);
    return o;
}

static json_t *score_json(const oracle_score *s)
{
    json_t *o = json_object();
    json_text_put(&o, "nll", s->nll);
    json_text_put(&o, "accuracy", s->accuracy);
    json_text_put(&o, "ece", s->ece);
    json_text_put(&o, "rmse", s->rmse);
    json_text_put(&o, "coverage_error", s->coverage_error);
    return o;
}

static void put_spectrum(json_t **o, const exact_report *r)
{
    size_t n = r->o->unknowns;
    json_text_set(o, "spectrum", list_json(r->spectrum, n));
    json_text_set(o, "curvature_diagonal", list_json(r->curvature, n));
    if (r->hessian) json_text_set(o, "hessian", list_json(r->hessian, n));
}

static json_t *report_json(const exact_report *r)
{
    const oracle *o = r->o;
    const oracle_maximum *m = &r->maximum;
    int grid[2];
    exact_grid_shape(o->grid, grid);
    json_t *out = json_pack("{s:s}", "name", r->name);
    if (r->is_run) json_text_set(&out, "step", json_integer((json_int_t)r->step));
    json_text_set(&out, "unknowns", json_integer((json_int_t)o->unknowns));
    json_text_set(&out, "training_rows", json_integer((json_int_t)o->count));
    json_text_set(&out, "grid", json_pack("[i,i]", grid[0], grid[1]));
    json_text_put(&out, "ess", o->ess);
    json_text_put(&out, "loss", o->loss);
    json_text_put(&out, "log_evidence", o->log_evidence);
    json_text_put(&out, "log_determinant", o->log_determinant);
    if (r->maximized)
        json_text_set(&out, "maximum",
                      json_pack("{s:o,s:o,s:o,s:b}", "log_evidence",
                                json_text_number(m->log_evidence), "prior",
                                json_text_number(m->prior), "noise_variance",
                                json_text_number(m->noise_variance), "at_edge", m->at_edge));
    if (r->posterior.sigma) put_comparison(&out, &r->comparison);
    if (r->sampled) json_text_set(&out, "posterior", distances_json(&r->distances));
    for (size_t k = 0; r->predicted && k < (r->posterior.sigma ? PREDICTIONS : PREDICT_RUN); k++)
        json_text_set(&out, predictions[k], score_json(&r->scores[k]));
    json_text_put(&out, "loo_loss", r->loo_loss);
    json_text_put(&out, "loo_correlation", r->loo_correlation);
    json_text_put(&out, "moved_correlation", r->moved_correlation);
    if (r->spectrum) put_spectrum(&out, r);
    return out;
}

status exact_print_json(const exact_report *r)
{
    return json_text_print(stdout, report_json(r), 0);
}

static void write_unknowns(FILE *out, const void *context)
{
    const exact_report *r = context;
    const oracle *o = r->o;
    fprintf(out, "tensor,element,mode,exact_deviation,optimal_deviation%s\n",
            r->is_run ? r->posterior.sigma ? ",mean,deviation" : ",mean" : "");
    for (size_t i = 0; i < o->unknowns; i++) {
        size_t element;
        const tensor *t = jacobian_tensor(o->x, i, &element);
        fprintf(out, "%s,%zu,%.17g,%.17g,%.17g", t->name, element, o->mode[i],
                sqrt(r->variances[i]), 1.0 / sqrt(o->diagonal[i]));
        if (r->is_run) fprintf(out, ",%.9g", r->o->start[i]);
        if (r->posterior.sigma) fprintf(out, ",%.9g", r->posterior.sigma[i]);
        fputc('\n', out);
    }
}

static void write_examples(FILE *out, const void *context)
{
    const exact_report *r = context;
    fprintf(out, "index,left_out,loss,loo_loss,moved\n");
    for (uint64_t i = 0; i < r->examples; i++)
        fprintf(out, "%" PRIu64 ",%d,%.17g,%.17g,%.17g\n", i, dataset_left_out(r->o->data, i),
                r->left[i].loss, r->left[i].loo_loss, r->left[i].moved);
}

status exact_write_unknowns(const exact_report *r, const char *path)
{
    return file_print_atomic(path, write_unknowns, r);
}

status exact_write_examples(const exact_report *r, const char *path)
{
    return file_print_atomic(path, write_examples, r);
}
