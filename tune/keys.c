/* A range is LOW:HIGH:log|linear of a number or a count; everything else is a list. */
#include "tune/keys.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static status refuse(const char *text, const char *sentence)
{
    return fail(STATUS_INPUT, "vario tune: --key %.200s: %s", text, sentence);
}

/* What may change when a run goes on makes no other model, or one that cannot be compared. */
static status check_row(const schema_row *row, const char *text)
{
    if (strcmp(row->key, "seed") == 0) return refuse(text, "--seeds 1,2,3 expected for seeds");
    if (strcmp(row->key, "optimizer.kind") == 0)
        return refuse(text, "--optimizers evon,adamw expected for optimizers");
    if (strcmp(row->key, "model.preset") == 0)
        return refuse(text, "model.n_layer, model.n_head or model.n_embd expected for sizes");
    if (row->may_change || strcmp(row->key, "data.valid") == 0)
        return refuse(text, "a key expected that changes what is trained, and not how runs are "
                            "compared, stored or placed");
    return STATUS_OK;
}

static bool parse_bound(tune_bound *bound, const char *text, size_t length)
{
    char word[TUNE_TEXT], *end;
    bound->relative = length > 0 && text[0] == 'x';
    if (bound->relative) text++, length--;
    if (length == 0 || length >= sizeof word) return false;
    memcpy(word, text, length);
    word[length] = '\0';
    if (strspn(word, "0123456789+-.eE") != length) return false;
    bound->value = strtod(word, &end);
    return *end == '\0' && isfinite(bound->value);
}

static status parse_range(tune_key *k, const char *value, const char *text)
{
    const char *first = strchr(value, ':'), *second = strchr(first + 1, ':');
    bool log = second && strcmp(second, ":log") == 0;
    if ((!log && (!second || strcmp(second, ":linear") != 0)) ||
        !parse_bound(&k->low, value, (size_t)(first - value)) ||
        !parse_bound(&k->high, first + 1, (size_t)(second - first - 1)))
        return refuse(text, "LOW:HIGH:log or LOW:HIGH:linear expected, with numbers");
    k->log = log;
    return STATUS_OK;
}

/* To the next comma that is in no brackets. */
static size_t length_of_value(const char *text)
{
    size_t n = 0;
    for (int depth = 0; text[n] && (depth > 0 || text[n] != ','); n++)
        depth += (text[n] == '[') - (text[n] == ']');
    return n;
}

static status parse_list(tune_key *k, const char *value, const char *text)
{
    for (const char *at = value;; at++) {
        size_t n = length_of_value(at);
        if (n == 0) return refuse(text, "KEY=VALUE,VALUE expected, an empty value found");
        if (n >= TUNE_TEXT) return refuse(text, "values of at most 63 bytes expected");
        if (k->count == TUNE_VALUES) return refuse(text, "at most 64 values expected");
        memcpy(k->values[k->count], at, n);
        k->values[k->count][n] = '\0';
        for (size_t i = 0; i < k->count; i++)
            if (strcmp(k->values[i], k->values[k->count]) == 0)
                return refuse(text, "a value found twice, expected once");
        k->count++;
        at += n;
        if (!*at) return STATUS_OK;
    }
}

status tune_key_parse(tune_key *k, const char *text)
{
    char name[TUNE_TEXT];
    const char *equals = strchr(text, '=');
    *k = (tune_key){0};
    if (!equals || equals == text)
        return refuse(text, "KEY=LOW:HIGH:log, KEY=LOW:HIGH:linear or KEY=VALUE,VALUE expected");
    snprintf(name, sizeof name, "%.*s", (int)(equals - text), text);
    k->row = schema_find(name);
    if (!k->row)
        return fail(STATUS_INPUT,
                    "vario tune: --key: unknown key '%s' found, nearest valid key: '%s'", name,
                    schema_nearest(name));
    status result = check_row(k->row, text);
    if (result) return result;
    bool number = k->row->type == KEY_NUMBER || k->row->type == KEY_COUNT;
    if (number && strchr(equals, ':')) return parse_range(k, equals + 1, text);
    return parse_list(k, equals + 1, text);
}

static double bound_of(const tune_bound *bound, const schema_row *row, const job *j)
{
    char text[JOB_TEXT];
    if (!bound->relative) return bound->value;
    schema_format(row, j, text, sizeof text);
    return bound->value * strtod(text, NULL);
}

status tune_key_range(tune_range *range, const tune_key *k, const job *j)
{
    *range = (tune_range){0};
    if (k->count > 0) return STATUS_OK;
    if ((k->low.relative || k->high.relative) && schema_waits(k->row, j))
        return fail(STATUS_INPUT,
                    "vario tune: --key %s: times what each run derives of it found "
                    "(optimizer.settings: auto), numbers expected",
                    k->row->key);
    *range = (tune_range){bound_of(&k->low, k->row, j), bound_of(&k->high, k->row, j)};
    const char *key = k->row->key;
    if (!(range->low < range->high) || !isfinite(range->high))
        return fail(STATUS_INPUT,
                    "vario tune: --key %s: from %g to %g found, LOW below HIGH expected", key,
                    range->low, range->high);
    if (k->log && !(range->low > 0.0))
        return fail(STATUS_INPUT,
                    "vario tune: --key %s: from %g to %g on a logarithmic scale found, LOW above 0 "
                    "expected",
                    key, range->low, range->high);
    return STATUS_OK;
}

void tune_key_value(char text[TUNE_TEXT], const tune_key *k, const tune_range *range, double at)
{
    if (k->count > 0) {
        size_t i = (size_t)(at * (double)k->count);
        memcpy(text, k->values[i < k->count ? i : k->count - 1], TUNE_TEXT);
        return;
    }
    double low = range->low, high = range->high;
    double value = k->log ? low * exp(at * log(high / low)) : low + at * (high - low);
    char digits[TUNE_TEXT];
    snprintf(digits, sizeof digits, "%.4g", value);
    if (at > 0.0 && at < 1.0) value = strtod(digits, NULL);
    if (at <= 0.0) value = low;
    if (at >= 1.0) value = high;
    if (k->row->type == KEY_COUNT)
        snprintf(text, TUNE_TEXT, "%.0f", round(value));
    else
        number_print(value, text, TUNE_TEXT);
}
