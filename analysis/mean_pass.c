#include "analysis/mean_pass.h"

static const void *get_weights(void *context, size_t u)
{
    mean_pass *m = context;
    return weights_get(&m->r->weights, u);
}

static void nothing(void *context, size_t u)
{
    (void)context;
    (void)u;
}

static float *give_gradients(void *context, size_t u)
{
    mean_pass *m = context;
    return (float *)(void *)slots_at(&m->gradients, u);
}

status mean_pass_plan(mean_pass *m, const job *j, const parameters *p, dtype precision,
                      size_t sequences, mean_pass_kind kind)
{
    m->job = *j;
    m->job.model.gpt2.dropout = m->job.model.mlp.dropout = 0.0;
    m->job.batch.sequences = sequences;
    m->job.batch.parts = 1;
    m->config = job_model(&m->job);
    m->shape = (model_shape){.sequences = sequences,
                             .length = j->batch.length,
                             .precision = precision,
                             .recompute = j->recompute,
                             .training = kind == MEAN_PASS_TRAINING,
                             .variances = kind == MEAN_PASS_VARIANCES};
    status result = layout_open(&m->layout, p, DTYPE_F32);
    return result ? result : slots_open(&m->gradients, p, false);
}

static size_t gradient_bytes(const mean_pass *m, const parameters *p)
{
    return m->shape.training ? slots_bytes(&m->gradients, p, m->layout.unit_bytes) : 0;
}

size_t mean_pass_bytes(const mean_pass *m, const parameters *p)
{
    return gradient_bytes(m, p) + model_activation_bytes(&m->config, &m->shape);
}

status mean_pass_open(mean_pass *m, trainer *r)
{
    status result = STATUS_OK;
    m->r = r;
    m->hooks = (model_hooks){.context = m,
                             .weights = get_weights,
                             .gradients = give_gradients,
                             .gradients_done = nothing};
    if (m->shape.training) {
        result = arena_open(&m->arena, "gradients", gradient_bytes(m, &r->rounds.p));
        if (result) return result;
        slots_take(&m->gradients, &r->rounds.p, m->layout.unit_bytes, &m->arena);
    }
    result = dataset_batch_open(&m->batch, &m->job);
    return result ? result : model_open(&m->model, &m->config, &m->shape);
}

void mean_pass_close(mean_pass *m)
{
    model_close(&m->model);
    dataset_batch_close(&m->batch);
    slots_close(&m->gradients);
    arena_close(&m->arena);
    layout_close(&m->layout);
}

bool mean_pass_begin(mean_pass *m, size_t active, bool backward, bool works)
{
    trainer *r = m->r;
    weights_begin(&r->weights,
                  &(weights_round){.active = active, .keys = r->rounds.keys, .backward = backward});
    if (!works) weights_idle(&r->weights, backward);
    return works;
}

void mean_pass_end(mean_pass *m)
{
    weights_end(&m->r->weights);
}

size_t mean_pass_active(const mean_pass *m, uint64_t count, uint64_t max, uint64_t round)
{
    size_t ranks = (size_t)m->r->rounds.c->size, active = 0;
    while (active < ranks && mean_pass_rows(count, max, round * ranks + active) > 0) active++;
    return active;
}

const float *mean_pass_gradient(const mean_pass *m, size_t i)
{
    const char *of_unit = slots_at(&m->gradients, m->r->rounds.p.tensors[i].unit);
    return (const float *)(const void *)(of_unit + m->layout.tensor_offset[i]);
}
