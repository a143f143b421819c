/* Passes at the mean as sensitivities have them; the rows are written where the unknowns are. */
#include "analysis/jacobian.h"

#include "analysis/mean_pass.h"
#include "runtime/agree.h"
#include "runtime/free_memory.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_BYTES = 64 << 20, EXAMPLES_MAX = 4096 };

struct jacobian {
    mean_pass m;
    size_t *start; /* [tensor_count] first unknown of a tensor; SIZE_MAX: it has none */
    size_t unknowns, outputs;
    bool linear;
    double *rows, *f, *mean;
    float *outputs_here; /* (examples, outputs) */
    float *piece;        /* of what this rank owns, [unknowns] has room for any */
    uint64_t window;     /* of gpt2: whose targets are drawn */
};

static bool is_gpt2(const jacobian *x)
{
    return model_reads_tokens(&x->m.r->config);
}

/* The pass gives the gradient of the mean over the window's tokens. */
static void take_gradients(void *context, size_t u)
{
    jacobian *x = context;
    const parameters *p = &x->m.r->rounds.p;
    double length = (double)x->m.job.batch.length;
    for (size_t i = p->units[u].first; i < p->units[u].first + p->units[u].tensors; i++) {
        if (x->start[i] == SIZE_MAX) continue;
        const float *g = mean_pass_gradient(&x->m, i);
        double *row = x->rows + x->start[i];
        for (size_t e = 0; e < p->tensors[i].count; e++) row[e] = length * (double)g[e];
    }
}

/* Whether a text of `length` is the name, or its beginning up to a dot. */
static bool names(const char *text, size_t length, const char *name)
{
    return strncmp(text, name, length) == 0 && (name[length] == '\0' || name[length] == '.');
}

static status choose_named(jacobian *x, bool *chosen, const char *tensors)
{
    const parameters *p = &x->m.r->rounds.p;
    for (const char *at = tensors; *at;) {
        size_t length = strcspn(at, ","), found = 0;
        for (size_t i = 0; i < p->tensor_count; i++)
            if (length > 0 && names(at, length, p->tensors[i].name)) {
                chosen[i] = true;
                found++;
            }
        if (found == 0)
            return fail(STATUS_INPUT,
                        "--tensors: '%.*s' found, a tensor's name or the beginning of some up to a "
                        "dot expected, as %s",
                        (int)length, at, p->tensors[0].name);
        at += length + (at[length] == ',');
    }
    return STATUS_OK;
}

static status choose(jacobian *x, const char *tensors)
{
    const parameters *p = &x->m.r->rounds.p;
    size_t last = p->unit_count - 1;
    bool chosen[p->tensor_count];
    memset(chosen, 0, sizeof chosen);
    if (!tensors && is_gpt2(x))
        return fail(STATUS_INPUT, "--tensors: names of tensors of gpt2 expected, none found");
    status result = tensors ? choose_named(x, chosen, tensors) : STATUS_OK;
    if (result) return result;
    x->linear = !is_gpt2(x);
    for (size_t i = 0; i < p->tensor_count; i++) {
        bool of_last = p->tensors[i].unit == last;
        if (!tensors) chosen[i] = of_last;
        if (chosen[i] != of_last) x->linear = false;
        x->start[i] = chosen[i] ? x->unknowns : SIZE_MAX;
        if (chosen[i]) x->unknowns += p->tensors[i].count;
    }
    return STATUS_OK;
}

/* As many examples as their rows' bytes allow. */
static size_t examples_of(const jacobian *x)
{
    size_t each = x->outputs * x->unknowns * sizeof(double), max = ROWS_BYTES / (each ? each : 1);
    return max < 1 ? 1 : max > EXAMPLES_MAX ? EXAMPLES_MAX : max;
}

static status open_rows(jacobian *x)
{
    size_t max = x->m.job.batch.sequences, cells = max * x->outputs;
    x->rows = calloc(cells * x->unknowns, sizeof *x->rows);
    x->f = calloc(cells, sizeof *x->f);
    x->mean = calloc(x->unknowns, sizeof *x->mean);
    x->outputs_here = calloc(cells, sizeof *x->outputs_here);
    x->piece = calloc(x->unknowns, sizeof *x->piece);
    if (x->rows && x->f && x->mean && x->outputs_here && x->piece) return STATUS_OK;
    return fail(STATUS_NOMEM, "memory for %zu rows of %zu derivatives", cells, x->unknowns);
}

static status plan(jacobian *x, const char *tensors)
{
    trainer *r = x->m.r;
    x->start = calloc(r->rounds.p.tensor_count, sizeof *x->start);
    if (!x->start) return fail(STATUS_NOMEM, "memory for derivatives");
    status result = choose(x, tensors);
    if (result) return result;
    x->outputs = is_gpt2(x) ? 1 : r->config.mlp.outputs;
    return mean_pass_plan(&x->m, r->job, &r->rounds.p, DTYPE_F32, is_gpt2(x) ? 1 : examples_of(x),
                          is_gpt2(x) ? MEAN_PASS_TRAINING : MEAN_PASS_VARIANCES);
}

static status check_memory(const jacobian *x)
{
    const trainer *r = x->m.r;
    double bytes = (double)jacobian_bytes(x) + (double)mean_pass_bytes(&x->m, &r->rounds.p);
    return free_memory_check(
        r->rounds.c->world, bytes,
        "%s: %.4g GB on every rank for derivatives of %zu unknowns and their passes", r->job->name,
        1e-9 * bytes, x->unknowns);
}

static status jacobian_open_local(jacobian *x)
{
    status result = mean_pass_open(&x->m, x->m.r);
    if (result) return result;
    x->m.hooks.gradients_done = take_gradients;
    return open_rows(x);
}

/* The unknowns' part of what their owners have. */
static void gather(const jacobian *x, double *values, bool deviations)
{
    const trainer *r = x->m.r;
    memset(values, 0, x->unknowns * sizeof *values);
    for (size_t i = 0; i < r->rounds.owned.owned_count; i++) {
        const slice *part = &r->rounds.owned.owned[i];
        const float *here = x->piece;
        if (x->start[part->tensor] == SIZE_MAX) continue;
        if (deviations)
            state_sigma(&r->rounds.state, part, x->piece);
        else
            here = state_center(&r->rounds.state, part);
        double *to = values + x->start[part->tensor] + part->first;
        for (size_t e = 0; e < part->count; e++) to[e] = (double)here[e];
    }
    comm_sum_ordered(r->rounds.c, values, x->unknowns);
}

status jacobian_open(jacobian **out, trainer *r, const char *tensors)
{
    jacobian *x = *out = calloc(1, sizeof *x);
    status result = x ? STATUS_OK : fail(STATUS_NOMEM, "memory for derivatives");
    assert(r->precision == DTYPE_F32);
    if (x) {
        x->m.r = r;
        result = plan(x, tensors);
    }
    result = agree(r->rounds.c->world, result);
    if (!result) result = check_memory(x);
    if (!result) result = agree(r->rounds.c->world, jacobian_open_local(x));
    if (result)
        jacobian_close(out);
    else
        gather(x, x->mean, false);
    return result;
}

void jacobian_close(jacobian **out)
{
    jacobian *x = *out;
    if (!x) return;
    mean_pass_close(&x->m);
    free(x->start);
    free(x->rows);
    free(x->f);
    free(x->mean);
    free(x->outputs_here);
    free(x->piece);
    free(x);
    *out = NULL;
}

size_t jacobian_unknowns(const jacobian *x)
{
    return x->unknowns;
}

size_t jacobian_outputs(const jacobian *x)
{
    return x->outputs;
}

bool jacobian_is_linear(const jacobian *x)
{
    return x->linear;
}

size_t jacobian_start(const jacobian *x, size_t number)
{
    return x->start[number];
}

const tensor *jacobian_tensor(const jacobian *x, size_t i, size_t *element)
{
    const parameters *p = &x->m.r->rounds.p;
    size_t t = 0;
    while (x->start[t] == SIZE_MAX || i >= x->start[t] + p->tensors[t].count) t++;
    *element = i - x->start[t];
    return &p->tensors[t];
}

size_t jacobian_batch(const jacobian *x)
{
    return job_sequences(&x->m.job);
}

size_t jacobian_bytes(const jacobian *x)
{
    return jacobian_batch(x) * x->outputs * x->unknowns * sizeof(double);
}

const double *jacobian_mean(const jacobian *x)
{
    return x->mean;
}

void jacobian_deviations(const jacobian *x, double *sigma)
{
    gather(x, sigma, true);
}

uint64_t jacobian_rounds(const jacobian *x, uint64_t count)
{
    uint64_t each = x->m.job.batch.sequences * (uint64_t)x->m.r->rounds.c->size;
    return (count + each - 1) / each;
}

/* Layer l's part of the rows. */
static void write_layer(void *context, size_t l, size_t rows, const float *inputs,
                        const float *slopes)
{
    jacobian *x = context;
    const parameters *p = &x->m.r->rounds.p;
    size_t C = x->outputs;
    for (size_t i = p->units[l].first; i < p->units[l].first + p->units[l].tensors; i++) {
        const tensor *t = &p->tensors[i];
        bool matrix = t->dimensions == 2;
        size_t in = matrix ? t->shape[0] : 1, out = matrix ? t->shape[1] : t->shape[0];
        if (x->start[i] == SIZE_MAX) continue;
#pragma omp parallel for schedule(static)
        for (size_t row = 0; row < rows * C; row++) {
            size_t n = row / C, c = row % C;
            double *to = x->rows + row * x->unknowns + x->start[i];
            for (size_t k = 0; k < in; k++) {
                double a = matrix ? (double)inputs[n * in + k] : 1.0;
                for (size_t j = 0; j < out; j++)
                    to[k * out + j] = slopes   ? a * (double)slopes[(c * rows + n) * out + j]
                                      : j == c ? a
                                               : 0.0;
            }
        }
    }
}

static void find_outputs(jacobian *x, size_t examples)
{
    for (size_t row = 0; row < examples * x->outputs; row++) {
        const double *derivatives = x->rows + row * x->unknowns;
        double sum = 0.0;
        for (size_t i = 0; x->linear && i < x->unknowns; i++) sum += derivatives[i] * x->mean[i];
        x->f[row] = x->linear ? sum : (double)x->outputs_here[row];
    }
}

/* Targets as the model would draw them. */
static void draw_targets(void *context, size_t first, size_t rows, float *outputs)
{
    jacobian *x = context;
    size_t V = x->m.job.model.gpt2.vocab_size;
    noise_key key = {
        .seed = x->m.job.seed, .stream = STREAM_TEXT, .sample = (uint32_t)x->window, .step = 0};
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < rows; row++) {
        const float *z = outputs + row * V;
        uint32_t word;
        double max = -INFINITY, sum = 0.0;
        noise_uniform_words(&word, key, first + row, 1);
        for (size_t v = 0; v < V; v++) max = fmax(max, (double)z[v]);
        for (size_t v = 0; v < V; v++) sum += exp((double)z[v] - max);
        double left = sum * (((double)word + 0.5) * 0x1p-32);
        size_t drawn = 0;
        while (drawn + 1 < V && (left -= exp((double)z[drawn] - max)) > 0.0) drawn++;
        x->m.batch.targets[first + row] = (uint16_t)drawn;
    }
}

static void compute(jacobian *x, size_t active, size_t examples)
{
    mean_pass *m = &x->m;
    const batch *b = &m->batch.view;
    bool works = examples > 0;
    if (is_gpt2(x)) {
        if (mean_pass_begin(m, active, false, works))
            model_predict(m->model, &m->hooks, b, false, (noise_key){0}, draw_targets, x);
        mean_pass_end(m);
    }
    mean_pass_begin(m, active, true, works);
    if (works && is_gpt2(x)) model_backward(m->model, &m->hooks, b, (noise_key){0});
    if (works && !is_gpt2(x)) {
        model_jacobian(m->model, &m->hooks, b, x->outputs_here, write_layer, x);
        find_outputs(x, examples);
    }
    mean_pass_end(m);
}

status jacobian_round(jacobian *x, const dataset *data, uint64_t round, jacobian_rows *out)
{
    mean_pass *m = &x->m;
    comm *c = m->r->rounds.c;
    uint64_t count = dataset_count(data), max = m->job.batch.sequences;
    uint64_t b = round * (uint64_t)c->size + (uint64_t)c->rank;
    size_t examples = mean_pass_rows(count, max, b);
    status result = STATUS_OK;
    *out = (jacobian_rows){.first = b * max,
                           .examples = examples,
                           .f = is_gpt2(x) ? NULL : x->f,
                           .rows = x->rows,
                           .targets = m->batch.targets,
                           .values = m->batch.values};
    m->batch.view.sequences = examples;
    x->window = out->first;
    for (size_t s = 0; !result && s < examples; s++)
        result = dataset_window(data, out->first + s, &m->batch, s);
    result = agree(c->world, result);
    if (!result) compute(x, mean_pass_active(m, count, max, round), examples);
    return result;
}
