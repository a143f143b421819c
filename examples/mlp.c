/* A perceptron of 2, 20, 20 and 2 units tells two half moons apart, trained with IVON. Two lines of
 * the loop differ from one with Adam. On any number of ranks it ends with the same bits:
 *
 *     cc mlp.c $(pkg-config --cflags --libs vario) -lm -o mlp
 *     ./mlp                      or  mpirun -n 4 ./mlp
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vario.h>

enum { LAYERS = 3, TENSORS = 2 * LAYERS, WIDEST = 20, BATCH = 50, ITEMS = 2, STEPS = 1000 };

static const size_t width[LAYERS + 1] = {2, 20, 20, 2};

typedef struct {
    float x[2];
    int class;
} example;

static void check(vario_status status)
{
    if (status == VARIO_OK) return;
    fprintf(stderr, "mlp: %s\n", vario_error());
    MPI_Abort(MPI_COMM_WORLD, 1);
}

/* [0, 1): the same for the same n. */
static double uniform(uint64_t n)
{
    n = (n + 1) * 0x9e3779b97f4a7c15U;
    n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9U;
    n = (n ^ n >> 27) * 0x94d049bb133111ebU;
    return (double)((n ^ n >> 31) >> 11) / 9007199254740992.0;
}

static example moon(uint64_t n)
{
    double angle = 3.14159265 * uniform(4 * n), side = n % 2 ? -1.0 : 1.0;
    double noise[2] = {uniform(4 * n + 1) - 0.5, uniform(4 * n + 2) - 0.5};
    return (example){{(float)(side * (cos(angle) - 0.5) + 0.4 * noise[0]),
                      (float)(side * (sin(angle) - 0.25) + 0.4 * noise[1])},
                     (int)(n % 2)};
}

/* Probabilities of the two classes, and every layer's activations on the way. */
static void forward(float *const *weights, const float x[2], float a[LAYERS + 1][WIDEST])
{
    memcpy(a[0], x, 2 * sizeof *x);
    for (int l = 0; l < LAYERS; l++)
        for (size_t j = 0; j < width[l + 1]; j++) {
            float sum = weights[2 * l + 1][j];
            for (size_t i = 0; i < width[l]; i++)
                sum += a[l][i] * weights[2 * l][i * width[l + 1] + j];
            a[l + 1][j] = l < LAYERS - 1 ? tanhf(sum) : sum;
        }
    float *out = a[LAYERS];
    out[0] = 1.0F / (1.0F + expf(out[1] - out[0]));
    out[1] = 1.0F - out[0];
}

/* Gradient of the mean cross-entropy of a batch. */
static void backward(float *const *weights, float *const *gradients, uint64_t first)
{
    float a[LAYERS + 1][WIDEST], d[WIDEST], below[WIDEST];
    for (int l = 0; l < LAYERS; l++) {
        memset(gradients[2 * l], 0, width[l] * width[l + 1] * sizeof(float));
        memset(gradients[2 * l + 1], 0, width[l + 1] * sizeof(float));
    }
    for (uint64_t n = first; n < first + BATCH; n++) {
        example e = moon(n % 500);
        forward(weights, e.x, a);
        for (int j = 0; j < 2; j++) d[j] = (a[LAYERS][j] - (float)(e.class == j)) / BATCH;
        for (int l = LAYERS; l-- > 0;) {
            for (size_t i = 0; i < width[l]; i++) {
                below[i] = 0.0F;
                for (size_t j = 0; j < width[l + 1]; j++) {
                    gradients[2 * l][i * width[l + 1] + j] += a[l][i] * d[j];
                    below[i] += weights[2 * l][i * width[l + 1] + j] * d[j];
                }
                below[i] *= 1.0F - a[l][i] * a[l][i];
            }
            for (size_t j = 0; j < width[l + 1]; j++) gradients[2 * l + 1][j] += d[j];
            memcpy(d, below, sizeof d);
        }
    }
}

/* Train and leave the posterior in opt. */
static void train(vario_optimizer *opt, float *const *weights, float *const *gradients)
{
    for (uint64_t step = vario_steps(opt); step < STEPS; step = vario_steps(opt)) {
        for (size_t round = 0; round < vario_rounds(opt); round++) {
            int64_t item = vario_item(opt);    /* a micro-batch; -1: none left for this rank */
            check(vario_sample(opt, weights)); /* <- unlike Adam: weights are drawn */
            if (item >= 0) backward(weights, gradients, (step * ITEMS + (uint64_t)item) * BATCH);
            check(vario_accumulate(opt, gradients)); /* <- unlike Adam: gradients handed over */
        }
        double lr = 0.5 * (1.0 + cos(3.14159265 * (double)step / STEPS));
        check(vario_step(opt, lr, NULL));
    }
}

/* Share of right classes among new examples, by the mean of probabilities over samples; 0: at the
 * mean of the posterior. */
static double accuracy(const vario_optimizer *opt, float *const *weights, uint32_t samples)
{
    static float p[500];
    float a[LAYERS + 1][WIDEST];
    int right = 0;
    for (uint32_t s = 0; s < (samples ? samples : 1); s++) {
        check(samples ? vario_draw(opt, s, weights) : vario_mean(opt, weights));
        for (uint64_t n = 0; n < 500; n++) {
            forward(weights, moon(500 + n).x, a);
            p[n] += a[LAYERS][1] / (float)(samples ? samples : 1);
        }
    }
    for (uint64_t n = 0; n < 500; n++) right += (p[n] > 0.5F) == (n % 2 == 1);
    memset(p, 0, sizeof p);
    return right / 500.0;
}

int main(int argc, char **argv)
{
    static const char *const names[TENSORS] = {"layers.0.weight", "layers.0.bias",
                                               "layers.1.weight", "layers.1.bias",
                                               "layers.2.weight", "layers.2.bias"};
    vario_tensor tensors[TENSORS] = {{0}};
    float *weights[TENSORS], *gradients[TENSORS];
    int rank;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    for (int i = 0; i < TENSORS; i++) {
        size_t in = width[i / 2], out = width[i / 2 + 1], count = i % 2 ? out : in * out;
        tensors[i] = (vario_tensor){.name = names[i],
                                    .dimensions = i % 2 ? 1 : 2,
                                    .shape = {i % 2 ? out : in, i % 2 ? 0 : out},
                                    .decayed = i % 2 == 0,
                                    .unit = (size_t)i / 2};
        weights[i] = calloc(count, sizeof(float));
        gradients[i] = calloc(count, sizeof(float));
        for (size_t k = 0; i % 2 == 0 && k < count; k++)
            weights[i][k] = (float)((2.0 * uniform(k + 1000 * (size_t)i) - 1.0) / sqrt((double)in));
    }
    vario_settings settings;
    /* vario_defaults_adamw, and a learning rate of 0.01, trains the same loop with AdamW. */
    vario_defaults(&settings);
    settings.ess = 500; /* as many as examples */
    settings.hessian_init = 0.1;
    settings.beta2 = 0.999;
    settings.weight_decay = 1e-4;
    settings.items = ITEMS;
    vario_optimizer *opt;
    check(vario_create(&opt, MPI_COMM_WORLD, tensors, TENSORS, weights, &settings));
    train(opt, weights, gradients);
    double at_mean = accuracy(opt, weights, 0), averaged = accuracy(opt, weights, 32);
    if (rank == 0) printf("accuracy %.3f at the mean, %.3f averaged\n", at_mean, averaged);
    if (argc > 1) check(vario_save(opt, argv[1], 1));
    vario_free(&opt);
    for (int i = 0; i < TENSORS; i++) {
        free(weights[i]);
        free(gradients[i]);
    }
    MPI_Finalize();
    return 0;
}
