/* Settings that a run finds by itself (optimizer.settings: auto), of one look at its gradients
 * before the first step. A run that goes on has them in its job. */
#include "io/files/json_text.h"
#include "io/runs/job_of_run.h"
#include "optimizer/automatic.h"
#include "runtime/agree.h"
#include "runtime/guard.h"
#include "train/train_parts.h"
#include "train/trainer_parts.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Adds up gradients at the mean, and updates nothing. */
static const optimizer adds_gradients = {.name = "gradients", .spread = SPREAD_NONE};

/* Items that see the same weights have the same gradients, but for dropout. */
static job pass_job(const job *j)
{
    job pass = *j;
    pass.optimizer.mc_samples = 1;
    pass.parallel.wire = DTYPE_F32;
    if (pass.parallel.shard < SHARD_GRADIENTS) pass.parallel.shard = SHARD_GRADIENTS;
    return pass;
}

static status read_init(const training *g, trainer *r)
{
    pretrained *w;
    uint64_t checksum;
    state *s = &r->rounds.state;
    saved_array mean = {.values = s->mean.values, .whole = s->mean.whole};
    if (!job_init(g->job)) return STATUS_OK;
    status result = pretrained_open(&w, g->c->world, g->job->model.init, &r->config);
    if (result) return result;
    result = pretrained_load(w, &mean, s->owned->owned, s->owned->owned_count, &checksum);
    pretrained_close(&w);
    if (!result) state_share(s, g->c);
    return result;
}

static status refuse_step(const training *g, const trainer *r, const step_result *found)
{
    const parameters *p = &r->rounds.p;
    if (found->stopped)
        return fail(STATUS_STOPPED,
                    "%s: stopped by %s before the first step, run the same command again", g->path,
                    guard_reason());
    return fail(
        STATUS_NUMERIC,
        "%s: %s is not finite at the initial weights, of which optimizer.settings: auto makes "
        "the settings; the first bad unit begins with %s",
        g->path, found->bad_unit < p->unit_count ? "a gradient" : "the loss",
        found->bad_unit < p->unit_count ? p->tensors[p->units[found->bad_unit].first].name
                                        : "none");
}

/* The first step's work items; six digits, as settings have four. */
static status look(const training *g, trainer *r, double *mean_square)
{
    char text[40];
    step_result found;
    uint64_t items = r->rounds.state.settings.items;
    status result = read_init(g, r);
    if (!result) result = trainer_rounds(r, g->train, 0, items, &found);
    if (result) return result;
    if (found.stopped || found.skipped) return refuse_step(g, r, &found);
    snprintf(text, sizeof text, "%.5e",
             found.clipped_squared / ((double)items * (double)r->rounds.p.count));
    *mean_square = strtod(text, NULL);
    return STATUS_OK;
}

static status look_at_gradients(const training *g, double *mean_square)
{
    trainer r;
    const job pass = pass_job(g->job);
    runtime_settings with = job_settings(&pass);
    with.row = &adds_gradients;
    settings_decide(&with);
    status result = trainer_open_measuring(&r, &pass, &with, g->c, g->options->precision);
    if (result) return result;
    result = look(g, &r, mean_square);
    trainer_close(&r);
    return result;
}

/* Rank 0, of a run that goes on. */
static status take_kept(training *g)
{
    char said[STATUS_MESSAGE_SIZE];
    job kept;
    status result = job_of_run(&kept, g->path, said); /* what it says is told later */
    if (!result) job_take_derived(&g->own, &kept);
    return result;
}

static status derive(training *g)
{
    char message[STATUS_MESSAGE_SIZE];
    status result = job_derive(&g->own, dataset_rows(g->train), g->mean_square);
    if (!result) return STATUS_OK;
    snprintf(message, sizeof message, "%s", status_message());
    status_clear();
    return fail(result, "%.400s: %.600s", g->path, message);
}

status train_find_settings(training *g, bool resume)
{
    status result = STATUS_OK;
    if (!g->job->waiting) return STATUS_OK;
    if (!resume && job_needs_gradients(g->job)) result = look_at_gradients(g, &g->mean_square);
    if (result) return result;
    if (train_first_rank(g)) result = resume ? take_kept(g) : derive(g);
    result = agree(g->c->world, result);
    if (result) return result;
    MPI_Bcast(&g->own, (int)sizeof g->own, MPI_BYTE, 0, g->c->world);
    g->derived = !resume;
    return STATUS_OK;
}

/* The numbers, an optimizer's own ones among them. */
static json_t *settings_json(const training *g)
{
    uint64_t rows = dataset_rows(g->train);
    const optimizer_settings *o = &g->job->optimizer;
    json_t *details = json_object();
    json_text_put(&details, "ess", o->ess);
    json_text_put(&details, "temperature", job_temperature(g->job, rows));
    json_text_put(&details, "observations", job_observations(g->job, rows));
    json_text_put(&details, "hessian_init", o->hessian_init);
    json_text_put(&details, "weight_decay", o->weight_decay);
    json_text_put(&details, "beta2", o->beta2);
    if (optimizer_find_automatic(job_optimizer(g->job), "clip.update"))
        json_text_put(&details, "clip.update", g->job->clip.update);
    if (optimizer_find_automatic(job_optimizer(g->job), "optimizer.rest_lr"))
        json_text_put(&details, "rest_lr", o->rest_lr);
    if (g->mean_square > 0.0) json_text_put(&details, "gradient_rms", sqrt(g->mean_square));
    return details;
}

void train_note_settings(training *g)
{
    char line[STATUS_MESSAGE_SIZE], gradients[80] = "";
    if (!g->derived) return;
    job_settings_say(g->job, dataset_rows(g->train), line, sizeof line);
    if (g->mean_square > 0.0)
        snprintf(gradients, sizeof gradients, " (from gradients of %.2g at the start)",
                 sqrt(g->mean_square));
    progress_say(&g->progress, "%s%s", line, gradients);
    train_note(g, "settings", settings_json(g));
}
