/* What goes wrong comes back as a status with a sentence, the same on all ranks where a call is
 * collective, and the optimizer goes on; stages agree. Prints only what is not as expected. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vario.h>

static int rank, ranks, wrong;

static void expect(vario_status found, vario_status expected, const char *sentence)
{
    if (found == expected && strstr(vario_error(), sentence)) return;
    printf("rank %d: status %d, '%s' expected, %d, '%s' found\n", rank, expected, sentence, found,
           vario_error());
    wrong = 1;
}

static const vario_tensor tensors[] = {
    {.name = "filters", .dimensions = 4, .shape = {8, 3, 5, 5}, .decayed = 1},
    {.name = "bias", .dimensions = 1, .shape = {8}},
};
static float filters[600], bias[8], g_filters[600], g_bias[8];
static float *const weights[] = {filters, bias}, *const gradients[] = {g_filters, g_bias};

/* Samples are each rank's own, and initial weights are all ranks'. */
static void create(vario_optimizer **opt, const vario_settings *settings)
{
    memset(filters, 0, sizeof filters);
    memset(bias, 0, sizeof bias);
    expect(vario_create(opt, MPI_COMM_WORLD, tensors, 2, weights, settings), VARIO_OK, "");
}

/* Create with one thing wrong. */
static void refuse(const vario_tensor *with, const vario_settings *settings, const char *sentence)
{
    vario_optimizer *opt;
    expect(vario_create(&opt, MPI_COMM_WORLD, with, 2, weights, settings), VARIO_INPUT, sentence);
    if (opt) wrong = 1;
}

static void refuse_tensors(void)
{
    vario_tensor bad[2];
    memcpy(bad, tensors, sizeof bad);
    bad[1].name = "filters";
    refuse(bad, NULL, "tensors 0 and 1 are both called 'filters'");
    bad[1].name = "a \"b\"";
    refuse(bad, NULL, "tensor 1: byte 34 found in its name");
    bad[1].name = "bias";
    bad[1].shape[0] = 0;
    refuse(bad, NULL, "tensor 1 ('bias'): from 1 to 2^31 - 1 elements expected, shape[0] is 0");
    bad[1].shape[0] = 8;
    bad[1].dimensions = 9;
    refuse(bad, NULL, "tensor 1 ('bias'): 9 dimensions found, 1 to 8 expected");
    bad[1].dimensions = 1;
    bad[1].unit = 2;
    refuse(bad, NULL, "unit");
    bad[1].unit = 0;
    bad[1].shape[0] = rank == ranks - 1 && ranks > 1 ? 9 : 8;
    if (ranks > 1) refuse(bad, NULL, "vario_create: ranks differ in tensors or settings");
}

static void refuse_settings(void)
{
    vario_settings s;
    vario_defaults(&s);
    s.beta2 = 1.0;
    refuse(tensors, &s, "vario_settings.beta2: 1 found, a number above 0 and below 1 expected");
    vario_defaults(&s);
    s.ess = NAN;
    refuse(tensors, &s, "vario_settings.ess: nan found");
    vario_defaults(&s);
    s.clip_norm = rank == 0 ? -1.0 : 1.0; /* one rank's failure is all ranks' */
    refuse(tensors, &s, "vario_settings.clip_norm: -1 found");
    vario_defaults(&s);
    s.shard = 3;
    refuse(tensors, &s, "vario_settings.shard: 3 found, one of 0 to 2 expected");
    vario_defaults(&s);
    s.optimizer = 2;
    refuse(tensors, &s, "vario_settings.optimizer: 2 found, one of 0 to 1 expected");
    vario_defaults_adamw(&s);
    s.epsilon = -1.0;
    refuse(tensors, &s, "vario_settings.epsilon: -1 found");
}

/* NULL where the header does not allow it. */
static void refuse_nothing(void)
{
    vario_settings s;
    int last = rank == ranks - 1;
    expect(vario_create(NULL, MPI_COMM_WORLD, tensors, 2, weights, NULL), VARIO_INPUT,
           "vario_create: a pointer to set expected, NULL found");
    if (ranks > 1) { /* one rank's is all ranks' */
        vario_optimizer *opt;
        expect(vario_create(last ? NULL : &opt, MPI_COMM_WORLD, tensors, 2, weights, NULL),
               VARIO_INPUT, "vario_create: a pointer to set expected, NULL found");
        if (!last && opt) wrong = 1;
    }
    expect(vario_create_alone(NULL, tensors, 2, weights, NULL), VARIO_INPUT, "a pointer to set");
    refuse(NULL, NULL, "at least one tensor expected");
    vario_defaults(NULL);
    expect(VARIO_OK, VARIO_OK, "vario_defaults: settings to set expected, NULL found");
    vario_defaults_adamw(NULL);
    expect(VARIO_OK, VARIO_OK, "vario_defaults_adamw: settings to set expected, NULL found");
    vario_defaults(&s);
    expect(VARIO_OK, VARIO_OK, "");
    if (vario_rounds(NULL) != 0) wrong = 1;
    expect(VARIO_OK, VARIO_OK, "vario_rounds: an optimizer expected, NULL found");
    if (vario_item(NULL) != -1) wrong = 1;
    expect(VARIO_OK, VARIO_OK, "vario_item: an optimizer expected, NULL found");
    if (vario_steps(NULL) != 0) wrong = 1;
    expect(VARIO_OK, VARIO_OK, "vario_steps: an optimizer expected, NULL found");
    expect(vario_sample(NULL, weights), VARIO_INPUT, "vario_sample: an optimizer expected");
    expect(vario_accumulate(NULL, gradients), VARIO_INPUT, "vario_accumulate: an optimizer");
    expect(vario_step(NULL, 1.0, NULL), VARIO_INPUT, "vario_step: an optimizer expected");
    expect(vario_mean(NULL, weights), VARIO_INPUT, "vario_mean: an optimizer expected");
    expect(vario_draw(NULL, 0, weights), VARIO_INPUT, "vario_draw: an optimizer expected");
    expect(vario_deviation(NULL, weights), VARIO_INPUT, "vario_deviation: an optimizer");
    expect(vario_save(NULL, "errors-a", 1), VARIO_INPUT, "vario_save: an optimizer expected");
    expect(vario_load(NULL, "errors-a"), VARIO_INPUT, "vario_load: an optimizer expected");
    vario_free(NULL);
}

/* Handles of no communicator: every rank has one, as a program that makes the mistake would. */
static void refuse_communicators(void)
{
    vario_optimizer *opt;
    const int handles[] = {-1, 123456789, MPI_Comm_c2f(MPI_COMM_NULL)};
    for (int i = 0; i < 3; i++) {
        expect(vario_create_fortran(&opt, handles[i], tensors, 2, weights, NULL), VARIO_INPUT,
               "vario_create: a communicator expected, ");
        if (opt) wrong = 1;
    }
    expect(vario_create(&opt, MPI_COMM_NULL, tensors, 2, weights, NULL), VARIO_INPUT,
           "vario_create: a communicator expected, MPI_COMM_NULL found");
    if (ranks < 2) return;
    MPI_Comm half, between;
    MPI_Comm_split(MPI_COMM_WORLD, rank == 0, rank, &half);
    MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, rank == 0 ? 1 : 0, 0, &between);
    expect(vario_create(&opt, between, tensors, 2, weights, NULL), VARIO_INPUT,
           "an intra-communicator expected, an inter-communicator found");
    MPI_Comm_free(&between);
    expect(vario_create(&opt, half, tensors, 2, weights, NULL), VARIO_OK, "");
    vario_free(&opt);
    MPI_Comm_free(&half);
}

static void refuse_weights(void)
{
    int last = rank == ranks - 1;
    filters[7] = last ? NAN : 0.0F;
    refuse(tensors, NULL, "vario_create: tensor 0 ('filters'): element 7 is nan, a finite number");
    filters[7] = 0.0F;
    bias[1] = -INFINITY;
    refuse(tensors, NULL, "tensor 1 ('bias'): element 1 is -inf, a finite number expected");
    bias[1] = last ? 1e-45F : 0.0F; /* the smallest difference that there is */
    if (ranks > 1)
        refuse(tensors, NULL,
               "vario_create: ranks differ in the weights of tensor 1 ('bias'), the same expected");
    bias[1] = 0.0F;
}

/* The rounds are done: what is refused leaves the step to be made. */
static void refuse_rates(vario_optimizer *opt)
{
    const double rates[] = {1e308, INFINITY, NAN, -1.0, 1.1e30};
    for (int i = 0; i < 5; i++)
        expect(vario_step(opt, rates[i], NULL), VARIO_INPUT, "vario_step: learning rate ");
}

static void accumulate(vario_optimizer *opt, float gradient)
{
    for (size_t round = 0; round < vario_rounds(opt); round++) {
        expect(vario_sample(opt, weights), VARIO_OK, "");
        for (int i = 0; i < 600; i++) g_filters[i] = gradient;
        expect(vario_accumulate(opt, gradients), VARIO_OK, "");
    }
}

static void step(vario_optimizer *opt, float gradient, vario_report *report)
{
    accumulate(opt, gradient);
    expect(vario_step(opt, 1.0, report), VARIO_OK, "");
}

/* A rank with an argument of its own would leave the others waiting, or with other weights. */
static void differ(vario_optimizer *opt)
{
    vario_report report;
    int last = rank == ranks - 1;
    if (ranks == 1) return;
    accumulate(opt, 1.0F);
    expect(vario_step(opt, last ? 0.5 : 1.0, &report), VARIO_INPUT,
           "vario_step: ranks differ in the learning rate");
    expect(vario_step(opt, 1.0, last ? NULL : &report), VARIO_INPUT,
           "vario_step: ranks differ in the learning rate");
    expect(vario_step(opt, last ? NAN : 1.0, NULL), VARIO_INPUT, "learning rate nan found");
    expect(vario_step(opt, 1.0, NULL), VARIO_OK, "");
    expect(vario_save(opt, last ? "errors-a" : "errors-b", 1), VARIO_INPUT,
           "vario_save: ranks differ in the directory");
    expect(vario_save(opt, "errors-a", last ? 1 : 2), VARIO_INPUT, "vario_save: ranks differ");
    expect(vario_load(opt, last ? "errors-a" : "errors-b"), VARIO_INPUT,
           "vario_load: ranks differ in the directory");
}

static void go_through_calls(vario_optimizer *opt)
{
    vario_report report;
    float before[600];
    float *const missing[] = {filters, rank == ranks - 1 ? NULL : bias};
    expect(vario_accumulate(opt, gradients), VARIO_INPUT, "vario_sample expected before it");
    expect(vario_step(opt, 1.0, NULL), VARIO_INPUT, "vario_step: 0 rounds of");
    expect(vario_sample(opt, NULL), vario_item(opt) < 0 ? VARIO_OK : VARIO_INPUT, "");
    expect(vario_sample(opt, weights), VARIO_OK, "");
    expect(vario_accumulate(opt, missing), VARIO_INPUT,
           "vario_accumulate: tensor 1 ('bias'): a pointer expected, NULL found");
    accumulate(opt, 1.0F);
    refuse_rates(opt);
    expect(vario_step(opt, 1.0, &report), VARIO_OK, "");
    if (report.skipped || report.updates != 1 || !(report.gradient_norm > 0)) wrong = 1;
    expect(vario_mean(opt, weights), VARIO_OK, "");
    memcpy(before, filters, sizeof before);
    step(opt, NAN, &report);
    if (!report.skipped || report.updates != 1 || vario_steps(opt) != 2) wrong = 1;
    expect(vario_mean(opt, weights), VARIO_OK, "");
    if (memcmp(before, filters, sizeof before) != 0) wrong = 1;
    expect(vario_sample(opt, weights), VARIO_OK, "");
    expect(vario_step(opt, -1.0, NULL), VARIO_INPUT, "");
}

static void save_and_load(vario_optimizer *opt)
{
    vario_settings s;
    vario_optimizer *other;
    const char *directory = "errors-run";
    expect(vario_save(opt, "/proc/none", 1), VARIO_INPUT, "/proc/none");
    expect(vario_save(opt, directory, 1), VARIO_OK, "");
    expect(vario_load(opt, "errors-none"), VARIO_INPUT, "errors-none");
    expect(vario_mean(opt, weights), VARIO_INPUT, "vario_load has failed");
    expect(vario_load(opt, directory), VARIO_OK, "");
    if (vario_steps(opt) != 2) wrong = 1;
    vario_defaults(&s);
    s.ess = 7;
    s.items = 3;
    expect(vario_create(&other, MPI_COMM_WORLD, tensors, 2, NULL, &s), VARIO_OK, "");
    expect(vario_load(other, directory), VARIO_INPUT, "ess 7 expected, 10000000000 found");
    vario_free(&other);
}

/* Stages differ in the order of sums alone. */
static void compare_stages(void)
{
    static float means[3][600];
    for (int shard = 0; shard < 3; shard++) {
        vario_settings s;
        vario_optimizer *opt;
        vario_defaults(&s);
        s.items = 5;
        s.shard = shard;
        s.clip_norm = 1.0;
        s.hessian_init = 1.0;
        create(&opt, &s);
        for (int t = 0; t < 3; t++) {
            for (size_t round = 0; round < vario_rounds(opt); round++) {
                expect(vario_sample(opt, weights), VARIO_OK, "");
                for (int i = 0; i < 600; i++)
                    g_filters[i] = (float)((i + vario_item(opt)) % 7) + filters[i];
                expect(vario_accumulate(opt, gradients), VARIO_OK, "");
            }
            expect(vario_step(opt, 0.1, NULL), VARIO_OK, "");
        }
        expect(vario_mean(opt, weights), VARIO_OK, "");
        memcpy(means[shard], filters, sizeof filters);
        vario_free(&opt);
    }
    for (int i = 0; i < 600; i++)
        for (int shard = 0; shard < 2; shard++)
            if (!(fabsf(means[shard][i] - means[2][i]) <= 1e-5F * fabsf(means[2][i]))) wrong = 1;
}

/* In range by itself, but not times hessian_init + weight_decay. */
static void scale_rate(void)
{
    vario_settings s;
    vario_optimizer *opt;
    vario_defaults(&s);
    s.hessian_init = 1e10;
    create(&opt, &s);
    accumulate(opt, 0.0F);
    expect(vario_step(opt, 1e29, NULL), VARIO_INPUT, "a product of at most 3.4e+38 expected");
    vario_free(&opt);
}

/* MPI has ended: what needs it is refused, what does not works, and memory comes back. */
static void go_on_after_mpi(vario_optimizer *opt)
{
    vario_optimizer *other;
    expect(vario_create(&other, MPI_COMM_WORLD, tensors, 2, weights, NULL), VARIO_PEER,
           "MPI has ended");
    expect(vario_create_fortran(&other, 0, tensors, 2, weights, NULL), VARIO_PEER, "MPI has ended");
    expect(vario_create_alone(&other, tensors, 2, weights, NULL), VARIO_PEER, "MPI has ended");
    expect(vario_sample(opt, weights), VARIO_PEER, "vario_sample: MPI has ended");
    expect(vario_accumulate(opt, gradients), VARIO_PEER, "vario_accumulate: MPI has ended");
    expect(vario_step(opt, 1.0, NULL), VARIO_PEER, "vario_step: MPI has ended");
    expect(vario_save(opt, "errors-a", 1), VARIO_PEER, "vario_save: MPI has ended");
    expect(vario_load(opt, "errors-run"), VARIO_PEER, "vario_load: MPI has ended");
    if (vario_rounds(opt) == 0 || vario_steps(opt) != 0) wrong = 1;
    expect(vario_mean(opt, weights), VARIO_OK, "");
    expect(vario_draw(opt, 0, weights), VARIO_OK, "");
    expect(vario_deviation(opt, weights), VARIO_OK, "");
    vario_free(&opt);
    if (opt) wrong = 1;
}

/* The same loop without a posterior; what needs one is refused, and so is another's checkpoint. */
static void use_adamw(void)
{
    vario_settings s;
    vario_optimizer *opt;
    vario_report report;
    float drawn[600];
    vario_defaults_adamw(&s);
    memset(bias, 0, sizeof bias);
    for (int i = 0; i < 600; i++) filters[i] = drawn[i] = 0.01F * (float)i;
    expect(vario_create(&opt, MPI_COMM_WORLD, tensors, 2, weights, &s), VARIO_OK, "");
    memset(filters, 0, sizeof filters);
    expect(vario_sample(opt, weights), VARIO_OK, "");
    if (memcmp(filters, drawn, sizeof drawn) != 0) wrong = 1;
    for (int i = 0; i < 600; i++) g_filters[i] = 2.0F;
    expect(vario_accumulate(opt, gradients), VARIO_OK, "");
    expect(vario_step(opt, 0.125, &report), VARIO_OK, "");
    if (!isnan(report.sigma_mean) || report.updates != 1) wrong = 1;
    expect(vario_mean(opt, weights), VARIO_OK, "");
    for (int i = 0; i < 600; i++) { /* the first step is lr, whatever the gradient */
        double expected = (double)drawn[i] * (1.0 - 0.125 * s.weight_decay) - 0.125;
        if (!(fabs((double)filters[i] - expected) < 1e-6)) wrong = 1;
    }
    expect(vario_draw(opt, 0, weights), VARIO_INPUT, "vario_draw: a posterior expected, AdamW");
    expect(vario_deviation(opt, weights), VARIO_INPUT, "vario_deviation: a posterior expected");
    expect(vario_load(opt, "errors-run"), VARIO_INPUT, "optimizer.safetensors");
    vario_free(&opt);
}

int main(int argc, char **argv)
{
    vario_optimizer *opt;
    expect(vario_create(&opt, MPI_COMM_WORLD, tensors, 2, weights, NULL), VARIO_PEER,
           "MPI has not begun");
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    refuse_tensors();
    refuse_settings();
    refuse_nothing();
    refuse_communicators();
    refuse_weights();
    vario_settings s;
    vario_defaults(&s);
    s.items = 4; /* uneven on three ranks */
    create(&opt, &s);
    differ(opt);
    vario_free(&opt);
    create(&opt, &s);
    go_through_calls(opt);
    vario_free(&opt);
    create(&opt, &s);
    step(opt, 1.0F, NULL);
    step(opt, 2.0F, NULL);
    save_and_load(opt);
    vario_free(&opt);
    vario_free(&opt);
    use_adamw();
    compare_stages();
    scale_rate();
    s.items = 2 * (uint64_t)ranks;
    create(&opt, &s);
    expect(vario_sample(opt, weights), VARIO_OK, ""); /* left in mid-step */
    expect(vario_accumulate(opt, gradients), VARIO_OK, "");
    MPI_Finalize();
    go_on_after_mpi(opt);
    return wrong;
}
