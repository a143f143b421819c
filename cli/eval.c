/* vario eval: a run's validation loss, the same bits on any number of ranks. */
#include "cli/session.h"
#include "cli/verbs.h"
#include "io/agree.h"
#include "io/checkpoint.h"
#include "io/tokens.h"
#include "runtime/trainer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

typedef struct {
    uint64_t samples, batches;
    const char *data;
    bool json, quiet;
} arguments;

static void print_result(const arguments *a, const job *j, const checkpoint_facts *facts,
                         double loss, double averaged)
{
    if (a->json) {
        printf("{\"run\": \"%s\", \"step\": %" PRIu64
               ", \"valid_loss\": %.17g, \"perplexity\": %.17g",
               j->name, facts->steps, loss, exp(loss));
        if (a->samples)
            printf(", \"samples\": %" PRIu64
                   ", \"valid_loss_averaged\": %.17g, \"perplexity_averaged\": %.17g",
                   a->samples, averaged, exp(averaged));
        printf("}\n");
        return;
    }
    printf("%s, step %" PRIu64 "\n  at the mean: loss %.4f nats a token, perplexity %.3f\n",
           j->name, facts->steps, loss, exp(loss));
    if (a->samples)
        printf("  averaged over %" PRIu64 " posterior samples: loss %.4f, perplexity %.3f\n",
               a->samples, averaged, exp(averaged));
}

static status evaluate(session *s, const arguments *a, job *j, const char *path)
{
    trainer r = {0};
    tokens *data = NULL;
    checkpoint_facts facts;
    double loss, averaged;
    dtype precision = session_precision(s, j);
    const char *pattern = a->data ? a->data : j->data.valid;
    status result =
        agree(s->c.world, tokens_open(&data, pattern, j->batch.length, j->model.gpt2.vocab_size));
    if (!result) result = trainer_open(&r, j, &s->c, precision, false);
    if (!result) result = trainer_read(&r, path, &facts);
    if (!result) result = trainer_evaluate(&r, data, a->batches, a->samples, &loss, &averaged);
    if (!result && s->c.rank == 0) print_result(a, j, &facts, loss, averaged);
    trainer_close(&r);
    tokens_close(&data);
    return result;
}

static status run(session *s, void *context, const char **rest)
{
    const arguments *a = context;
    const char *path = rest[0];
    job j;
    status result = session_read_run(s, &j, path);
    if (result) return result;
    if (a->samples > 0 && j.optimizer.kind != OPTIMIZER_IVON)
        return fail(STATUS_INPUT,
                    "vario eval: --samples %" PRIu64
                    ": a posterior (optimizer.kind ivon) expected, %s was trained without one",
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
        {"--data", OPTION_TEXT, &a.data, "GLOB", "token files, instead of the job's data.valid"},
        {"--json", OPTION_FLAG, &a.json, NULL, "print the result as JSON"},
        {"--quiet", OPTION_FLAG, &a.quiet, NULL, "only errors and the result"},
    };
    const option_table table = {"eval",
                                "RUN [--samples S] [--json]",
                                "Validation loss (nats a token) and perplexity of a run's newest "
                                "checkpoint.",
                                options,
                                sizeof options / sizeof options[0],
                                1,
                                1};
    return session_main(&table, argc, argv, run, &a);
}
