/* A model's config.json is transformers' where it is theirs; others have the job's keys. */
#include "io/runs/job_checkpoint.h"

#include "io/jobs/job_schema.h"
#include "io/weights/config_json.h"
#include "runtime/agree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The job's keys of the model, which are those of no library. */
static int print_layers(char *text, size_t size, const job *j)
{
    static const char *const keys[] = {"model.inputs",     "model.outputs", "model.hidden",
                                       "model.activation", "model.loss",    "model.bias",
                                       "model.dropout"};
    char value[JOB_TEXT];
    schema_format(schema_find("model.kind"), j, value, sizeof value);
    int n = snprintf(text, size, "{\"model_type\": \"%s\"", value);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const schema_row *row = schema_find(keys[i]);
        if (!schema_applies(row, j)) continue;
        const char *quote = row->type == KEY_CHOICE ? "\"" : "";
        schema_format(row, j, value, sizeof value);
        n += snprintf(text + n, size - (size_t)n, ", \"%s\": %s%s%s", strchr(keys[i], '.') + 1,
                      quote, value, quote);
    }
    return n + snprintf(text + n, size - (size_t)n, "}\n");
}

static char *job_text(const job *j)
{
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);
    if (!memory) return NULL;
    status result = job_write(j, memory);
    if (fclose(memory) == 0 && !result) return text;
    free(text);
    return NULL;
}

status job_checkpoint_words(checkpoint_words *words, const job *j)
{
    char config[2048];
    if (j->model.kind == MODEL_GPT2)
        config_json_print(config, sizeof config, &j->model.gpt2);
    else
        print_layers(config, sizeof config, j);
    *words = (checkpoint_words){job_text(j), strdup(config), job_collects(j)};
    if (words->job && words->config) return STATUS_OK;
    checkpoint_words_close(words);
    return fail(STATUS_NOMEM, "memory for the job of a checkpoint");
}

status job_checkpoint_begin(checkpoint_writer **w, MPI_Comm comm, const char *run, const job *j,
                            const checkpoint_facts *facts, const parameters *p,
                            const saved_array *arrays, size_t array_count, const slice *slices,
                            size_t slice_count)
{
    const runtime_settings settings = job_settings(j);
    checkpoint_words words;
    checkpoint_prior prior = {0};
    *w = NULL;
    status result = job_checkpoint_words(&words, j);
    if (!result) result = checkpoint_prior_of_settings(&prior, &settings, p);
    result = agree(comm, result);
    if (!result)
        result = checkpoint_begin(w, comm, run, &words, &prior, facts, p, arrays, array_count,
                                  slices, slice_count);
    checkpoint_prior_close(&prior);
    checkpoint_words_close(&words);
    return result;
}

status job_checkpoint_open(checkpoint_sink **s, MPI_Comm comm, const char *run, const job *j,
                           const checkpoint_prior *prior, const checkpoint_facts *facts,
                           const parameters *p, const saved_array *arrays, size_t array_count)
{
    checkpoint_words words;
    *s = NULL;
    status result = agree(comm, job_checkpoint_words(&words, j));
    if (!result)
        result = checkpoint_sink_open(s, comm, run, &words, prior, facts, p, arrays, array_count);
    checkpoint_words_close(&words);
    return result;
}
