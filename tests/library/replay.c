/* replay RECORDED START OUT SHARD KEY=VALUE...: train by the library with recorded gradients, from
 * the checkpoint START, to a checkpoint in OUT. The weights that it draws must be the recorded
 * ones. Built against an installed libvario; any number of ranks. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vario.h>

enum { MOST = 64 };

typedef struct {
    size_t count, elements, sizes[MOST];
    char names[MOST][VARIO_NAME];
    vario_tensor tensors[MOST];
    float *weights[MOST], *gradients[MOST];
} model;

static void stop(const char *what)
{
    fprintf(stderr, "replay: %s\n", what);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static void check(vario_status status)
{
    if (status != VARIO_OK) stop(vario_error());
}

static FILE *open_recorded(const char *directory, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "rb");
    if (!file) stop(path);
    return file;
}

static void read_model(model *m, const char *directory)
{
    FILE *in = open_recorded(directory, "tensors");
    for (; m->count < MOST; m->count++) {
        vario_tensor *t = &m->tensors[m->count];
        if (fscanf(in, "%63s %d %zu %d", m->names[m->count], &t->decayed, &t->unit,
                   &t->dimensions) != 4)
            break;
        size_t size = 1;
        for (int d = 0; d < t->dimensions; d++) {
            if (fscanf(in, "%zu", &t->shape[d]) != 1) stop("a shape is missing");
            size *= t->shape[d];
        }
        t->name = m->names[m->count];
        m->sizes[m->count] = size;
        m->elements += size;
        m->weights[m->count] = calloc(size, sizeof(float));
        m->gradients[m->count] = calloc(size, sizeof(float));
    }
    fclose(in);
}

static double number_of(int argc, char **argv, const char *key, double standard)
{
    size_t n = strlen(key);
    for (int i = 5; i < argc; i++)
        if (strncmp(argv[i], key, n) == 0 && argv[i][n] == '=')
            return strtod(argv[i] + n + 1, NULL);
    return standard;
}

static void read_floats(FILE *in, float *to, size_t count)
{
    if (fread(to, sizeof *to, count, in) != count) stop("the recording is short");
}

/* One item's weights and gradient, at their place in the recording. */
static void replay_item(const model *m, FILE *in, float *drawn)
{
    read_floats(in, drawn, m->elements);
    for (size_t i = 0; i < m->count; drawn += m->sizes[i++])
        if (memcmp(drawn, m->weights[i], m->sizes[i] * sizeof(float)) != 0)
            stop("other weights were drawn than recorded");
    for (size_t i = 0; i < m->count; i++) read_floats(in, m->gradients[i], m->sizes[i]);
}

int main(int argc, char **argv)
{
    static model m;
    MPI_Init(&argc, &argv);
    if (argc < 5) stop("RECORDED START OUT SHARD expected");
    read_model(&m, argv[1]);
    vario_settings s;
    uint64_t steps;
    if (number_of(argc, argv, "optimizer", VARIO_IVON) == VARIO_ADAMW)
        vario_defaults_adamw(&s);
    else
        vario_defaults(&s);
    FILE *in = open_recorded(argv[1], "settings");
    if (fscanf(in, "%" SCNu64 " %" SCNu64 " %" SCNu64, &steps, &s.items, &s.seed) != 3)
        stop("settings expected");
    fclose(in);
    s.shard = atoi(argv[4]);
    s.ess = number_of(argc, argv, "ess", s.ess);
    s.hessian_init = number_of(argc, argv, "hessian_init", s.hessian_init);
    s.beta2 = number_of(argc, argv, "beta2", s.beta2);
    s.weight_decay = number_of(argc, argv, "weight_decay", s.weight_decay);
    s.clip_norm = number_of(argc, argv, "clip_norm", s.clip_norm);
    s.clip_update = number_of(argc, argv, "clip_update", s.clip_update);
    vario_optimizer *opt;
    check(vario_create(&opt, MPI_COMM_WORLD, m.tensors, m.count, NULL, &s));
    check(vario_load(opt, argv[2]));
    in = open_recorded(argv[1], "steps");
    float *drawn = malloc(m.elements * sizeof *drawn);
    long item_bytes = (long)(2 * m.elements * sizeof *drawn);
    long step_bytes = (long)sizeof(double) + (long)s.items * item_bytes;
    for (uint64_t t = 0; t < steps; t++) {
        double lr;
        for (size_t round = 0; round < vario_rounds(opt); round++) {
            int64_t item = vario_item(opt);
            check(vario_sample(opt, m.weights));
            fseek(in, (long)t * step_bytes + (long)sizeof lr + item * item_bytes, SEEK_SET);
            if (item >= 0) replay_item(&m, in, drawn);
            check(vario_accumulate(opt, m.gradients));
        }
        fseek(in, (long)t * step_bytes, SEEK_SET);
        if (fread(&lr, sizeof lr, 1, in) != 1) stop("the recording is short");
        vario_report report;
        check(vario_step(opt, lr, t % 10 ? NULL : &report));
    }
    fclose(in);
    check(vario_save(opt, argv[3], 0));
    vario_free(&opt);
    free(drawn);
    for (size_t i = 0; i < m.count; i++) {
        free(m.weights[i]);
        free(m.gradients[i]);
    }
    MPI_Finalize();
    return 0;
}
