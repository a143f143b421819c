/* What a micro-batch and a validation batch hold. */
#include "io/examples/examples.h"
#include "io/tokens/tokens.h"
#include "train/dataset.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { COUNT = 23, S = 4 };

/* A job of moons or, with the Gaussian loss, of the curve. */
static job small_job(loss_kind loss)
{
    bool values = loss == LOSS_GAUSSIAN;
    job j = {.seed = 7,
             .model = {.kind = MODEL_LINEAR,
                       .mlp = {.inputs = values ? 1 : 2,
                               .outputs = values ? 1 : 2,
                               .loss = loss,
                               .noise_variance = 1.0}},
             .data = {.seed = 3, .leave_out = UINT64_MAX},
             .batch = {.sequences = S, .length = 1, .microbatches = 1}};
    snprintf(j.data.train, sizeof j.data.train, "%s:100-122", values ? "curve" : "moons");
    snprintf(j.data.valid, sizeof j.data.valid, "%s:200-222", values ? "curve" : "moons");
    return j;
}

static void open_all(const job *j, dataset_part part, dataset **d, dataset_batch *b)
{
    cr_assert_eq(dataset_open(d, j, part, NULL), STATUS_OK, "%s", status_message());
    cr_assert_eq(dataset_batch_open(b, j), STATUS_OK, "%s", status_message());
}

/* Rows of a data set as it is. */
typedef struct {
    float inputs[COUNT][2], values[COUNT];
    uint16_t classes[COUNT];
} rows;

static rows rows_of(const char *text, loss_kind loss)
{
    rows all = {0};
    examples *x;
    examples_spec spec = {.text = text, .seed = 3};
    cr_assert_eq(examples_open(&x, &spec, loss == LOSS_GAUSSIAN), STATUS_OK, "%s",
                 status_message());
    cr_assert_eq(examples_count(x), COUNT);
    for (uint64_t i = 0; i < COUNT; i++)
        cr_assert_eq(examples_row(x, i, all.inputs[i], &all.classes[i], &all.values[i]), STATUS_OK);
    examples_close(&x);
    return all;
}

static bool holds(const dataset_batch *b, size_t s, const rows *all, uint64_t i)
{
    if (b->targets)
        return memcmp(b->inputs + 2 * s, all->inputs[i], 2 * sizeof(float)) == 0 &&
               b->targets[s] == all->classes[i];
    return b->inputs[s] == all->inputs[i][0] && b->values[s] == all->values[i];
}

/* Two epochs: item q is the example that tokens' windows have in its place. */
Test(dataset, training_items_are_permuted_examples)
{
    for (int loss = LOSS_CROSS_ENTROPY; loss <= LOSS_GAUSSIAN; loss++) {
        job j = small_job((loss_kind)loss);
        rows all = rows_of(j.data.train, (loss_kind)loss);
        dataset *d;
        dataset_batch b;
        open_all(&j, DATASET_TRAIN, &d, &b);
        cr_expect_eq(dataset_count(d), COUNT);
        cr_expect_eq(dataset_rows(d), COUNT);
        for (uint64_t q = 0; q < 2 * COUNT; q += S) {
            cr_assert_eq(dataset_items(d, q, &b), STATUS_OK);
            cr_expect_eq(b.view.sequences, S);
            for (size_t s = 0; s < S; s++) {
                uint64_t at = q + s;
                cr_expect(holds(&b, s, &all, tokens_permute(7, at / COUNT, at % COUNT, COUNT)));
            }
        }
        dataset_batch_close(&b);
        dataset_close(&d);
    }
}

/* All others are where they would be, and nothing stands in for the one that is left out. */
Test(dataset, one_example_is_left_out)
{
    job j = small_job(LOSS_CROSS_ENTROPY);
    rows all = rows_of(j.data.train, LOSS_CROSS_ENTROPY);
    dataset *d;
    dataset_batch b;
    j.data.leave_out = 5;
    open_all(&j, DATASET_TRAIN, &d, &b);
    size_t missing = 0;
    for (uint64_t q = 0; q < 3 * COUNT; q += S) {
        cr_assert_eq(dataset_items(d, q, &b), STATUS_OK);
        size_t filled = 0;
        for (uint64_t at = q; at < q + S; at++) {
            uint64_t i = tokens_permute(7, at / COUNT, at % COUNT, COUNT);
            if (i == 5)
                missing++;
            else
                cr_expect(holds(&b, filled++, &all, i));
        }
        cr_expect_eq(b.view.sequences, filled);
    }
    cr_expect_geq(missing, 3);
    dataset_batch_close(&b);
    dataset_close(&d);
    cr_assert_eq(dataset_open(&d, &j, DATASET_VALID, NULL), STATUS_OK);
    cr_expect_eq(dataset_count(d), COUNT, "validation sees all");
    dataset_close(&d);
}

/* In order, and the last batch is what is left. */
Test(dataset, validation_reads_all_examples)
{
    for (int loss = LOSS_CROSS_ENTROPY; loss <= LOSS_GAUSSIAN; loss++) {
        job j = small_job((loss_kind)loss);
        rows all = rows_of(j.data.valid, (loss_kind)loss);
        dataset *d;
        dataset_batch b;
        uint64_t next = 0;
        open_all(&j, DATASET_VALID, &d, &b);
        cr_expect_eq(dataset_batches(d), 6);
        for (uint64_t n = 0; n < 6; n++) {
            cr_assert_eq(dataset_windows(d, n, &b), STATUS_OK);
            cr_expect_eq(b.view.sequences, n < 5 ? S : 3);
            for (size_t s = 0; s < b.view.sequences; s++) cr_expect(holds(&b, s, &all, next++));
        }
        cr_expect_eq(next, COUNT);
        dataset_batch_close(&b);
        dataset_close(&d);
    }
}

static size_t wrong_classes(const job *j, dataset_part part, const char *text)
{
    rows all = rows_of(text, LOSS_CROSS_ENTROPY);
    dataset *d;
    dataset_batch b;
    size_t wrong = 0;
    open_all(j, part, &d, &b);
    for (uint64_t i = 0; i < COUNT; i++) {
        cr_assert_eq(dataset_window(d, i, &b, 1), STATUS_OK);
        wrong += b.targets[1] != all.classes[i];
    }
    dataset_batch_close(&b);
    dataset_close(&d);
    return wrong;
}

Test(dataset, only_training_examples_are_mislabelled)
{
    job j = small_job(LOSS_CROSS_ENTROPY);
    j.data.mislabelled = 0.4;
    size_t wrong = wrong_classes(&j, DATASET_TRAIN, j.data.train);
    cr_expect(wrong > 2 && wrong < 18, "%zu of %d", wrong, COUNT);
    cr_expect_eq(wrong_classes(&j, DATASET_VALID, j.data.valid), 0);
}

static void write_tokens(char *path, size_t count)
{
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "wb");
    cr_assert_not_null(file);
    for (size_t i = 0; i < count; i++) {
        uint16_t token = (uint16_t)(i * i % 97);
        fwrite(&token, sizeof token, 1, file);
    }
    fclose(file);
}

/* Shifted windows in training; in validation all of them, whatever the batch. */
Test(dataset, tokens_are_read_as_windows)
{
    enum { T = 8, WINDOWS = 11 };
    char path[] = "/tmp/vario-dataset-XXXXXX";
    write_tokens(path, WINDOWS * T + 1);
    job j = {.seed = 7,
             .model.gpt2 = {.vocab_size = 97, .block_size = T},
             .data = {.shift = 1},
             .batch = {.sequences = S, .length = T}};
    strcpy(j.data.train, path);
    strcpy(j.data.valid, path);
    tokens *t;
    dataset *d;
    dataset_batch b;
    uint16_t inputs[T], targets[T];
    cr_assert_eq(tokens_open(&t, path, T, 97), STATUS_OK);
    open_all(&j, DATASET_TRAIN, &d, &b);
    cr_expect_eq(dataset_rows(d), WINDOWS * T + 1);
    for (uint64_t q = 0; q < 3 * WINDOWS; q += S) {
        cr_assert_eq(dataset_items(d, q, &b), STATUS_OK);
        for (size_t s = 0; s < S; s++) {
            tokens_item(t, 7, q + s, true, inputs, targets);
            cr_expect_arr_eq(b.tokens + s * T, inputs, sizeof inputs);
            cr_expect_arr_eq(b.targets + s * T, targets, sizeof targets);
        }
    }
    dataset_close(&d);
    cr_assert_eq(dataset_open(&d, &j, DATASET_VALID, NULL), STATUS_OK);
    cr_expect_eq(dataset_batches(d), 3);
    cr_assert_eq(dataset_windows(d, 1, &b), STATUS_OK);
    cr_expect_eq(b.view.sequences, S);
    tokens_window(t, 7, inputs, targets);
    cr_expect_arr_eq(b.tokens + 3 * T, inputs, sizeof inputs);
    cr_assert_eq(dataset_windows(d, 2, &b), STATUS_OK);
    cr_expect_eq(b.view.sequences, 3, "the last batch is short");
    tokens_window(t, 10, inputs, targets);
    cr_expect_arr_eq(b.tokens + 2 * T, inputs, sizeof inputs);
    dataset_close(&d);
    j.batch.sequences = 12;
    cr_assert_eq(dataset_open(&d, &j, DATASET_VALID, NULL), STATUS_OK, "%s", status_message());
    cr_expect_eq(dataset_batches(d), 1, "fewer windows than a batch");
    cr_expect_eq(dataset_batch_rows(d, 0), WINDOWS * T);
    dataset_close(&d);
    dataset_batch_close(&b);
    tokens_close(&t);
    unlink(path);
}

static void expect_refused(const job *j, const char *says)
{
    dataset *d;
    status_clear();
    cr_expect_eq(dataset_open(&d, j, DATASET_TRAIN, NULL), STATUS_INPUT);
    cr_expect_null(d);
    cr_expect_not_null(strstr(status_message(), says), "'%s' expected in: %s", says,
                       status_message());
}

Test(dataset, what_does_not_fit_the_model_is_refused)
{
    job j = small_job(LOSS_CROSS_ENTROPY);
    j.model.mlp.inputs = 3;
    expect_refused(&j, "moons:100-122: 2 inputs an example found, model.inputs (3) expected");
    j = small_job(LOSS_CROSS_ENTROPY);
    j.data.leave_out = COUNT;
    expect_refused(&j, "23 examples found, data.leave_out 23 and another one expected");
    j = small_job(LOSS_CROSS_ENTROPY);
    j.model.mlp.loss = LOSS_GAUSSIAN;
    expect_refused(&j, "moons:100-122: targets are classes");
    j = small_job(LOSS_GAUSSIAN);
    j.model.mlp.loss = LOSS_CROSS_ENTROPY;
    expect_refused(&j, "curve:100-122: targets are real values");
}
