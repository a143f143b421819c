/** The kinds of model: one row each, in the file that has its arithmetic. Whoever trains, evaluates
 * or reads settings asks the row. docs/extending.md says how to add one. */
#ifndef VARIO_MODEL_KINDS_H
#define VARIO_MODEL_KINDS_H

#include "model/gpt2.h"
#include "model/mlp.h"

/** Every kind that a job can name, in the order of model.kind's values. */
#define MODEL_KINDS_LIST(ROW) ROW(GPT2, gpt2) ROW(LINEAR, linear) ROW(MLP, mlp)

#define MODEL_VALUE(KIND, name) MODEL_##KIND,
typedef enum { MODEL_KINDS_LIST(MODEL_VALUE) MODEL_KINDS } model_kind;

/** "gpt2|linear|..." as a constant. */
#define MODEL_NAME(KIND, name) "|" #name
#define MODEL_NAMES (&("" MODEL_KINDS_LIST(MODEL_NAME))[1])

typedef struct {
    model_kind kind;
    gpt2_config gpt2; /**< of gpt2 */
    mlp_config mlp;   /**< of linear, which has no hidden layers, and mlp */
} model_config;

/** What a kind does: model.h says what each function promises. `m` is what `open` made. */
typedef struct {
    const char *name;
    bool tokens;              /**< its rows are tokens of sequences, else examples */
    const char *row, *rows;   /**< what its outputs are of, for people: "token", "tokens" */
    const char *item, *items; /**< what a batch counts: "sequence", "sequences" */
    status (*parameters)(parameters *p, const model_config *config);
    bool (*is_layer)(const tensor *t);
    size_t (*activation_bytes)(const model_config *config, const model_shape *shape);
    status (*open)(void **m, const model_config *config, const model_shape *shape);
    void (*close)(void **m);
    double (*backward)(void *m, const model_hooks *hooks, const batch *b, noise_key key);
    void (*predict)(void *m, const model_hooks *hooks, const batch *b, bool drop, noise_key key,
                    model_visit *visit, void *context);
    /** NULL: no variances and Jacobians in one way back. */
    void (*variances)(void *m, const model_hooks *hooks, const weight_spread *spread,
                      const batch *b, float *outputs, float *found);
    void (*jacobian)(void *m, const model_hooks *hooks, const batch *b, float *outputs,
                     mlp_slopes *visit, void *context);
    bool (*has_bias)(const model_config *config);
    double (*dropout)(const model_config *config);
    size_t (*outputs)(const model_config *config);
    bool (*has_classes)(const model_config *config);
    double (*noise_variance)(const model_config *config); /**< NULL: always classes */
    double (*flops_per_row)(const model_config *config, size_t length);
} model_row;

extern const model_row gpt2_row, linear_row, mlp_row;

/** The row of a kind. */
const model_row *model_row_of(model_kind kind);

#endif
