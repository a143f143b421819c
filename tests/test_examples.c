/* Generated examples: that they are docs/data.md's, pure functions of (seed, number) with the same
 * bits everywhere, and a task; planted mistakes; texts and requests that cannot be. */
#include "io/examples/examples.h"
#include "io/examples/glyph_font.h"
#include "kernels/noise.h"

#include <Random123/philox.h>
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIXELS = 28 * 28 };
#define PI 3.14159265358979323846

static examples *open_set(const char *text, uint64_t seed, size_t features, double mislabelled)
{
    examples *x = NULL;
    examples_spec spec = {
        .text = text, .seed = seed, .features = features, .mislabelled = mislabelled};
    status result = examples_open(&x, &spec, strncmp(text, "curve", 5) == 0);
    cr_assert_eq(result, STATUS_OK, "%s", status_message());
    return x;
}

static uint16_t label_of(const examples *x, uint64_t i)
{
    uint16_t label = UINT16_MAX;
    cr_assert_eq(examples_row(x, i, NULL, &label, NULL), STATUS_OK);
    return label;
}

/* Fowler, Noll and Vo's hash of rows i to i + 2: inputs, label, value. */
static uint64_t hash_rows(const examples *x, uint64_t i)
{
    struct {
        float inputs[PIXELS], value;
        uint32_t label;
    } row;
    uint64_t hash = 0xcbf29ce484222325U;
    for (uint64_t end = i + 3; i < end; i++) {
        uint16_t label = 0;
        memset(&row, 0, sizeof row);
        cr_assert_eq(examples_row(x, i, row.inputs, &label, &row.value), STATUS_OK);
        row.label = label;
        const unsigned char *bytes = (const unsigned char *)&row;
        for (size_t b = 0; b < sizeof row; b++) hash = (hash ^ bytes[b]) * 0x100000001b3U;
    }
    return hash;
}

Test(examples, a_row_depends_on_seed_and_number_alone)
{
    static const char *const names[] = {"glyphs", "letters", "curve", "moons"};
    for (size_t k = 0; k < 4; k++) {
        char whole[32], part[32];
        snprintf(whole, sizeof whole, "%s:0-99", names[k]);
        snprintf(part, sizeof part, "%s:57-4294967295", names[k]);
        double mislabelled = k == 2 ? 0 : 0.5;
        examples *a = open_set(whole, 7, 0, mislabelled), *b = open_set(part, 7, 0, mislabelled);
        examples *other = open_set(whole, 8, 0, mislabelled);
        cr_expect_eq(examples_count(a), 100);
        cr_expect_eq(examples_count(b), (1ULL << 32) - 57);
        uint64_t late = hash_rows(a, 57), early = hash_rows(a, 3);
        cr_expect_eq(early, hash_rows(a, 3), "%s: read twice", names[k]);
        cr_expect_neq(early, late, "%s: other numbers", names[k]);
        cr_expect_eq(late, hash_rows(b, 0), "%s: another range", names[k]);
        cr_expect_neq(early, hash_rows(other, 3), "%s: another seed", names[k]);
        examples_close(&a);
        examples_close(&b);
        examples_close(&other);
    }
}

/* Whatever the compiler and its options. */
Test(examples, bits_are_the_same_everywhere)
{
    static const struct {
        const char *text;
        size_t features;
        uint64_t hash;
    } sets[] = {
        {"glyphs:0-2", 0, 0x086a511e26299c95}, {"letters:0-2", 0, 0xb7a5b9daf662b0c7},
        {"curve:0-2", 0, 0x8393220aaa76c13c},  {"curve:0-2", 50, 0xa4c05e4c079756d1},
        {"moons:0-2", 0, 0xf7ba1f4308be58b5},
    };
    for (size_t k = 0; k < sizeof sets / sizeof *sets; k++) {
        examples *x = open_set(sets[k].text, 1337, sets[k].features, 0);
        cr_expect_eq(hash_rows(x, 0), sets[k].hash, "%s, %zu features: 0x%016llx", sets[k].text,
                     sets[k].features, (unsigned long long)hash_rows(x, 0));
        examples_close(&x);
    }
}

/* docs/data.md, written again in double with a library's functions. */

static uint32_t word(uint64_t seed, uint32_t number, uint32_t kind, uint32_t element)
{
    philox4x32_ctr_t counter = {{element / 4, 6U << 24, number, kind}};
    philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    return philox4x32(counter, key).v[element % 4];
}

static double unit(uint64_t seed, uint32_t number, uint32_t kind, uint32_t element)
{
    return (word(seed, number, kind, element) >> 8) * 0x1p-24;
}

static double normal(uint64_t seed, uint32_t number, uint32_t kind, uint32_t element)
{
    double z;
    noise_normals_reference(&z, (noise_key){seed, 6, number, kind, false}, element, 1);
    return z;
}

static double spline(double d)
{
    d = fabs(d);
    return d < 0.5 ? 0.75 - d * d : d < 1.5 ? (1.5 - d) * (1.5 - d) / 2 : 0;
}

static double ink(const char *const *rows, unsigned first, double column, double row)
{
    double sum = 0;
    for (int r = 0; r < FONT_HEIGHT; r++)
        for (int c = 0; c < FONT_WIDTH; c++)
            if (rows[r][first + (unsigned)c] == '#') sum += spline(column - c) * spline(row - r);
    return sum;
}

static void check_image(bool letters, uint32_t number)
{
    const uint64_t seed = 5ULL << 32 | 9;
    const uint32_t kind = letters;
    double p[12];
    for (uint32_t e = 0; e < 12; e++) p[e] = unit(seed, number, kind, e);
    unsigned character = (unsigned)(p[0] * (letters ? FONT_LETTERS : FONT_DIGITS)), first;
    unsigned style = (unsigned)(p[1] * (letters ? FONT_LETTER_STYLES : FONT_DIGIT_STYLES));
    const char *const *rows = font_character(letters, character, style, &first);
    double angle = 2 * atan(0.3 * p[2] - 0.15), shear = 0.4 * p[3] - 0.2;
    float image[PIXELS];
    uint16_t label;
    examples *x = open_set(letters ? "letters:0-4294967295" : "glyphs:0-4294967295", seed, 0, 0);
    cr_assert_eq(examples_row(x, number, image, &label, NULL), STATUS_OK);
    cr_expect_eq(label, character);
    for (int i = 0; i < PIXELS; i++) {
        double across = i % 28 - 13.5 - (4 * p[6] - 2), down = i / 28 - 13.5 - (4 * p[7] - 2);
        double u = cos(angle) * across + sin(angle) * down;
        double v = cos(angle) * down - sin(angle) * across;
        double dots =
            ink(rows, first, 3 + (u - shear * v) / (1.7 + 0.8 * p[4]), 4 + v / (1.8 + 0.6 * p[5]));
        double edge = 0.5 + (2 + 3 * p[9]) * (dots - (0.2 + 0.25 * p[8]));
        double y = (0.6 + 0.4 * p[10]) * fmin(fmax(edge, 0), 1) +
                   (0.05 + 0.1 * p[11]) * normal(seed, number, kind, 256 + (uint32_t)i);
        cr_assert_float_eq(image[i], (float)fmin(fmax(y, 0), 1), 2e-5F, "%d %u: pixel %d: %g, %g",
                           letters, number, i, (double)image[i], y);
    }
    examples_close(&x);
}

Test(examples, images_are_as_documented)
{
    for (uint32_t n = 0; n < 20; n++) {
        check_image(false, n);
        check_image(true, n + (1U << 31));
    }
}

Test(examples, curve_is_as_documented)
{
    enum { K = 7 };
    examples *x = open_set("curve:0-299", 21, 0, 0), *bumps = open_set("curve:0-299", 21, K, 0);
    cr_expect_eq(examples_inputs(x), 1);
    cr_expect_eq(examples_inputs(bumps), K);
    cr_expect_eq(examples_outputs(x), 1);
    cr_expect_not(examples_classes(x));
    int left = 0;
    for (uint32_t n = 0; n < 300; n++) {
        float at, y, again, features[K];
        cr_assert_eq(examples_row(x, n, &at, NULL, &y), STATUS_OK);
        double away = 1 + 3 * unit(21, n, 2, 0),
               signed_away = word(21, n, 2, 1) >> 31 ? away : -away;
        double f = sin(PI / 2 * signed_away) + signed_away / 4;
        cr_assert_float_eq(at, (float)signed_away, 1e-6F);
        cr_assert_float_eq(y, (float)(f + 0.1 * normal(21, n, 2, 4)), 2e-6F);
        left += at < 0;
        cr_assert_eq(examples_row(bumps, n, features, NULL, &again), STATUS_OK);
        cr_assert_eq(y, again);
        for (int j = 0; j < K; j++) {
            double z = (signed_away - (-4 + 8 * (j + 0.5) / K)) / (8.0 / K);
            cr_assert_float_eq(features[j], (float)exp(-z * z / 2), 1e-6F);
        }
    }
    cr_expect(left > 105 && left < 195, "%d of 300 on the left", left); /* 5 deviations */
    examples_close(&x);
    examples_close(&bumps);
}

Test(examples, moons_are_as_documented)
{
    examples *x = open_set("moons:0-299", 21, 0, 0);
    cr_expect_eq(examples_inputs(x), 2);
    cr_expect_eq(examples_outputs(x), 2);
    for (uint32_t n = 0; n < 300; n++) {
        float point[2];
        uint16_t label;
        cr_assert_eq(examples_row(x, n, point, &label, NULL), STATUS_OK);
        double angle = PI * unit(21, n, 3, 0);
        double across = label ? 1 - cos(angle) : cos(angle);
        double up = label ? 0.5 - sin(angle) : sin(angle);
        cr_assert_eq(label, word(21, n, 3, 1) >> 31);
        cr_assert_float_eq(point[0], (float)(across + 0.2 * normal(21, n, 3, 4)), 2e-6F);
        cr_assert_float_eq(point[1], (float)(up + 0.2 * normal(21, n, 3, 5)), 2e-6F);
    }
    examples_close(&x);
}

static void check_balance(const char *text, size_t classes)
{
    size_t counts[32] = {0};
    examples *x = open_set(text, 3, 0, 0);
    cr_expect_eq(examples_outputs(x), classes, "%s: %zu classes", text, examples_outputs(x));
    for (uint64_t i = 0; i < examples_count(x); i++) counts[label_of(x, i)]++;
    double mean = (double)examples_count(x) / (double)classes;
    for (size_t c = 0; c < classes; c++)
        cr_expect_float_eq((double)counts[c], mean, 5 * sqrt(mean), "%s: class %zu: %zu", text, c,
                           counts[c]);
    examples_close(&x);
}

Test(examples, classes_are_balanced)
{
    check_balance("glyphs:0-9999", 10);
    check_balance("letters:0-9999", 24);
    check_balance("moons:0-9999", 2);
}

/* Where the nearest of the classes' mean images is right: far above chance, far from always. */
Test(examples, glyphs_are_a_task)
{
    enum { TRAIN = 1500, TEST = 500 };
    static double means[10][PIXELS];
    float image[PIXELS];
    double counts[10] = {0};
    int right = 0;
    examples *x = open_set("glyphs:0-1999", 1, 0, 0);
    for (uint64_t i = 0; i < TRAIN + TEST; i++) {
        uint16_t label;
        cr_assert_eq(examples_row(x, i, image, &label, NULL), STATUS_OK);
        if (i < TRAIN) {
            counts[label]++;
            for (int p = 0; p < PIXELS; p++) means[label][p] += (double)image[p];
            continue;
        }
        double best = INFINITY;
        uint16_t nearest = 10;
        for (uint16_t c = 0; c < 10; c++) {
            double distance = 0;
            for (int p = 0; p < PIXELS; p++)
                distance += pow((double)image[p] - means[c][p] / counts[c], 2);
            if (distance < best) {
                best = distance;
                nearest = c;
            }
        }
        right += nearest == label;
    }
    cr_expect(right > TEST * 4 / 10 && right < TEST * 9 / 10, "%d of %d right", right, TEST);
    examples_close(&x);
}

Test(examples, mistakes_are_planted_at_their_rate)
{
    enum { COUNT = 20000 };
    const double share = 0.05, mean = COUNT * share;
    size_t wrong = 0, by[10] = {0};
    examples *x = open_set("glyphs:0-19999", 4, 0, share),
             *truth = open_set("glyphs:0-19999", 4, 0, 0);
    for (uint64_t i = 0; i < COUNT; i++) {
        uint16_t label = label_of(x, i), own = label_of(truth, i);
        cr_assert_lt(label, 10);
        cr_assert_eq(examples_mislabelled(x, i), label != own);
        cr_assert_not(examples_mislabelled(truth, i));
        wrong += label != own;
        by[(label + 10 - own) % 10]++;
    }
    cr_expect_float_eq((double)wrong, mean, 5 * sqrt(mean), "%zu wrong", wrong);
    for (int d = 1; d < 10; d++)
        cr_expect_float_eq((double)by[d], mean / 9, 5 * sqrt(mean / 9), "%zu by %d", by[d], d);
    float image[PIXELS], clean[PIXELS];
    uint64_t i = 0;
    while (!examples_mislabelled(x, i)) i++;
    cr_assert_eq(examples_row(x, i, image, NULL, NULL), STATUS_OK);
    cr_assert_eq(examples_row(truth, i, clean, NULL, NULL), STATUS_OK);
    cr_expect_arr_eq(image, clean, sizeof image, "the image stays");
    examples_close(&x);
    examples_close(&truth);
}

/* Of some classes: the same examples in the same order, the others left out. */
Test(examples, of_some_classes)
{
    examples_spec all = {.text = "glyphs:100-399", .seed = 3, .outputs = 10},
                  some = {.text = "glyphs:100-399/3-5", .seed = 3, .outputs = 10};
    examples *x, *y;
    cr_assert_eq(examples_open(&x, &all, false), STATUS_OK, "%s", status_message());
    cr_assert_eq(examples_open(&y, &some, false), STATUS_OK, "%s", status_message());
    uint64_t at = 0;
    for (uint64_t i = 0; i < examples_count(x); i++) {
        float image[784], same[784];
        uint16_t label, found;
        examples_row(x, i, image, &label, NULL);
        if (label < 3 || label > 5) continue;
        cr_assert_eq(examples_row(y, at++, same, &found, NULL), STATUS_OK);
        cr_expect_eq(found, label);
        cr_expect_arr_eq(same, image, sizeof image);
    }
    cr_expect_eq(examples_count(y), at);
    cr_expect_gt(at, 0);
    examples_close(&x);
    examples_close(&y);
}

static void expect_refused(examples_spec spec, bool values, const char *sentence)
{
    examples *x = NULL;
    cr_expect_eq(examples_open(&x, &spec, values), STATUS_INPUT, "%s accepted", spec.text);
    cr_expect_null(x);
    cr_expect_str_eq(status_message(), sentence);
    status_clear();
}

Test(examples, bad_texts_are_named)
{
    static const char *const unknown[] = {"", "glyphs", "glyph:0-1", "Glyphs:0-1", ":0-1", "a.csv"};
    static const char *const ranges[] = {
        "glyphs:",       "letters:5",     "curve:1-",     "moons:-1",
        "glyphs:1 - 2",  "glyphs:1-2x",   "glyphs:+1-2",  "glyphs:0-4294967296",
        "glyphs:0x1-20", "glyphs:1.5-20", "glyphs:1--20", "glyphs:99999999999999999999-1",
    };
    char sentence[512];
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        snprintf(sentence, sizeof sentence,
                 "%s: a data set expected, one of glyphs:FIRST-LAST, letters:FIRST-LAST, "
                 "curve:FIRST-LAST, moons:FIRST-LAST, idx:IMAGES,LABELS, cifar:PATTERN, csv:FILE",
                 unknown[i]);
        expect_refused((examples_spec){.text = unknown[i]}, false, sentence);
    }
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        snprintf(sentence, sizeof sentence,
                 "%s: FIRST-LAST expected, whole numbers from 0 to 4294967295", ranges[i]);
        expect_refused((examples_spec){.text = ranges[i]}, ranges[i][0] == 'c', sentence);
    }
    expect_refused((examples_spec){.text = "glyphs:7-6"}, false,
                   "glyphs:7-6: the last example comes before the first");
    expect_refused((examples_spec){.text = "glyphs:0-9/3"}, false,
                   "glyphs:0-9/3: FIRST-LAST/CLASS-CLASS expected, whole numbers");
    expect_refused((examples_spec){.text = "glyphs:0-9/10-12"}, false,
                   "glyphs:0-9/10-12: no example of these classes found, at least one expected");
}

Test(examples, requests_that_cannot_be_are_named)
{
    expect_refused((examples_spec){.text = "glyphs:0-9"}, true,
                   "glyphs:0-9: targets are classes, real values expected");
    expect_refused((examples_spec){.text = "curve:0-9"}, false,
                   "curve:0-9: targets are real values, classes expected");
    expect_refused((examples_spec){.text = "moons:0-9", .features = 5}, false,
                   "moons:0-9: 5 features asked for, which only curve has");
    expect_refused((examples_spec){.text = "letters:0-9", .outputs = 10}, false,
                   "letters:0-9: 24 classes found, at most 10 expected");
    expect_refused((examples_spec){.text = "curve:0-9", .outputs = 3}, true,
                   "curve:0-9: 1 values a row found, 3 expected");
    expect_refused((examples_spec){.text = "curve:0-9", .mislabelled = 0.1}, true,
                   "curve:0-9: mislabelled rows asked for, but targets are real values");
    expect_refused((examples_spec){.text = "moons:0-9", .mislabelled = 1}, false,
                   "moons:0-9: mislabelled share 1 found, from 0 to below 1 expected");
    expect_refused((examples_spec){.text = "moons:0-9", .mislabelled = -0.1}, false,
                   "moons:0-9: mislabelled share -0.1 found, from 0 to below 1 expected");
    expect_refused((examples_spec){.text = "moons:0-9", .mislabelled = NAN}, false,
                   "moons:0-9: mislabelled share nan found, from 0 to below 1 expected");
}

Test(examples, more_classes_than_the_set_has_are_fine)
{
    examples *x = NULL;
    examples_spec spec = {.text = "moons:5-9", .outputs = 4};
    cr_assert_eq(examples_open(&x, &spec, false), STATUS_OK, "%s", status_message());
    cr_expect_eq(examples_outputs(x), 4);
    cr_expect_eq(examples_row(x, 5, NULL, NULL, NULL), STATUS_INPUT);
    cr_expect_str_eq(status_message(), "moons:5-9: row 5 asked for, a row below 5 expected");
    status_clear();
    examples_close(&x);
}
