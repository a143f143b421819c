/* vario ood: how well a run tells data of another kind from its own, by its predictions. */
#include "cli/ensemble_options.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "report/ood_report.h"
#include "runtime/agree.h"

typedef struct {
    ensemble_request request;
    uint64_t batches;
    const char *in, *out, *picture;
    bool json;
} arguments;

static status check_model(const ensemble *e)
{
    model_config config = job_model(&e->jobs[0]);
    if (model_has_classes(&config)) return STATUS_OK;
    return fail(STATUS_INPUT, "%s: a model of classes or tokens expected, one of values found",
                e->paths[0]);
}

/* Rank 0 begins the picture before anything is computed for it. */
static status open_picture(plot *p, const session *s, const arguments *a, const ensemble *e)
{
    int panels = ensemble_has_average(e) ? 2 : 1;
    if (!a->picture || s->c.rank != 0) return STATUS_OK;
    return plot_open(p, a->picture, panels * OOD_PANEL, OOD_HEIGHT);
}

static status predict_sets(ood_report *r, const arguments *a, const dataset *in, const dataset *out)
{
    const ensemble *e = r->e;
    member mean = ensemble_mean(e);
    status result = predict(&r->mean.in, &mean, 1, in, a->batches, false);
    if (!result) result = predict(&r->mean.out, &mean, 1, out, a->batches, false);
    if (result || !r->has_average) return result;
    result = predict(&r->averaged.in, e->members, e->member_count, in, a->batches, false);
    if (!result)
        result = predict(&r->averaged.out, e->members, e->member_count, out, a->batches, false);
    return result;
}

static status report(ood_report *r, const arguments *a, plot *picture)
{
    status result = detection_score(&r->mean);
    if (!result && r->has_average) result = detection_score(&r->averaged);
    if (!result && a->picture) {
        ood_draw(r, picture);
        result = plot_close(picture, true);
    }
    if (result) return result;
    if (a->json) return ood_print_json(r);
    ood_print(r);
    return STATUS_OK;
}

static void close_report(ood_report *r)
{
    predictions_close(&r->mean.in);
    predictions_close(&r->mean.out);
    predictions_close(&r->averaged.in);
    predictions_close(&r->averaged.out);
}

static status detect(session *s, const arguments *a, ensemble *e, plot *picture)
{
    const job *j = &e->jobs[0];
    ood_report r = {.e = e,
                    .in_text = a->in ? a->in : j->data.valid,
                    .out_text = a->out,
                    .has_average = ensemble_has_average(e)};
    dataset *in = NULL, *out = NULL;
    status result = session_compute(s, j->parallel.threads, a->request.quiet);
    if (result) return result;
    result = dataset_open(&in, j, DATASET_VALID, a->in);
    if (!result) result = dataset_open(&out, j, DATASET_UNLABELLED, a->out);
    if (!result) result = open_picture(picture, s, a, e);
    result = agree(s->c.world, result);
    if (!result) ensemble_warn_tokens(e, &s->c, in);
    if (!result) ensemble_warn_tokens(e, &s->c, out);
    if (!result) result = ensemble_open(e, &s->c, s->bf16);
    if (!result) result = predict_sets(&r, a, in, out);
    if (!result) result = agree(s->c.world, s->c.rank == 0 ? report(&r, a, picture) : STATUS_OK);
    close_report(&r);
    dataset_close(&in);
    dataset_close(&out);
    return result;
}

static status ood_verb(session *s, void *context, const char **rest)
{
    arguments *a = context;
    ensemble e;
    plot picture = {0};
    a->request.own_data = a->in != NULL;
    if (!a->out) return fail(STATUS_INPUT, "vario ood: --out DATA expected, none found");
    status result = ensemble_read(&e, &s->c, rest, &a->request);
    for (size_t i = 0; !result && i < e.count; i++)
        result = session_check_outputs(s, &e.jobs[i], e.paths[i]);
    if (!result) result = check_model(&e);
    if (!result) result = detect(s, a, &e, &picture);
    plot_close(&picture, false);
    ensemble_close(&e);
    return result;
}

int ood_main(int argc, char **argv)
{
    arguments a = {.request = ENSEMBLE_REQUEST("ood")};
    const option options[] = {
        {"--in", OPTION_INPUT, &a.in, "DATA", "data like the training set's (data.valid)"},
        {"--out", OPTION_INPUT, &a.out, "DATA", "data of another kind, whose labels are not read"},
        ENSEMBLE_OPTIONS(a.request),
        {"--batches", OPTION_COUNT, &a.batches, "N",
         "only the first N batches of each set (0: all)"},
        {"--plot", OPTION_OUTPUT, &a.picture, "FILE", "draw histograms (.png or .svg)"},
        OPTION_JSON(a.json),
        OPTION_QUIET(a.request.quiet),
    };
    const option_table table = {"ood",
                                "RUN [RUN...] --out DATA [--in DATA] [--samples S] [--json]",
                                "How well a run tells data of another kind from its own: by the "
                                "largest probability,\nby the predictive entropy, and with samples "
                                "by the mutual information.",
                                options,
                                sizeof options / sizeof options[0],
                                1,
                                ENSEMBLE_RUNS};
    return session_main(&table, argc, argv, ood_verb, &a);
}
