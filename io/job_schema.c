/* The table, and how a value of each type is read and written. */
#include "io/job_schema.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(job, field)
#define COUNTS_MOST 4294967295.0

const schema_row schema_rows[] = {
    {"name", KEY_TEXT, AT(name), NULL, NULL, NULL, 0, 0, NULL, false, FOR_ALL,
     "name of the run: its directory is output/name"},
    {"seed", KEY_COUNT, AT(seed), "1337", NULL, NULL, 0, 18446744073709551615.0, NULL, false,
     FOR_ALL, "key of all noise: initial weights, samples, order of data"},
    {"output", KEY_TEXT, AT(output), "runs", NULL, NULL, 0, 0, NULL, true, FOR_ALL,
     "directory of run directories"},
    {"model.kind", KEY_CHOICE, AT(model.kind), "gpt2", NULL, NULL, 0, 0, "gpt2", false, FOR_ALL,
     "the family of models"},
    {"model.preset", KEY_CHOICE, AT(model.preset), "none", NULL, NULL, 0, 0,
     "none|gpt2-124m|gpt2-355m|gpt2-774m|gpt2-1558m", false, FOR_ALL,
     "sizes by name; keys beside it win"},
    {"model.n_layer", KEY_COUNT, AT(model.gpt2.n_layer), "0", NULL, NULL, 1, 1000, NULL, false,
     FOR_ALL, "blocks; required without a preset"},
    {"model.n_head", KEY_COUNT, AT(model.gpt2.n_head), "0", NULL, NULL, 1, 1000, NULL, false,
     FOR_ALL, "attention heads, a divisor of n_embd; required without a preset"},
    {"model.n_embd", KEY_COUNT, AT(model.gpt2.n_embd), "0", NULL, NULL, 1, 65536, NULL, false,
     FOR_ALL, "width; required without a preset"},
    {"model.block_size", KEY_COUNT, AT(model.gpt2.block_size), "1024", NULL, NULL, 1, 1048576, NULL,
     false, FOR_ALL, "positions: the longest sequence, in tokens"},
    {"model.vocab_size", KEY_COUNT, AT(model.gpt2.vocab_size), "50304", NULL, NULL, 2, 65536, NULL,
     false, FOR_ALL, "tokens of the vocabulary"},
    {"model.bias", KEY_BOOL, AT(model.gpt2.bias), "false", NULL, NULL, 0, 0, NULL, false, FOR_ALL,
     "biases in linear layers and norms"},
    {"model.dropout", KEY_NUMBER, AT(model.gpt2.dropout), "0", NULL, NULL, 0, 0.99, NULL, false,
     FOR_ALL, "probability of dropping, in training"},
    {"model.init", KEY_TEXT, AT(model.init), "scratch", NULL, NULL, 0, 0, NULL, false, FOR_ALL,
     "scratch, or a directory with model.safetensors"},
    {"data.train", KEY_TEXT, AT(data.train), NULL, NULL, NULL, 0, 0, NULL, false, FOR_ALL,
     "glob of training token files"},
    {"data.valid", KEY_TEXT, AT(data.valid), NULL, NULL, NULL, 0, 0, NULL, false, FOR_ALL,
     "glob of validation token files"},
    {"data.shift", KEY_CHOICE, AT(data.shift), "epoch", NULL, NULL, 0, 0, "none|epoch", false,
     FOR_ALL, "shift the windows from epoch to epoch"},
    {"batch.sequences", KEY_COUNT, AT(batch.sequences), "8", NULL, NULL, 1, COUNTS_MOST, NULL,
     false, FOR_ALL, "sequences of a micro-batch"},
    {"batch.length", KEY_COUNT, AT(batch.length), "0", NULL, NULL, 0, 1048576, NULL, false, FOR_ALL,
     "tokens of a sequence; 0: block_size"},
    {"batch.microbatches", KEY_COUNT, AT(batch.microbatches), "1", NULL, NULL, 1, COUNTS_MOST, NULL,
     false, FOR_ALL, "micro-batches of a step, over all ranks"},
    {"steps", KEY_COUNT, AT(steps), NULL, NULL, NULL, 1, COUNTS_MOST, NULL, true, FOR_ALL,
     "steps of the run; schedules depend on it"},
    {"optimizer.kind", KEY_CHOICE, AT(optimizer.kind), "ivon", NULL, NULL, 0, 0, "ivon|adamw|sgd",
     false, FOR_ALL, "the optimizer"},
    {"optimizer.ess", KEY_NUMBER, AT(optimizer.ess), "1.0e+10", NULL, NULL, 1e-300, 1e300, NULL,
     false, FOR_IVON, "effective sample size: lambda"},
    {"optimizer.hessian_init", KEY_NUMBER, AT(optimizer.hessian_init), "0.001", NULL, NULL, 1e-30,
     1e30, NULL, false, FOR_IVON, "the Hessian at the start: h0, above 0"},
    {"optimizer.hessian", KEY_CHOICE, AT(optimizer.hessian), "price", NULL, NULL, 0, 0,
     "price|gradsq", false, FOR_IVON, "estimate of the Hessian; gradsq is experimental"},
    {"optimizer.beta1", KEY_NUMBER, AT(optimizer.beta1), "0.9", NULL, NULL, 0, 0.9999999, NULL,
     false, FOR_IVON | FOR_ADAMW, "decay of the momentum"},
    {"optimizer.beta2", KEY_NUMBER, AT(optimizer.beta2), "0.99999", "0.95", NULL, 1e-9,
     0.999999999999, NULL, false, FOR_IVON | FOR_ADAMW,
     "decay of the Hessian, or of the squared gradients"},
    {"optimizer.weight_decay", KEY_NUMBER, AT(optimizer.weight_decay), "1.0e-6", "0.1", "0", 0,
     1e30, NULL, false, FOR_ALL, "of matrices: delta, or the decay"},
    {"optimizer.epsilon", KEY_NUMBER, AT(optimizer.epsilon), "1.0e-8", NULL, NULL, 1e-30, 1, NULL,
     false, FOR_ADAMW, "added to the root"},
    {"optimizer.momentum", KEY_NUMBER, AT(optimizer.momentum), "0.9", NULL, NULL, 0, 0.9999999,
     NULL, false, FOR_SGD, "SGD's momentum"},
    {"optimizer.mc_samples", KEY_COUNT, AT(optimizer.mc_samples), "1", NULL, NULL, 1, 65536, NULL,
     false, FOR_IVON, "samples of the weights a micro-batch"},
    {"optimizer.rescale_lr", KEY_BOOL, AT(optimizer.rescale_lr), "true", NULL, NULL, 0, 0, NULL,
     false, FOR_IVON, "multiply the learning rate by hessian_init + weight_decay"},
    {"optimizer.debias", KEY_BOOL, AT(optimizer.debias), "true", NULL, NULL, 0, 0, NULL, false,
     FOR_IVON, "divide the momentum by 1 - beta1^n"},
    {"schedule.kind", KEY_CHOICE, AT(schedule.kind), "cosine", NULL, NULL, 0, 0,
     "constant|linear|cosine|wsd|inverse_sqrt|steps", false, FOR_ALL,
     "the learning rate's course after the warm-up"},
    {"schedule.peak", KEY_NUMBER, AT(schedule.peak), NULL, NULL, NULL, 0, 1e30, NULL, false,
     FOR_ALL, "learning rate at its highest"},
    {"schedule.final", KEY_NUMBER, AT(schedule.final), "0", NULL, NULL, 0, 1e30, NULL, false,
     FOR_ALL, "learning rate at the end (linear, cosine, wsd)"},
    {"schedule.warmup", KEY_COUNT, AT(schedule.warmup), "0", NULL, NULL, 0, COUNTS_MOST, NULL,
     false, FOR_ALL, "steps of the linear warm-up"},
    {"schedule.decay", KEY_COUNT, AT(schedule.decay), "0", NULL, NULL, 0, COUNTS_MOST, NULL, false,
     FOR_ALL, "last steps that decay (wsd)"},
    {"schedule.factor", KEY_NUMBER, AT(schedule.factor), "0.1", NULL, NULL, 0, 1e30, NULL, false,
     FOR_ALL, "factor at each milestone (steps)"},
    {"schedule.milestones", KEY_COUNTS, AT(schedule.milestones), "[]", NULL, NULL, 0, COUNTS_MOST,
     NULL, false, FOR_ALL, "steps at which the factor applies, rising (steps)"},
    {"clip.norm", KEY_NUMBER, AT(clip.norm), ".inf", NULL, NULL, 1e-30, INFINITY, NULL, false,
     FOR_ALL, "largest norm of a gradient; .inf: none"},
    {"clip.scope", KEY_CHOICE, AT(clip.scope), "microbatch", NULL, NULL, 0, 0, "microbatch|step",
     false, FOR_ALL, "whose gradient clip.norm holds for"},
    {"clip.update", KEY_NUMBER, AT(clip.update), ".inf", NULL, NULL, 1e-30, INFINITY, NULL, false,
     FOR_IVON, "largest element of an update before the learning rate: xi; .inf: none"},
    {"parallel.shard", KEY_CHOICE, AT(parallel.shard), "gradients", NULL, NULL, 0, 0,
     "none|optimizer|gradients|parameters", true, FOR_ALL, "what is split over the ranks"},
    {"parallel.wire", KEY_CHOICE, AT(parallel.wire), "fp32", NULL, NULL, 0, 0, "fp32|bf16", true,
     FOR_ALL, "type of matrices' gradients in messages"},
    {"parallel.threads", KEY_COUNT, AT(parallel.threads), "auto", NULL, NULL, 1, 4096, NULL, true,
     FOR_ALL, "threads of a rank; auto: its share of the processors given"},
    {"precision", KEY_CHOICE, AT(precision), "fp32", NULL, NULL, 0, 0, "fp32|bf16", false, FOR_ALL,
     "type of matrix products"},
    {"recompute", KEY_CHOICE, AT(recompute), "none", NULL, NULL, 0, 0, "none|block", true, FOR_ALL,
     "block: keep only the blocks' inputs, compute again"},
    {"eval.every", KEY_COUNT, AT(eval.every), "0", NULL, NULL, 0, COUNTS_MOST, NULL, true, FOR_ALL,
     "steps between evaluations; 0: only at the end"},
    {"eval.batches", KEY_COUNT, AT(eval.batches), "0", NULL, NULL, 0, COUNTS_MOST, NULL, true,
     FOR_ALL, "validation batches; 0: all"},
    {"eval.samples", KEY_COUNT, AT(eval.samples), "0", NULL, NULL, 0, 65536, NULL, true, FOR_ALL,
     "posterior samples to average over; 0: the mean alone"},
    {"checkpoint.every", KEY_COUNT, AT(checkpoint.every), "1000", NULL, NULL, 0, COUNTS_MOST, NULL,
     true, FOR_ALL, "steps between checkpoints; 0: only at the end"},
    {"checkpoint.keep", KEY_COUNT, AT(checkpoint.keep), "3", NULL, NULL, 0, COUNTS_MOST, NULL, true,
     FOR_ALL, "newest checkpoints kept; 0: all"},
    {"checkpoint.on_error", KEY_CHOICE, AT(checkpoint.on_error), "stop", NULL, NULL, 0, 0,
     "stop|continue", true, FOR_ALL, "when a checkpoint cannot be written"},
    {"checkpoint.initial", KEY_BOOL, AT(checkpoint.initial), "false", NULL, NULL, 0, 0, NULL, true,
     FOR_ALL, "write the initial weights as step-00000000"},
    {"checkpoint.margin_seconds", KEY_NUMBER, AT(checkpoint.margin_seconds), "60", NULL, NULL, 0,
     1e9, NULL, true, FOR_ALL, "stop this long before the SLURM allocation ends"},
    {"guard.max_skipped", KEY_COUNT, AT(guard.max_skipped), "10", NULL, NULL, 0, COUNTS_MOST, NULL,
     true, FOR_ALL, "steps in a row with a NaN or infinity before the run stops"},
    {"log.every", KEY_COUNT, AT(log.every), "10", NULL, NULL, 0, COUNTS_MOST, NULL, true, FOR_ALL,
     "steps between rows of metrics.csv; 0: only evaluations"},
    {"log.tensorboard", KEY_BOOL, AT(log.tensorboard), "false", NULL, NULL, 0, 0, "false", true,
     FOR_ALL, "reserved: only false is taken"},
};

const size_t schema_count = sizeof schema_rows / sizeof schema_rows[0];

const schema_row *schema_find(const char *key)
{
    for (size_t i = 0; i < schema_count; i++)
        if (strcmp(schema_rows[i].key, key) == 0) return &schema_rows[i];
    return NULL;
}

/* Levenshtein's, over two rows. */
static size_t edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 64 };
    size_t n = strnlen(a, LONGEST), m = strnlen(b, LONGEST), before[LONGEST + 1], now[LONGEST + 1];
    for (size_t j = 0; j <= m; j++) before[j] = j;
    for (size_t i = 1; i <= n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t least = before[j - 1] + (a[i - 1] != b[j - 1]);
            if (before[j] + 1 < least) least = before[j] + 1;
            if (now[j - 1] + 1 < least) least = now[j - 1] + 1;
            now[j] = least;
        }
        memcpy(before, now, (m + 1) * sizeof *now);
    }
    return before[m];
}

const char *schema_nearest(const char *key)
{
    const char *nearest = schema_rows[0].key;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < schema_count; i++) {
        const char *full = schema_rows[i].key, *last = strrchr(full, '.');
        size_t distance = edit_distance(key, full);
        size_t short_distance = last ? edit_distance(key, last + 1) + 1 : distance;
        if (short_distance < distance) distance = short_distance;
        if (distance >= least) continue;
        least = distance;
        nearest = full;
    }
    return nearest;
}

const char *schema_standard(const schema_row *row, optimizer_kind kind)
{
    if (kind == OPTIMIZER_ADAMW && row->standard_adamw) return row->standard_adamw;
    if (kind == OPTIMIZER_SGD && row->standard_sgd) return row->standard_sgd;
    return row->standard;
}

static bool parse_count(const char *text, double least, double most, uint64_t *value)
{
    char *end;
    if (text[0] < '0' || text[0] > '9') return false;
    errno = 0;
    unsigned long long parsed = strtoull(text, &end, 10);
    if (errno || *end || (double)parsed < least || (double)parsed > most) return false;
    *value = parsed;
    return true;
}

static bool parse_number(const char *text, double least, double most, double *value)
{
    char *end;
    if (strcmp(text, ".inf") == 0) {
        *value = INFINITY;
        return isinf(most);
    }
    if (!*text || strspn(text, "0123456789+-.eE") != strlen(text)) return false;
    double parsed = strtod(text, &end);
    if (*end || !isfinite(parsed) || parsed < least || parsed > most) return false;
    *value = parsed;
    return true;
}

static bool parse_choice(const char *choices, const char *text, int *value)
{
    size_t length = strlen(text);
    int number = 0;
    for (const char *c = choices; c; c = strchr(c, '|'), number++) {
        if (*c == '|') c++;
        size_t n = strcspn(c, "|");
        if (n == length && strncmp(c, text, n) == 0) {
            *value = number;
            return true;
        }
    }
    return false;
}

static bool parse_bool(const schema_row *row, const char *text, bool *value)
{
    bool yes = strcmp(text, "true") == 0;
    if (!yes && strcmp(text, "false") != 0) return false;
    if (row->choices && strcmp(row->choices, text) != 0) return false;
    *value = yes;
    return true;
}

/* "[1, 2]" or "1,2", into the schedule's milestones: the only list there is. */
static bool parse_counts(const schema_row *row, job *j, const char *text)
{
    char copy[JOB_TEXT], *state = NULL;
    snprintf(copy, sizeof copy, "%s", text);
    j->schedule.milestone_count = 0;
    for (char *word = strtok_r(copy, "[], ", &state); word; word = strtok_r(NULL, "[], ", &state)) {
        if (j->schedule.milestone_count == SCHEDULE_MILESTONES) return false;
        size_t n = j->schedule.milestone_count;
        uint64_t *values = j->schedule.milestones;
        if (!parse_count(word, row->least, row->most, &values[n])) return false;
        if (n > 0 && values[n] <= values[n - 1]) return false;
        j->schedule.milestone_count++;
    }
    return true;
}

static void describe(const schema_row *row, char *out, size_t size)
{
    switch (row->type) {
    case KEY_TEXT: snprintf(out, size, "a text of 1 to %d characters", JOB_TEXT - 1); break;
    case KEY_COUNT:
        snprintf(out, size, "a whole number from %.0f to %.0f", row->least, row->most);
        if (strcmp(row->key, "parallel.threads") == 0)
            snprintf(out, size, "auto, or a whole number from 1 to %.0f", row->most);
        break;
    case KEY_NUMBER:
        snprintf(out, size, "a number from %g to %g%s", row->least, row->most,
                 isinf(row->most) ? " (.inf)" : "");
        break;
    case KEY_BOOL: snprintf(out, size, "%s", row->choices ? row->choices : "true or false"); break;
    case KEY_CHOICE: snprintf(out, size, "one of %s", row->choices); break;
    case KEY_COUNTS:
        snprintf(out, size, "at most %d rising whole numbers, [a, b, ...]", SCHEDULE_MILESTONES);
        break;
    }
}

static bool parse_text(const char *text, char *field)
{
    size_t n = strlen(text);
    if (n == 0 || n >= JOB_TEXT) return false;
    memcpy(field, text, n + 1);
    return true;
}

static bool parse_value(const schema_row *row, job *j, const char *text)
{
    void *field = (char *)j + row->offset;
    switch (row->type) {
    case KEY_TEXT: return parse_text(text, field);
    case KEY_COUNT:
        if (strcmp(row->key, "parallel.threads") == 0 && strcmp(text, "auto") == 0) {
            *(uint64_t *)field = 0;
            return true;
        }
        return parse_count(text, row->least, row->most, field);
    case KEY_NUMBER: return parse_number(text, row->least, row->most, field);
    case KEY_BOOL: return parse_bool(row, text, field);
    case KEY_CHOICE: return parse_choice(row->choices, text, field);
    case KEY_COUNTS: return parse_counts(row, j, text);
    }
    return false;
}

bool schema_parse(const schema_row *row, job *j, const char *text, char *expected, size_t size)
{
    if (parse_value(row, j, text)) return true;
    describe(row, expected, size);
    return false;
}

static void format_choice(const char *choices, int value, char *text, size_t size)
{
    const char *c = choices;
    for (int i = 0; i < value; i++) c = strchr(c, '|') + 1;
    snprintf(text, size, "%.*s", (int)strcspn(c, "|"), c);
}

/* The fewest digits that read back the same. */
static void format_number(double value, char *text, size_t size)
{
    if (isinf(value)) {
        snprintf(text, size, ".inf");
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, size, "%.*g", digits, value);
        if (strtod(text, NULL) == value) return;
    }
}

static void format_counts(const job *j, char *text, size_t size)
{
    size_t n = (size_t)snprintf(text, size, "[");
    for (size_t i = 0; i < j->schedule.milestone_count && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s%llu", i ? ", " : "",
                              (unsigned long long)j->schedule.milestones[i]);
    if (n < size) snprintf(text + n, size - n, "]");
}

void schema_format(const schema_row *row, const job *j, char *text, size_t size)
{
    const void *field = (const char *)j + row->offset;
    switch (row->type) {
    case KEY_TEXT: snprintf(text, size, "%s", (const char *)field); break;
    case KEY_COUNT:
        snprintf(text, size, "%llu", (unsigned long long)*(const uint64_t *)field);
        if (strcmp(row->key, "parallel.threads") == 0 && *(const uint64_t *)field == 0)
            snprintf(text, size, "auto");
        break;
    case KEY_NUMBER: format_number(*(const double *)field, text, size); break;
    case KEY_BOOL: snprintf(text, size, "%s", *(const bool *)field ? "true" : "false"); break;
    case KEY_CHOICE: format_choice(row->choices, *(const int *)field, text, size); break;
    case KEY_COUNTS: format_counts(j, text, size); break;
    }
}
