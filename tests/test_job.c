/* What is wrong in a job is refused, with its place, what was found and what was expected. */
#include "io/jobs/job_schema.h"
#include "job_text.h"

#include <math.h>

TestSuite(job, .timeout = 60);

typedef struct {
    const char *old, *new; /* edit of small_job */
    const char *place;     /* "line:column", NULL: the path alone */
    const char *says[3];
} bad_edit;

static const bad_edit bad_edits[] = {
    /* keys that are not there */
    {"steps:", "stepz:", "14:1", {"unknown key 'stepz'", "'steps'"}},
    {"n_layer", "n_layers", "3:3", {"unknown key 'model.n_layers'", "'model.n_layer'"}},
    {"sequences", "sequence", "12:3", {"'batch.sequence'", "'batch.sequences'"}},
    {"model:", "modle:", "2:1", {"unknown key 'modle'", "'model'"}},
    {"optimizer:", "optimiser:", "15:1", {"unknown key 'optimiser'", "'optimizer'"}},
    {"steps: 50", "steps: 50\ness: 1.0", "15:1", {"unknown key 'ess'", "'optimizer.ess'"}},
    {"steps: 50", "steps: 50\nzzz: {}", "15:1", {"unknown key 'zzz'", "nearest valid key"}},
    {"steps: 50", "steps: 50\n<<: 1", "15:1", {"unknown key '<<'"}},
    {"steps: 50", "model.bias: true\nsteps: 50", "14:1", {"model.bias", "without '.'"}},
    {"  n_head: 2\n", "  lr: 2\n", "4:3", {"'model.lr'", "nearest valid key"}},
    /* keys that are missing */
    {"name: base\n", "", NULL, {"'name' expected, not found"}},
    {"  train: train.bin\n", "", NULL, {"'data.train' expected, not found"}},
    {"  valid: val.bin\n", "", NULL, {"'data.valid' expected, not found"}},
    {"steps: 50\n", "", NULL, {"'steps' expected, not found"}},
    {"  n_layer: 2\n", "", NULL, {"'model.n_layer'", "model.preset", "not found"}},
    {"  n_head: 2\n", "", NULL, {"'model.n_head'", "not found"}},
    {"  n_embd: 32\n", "", NULL, {"'model.n_embd'", "not found"}},
    /* shapes */
    {"name: base\n", "name: base\nname: b\n", "2:1", {"'name' found twice", "line 1"}},
    {"data:", "model:\n  bias: true\ndata:", "8:1", {"'model' found twice", "line 2"}},
    {"  n_head: 2\n", "  n_head: 2\n  n_head: 4\n", "5:3", {"'model.n_head' found twice"}},
    {"steps: 50", "steps: {a: 1}", "14:1", {"'steps'", "a section found"}},
    {"steps: 50", "steps: [50]", "14:1", {"'steps'", "the list '50' found"}},
    {"steps: 50", "steps: \"50\"", "14:1", {"'steps'", "the text '50' found"}},
    {"steps: 50", "steps:", "14:1", {"'steps'", "no value"}},
    {"steps: 50", "steps: ~", "14:1", {"'steps'", "no value"}},
    {"name: base", "name: [a, b]", "1:1", {"'name'", "the list 'a,b' found"}},
    {"name: base", "name: null", "1:1", {"'name'", "no value"}},
    {"  n_layer: 2", "  n_layer: {a: 2}", "3:3", {"'model.n_layer': a section found"}},
    {"  kind: cosine", "  kind: steps\n  milestones: 5", "19:3", {"milestones", "a list"}},
    {"  kind: cosine", "  kind: steps\n  milestones: [[5]]", "19:16", {"a list of plain values"}},
    {"  kind: cosine", "  kind: steps\n  milestones: ['5']", "19:16", {"a list of plain values"}},
    {"name: base", "name: base\nmodel: 5\nx:", "2:1", {"'model': '5' found", "section"}},
    {"name: base", "name: base\n? [a]\n: b", "2:3", {"a key expected"}},
    {"name: base", "name: &a base", "1:7", {"an anchor", "expected"}},
    {"model:", "model: &m", "2:8", {"an anchor", "expected"}},
    {"name: base", "output: &a x\nname: *a", "1:9", {"an anchor"}},
    {"name: base", "name: *a", "1:7", {"an alias", "expected"}},
    {"steps: 50", "steps: !!int 50", "14:8", {"a tag", "expected"}},
    {"  kind: cosine\n", "  kind: cosine\n---\nname: b\n", "19:1", {"one document expected"}},
    {"  n_head: 2", "\tn_head: 2", "4:1", {"a tab found", "blanks expected"}},
    {"  n_layer: 2", "\tn_layer: 2", "3:1", {"a tab found", "blanks expected"}},
    {"  n_head: 2", " \t n_head: 2", "4:2", {"a tab found", "blanks expected"}},
    {"name: base", "\tname: base", "1:1", {"a tab found", "blanks expected"}},
    {"model:", "model: {", "", {"YAML expected"}},
    /* texts */
    {"name: base", "name: a/b", "1:1", {"'name': 'a/b' found", "letters, digits"}},
    {"name: base", "name: .hidden", "1:1", {"'name': '.hidden' found", "'.'"}},
    {"name: base", "name: ''", "1:1", {"'name'", "1 to 511 bytes"}},
    {"name: base", "name: \"a\\nb\"", "1:1", {"'name': the text 'a\\x0ab'", "control characters"}},
    {"name: base", "name: \"a\\0b\"", "1:1", {"'name': the text 'a\\x01b'", "control characters"}},
    {"name: base", "name: \"a\tb\"", "1:1", {"'name': the text 'a<tab>b'", "control characters"}},
    {"name: base", "name: base\noutput: ~/runs", "2:1", {"'output': '~/runs' found", "a shell"}},
    {"name: base", "name: base\noutput: '~'", "2:1", {"'output': '~' found", "./ before it"}},
    {"name: base", "name: base\noutput: /a/$USER/runs", "2:1", {"'/a/$USER/runs' found"}},
    {"name: base", "name: base\noutput: '${HOME}'", "2:1", {"'output': '${HOME}' found"}},
    {"train: train.bin", "train: ~/a.bin", "9:3", {"'data.train': '~/a.bin' found", "a shell"}},
    {"valid: val.bin", "valid: 'csv:~/a'", "10:3", {"'data.valid': 'csv:~/a' found"}},
    {"n_layer: 2", "init: $M\n  n_layer: 2", "3:3", {"'model.init': '$M' found"}},
    {"name: base", "name: \"a\\u2028b\"", "1:1", {"'name'", "control characters"}},
    {"name: base",
     "name: base\noutput: \"r; touch x\"",
     "2:1",
     {"'output': 'r; touch x' found", "$ ;"}},
    {"name: base", "name: base\noutput: it's", "2:1", {"'output': 'it's' found", "a path without"}},
    {"name: base", "name: base\noutput: '`x`'", "2:1", {"'output'", "a path without"}},
    {"name: base", "name: base\noutput: -x", "2:1", {"'output': '-x' found", "begin with '-'"}},
    {"  train: train.bin", "  train: ''", "9:3", {"'data.train'", "a text"}},
    /* values, where the place is a section's key */
    {"n_layer: 2", "n_layer: 0", "3:3", {"'model.n_layer': '0' found", "at least 1"}},
    {"n_layer: 2", "n_layer: 2.0", "3:3", {"'model.n_layer': '2.0' found", "whole number"}},
    {"vocab_size: 256", "vocab_size: 65537", "7:3", {"'65537' found", "at most 65536"}},
    {"sequences: 2", "sequences: 0", "12:3", {"'batch.sequences': '0' found", "at least 1"}},
    {"sequences: 2", "length: 0", "12:3", {"'batch.length': '0' found", "block_size"}},
    {"steps: 50", "steps: 4294967296", "14:1", {"'steps': '4294967296' found", "2^32-1"}},
    {"steps: 50", "steps: 1e5", "14:1", {"'steps': '1e5' found", "whole number"}},
    {"steps: 50", "steps: +50", "14:1", {"'steps': '+50' found"}},
    {"steps: 50", "steps: 50\nseed: 18446744073709551616", "15:1", {"'seed'", "at most 2^64-1"}},
    {"kind: ivon", "kind: adam", "16:3", {"'adam' found", "one of ivon|adamw|sgd|bbb|lion"}},
    {"kind: ivon", "hessian_init: 0", "16:3", {"'optimizer.hessian_init': '0' found", "at least"}},
    {"kind: ivon", "hessian_init: -1.0e-3", "16:3", {"'-1.0e-3' found"}},
    {"kind: ivon", "beta2: 1.0", "16:3", {"'optimizer.beta2': '1.0' found", "below 1"}},
    {"kind: ivon", "beta2: 0", "16:3", {"'optimizer.beta2': '0' found", "above 0"}},
    {"kind: ivon", "ess: .nan", "16:3", {"'optimizer.ess': '.nan' found", "a number above 0"}},
    {"kind: ivon", "ess: .inf", "16:3", {"'optimizer.ess': '.inf' found"}},
    {"kind: ivon", "ess: 1_000", "16:3", {"'optimizer.ess': '1_000' found"}},
    {"kind: ivon", "debias: yes", "16:3", {"'yes' found", "true or false"}},
    {"kind: cosine", "milestones: [3, 3]", "18:3", {"'3,3' found", "rising"}},
    {"kind: cosine", "milestones: [5, 3]", "18:3", {"'5,3' found", "rising"}},
    /* keys against each other */
    {"n_embd: 32", "n_embd: 33", "5:3", {"'model.n_embd' is 33", "multiple of model.n_head (2)"}},
    {"sequences: 2", "length: 33", "12:3", {"'batch.length' is 33", "model.block_size (32)"}},
    {"sequences: 2", "sequences: 4294967295", "12:3", {"4294967295", "2^30 tokens"}},
    {"kind: cosine", "warmup: 51", "18:3", {"'schedule.warmup' is 51", "at most steps (50)"}},
    {"schedule:\n  kind: cosine",
     "schedule: {kind: wsd, decay: 51}",
     "17:23",
     {"'schedule.decay' is 51", "(50)"}},
    {"schedule:\n  kind: cosine",
     "schedule: {kind: wsd, warmup: 9, decay: 42}",
     "17:34",
     {"'schedule.decay'", "(41)"}},
    {"kind: cosine", "kind: wsd", "18:3", {"'schedule.decay' is 0", "1 to"}},
    {"kind: cosine", "kind: steps", "18:3", {"'schedule.milestones' is empty"}},
    {"kind: cosine", "decay: 5", "18:3", {"'schedule.decay' belongs to wsd", "is cosine"}},
    {"kind: cosine", "factor: 0.5", "18:3", {"'schedule.factor' belongs to steps", "is cosine"}},
    {"kind: cosine", "milestones: [5]", "18:3", {"belongs to steps", "is cosine"}},
    {"schedule:\n  kind: cosine",
     "schedule: {kind: constant, final: 1}",
     "17:28",
     {"'schedule.final' belongs to linear"}},
    /* an update that fp32 does not hold */
    {"schedule:\n  kind: cosine",
     "schedule: {kind: steps, peak: 1, factor: 1.0e+30, milestones: [3, 5]}",
     "17:25",
     {"'schedule.peak' is 1, the learning rate becomes 1e+60", "3.4e+38 expected"}},
    {"optimizer:\n  kind: ivon",
     "optimizer: {kind: adamw, ess: 1}",
     "15:26",
     {"'optimizer.ess' belongs to ivon", "adamw"}},
    {"optimizer:\n  kind: ivon",
     "optimizer: {kind: sgd, beta1: 0.9}",
     "15:24",
     {"belongs to ivon, adamw", "is sgd"}},
    {"optimizer:\n  kind: ivon",
     "optimizer: {kind: sgd, mc_samples: 2}",
     "15:24",
     {"'optimizer.mc_samples'", "is sgd"}},
    {"kind: ivon", "momentum: 0.9", "16:3", {"'optimizer.momentum' belongs to sgd", "is ivon"}},
    {"kind: ivon", "epsilon: 1.0e-8", "16:3", {"belongs to adamw, bbb", "is ivon"}},
    {"kind: ivon",
     "kind: bbb\n  weight_decay: 0",
     "17:3",
     {"'optimizer.weight_decay' is 0, above 0 expected", "prior"}},
    {"kind: ivon", "kind: bbb\n  sigma_init: 0", "17:3", {"'optimizer.sigma_init': '0' found"}},
    {"kind: ivon", "kind: bbb\n  hessian_init: 1", "17:3", {"belongs to ivon", "is bbb"}},
    {"kind: ivon", "sigma_init: 1", "16:3", {"belongs to bbb", "is ivon"}},
    {"kind: ivon", "kind: ivon\nswag: {start: 5}", "17:8", {"'swag.start' belongs to adamw, sgd"}},
    {"kind: ivon", "kind: bbb\nswag: {start: 5}", "17:8", {"belongs to adamw, sgd", "is bbb"}},
    {"kind: ivon", "kind: sgd\nswag: {start: 0}", "17:8", {"'0' found", "none or a whole number"}},
    {"kind: ivon",
     "kind: sgd\nswag: {start: 41, every: 10}",
     "17:8",
     {"'swag.start' is 41", "steps (50) - swag.every (10)", "two snapshots"}},
    {"kind: ivon", "kind: sgd\nswag: {start: 99, every: 1}", "17:8", {"'swag.start' is 99"}},
    {"kind: ivon", "kind: sgd\nswag: {start: 5, every: 0}", "17:18", {"'swag.every': '0' found"}},
    {"kind: ivon",
     "kind: sgd\nswag: {start: 5, every: 5, rank: 1}",
     "17:28",
     {"'swag.rank' is 1", "0 or at least 2"}},
    {"kind: ivon",
     "kind: sgd\nswag: {start: 5, every: 5, rank: 65}",
     "17:28",
     {"'65' found", "at most 64"}},
    {"kind: ivon", "kind: sgd\nswag: {rank: 5}", "17:8", {"'swag.rank' belongs to SWAG", "none"}},
    {"kind: ivon", "kind: adamw\nclip: {update: 1.0}", "17:8", {"'clip.update' belongs to ivon"}},
    {"kind: ivon", "kind: adamw\neval: {samples: 1}", "17:8", {"'eval.samples' is 1", "posterior"}},
    {"kind: ivon", "kind: sgd\neval: {samples: 1}", "17:8", {"'eval.samples' is 1", "posterior"}},
    {"n_layer: 2", "inputs: 2", "3:3", {"'model.inputs' belongs to linear, mlp", "is gpt2"}},
    {"train: train.bin", "leave_out: 2", "9:3", {"'data.leave_out' belongs to linear, mlp"}},
};

/* Of mlp_job. */
static const bad_edit bad_mlp_edits[] = {
    {"inputs: 2", "n_layer: 2", "4:3", {"'model.n_layer' belongs to gpt2, and model.kind is mlp"}},
    {"inputs: 2", "vocab_size: 2", "4:3", {"'model.vocab_size' belongs to gpt2"}},
    {"inputs: 2", "preset: gpt2-124m", "4:3", {"'model.preset' belongs to gpt2"}},
    {"steps: 50", "recompute: block", "12:1", {"'recompute' belongs to gpt2"}},
    {"  train:", "  shift: none\n  train:", "8:3", {"'data.shift' belongs to gpt2"}},
    {"kind: mlp", "kind: linear", "6:3", {"'model.hidden' belongs to mlp", "kind is linear"}},
    {"  inputs: 2\n", "", NULL, {"'model.inputs' expected, not found"}},
    {"  outputs: 2\n", "", NULL, {"'model.outputs' expected, not found"}},
    {"  hidden: [20, 10]\n", "", NULL, {"'model.hidden' expected, not found"}},
    {"[20, 10]", "[]", "6:3", {"'model.hidden' is empty", "at least one width"}},
    {"[20, 10]", "[20, 65537]", "6:3", {"'20,65537' found", "at most 65536"}},
    {"outputs: 2", "outputs: 1", "5:3", {"'model.outputs' is 1", "2 classes", "gaussian"}},
    {"outputs: 2",
     "outputs: 2\n  noise_variance: 2",
     "6:3",
     {"belongs to gaussian", "is cross_en"}},
    {"sequences: 4", "length: 4", "11:3", {"'batch.length' is 4, 1 expected"}},
    {"  train:", "  mislabelled: 1.0\n  train:", "8:3", {"'1.0' found", "below 1"}},
    {"  train:", "  leave_out: -1\n  train:", "8:3", {"'-1' found", "none or a whole number"}},
    {"batch:\n  sequences: 4",
     "  leave_out: 7\nbatch:\n  sequences: 2",
     "12:3",
     {"'batch.sequences' is 2", "at least 3"}},
    {"kind: mlp\n  inputs: 2\n  outputs: 2\n  hidden: [20, 10]",
     "kind: linear\n  inputs: 2\n  outputs: 2\n  dropout: 0.1",
     "6:3",
     {"'model.dropout' is 0.1, 0 expected", "no hidden layers"}},
    {"  hidden: [20, 10]\ndata:",
     "  hidden: [20, 10]\n  loss: gaussian\ndata:\n  mislabelled: 0.1",
     "9:3",
     {"'data.mislabelled' is 0.1", "no classes"}},
};

static void expect_message(const char *place, const char *const *says, size_t count)
{
    cr_expect_eq(strncmp(status_message(), place, strlen(place)), 0, "'%s' does not begin with %s",
                 status_message(), place);
    for (size_t i = 0; i < count && says[i]; i++)
        cr_expect_not_null(strstr(status_message(), says[i]), "nothing like \"%s\" in '%s'",
                           says[i], status_message());
}

static void refuse_edits(const char *job_text, const bad_edit *edits, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const bad_edit *b = &edits[i];
        char text[TEXT_MAX], path[PATH_SIZE], place[PATH_SIZE + 32];
        edit(text, job_text, b->old, b->new);
        job j;
        cr_expect_eq(read_text(&j, text, path), STATUS_INPUT, "%s -> %s was taken", b->old, b->new);
        snprintf(place, sizeof place, "%s:%s%s", path, b->place ? b->place : " ",
                 b->place && *b->place ? ": " : "");
        expect_message(place, b->says, 3);
    }
}

Test(job, refuses_every_bad_edit)
{
    refuse_edits(small_job, bad_edits, sizeof bad_edits / sizeof bad_edits[0]);
    refuse_edits(mlp_job, bad_mlp_edits, sizeof bad_mlp_edits / sizeof bad_mlp_edits[0]);
}

typedef struct {
    const char *override;
    const char *says[3];
} bad_override;

static const bad_override bad_overrides[] = {
    {"stepz=5", {"--set stepz=5: ", "unknown key 'stepz'", "'steps'"}},
    {"model=5", {"--set model=5: ", "'model'", "keys of this section expected"}},
    {"steps", {"--set steps: ", "key=value expected"}},
    {"=5", {"--set =5: ", "key=value expected"}},
    {"steps=", {"--set steps=: ", "'steps': '' found"}},
    {"steps= 5", {"--set steps= 5: ", "' 5' found"}},
    {"steps=many", {"--set steps=many: ", "'many' found", "whole number"}},
    {"name=a/b", {"--set name=a/b: ", "'a/b' found"}},
    {"output=~/runs", {"--set output=~/runs: ", "'output': '~/runs' found", "a shell"}},
    {"name=\xff", {"'name'", "a text of 1 to"}},
    {"name=\xc0\x80", {"'name'", "a text of 1 to"}},
    {"model.n_head=3", {"", "'model.n_embd' is 32", "(3)"}},
    {"model.preset=gpt2-9m", {"--set model.preset=gpt2-9m: ", "gpt2-124m"}},
    {"optimizer.kind=adam", {"--set optimizer.kind=adam: ", "'adam' found"}},
    {"optimizer.epsilon=1", {"--set optimizer.epsilon=1: ", "belongs to adamw"}},
    {"optimizer.mc_samples=0", {"--set optimizer.mc_samples=0: ", "at least 1"}},
    {"schedule.warmup=51", {"--set schedule.warmup=51: ", "at most steps (50)"}},
    {"schedule.milestones=[5,3]", {"--set schedule.milestones=[5,3]: ", "rising"}},
    {"schedule.milestones=[5", {"--set schedule.milestones=[5: ", "a list"}},
    {"schedule.milestones=5,", {"--set schedule.milestones=5,: ", "a list"}},
    {"schedule.milestones=5,,6", {"--set schedule.milestones=5,,6: ", "a list"}},
    {"log.tensorboard=2", {"--set log.tensorboard=2: ", "'2' found", "true or false expected"}},
};

Test(job, refuses_every_bad_override)
{
    for (size_t i = 0; i < sizeof bad_overrides / sizeof bad_overrides[0]; i++) {
        const bad_override *b = &bad_overrides[i];
        char path[PATH_SIZE];
        job j;
        cr_expect_eq(read_bytes(&j, small_job, strlen(small_job), path, &b->override, 1),
                     STATUS_INPUT, "%s was taken", b->override);
        expect_message("", b->says, 3);
    }
    const char *items[] = {"batch.microbatches=65536", "optimizer.mc_samples=65536"};
    char path[PATH_SIZE];
    job j;
    cr_expect_eq(read_bytes(&j, small_job, strlen(small_job), path, items, 2), STATUS_INPUT);
    expect_message(
        "--set batch.microbatches=65536: ", (const char *const[]){"65536", "2^32-1 work items"}, 2);
}

/* Values that no key of a type takes. */
static const char *const wrong[][12] = {
    [KEY_TEXT] = {"\"\"", "~", "[a]", "{a: 1}", "\"\\x07\""},
    [KEY_COUNT] = {"x", "-1", "1.5", "1e5", "+1", "0x10", "\"7\"", "true", ".inf", "~",
                   "99999999999999999999999"},
    [KEY_NUMBER] = {"x", ".nan", "nan", "NaN", "-.inf", "inf", "0x1p3", "1e999", "-1", "1.0.0",
                    "\"0.5\"", "1e"},
    [KEY_BOOL] = {"yes", "True", "1", "0", "on", "\"true\"", "~", "[]"},
    [KEY_CHOICE] = {"nonsense", "~", "\"\"", "[fp32]", "0"},
    [KEY_COUNTS] = {"5", "[0]", "[-1]", "[a]", "[1.5]", "[4294967296]", "\"[5]\"",
                    "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]"},
};

/* A resolved job in which the row's key stands. */
static void resolved_with(const schema_row *row, char text[TEXT_MAX])
{
    const char *sets[4];
    size_t count = 0;
    int kinds = schema_optimizers(row), first = 0;
    char kind[40];
    while (kinds && !(kinds >> first & 1)) first++;
    const optimizer *of = optimizer_row((optimizer_kind)first);
    if (first > 0) {
        snprintf(kind, sizeof kind, "optimizer.kind=%s", of->name);
        sets[count++] = kind;
    }
    if (row->settings != FOR_AUTO && optimizer_find_key(of, "optimizer.settings"))
        sets[count++] = "optimizer.settings=given";
    if (row->of_swag) {
        sets[count++] = "swag.start=5";
        sets[count++] = "swag.every=6";
    }
    if (row->schedules & FOR_WSD && !(row->schedules & FOR_COSINE)) {
        sets[count++] = "schedule.kind=wsd";
        sets[count++] = "schedule.decay=5";
    } else if (row->schedules & FOR_STEPS) {
        sets[count++] = "schedule.kind=steps";
        sets[count++] = "schedule.milestones=3,7";
    }
    job j = read_with(row->models & OF_MLP ? mlp_job : small_job, sets, count);
    write_text(text, &j);
}

/* Put a value at a key of a resolved job; the key's place comes back as "line:column: ". */
static void put(char out[TEXT_MAX], const char *text, const char *key, const char *value,
                char place[32])
{
    const char *dot = strchr(key, '.'), *at = text;
    char head[64], word[64];
    if (dot) {
        snprintf(head, sizeof head, "\n%.*s:\n", (int)(dot - key), key);
        at = strstr(text, head);
        cr_assert_not_null(at, "no section of %s", key);
        snprintf(word, sizeof word, "\n  %s: ", dot + 1);
    } else {
        snprintf(word, sizeof word, "%s: ", key);
    }
    at = strstr(at, word);
    cr_assert_not_null(at, "no line of %s in:\n%s", key, text);
    at += *word == '\n';
    size_t line = 1;
    for (const char *c = text; c < at; c++) line += *c == '\n';
    snprintf(place, 32, "%zu:%d: ", line, dot ? 3 : 1);
    at += strlen(word) - (*word == '\n');
    snprintf(out, TEXT_MAX, "%.*s%s%s", (int)(at - text), text, value, strchr(at, '\n'));
}

static void refuse_value(const char *text, const schema_row *row, const char *value)
{
    char edited[TEXT_MAX], path[PATH_SIZE], place[32], whole[PATH_SIZE + 64], quoted[64];
    job j;
    put(edited, text, row->key, value, place);
    cr_expect_eq(read_text(&j, edited, path), STATUS_INPUT, "%s: %s was taken", row->key, value);
    snprintf(whole, sizeof whole, "%s:%s", path, place);
    snprintf(quoted, sizeof quoted, "'%s'", row->key);
    expect_message(whole, (const char *const[]){quoted, "found", "expected"}, 3);
}

static void refuse_outside(const char *text, const schema_row *row)
{
    char value[64];
    bool whole = row->type == KEY_COUNT;
    if (row->min > 0 || row->ends & ENDS_OPEN_MIN) {
        snprintf(value, sizeof value, whole ? "%.0f" : "%.17g",
                 whole                       ? row->min - 1
                 : row->ends & ENDS_OPEN_MIN ? row->min
                                             : nextafter(row->min, -1));
        refuse_value(text, row, value);
    }
    if (isinf(row->max) || row->max > 1e19) return;
    snprintf(value, sizeof value, whole ? "%.0f" : "%.17g",
             whole                       ? row->max + 1
             : row->ends & ENDS_OPEN_MAX ? row->max
                                         : nextafter(row->max, INFINITY));
    refuse_value(text, row, value);
}

Test(job, refuses_wrong_values_of_every_key)
{
    for (size_t i = 0; i < schema_count; i++) {
        const schema_row *row = &schema_rows[i];
        char text[TEXT_MAX];
        resolved_with(row, text);
        for (size_t k = 0; k < 12 && wrong[row->type][k]; k++)
            refuse_value(text, row, wrong[row->type][k]);
        if (row->rising) refuse_value(text, row, "[2, 1]");
        if (row->type == KEY_COUNT || (row->type == KEY_NUMBER && row->max < 1e30))
            refuse_outside(text, row);
    }
}

Test(job, refuses_texts_that_are_too_long)
{
    static const char *const keys[] = {"name", "output", "model.init", "data.train", "data.valid"};
    char value[JOB_TEXT + 200], text[TEXT_MAX], edited[TEXT_MAX], place[32], path[PATH_SIZE];
    job j = read_small(NULL, 0);
    write_text(text, &j);
    for (size_t i = 0; i < 5; i++) {
        memset(value, 'a', sizeof value);
        value[JOB_TEXT - 1] = '\0';
        put(edited, text, keys[i], value, place);
        cr_expect_eq(read_text(&j, edited, path), STATUS_OK, "%s", status_message());
        value[JOB_TEXT - 1] = 'a';
        for (size_t more = 0; more < 150; more += 149) {
            value[JOB_TEXT + more] = '\0';
            put(edited, text, keys[i], value, place);
            cr_expect_eq(read_text(&j, edited, path), STATUS_INPUT);
            expect_message(path, (const char *const[]){keys[i], "aaa...", "511 bytes"}, 3);
            value[JOB_TEXT + more] = 'a';
        }
    }
}

typedef struct {
    const char *text;
    size_t length;
    const char *says;
} bad_file;

Test(job, refuses_what_is_no_job)
{
    static const bad_file files[] = {
        {"", 0, ":1:1: an empty file found"},
        {"# nothing\n", 10, "an empty file found"},
        {"---\n", 4, "a mapping of keys expected"},
        {"- name\n", 7, ":1:1: a mapping of keys expected"},
        {"name\n", 5, ":1:1: a mapping of keys expected"},
        {"{}", 2, "'name' expected, not found"},
        {"name: a\xff\xfe\n", 10, "YAML expected"},
        {"\0\0\0\0", 4, "YAML expected"},
    };
    job j;
    char path[PATH_SIZE];
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        cr_expect_eq(read_bytes(&j, files[i].text, files[i].length, path, NULL, 0), STATUS_INPUT);
        expect_message(path, &files[i].says, 1);
    }
    status_clear();
    cr_expect_eq(job_read(&j, "/nowhere/job.yaml", NULL, 0), STATUS_INPUT);
    expect_message("/nowhere/job.yaml: ", (const char *const[]){"No such file"}, 1);
    status_clear();
    cr_expect_eq(job_read(&j, "/tmp", NULL, 0), STATUS_INPUT);
    expect_message("/tmp: ", (const char *const[]){"no regular file"}, 1);
    status_clear();
    char large[] = "/tmp/vario-test-job-XXXXXX";
    int fd = mkstemp(large);
    cr_assert(fd >= 0 && ftruncate(fd, 1L << 32) == 0);
    close(fd);
    cr_expect_eq(job_read(&j, large, NULL, 0), STATUS_INPUT);
    expect_message(large, (const char *const[]){"4294967296 bytes found", "at most 1048576"}, 2);
    unlink(large);
}

Test(job, many_keys_are_refused_not_overrun)
{
    static char text[TEXT_MAX];
    size_t n = 0;
    for (int i = 0; i < 1000; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "k%d: %d\n", i, i);
    job j;
    char path[PATH_SIZE];
    cr_expect_eq(read_text(&j, text, path), STATUS_INPUT);
    expect_message(path, (const char *const[]){":257:1: ", "more keys found"}, 2);
}

/* Paths that only look like a shell's, and those with "./" before them, are taken as they are. */
Test(job, paths_are_taken_as_they_are)
{
    static const char *const overrides[] = {
        "output=./~/runs", "data.train=./$HOME/a", "output=a~b",         "data.train=price-5$",
        "data.train=a$1",  "output=~/a",           "data.train=a/~b.bin"};
    for (size_t i = 0; i < sizeof overrides / sizeof overrides[0]; i++) {
        char path[PATH_SIZE];
        job j;
        bool wants_shell = strcmp(overrides[i], "output=~/a") == 0;
        cr_expect_eq(read_bytes(&j, small_job, strlen(small_job), path, &overrides[i], 1),
                     wants_shell ? STATUS_INPUT : STATUS_OK, "%s: %s", overrides[i],
                     status_message());
        status_clear();
    }
}

/* A run that has begun goes on where it lies, whatever its folder is called. */
Test(job, the_job_of_a_run_keeps_its_paths)
{
    char text[TEXT_MAX];
    job j;
    edit(text, small_job, "steps: 50", "output: ~/runs\nsteps: 50");
    cr_expect_eq(job_parse(&j, "runs/a/job.yaml", text, strlen(text), NULL, 0), STATUS_OK, "%s",
                 status_message());
    cr_expect_str_eq(j.output, "~/runs");
}
