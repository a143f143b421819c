/* Checkpoints merged on any number of ranks: what the files hold, and what is refused. */
#include "analysis/merging.h"
#include "checkpoint_fixture.h"
#include "io/checkpoints/checkpoint_sink.h"
#include "io/checkpoints/checkpoint_source.h"

#include <jansson.h>

MPI_SUITE(merging, NULL, NULL)

enum { RUNS = 3 }; /* a base at 0, and two models */

static const double lambdas[RUNS] = {1e6, 5e5, 3e6};

typedef struct {
    setup t; /* its arrays are those of a run in the making, its run the directory above all */
    char paths[RUNS][2 * PATH_LENGTH];
} runs;

/* Values of run k: weights of either sign, and h above 0. */
static float weight_of(size_t k, size_t index)
{
    return value_of(k, 0, index);
}

static float h_of(size_t k, size_t index)
{
    return 1e-4F * (9.0F + value_of(k, 1, index));
}

/* Write run k with the arrays of its job, and h wherever arrays[1] is a posterior. */
static void write_run(runs *r, size_t k)
{
    setup *t = &r->t;
    checkpoint_prior prior;
    checkpoint_sink *s = NULL;
    in(r->paths[k], "%s/run-%zu", t->run, k);
    bool made = world.rank != 0 || mkdir(r->paths[k], 0777) == 0;
    cr_assert(everywhere(made));
    for (size_t i = 0; i < t->s.owned_count; i++)
        for (size_t e = 0; e < t->s.owned[i].count; e++) {
            size_t at = t->s.owned[i].offset + e, index = slice_index(&t->p, &t->s.owned[i]) + e;
            t->arrays[0].values[at] = weight_of(k, index);
            t->arrays[1].values[at] = h_of(k, index);
            t->arrays[2].values[at] = 1.0F; /* momentum */
        }
    const runtime_settings settings = job_settings(&t->job);
    cr_assert_eq(checkpoint_prior_of_settings(&prior, &settings, &t->p), STATUS_OK);
    prior.lambda = lambdas[k];
    status result = job_checkpoint_open(&s, world.checkpoint, r->paths[k], &t->job, &prior,
                                        &t->facts, &t->p, t->arrays, ARRAYS);
    for (size_t a = 0; a < ARRAYS; a++)
        checkpoint_sink_write(s, a, t->s.owned, t->s.owned_count, t->arrays[a].values);
    if (!result) result = checkpoint_sink_finish(&s, 0);
    checkpoint_prior_close(&prior);
    cr_assert(everywhere(result == STATUS_OK), "%s", status_message());
}

/* The job writes no posterior by itself when it is another optimizer's. */
static void runs_open(runs *r, optimizer_kind kind)
{
    setup_open(&r->t, ivon_arrays);
    r->t.job.optimizer.kind = kind;
    r->t.facts.steps = 40;
    for (size_t k = 0; k < RUNS; k++) write_run(r, k);
    snprintf(r->t.job.output, sizeof r->t.job.output, "%s", r->t.run);
    strcpy(r->t.job.name, "merged");
}

static status merge(runs *r, merging_options options, uint64_t *negative)
{
    const char *models[] = {r->paths[1], r->paths[2]};
    merging_report report;
    options.runs = models;
    options.run_count = 2;
    status result = merging_run(&r->t.job, &world, &options, &report);
    if (negative) *negative = report.negative;
    json_decref(report.details);
    return result;
}

/* Read arrays of the merged checkpoint into the setup's. */
static void read_merged(runs *r, const saved_array *arrays, size_t count, checkpoint_facts *facts)
{
    setup *t = &r->t;
    char path[2 * PATH_LENGTH];
    saved_array wanted[SAVED_ARRAYS];
    for (size_t a = 0; a < count; a++) {
        wanted[a] = arrays[a];
        wanted[a].values = t->arrays[a].values;
    }
    clear_values(t);
    status result =
        checkpoint_read(world.world, in(path, "%s/merged", t->run), &t->p, wanted, count,
                        t->s.owned, t->s.owned_count, facts, t->used, sizeof t->used);
    cr_assert(everywhere(result == STATUS_OK), "%s", status_message());
}

static bool near(float found, double expected)
{
    return fabs((double)found - expected) <= 1e-6 * (1e-3 + fabs(expected));
}

/* The Hessian merge onto the base, s_t = lambda_t / lambda_0. */
static bool merged_onto_base(const setup *t)
{
    for (size_t i = 0; i < t->s.owned_count; i++) {
        const tensor *x = &t->p.tensors[t->s.owned[i].tensor];
        double delta = x->dimensions == 2 ? 1e-4 : 0.0;
        for (size_t e = 0; e < t->s.owned[i].count; e++) {
            size_t at = t->s.owned[i].offset + e, j = slice_index(&t->p, &t->s.owned[i]) + e;
            double p = (double)h_of(0, j) + delta, c1 = 0.5 * (double)h_of(1, j),
                   c2 = 3.0 * (double)h_of(2, j), whole = p + 0.8 * (c1 + c2);
            double from = (double)weight_of(0, j);
            double expected = from + 0.8 * (p + c1) / whole * ((double)weight_of(1, j) - from) +
                              0.8 * (p + c2) / whole * ((double)weight_of(2, j) - from);
            if (!near(t->arrays[0].values[at], expected) ||
                !near(t->arrays[1].values[at], whole - delta) || t->arrays[2].values[at] != 0.0F)
                return false;
        }
    }
    return true;
}

MPI_TEST(onto_a_base)
{
    runs r;
    checkpoint_facts facts;
    checkpoint_prior prior;
    uint64_t negative = 1;
    runs_open(&r, OPTIMIZER_IVON);
    status result =
        merge(&r, (merging_options){.method = MERGE_HESSIAN, .base = r.paths[0], .alpha = 0.8},
              &negative);
    cr_assert(everywhere(result == STATUS_OK), "%s", status_message());
    cr_expect_eq(negative, 0);
    read_merged(&r, ivon_arrays, ARRAYS, &facts);
    cr_expect_eq(facts.steps, 0);
    cr_expect_eq(facts.updates, 0);
    cr_expect_eq(facts.item, 0);
    cr_expect(everywhere(merged_onto_base(&r.t)));
    cr_assert_eq(checkpoint_prior_read(&prior, r.t.used, &r.t.p), STATUS_OK);
    cr_expect_eq(prior.lambda, lambdas[0]);
    cr_expect_eq(prior.delta[0], 1e-4);
    checkpoint_prior_close(&prior);
    setup_close(&r.t);
}

/* A posterior that no optimizer of the job made: state.json lists it, and the merge keeps it. */
MPI_TEST(posteriors_from_elsewhere)
{
    static const saved_array files[] = {{.file = "model.safetensors"},
                                        {.file = "posterior.safetensors"}};
    runs r;
    checkpoint_facts facts;
    checkpoint_source *again;
    char path[2 * PATH_LENGTH];
    runs_open(&r, OPTIMIZER_SGD);
    status result = merge(
        &r, (merging_options){.method = MERGE_HESSIAN, .base = r.paths[0], .alpha = 0.8}, NULL);
    cr_assert(everywhere(result == STATUS_OK), "%s", status_message());
    read_merged(&r, files, 2, &facts);
    memset(r.t.arrays[2].values, 0, r.t.s.elements * sizeof(float)); /* of momentum, not read */
    cr_expect(everywhere(merged_onto_base(&r.t)));
    const runtime_settings with = job_settings(&r.t.job);
    result =
        checkpoint_source_open(&again, world.world, in(path, "%s/merged", r.t.run), &with, &r.t.p);
    cr_assert(everywhere(result == STATUS_OK));
    cr_expect_eq(checkpoint_source_prior(again)->lambda, lambdas[0]);
    checkpoint_source_close(&again);
    setup_close(&r.t);
}

static void must_fail(status result, const char *what, const char *where)
{
    bool named =
        result == STATUS_INPUT && strstr(status_message(), what) && strstr(status_message(), where);
    cr_assert(everywhere(named), "status %d, '%s' and '%s' expected in: %s", (int)result, what,
              where, status_message());
    status_clear();
}

/* Whole files with values that no posterior can have; the last element, which no rank but one
 * sees. */
MPI_TEST(refuses_what_no_posterior_can_hold)
{
    runs r;
    char path[2 * PATH_LENGTH];
    runs_open(&r, OPTIMIZER_IVON);
    const slice *last = &r.t.s.owned[r.t.s.owned_count ? r.t.s.owned_count - 1 : 0];
    bool mine = r.t.s.owned_count && slice_index(&r.t.p, last) + last->count == r.t.p.count;
    static const float values[2] = {NAN, 0.0F}; /* delta of a bias is 0 */
    for (size_t a = 0; a < 2; a++) {
        checkpoint_writer *w;
        float *at = mine ? &r.t.arrays[a].values[last->offset + last->count - 1] : NULL, old = 0.0F;
        if (at) {
            old = *at;
            *at = values[a];
        }
        r.t.facts.steps = 50 + a;
        status result =
            job_checkpoint_begin(&w, world.checkpoint, r.paths[2], &r.t.job, &r.t.facts, &r.t.p,
                                 r.t.arrays, ARRAYS, r.t.s.owned, r.t.s.owned_count);
        if (!result) result = checkpoint_finish(&w, 0);
        cr_assert(everywhere(result == STATUS_OK));
        if (at) *at = old;
        must_fail(merge(&r, (merging_options){.method = MERGE_HESSIAN}, NULL), r.paths[2],
                  "'ln_f.bias'");
        cr_expect_not(checkpoint_exists(in(path, "%s/merged", r.t.run)));
    }
    setup_close(&r.t);
}

/* The last rank's disk is full. */
static void check_failed_write(runs *r, merging_options options)
{
    if (world.rank == world.size - 1) limit_files(4096);
    status result = merge(r, options, NULL);
    limit_files(RLIM_INFINITY);
    cr_assert(everywhere(result == STATUS_IO && strstr(status_message(), "step-00000000/model")),
              "status %d: %s", (int)result, status_message());
    status_clear();
}

/* What a run holds stays until the new checkpoint is on disk. */
MPI_TEST(replaces_nothing_when_it_fails)
{
    runs r;
    checkpoint_facts facts;
    char path[2 * PATH_LENGTH];
    runs_open(&r, OPTIMIZER_IVON);
    merging_options options = {.method = MERGE_HESSIAN, .base = r.paths[0], .alpha = 0.8};
    check_failed_write(&r, options);
    bool absent = access(in(path, "%s/merged/job.yaml", r.t.run), F_OK) != 0;
    cr_expect(everywhere(absent && !checkpoint_exists(in(path, "%s/merged", r.t.run))));
    status result = merge(&r, options, NULL);
    cr_assert(everywhere(result == STATUS_OK), "%s", status_message());
    must_fail(merge(&r, options, NULL), "merged", "--force");
    options.force = true;
    check_failed_write(&r, options);
    bool kept = access(in(path, "%s/merged/job.yaml", r.t.run), F_OK) == 0;
    cr_expect(everywhere(kept));
    read_merged(&r, ivon_arrays, ARRAYS, &facts);
    cr_expect(everywhere(merged_onto_base(&r.t)));
    setup_close(&r.t);
}
