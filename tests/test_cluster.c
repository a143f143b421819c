/* A cluster's file, and the step that is predicted from it. */
#include "analysis/sensitivity.h"
#include "io/jobs/cluster.h"
#include "job_text.h"
#include "train/step_time.h"

#include <math.h>

TestSuite(cluster, .timeout = 60);

static const char good[] =
    "name: two\n"                                      /*  1 */
    "ranks: 4\n"                                       /*  2 */
    "inside: {latency: 1.0e-6, bandwidth: 5.0e+9}\n"   /*  3 */
    "between: {latency: 2.0e-6, bandwidth: 1.0e+10}\n" /*  4 */
    "watts: 300\n"                                     /*  5 */
    "fp32_128:\n"                                      /*  6 */
    "  blocks: 4.0e+10\n"                              /*  7 */
    "  head: 2.0e+10\n"                                /*  8 */
    "  sample: 1.0e-9\n"                               /*  9 */
    "  adamw_item: 0\n  adamw_step: 5.0e-9\n"          /* 10 */
    "  ivon_item: 4.0e-9\n  ivon_step: 1.0e-8\n"       /* 12 */
    "  evon_item: 5.0e-8\n  evon_step: 6.0e-8\n"       /* 14 */
    "fp32_32: {blocks: 1.0e+10, head: 1.0e+10, sample: 2.0e-9, adamw_item: 0, "
    "adamw_step: 6.0e-9, ivon_item: 4.0e-9, ivon_step: 1.0e-8, evon_item: 5.0e-8, "
    "evon_step: 6.0e-8}\n";

static status read_cluster(cluster *c, const char *text)
{
    char path[PATH_SIZE] = "/tmp/vario-test-cluster-XXXXXX";
    int handle = mkstemp(path);
    cr_assert_geq(handle, 0);
    cr_assert_eq(write(handle, text, strlen(text)), (ssize_t)strlen(text));
    close(handle);
    status_clear();
    status result = cluster_read(c, path);
    unlink(path);
    return result;
}

static cluster good_cluster(void)
{
    cluster c;
    cr_assert_eq(read_cluster(&c, good), STATUS_OK, "%s", status_message());
    return c;
}

Test(cluster, is_written_as_it_is_read)
{
    char text[TEXT_MAX];
    cluster c = good_cluster(), again;
    cr_expect(c.ranks == 4 && c.profile_count == 2 && c.watts == 300.0 && c.hour == 0.0);
    cr_expect(c.profiles[0].width == 32 && c.profiles[1].width == 128, "in order");
    cr_expect(c.profiles[1].item[COST_EVON] == 5e-8 && c.between.bandwidth == 1e10);
    FILE *out = fmemopen(text, sizeof text, "w");
    cluster_write(out, &c);
    fclose(out);
    cr_assert_eq(read_cluster(&again, text), STATUS_OK, "%s", status_message());
    cr_expect_eq(memcmp(&c, &again, sizeof c), 0, "%s", text);
}

static const struct {
    const char *old, *new, *says;
} wrong[] = {
    {"ranks: 4\n", "", "'ranks' expected, not found"},
    {"ranks: 4", "ranks: 1.5", ":2:1: 'ranks' is '1.5', a whole number expected"},
    {"ranks: 4", "ranks: 0", ":2:1: 'ranks' is '0', "},
    {"ranks: 4", "nodes: 4", ":2:1: 'nodes' found, a key of a cluster file expected"},
    {"4.0e+10", "fast", ":7:3: 'fp32_128.blocks' is 'fast', a number above 0"},
    {"2.0e+10", "-1", ":8:3: 'fp32_128.head' is '-1'"},
    {"1.0e-9", ".nan", ":9:3: 'fp32_128.sample' is '.nan'"},
    {"  head: 2.0e+10\n", "", "'fp32_128.head' expected, not found"},
    {"ivon_item", "lion_item", "'fp32_128.lion_item' found"},
    {", bandwidth: 5.0e+9", "", "'inside.bandwidth' expected"},
    {"1.0e-6", "2", ":3:10: 'inside.latency' is '2'"},
};

Test(cluster, what_no_file_may_say_is_refused)
{
    char text[TEXT_MAX];
    cluster c;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        edit(text, good, wrong[i].old, wrong[i].new);
        cr_expect_eq(read_cluster(&c, text), STATUS_INPUT, "%s was taken", wrong[i].new);
        cr_expect_not_null(strstr(status_message(), wrong[i].says), "%s", status_message());
    }
    cr_expect_eq(read_cluster(&c, "ranks: 1\ninside: {latency: 0, bandwidth: 1}\n"), STATUS_INPUT);
    cr_expect_not_null(strstr(status_message(), "sections such as fp32_128"), "%s",
                       status_message());
    cr_expect_eq(cluster_read(&c, "/nowhere/cluster.yaml"), STATUS_INPUT);
}

Test(cluster, widths_between_and_beyond)
{
    cluster c = good_cluster();
    cluster_profile p;
    cr_expect(cluster_profile_of(&p, &c, DTYPE_F32, 16) && p.blocks == 1e10);
    cr_expect(cluster_profile_of(&p, &c, DTYPE_F32, 128) && p.blocks == 4e10);
    cr_expect(cluster_profile_of(&p, &c, DTYPE_F32, 4096) && p.blocks == 4e10);
    cr_expect(cluster_profile_of(&p, &c, DTYPE_F32, 64));
    cr_expect_float_eq(p.blocks, 2.5e10, 1.0, "half of the way by the logarithm");
    cr_expect_float_eq(p.sample, 1.5e-9, 1e-15);
    cr_expect_not(cluster_profile_of(&p, &c, DTYPE_BF16, 64));
}

static step_time predict(const job *j, const cluster *c, size_t ranks, size_t nodes)
{
    step_time t;
    cr_assert_eq(step_time_predict(&t, j, c, "two.yaml", ranks, nodes, &sensitivity_estimator),
                 STATUS_OK, "%s", status_message());
    cr_expect_float_eq(t.seconds, t.passes + t.draws + t.owner + t.wait, 1e-12);
    return t;
}

enum { PARAMETERS = 256 * 32 + 32 * 32 + 2 * (2 * 32 + 12 * 32 * 32) + 32 };

/* One rank, by hand. */
Test(cluster, a_lone_rank_is_arithmetic)
{
    cluster c = good_cluster();
    job j = read_small((const char *[]){"optimizer.settings=given"}, 1);
    step_time t = predict(&j, &c, 1, 1);
    double rows = 5.0 * 2.0 * 32.0, head = 6.0 * 256.0 * 32.0;
    double blocks = 6.0 * 2.0 * 12.0 * 32.0 * 32.0 + 6.0 * 2.0 * 32.0 * 32.0;
    cr_expect_float_eq(t.passes, rows * (head + blocks) / 1e10, 1e-9);
    cr_expect_float_eq(t.draws, 5.0 * PARAMETERS * 2e-9, 1e-9);
    cr_expect_float_eq(t.owner, PARAMETERS * (5.0 * 4e-9 + 1e-8), 1e-9);
    cr_expect_eq(t.wait, 0.0);
    j = read_small((const char *[]){"optimizer.kind=adamw"}, 1);
    t = predict(&j, &c, 1, 1);
    cr_expect_eq(t.draws, 0.0);
    cr_expect_float_eq(t.owner, PARAMETERS * 6e-9, 1e-9);
}

/* More ranks: fewer rounds, smaller shares, messages; slower ones between nodes. */
Test(cluster, ranks_share_and_wait)
{
    cluster c = good_cluster();
    const char *set[] = {"optimizer.settings=given", "parallel.shard=gradients"};
    job j = read_small(set, 2);
    step_time one = predict(&j, &c, 1, 1), two = predict(&j, &c, 2, 1),
              apart = predict(&j, &c, 2, 2), five = predict(&j, &c, 5, 2);
    cr_expect_float_eq(two.passes, one.passes * 3.0 / 5.0, 1e-12, "five items, three rounds");
    cr_expect_float_eq(five.passes, one.passes / 5.0, 1e-12);
    cr_expect_lt(two.owner, 0.6 * one.owner);
    cr_expect_gt(two.wait, 0.0);
    double exchanged =
        2.0 * PARAMETERS * 4.0; /* means and deviations, of one rank's on two nodes */
    cr_expect_gt(apart.wait, 0.5 * exchanged / 1e10);
    cr_expect_lt(two.wait, 0.5 * apart.wait, "ranks of a node have them once");
    c.between.bandwidth = 1e7;
    cr_expect_gt(predict(&j, &c, 2, 2).wait, 100.0 * apart.wait);
    c.between.bandwidth = 0.0;
    step_time t;
    cr_expect_eq(step_time_predict(&t, &j, &c, "two.yaml", 2, 2, &sensitivity_estimator),
                 STATUS_INPUT);
    cr_expect_not_null(strstr(status_message(), "two.yaml: 'between' expected for 2 nodes"), "%s",
                       status_message());
}

Test(cluster, what_was_not_measured_is_refused)
{
    cluster c = good_cluster();
    step_time t;
    job j = read_small((const char *[]){"optimizer.settings=given", "precision=bf16"}, 2);
    status_clear();
    cr_expect_eq(step_time_predict(&t, &j, &c, "two.yaml", 1, 1, &sensitivity_estimator),
                 STATUS_INPUT);
    cr_expect_not_null(strstr(status_message(), "two.yaml: sections of bf16 expected"), "%s",
                       status_message());
    j = read_with(mlp_job, (const char *[]){"optimizer.kind=adamw"}, 1);
    status_clear();
    cr_expect_eq(step_time_predict(&t, &j, &c, "two.yaml", 1, 1, &sensitivity_estimator),
                 STATUS_INPUT);
    cr_expect_not_null(strstr(status_message(), "'model.kind' gpt2 expected"), "%s",
                       status_message());
}
