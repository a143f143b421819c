#include "train/step_time.h"

#include "io/files/json_text.h"
#include "train/trainer_parts.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>

/* What all ranks' plans say together. */
typedef struct {
    double largest;           /* elements of the largest owner */
    double elements;          /* of all */
    double sent[BYTES_KINDS]; /* bytes of a rank, in the mean */
    double units;
} plans;

static status add_plans(plans *all, const job *j, size_t ranks, size_t nodes,
                        const loo_estimator *estimator)
{
    *all = (plans){.units = (double)j->model.gpt2.n_layer + 2.0};
    for (size_t rank = 0; rank < ranks; rank++) {
        plan p;
        const plan_rank of = plan_rank_of(ranks, rank, nodes);
        status result = plan_make(&p, j, &of, j->precision, estimator);
        if (result) return result;
        all->elements += (double)p.elements;
        all->largest = fmax(all->largest, (double)p.elements);
        for (int kind = 0; kind < BYTES_KINDS; kind++)
            all->sent[kind] += (double)p.sent[kind] / (double)ranks;
    }
    return STATUS_OK;
}

/* The measured optimizer that one is like. */
static cluster_cost cost_of(const runtime_settings *with)
{
    if (with->row->matrix) return COST_EVON;
    return with->variational ? COST_IVON : COST_ADAMW;
}

/* Elements of embeddings and of the last norm, which a row of matrices leaves to another. */
static double rest_elements(const job *j)
{
    const gpt2_config *m = &j->model.gpt2;
    return (double)(m->vocab_size + m->block_size + 1) * (double)m->n_embd;
}

/* Seconds of the largest owner: `items` gradients and an update. */
static double owner_seconds(const job *j, const runtime_settings *with, const cluster_profile *p,
                            const plans *all, double items)
{
    cluster_cost cost = cost_of(with);
    double each = items * p->item[cost] + p->step[cost], share = all->largest / all->elements;
    if (cost != COST_EVON) return (with->updates_all ? all->elements : all->largest) * each;
    double rest = rest_elements(j), other = items * p->item[COST_ADAMW] + p->step[COST_ADAMW];
    return share * ((all->elements - rest) * each + rest * other);
}

typedef struct {
    const cluster *c;
    double ranks, of_node; /* ranks of a node */
} network;

/* Seconds for a rank's messages to all others. */
static double sending(const network *n, double bytes, double messages)
{
    if (n->ranks < 2.0) return 0.0;
    double inside = (n->of_node - 1.0) / (n->ranks - 1.0), outside = 1.0 - inside;
    double seconds = inside * (bytes / n->c->inside.bandwidth + messages * n->c->inside.latency);
    if (outside > 0.0)
        seconds += outside * (bytes * n->of_node / n->c->between.bandwidth +
                              messages * n->c->between.latency);
    return seconds;
}

/* A small thing that everybody has to know. */
static double sharing(const network *n)
{
    double latency = n->ranks > n->of_node ? n->c->between.latency : n->c->inside.latency;
    return n->ranks < 2.0 ? 0.0 : 2.0 * latency * ceil(log2(n->ranks));
}

/* Means and deviations, to all ranks or once to every other node. */
static double sharing_parameters(const network *n, const runtime_settings *with, double bytes,
                                 double units)
{
    double nodes = (double)with->nodes;
    if (!with->shares) return sending(n, bytes, bytes > 0.0 ? units * (n->ranks - 1.0) : 0.0);
    if (with->nodes < 2) return 0.0;
    return bytes * n->of_node / n->c->between.bandwidth +
           units * (nodes - 1.0) * n->c->between.latency;
}

static double waiting(const network *n, const runtime_settings *with, const plans *all,
                      double turns, double passes)
{
    double others = n->ranks - 1.0, fetches = with->fetches ? 2.0 * all->units : 0.0;
    double exchanges = with->sums_locally ? 0.0 : all->units;
    double hidden = sending(n, all->sent[BYTES_WEIGHTS] + all->sent[BYTES_GRADIENTS],
                            turns * (fetches + exchanges) * others);
    double after = sending(n, all->sent[BYTES_NORMS], 0.0) +
                   sharing_parameters(n, with, all->sent[BYTES_PARAMETERS], all->units);
    return fmax(0.0, hidden - passes) + after + (turns + 1.0) * sharing(n);
}

static status find_profile(cluster_profile *p, const job *j, const cluster *c, const char *path)
{
    if (j->model.kind != MODEL_GPT2)
        return fail(STATUS_INPUT,
                    "vario plan --cluster: 'model.kind' gpt2 expected, of which %s has figures",
                    path);
    if (cluster_profile_of(p, c, j->precision, j->model.gpt2.n_embd)) return STATUS_OK;
    return fail(STATUS_INPUT, "%s: sections of %s expected for %s, none found", path,
                j->precision == DTYPE_BF16 ? "bf16" : "fp32", j->name);
}

status step_time_predict(step_time *out, const job *j, const cluster *c, const char *path,
                         size_t ranks, size_t nodes, const loo_estimator *estimator)
{
    cluster_profile p;
    plans all;
    const plan_rank first = plan_rank_of(ranks, 0, nodes);
    runtime_settings with = job_settings(j);
    settings_place(&with, first.nodes, first.place);
    const gpt2_config *m = &j->model.gpt2;
    status result = find_profile(&p, j, c, path);
    if (!result && nodes > 1 && !(c->between.bandwidth > 0.0))
        return fail(STATUS_INPUT,
                    "%s: 'between' expected for %zu nodes, which a launch on several nodes "
                    "measures",
                    path, nodes);
    if (!result) result = add_plans(&all, j, ranks, nodes, estimator);
    if (result) return result;
    double parts = (double)(with.items * with.parts), turns = ceil(parts / (double)ranks);
    double rows = (double)(job_sequences(j) * j->batch.length);
    double head = 6.0 * (double)m->vocab_size * (double)m->n_embd;
    double blocks = gpt2_flops_per_token(m, j->batch.length) - head;
    network n = {c, (double)ranks, (double)((ranks + nodes - 1) / nodes)};
    *out = (step_time){.ranks = ranks, .nodes = nodes};
    out->passes = turns * rows * (blocks / p.blocks + head / p.head);
    if (with.variational)
        out->draws = turns * all.elements * p.sample * (with.fetches && ranks > 1 ? 2.0 : 1.0);
    out->owner = owner_seconds(j, &with, &p, &all, parts);
    out->wait = waiting(&n, &with, &all, turns, out->passes);
    out->seconds = out->passes + out->draws + out->owner + out->wait;
    return STATUS_OK;
}

static double tokens_of(const job *j)
{
    return (double)(j->batch.sequences * j->batch.length * j->batch.microbatches);
}

static const char *bound_of(const step_time *t)
{
    double arithmetic = fmax(t->passes, t->draws + t->owner);
    if (t->wait > arithmetic) return "messages";
    return t->passes == arithmetic ? "passes" : "update";
}

/* Tokens/s of a rank beside those of the first row. */
static double efficiency(const step_time *t, const step_time *first)
{
    return first->seconds * (double)first->ranks / (t->seconds * (double)t->ranks);
}

static void print_row(FILE *out, const job *j, const cluster *c, const step_time *t,
                      const step_time *first)
{
    double hours = t->seconds * (double)j->steps / 3600.0, nodes = (double)t->nodes;
    fprintf(out, "%6zu %6zu %10.4g %10.4g %9.4g %9.4g %9.4g %10.3f  %-8s %9.3g", t->nodes, t->ranks,
            t->seconds, tokens_of(j) / t->seconds, t->passes, t->draws + t->owner, t->wait,
            efficiency(t, first), bound_of(t), hours);
    if (c->hour > 0.0) fprintf(out, " %9.4g", hours * nodes * c->hour);
    if (c->watts > 0.0) fprintf(out, " %9.4g", 1e-3 * hours * nodes * c->watts);
    putc('\n', out);
}

static json_t *row_json(const job *j, const cluster *c, const step_time *t, const step_time *first)
{
    double hours = t->seconds * (double)j->steps / 3600.0, nodes = (double)t->nodes;
    json_t *o = json_pack("{sI sI}", "nodes", (json_int_t)t->nodes, "ranks", (json_int_t)t->ranks);
    json_text_put(&o, "seconds", t->seconds);
    json_text_put(&o, "tokens_per_second", tokens_of(j) / t->seconds);
    json_text_put(&o, "passes", t->passes);
    json_text_put(&o, "draws", t->draws);
    json_text_put(&o, "owner", t->owner);
    json_text_put(&o, "wait", t->wait);
    json_text_put(&o, "efficiency", efficiency(t, first));
    json_text_set(&o, "bound", json_string(bound_of(t)));
    json_text_put(&o, "hours", hours);
    if (c->hour > 0.0) json_text_put(&o, "price", hours * nodes * c->hour);
    if (c->watts > 0.0) json_text_put(&o, "kwh", 1e-3 * hours * nodes * c->watts);
    return o;
}

static void print_head(FILE *out, const job *j, const cluster *c)
{
    fprintf(
        out,
        "%s on %s: a step of %.4g tokens, predicted\n%6s %6s %10s %10s %9s %9s %9s %10s  %-8s %9s",
        j->name, c->name[0] ? c->name : "the cluster", tokens_of(j), "nodes", "ranks", "seconds",
        "tokens/s", "passes", "update", "wait", "efficiency", "bound", "hours");
    if (c->hour > 0.0) fprintf(out, " %9s", "price");
    if (c->watts > 0.0) fprintf(out, " %9s", "kWh");
    putc('\n', out);
}

/* Launches to look at: 1, 2, 4, ... full nodes, or the one that is asked for. */
typedef struct {
    step_time rows[32];
    size_t count;
} table;

static status fill(table *t, const job *j, const cluster *c, const char *path, size_t ranks,
                   size_t nodes, const loo_estimator *estimator)
{
    uint64_t most = job_settings(j).items * j->batch.parts;
    if (ranks) {
        t->count = 1;
        return step_time_predict(&t->rows[0], j, c, path, ranks, nodes, estimator);
    }
    for (uint64_t n = 1; t->count < 32; n *= 2) {
        uint64_t all = n * c->ranks < most ? n * c->ranks : most;
        bool several = n == 1 || c->between.bandwidth > 0.0;
        if (t->count > 0 && (all == t->rows[t->count - 1].ranks || !several)) break;
        uint64_t used = (all + c->ranks - 1) / c->ranks;
        status result = step_time_predict(&t->rows[t->count++], j, c, path, (size_t)all,
                                          (size_t)used, estimator);
        if (result) return result;
    }
    return STATUS_OK;
}

status step_time_print(FILE *out, const job *j, const cluster *c, const char *path, size_t ranks,
                       size_t nodes, bool json, const loo_estimator *estimator)
{
    table t = {.count = 0};
    status result = fill(&t, j, c, path, ranks, nodes, estimator);
    if (result) return result;
    if (json) {
        json_t *rows = json_array();
        for (size_t i = 0; i < t.count; i++)
            json_text_add(&rows, row_json(j, c, &t.rows[i], &t.rows[0]));
        return json_text_print(out, rows, 0);
    }
    print_head(out, j, c);
    for (size_t i = 0; i < t.count; i++) print_row(out, j, c, &t.rows[i], &t.rows[0]);
    return STATUS_OK;
}
