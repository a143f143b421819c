/* A step: rounds of sample and accumulate, then the update. */
#include "library/optimizer.h"
#include "runtime/agree.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <xxhash.h>

static uint64_t first_item(const vario_optimizer *v)
{
    return (uint64_t)v->round * (uint64_t)v->c.size;
}

static size_t rounds_of(const vario_optimizer *v)
{
    uint64_t ranks = (uint64_t)v->c.size;
    return (size_t)((v->r.state.settings.items + ranks - 1) / ranks);
}

static int64_t item_of(const vario_optimizer *v)
{
    uint64_t item = first_item(v) + (uint64_t)v->c.rank;
    return item < v->r.state.settings.items ? (int64_t)item : -1;
}

/* Calls that return no status keep the sentence of the one before, unless they refuse. */
static bool is_there(const vario_optimizer *v, const char *call)
{
    if (v) return true;
    library_begin();
    library_end(library_usable(v, call));
    return false;
}

size_t vario_rounds(const vario_optimizer *v)
{
    return is_there(v, "vario_rounds") ? rounds_of(v) : 0;
}

int64_t vario_item(const vario_optimizer *v)
{
    return is_there(v, "vario_item") ? item_of(v) : -1;
}

uint64_t vario_steps(const vario_optimizer *v)
{
    return is_there(v, "vario_steps") ? v->steps : 0;
}

/* Draw all tensors: with a key from the posterior, else the mean. */
static void draw(const vario_optimizer *v, const noise_key *key, float *const *theta)
{
    const state *s = &v->r.state;
    for (size_t i = 0; i < s->all.owned_count; i++) {
        const slice *part = &s->all.owned[i];
        if (key)
            state_sample(s, part, *key, theta[part->tensor], DTYPE_F32);
        else
            memcpy(theta[part->tensor], state_center(s, part), part->count * sizeof(float));
    }
}

static status check_sample(const vario_optimizer *v, float *const *theta)
{
    status result = library_connected(v, "vario_sample");
    if (!result) result = library_usable(v, "vario_sample");
    if (!result && v->round == rounds_of(v))
        result = fail(STATUS_INPUT,
                      "vario_sample: all %zu rounds of step %" PRIu64 " are done, vario_step "
                      "expected",
                      v->round, v->steps);
    if (!result && v->steps > UINT32_MAX)
        result = fail(STATUS_INPUT, "vario_sample: 2^32 steps are done, which is all there are");
    if (!result && item_of(v) >= 0) result = library_values(&v->r.p, theta, "vario_sample");
    return result;
}

vario_status vario_sample(vario_optimizer *v, float *const *theta)
{
    library_begin();
    status result = check_sample(v, theta);
    if (result) return library_end(result);
    rounds *r = &v->r;
    if (v->round == 0) rounds_begin_step(r, v->steps, v->r.state.settings.items, &v->result);
    rounds_begin_round(r, first_item(v));
    if (item_of(v) >= 0) {
        noise_key key = rounds_item_key(r, (size_t)v->c.rank);
        draw(v, v->r.state.settings.variational ? &key : NULL, theta);
    }
    v->sampled = true;
    return library_end(STATUS_OK);
}

static status check_accumulate(const vario_optimizer *v, float *const *gradients)
{
    status result = library_usable(v, "vario_accumulate");
    if (!result && !v->sampled)
        result = fail(STATUS_INPUT, "vario_accumulate: vario_sample expected before it");
    if (!result && item_of(v) >= 0) result = library_values(&v->r.p, gradients, "vario_accumulate");
    return result;
}

/* As a model hands them over, from the last unit to the first. */
static void hand_over(vario_optimizer *v, float *const *gradients)
{
    rounds *r = &v->r;
    bool works = item_of(v) >= 0;
    for (size_t u = r->p.unit_count; u-- > 0;) {
        const unit *whole = &r->p.units[u];
        char *to = works ? (char *)rounds_gradient(r, u) : NULL;
        for (size_t i = whole->first; works && i < whole->first + whole->tensors; i++)
            memcpy(to + r->state.gradient.tensor_offset[i], gradients[i],
                   r->p.tensors[i].count * sizeof(float));
        rounds_gradient_done(r, u);
    }
}

vario_status vario_accumulate(vario_optimizer *v, float *const *gradients)
{
    library_begin();
    status result = library_connected(v, "vario_accumulate");
    if (result) return library_end(result);
    result = agree(v->c.world, check_accumulate(v, gradients));
    if (result) return library_end(result);
    hand_over(v, gradients);
    rounds_share(&v->r, (round_facts){.written = true}, &v->result);
    v->sampled = false;
    v->round++;
    if (v->round < rounds_of(v)) rounds_end(&v->r); /* the update ends the last */
    return library_end(STATUS_OK);
}

static status check_step(const vario_optimizer *v, double lr)
{
    status result = library_usable(v, "vario_step");
    if (!result && v->round < rounds_of(v))
        result = fail(STATUS_INPUT, "vario_step: %zu rounds of %zu are accumulated, all expected",
                      v->round, rounds_of(v));
    return result ? result : library_rate(&v->r.state.settings, lr);
}

/* What all ranks must agree in: an update, and whether it is told about. */
static uint64_t step_hash(double lr, const vario_report *report)
{
    return XXH3_64bits_withSeed(&lr, sizeof lr, report != NULL);
}

static void make_report(vario_optimizer *v, const state_statistics *s, vario_report *report)
{
    const state_report *done = &v->result.report;
    double clipped = (double)done->clipped;
    comm_sum_ordered(&v->c, &clipped, 1);
    *report = (vario_report){.skipped = v->result.skipped,
                             .updates = v->r.state.updates,
                             .gradient_norm = done->grad_norm,
                             .gradient_clipped = v->result.gradient_clip_fraction,
                             .update_clipped = clipped / (double)v->r.p.count,
                             .sigma_mean = s->sigma_mean,
                             .hessian_min = s->hessian_min,
                             .hessian_mean = s->hessian_mean,
                             .hessian_bias = s->hessian_bias};
}

vario_status vario_step(vario_optimizer *v, double lr, vario_report *report)
{
    library_begin();
    status result = library_connected(v, "vario_step");
    if (result) return library_end(result);
    result = library_agree(v, check_step(v, lr), step_hash(lr + 0.0, report),
                           "vario_step: ranks differ in the learning rate, or in whether "
                           "they want a report, the same expected");
    if (result) return library_end(result);
    state_statistics statistics = {NAN, NAN, NAN, NAN};
    v->result.report.grad_norm = NAN;
    rounds_finish_step(&v->r, lr, &v->result, report ? &statistics : NULL);
    v->steps++;
    v->skipped_in_row = v->result.skipped ? v->skipped_in_row + 1 : 0;
    v->round = 0;
    if (report) make_report(v, &statistics, report);
    return library_end(STATUS_OK);
}

vario_status vario_mean(const vario_optimizer *v, float *const *theta)
{
    library_begin();
    status result = library_usable(v, "vario_mean");
    if (!result) result = library_values(&v->r.p, theta, "vario_mean");
    if (!result) draw(v, NULL, theta);
    return library_end(result);
}

vario_status vario_draw(const vario_optimizer *v, uint32_t sample, float *const *theta)
{
    library_begin();
    status result = library_posterior(v, "vario_draw");
    if (!result) result = library_values(&v->r.p, theta, "vario_draw");
    noise_key key = {
        .seed = v ? v->r.state.settings.seed : 0, .stream = STREAM_POSTERIOR, .sample = sample};
    if (!result) draw(v, &key, theta);
    return library_end(result);
}

/* sigma is kept where not every h is at hand. */
vario_status vario_deviation(const vario_optimizer *v, float *const *sigma)
{
    library_begin();
    status result = library_posterior(v, "vario_deviation");
    if (!result) result = library_values(&v->r.p, sigma, "vario_deviation");
    const state *s = v ? &v->r.state : NULL;
    for (size_t i = 0; !result && i < s->all.owned_count; i++) {
        const slice *part = &s->all.owned[i];
        if (s->sigma.values)
            memcpy(sigma[part->tensor], state_at(s, s->sigma, part), part->count * sizeof(float));
        else
            state_sigma(s, part, sigma[part->tensor]);
    }
    return library_end(result);
}
