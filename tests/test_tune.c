/* The plan of a tuning: rungs, who goes on, points, keys and choices. */
#include "tests/folder_fixture.h"
#include "tune/choices.h"
#include "tune/points.h"

#include <math.h>

TestSuite(tune, .init = open_folder, .fini = close_folder);

static void expect_rungs(size_t runs, uint64_t eta, uint64_t first, uint64_t steps,
                         const char *expected)
{
    tune_rungs r;
    char text[200] = "";
    rungs_make(&r, runs, eta, first, steps);
    for (size_t i = 0; i < r.count; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%zu to %d", i ? ", " : "",
                 r.runs[i], (int)r.steps[i]);
    cr_expect_str_eq(text, expected, "%zu runs by %d: %s", runs, (int)eta, text);
}

/* n eta^-i runs to R eta^(i-s) steps, as algorithm 1 of Li et al. (2020) has them. */
Test(tune, rungs_are_those_of_successive_halving)
{
    expect_rungs(9, 3, 0, 81, "9 to 9, 3 to 27, 1 to 81");
    expect_rungs(9, 3, 10, 81, "9 to 27, 3 to 81");
    expect_rungs(5, 3, 100, 2000, "5 to 667, 1 to 2000");
    expect_rungs(16, 4, 1, 64, "16 to 4, 4 to 16, 1 to 64");
    expect_rungs(17, 2, 1, 1000, "17 to 63, 8 to 125, 4 to 250, 2 to 500, 1 to 1000");
    expect_rungs(5, 1, 100, 2000, "5 to 2000");
    expect_rungs(2, 3, 0, 2000, "2 to 2000");
    expect_rungs(1, 3, 0, 7, "1 to 7");
    expect_rungs(27, 3, 0, 5, "27 to 2, 9 to 5");
    expect_rungs(1000, 2, 2000, 2000, "1000 to 2000");
}

Test(tune, the_best_go_on)
{
    size_t kept[8];
    const double scores[] = {3.0, 1.0, INFINITY, 2.0, 1.0, 2.5};
    cr_expect_eq(rungs_best(kept, 2, scores, 6), 2);
    cr_expect(kept[0] == 1 && kept[1] == 4, "equal scores: the first is first");
    cr_expect_eq(rungs_best(kept, 1, scores, 6), 1);
    cr_expect_eq(kept[0], 1);
    cr_expect_eq(rungs_best(kept, 8, scores, 6), 5, "one that diverged does not go on");
    cr_expect_eq(rungs_best(kept, 2, (const double[]){INFINITY, INFINITY}, 2), 0);
}

/* Every block of 6 points has one in each half of the first and in each third of the second. */
Test(tune, points_fill_the_square)
{
    for (uint64_t seed = 1; seed < 4; seed++)
        for (uint64_t block = 0; block < 20; block++) {
            int seen[6] = {0};
            for (uint64_t i = 0; i < 6; i++) {
                double at[2];
                points_halton(at, 2, seed, 6 * block + i);
                cr_assert(at[0] >= 0.0 && at[0] < 1.0 && at[1] >= 0.0 && at[1] < 1.0);
                seen[3 * (int)(2.0 * at[0]) + (int)(3.0 * at[1])]++;
            }
            for (int k = 0; k < 6; k++) cr_expect_eq(seen[k], 1);
        }
}

Test(tune, points_are_of_their_seed)
{
    double a[POINTS_DIMENSIONS], b[POINTS_DIMENSIONS], c[POINTS_DIMENSIONS];
    points_halton(a, POINTS_DIMENSIONS, 1, 5);
    points_halton(b, POINTS_DIMENSIONS, 1, 5);
    points_halton(c, POINTS_DIMENSIONS, 2, 5);
    for (size_t d = 0; d < POINTS_DIMENSIONS; d++) {
        cr_expect_eq(a[d], b[d]);
        cr_expect_neq(a[d], c[d]);
    }
}

static const char job_lines[] = "name: a\n"
                                "seed: 7\n"
                                "model: {n_layer: 1, n_head: 1, n_embd: 4, block_size: 4}\n"
                                "data: {train: t.bin, valid: v.bin}\n"
                                "batch: {sequences: 1, length: 4}\n"
                                "steps: 90\n"
                                "optimizer: {kind: evon, ess: 1.0e+5, rest_lr: 0.002}\n"
                                "schedule: {peak: 0.02, warmup: 9}\n";

static tune_plan p;

static status plan_of(const char *const *keys, size_t count, uint64_t runs, const char *seeds,
                      const char *optimizers)
{
    write_file("job.yaml", job_lines, sizeof job_lines - 1);
    const tune_request request = {.job = path_of("job.yaml"),
                                  .keys = keys,
                                  .key_count = count,
                                  .seeds = seeds,
                                  .optimizers = optimizers,
                                  .runs = runs,
                                  .eta = 3,
                                  .first = UINT64_MAX,
                                  .draw = 1};
    return tune_plan_make(&p, &request);
}

static void expect_values(size_t key, const char *expected)
{
    char text[600] = "";
    for (size_t c = 0; c < tune_configs(&p); c++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", c ? " " : "",
                 p.configs[c].values[key]);
    cr_expect_str_eq(text, expected, "%s", text);
}

Test(tune, one_range_is_a_grid)
{
    const char *const keys[] = {"schedule.peak=1e-3:1e-2:log"};
    cr_assert_eq(plan_of(keys, 1, 5, NULL, NULL), STATUS_OK, "%s", status_message());
    expect_values(0, "0.001 0.001778 0.003162 0.005623 0.01");
    cr_expect_eq(p.rungs.count, 2);
    cr_expect_eq(p.rungs.steps[0], 30);
    cr_expect_str_eq(p.folder, "runs/a-tune");
    cr_expect_str_eq(p.configs[1].name, "01-peak=0.001778");
    cr_expect(p.seed_count == 1 && p.seeds[0] == 7, "the job's");
    tune_plan_close(&p);
    const char *const linear[] = {"optimizer.mc_samples=1:4:linear"};
    cr_assert_eq(plan_of(linear, 1, 4, NULL, NULL), STATUS_OK, "%s", status_message());
    expect_values(0, "1 2 3 4");
    tune_plan_close(&p);
    const char *const relative[] = {"schedule.peak=x0.5:x2:log"};
    cr_assert_eq(plan_of(relative, 1, 3, NULL, NULL), STATUS_OK, "%s", status_message());
    expect_values(0, "0.01 0.02 0.04");
    tune_plan_close(&p);
}

Test(tune, lists_are_all_choices)
{
    const char *const keys[] = {"optimizer.ess=1.0e+4,1.0e+5", "clip.norm=0.5,1,.inf"};
    cr_assert_eq(plan_of(keys, 2, UINT64_MAX, "3,1", NULL), STATUS_OK, "%s", status_message());
    expect_values(0, "1.0e+4 1.0e+4 1.0e+4 1.0e+5 1.0e+5 1.0e+5");
    expect_values(1, "0.5 1 .inf 0.5 1 .inf");
    char name[TUNE_NAME + 32];
    tune_run_name(name, &p, 5, 1);
    cr_expect_str_eq(name, "05-ess=1.0e+5-norm=.inf-seed=1");
    cr_expect_eq(tune_configs(&p) * p.seed_count, 12);
    tune_plan_close(&p);
}

/* The same places for every optimizer, each over its own learning rate, with its own defaults. */
Test(tune, optimizers_get_the_same_effort)
{
    cr_assert_eq(plan_of(NULL, 0, 3, NULL, "adamw,evon"), STATUS_OK, "%s", status_message());
    cr_expect_eq(p.each, 3);
    expect_values(0, "0.0001 0.001 0.01 0.002 0.02 0.2");
    cr_expect_eq(p.brackets[0].base.optimizer.weight_decay, 0.1);
    cr_expect_str_eq(p.brackets[0].base.name, "a-adamw");
    cr_expect_eq(p.brackets[1].base.optimizer.ess, 1e5, "the job's own");
    cr_expect_eq(p.brackets[1].base.optimizer.rest_lr, 0.002);
    cr_expect_null(strstr(p.brackets[0].text, "ess"));
    tune_plan_close(&p);
}

Test(tune, several_keys_are_points_that_differ)
{
    const char *const keys[] = {"schedule.peak=1e-3:1e-2:log", "optimizer.basis_every=1,2"};
    cr_assert_eq(plan_of(keys, 2, 40, NULL, NULL), STATUS_OK, "%s", status_message());
    size_t ones = 0;
    for (size_t i = 0; i < 40; i++) {
        double peak = strtod(p.configs[i].values[0], NULL);
        cr_expect(peak >= 1e-3 && peak <= 1e-2);
        ones += strcmp(p.configs[i].values[1], "1") == 0;
        for (size_t k = 0; k < i; k++)
            cr_expect_neq(
                memcmp(p.configs[i].values, p.configs[k].values, sizeof p.configs->values), 0);
    }
    cr_expect(ones >= 18 && ones <= 22, "%zu", ones);
    tune_plan_close(&p);
}

/* Whatever a job was, it is one that is read again. */
Test(tune, jobs_become_those_of_every_optimizer)
{
    static const char lines[] =
        "name: a\nmodel: {n_layer: 1, n_head: 1, n_embd: 4, block_size: 4}\n"
        "data: {train: t.bin, valid: v.bin}\nsteps: 90\nclip: {norm: 1.0}\n";
    write_file("job.yaml", lines, sizeof lines - 1);
    for (int from = 0; from < OPTIMIZER_KINDS; from++)
        for (int to = 0; to < OPTIMIZER_KINDS; to++) {
            char set[64], *text = NULL;
            size_t size = 0;
            const char *sets[] = {set};
            job j, again;
            snprintf(set, sizeof set, "optimizer.kind=%s",
                     optimizer_row((optimizer_kind)from)->name);
            cr_assert_eq(job_read(&j, path_of("job.yaml"), sets, 1), STATUS_OK);
            job_become(&j, (optimizer_kind)to);
            FILE *out = open_memstream(&text, &size);
            cr_assert_eq(job_write(&j, out), STATUS_OK);
            fclose(out);
            cr_expect_eq(job_parse(&again, "it", text, size, NULL, 0), STATUS_OK, "%s to %d: %s",
                         set, to, status_message());
            snprintf(set, sizeof set, "optimizer.kind=%s", optimizer_row((optimizer_kind)to)->name);
            cr_assert_eq(job_read(&j, path_of("job.yaml"), sets, 1), STATUS_OK);
            cr_expect_eq(memcmp(&j.optimizer, &again.optimizer, sizeof j.optimizer), 0, "%d to %d",
                         from, to);
            cr_expect_eq(j.schedule.peak, again.schedule.peak);
            free(text);
        }
}

static void refuses(const char *key, uint64_t runs, const char *sentence)
{
    cr_expect_eq(plan_of(&key, 1, runs, NULL, NULL), STATUS_INPUT, "%s", key);
    cr_expect(strstr(status_message(), sentence), "%s: %s", key, status_message());
    status_clear();
    tune_plan_close(&p);
}

Test(tune, refuses_what_is_no_range)
{
    refuses("schedule.peek=1:2:log", 3, "nearest valid key: 'schedule.peak'");
    refuses("schedule.peak=2:1:log", 3, "LOW below HIGH expected");
    refuses("schedule.peak=1:1:linear", 3, "LOW below HIGH expected");
    refuses("schedule.peak=0:1:log", 3, "LOW above 0 expected");
    refuses("schedule.peak=1:2", 3, ":linear expected");
    refuses("schedule.peak=a:2:log", 3, "with numbers");
    refuses("schedule.peak=1:2:log:3", 3, ":linear expected");
    refuses("schedule.peak", 3, "KEY=VALUE");
    refuses("schedule.peak=1,,2", UINT64_MAX, "an empty value found");
    refuses("schedule.peak=1,1", UINT64_MAX, "found twice");
    refuses("schedule.peak=1,-2", UINT64_MAX, "'schedule.peak': '-2' found");
    refuses("optimizer.momentum=0.1:0.9:linear", 3, "optimizer.kind is evon");
    refuses("optimizer.mc_samples=1:3:linear", 9, "fewer different values");
    refuses("schedule.peak=1,2", 3, "2 choices");
    refuses("schedule.peak=1:2:log", 0, "--runs: 0 found");
    refuses("schedule.peak=1:2:log", 5000, "at most 1024 expected");
    refuses("seed=1,2", UINT64_MAX, "--seeds");
    refuses("optimizer.kind=ivon,evon", UINT64_MAX, "--optimizers");
    refuses("eval.every=1,2", UINT64_MAX, "changes what is trained");
    refuses("data.valid=a,b", UINT64_MAX, "changes what is trained");
}
