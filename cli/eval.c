/* vario eval: a run's validation loss, the same bits on any number of ranks. */
#include "cli/session.h"
#include "cli/verbs.h"
#include "io/agree.h"
#include "io/checkpoint.h"
#include "runtime/trainer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

typedef struct {
    uint64_t samples, batches;
    const char *data;
    bool json, quiet;
} arguments;

/* A member of the JSON object, unless there is no such number. */
static void print_member(const char *name, double value)
{
    if (!isnan(value)) printf(", \"%s\": %.17g", name, value);
}

static void print_json(const arguments *a, const job *j, const checkpoint_facts *facts,
                       const validation *v)
{
    model_config config = job_model(j);
    bool classes = model_has_classes(&config);
    printf("{\"run\": \"%s\", \"step\": %" PRIu64, j->name, facts->steps);
    print_member("valid_loss", v->loss);
    print_member("perplexity", classes ? exp(v->loss) : NAN);
    print_member("accuracy", v->accuracy);
    if (a->samples) printf(", \"samples\": %" PRIu64, a->samples);
    print_member("valid_loss_averaged", v->averaged);
    print_member("perplexity_averaged", classes ? exp(v->averaged) : NAN);
    print_member("accuracy_averaged", v->accuracy_averaged);
    printf("}\n");
}

/* What a loss says: of tokens a perplexity, of classes an accuracy. */
static void print_line(const job *j, double loss, double accuracy, const char *of)
{
    printf(": loss %.4f%s", loss, of);
    if (j->model.kind == MODEL_GPT2) printf(", perplexity %.3f", exp(loss));
    if (!isnan(accuracy)) printf(", accuracy %.4f", accuracy);
    putchar('\n');
}

static void print_result(const arguments *a, const job *j, const checkpoint_facts *facts,
                         const validation *v)
{
    printf("%s, step %" PRIu64 "\n  at the mean", j->name, facts->steps);
    print_line(j, v->loss, v->accuracy,
               j->model.kind == MODEL_GPT2 ? " nats a token" : " nats an example");
    if (!a->samples) return;
    printf("  averaged over %" PRIu64 " posterior samples", a->samples);
    print_line(j, v->averaged, v->accuracy_averaged, "");
}

static status evaluate(session *s, const arguments *a, job *j, const char *path)
{
    trainer r = {0};
    dataset *data = NULL;
    checkpoint_facts facts;
    validation found;
    dtype precision = session_precision(s, j);
    status result = agree(s->c.world, dataset_open(&data, j, DATASET_VALID, a->data));
    if (!result) result = trainer_open(&r, j, &s->c, precision, false);
    if (!result) result = trainer_read(&r, path, &facts);
    if (!result) result = trainer_evaluate(&r, data, a->batches, a->samples, &found);
    if (!result && s->c.rank == 0) (a->json ? print_json : print_result)(a, j, &facts, &found);
    trainer_close(&r);
    dataset_close(&data);
    return result;
}

static status run(session *s, void *context, const char **rest)
{
    const arguments *a = context;
    const char *path = rest[0];
    job j;
    status result = session_read_run(s, &j, path);
    if (result) return result;
    if (a->samples > 0 && !job_has_posterior(&j))
        return fail(STATUS_INPUT,
                    "vario eval: --samples %" PRIu64
                    ": a posterior (ivon, bbb or swag) expected, %s was trained without one",
                    a->samples, path);
    session_compute(s, j.parallel.threads, a->quiet);
    return evaluate(s, a, &j, path);
}

int eval_main(int argc, char **argv)
{
    arguments a = {0};
    const option options[] = {
        {"--samples", OPTION_COUNT, &a.samples, "S",
         "average the probabilities over S posterior samples too"},
        {"--batches", OPTION_COUNT, &a.batches, "N", "only the first N batches (0: all)"},
        {"--data", OPTION_TEXT, &a.data, "GLOB", "token files or examples, instead of data.valid"},
        {"--json", OPTION_FLAG, &a.json, NULL, "print the result as JSON"},
        {"--quiet", OPTION_FLAG, &a.quiet, NULL, "only errors and the result"},
    };
    const option_table table = {"eval",
                                "RUN [--samples S] [--json]",
                                "Validation loss of a run's newest checkpoint, in nats, with "
                                "perplexity (tokens) or accuracy (classes).",
                                options,
                                sizeof options / sizeof options[0],
                                1,
                                1};
    return session_main(&table, argc, argv, run, &a);
}
