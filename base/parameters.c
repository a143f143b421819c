/* Layout of units: offsets from shapes. */
#include "base/parameters.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t layout_element_bytes(const layout *l, const tensor *t)
{
    return tensor_is_matrix(t) && l->matrix_type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
}

status layout_open(layout *l, const parameters *p, dtype matrix_type)
{
    *l = (layout){.matrix_type = matrix_type};
    l->tensor_offset = calloc(p->tensor_count, sizeof *l->tensor_offset);
    l->unit_bytes = calloc(p->unit_count, sizeof *l->unit_bytes);
    if (!l->tensor_offset || !l->unit_bytes) {
        layout_close(l);
        return fail(STATUS_NOMEM, "memory for the layout of %zu tensors", p->tensor_count);
    }
    for (size_t i = 0; i < p->tensor_count; i++) {
        const tensor *t = &p->tensors[i];
        l->tensor_offset[i] = l->unit_bytes[t->unit];
        l->unit_bytes[t->unit] += memory_round(t->count * layout_element_bytes(l, t));
    }
    return STATUS_OK;
}

void layout_close(layout *l)
{
    free(l->tensor_offset);
    free(l->unit_bytes);
    *l = (layout){0};
}

size_t layout_offset(const layout *l, const parameters *p, size_t unit_number, size_t element)
{
    const unit *u = &p->units[unit_number];
    for (size_t i = u->first; i < u->first + u->tensors; i++) {
        const tensor *t = &p->tensors[i];
        if (element < t->count) return l->tensor_offset[i] + element * layout_element_bytes(l, t);
        element -= t->count;
    }
    return l->unit_bytes[unit_number];
}

status parameters_open(parameters *p, size_t units, size_t tensors)
{
    *p = (parameters){.unit_count = units};
    p->tensors = calloc(tensors, sizeof *p->tensors);
    p->units = calloc(units, sizeof *p->units);
    if (p->tensors && p->units) return STATUS_OK;
    parameters_close(p);
    return fail(STATUS_NOMEM, "memory for %zu tensors", tensors);
}

void parameters_append(parameters *p, const tensor *like)
{
    tensor *t = &p->tensors[p->tensor_count];
    unit *u = &p->units[like->unit];
    *t = *like;
    t->index = p->count;
    t->count = 1;
    for (int d = 0; d < t->dimensions; d++) t->count *= t->shape[d];
    if (u->tensors == 0) {
        u->first = p->tensor_count;
        u->index = p->count;
    }
    u->tensors++;
    u->count += t->count;
    p->count += t->count;
    p->tensor_count++;
}

void parameters_add(parameters *p, size_t unit_number, const char *name, size_t rows,
                    size_t columns, double mean, double deviation)
{
    tensor t = {.unit = unit_number,
                .dimensions = columns ? 2 : 1,
                .shape = {rows, columns ? columns : 1},
                .decayed = columns > 0,
                .init_mean = mean,
                .init_deviation = deviation};
    snprintf(t.name, sizeof t.name, "%s", name);
    parameters_append(p, &t);
}

size_t parameters_find(const parameters *p, const char *name)
{
    size_t i = 0;
    while (i < p->tensor_count && strcmp(p->tensors[i].name, name) != 0) i++;
    return i;
}

void parameters_close(parameters *p)
{
    free(p->tensors);
    free(p->units);
    *p = (parameters){0};
}
