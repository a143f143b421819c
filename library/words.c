/* The job of a checkpoint: what a run with these settings would say of them. */
#include "base/number.h"
#include "io/files/json_text.h"
#include "library/optimizer.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line of a section, where the optimizer reads the key. */
static void print_word(FILE *out, const optimizer *row, const char *key, const char *word)
{
    if (optimizer_find_key(row, key)) fprintf(out, "  %s: %s\n", strchr(key, '.') + 1, word);
}

static void print_value(FILE *out, const optimizer *row, const char *key, double value)
{
    char text[NUMBER_TEXT];
    number_print(value, text, sizeof text);
    print_word(out, row, key, text);
}

static void print_settings(FILE *out, const runtime_settings *s)
{
    static const char *const truths[] = {"false", "true"}, *const scopes[] = {"microbatch", "step"},
                             *const hessians[] = {"price", "gradsq"},
                             *const courses[] = {"cosine", "linear"};
    const optimizer_settings *o = &s->optimizer;
    char norm[NUMBER_TEXT];
    number_print(s->clip.norm, norm, sizeof norm);
    fprintf(out, "seed: %" PRIu64 "\nbatch:\n  microbatches: %" PRIu64 "\n", s->seed,
            s->microbatches);
    fprintf(out, "optimizer:\n  kind: %s\n", s->row->name);
    print_word(out, s->row, "optimizer.settings", "given");
    print_value(out, s->row, "optimizer.ess", o->ess);
    print_value(out, s->row, "optimizer.ess_final", o->ess_final);
    print_word(out, s->row, "optimizer.ess_course", courses[o->ess_course]);
    print_value(out, s->row, "optimizer.hessian_init", o->hessian_init);
    print_word(out, s->row, "optimizer.hessian", hessians[o->hessian]);
    print_value(out, s->row, "optimizer.beta1", o->beta1);
    print_value(out, s->row, "optimizer.beta2", o->beta2);
    print_value(out, s->row, "optimizer.weight_decay", o->weight_decay);
    print_value(out, s->row, "optimizer.epsilon", o->epsilon);
    print_word(out, s->row, "optimizer.mc_samples", "1");
    print_word(out, s->row, "optimizer.rescale_lr", truths[o->rescale_lr]);
    print_word(out, s->row, "optimizer.debias", truths[o->debias]);
    print_word(out, s->row, "optimizer.nesterov", truths[o->nesterov]);
    fprintf(out, "clip:\n  norm: %s\n  scope: %s\n", norm, scopes[s->clip.scope]);
    print_value(out, s->row, "clip.update", s->clip.update);
}

static char *settings_text(const runtime_settings *s)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return NULL;
    print_settings(out, s);
    bool whole = !ferror(out);
    if (fclose(out) == 0 && whole) return text;
    free(text);
    return NULL;
}

status library_words(checkpoint_words *words, const runtime_settings *s)
{
    char *config = json_text_make(json_pack("{ss}", "model_type", "own"), 0);
    *words = (checkpoint_words){settings_text(s), config, false};
    if (words->job && words->config) return STATUS_OK;
    checkpoint_words_close(words);
    return fail(STATUS_NOMEM, "memory for the settings of a checkpoint");
}
