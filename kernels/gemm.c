/* Matrix products by oneDNN: one cached primitive a shape. The library's products are fastest with
 * a plain left operand and a right operand in a blocked layout of its own; bringing them there
 * costs less than it saves, but for few rows. */
#include "base/memory.h"
#include "kernels/gemm_here.h"
#include "kernels/kernels.h"

#include <assert.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    size_t m, n, k, lda, ldb, ldc;
    bool transpose_a, transpose_b, packed, bias, accumulate;
    dtype type, out_type;
} shape;

typedef struct entry {
    shape key;
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[4]; /* source, weights, destination, bias */
    dnnl_memory_t scratchpad;
    struct entry *next;
} entry;

/* How a right operand of this shape is brought into the library's layout. */
typedef struct packing {
    size_t n, k, ldb;
    bool transpose_b;
    dtype type;
    dnnl_memory_desc_t layout;
    dnnl_primitive_t reorder;
    dnnl_memory_t from, to;
    struct packing *next;
} packing;

enum {
    PACK_MIN = 64, /* rows from which packing a right operand pays */
    LAYOUT_BLOCK = 64,
    LAYOUT_ROWS = 1024, /* for which the library is asked for its layout */
};

static dnnl_engine_t engine;
static dnnl_stream_t stream;
static entry *entries;
static packing *packings;
static arena scratch, packed; /* the library's, a right operand */

/* A library that fails on shapes that it accepted is a bug here, not the user's. */
static void check(dnnl_status_t result, const char *call)
{
    if (result == dnnl_success) return;
    fprintf(stderr, "vario: oneDNN: %s failed with status %d\n", call, (int)result);
    abort();
}

static bool find_native_bf16(void)
{
#if defined(__x86_64__)
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    return isa == dnnl_cpu_isa_avx512_core_bf16 || isa == dnnl_cpu_isa_avx512_core_amx;
#else
    return false;
#endif
}

static bool find_bf16_in_tiles(void)
{
#if defined(__x86_64__)
    return dnnl_get_effective_cpu_isa() == dnnl_cpu_isa_avx512_core_amx;
#else
    return false;
#endif
}

/* Both are asked for every tile; the library would take a lock. */
bool kernels_bf16_in_tiles(void)
{
    static _Atomic signed char known = -1;
    if (known < 0) known = find_bf16_in_tiles();
    return known;
}

bool kernels_native_bf16(void)
{
    static _Atomic signed char known = -1;
    if (known < 0) known = find_native_bf16();
    return known;
}

bool kernels_open(void)
{
    if (!engine) {
        check(dnnl_engine_create(&engine, dnnl_cpu, 0), "engine");
        check(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags), "stream");
    }
    gemm_here = gemm;
    return kernels_native_bf16();
}

static void entry_free(entry *e)
{
    dnnl_primitive_destroy(e->primitive);
    for (int i = 0; i < 4; i++)
        if (e->memory[i]) dnnl_memory_destroy(e->memory[i]);
    if (e->scratchpad) dnnl_memory_destroy(e->scratchpad);
    free(e);
}

static void packing_free(packing *p)
{
    if (p->reorder) dnnl_primitive_destroy(p->reorder);
    if (p->from) dnnl_memory_destroy(p->from);
    if (p->to) dnnl_memory_destroy(p->to);
    free(p);
}

static void *buffer_of(arena *a, const char *name, size_t bytes)
{
    if (bytes > a->capacity) {
        arena_close(a);
        check(arena_open(a, name, bytes) ? dnnl_out_of_memory : dnnl_success, name);
    }
    return a->base;
}

void kernels_close(void)
{
    for (entry *next; entries; entries = next) {
        next = entries->next;
        entry_free(entries);
    }
    for (packing *next; packings; packings = next) {
        next = packings->next;
        packing_free(packings);
    }
    if (stream) dnnl_stream_destroy(stream);
    if (engine) dnnl_engine_destroy(engine);
    stream = NULL;
    engine = NULL;
    arena_close(&scratch);
    arena_close(&packed);
}

const char *kernels_instruction_set(void)
{
#if defined(__x86_64__)
    switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41: return "sse41";
    case dnnl_cpu_isa_avx: return "avx";
    case dnnl_cpu_isa_avx2: return "avx2";
    case dnnl_cpu_isa_avx512_core: return "avx512_core";
    case dnnl_cpu_isa_avx512_core_vnni: return "avx512_core_vnni";
    case dnnl_cpu_isa_avx512_core_bf16: return "avx512_core_bf16";
    case dnnl_cpu_isa_avx512_core_amx: return "avx512_core_amx";
    default: return "x86-64";
    }
#else
    return "portable";
#endif
}

const char *kernels_library_version(void)
{
    static char text[40];
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, sizeof text, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
    return text;
}

static dnnl_data_type_t data_type(dtype type)
{
    return type == DTYPE_BF16 ? dnnl_bf16 : dnnl_f32;
}

static dnnl_memory_desc_t gemm_describe(size_t rows, size_t columns, size_t ld, bool transposed,
                                        dtype type)
{
    dnnl_memory_desc_t d;
    dnnl_dims_t dims = {(dnnl_dim_t)rows, (dnnl_dim_t)columns};
    dnnl_dims_t strides = {transposed ? 1 : (dnnl_dim_t)ld, transposed ? (dnnl_dim_t)ld : 1};
    check(dnnl_memory_desc_init_by_strides(&d, 2, dims, data_type(type), strides),
          "memory descriptor");
    return d;
}

static dnnl_primitive_attr_t make_attributes(bool accumulate)
{
    dnnl_primitive_attr_t attributes;
    check(dnnl_primitive_attr_create(&attributes), "attributes");
    check(dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user),
          "scratchpad mode");
    if (accumulate) {
        dnnl_post_ops_t ops;
        check(dnnl_post_ops_create(&ops), "post-ops");
        check(dnnl_post_ops_append_sum(ops, 1.0F), "sum");
        check(dnnl_primitive_attr_set_post_ops(attributes, ops), "set post-ops");
        dnnl_post_ops_destroy(ops);
    }
    return attributes;
}

/* Products of bf16 that are made in fp32 here. */
static bool is_widened(dtype type)
{
    return type == DTYPE_BF16 && !kernels_native_bf16();
}

/* The library's blocks are at most this long. */
static size_t round_up(size_t n)
{
    return (n + LAYOUT_BLOCK - 1) / LAYOUT_BLOCK * LAYOUT_BLOCK;
}

/* Of any layout: what a plan says must not depend on the processor that makes it. */
size_t gemm_packed_bytes(size_t n, size_t k, dtype type)
{
    return round_up(n) * round_up(k) * (type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float));
}

/* The layout that the library likes best for right operands; plain when it has no such product, or
 * when its blocks are larger than the memory that plans leave, as another version's may be. */
static dnnl_memory_desc_t best_layout(size_t n, size_t k, dtype type)
{
    dnnl_memory_desc_t right, best = gemm_describe(k, n, n, false, type);
    dnnl_memory_desc_t left = gemm_describe(LAYOUT_ROWS, k, k, false, type);
    dnnl_memory_desc_t out = gemm_describe(LAYOUT_ROWS, n, n, false, DTYPE_F32);
    dnnl_dims_t dims = {(dnnl_dim_t)k, (dnnl_dim_t)n};
    dnnl_matmul_desc_t operation;
    dnnl_primitive_desc_t description;
    if (is_widened(type)) return best;
    check(dnnl_memory_desc_init_by_tag(&right, 2, dims, data_type(type), dnnl_format_tag_any),
          "any layout");
    check(dnnl_matmul_desc_init(&operation, &left, &right, NULL, &out), "matmul descriptor");
    if (dnnl_primitive_desc_create(&description, &operation, NULL, engine, NULL) != dnnl_success)
        return best;
    const dnnl_memory_desc_t *liked =
        dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 0);
    if (dnnl_memory_desc_get_size(liked) <= gemm_packed_bytes(n, k, type)) best = *liked;
    dnnl_primitive_desc_destroy(description);
    return best;
}

static packing *packing_of(size_t n, size_t k, size_t ldb, bool transpose_b, dtype type)
{
    for (packing *p = packings; p; p = p->next)
        if (p->n == n && p->k == k && p->ldb == ldb && p->transpose_b == transpose_b &&
            p->type == type)
            return p;
    packing *p = calloc(1, sizeof *p);
    check(p ? dnnl_success : dnnl_out_of_memory, "cache");
    *p = (packing){n,    k,    ldb,  transpose_b, type, best_layout(n, k, type),
                   NULL, NULL, NULL, packings};
    packings = p;
    dnnl_memory_desc_t plain = gemm_describe(k, n, ldb, transpose_b, type);
    dnnl_primitive_desc_t description;
    check(
        dnnl_reorder_primitive_desc_create(&description, &plain, engine, &p->layout, engine, NULL),
        "reorder descriptor");
    check(dnnl_primitive_create(&p->reorder, description), "reorder");
    dnnl_primitive_desc_destroy(description);
    check(dnnl_memory_create(&p->from, &plain, engine, DNNL_MEMORY_NONE), "memory");
    check(dnnl_memory_create(&p->to, &p->layout, engine, DNNL_MEMORY_NONE), "memory");
    return p;
}

void gemm_pack(void *out, size_t n, size_t k, const void *b, size_t ldb, bool transpose_b,
               dtype type)
{
    packing *p = packing_of(n, k, ldb, transpose_b, type);
    void *from;
    memcpy(&from, &b, sizeof from);
    check(dnnl_memory_set_data_handle(p->from, from), "data");
    check(dnnl_memory_set_data_handle(p->to, out), "data");
    dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, p->from}, {DNNL_ARG_TO, p->to}};
    check(dnnl_primitive_execute(p->reorder, stream, 2, arguments), "execute");
}

static entry *entry_make(const shape *s)
{
    dnnl_memory_desc_t d[4] = {gemm_describe(s->m, s->k, s->lda, s->transpose_a, s->type),
                               s->packed
                                   ? packing_of(s->n, s->k, s->n, false, s->type)->layout
                                   : gemm_describe(s->k, s->n, s->ldb, s->transpose_b, s->type),
                               gemm_describe(s->m, s->n, s->ldc, false, s->out_type),
                               gemm_describe(1, s->n, s->n, false, DTYPE_F32)};
    dnnl_matmul_desc_t operation;
    check(dnnl_matmul_desc_init(&operation, &d[0], &d[1], s->bias ? &d[3] : NULL, &d[2]),
          "matmul descriptor");
    dnnl_primitive_attr_t attributes = make_attributes(s->accumulate);
    dnnl_primitive_desc_t description;
    check(dnnl_primitive_desc_create(&description, &operation, attributes, engine, NULL),
          "primitive descriptor");
    dnnl_primitive_attr_destroy(attributes);
    entry *e = calloc(1, sizeof *e);
    check(e ? dnnl_success : dnnl_out_of_memory, "cache");
    e->key = *s;
    check(dnnl_primitive_create(&e->primitive, description), "primitive");
    for (int i = 0; i < (s->bias ? 4 : 3); i++)
        check(dnnl_memory_create(&e->memory[i], &d[i], engine, DNNL_MEMORY_NONE), "memory");
    const dnnl_memory_desc_t *pad =
        dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0);
    check(dnnl_memory_create(&e->scratchpad, pad, engine, DNNL_MEMORY_NONE), "scratchpad");
    buffer_of(&scratch, "scratch", dnnl_memory_desc_get_size(pad));
    dnnl_primitive_desc_destroy(description);
    return e;
}

static bool same(const shape *a, const shape *b)
{
    return a->m == b->m && a->n == b->n && a->k == b->k && a->lda == b->lda && a->ldb == b->ldb &&
           a->ldc == b->ldc && a->transpose_a == b->transpose_a &&
           a->transpose_b == b->transpose_b && a->packed == b->packed && a->bias == b->bias &&
           a->accumulate == b->accumulate && a->type == b->type && a->out_type == b->out_type;
}

static entry *find(const shape *s)
{
    for (entry *e = entries; e; e = e->next)
        if (same(&e->key, s)) return e;
    entry *e = entry_make(s);
    e->next = entries;
    entries = e;
    return e;
}

static float *widened(const void *in, size_t count)
{
    float *out = malloc(count * sizeof *out);
    check(out ? dnnl_success : dnnl_out_of_memory, "widening");
    convert(out, DTYPE_F32, in, DTYPE_BF16, count);
    return out;
}

/* bf16 where the processor has none: the same product in fp32, rounded once. */
static void gemm_widened(const shape *s, const void *a, const void *b, void *out, const float *bias)
{
    float *wide_a = widened(a, (s->transpose_a ? s->k : s->m) * s->lda);
    float *wide_b = widened(b, (s->transpose_b ? s->n : s->k) * s->ldb);
    float *wide_out = s->out_type == DTYPE_F32 ? out : widened(out, s->m * s->ldc);
    gemm(s->m, s->n, s->k, wide_a, s->lda, s->transpose_a, wide_b, s->ldb, s->transpose_b, wide_out,
         s->ldc, DTYPE_F32, DTYPE_F32, bias, s->accumulate);
    if (s->out_type == DTYPE_BF16) {
        convert(out, DTYPE_BF16, wide_out, DTYPE_F32, s->m * s->ldc);
        free(wide_out);
    }
    free(wide_a);
    free(wide_b);
}

static void execute(const entry *e, const void *a, const void *b, void *out, const float *bias)
{
    void *handles[4];
    memcpy(&handles[0], &a, sizeof a);
    memcpy(&handles[1], &b, sizeof b);
    handles[2] = out;
    memcpy(&handles[3], &bias, sizeof bias);
    for (int i = 0; i < (bias ? 4 : 3); i++)
        check(dnnl_memory_set_data_handle(e->memory[i], handles[i]), "data");
    check(dnnl_memory_set_data_handle(e->scratchpad, scratch.base), "data");
    dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, e->memory[0]},
                                   {DNNL_ARG_WEIGHTS, e->memory[1]},
                                   {DNNL_ARG_DST, e->memory[2]},
                                   {DNNL_ARG_SCRATCHPAD, e->scratchpad},
                                   {DNNL_ARG_BIAS, e->memory[3]}};
    check(dnnl_primitive_execute(e->primitive, stream, bias ? 5 : 4, arguments), "execute");
}

static void multiply(shape s, const void *a, const void *b, void *out, const float *bias)
{
    assert(engine);
    if (is_widened(s.type)) {
        gemm_widened(&s, a, b, out, bias); /* packed is plain there */
        return;
    }
    if (!s.packed && s.m >= PACK_MIN) {
        void *to = buffer_of(&packed, "right operand", gemm_packed_bytes(s.n, s.k, s.type));
        gemm_pack(to, s.n, s.k, b, s.ldb, s.transpose_b, s.type);
        b = to;
        s.packed = true;
    }
    if (s.packed) {
        s.transpose_b = false;
        s.ldb = s.n;
    }
    execute(find(&s), a, b, out, bias);
}

void gemm(size_t m, size_t n, size_t k, const void *a, size_t lda, bool transpose_a, const void *b,
          size_t ldb, bool transpose_b, void *out, size_t ldc, dtype type, dtype out_type,
          const float *bias, bool accumulate)
{
    shape s = {.m = m,
               .n = n,
               .k = k,
               .lda = lda,
               .ldb = ldb,
               .ldc = ldc,
               .transpose_a = transpose_a,
               .transpose_b = transpose_b,
               .bias = bias != NULL,
               .accumulate = accumulate,
               .type = type,
               .out_type = out_type};
    multiply(s, a, b, out, bias);
}

void gemm_packed(size_t m, size_t n, size_t k, const void *a, size_t lda, const void *b, void *out,
                 size_t ldc, dtype type, dtype out_type)
{
    shape s = {.m = m,
               .n = n,
               .k = k,
               .lda = lda,
               .ldb = n,
               .ldc = ldc,
               .packed = true,
               .type = type,
               .out_type = out_type};
    multiply(s, a, b, out, NULL);
}
