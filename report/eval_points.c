/* Examples that can be drawn: a number, and a number that depends on it. */
#include "report/eval_report.h"

#include <stdlib.h>

bool evaluation_has_curve(const ensemble *e)
{
    model_config config = job_model(&e->jobs[0]);
    return !model_reads_tokens(&config) && !model_has_classes(&config) && config.mlp.inputs == 1 &&
           config.mlp.outputs == 1;
}

static status read_all(curve_points *p, const dataset *data, dataset_batch *b, uint64_t count)
{
    status result = STATUS_OK;
    for (uint64_t i = 0; !result && i < count; i++) {
        result = dataset_window(data, i, b, 0);
        if (result || dataset_left_out(data, i)) continue;
        p->x[p->count] = (double)b->inputs[0];
        p->y[p->count++] = (double)b->values[0];
    }
    return result;
}

status points_read(curve_points *p, const dataset *data, const job *j, uint64_t count)
{
    dataset_batch b;
    status result = dataset_batch_open(&b, j);
    if (result) return result;
    *p = (curve_points){.x = calloc((size_t)count, sizeof *p->x),
                        .y = calloc((size_t)count, sizeof *p->y)};
    result = p->x && p->y ? read_all(p, data, &b, count)
                          : fail(STATUS_NOMEM, "memory for the points of %zu rows", (size_t)count);
    dataset_batch_close(&b);
    return result;
}

void points_close(curve_points *p)
{
    free(p->x);
    free(p->y);
    *p = (curve_points){0};
}
