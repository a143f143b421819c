/* Passes at the mean as sensitivities have them; the rows are written where the unknowns are. */
#include "runtime/jacobian.h"

#include "io/agree.h"
#include "runtime/trainer_parts.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_BYTES = 64 << 20, EXAMPLES_MOST = 4096 };

struct jacobian {
    trainer *r;
    job job;       /* the trainer's, with batches of our own */
    size_t *start; /* [tensor_count] first unknown of a tensor; SIZE_MAX: it has none */
    size_t unknowns, outputs;
    bool linear;
    model *model;
    model_hooks hooks;
    layout layout;
    slots gradients; /* of gpt2 */
    arena arena;
    dataset_batch batch;
    double *rows, *f, *theta;
    float *outputs_here; /* (examples, outputs) */
    uint64_t window;     /* of gpt2: whose targets are drawn */
};

static bool is_gpt2(const jacobian *x)
{
    return x->job.model.kind == MODEL_GPT2;
}

static const void *get_weights(void *context, size_t u)
{
    return weights_get(&((jacobian *)context)->r->weights, u);
}

static void release(void *context, size_t u)
{
    (void)context;
    (void)u;
}

static float *give_gradients(void *context, size_t u)
{
    return (float *)(void *)slots_at(&((jacobian *)context)->gradients, u);
}

/* The pass gives the gradient of the mean over the window's tokens. */
static void take_gradients(void *context, size_t u)
{
    jacobian *x = context;
    const parameters *p = &x->r->p;
    double length = (double)x->job.batch.length;
    for (size_t i = p->units[u].first; i < p->units[u].first + p->units[u].tensors; i++) {
        if (x->start[i] == SIZE_MAX) continue;
        const float *g = give_gradients(x, u) + x->layout.tensor_offset[i] / sizeof(float);
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
    const parameters *p = &x->r->p;
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
    const parameters *p = &x->r->p;
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
    size_t each = x->outputs * x->unknowns * sizeof(double), most = ROWS_BYTES / (each ? each : 1);
    return most < 1 ? 1 : most > EXAMPLES_MOST ? EXAMPLES_MOST : most;
}

static status open_model(jacobian *x)
{
    const parameters *p = &x->r->p;
    bool tokens = is_gpt2(x);
    model_config config = job_model(&x->job);
    model_shape shape = {.sequences = x->job.batch.sequences,
                         .length = x->job.batch.length,
                         .precision = DTYPE_F32,
                         .recompute = x->job.recompute,
                         .training = tokens,
                         .variances = !tokens};
    status result = model_open(&x->model, &config, &shape);
    if (result || !tokens) return result;
    result = layout_open(&x->layout, p, DTYPE_F32);
    if (!result) result = slots_open(&x->gradients, p, false);
    if (!result)
        result =
            arena_open(&x->arena, "gradients", slots_bytes(&x->gradients, p, x->layout.unit_bytes));
    if (!result) slots_take(&x->gradients, p, x->layout.unit_bytes, &x->arena);
    return result;
}

static status open_rows(jacobian *x)
{
    size_t most = x->job.batch.sequences, cells = most * x->outputs;
    x->rows = calloc(cells * x->unknowns, sizeof *x->rows);
    x->f = calloc(cells, sizeof *x->f);
    x->theta = calloc(x->unknowns, sizeof *x->theta);
    x->outputs_here = calloc(cells, sizeof *x->outputs_here);
    if (x->rows && x->f && x->theta && x->outputs_here)
        return dataset_batch_open(&x->batch, &x->job);
    return fail(STATUS_NOMEM, "memory for %zu rows of %zu derivatives", cells, x->unknowns);
}

static status open_here(jacobian *x, const char *tensors)
{
    x->start = calloc(x->r->p.tensor_count, sizeof *x->start);
    if (!x->start) return fail(STATUS_NOMEM, "memory for derivatives");
    status result = choose(x, tensors);
    if (result) return result;
    x->job.model.gpt2.dropout = x->job.model.mlp.dropout = 0.0;
    x->outputs = is_gpt2(x) ? 1 : x->job.model.mlp.outputs;
    x->job.batch.sequences = is_gpt2(x) ? 1 : examples_of(x);
    result = open_model(x);
    return result ? result : open_rows(x);
}

status jacobian_open(jacobian **out, trainer *r, const char *tensors)
{
    jacobian *x = *out = calloc(1, sizeof *x);
    status result = x ? STATUS_OK : fail(STATUS_NOMEM, "memory for derivatives");
    assert(r->precision == DTYPE_F32);
    if (x) {
        *x = (jacobian){.r = r, .job = *r->job};
        x->hooks = (model_hooks){.context = x,
                                 .weights = get_weights,
                                 .release = release,
                                 .gradients = give_gradients,
                                 .gradients_done = take_gradients};
        result = open_here(x, tensors);
    }
    result = agree(r->c->world, result);
    if (result)
        jacobian_close(out);
    else
        jacobian_gather(x, x->theta, NULL);
    return result;
}

void jacobian_close(jacobian **out)
{
    jacobian *x = *out;
    if (!x) return;
    model_close(&x->model);
    dataset_batch_close(&x->batch);
    slots_close(&x->gradients);
    arena_close(&x->arena);
    layout_close(&x->layout);
    free(x->start);
    free(x->rows);
    free(x->f);
    free(x->theta);
    free(x->outputs_here);
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

const tensor *jacobian_tensor(const jacobian *x, size_t i, size_t *element)
{
    const parameters *p = &x->r->p;
    size_t t = 0;
    while (x->start[t] == SIZE_MAX || i >= x->start[t] + p->tensors[t].count) t++;
    *element = i - x->start[t];
    return &p->tensors[t];
}

size_t jacobian_batch(const jacobian *x)
{
    return x->job.batch.sequences;
}

size_t jacobian_bytes(const jacobian *x)
{
    return jacobian_batch(x) * x->outputs * x->unknowns * sizeof(double);
}

void jacobian_gather(const jacobian *x, double *mean, double *sigma)
{
    const trainer *r = x->r;
    memset(mean, 0, x->unknowns * sizeof *mean);
    if (sigma) memset(sigma, 0, x->unknowns * sizeof *sigma);
    for (size_t i = 0; i < r->owned.owned_count; i++) {
        const slice *part = &r->owned.owned[i];
        if (x->start[part->tensor] == SIZE_MAX) continue;
        size_t first = x->start[part->tensor] + part->first;
        const float *m = state_center(&r->state, part);
        float deviations[PARAMETER_BLOCK];
        slice piece = *part;
        for (size_t k = 0; k < part->count; k++) mean[first + k] = (double)m[k];
        for (size_t k = 0; sigma && k < part->count; k += PARAMETER_BLOCK) {
            piece.first = part->first + k;
            piece.offset = part->offset + k;
            piece.count = part->count - k < PARAMETER_BLOCK ? part->count - k : PARAMETER_BLOCK;
            state_sigma(&r->state, &piece, deviations);
            for (size_t e = 0; e < piece.count; e++) sigma[first + k + e] = (double)deviations[e];
        }
    }
    comm_sum_ordered(r->c, mean, x->unknowns);
    if (sigma) comm_sum_ordered(r->c, sigma, x->unknowns);
}

uint64_t jacobian_rounds(const jacobian *x, uint64_t count)
{
    uint64_t each = x->job.batch.sequences * (uint64_t)x->r->c->size;
    return (count + each - 1) / each;
}

/* Layer l's part of the rows. */
static void write_layer(void *context, size_t l, size_t rows, const float *inputs,
                        const float *slopes)
{
    jacobian *x = context;
    const parameters *p = &x->r->p;
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
        for (size_t i = 0; x->linear && i < x->unknowns; i++) sum += derivatives[i] * x->theta[i];
        x->f[row] = x->linear ? sum : (double)x->outputs_here[row];
    }
}

/* Targets as the model would draw them. */
static void draw_targets(void *context, size_t first, size_t rows, float *outputs)
{
    jacobian *x = context;
    size_t V = x->job.model.gpt2.vocab_size;
    noise_key key = {
        .seed = x->job.seed, .stream = STREAM_TEXT, .sample = (uint32_t)x->window, .step = 0};
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < rows; row++) {
        const float *z = outputs + row * V;
        uint32_t word;
        double most = -INFINITY, sum = 0.0;
        noise_uniform_words(&word, key, first + row, 1);
        for (size_t v = 0; v < V; v++) most = fmax(most, (double)z[v]);
        for (size_t v = 0; v < V; v++) sum += exp((double)z[v] - most);
        double left = sum * (((double)word + 0.5) * 0x1p-32);
        size_t drawn = 0;
        while (drawn + 1 < V && (left -= exp((double)z[drawn] - most)) > 0.0) drawn++;
        x->batch.targets[first + row] = (uint16_t)drawn;
    }
}

/* Every rank takes part in a pass; those without rows have nothing to compute. */
static void begin_pass(jacobian *x, size_t active, bool backward, bool works)
{
    weights_begin(&x->r->weights,
                  &(weights_round){.active = active, .keys = x->r->keys, .backward = backward});
    if (!works) weights_idle(&x->r->weights, backward);
}

static void compute(jacobian *x, size_t active, size_t examples)
{
    weights *w = &x->r->weights;
    const batch *b = &x->batch.view;
    if (is_gpt2(x)) {
        begin_pass(x, active, false, examples > 0);
        if (examples > 0)
            model_predict(x->model, &x->hooks, b, false, (noise_key){0}, draw_targets, x);
        weights_end(w);
    }
    begin_pass(x, active, true, examples > 0);
    if (examples > 0 && is_gpt2(x)) model_backward(x->model, &x->hooks, b, (noise_key){0});
    if (examples > 0 && !is_gpt2(x)) {
        model_jacobian(x->model, &x->hooks, b, x->outputs_here, write_layer, x);
        find_outputs(x, examples);
    }
    weights_end(w);
}

/* Examples of a batch; 0 past the end. */
static size_t examples_in(const jacobian *x, uint64_t count, uint64_t b)
{
    uint64_t most = x->job.batch.sequences, first = b * most;
    return first >= count ? 0 : (size_t)(count - first < most ? count - first : most);
}

status jacobian_round(jacobian *x, const dataset *data, uint64_t round, jacobian_rows *out)
{
    uint64_t ranks = (uint64_t)x->r->c->size, b = round * ranks + (uint64_t)x->r->c->rank;
    uint64_t count = dataset_count(data);
    size_t examples = examples_in(x, count, b), active = 0;
    status result = STATUS_OK;
    while (active < ranks && examples_in(x, count, round * ranks + active) > 0) active++;
    *out = (jacobian_rows){.first = b * x->job.batch.sequences,
                           .examples = examples,
                           .f = is_gpt2(x) ? NULL : x->f,
                           .rows = x->rows,
                           .targets = x->batch.targets,
                           .values = x->batch.values};
    x->batch.view.sequences = examples;
    x->window = out->first;
    for (size_t s = 0; !result && s < examples; s++)
        result = dataset_window(data, out->first + s, &x->batch, s);
    result = agree(x->r->c->world, result);
    if (!result) compute(x, active, examples);
    return result;
}
