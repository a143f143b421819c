/* locale OUT POINT: under the environment's locale, whose decimal point is POINT, numbers are read
 * and written as ever: a checkpoint in OUT that loads, and sentences. */
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <vario.h>

static int wrong;

static void expect(vario_status found, vario_status expected, const char *sentence)
{
    if (found == expected && strstr(vario_error(), sentence)) return;
    fprintf(stderr, "status %d, '%s' expected, %d, '%s' found\n", expected, sentence, found,
            vario_error());
    wrong = 1;
}

/* The program's own numbers are as it wants them. */
static void expect_point(const char *point)
{
    char text[8], expected[8];
    snprintf(text, sizeof text, "%.1f", 0.5);
    snprintf(expected, sizeof expected, "0%s5", point);
    if (strcmp(text, expected) == 0) return;
    fprintf(stderr, "%s expected, %s found\n", expected, text);
    wrong = 1;
}

int main(int argc, char **argv)
{
    float values[3] = {0.25F, 0.5F, 0.75F}, slope[3] = {0.1F, 0.2F, 0.3F};
    float *const weights[] = {values}, *const gradients[] = {slope};
    const vario_tensor tensor = {.name = "w", .dimensions = 1, .shape = {3}, .decayed = 1};
    vario_settings s;
    vario_optimizer *opt;
    if (argc < 3 || !setlocale(LC_ALL, "")) return 2;
    expect_point(argv[2]);
    vario_defaults(&s);
    if (s.beta2 != 0.99999 || s.weight_decay != 1e-6) wrong = 1;
    s.beta1 = 1.5;
    expect(vario_create_alone(&opt, &tensor, 1, weights, &s), VARIO_INPUT, "beta1: 1.5 found");
    s.beta1 = 0.75;
    s.ess = 2.5;
    s.weight_decay = 0.125;
    expect(vario_create_alone(&opt, &tensor, 1, weights, &s), VARIO_OK, "");
    expect(vario_sample(opt, weights), VARIO_OK, "");
    expect(vario_accumulate(opt, gradients), VARIO_OK, "");
    expect(vario_step(opt, 0.5, NULL), VARIO_OK, "");
    expect_point(argv[2]);
    expect(vario_save(opt, argv[1], 0), VARIO_OK, "");
    expect(vario_load(opt, argv[1]), VARIO_OK, "");
    vario_free(&opt);
    expect_point(argv[2]);
    return wrong;
}
