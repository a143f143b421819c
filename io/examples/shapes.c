/* The curve with a gap and the two moons. Sines are series in double, so bits do not depend on a
 * mathematical library. */
#include "io/examples/examples_kinds.h"
#include "kernels/math.h"

/* Elements of an example: words 0 to 3, normals 4 to 7. */
enum { WORDS = 4, NORMALS = 4 };

static const double curve_noise = 0.1, curve_near = 1.0, curve_far = 4.0;
static const double moons_noise = 0.2;

typedef struct {
    uint32_t words[WORDS];
    float normals[NORMALS];
} draws;

static draws draw(uint64_t seed, generated_kind kind, uint64_t number)
{
    draws d;
    noise_key key = draw_key(seed, kind, number);
    noise_uniform_words(d.words, key, 0, WORDS);
    noise_normals(d.normals, NULL, key, WORDS, NORMALS);
    return d;
}

/* sin(x) and cos(x) for |x| <= pi/4, to the last bits of a double. */
static double sine_near(double x)
{
    double t = x * x, sum = 0;
    for (int n = 17; n > 1; n -= 2) sum = (sum + 1) * -t / (n * (n - 1));
    return x * (sum + 1);
}

static double cosine_near(double x)
{
    double t = x * x, sum = 0;
    for (int n = 16; n > 0; n -= 2) sum = (sum + 1) * -t / (n * (n - 1));
    return sum + 1;
}

/* sin(pi/2 quarters) for |quarters| < 1000. */
static double sine(double quarters)
{
    const double half_pi = 1.57079632679489661923;
    int q = (int)(quarters + 1000.5) - 1000; /* the nearest */
    double x = (quarters - q) * half_pi;
    double magnitude = q & 1 ? cosine_near(x) : sine_near(x);
    return q & 2 ? -magnitude : magnitude;
}

static double curve(double x)
{
    return sine(x) + 0.25 * x;
}

/* k bumps, their centres the middles of k equal parts of [-4, 4], as wide as a part. */
static void bumps(float *features, size_t k, double x)
{
    double width = 2 * curve_far / (double)k;
    for (size_t j = 0; j < k; j++) {
        double z = (x + curve_far) / width - ((double)j + 0.5);
        features[j] = math_exp((float)(-0.5 * z * z));
    }
}

static void curve_row(const examples *x, uint64_t number, float *inputs, uint16_t *label,
                      float *value)
{
    (void)label;
    draws d = draw(x->seed, GENERATED_CURVE, number);
    double away = curve_near + (curve_far - curve_near) * (double)draw_unit(d.words[0]);
    float at = (float)(d.words[1] >> 31 ? away : -away);
    *value = (float)(curve(at) + curve_noise * (double)d.normals[0]);
    if (inputs && x->features)
        bumps(inputs, x->features, at);
    else if (inputs)
        *inputs = at;
}

static void moons_row(const examples *x, uint64_t number, float *inputs, uint16_t *label,
                      float *value)
{
    (void)value;
    draws d = draw(x->seed, GENERATED_MOONS, number);
    *label = (uint16_t)(d.words[1] >> 31);
    if (!inputs) return;
    double quarters = 2 * (double)draw_unit(d.words[0]);
    double across = sine(quarters + 1), up = sine(quarters); /* cos and sin of the angle */
    double point[2] = {*label ? 1 - across : across, *label ? 0.5 - up : up};
    for (int i = 0; i < 2; i++) inputs[i] = (float)(point[i] + moons_noise * (double)d.normals[i]);
}

status curve_open(examples *x, const char *where)
{
    (void)where;
    x->inputs = x->features ? x->features : 1;
    x->outputs = 1;
    x->row = curve_row;
    return STATUS_OK;
}

status moons_open(examples *x, const char *where)
{
    (void)where;
    x->inputs = 2;
    x->outputs = 2;
    x->row = moons_row;
    return STATUS_OK;
}
