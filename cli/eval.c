/* vario eval: how good a run's predictions are, the same bits on any number of ranks. */
#include "cli/ensemble_options.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "report/eval_report.h"
#include "runtime/agree.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BINS = 1000 };

typedef struct {
    ensemble_request request;
    uint64_t batches, bins;
    const char *data, *rows, *picture;
    bool json;
} arguments;

static status check_bins(const arguments *a)
{
    if (a->bins >= 1 && a->bins <= MAX_BINS) return STATUS_OK;
    return fail(STATUS_INPUT, "vario eval: --bins: %" PRIu64 " found, from 1 to %d expected",
                a->bins, MAX_BINS);
}

/* Rank 0 begins the picture before anything is computed for it. */
static status open_picture(plot *p, const session *s, const arguments *a, const ensemble *e)
{
    if (!a->picture) return STATUS_OK;
    int width = (int)evaluation_panels(e) * EVALUATION_PANEL;
    status result = s->c.rank == 0 ? plot_open(p, a->picture, width, EVALUATION_HEIGHT) : STATUS_OK;
    return agree(s->c.world, result);
}

static status predict_all(evaluation *v, const ensemble *e, const dataset *data, const arguments *a)
{
    member mean = ensemble_mean(e);
    status result = predict(&v->mean, &mean, 1, data, a->batches, false);
    if (!result && ensemble_has_average(e))
        result = predict(&v->averaged, e->members, e->member_count, data, a->batches, true);
    return result;
}

static status score(evaluation *v)
{
    v->mean_bins = calloc(v->bin_count, sizeof *v->mean_bins);
    v->averaged_bins = calloc(v->bin_count, sizeof *v->averaged_bins);
    if (!v->mean_bins || !v->averaged_bins)
        return fail(STATUS_NOMEM, "memory for %zu bins", v->bin_count);
    status result = predictions_score(&v->mean, 0, v->mean_bins, v->bin_count, &v->at_mean);
    for (size_t i = 0; !result && i < v->averaged.points; i++)
        result = predictions_score(&v->averaged, i, v->averaged_bins, v->bin_count, &v->curve[i]);
    return result;
}

/* Training examples are drawn where they are found: runs travel without their data. */
static status read_points(evaluation *v, const dataset *data, const arguments *a)
{
    const job *j = &v->e->jobs[0];
    dataset *train = NULL;
    if (!evaluation_has_curve(v->e) || !(a->rows || a->picture)) return STATUS_OK;
    status result = points_read(&v->rows, data, j, v->mean.rows);
    if (result || !a->picture) return result;
    if (dataset_open(&train, j, DATASET_TRAIN, NULL) != STATUS_OK) {
        status_clear();
        return STATUS_OK;
    }
    result = points_read(&v->trained, train, j, dataset_count(train));
    dataset_close(&train);
    return result;
}

static status report(evaluation *v, const dataset *data, const arguments *a, plot *picture)
{
    status result = score(v);
    if (!result) result = read_points(v, data, a);
    if (!result && a->rows) result = evaluation_write_rows(v, a->rows);
    if (!result && a->picture) {
        evaluation_draw(v, picture);
        result = plot_close(picture, true);
    }
    if (!result && !a->data) result = evaluation_keep(v);
    if (result) return result;
    if (a->json) return evaluation_print_json(v);
    evaluation_print(v);
    return STATUS_OK;
}

static void evaluation_close(evaluation *v)
{
    predictions_close(&v->mean);
    predictions_close(&v->averaged);
    free(v->mean_bins);
    free(v->averaged_bins);
    points_close(&v->rows);
    points_close(&v->trained);
}

static status evaluate(session *s, const arguments *a, ensemble *e, plot *picture)
{
    evaluation v = {.e = e, .bin_count = (size_t)a->bins};
    dataset *data = NULL;
    status result = session_compute(s, e->jobs[0].parallel.threads, a->request.quiet);
    if (result) return result;
    result = agree(s->c.world, dataset_open(&data, &e->jobs[0], DATASET_VALID, a->data));
    if (!result) ensemble_warn_tokens(e, &s->c, data);
    if (!result) result = ensemble_open(e, &s->c, s->bf16);
    if (!result) result = predict_all(&v, e, data, a);
    if (!result)
        result = agree(s->c.world, s->c.rank == 0 ? report(&v, data, a, picture) : STATUS_OK);
    evaluation_close(&v);
    dataset_close(&data);
    return result;
}

static status eval_verb(session *s, void *context, const char **rest)
{
    arguments *a = context;
    ensemble e;
    plot picture = {0};
    a->request.own_data = a->data != NULL;
    status result = check_bins(a);
    if (result) return result;
    result = ensemble_read(&e, &s->c, rest, &a->request);
    for (size_t i = 0; !result && i < e.count; i++)
        result = session_check_outputs(s, &e.jobs[i], e.paths[i]);
    if (!result) result = open_picture(&picture, s, a, &e);
    if (!result) result = evaluate(s, a, &e, &picture);
    plot_close(&picture, false);
    ensemble_close(&e);
    return result;
}

int eval_main(int argc, char **argv)
{
    arguments a = {.request = ENSEMBLE_REQUEST("eval"), .bins = METRICS_BINS};
    const option options[] = {
        ENSEMBLE_OPTIONS(a.request),
        {"--data", OPTION_INPUT, &a.data, "TEXT", "token files or examples, instead of data.valid"},
        {"--batches", OPTION_COUNT, &a.batches, "N", "only the first N batches (0: all)"},
        {"--bins", OPTION_COUNT, &a.bins, "B", "of confidence, for the calibration error (20)"},
        {"--tokens", OPTION_OUTPUT, &a.rows, "FILE", "write a CSV row for every token or example"},
        {"--plot", OPTION_OUTPUT, &a.picture, "FILE",
         "draw reliability, and the curve where there is one (.png or .svg)"},
        OPTION_JSON(a.json),
        OPTION_QUIET(a.request.quiet),
    };
    const option_table table = {"eval",
                                "RUN [RUN...] [--samples S] [--json]",
                                "How good the predictions of a run's newest checkpoint are: loss, "
                                "accuracy, calibration,\nuncertainty; at the mean, and averaged "
                                "over posterior samples, dropouts or several runs.",
                                options,
                                sizeof options / sizeof options[0],
                                1,
                                ENSEMBLE_RUNS};
    return session_main(&table, argc, argv, eval_verb, &a);
}
