/* The table of a job's keys. */
#include "io/jobs/job_schema.h"

#include "optimizer/automatic.h"

#include <math.h>
#include <string.h>

#define AT(field) offsetof(job, field)
#define MAX_32 4294967295.0 /* step and sample numbers are 32-bit words of the noise */
#define MAX_64 18446744073709551615.0

_Static_assert(sizeof(size_t) == sizeof(uint64_t), "counts are written as uint64_t");
_Static_assert((int)JOB_COUNTS == (int)SCHEDULE_MILESTONES && (int)JOB_COUNTS == (int)MLP_HIDDEN,
               "lists of the same length");

/* A member a line would hide the rows. */
/* clang-format off */
const schema_row schema_rows[] = {
    {.key = "name", .type = KEY_TEXT, .offset = AT(name),
     .may_change = true, .help = "the run directory is output/name"},
    {.key = "seed", .type = KEY_COUNT, .offset = AT(seed), .standard = "1337", .max = MAX_64,
     .help = "key of all noise: initial weights, samples, dropout, order of the data"},
    {.key = "output", .type = KEY_TEXT, .offset = AT(output), .standard = "runs",
     .may_change = true, .help = "directory of run directories, without quotes, backslashes and $;&|<>"},
    {.key = "model.kind", .type = KEY_CHOICE, .offset = AT(model.kind), .standard = "gpt2",
     .choices = MODEL_NAMES, .help = "family of the model"},
    {.key = "model.preset", .type = KEY_CHOICE, .offset = AT(model.preset), .standard = "none",
     .choices = "none|gpt2-124m|gpt2-355m|gpt2-774m|gpt2-1558m", .models = OF_GPT2,
     .help = "n_layer, n_head and n_embd by name; those given beside it win"},
    {.key = "model.n_layer", .type = KEY_COUNT, .offset = AT(model.gpt2.n_layer), .min = 1,
     .max = 1000, .from_preset = true, .models = OF_GPT2, .help = "blocks"},
    {.key = "model.n_head", .type = KEY_COUNT, .offset = AT(model.gpt2.n_head), .min = 1,
     .max = 1000, .from_preset = true, .models = OF_GPT2, .help = "attention heads; divides n_embd"},
    {.key = "model.n_embd", .type = KEY_COUNT, .offset = AT(model.gpt2.n_embd), .min = 1,
     .max = 65536, .from_preset = true, .models = OF_GPT2, .help = "width"},
    {.key = "model.block_size", .type = KEY_COUNT, .offset = AT(model.gpt2.block_size),
     .standard = "1024", .min = 1, .max = 1048576, .models = OF_GPT2,
     .help = "longest sequence, in tokens"},
    {.key = "model.vocab_size", .type = KEY_COUNT, .offset = AT(model.gpt2.vocab_size),
     .standard = "50304", .min = 2, .max = 65536, .models = OF_GPT2,
     .help = "tokens in the vocabulary"},
    {.key = "model.inputs", .type = KEY_COUNT, .offset = AT(model.mlp.inputs), .min = 1,
     .max = 1048576, .models = OF_EXAMPLES, .help = "features of an example"},
    {.key = "model.outputs", .type = KEY_COUNT, .offset = AT(model.mlp.outputs), .min = 1,
     .max = 65536, .models = OF_EXAMPLES, .help = "classes, or values of an example"},
    {.key = "model.hidden", .type = KEY_COUNTS, .offset = AT(model.mlp.hidden),
     .count_offset = AT(model.mlp.hidden_count), .min = 1, .max = 65536, .models = OF_MLP,
     .help = "widths of the hidden layers"},
    {.key = "model.activation", .type = KEY_CHOICE, .offset = AT(model.mlp.activation),
     .standard = "tanh", .choices = "tanh|relu|gelu", .models = OF_MLP,
     .help = "of the hidden layers"},
    {.key = "model.loss", .type = KEY_CHOICE, .offset = AT(model.mlp.loss),
     .standard = "cross_entropy", .choices = "cross_entropy|gaussian", .models = OF_EXAMPLES,
     .help = "of classes, or of values"},
    {.key = "model.noise_variance", .type = KEY_NUMBER, .offset = AT(model.mlp.noise_variance),
     .standard = "1", .min = 1e-30, .max = 1e30, .models = OF_EXAMPLES,
     .help = "of the Gaussian loss: variance of a value around the output"},
    {.key = "model.bias", .type = KEY_BOOL, .offset = AT(model.gpt2.bias), .standard = "false",
     .standard_examples = "true", .help = "biases in linear layers and norms"},
    {.key = "model.dropout", .type = KEY_NUMBER, .offset = AT(model.gpt2.dropout), .standard = "0",
     .max = 1, .ends = ENDS_OPEN_MAX, .help = "probability of dropping, in training"},
    {.key = "model.init", .type = KEY_TEXT, .offset = AT(model.init), .standard = "scratch",
     .help = "scratch, or weights from elsewhere: a directory with model.safetensors, or a checkpoint of llm.c"},
    {.key = "data.train", .type = KEY_TEXT, .offset = AT(data.train),
     .help = "file or glob of training tokens, or a set of examples"},
    {.key = "data.valid", .type = KEY_TEXT, .offset = AT(data.valid),
     .help = "file or glob of validation tokens, or a set of examples"},
    {.key = "data.shift", .type = KEY_CHOICE, .offset = AT(data.shift), .standard = "epoch",
     .choices = "none|epoch", .models = OF_GPT2,
     .help = "whether windows begin elsewhere in every epoch"},
    {.key = "data.seed", .type = KEY_COUNT, .offset = AT(data.seed), .standard = "1",
     .max = MAX_64, .models = OF_EXAMPLES, .help = "key of generated examples and wrong classes"},
    {.key = "data.features", .type = KEY_COUNT, .offset = AT(data.features), .standard = "0",
     .max = 65536, .models = OF_EXAMPLES,
     .help = "of curve: bumps of x that the model sees; 0: x itself"},
    {.key = "data.mislabelled", .type = KEY_NUMBER, .offset = AT(data.mislabelled),
     .standard = "0", .max = 1, .ends = ENDS_OPEN_MAX, .models = OF_EXAMPLES,
     .help = "share of the training examples that get a wrong class"},
    {.key = "data.leave_out", .type = KEY_COUNT, .offset = AT(data.leave_out), .standard = "none",
     .max = MAX_32, .word = "none", .word_value = UINT64_MAX, .models = OF_EXAMPLES,
     .help = "training example, counted from 0, that training never sees"},
    {.key = "data.observations", .type = KEY_NUMBER, .offset = AT(data.observations),
     .standard = "0", .max = 1e30, .by_optimizer = true, .settings = FOR_AUTO,
     .help = "independent observations that the training data are; 0: their windows or examples"},
    {.key = "batch.sequences", .type = KEY_COUNT, .offset = AT(batch.sequences), .standard = "8",
     .min = 1, .max = MAX_32, .help = "sequences, or examples, of a micro-batch"},
    {.key = "batch.length", .type = KEY_COUNT, .offset = AT(batch.length), .standard = "block_size",
     .standard_examples = "1", .min = 1, .max = 1048576, .word = "block_size",
     .help = "tokens of a sequence"},
    {.key = "batch.microbatches", .type = KEY_COUNT, .offset = AT(batch.microbatches),
     .standard = "1", .min = 1, .max = MAX_32,
     .help = "micro-batches of a step, over all ranks"},
    {.key = "batch.parts", .type = KEY_COUNT, .offset = AT(batch.parts), .standard = "1", .min = 1,
     .max = MAX_32, .help = "parts of a micro-batch, which as many ranks may compute"},
    {.key = "steps", .type = KEY_COUNT, .offset = AT(steps), .min = 1, .max = MAX_32,
     .may_change = true,
     .help = "steps of the run; linear, cosine and wsd end with it, so changing it bends them"},
    {.key = "optimizer.kind", .type = KEY_CHOICE, .offset = AT(optimizer.kind), .standard = "ivon",
     .choices = OPTIMIZER_NAMES, .help = "the optimizer"},
    {.key = "optimizer.settings", .type = KEY_CHOICE, .offset = AT(optimizer.settings),
     .standard = "auto", .choices = "given|auto", .by_optimizer = true,
     .help = "auto: what follows below is derived where the job does not give it (docs/settings.md); "
             "a job that gives any of it is one of given, unless it says auto"},
    {.key = "optimizer.temperature", .type = KEY_NUMBER, .offset = AT(optimizer.temperature),
     .standard = "0", .max = 1e30, .by_optimizer = true, .settings = FOR_AUTO,
     .help = "of the posterior: ess is data.observations over it; 0: at most 1, and as low as noise "
             "in training asks for"},
    {.key = "optimizer.ess", .type = KEY_NUMBER, .offset = AT(optimizer.ess), .standard = "1.0e+10",
     .max = 1e30, .ends = ENDS_OPEN_MIN, .by_optimizer = true,
     .help = "effective sample size lambda: ivon's sigma is 1/sqrt(lambda (h + weight_decay)), "
             "bbb's KL term is divided by it"},
    {.key = "optimizer.ess_final", .type = KEY_NUMBER, .offset = AT(optimizer.ess_final),
     .standard = "0", .max = 1e30, .by_optimizer = true,
     .help = "ess goes there over the run's steps; 0: it stays"},
    {.key = "optimizer.ess_course", .type = KEY_CHOICE, .offset = AT(optimizer.ess_course),
     .standard = "cosine", .choices = "cosine|linear", .by_optimizer = true,
     .help = "how ess goes to ess_final"},
    {.key = "optimizer.hessian_init", .type = KEY_NUMBER, .offset = AT(optimizer.hessian_init),
     .standard = "1.0e-3", .min = 1e-30, .max = 1e30, .by_optimizer = true,
     .help = "Hessian h at the start"},
    {.key = "optimizer.hessian", .type = KEY_CHOICE, .offset = AT(optimizer.hessian),
     .standard = "price", .choices = "price|gradsq", .by_optimizer = true,
     .help = "estimate of the Hessian; gradsq is experimental"},
    {.key = "optimizer.sigma_init", .type = KEY_NUMBER, .offset = AT(optimizer.sigma_init),
     .standard = "0.01", .min = 1e-30, .max = 1e6, .by_optimizer = true,
     .help = "deviation of every weight at the start"},
    {.key = "optimizer.beta1", .type = KEY_NUMBER, .offset = AT(optimizer.beta1), .standard = "0.9",
     .max = 1, .ends = ENDS_OPEN_MAX, .by_optimizer = true,
     .help = "decay of the momentum, a step"},
    {.key = "optimizer.beta2", .type = KEY_NUMBER, .offset = AT(optimizer.beta2),
     .standard = "0.99999", .max = 1,
     .ends = ENDS_OPEN, .by_optimizer = true,
     .help = "decay of the Hessian, or of the squared gradients, a step"},
    {.key = "optimizer.weight_decay", .type = KEY_NUMBER, .offset = AT(optimizer.weight_decay),
     .standard = "1.0e-6", .max = 1e30,
     .help = "of matrices; ivon: delta, the prior's precision over lambda; bbb: the same, of all "
             "tensors, above 0"},
    {.key = "optimizer.epsilon", .type = KEY_NUMBER, .offset = AT(optimizer.epsilon),
     .standard = "1.0e-8", .max = 1, .ends = ENDS_OPEN_MIN,
     .by_optimizer = true,
     .help = "added to the root of the squared gradients"},
    {.key = "optimizer.momentum", .type = KEY_NUMBER, .offset = AT(optimizer.momentum),
     .standard = "0.9", .max = 1, .ends = ENDS_OPEN_MAX, .by_optimizer = true,
     .help = "decay of the velocity, a step"},
    {.key = "optimizer.mc_samples", .type = KEY_COUNT, .offset = AT(optimizer.mc_samples),
     .standard = "1", .min = 1, .max = 65536, .by_optimizer = true,
     .help = "samples of the weights for every micro-batch"},
    {.key = "optimizer.rescale_lr", .type = KEY_BOOL, .offset = AT(optimizer.rescale_lr),
     .standard = "true", .by_optimizer = true, .settings = FOR_GIVEN,
     .help = "multiply the learning rate by hessian_init + weight_decay"},
    {.key = "optimizer.debias", .type = KEY_BOOL, .offset = AT(optimizer.debias),
     .standard = "true", .by_optimizer = true,
     .help = "divide the momentum by 1 - beta1^n after n updates"},
    {.key = "optimizer.basis_beta", .type = KEY_NUMBER, .offset = AT(optimizer.basis_beta),
     .standard = "0.95", .max = 1, .ends = ENDS_OPEN_MAX, .by_optimizer = true,
     .help = "decay of the second moments that bases are made of, a step"},
    {.key = "optimizer.basis_every", .type = KEY_COUNT, .offset = AT(optimizer.basis_every),
     .standard = "10", .min = 1, .max = MAX_32, .by_optimizer = true,
     .help = "steps between turns of the bases"},
    {.key = "optimizer.basis_limit", .type = KEY_COUNT, .offset = AT(optimizer.basis_limit),
     .standard = "2048", .min = 1, .max = 16384, .by_optimizer = true,
     .help = "longest side of a matrix that has a basis"},
    {.key = "optimizer.estimate_clip", .type = KEY_NUMBER, .offset = AT(optimizer.estimate_clip),
     .standard = ".inf", .max = INFINITY, .ends = ENDS_OPEN_MIN, .by_optimizer = true,
     .help = "estimates of h are cut off at this many h; .inf: never"},
    {.key = "optimizer.whiten", .type = KEY_BOOL, .offset = AT(optimizer.whiten),
     .standard = "false", .by_optimizer = true,
     .help = "make the singular values of every matrix' direction equal (Newton-Schulz)"},
    {.key = "optimizer.adjust_lr", .type = KEY_CHOICE, .offset = AT(optimizer.adjust_lr),
     .standard = "none", .choices = "none|original|match_rms_adamw", .by_optimizer = true,
     .help = "whitened steps times: 1; sqrt(max(1, out/in)); 0.2 sqrt(max(out, in))"},
    {.key = "optimizer.nesterov", .type = KEY_BOOL, .offset = AT(optimizer.nesterov),
     .standard = "false", .by_optimizer = true,
     .help = "step along the momentum and this step's gradient once more"},
    {.key = "optimizer.rest", .type = KEY_CHOICE, .offset = AT(optimizer.rest),
     .standard = "adamw", .choices = "adamw|ivon", .by_optimizer = true,
     .help = "what updates embeddings and vectors: adamw keeps a point, ivon a posterior"},
    {.key = "optimizer.rest_lr", .type = KEY_NUMBER, .offset = AT(optimizer.rest_lr),
     .standard = "1.0e-3", .max = 1e30, .by_optimizer = true,
     .help = "highest learning rate of embeddings and vectors, on the course of schedule.peak"},
    {.key = "swag.start", .type = KEY_COUNT, .offset = AT(swag.start), .standard = "none",
     .min = 1, .max = MAX_32, .word = "none", .by_optimizer = true,
     .help = "steps before SWAG's first snapshot; none: no SWAG"},
    {.key = "swag.every", .type = KEY_COUNT, .offset = AT(swag.every), .standard = "100",
     .min = 1, .max = MAX_32, .by_optimizer = true, .of_swag = true,
     .help = "steps between snapshots"},
    {.key = "swag.rank", .type = KEY_COUNT, .offset = AT(swag.rank), .standard = "20",
     .max = SWAG_RANK, .by_optimizer = true, .of_swag = true,
     .help = "last deviations that are kept, not 1; 0: a diagonal posterior"},
    {.key = "schedule.kind", .type = KEY_CHOICE, .offset = AT(schedule.kind), .standard = "cosine",
     .choices = "constant|linear|cosine|wsd|inverse_sqrt|steps",
     .help = "course of the learning rate after the warm-up"},
    {.key = "schedule.peak", .type = KEY_NUMBER, .offset = AT(schedule.peak), .standard = "1.0",
     .max = 1e30,
     .help = "highest learning rate"},
    {.key = "schedule.final", .type = KEY_NUMBER, .offset = AT(schedule.final), .standard = "0",
     .max = 1e30, .schedules = FOR_LINEAR | FOR_COSINE | FOR_WSD,
     .help = "learning rate at the end"},
    {.key = "schedule.warmup", .type = KEY_COUNT, .offset = AT(schedule.warmup), .standard = "0",
     .max = MAX_32, .help = "steps of linear warm-up"},
    {.key = "schedule.decay", .type = KEY_COUNT, .offset = AT(schedule.decay), .standard = "0",
     .max = MAX_32, .schedules = FOR_WSD, .help = "steps of the fall at the end"},
    {.key = "schedule.factor", .type = KEY_NUMBER, .offset = AT(schedule.factor), .standard = "0.1",
     .max = 1e30, .ends = ENDS_OPEN_MIN, .schedules = FOR_STEPS,
     .help = "what every milestone multiplies the learning rate by"},
    {.key = "schedule.milestones", .type = KEY_COUNTS, .offset = AT(schedule.milestones),
     .count_offset = AT(schedule.milestone_count), .standard = "[]", .min = 1, .max = MAX_32,
     .rising = true, .schedules = FOR_STEPS,
     .help = "rising steps at which the factor applies"},
    {.key = "clip.norm", .type = KEY_NUMBER, .offset = AT(clip.norm), .standard = ".inf",
     .min = 0, .max = INFINITY, .ends = ENDS_OPEN_MIN,
     .help = "largest norm of a gradient; .inf: any"},
    {.key = "clip.scope", .type = KEY_CHOICE, .offset = AT(clip.scope), .standard = "microbatch",
     .choices = "microbatch|step", .help = "whose gradient clip.norm holds for"},
    {.key = "clip.update", .type = KEY_NUMBER, .offset = AT(clip.update), .standard = ".inf",
     .min = 0, .max = INFINITY, .ends = ENDS_OPEN_MIN, .by_optimizer = true,
     .help = "largest element of an update before the learning rate; .inf: any"},
    {.key = "parallel.shard", .type = KEY_CHOICE, .offset = AT(parallel.shard),
     .standard = "gradients", .choices = "none|optimizer|gradients|parameters", .may_change = true,
     .help = "what is split over the ranks, each with all before it"},
    {.key = "parallel.wire", .type = KEY_CHOICE, .offset = AT(parallel.wire), .standard = "fp32",
     .choices = "fp32|bf16", .may_change = true, .help = "type of matrices' gradients in messages"},
    {.key = "parallel.threads", .type = KEY_COUNT, .offset = AT(parallel.threads),
     .standard = "auto", .min = 1, .max = 4096, .word = "auto", .may_change = true,
     .help = "threads of a rank; auto: the processors that the launcher gives it"},
    {.key = "precision", .type = KEY_CHOICE, .offset = AT(precision), .standard = "fp32",
     .choices = "fp32|bf16", .help = "type of matrix products; sums and state are fp32"},
    {.key = "recompute", .type = KEY_CHOICE, .offset = AT(recompute), .standard = "none",
     .choices = "none|block", .may_change = true, .models = OF_GPT2,
     .help = "block: keep only the blocks' inputs and compute the rest again"},
    {.key = "eval.every", .type = KEY_COUNT, .offset = AT(eval.every), .standard = "0",
     .max = MAX_32, .may_change = true, .help = "steps between evaluations; 0: only at the end"},
    {.key = "eval.batches", .type = KEY_COUNT, .offset = AT(eval.batches), .standard = "0",
     .max = MAX_32, .may_change = true,
     .help = "micro-batches of validation data; 0: all there are"},
    {.key = "eval.samples", .type = KEY_COUNT, .offset = AT(eval.samples), .standard = "0",
     .max = 65536, .may_change = true,
     .help = "posterior samples to average over (ivon, evon, bbb, swag); 0: the mean alone"},
    {.key = "eval.antithetic", .type = KEY_BOOL, .offset = AT(eval.antithetic),
     .standard = "false", .may_change = true,
     .help = "samples in pairs about the mean, whose first-order effects cancel"},
    {.key = "sensitivity.every", .type = KEY_COUNT, .offset = AT(sensitivity.every),
     .standard = "0", .max = MAX_32, .may_change = true, .by_optimizer = true,
     .help = "steps between estimates of the leave-one-out loss; 0: none"},
    {.key = "sensitivity.examples", .type = KEY_COUNT, .offset = AT(sensitivity.examples),
     .standard = "0", .max = MAX_32, .may_change = true, .by_optimizer = true,
     .help = "training examples, or windows of gpt2, that they are made of, the first; 0: all"},
    {.key = "early_stop.kind", .type = KEY_CHOICE, .offset = AT(early_stop.kind),
     .standard = "none", .choices = "none|loo", .may_change = true, .by_optimizer = true,
     .help = "loo: end when the leave-one-out loss no longer falls"},
    {.key = "early_stop.patience", .type = KEY_COUNT, .offset = AT(early_stop.patience),
     .standard = "5", .min = 1, .max = MAX_32, .may_change = true, .by_optimizer = true,
     .help = "estimates in a row without a new minimum after which the run ends"},
    {.key = "checkpoint.every", .type = KEY_COUNT, .offset = AT(checkpoint.every),
     .standard = "1000", .max = MAX_32, .may_change = true,
     .help = "steps between checkpoints; 0: only at the end"},
    {.key = "checkpoint.keep", .type = KEY_COUNT, .offset = AT(checkpoint.keep), .standard = "3",
     .max = MAX_32, .may_change = true, .help = "newest checkpoints that stay; 0: all"},
    {.key = "checkpoint.on_error", .type = KEY_CHOICE, .offset = AT(checkpoint.on_error),
     .standard = "stop", .choices = "stop|continue", .may_change = true,
     .help = "what to do when a checkpoint or a row of metrics.csv cannot be written"},
    {.key = "checkpoint.initial", .type = KEY_BOOL, .offset = AT(checkpoint.initial),
     .standard = "false", .may_change = true, .help = "write the initial weights, step-00000000"},
    {.key = "checkpoint.margin_seconds", .type = KEY_NUMBER,
     .offset = AT(checkpoint.margin_seconds), .standard = "60", .max = 1e6, .may_change = true,
     .help = "seconds before the end of the SLURM allocation at which to stop"},
    {.key = "guard.max_skipped", .type = KEY_COUNT, .offset = AT(guard.max_skipped),
     .standard = "10", .max = MAX_32, .may_change = true,
     .help = "steps in a row with a NaN or infinity after which the run stops"},
    {.key = "guard.stall_seconds", .type = KEY_NUMBER, .offset = AT(guard.stall_seconds),
     .standard = "60", .max = 1e6, .may_change = true,
     .help = "seconds within which a rank that stands still is named; 0: never"},
    {.key = "guard.on_stall", .type = KEY_CHOICE, .offset = AT(guard.on_stall), .standard = "warn",
     .choices = "warn|stop", .may_change = true,
     .help = "warn: go on when it wakes; stop: end the run with code 3"},
    {.key = "log.every", .type = KEY_COUNT, .offset = AT(log.every), .standard = "10",
     .max = MAX_32, .may_change = true,
     .help = "steps between rows of metrics.csv; 0: only evaluations"},
    {.key = "log.tensorboard", .type = KEY_BOOL, .offset = AT(log.tensorboard), .standard = "false",
     .may_change = true, .help = "write the rows of metrics.csv for TensorBoard, too"},
};
/* clang-format on */

const size_t schema_count = sizeof schema_rows / sizeof schema_rows[0];

const schema_row *schema_find(const char *key)
{
    for (size_t i = 0; i < schema_count; i++)
        if (strcmp(schema_rows[i].key, key) == 0) return &schema_rows[i];
    return NULL;
}

const char *schema_section_key(const char *section)
{
    size_t n = strlen(section);
    for (size_t i = 0; i < schema_count; i++)
        if (strncmp(schema_rows[i].key, section, n) == 0 && schema_rows[i].key[n] == '.')
            return schema_rows[i].key;
    return NULL;
}

bool schema_is_section(const char *name)
{
    return schema_section_key(name) != NULL;
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
            size_t min = before[j - 1] + (a[i - 1] != b[j - 1]);
            if (before[j] + 1 < min) min = before[j] + 1;
            if (now[j - 1] + 1 < min) min = now[j - 1] + 1;
            now[j] = min;
        }
        memcpy(before, now, (m + 1) * sizeof *now);
    }
    return before[m];
}

static void keep_nearest(const char *key, const char *candidate, size_t extra, size_t *min,
                         const char *whole, char nearest[64])
{
    size_t distance = edit_distance(key, candidate) + extra;
    if (distance >= *min) return;
    *min = distance;
    snprintf(nearest, 64, "%s", whole);
}

/* A key's last word counts one more than the whole: `ess` at the top means optimizer.ess. */
const char *schema_nearest(const char *key)
{
    static char nearest[64];
    const char *key_last = strrchr(key, '.');
    size_t min = SIZE_MAX;
    for (size_t i = 0; i < schema_count; i++) {
        const char *full = schema_rows[i].key, *last = strrchr(full, '.');
        keep_nearest(key, full, 0, &min, full, nearest);
        if (!last) continue;
        keep_nearest(key_last ? key_last + 1 : key, last + 1, 1, &min, full, nearest);
        if (key_last) continue;
        char section[64];
        snprintf(section, sizeof section, "%.*s", (int)(last - full), full);
        keep_nearest(key, section, 0, &min, section, nearest);
    }
    return nearest;
}

int schema_optimizers(const schema_row *row)
{
    int set = 0;
    for (int kind = 0; row->by_optimizer && kind < OPTIMIZER_KINDS; kind++)
        if (optimizer_find_key(optimizer_row((optimizer_kind)kind), row->key)) set |= 1 << kind;
    return set;
}

bool schema_waits(const schema_row *row, const job *j)
{
    for (int key = 0; key < AUTOMATIC_KEYS; key++)
        if (j->waiting >> key & 1 && strcmp(automatic_names[key], row->key) == 0) return true;
    return false;
}

bool schema_applies(const schema_row *row, const job *j)
{
    return (!row->models || row->models & (1 << j->model.kind)) &&
           (!row->by_optimizer || optimizer_find_key(optimizer_row(j->optimizer.kind), row->key));
}

const char *schema_standard_of(const schema_row *row, optimizer_kind kind)
{
    const optimizer_key *key = optimizer_find_key(optimizer_row(kind), row->key);
    return key ? key->standard : NULL;
}

const char *schema_automatic_of(const schema_row *row, optimizer_kind kind)
{
    const optimizer_key *key = optimizer_find_automatic(optimizer_row(kind), row->key);
    return key ? key->standard : NULL;
}

const char *schema_standard(const schema_row *row, const job *j)
{
    const char *automatic = schema_automatic_of(row, j->optimizer.kind);
    if (!job_reads_tokens(j) && row->standard_examples) return row->standard_examples;
    if (automatic && j->optimizer.settings == SETTINGS_AUTO) return automatic;
    const char *own = schema_standard_of(row, j->optimizer.kind);
    return own ? own : row->standard;
}
