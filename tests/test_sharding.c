/* Who owns what: every element once, matrices whole, and the work of matrices even. */
#include "model/gpt2.h"
#include "model/mlp.h"
#include "runtime/settings.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

enum { RANKS_MAX = 48 };

static const gpt2_config gpt2_124m = {
    .n_layer = 12, .n_head = 12, .n_embd = 768, .block_size = 1024, .vocab_size = 50304};
static const gpt2_config small = {
    .n_layer = 3, .n_head = 2, .n_embd = 20, .block_size = 16, .vocab_size = 97, .bias = true};

static runtime_settings settings_of(optimizer_kind kind)
{
    runtime_settings s = {.row = optimizer_row(kind),
                          .optimizer = {.kind = kind,
                                        .mc_samples = 1,
                                        .basis_every = 10,
                                        .basis_limit = 2048,
                                        .whiten = kind == OPTIMIZER_EVON},
                          .peak = 0.01,
                          .microbatches = 4,
                          .clip = {.norm = INFINITY, .update = INFINITY},
                          .shard = SHARD_PARAMETERS};
    settings_decide(&s);
    return s;
}

/* Runs of a unit follow each other from its start to its end, and each rank's slices are what its
 * runs hold of tensors. */
static void check_cover(const runtime_settings *with, const parameters *p, size_t ranks)
{
    size_t *owner = calloc(p->count, sizeof *owner), covered = 0;
    for (size_t i = 0; i < p->count; i++) owner[i] = ranks;
    for (size_t rank = 0; rank < ranks; rank++) {
        sharding s;
        size_t offset = 0, at = 0;
        cr_assert_eq(settings_shard(with, &s, p, ranks, rank), STATUS_OK);
        for (size_t i = 0; i < s.owned_count; i++) {
            const slice *part = &s.owned[i];
            size_t first = slice_index(p, part);
            cr_expect_gt(part->count, 0);
            cr_expect_geq(first, at, "in the logical order");
            cr_expect_eq(part->offset, offset, "packed");
            for (size_t e = first; e < first + part->count; e++) {
                cr_assert_eq(owner[e], ranks, "element %zu is owned twice, of %zu ranks", e, ranks);
                owner[e] = rank;
            }
            offset += part->count;
            at = first + part->count;
            covered += part->count;
        }
        cr_expect_eq(s.elements, offset);
        for (size_t u = 0; u < p->unit_count; u++) {
            size_t runs = sharding_runs(&s, u);
            cr_expect_eq(sharding_first(&s, u, 0), 0);
            cr_expect_eq(sharding_first(&s, u, runs), p->units[u].count);
            for (size_t run = 0; run < runs; run++) {
                cr_expect_leq(sharding_first(&s, u, run), sharding_first(&s, u, run + 1));
                cr_expect_lt(sharding_owner(&s, u, run), ranks);
                if (sharding_owner(&s, u, run) != rank) continue;
                for (size_t e = sharding_first(&s, u, run); e < sharding_first(&s, u, run + 1); e++)
                    cr_assert_eq(owner[p->units[u].index + e], rank, "run %zu of unit %zu", run, u);
            }
        }
        sharding_close(&s);
    }
    cr_expect_eq(covered, p->count, "%zu of %zu elements have an owner, of %zu ranks", covered,
                 p->count, ranks);
    free(owner);
}

static bool has_matrices(const parameters *p, const unit *u)
{
    for (size_t i = u->first; i < u->first + u->tensors; i++)
        if (p->tensors[i].matrices) return true;
    return false;
}

/* Of units with layers' matrices every tensor has one owner, a vector that of the matrix before it,
 * or where it is the unit's first, of that behind it; other units are cut into chunks at blocks. */
static void check_whole(const runtime_settings *with, const parameters *p, size_t ranks)
{
    for (size_t rank = 0; rank < ranks; rank++) {
        sharding s;
        cr_assert_eq(settings_shard(with, &s, p, ranks, rank), STATUS_OK);
        for (size_t i = 0; i < s.owned_count; i++) {
            const slice *part = &s.owned[i];
            const tensor *t = &p->tensors[part->tensor];
            if (!has_matrices(p, &p->units[t->unit])) continue;
            cr_expect_eq(part->first, 0, "%s, %zu ranks", t->name, ranks);
            cr_expect_eq(part->count, t->count, "%s, %zu ranks", t->name, ranks);
        }
        for (size_t u = 0; u < p->unit_count; u++) {
            const unit *x = &p->units[u];
            if (!has_matrices(p, x)) {
                size_t blocks = (x->count + PARAMETER_BLOCK - 1) / PARAMETER_BLOCK;
                size_t chunk = (blocks + ranks - 1) / ranks * PARAMETER_BLOCK;
                cr_expect_eq(sharding_runs(&s, u), ranks);
                for (size_t run = 0; run < ranks; run++) {
                    size_t first = run * chunk < x->count ? run * chunk : x->count;
                    cr_expect_eq(sharding_owner(&s, u, run), run);
                    cr_expect_eq(sharding_first(&s, u, run), first);
                }
                continue;
            }
            size_t run = 0;
            for (size_t i = x->first; i < x->first + x->tensors; i++) {
                if (!p->tensors[i].matrices) continue;
                size_t first = run ? p->tensors[i].index - x->index : 0;
                cr_expect_eq(sharding_first(&s, u, run), first, "%s", p->tensors[i].name);
                run++;
            }
            cr_expect_eq(sharding_runs(&s, u), run, "a run a matrix");
        }
        sharding_close(&s);
    }
}

Test(sharding, matrices_stay_whole_and_all_has_one_owner)
{
    const optimizer_kind kinds[] = {OPTIMIZER_EVON, OPTIMIZER_SOAP, OPTIMIZER_MUON};
    for (int bias = 0; bias < 2; bias++) {
        gpt2_config c = small;
        parameters p;
        c.bias = bias;
        cr_assert_eq(gpt2_parameters(&p, &c), STATUS_OK);
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            const runtime_settings with = settings_of(kinds[k]);
            for (size_t ranks = 1; ranks <= RANKS_MAX; ranks += ranks < 16 ? 1 : 16) {
                check_cover(&with, &p, ranks);
                check_whole(&with, &p, ranks);
            }
        }
        parameters_close(&p);
    }
}

/* Of whom nothing takes matrices whole. */
Test(sharding, chunks_have_one_owner)
{
    parameters p;
    const runtime_settings with = settings_of(OPTIMIZER_IVON);
    cr_assert_eq(gpt2_parameters(&p, &small), STATUS_OK);
    for (size_t ranks = 1; ranks <= RANKS_MAX; ranks += ranks < 16 ? 1 : 16)
        check_cover(&with, &p, ranks);
    parameters_close(&p);
}

/* A unit's matrices are all that some ranks own, and of perceptrons the same. */
Test(sharding, perceptrons_too)
{
    const mlp_config c = {
        .inputs = 5, .outputs = 3, .hidden_count = 2, .hidden = {37, 50}, .bias = true};
    const runtime_settings with = settings_of(OPTIMIZER_EVON);
    parameters p;
    cr_assert_eq(mlp_parameters(&p, &c), STATUS_OK);
    for (size_t ranks = 1; ranks <= 9; ranks++) {
        check_cover(&with, &p, ranks);
        check_whole(&with, &p, ranks);
    }
    parameters_close(&p);
}

static double cost_of(const runtime_settings *with, const tensor *t)
{
    return (double)t->matrices * optimizer_matrix_cost(with->row, &with->optimizer, t->shape[0],
                                                       t->shape[1] / t->matrices);
}

/* Largest share of the matrices' cost that one rank has, in means. */
static double balance(const runtime_settings *with, const parameters *p, size_t ranks)
{
    double sum = 0.0, max = 0.0;
    for (size_t rank = 0; rank < ranks; rank++) {
        sharding s;
        double mine = 0.0;
        cr_assert_eq(settings_shard(with, &s, p, ranks, rank), STATUS_OK);
        for (size_t i = 0; i < s.owned_count; i++) {
            const tensor *t = &p->tensors[s.owned[i].tensor];
            if (t->matrices) mine += cost_of(with, t);
        }
        sharding_close(&s);
        sum += mine;
        max = fmax(max, mine);
    }
    return max * (double)ranks / sum;
}

Test(sharding, the_work_of_gpt2_124m_is_even)
{
    parameters p;
    cr_assert_eq(gpt2_parameters(&p, &gpt2_124m), STATUS_OK);
    const optimizer_kind kinds[] = {OPTIMIZER_EVON, OPTIMIZER_SOAP, OPTIMIZER_MUON};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (size_t limit = 768; limit <= 3072; limit += 2304)
            for (size_t ranks = 2; ranks <= 8; ranks *= 2) {
                runtime_settings with = settings_of(kinds[k]);
                with.optimizer.basis_limit = limit;
                double found = balance(&with, &p, ranks);
                cr_expect_leq(found, 1.15, "%s, %zu ranks, bases up to %zu: %.3f of the mean",
                              with.row->name, ranks, limit, found);
            }
    parameters_close(&p);
}

Test(sharding, deals_the_dearest_first)
{
    const double costs[] = {3.0, 0.0, 5.0, 4.0, 3.0, 3.0};
    size_t owner[6];
    double work[2];
    sharding_deal(owner, work, costs, 6, 2);
    const size_t expected[] = {1, 2, 0, 1, 0, 1}; /* 5, 4, 3, 3, 3 */
    for (size_t i = 0; i < 6; i++) cr_expect_eq(owner[i], expected[i], "%zu", i);
    cr_expect_eq(work[0], 8.0);
    cr_expect_eq(work[1], 10.0);
}
