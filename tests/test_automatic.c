/* Settings that are derived: the formulas, what is given beside them, ranges and roundings; and a
 * job that gets them. */
#include "io/jobs/job_schema.h"
#include "job_text.h"
#include "optimizer/automatic.h"

#include <math.h>

TestSuite(automatic, .timeout = 60);

enum { ALL_IVON = 0x1f, ALL_EVON = 0x6f };

static void expect_near(double found, double expected)
{
    cr_expect_lt(fabs(found - expected), 6e-4 * fabs(expected), "%.10g, %.10g expected", found,
                 expected);
}

static automatic_facts some_facts(void)
{
    return (automatic_facts){.steps = 2000, .observations = 1e6, .peak = 2e-3, .mean_square = 3e-7};
}

Test(automatic, beta2_moves_h_as_often_as_the_rule_says)
{
    const automatic_rule *ivon = automatic_rule_of(OPTIMIZER_IVON, true),
                         *evon = automatic_rule_of(OPTIMIZER_EVON, true);
    cr_expect_eq(automatic_beta2(ivon, 1), 1.0 - automatic_rate_max);
    cr_expect_eq(automatic_beta2(ivon, 4000000000), 1.0 - automatic_rate_min);
    for (uint64_t steps = 100; steps <= 100000; steps *= 10) {
        expect_near((double)steps * (1.0 - automatic_beta2(ivon, steps)), ivon->rate);
        expect_near((double)steps * (1.0 - automatic_beta2(evon, steps)), evon->rate);
    }
    cr_expect_eq(automatic_beta2(ivon, 700), 1.0 - 1.429e-3, "four digits of 1 - beta2");
}

/* Of what follows from what: each relation holds between the rounded values. */
static void expect_relations(const double *v, const automatic_rule *rule,
                             const automatic_facts *facts)
{
    double drift = rule->drift * (1.0 - v[AUTOMATIC_BETA2]) * facts->mean_square;
    expect_near(v[AUTOMATIC_HESSIAN], drift * v[AUTOMATIC_ESS]);
    expect_near(v[AUTOMATIC_DECAY], rule->decay * v[AUTOMATIC_HESSIAN]);
}

Test(automatic, sigma_or_the_observations_make_ess)
{
    const automatic_rule *rule = automatic_rule_of(OPTIMIZER_IVON, true);
    automatic_facts facts = some_facts();
    double v[AUTOMATIC_KEYS] = {0};
    cr_assert_eq(automatic_derive(v, ALL_IVON, rule, &facts), STATUS_OK);
    expect_relations(v, rule, &facts);
    expect_near(1.0 / sqrt(v[AUTOMATIC_ESS] * v[AUTOMATIC_HESSIAN]), rule->sigma);
    cr_expect_gt(v[AUTOMATIC_ESS], facts.observations);
    expect_near(v[AUTOMATIC_CLIP], rule->share * sqrt(facts.mean_square) / v[AUTOMATIC_HESSIAN]);
    cr_expect_eq(v[AUTOMATIC_REST], 0.0, "a key that is not asked for stays");
    facts.observations = 1e12;
    cr_assert_eq(automatic_derive(v, ALL_IVON, rule, &facts), STATUS_OK);
    expect_relations(v, rule, &facts);
    cr_expect_eq(v[AUTOMATIC_ESS], 1e12);
    facts.temperature = 0.5;
    cr_assert_eq(automatic_derive(v, ALL_IVON, rule, &facts), STATUS_OK);
    expect_relations(v, rule, &facts);
    cr_expect_eq(v[AUTOMATIC_ESS], 2e12);
}

/* Of a perceptron the observations make ess where they are many, sigma where they are few. */
Test(automatic, examples_have_a_temperature)
{
    const automatic_rule *rule = automatic_rule_of(OPTIMIZER_IVON, false);
    automatic_facts facts = some_facts();
    double v[AUTOMATIC_KEYS] = {0};
    facts.observations = 1e9;
    cr_assert_eq(automatic_derive(v, ALL_IVON, rule, &facts), STATUS_OK);
    expect_relations(v, rule, &facts);
    expect_near(v[AUTOMATIC_ESS], facts.observations / rule->temperature);
    cr_expect_lt(1.0 / sqrt(v[AUTOMATIC_ESS] * v[AUTOMATIC_HESSIAN]), rule->sigma);
    facts.observations = 10;
    cr_assert_eq(automatic_derive(v, ALL_IVON, rule, &facts), STATUS_OK);
    expect_relations(v, rule, &facts);
    expect_near(1.0 / sqrt(v[AUTOMATIC_ESS] * v[AUTOMATIC_HESSIAN]), rule->sigma);
}

/* A row of docs/numerics.md, which replays are made from. */
static void expect_row(const char *row, const char *models, bool text)
{
    const automatic_rule *ivon = automatic_rule_of(OPTIMIZER_IVON, text),
                         *evon = automatic_rule_of(OPTIMIZER_EVON, text);
    double v[10] = {0};
    cr_assert_eq(sscanf(row + strlen(models),
                        " r = %lf, d = %lf, T₀ = %lf, s = %lf, c = %lf; EVON r = %lf, d = %lf, "
                        "T₀ = %lf, s = %lf, v = %lf",
                        &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7], &v[8], &v[9]),
                 10, "%s", row);
    cr_expect(v[0] == ivon->rate && v[1] == ivon->drift && v[2] == ivon->temperature &&
                  v[3] == ivon->sigma && v[4] == ivon->share,
              "%s", row);
    cr_expect(v[5] == evon->rate && v[6] == evon->drift && v[7] == evon->temperature &&
                  v[8] == evon->sigma && v[9] == evon->narrowing && ivon->narrowing == 1.0,
              "%s", row);
}

Test(automatic, constants_are_those_of_the_page)
{
    char line[512];
    int rows = 0;
    FILE *page = fopen(SOURCE_DIR "/docs/numerics.md", "r");
    cr_assert_not_null(page);
    while (fgets(line, sizeof line, page)) {
        bool text = strstr(line, "    GPT-2: ") == line;
        if (!text && strstr(line, "    other models: ") != line) continue;
        expect_row(line, text ? "    GPT-2:" : "    other models:", text);
        rows++;
    }
    fclose(page);
    cr_expect_eq(rows, 2);
}

Test(automatic, evon_has_a_rate_for_the_rest)
{
    const automatic_rule *rule = automatic_rule_of(OPTIMIZER_EVON, true);
    automatic_facts facts = some_facts();
    double v[AUTOMATIC_KEYS] = {0};
    cr_assert_eq(automatic_derive(v, ALL_EVON, rule, &facts), STATUS_OK);
    expect_relations(v, rule, &facts);
    cr_expect_eq(v[AUTOMATIC_REST], facts.peak);
    cr_expect_eq(v[AUTOMATIC_CLIP], 0.0);
}

/* The temperature is that of the posterior at the end. */
Test(automatic, evon_widens)
{
    const automatic_rule *rule = automatic_rule_of(OPTIMIZER_EVON, true);
    automatic_facts facts = some_facts();
    double v[AUTOMATIC_KEYS] = {0};
    facts.observations = 1e3;
    cr_assert_eq(automatic_derive(v, ALL_EVON, rule, &facts), STATUS_OK);
    expect_near(1.0 / sqrt(v[AUTOMATIC_ESS] * v[AUTOMATIC_HESSIAN]), rule->sigma);
    expect_near(v[AUTOMATIC_FINAL], v[AUTOMATIC_ESS] / rule->narrowing);
    cr_expect_gt(rule->narrowing, 1.0);
    facts.temperature = 0.5;
    cr_assert_eq(automatic_derive(v, ALL_EVON, rule, &facts), STATUS_OK);
    expect_near(v[AUTOMATIC_FINAL], facts.observations / facts.temperature);
    expect_near(v[AUTOMATIC_ESS], rule->narrowing * v[AUTOMATIC_FINAL]);
    v[AUTOMATIC_FINAL] = 7.0;
    cr_assert_eq(automatic_derive(v, ALL_EVON & ~(1 << AUTOMATIC_FINAL), rule, &facts), STATUS_OK);
    cr_expect_eq(v[AUTOMATIC_FINAL], 7.0);
    rule = automatic_rule_of(OPTIMIZER_EVON, false);
    v[AUTOMATIC_FINAL] = 0.0;
    cr_assert_eq(automatic_derive(v, ALL_EVON, rule, &facts), STATUS_OK);
    cr_expect_eq(v[AUTOMATIC_FINAL], 0.0, "of examples it does not move");
}

Test(automatic, what_is_given_stays_and_the_rest_follows)
{
    const automatic_rule *rule = automatic_rule_of(OPTIMIZER_IVON, true);
    const automatic_facts facts = some_facts();
    double v[AUTOMATIC_KEYS] = {[AUTOMATIC_ESS] = 123456.0};
    cr_assert_eq(automatic_derive(v, ALL_IVON & ~(1 << AUTOMATIC_ESS), rule, &facts), STATUS_OK);
    cr_expect_eq(v[AUTOMATIC_ESS], 123456.0);
    expect_relations(v, rule, &facts);
    v[AUTOMATIC_HESSIAN] = 0.25;
    cr_assert_eq(automatic_derive(v, ALL_IVON & ~(1 << AUTOMATIC_HESSIAN), rule, &facts),
                 STATUS_OK);
    cr_expect_eq(v[AUTOMATIC_HESSIAN], 0.25);
    expect_relations(v, rule, &facts);
    v[AUTOMATIC_BETA2] = 0.9;
    cr_assert_eq(automatic_derive(v, ALL_IVON & ~(1 << AUTOMATIC_BETA2), rule, &facts), STATUS_OK);
    cr_expect_eq(v[AUTOMATIC_BETA2], 0.9);
    expect_relations(v, rule, &facts);
}

Test(automatic, gradients_are_needed_for_some)
{
    const automatic_rule *rule = automatic_rule_of(OPTIMIZER_IVON, true);
    automatic_facts facts = some_facts();
    const double wrong[] = {0.0, -1.0, NAN, INFINITY};
    double v[AUTOMATIC_KEYS] = {[AUTOMATIC_ESS] = 1e6, [AUTOMATIC_HESSIAN] = 0.5};
    unsigned others = 1 << AUTOMATIC_BETA2 | 1 << AUTOMATIC_DECAY | 1 << AUTOMATIC_REST;
    for (size_t i = 0; i < 4; i++) {
        facts.mean_square = wrong[i];
        status_clear();
        cr_expect_eq(automatic_derive(v, ALL_IVON, rule, &facts), STATUS_NUMERIC);
        cr_expect_not_null(strstr(status_message(), "above 0 expected"));
        status_clear();
        cr_expect_eq(automatic_derive(v, others, rule, &facts), STATUS_OK);
        cr_expect_eq(v[AUTOMATIC_DECAY], 5e-4);
    }
    cr_expect_not(automatic_needs_gradients(others));
    cr_expect(automatic_needs_gradients(1 << AUTOMATIC_CLIP));
}

/* Which jobs are automatic, and which keys wait. */
Test(automatic, a_job_that_gives_none_of_the_keys_is_automatic)
{
    job j = read_small(NULL, 0);
    cr_expect(j.optimizer.settings == SETTINGS_AUTO && j.waiting == ALL_IVON);
    cr_expect_eq(j.schedule.peak, 1e-3);
    cr_expect(job_needs_gradients(&j));
    static const char *const given[] = {"optimizer.ess=5", "optimizer.hessian_init=1",
                                        "optimizer.weight_decay=0", "optimizer.beta2=0.9",
                                        "clip.update=1"};
    for (size_t i = 0; i < 5; i++) {
        const char *sets[] = {given[i], "optimizer.settings=auto"};
        j = read_small(sets, 1);
        cr_expect(j.optimizer.settings == SETTINGS_GIVEN && j.waiting == 0, "%s", given[i]);
        cr_expect_eq(j.schedule.peak, 1.0);
        j = read_small(sets, 2);
        cr_expect_eq(j.optimizer.settings, SETTINGS_AUTO);
        cr_expect_eq(__builtin_popcount(j.waiting), 4, "%s", given[i]);
    }
    static const char *const evon[][3] = {{"optimizer.kind=evon", NULL},
                                          {"optimizer.kind=evon", "optimizer.nesterov=false"},
                                          {"optimizer.kind=evon", "optimizer.rest_lr=1"}};
    cr_expect(read_small((const char *[]){"optimizer.kind=ivon"}, 1).optimizer.nesterov);
    cr_expect(!read_small((const char *[]){"optimizer.ess=100"}, 1).optimizer.nesterov);
    j = read_small(evon[0], 1);
    cr_expect(j.optimizer.settings == SETTINGS_AUTO && j.waiting == ALL_EVON);
    cr_expect(j.optimizer.nesterov && j.optimizer.whiten &&
              j.optimizer.adjust_lr == ADJUST_MATCH_RMS_ADAMW && j.schedule.peak == 3e-3);
    j = read_small((const char *[]){"optimizer.kind=evon", "optimizer.ess_final=5"}, 2);
    cr_expect(j.optimizer.settings == SETTINGS_AUTO &&
              j.waiting == (ALL_EVON & ~(1 << AUTOMATIC_FINAL)));
    for (size_t i = 1; i < 3; i++) {
        j = read_small(evon[i], 2);
        cr_expect(j.optimizer.settings == SETTINGS_GIVEN && j.schedule.peak == 0.01);
        cr_expect_eq(j.optimizer.adjust_lr, ADJUST_NONE);
    }
    j = read_small((const char *[]){"optimizer.kind=adamw"}, 1);
    cr_expect(j.optimizer.settings == SETTINGS_GIVEN && j.waiting == 0);
}

/* Written without what waits, it waits again; derived, it reads back whole. */
static void expect_reads_back(const job *j)
{
    char text[TEXT_MAX], path[PATH_SIZE];
    job again;
    write_text(text, j);
    cr_assert_eq(read_text(&again, text, path), STATUS_OK, "%s in\n%s", status_message(), text);
    cr_expect_eq(memcmp(&again, j, sizeof again), 0, "%s", text);
    cr_expect_eq(strstr(text, "  ess: ") != NULL, j->waiting == 0);
    cr_expect_not_null(strstr(text, "  settings: auto\n"));
    cr_expect_null(strstr(text, "rescale_lr"));
}

Test(automatic, a_derived_job_reads_back_equal)
{
    static const char *const kinds[] = {"optimizer.kind=ivon", "optimizer.kind=evon"};
    for (size_t i = 0; i < 2; i++) {
        const char *sets[] = {kinds[i], "optimizer.temperature=0.3", "data.observations=12345"};
        for (size_t count = 1; count <= 3; count++) {
            job j = read_small(sets, count), kept, waits = j;
            expect_reads_back(&j);
            cr_assert_eq(job_derive(&j, 777, 2.34567e-5), STATUS_OK, "%s", status_message());
            cr_expect_eq(j.waiting, 0);
            expect_reads_back(&j);
            kept = j;
            job_take_derived(&waits, &kept);
            cr_expect_eq(memcmp(&waits, &kept, sizeof kept), 0);
            double observations = count == 3 ? 12345.0 : 777.0 / (double)j.batch.length;
            cr_expect_eq(job_observations(&j, 777), observations);
            if (count > 1) expect_near(job_temperature(&j, 777), 0.3);
        }
    }
}

/* No weight moves further than the learning rate. */
Test(automatic, ivons_rate_is_the_largest_change)
{
    job j = read_small(NULL, 0);
    cr_assert_eq(job_derive(&j, 1000, 1e-4), STATUS_OK);
    expect_near(job_rate_scale(&j) * j.clip.update, 1.0);
    const runtime_settings s = job_settings(&j);
    cr_expect_eq(s.optimizer.largest, j.clip.update);
    cr_expect_eq(j.optimizer.largest, 0.0, "a job's bytes stay what its text says");
    j = read_small((const char *[]){"optimizer.settings=given"}, 1);
    cr_expect_eq(job_rate_scale(&j), j.optimizer.hessian_init + j.optimizer.weight_decay);
}

Test(automatic, what_no_job_may_say_is_refused)
{
    job j = read_small((const char *[]){"optimizer.settings=auto", "optimizer.ess=1e-30"}, 2);
    status_clear();
    cr_expect_eq(job_derive(&j, 1000, 1e-12), STATUS_NUMERIC);
    cr_expect_not_null(strstr(status_message(), "'optimizer.hessian_init': "), "%s",
                       status_message());
    const char *sets[] = {"optimizer.settings=auto", "optimizer.ess=1",
                          "optimizer.hessian_init=1e+20", "schedule.peak=1e+20"};
    j = read_small(sets, 4);
    status_clear();
    cr_expect_eq(job_derive(&j, 1000, 1e-12), STATUS_NUMERIC);
    cr_expect_not_null(strstr(status_message(), "which fp32 holds"), "%s", status_message());
}

static const struct {
    const char *sets[3], *says;
} refused[] = {
    {{"optimizer.settings=given", "optimizer.temperature=1"},
     "'optimizer.temperature' belongs to auto, and optimizer.settings is given"},
    {{"optimizer.ess=5", "data.observations=7"}, "'data.observations' belongs to auto"},
    {{"optimizer.rescale_lr=true"}, "'optimizer.rescale_lr' belongs to given"},
    {{"optimizer.settings=auto", "clip.update=.inf"}, "'clip.update' is .inf, a number expected"},
    {{"optimizer.kind=evon", "optimizer.rest=ivon"}, "'optimizer.rest_lr' expected with it"},
    {{"optimizer.kind=adamw", "optimizer.settings=auto"}, "'optimizer.settings' belongs to ivon"},
    {{"optimizer.kind=bbb", "data.observations=5"}, "'data.observations' belongs to ivon, evon"},
    {{"optimizer.settings=some"}, "one of given|auto"},
};

Test(automatic, contradictions_are_refused)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        size_t count = 0;
        char path[PATH_SIZE];
        job j;
        while (count < 3 && refused[i].sets[count]) count++;
        cr_expect_eq(read_bytes(&j, small_job, strlen(small_job), path, refused[i].sets, count),
                     STATUS_INPUT, "%s was taken", refused[i].says);
        cr_expect_not_null(strstr(status_message(), refused[i].says), "%s", status_message());
    }
}

Test(automatic, another_optimizers_settings_are_derived_too)
{
    job j = read_small((const char *[]){"optimizer.ess=5"}, 1);
    job_become(&j, OPTIMIZER_EVON);
    cr_expect(j.optimizer.settings == SETTINGS_AUTO && j.waiting == ALL_EVON);
    cr_expect(j.schedule.peak == 3e-3 && j.optimizer.nesterov);
    job_become(&j, OPTIMIZER_ADAMW);
    cr_expect(j.optimizer.settings == SETTINGS_GIVEN && j.waiting == 0);
    cr_expect_eq(j.schedule.peak, 1e-3);
    job_become(&j, OPTIMIZER_IVON);
    cr_expect(j.optimizer.settings == SETTINGS_AUTO && j.waiting == ALL_IVON);
    job_become_ivon(&j, 5.0, 0.25, 0.5);
    cr_expect(j.optimizer.settings == SETTINGS_GIVEN && j.waiting == 0);
    cr_expect(j.optimizer.ess == 5.0 && j.optimizer.hessian_init == 0.5);
}

Test(automatic, one_line_says_what_is_known)
{
    char text[STATUS_MESSAGE_SIZE];
    job j = read_small(NULL, 0);
    job_settings_say(&j, 0, text, sizeof text);
    cr_expect_str_eq(text, "settings: beta2 0.98; found when the run begins: optimizer.ess, "
                           "optimizer.hessian_init, optimizer.weight_decay, clip.update");
    uint64_t rows = 1000 * j.batch.length;
    cr_assert_eq(job_derive(&j, rows, 1e-4), STATUS_OK);
    job_settings_say(&j, rows, text, sizeof text);
    cr_expect_not_null(strstr(text, ", observations 1e+03, temperature 0."), "%s", text);
    cr_expect_null(strstr(text, "found when"));
}
