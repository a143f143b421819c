/* Digits and letters of the font under random transformations.
 *
 * The dots of a character, each spread by a quadratic B-spline, are a smooth field of ink; an image
 * is that field behind an affine map, cut at a level (the lower, the thicker), with a contrast and
 * noise. Everything is made of sums, products, quotients and comparisons, which IEEE 754 rounds
 * the same everywhere: the rotation goes by the tangent of half the angle. */
#include "io/examples/examples_kinds.h"
#include "io/examples/glyph_font.h"

enum { SIDE = 28, PIXELS = SIDE * SIDE };
/* Empty dots around a character, so that a sample beside it finds no ink. */
enum { MARGIN = 3, FIELD_WIDTH = FONT_WIDTH + 2 * MARGIN, FIELD_HEIGHT = FONT_HEIGHT + 2 * MARGIN };
/* Elements of an example: one word a choice, and a normal a pixel from NOISE_FIRST. */
enum {
    WORD_CLASS,
    WORD_STYLE,
    WORD_ROTATION,
    WORD_SHEAR,
    WORD_WIDTH,
    WORD_HEIGHT,
    WORD_X,
    WORD_Y,
    WORD_LEVEL,
    WORD_SHARPNESS,
    WORD_CONTRAST,
    WORD_NOISE,
    WORDS,
    NOISE_FIRST = 256
};

typedef struct {
    float cosine, sine, shear;
    float across, down; /* dots a pixel */
    float x, y;         /* where the centre goes, in pixels from the image's */
    float level, sharpness, contrast, noise;
} drawing;

static float between(float low, float high, uint32_t word)
{
    return low + (high - low) * draw_unit(word);
}

static drawing choose_drawing(const uint32_t *words)
{
    float t = between(-0.15F, 0.15F, words[WORD_ROTATION]);
    return (drawing){
        .cosine = (1.0F - t * t) / (1.0F + t * t),
        .sine = 2.0F * t / (1.0F + t * t),
        .shear = between(-0.2F, 0.2F, words[WORD_SHEAR]),
        .across = 1.0F / between(1.7F, 2.5F, words[WORD_WIDTH]),
        .down = 1.0F / between(1.8F, 2.4F, words[WORD_HEIGHT]),
        .x = between(-2.0F, 2.0F, words[WORD_X]),
        .y = between(-2.0F, 2.0F, words[WORD_Y]),
        .level = between(0.2F, 0.45F, words[WORD_LEVEL]),
        .sharpness = between(2.0F, 5.0F, words[WORD_SHARPNESS]),
        .contrast = between(0.6F, 1.0F, words[WORD_CONTRAST]),
        .noise = between(0.05F, 0.15F, words[WORD_NOISE]),
    };
}

static void read_dots(float *field, bool letters, unsigned character, unsigned style)
{
    unsigned first;
    const char *const *rows = font_character(letters, character, style, &first);
    for (size_t i = 0; i < FIELD_WIDTH * FIELD_HEIGHT; i++) field[i] = 0;
    for (size_t r = 0; r < FONT_HEIGHT; r++)
        for (size_t c = 0; c < FONT_WIDTH; c++)
            field[(r + MARGIN) * FIELD_WIDTH + c + MARGIN] = rows[r][first + c] == '#';
}

static inline float clamp(float x, float low, float high)
{
    float above = x > low ? x : low;
    return above < high ? above : high;
}

/* Weights of the dots before, at and after `at`, at distance d from the middle one. */
static inline int spline(float weights[3], float at)
{
    int middle = (int)(at + 0.5F);
    float d = at - (float)middle;
    weights[0] = 0.5F * (0.5F - d) * (0.5F - d);
    weights[1] = 0.75F - d * d;
    weights[2] = 0.5F * (0.5F + d) * (0.5F + d);
    return middle;
}

static inline float ink(const float *field, float column, float row)
{
    float across[3], down[3], sum = 0;
    int c = spline(across, clamp(column, 1, FIELD_WIDTH - 2));
    int r = spline(down, clamp(row, 1, FIELD_HEIGHT - 2));
    for (int i = 0; i < 3; i++) {
        const float *f = field + (r + i - 1) * FIELD_WIDTH + c - 1;
        sum += down[i] * (across[0] * f[0] + across[1] * f[1] + across[2] * f[2]);
    }
    return sum;
}

static void draw_ink(float *image, const float *field, const drawing *d)
{
    const float middle = 0.5F * (SIDE - 1);
    for (int i = 0; i < PIXELS; i++) {
        float x = (float)(i % SIDE) - middle - d->x, y = (float)(i / SIDE) - middle - d->y;
        float along = d->cosine * x + d->sine * y, below = d->cosine * y - d->sine * x;
        float column = 0.5F * (FIELD_WIDTH - 1) + (along - d->shear * below) * d->across;
        float row = 0.5F * (FIELD_HEIGHT - 1) + below * d->down;
        float edge = (ink(field, column, row) - d->level) * d->sharpness;
        image[i] = d->contrast * clamp(0.5F + edge, 0, 1);
    }
}

static void add_noise(float *image, float deviation, noise_key key)
{
    float normals[NOISE_BLOCK];
    for (size_t first = 0; first < PIXELS; first += NOISE_BLOCK) {
        size_t count = PIXELS - first < NOISE_BLOCK ? PIXELS - first : NOISE_BLOCK;
        noise_normals(normals, NULL, key, NOISE_FIRST + first, count);
        for (size_t i = 0; i < count; i++)
            image[first + i] = clamp(image[first + i] + deviation * normals[i], 0, 1);
    }
}

static void draw_character(const examples *x, uint64_t number, bool letters, float *inputs,
                           uint16_t *label)
{
    uint32_t words[WORDS];
    float field[FIELD_WIDTH * FIELD_HEIGHT];
    noise_key key = draw_key(x->seed, letters ? GENERATED_LETTERS : GENERATED_GLYPHS, number);
    noise_uniform_words(words, key, 0, WORDS);
    unsigned character = draw_below(words[WORD_CLASS], letters ? FONT_LETTERS : FONT_DIGITS);
    unsigned styles = letters ? FONT_LETTER_STYLES : FONT_DIGIT_STYLES;
    *label = (uint16_t)character;
    if (!inputs) return;
    drawing d = choose_drawing(words);
    read_dots(field, letters, character, draw_below(words[WORD_STYLE], styles));
    draw_ink(inputs, field, &d);
    add_noise(inputs, d.noise, key);
}

static void digit_row(const examples *x, uint64_t number, float *inputs, uint16_t *label,
                      float *value)
{
    (void)value;
    draw_character(x, number, false, inputs, label);
}

static void letter_row(const examples *x, uint64_t number, float *inputs, uint16_t *label,
                       float *value)
{
    (void)value;
    draw_character(x, number, true, inputs, label);
}

status glyphs_open(examples *x, const char *where)
{
    (void)where;
    x->inputs = PIXELS;
    x->outputs = FONT_DIGITS;
    x->row = digit_row;
    return STATUS_OK;
}

status letters_open(examples *x, const char *where)
{
    (void)where;
    x->inputs = PIXELS;
    x->outputs = FONT_LETTERS;
    x->row = letter_row;
    return STATUS_OK;
}
