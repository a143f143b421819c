/* A model's config.json is transformers' where it is theirs; others have the job's keys. */
#include "io/runs/job_checkpoint.h"

#include "io/files/json_text.h"
#include "io/jobs/job_schema.h"
#include "io/weights/config_json.h"
#include "runtime/agree.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The job's keys of the model, which are those of no library. */
static char *layers_text(const job *j)
{
    static const char *const keys[] = {"model.inputs",     "model.outputs", "model.hidden",
                                       "model.activation", "model.loss",    "model.bias",
                                       "model.dropout"};
    char value[JOB_TEXT];
    schema_format(schema_find("model.kind"), j, value, sizeof value);
    json_t *o = json_pack("{ss}", "model_type", value);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const schema_row *row = schema_find(keys[i]);
        if (!schema_applies(row, j)) continue;
        schema_format(row, j, value, sizeof value);
        json_text_set(&o, strchr(keys[i], '.') + 1,
                      row->type == KEY_CHOICE ? json_string(value)
                                              : json_loads(value, JSON_DECODE_ANY, NULL));
    }
    return json_text_make(o, 0);
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
    char *config = j->model.kind == MODEL_GPT2 ? config_json_make(&j->model.gpt2) : layers_text(j);
    *words = (checkpoint_words){job_text(j), config, job_collects(j)};
    if (words->job && words->config) return STATUS_OK;
    checkpoint_words_close(words);
    return fail(STATUS_NOMEM, "memory for the job of a checkpoint");
}

status job_checkpoint_begin(checkpoint_writer **w, MPI_Comm comm, const char *run, const job *j,
                            const checkpoint_facts *facts, const parameters *p,
                            const saved_array *arrays, size_t array_count, const slice *slices,
                            size_t slice_count)
{
    runtime_settings settings = job_settings(j);
    checkpoint_words words;
    checkpoint_prior prior = {0};
    *w = NULL;
    settings_set_ess(&settings, job_ess(j, facts->steps));
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
