/* oneDNN's inner product with the weight layout that it likes best: no copy inside. */
#include "bench/ceiling.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 4096, REPEATS = 9, SHAPES = 4 };

typedef struct {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t product;
    dnnl_memory_t memory[3];
    void *data[3];
} setup;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_value);
    return values[count / 2];
}

static bool open_memory(setup *s, int i, const dnnl_memory_desc_t *d)
{
    size_t bytes = (dnnl_memory_desc_get_size(d) + 4095) / 4096 * 4096;
    s->data[i] = aligned_alloc(4096, bytes);
    if (!s->data[i]) return false;
    memset(s->data[i], 0, bytes);
    return dnnl_memory_create(&s->memory[i], d, s->engine, s->data[i]) == dnnl_success;
}

static bool open_product(setup *s, dnnl_data_type_t type, dnnl_dim_t k, dnnl_dim_t n)
{
    dnnl_memory_desc_t d[3];
    dnnl_dims_t dims[3] = {{ROWS, k}, {k, n}, {ROWS, n}};
    dnnl_format_tag_t tags[3] = {dnnl_ab, dnnl_format_tag_any, dnnl_ab};
    dnnl_matmul_desc_t operation;
    dnnl_primitive_desc_t description;
    for (int i = 0; i < 3; i++) dnnl_memory_desc_init_by_tag(&d[i], 2, dims[i], type, tags[i]);
    if (dnnl_matmul_desc_init(&operation, &d[0], &d[1], NULL, &d[2]) != dnnl_success) return false;
    if (dnnl_primitive_desc_create(&description, &operation, NULL, s->engine, NULL) != dnnl_success)
        return false;
    bool good = dnnl_primitive_create(&s->product, description) == dnnl_success;
    static const dnnl_query_t queries[] = {dnnl_query_src_md, dnnl_query_weights_md,
                                           dnnl_query_dst_md};
    for (int i = 0; good && i < 3; i++)
        good = open_memory(s, i, dnnl_primitive_desc_query_md(description, queries[i], 0));
    dnnl_primitive_desc_destroy(description);
    return good;
}

static void close_setup(setup *s)
{
    for (int i = 0; i < 3; i++) {
        if (s->memory[i]) dnnl_memory_destroy(s->memory[i]);
        free(s->data[i]);
    }
    if (s->product) dnnl_primitive_destroy(s->product);
    dnnl_stream_destroy(s->stream);
    dnnl_engine_destroy(s->engine);
}

static double shape_rate(dnnl_data_type_t type, dnnl_dim_t k, dnnl_dim_t n)
{
    setup s = {0};
    double rates[REPEATS] = {0};
    dnnl_engine_create(&s.engine, dnnl_cpu, 0);
    dnnl_stream_create(&s.stream, s.engine, dnnl_stream_default_flags);
    bool good = open_product(&s, type, k, n);
    dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SRC, s.memory[0]}, {DNNL_ARG_WEIGHTS, s.memory[1]}, {DNNL_ARG_DST, s.memory[2]}};
    for (int i = -2; good && i < REPEATS; i++) {
        double start = omp_get_wtime();
        dnnl_primitive_execute(s.product, s.stream, 3, arguments);
        double seconds = omp_get_wtime() - start;
        if (i >= 0) rates[i] = 2e-9 * ROWS * (double)k * (double)n / seconds;
    }
    close_setup(&s);
    return median(rates, REPEATS);
}

double ceiling_product_rate(dtype type)
{
    static const dnnl_dim_t shapes[SHAPES][2] = {{768, 2304}, {768, 768}, {768, 3072}, {3072, 768}};
    double rates[SHAPES];
    for (int i = 0; i < SHAPES; i++)
        rates[i] =
            shape_rate(type == DTYPE_BF16 ? dnnl_bf16 : dnnl_f32, shapes[i][0], shapes[i][1]);
    return median(rates, SHAPES);
}
