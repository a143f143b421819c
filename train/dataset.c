/* Which window or example comes when is the same function of (seed, q) for both. Drawing an example
 * may take longer than a step with it, so inputs are kept. */
#include "train/dataset.h"

#include "io/examples/examples.h"
#include "io/tokens/tokens.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT_BYTES = 256 << 20 /* of inputs, at most */ };

struct dataset {
    const char *text;
    tokens *tokens; /* one of them */
    examples *examples;
    arena memory;
    float *kept;              /* (examples, inputs), NULL when they are too many */
    bool *is_kept;            /* [examples] */
    uint64_t seed, leave_out; /* UINT64_MAX: none */
    size_t sequences, length, inputs, outputs;
    bool shift, unlabelled;
};

status dataset_batch_open(dataset_batch *b, const job *j)
{
    model_config config = job_model(j);
    const mlp_config *c = &config.mlp;
    size_t rows = job_sequences(j) * j->batch.length;
    bool sequences = model_reads_tokens(&config), classes = model_has_classes(&config);
    *b = (dataset_batch){0};
    if (sequences) b->tokens = calloc(rows, sizeof *b->tokens);
    if (!sequences) b->inputs = calloc(rows * c->inputs, sizeof *b->inputs);
    if (classes) b->targets = calloc(rows, sizeof *b->targets);
    if (!classes) b->values = calloc(rows * c->outputs, sizeof *b->values);
    b->view = (batch){.sequences = job_sequences(j),
                      .length = j->batch.length,
                      .tokens = b->tokens,
                      .inputs = b->inputs,
                      .targets = b->targets,
                      .values = b->values};
    if ((b->tokens || b->inputs) && (b->targets || b->values)) return STATUS_OK;
    dataset_batch_close(b);
    return fail(STATUS_NOMEM, "memory for a micro-batch of %zu %s", rows,
                sequences ? "tokens" : "examples");
}

void dataset_batch_close(dataset_batch *b)
{
    free(b->tokens);
    free(b->inputs);
    free(b->targets);
    free(b->values);
    *b = (dataset_batch){0};
}

/* The one that is left out must be there, and others too. */
static status check_left_out(const dataset *d, const char *text)
{
    uint64_t there = dataset_count(d);
    if (d->leave_out == UINT64_MAX || (d->leave_out < there && there > 1)) return STATUS_OK;
    return fail(STATUS_INPUT,
                "%s: %" PRIu64 " examples found, data.leave_out %" PRIu64
                " and another one expected",
                text, there, d->leave_out);
}

/* Room for the inputs of all examples, if that is not too much; pages come when they are used. */
static status open_kept(dataset *d)
{
    size_t count = (size_t)examples_count(d->examples), values, bytes;
    if (!memory_product(&values, count, d->inputs) ||
        !memory_product(&bytes, values, sizeof(float)) || bytes > KEPT_BYTES)
        return STATUS_OK;
    status result = arena_open(&d->memory, "examples", memory_round(bytes) + count);
    if (result) return result;
    d->kept = arena_take(&d->memory, bytes);
    d->is_kept = arena_take(&d->memory, count);
    return STATUS_OK;
}

static status open_examples(dataset *d, const job *j, dataset_part part, const char *text)
{
    bool train = part == DATASET_TRAIN;
    examples_spec spec = {.text = text,
                          .seed = j->data.seed,
                          .features = j->data.features,
                          .outputs = d->unlabelled ? 0 : d->outputs,
                          .mislabelled = train ? j->data.mislabelled : 0.0};
    status result = examples_open(&d->examples, &spec, j->model.mlp.loss == LOSS_GAUSSIAN);
    if (result) return result;
    if (examples_inputs(d->examples) != d->inputs)
        return fail(STATUS_INPUT, "%s: %zu inputs an example found, model.inputs (%zu) expected",
                    text, examples_inputs(d->examples), d->inputs);
    if (train) d->leave_out = j->data.leave_out;
    result = check_left_out(d, text);
    return result ? result : open_kept(d);
}

status dataset_open(dataset **out, const job *j, dataset_part part, const char *text)
{
    *out = NULL;
    dataset *d = calloc(1, sizeof *d);
    if (!d) return fail(STATUS_NOMEM, "memory for a data set");
    *d = (dataset){.seed = j->seed,
                   .leave_out = UINT64_MAX,
                   .sequences = job_sequences(j),
                   .length = j->batch.length,
                   .inputs = j->model.mlp.inputs,
                   .outputs = j->model.mlp.outputs,
                   .shift = j->data.shift,
                   .unlabelled = part == DATASET_UNLABELLED};
    if (!text) text = part == DATASET_TRAIN ? j->data.train : j->data.valid;
    d->text = text;
    status result = job_reads_tokens(j)
                        ? tokens_open(&d->tokens, text, d->length, j->model.gpt2.vocab_size)
                        : open_examples(d, j, part, text);
    if (result) dataset_close(&d);
    *out = d;
    return result;
}

void dataset_close(dataset **d)
{
    if (!*d) return;
    tokens_close(&(*d)->tokens);
    examples_close(&(*d)->examples);
    arena_close(&(*d)->memory);
    free(*d);
    *d = NULL;
}

uint64_t dataset_count(const dataset *d)
{
    return d->tokens ? tokens_windows(d->tokens) : examples_count(d->examples);
}

uint64_t dataset_rows(const dataset *d)
{
    return d->tokens ? tokens_count(d->tokens) : examples_count(d->examples);
}

tokens_meaning dataset_means(const dataset *d, const char *of)
{
    if (!of) of = d->text;
    return d->tokens ? tokens_means(d->tokens, of) : (tokens_meaning){.of = of};
}

status dataset_check_tokens(const dataset *d, const char *of, const char *run, const char *whose)
{
    char directory[4096];
    if (!run || !tokenizer_of_run(directory, sizeof directory, run)) return STATUS_OK;
    const tokens_meaning data = dataset_means(d, of);
    return tokenizer_compare(&data,
                             &(tokens_meaning){.of = whose ? whose : run, .directory = directory});
}

void dataset_warn_tokens(const dataset *d, const char *run)
{
    if (dataset_check_tokens(d, NULL, run, NULL) == STATUS_OK) return;
    status_warn("%s", status_message());
    status_clear();
}

uint64_t dataset_batches(const dataset *d)
{
    uint64_t count = dataset_count(d), whole = count / d->sequences;
    return count % d->sequences == 0 ? whole : whole + 1;
}

size_t dataset_batch_rows(const dataset *d, uint64_t n)
{
    uint64_t left = dataset_count(d) - n * d->sequences;
    return (left < d->sequences ? (size_t)left : d->sequences) * d->length;
}

/* Inputs of example v and, where they are wanted, its class and values. */
static status read_inputs(const dataset *d, uint64_t v, float *inputs, uint16_t *label,
                          float *values)
{
    float *kept = d->kept ? d->kept + v * d->inputs : NULL;
    size_t bytes = d->inputs * sizeof *inputs;
    if (kept && d->is_kept[v]) {
        memcpy(inputs, kept, bytes);
        return examples_row(d->examples, v, NULL, label, values);
    }
    status result = examples_row(d->examples, v, inputs, label, values);
    if (result || !kept) return result;
    memcpy(kept, inputs, bytes);
    d->is_kept[v] = true;
    return STATUS_OK;
}

static status read_example(const dataset *d, uint64_t v, dataset_batch *b, size_t s)
{
    if (d->unlabelled && b->targets) b->targets[s] = 0;
    return read_inputs(d, v, b->inputs + s * d->inputs,
                       b->targets && !d->unlabelled ? b->targets + s : NULL,
                       b->values ? b->values + s * d->outputs : NULL);
}

status dataset_window(const dataset *d, uint64_t v, dataset_batch *b, size_t s)
{
    if (d->examples) return read_example(d, v, b, s);
    return tokens_window(d->tokens, v, b->tokens + s * d->length, b->targets + s * d->length);
}

bool dataset_mislabelled(const dataset *d, uint64_t v)
{
    return d->examples && examples_mislabelled(d->examples, v);
}

bool dataset_left_out(const dataset *d, uint64_t v)
{
    return v == d->leave_out;
}

status dataset_windows(const dataset *d, uint64_t n, dataset_batch *b)
{
    uint64_t first = n * d->sequences;
    status result = STATUS_OK;
    b->view.sequences = dataset_batch_rows(d, n) / d->length;
    for (size_t s = 0; !result && s < b->view.sequences; s++)
        result = dataset_window(d, first + s, b, s);
    return result;
}

static void clear(const dataset *d, dataset_batch *b)
{
    size_t rows = d->sequences * d->length;
    b->view.sequences = d->sequences;
    if (b->tokens) memset(b->tokens, 0, rows * sizeof *b->tokens);
    if (b->inputs) memset(b->inputs, 0, rows * d->inputs * sizeof *b->inputs);
    if (b->targets) memset(b->targets, 0, rows * sizeof *b->targets);
    if (b->values) memset(b->values, 0, rows * d->outputs * sizeof *b->values);
}

/* Item q as the next sequence of the batch. */
static status append_item(const dataset *d, uint64_t q, dataset_batch *b)
{
    size_t s = b->view.sequences;
    if (d->tokens) {
        b->view.sequences++;
        return tokens_item(d->tokens, d->seed, q, d->shift, b->tokens + s * d->length,
                           b->targets + s * d->length);
    }
    uint64_t count = examples_count(d->examples);
    uint64_t v = tokens_permute(d->seed, q / count, q % count, count);
    if (v == d->leave_out) return STATUS_OK;
    b->view.sequences++;
    return read_example(d, v, b, s);
}

status dataset_items(const dataset *d, uint64_t q, dataset_batch *b)
{
    status result = STATUS_OK;
    b->view.sequences = 0;
    for (size_t s = 0; !result && s < d->sequences; s++) result = append_item(d, q + s, b);
    if (result) clear(d, b);
    return result;
}
