/* oneDNN's matrix product with the weight layout that it likes best: no copy inside. The shapes
 * share their buffers, whose contents do not matter. */
#include "kernels/ceiling.h"

#include "kernels/kernels.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 4096, REPEATS = 9, SHAPES = 4, OPERANDS = 3 };

static const dnnl_dim_t shapes[SHAPES][2] = {{768, 2304}, {768, 768}, {768, 3072}, {3072, 768}};

typedef struct {
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[OPERANDS]; /* source, weights, destination */
    size_t bytes[OPERANDS];
    double flops;
} product;

struct products {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    product of_shape[SHAPES];
    void *data[OPERANDS];
    size_t next; /* product to run */
};

static bool open_product(products *all, product *p, dnnl_data_type_t type, dnnl_dim_t rows,
                         const dnnl_dim_t shape[2])
{
    static const dnnl_query_t queries[] = {dnnl_query_src_md, dnnl_query_weights_md,
                                           dnnl_query_dst_md};
    static const dnnl_format_tag_t tags[] = {dnnl_ab, dnnl_format_tag_any, dnnl_ab};
    dnnl_dim_t k = shape[0], n = shape[1];
    dnnl_dims_t dims[OPERANDS] = {{rows, k}, {k, n}, {rows, n}};
    dnnl_memory_desc_t d[OPERANDS];
    dnnl_matmul_desc_t operation;
    dnnl_primitive_desc_t description;
    for (int i = 0; i < OPERANDS; i++)
        dnnl_memory_desc_init_by_tag(&d[i], 2, dims[i], type, tags[i]);
    if (dnnl_matmul_desc_init(&operation, &d[0], &d[1], NULL, &d[2]) != dnnl_success ||
        dnnl_primitive_desc_create(&description, &operation, NULL, all->engine, NULL) !=
            dnnl_success)
        return false;
    bool good = dnnl_primitive_create(&p->primitive, description) == dnnl_success;
    for (int i = 0; good && i < OPERANDS; i++) {
        const dnnl_memory_desc_t *found = dnnl_primitive_desc_query_md(description, queries[i], 0);
        p->bytes[i] = dnnl_memory_desc_get_size(found);
        good =
            dnnl_memory_create(&p->memory[i], found, all->engine, DNNL_MEMORY_NONE) == dnnl_success;
    }
    dnnl_primitive_desc_destroy(description);
    p->flops = 2.0 * (double)rows * (double)k * (double)n;
    return good;
}

/* One buffer an operand, as large as the largest shape needs it. */
static bool open_data(products *all)
{
    for (int i = 0; i < OPERANDS; i++) {
        size_t max = 0;
        for (int s = 0; s < SHAPES; s++)
            if (all->of_shape[s].bytes[i] > max) max = all->of_shape[s].bytes[i];
        max = (max + 4095) / 4096 * 4096;
        all->data[i] = aligned_alloc(4096, max);
        if (!all->data[i]) return false;
        memset(all->data[i], 0, max);
        for (int s = 0; s < SHAPES; s++)
            if (dnnl_memory_set_data_handle(all->of_shape[s].memory[i], all->data[i]) !=
                dnnl_success)
                return false;
    }
    return true;
}

static double run_next(products *all)
{
    const product *p = &all->of_shape[all->next];
    all->next = (all->next + 1) % SHAPES;
    dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, p->memory[0]},
                                   {DNNL_ARG_WEIGHTS, p->memory[1]},
                                   {DNNL_ARG_DST, p->memory[2]}};
    dnnl_primitive_execute(p->primitive, all->stream, OPERANDS, arguments);
    return p->flops;
}

products *ceiling_open(dtype type, size_t rows)
{
    bool native = type != DTYPE_BF16 || kernels_native_bf16();
    products *all = native ? calloc(1, sizeof *all) : NULL;
    if (!all) return NULL;
    bool good =
        dnnl_engine_create(&all->engine, dnnl_cpu, 0) == dnnl_success &&
        dnnl_stream_create(&all->stream, all->engine, dnnl_stream_default_flags) == dnnl_success;
    for (int s = 0; good && s < SHAPES; s++)
        good = open_product(all, &all->of_shape[s], type == DTYPE_BF16 ? dnnl_bf16 : dnnl_f32,
                            (dnnl_dim_t)rows, shapes[s]);
    if (good) good = open_data(all);
    if (!good) ceiling_close(&all);
    return all;
}

void ceiling_close(products **out)
{
    products *all = *out;
    if (!all) return;
    for (int s = 0; s < SHAPES; s++) {
        for (int i = 0; i < OPERANDS; i++)
            if (all->of_shape[s].memory[i]) dnnl_memory_destroy(all->of_shape[s].memory[i]);
        if (all->of_shape[s].primitive) dnnl_primitive_destroy(all->of_shape[s].primitive);
    }
    for (int i = 0; i < OPERANDS; i++) free(all->data[i]);
    if (all->stream) dnnl_stream_destroy(all->stream);
    if (all->engine) dnnl_engine_destroy(all->engine);
    free(all);
    *out = NULL;
}

double ceiling_run(products *all, double seconds)
{
    double start = omp_get_wtime(), passed, flops = 0.0;
    do {
        flops += run_next(all);
        passed = omp_get_wtime() - start;
    } while (passed < seconds);
    return 1e-9 * flops / passed;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double ceiling_product_rate(dtype type)
{
    double rates[REPEATS];
    products *all = ceiling_open(type, ROWS);
    if (!all) return 0.0;
    for (int i = 0; i < REPEATS; i++) rates[i] = ceiling_run(all, 0.1);
    ceiling_close(&all);
    qsort(rates, REPEATS, sizeof *rates, by_value);
    return rates[REPEATS / 2];
}
