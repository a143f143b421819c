/* What a pass promises its caller: parameter order, the order of hooks, memory to the byte, bits
 * that repeat, and dropout. */
#include "gpt2_small.h"
#include "model/gpt2_internal.h"

#include <stdio.h>

static const noise_key noise = {.seed = 5, .stream = STREAM_DROPOUT, .sample = 1, .step = 2};

static gpt2_config dropping(double probability)
{
    gpt2_config config = small;
    config.dropout = probability;
    return config;
}

Test(gpt2_passes, parameters_are_hugging_faces)
{
    static const char *const names[] = {"wte.weight",
                                        "wpe.weight",
                                        "h.0.ln_1.weight",
                                        "h.0.ln_1.bias",
                                        "h.0.attn.c_attn.weight",
                                        "h.0.attn.c_attn.bias",
                                        "h.0.attn.c_proj.weight",
                                        "h.0.attn.c_proj.bias",
                                        "h.0.ln_2.weight",
                                        "h.0.ln_2.bias",
                                        "h.0.mlp.c_fc.weight",
                                        "h.0.mlp.c_fc.bias",
                                        "h.0.mlp.c_proj.weight",
                                        "h.0.mlp.c_proj.bias",
                                        "h.1.ln_1.weight"};
    gpt2_config config = {.n_layer = 12,
                          .n_head = 12,
                          .n_embd = 768,
                          .block_size = 1024,
                          .vocab_size = 50257,
                          .bias = true};
    parameters p;
    cr_assert_eq(gpt2_parameters(&p, &config), STATUS_OK);
    cr_expect_eq(p.count, 124439808, "%zu parameters", p.count); /* OpenAI's smallest GPT-2 */
    cr_expect_eq(p.tensor_count, 2 + 12 * 12 + 2);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        cr_expect_str_eq(p.tensors[i].name, names[i]);
    cr_expect_str_eq(p.tensors[p.tensor_count - 1].name, "ln_f.bias");
    size_t next = 0;
    for (size_t i = 0; i < p.tensor_count; i++) {
        const tensor *t = &p.tensors[i];
        double deviation = strstr(t->name, "c_proj.weight") ? 0.02 / sqrt(24.0) : 0.02;
        cr_expect_eq(t->index, next, "%s begins at %zu", t->name, t->index);
        cr_expect_eq(t->count, t->shape[0] * t->shape[1], "%s", t->name);
        cr_expect_eq(t->init_deviation, t->dimensions == 2 ? deviation : 0.0, "%s", t->name);
        cr_expect_eq(t->init_mean, strstr(t->name, "ln_") && !strstr(t->name, "bias") ? 1.0 : 0.0,
                     "%s", t->name);
        next += t->count;
    }
    cr_expect_eq(next, p.count);
    parameters_close(&p);
    config.bias = false;
    cr_assert_eq(gpt2_parameters(&p, &config), STATUS_OK);
    for (size_t i = 0; i < p.tensor_count; i++) cr_expect(!strstr(p.tensors[i].name, "bias"));
    parameters_close(&p);
}

/* 6 operations a parameter of the products (12 C^2 a block, and the tied output), and 6 L C T for
 * the causal half of the scores. */
Test(gpt2_passes, flops_are_those_of_the_products)
{
    gpt2_config config = {.n_layer = 12, .n_head = 12, .n_embd = 768, .vocab_size = 50304};
    double expected = 6.0 * (12.0 * 12.0 * 768.0 * 768.0 + 50304.0 * 768.0) + 6.0 * 12 * 768 * 1024;
    cr_expect_float_eq(gpt2_flops_per_token(&config, 1024), expected, 1.0);
}

Test(gpt2_passes, activation_bytes_are_the_arenas)
{
    for (int variant = 0; variant < 8; variant++) {
        model_shape shape = {.sequences = 3,
                             .length = 7,
                             .precision = variant & 1 ? DTYPE_BF16 : DTYPE_F32,
                             .recompute = variant & 2 ? RECOMPUTE_BLOCK : RECOMPUTE_NONE,
                             .training = variant & 4};
        gpt2 *model;
        cr_assert_eq(gpt2_open(&model, &small, &shape), STATUS_OK);
        cr_expect_eq(model->arena.capacity, gpt2_activation_bytes(&small, &shape));
        cr_expect_eq(model->arena.used, model->arena.capacity, "variant %d", variant);
        gpt2_close(&model);
        cr_expect_null(model);
    }
}

/* Keys and values of every block and position, in the compute type. */
Test(gpt2_passes, cache_bytes_are_those_of_keys_and_values)
{
    for (int type = DTYPE_F32; type <= DTYPE_BF16; type++) {
        model_shape shape = {.sequences = 1, .length = 16, .precision = (dtype)type};
        size_t element = type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
        gpt2 *model;
        gpt2_cache *cache;
        cr_assert_eq(gpt2_open(&model, &small, &shape), STATUS_OK);
        cr_assert_eq(gpt2_cache_open(&cache, model), STATUS_OK);
        cr_expect_eq(cache->arena.capacity, 2 * small.n_layer * 16 * small.n_embd * element);
        cr_expect_eq(cache->arena.used, cache->arena.capacity);
        gpt2_cache_close(&cache);
        gpt2_close(&model);
    }
}

/* Logits of all tokens would take 824 MB here, and their gradients as much again; a chunk of them
 * takes 64 MiB, and the bf16 gradients of four chunks 128 MiB. */
Test(gpt2_passes, logits_are_never_whole)
{
    gpt2_config config = {
        .n_layer = 1, .n_head = 1, .n_embd = 8, .block_size = 1024, .vocab_size = 50304};
    model_shape shape = {.sequences = 4, .length = 1024, .precision = DTYPE_BF16, .training = true};
    size_t bytes = gpt2_activation_bytes(&config, &shape);
    cr_expect_lt(bytes, (size_t)220 << 20, "%zu bytes", bytes);
}

Test(gpt2_passes, sizes_that_overflow_are_refused)
{
    /* The last one times 16 is 16 in 64 bits. */
    static const size_t sequences[] = {SIZE_MAX / 2, (size_t)1 << 55, ((size_t)1 << 60) + 1};
    for (size_t i = 0; i < sizeof sequences / sizeof sequences[0]; i++) {
        model_shape shape = {.sequences = sequences[i], .length = 16, .training = true};
        gpt2 *model;
        cr_expect_eq(gpt2_activation_bytes(&small, &shape), SIZE_MAX);
        cr_expect_eq(gpt2_open(&model, &small, &shape), STATUS_NOMEM);
        cr_expect_null(model);
        status_clear();
    }
}

static void check_calls(recompute_kind recompute, dtype precision)
{
    fixture f;
    uint16_t tokens[N], targets[N];
    float losses[N], logits[97];
    open_fixture(&f, dropping(0.1), precision, recompute);
    make_tokens(tokens, targets, f.config.vocab_size);
    recorder r;
    recorder_open(&r, &f.w);
    double loss = backward(f.model, &r.hooks, tokens, targets, noise);
    cr_expect(isfinite(loss));
    cr_expect_str_eq(r.calls, "w0 w1 w2 w3 g0 g3 d3 w2 g2 d2 w1 g1 d1 d0 ");
    cr_expect_gt(r.polls, 0);
    r.calls[0] = '\0';
    losses_of(f.model, &r.hooks, tokens, targets, losses);
    cr_expect_str_eq(r.calls, "w0 w1 w2 w3 ");
    for (size_t n = 0; n < N; n++) cr_expect(isfinite(losses[n]));
    gpt2_cache *cache;
    cr_assert_eq(gpt2_cache_open(&cache, f.model), STATUS_OK);
    for (size_t length = T - 1; length <= T; length++) {
        r.calls[0] = '\0';
        gpt2_decode(f.model, &r.hooks, cache, tokens, length, logits);
        cr_expect_str_eq(r.calls, "w0 w1 w2 w3 ");
        for (size_t v = 0; v < f.config.vocab_size; v++) cr_expect(isfinite(logits[v]));
    }
    gpt2_cache_close(&cache);
    recorder_close(&r);
    close_fixture(&f);
}

Test(gpt2_passes, hooks_are_called_in_order)
{
    check_calls(RECOMPUTE_NONE, DTYPE_F32);
    check_calls(RECOMPUTE_BLOCK, DTYPE_F32);
    check_calls(RECOMPUTE_BLOCK, DTYPE_BF16);
}

static void expect_same_gradients(const fixture *a, const fixture *b)
{
    for (size_t i = 0; i < a->w.p.tensor_count; i++)
        cr_expect_arr_eq(gradient_of(&a->w, i), gradient_of(&b->w, i),
                         a->w.p.tensors[i].count * sizeof(float), "%s", a->w.p.tensors[i].name);
}

/* Recomputing gives the bits of remembering, with dropout too; three blocks, so that one is
 * neither first nor last. */
static void check_recompute(gpt2_config config, dtype precision)
{
    uint16_t tokens[N], targets[N];
    fixture a, b;
    config.n_layer = 3;
    make_tokens(tokens, targets, config.vocab_size);
    open_fixture(&a, config, precision, RECOMPUTE_NONE);
    open_fixture(&b, config, precision, RECOMPUTE_BLOCK);
    double first = backward(a.model, &a.w.hooks, tokens, targets, noise);
    double second = backward(b.model, &b.w.hooks, tokens, targets, noise);
    cr_expect_eq(first, second);
    expect_same_gradients(&a, &b);
    close_fixture(&a);
    close_fixture(&b);
}

Test(gpt2_passes, recompute_gives_the_same_bits)
{
    check_recompute(small, DTYPE_F32);
    check_recompute(small, DTYPE_BF16);
    check_recompute(dropping(0.2), DTYPE_F32);
    check_recompute(dropping(0.2), DTYPE_BF16);
}

/* The same key gives the same bits, whatever ran before; another key gives another loss;
 * evaluation knows no dropout. */
Test(gpt2_passes, dropout_repeats)
{
    fixture a, b, plain;
    uint16_t tokens[N], targets[N];
    float dropped[N], expected[N];
    noise_key other = noise;
    other.sample++;
    open_fixture(&a, dropping(0.3), DTYPE_F32, RECOMPUTE_NONE);
    open_fixture(&b, dropping(0.3), DTYPE_F32, RECOMPUTE_NONE);
    open_fixture(&plain, small, DTYPE_F32, RECOMPUTE_NONE);
    make_tokens(tokens, targets, small.vocab_size);
    double first = backward(a.model, &a.w.hooks, tokens, targets, noise);
    double elsewhere = backward(b.model, &b.w.hooks, tokens, targets, other);
    losses_of(b.model, &b.w.hooks, tokens, targets, dropped);
    double again = backward(b.model, &b.w.hooks, tokens, targets, noise);
    cr_expect(isfinite(first));
    cr_expect_eq(first, again);
    cr_expect_neq(first, elsewhere);
    expect_same_gradients(&a, &b);
    losses_of(plain.model, &plain.w.hooks, tokens, targets, expected);
    cr_expect_arr_eq(dropped, expected, sizeof expected);
    cr_expect_neq(first, backward(plain.model, &plain.w.hooks, tokens, targets, noise));
    close_fixture(&a);
    close_fixture(&b);
    close_fixture(&plain);
}

/* No two of dropout's places share an element of the stream. */
Test(gpt2_passes, dropout_places_are_disjoint)
{
    gpt2_config config = dropping(0.1);
    model_shape shape = {.sequences = B, .length = T, .training = true};
    gpt2 *model;
    cr_assert_eq(gpt2_open(&model, &config, &shape), STATUS_OK);
    uint64_t stream = N * config.n_embd, scores = N * T * config.n_head, next = stream;
    for (size_t l = 0; l < config.n_layer; l++) {
        cr_expect_eq(gpt2_dropout_index(model, l, SITE_ATTENTION), next);
        next += scores;
        cr_expect_eq(gpt2_dropout_index(model, l, SITE_ATTENTION_PROJECTION), next);
        next += stream;
        cr_expect_eq(gpt2_dropout_index(model, l, SITE_MLP_PROJECTION), next);
        next += stream;
    }
    gpt2_close(&model);
}

typedef struct {
    const fixture *f;
    const uint16_t *tokens, *targets;
} given;

static double dropping_loss(const void *context)
{
    const given *g = context;
    return backward(g->f->model, &g->f->w.hooks, g->tokens, g->targets, noise);
}

Test(gpt2_passes, dropout_gradient_is_the_slope)
{
    fixture f;
    uint16_t tokens[N], targets[N];
    open_fixture(&f, dropping(0.3), DTYPE_F32, RECOMPUTE_NONE);
    make_tokens(tokens, targets, f.config.vocab_size);
    check_slopes(&f.w, dropping_loss, &(given){&f, tokens, targets});
    close_fixture(&f);
}

/* A pass over fewer sequences than there is room for is that of a smaller model: the same bits. */
Test(gpt2_passes, fewer_sequences)
{
    fixture large, exact;
    uint16_t tokens[N], targets[N];
    batch b = {.sequences = 1, .length = T, .tokens = tokens, .targets = targets};
    model_shape one = {.sequences = 1, .length = T, .recompute = RECOMPUTE_BLOCK, .training = true};
    make_tokens(tokens, targets, small.vocab_size);
    open_fixture(&large, small, DTYPE_F32, RECOMPUTE_BLOCK);
    open_fixture(&exact, small, DTYPE_F32, RECOMPUTE_BLOCK);
    gpt2_close(&exact.model);
    cr_assert_eq(gpt2_open(&exact.model, &small, &one), STATUS_OK);
    double whole = backward(large.model, &large.w.hooks, tokens, targets, noise);
    double first = gpt2_backward(large.model, &large.w.hooks, &b, noise);
    cr_expect_neq(first, whole);
    cr_expect_eq(first, gpt2_backward(exact.model, &exact.w.hooks, &b, noise));
    expect_same_gradients(&large, &exact);
    close_fixture(&large);
    close_fixture(&exact);
}

/* Passes that count one row each add up to the pass that counts them all. */
Test(gpt2, counted_rows_add_up)
{
    fixture f;
    uint16_t tokens[N], targets[N];
    uint8_t counted[N] = {0};
    noise_key key = {0};
    open_fixture(&f, small, DTYPE_F32, RECOMPUTE_NONE);
    make_tokens(tokens, targets, small.vocab_size);
    double *sums = calloc(f.w.p.count, sizeof *sums), loss = 0.0, norm = 0.0, error = 0.0;
    batch b = {
        .sequences = B, .length = T, .tokens = tokens, .targets = targets, .counted = counted};
    for (size_t n = 0; n < N; n++) {
        counted[n] = 1;
        loss += gpt2_backward(f.model, &f.w.hooks, &b, key);
        counted[n] = 0;
        for (size_t i = 0; i < f.w.p.tensor_count; i++)
            for (size_t e = 0; e < f.w.p.tensors[i].count; e++)
                sums[f.w.p.tensors[i].index + e] += (double)gradient_of(&f.w, i)[e];
    }
    double whole = backward(f.model, &f.w.hooks, tokens, targets, key);
    cr_expect_float_eq(loss, whole, 1e-6);
    for (size_t i = 0; i < f.w.p.tensor_count; i++)
        for (size_t e = 0; e < f.w.p.tensors[i].count; e++) {
            double g = (double)gradient_of(&f.w, i)[e], d = g - sums[f.w.p.tensors[i].index + e];
            norm += g * g;
            error += d * d;
        }
    cr_expect_lt(sqrt(error / norm), 1e-5);
    free(sums);
    close_fixture(&f);
}
