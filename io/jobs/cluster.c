#include "io/jobs/cluster.h"

#include "base/number.h"
#include "io/jobs/job_source.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const cluster_cost_names[CLUSTER_COSTS] = {"adamw", "ivon", "evon"};

static const number_range positive = {0.0, 1e30, ENDS_OPEN_MIN};
static const number_range seconds = {0.0, 1.0, ENDS_CLOSED};

typedef struct {
    job_source source;
    size_t taken; /* entries that belong */
} reader;

static status refuse_number(const reader *r, const job_entry *e, const number_range *range)
{
    char expected[160], shown[104];
    number_describe_range(range, "a number", expected, sizeof expected);
    return source_refuse(&r->source, e, "'%s' is '%s', %s expected", e->key,
                         source_show(e->value, shown), expected);
}

/* A key's number; one that may be left out is then 0. */
static status take_number(reader *r, const char *key, const number_range *range, bool needed,
                          double *out)
{
    char *end;
    const job_entry *e = source_find(&r->source, key);
    *out = 0.0;
    if (!e && needed) return source_refuse(&r->source, NULL, "'%s' expected, not found", key);
    if (!e) return STATUS_OK;
    r->taken++;
    double value = strtod(e->value, &end);
    bool plain = e->shape == SHAPE_PLAIN && !e->too_long && end != e->value && *end == '\0';
    if (!plain || !number_fits(range, value)) return refuse_number(r, e, range);
    *out = value;
    return STATUS_OK;
}

static status take_link(reader *r, const char *section, bool needed, cluster_link *out)
{
    char key[64];
    const job_entry *e = source_find(&r->source, section);
    *out = (cluster_link){0};
    if (!e && !needed) return STATUS_OK;
    if (e) r->taken++;
    snprintf(key, sizeof key, "%s.latency", section);
    status result = take_number(r, key, &seconds, true, &out->latency);
    snprintf(key, sizeof key, "%s.bandwidth", section);
    return result ? result : take_number(r, key, &positive, true, &out->bandwidth);
}

static status take_costs(reader *r, const char *section, const char *of, double out[CLUSTER_COSTS])
{
    char key[96];
    status result = STATUS_OK;
    for (int k = 0; !result && k < CLUSTER_COSTS; k++) {
        snprintf(key, sizeof key, "%s.%s_%s", section, cluster_cost_names[k], of);
        result = take_number(r, key, &seconds, true, &out[k]);
    }
    return result;
}

/* "bf16_768": false where it is no section of figures. */
static bool names_profile(const char *key, cluster_profile *p)
{
    char type[8], rest;
    if (sscanf(key, "%4[a-z0-9]_%" SCNu64 "%c", type, &p->width, &rest) != 2) return false;
    bool half = strcmp(type, "bf16") == 0;
    p->precision = half ? DTYPE_BF16 : DTYPE_F32;
    return p->width > 0 && (half || strcmp(type, "fp32") == 0);
}

static status take_profile(reader *r, const char *section, cluster_profile *p)
{
    char key[96];
    r->taken++;
    snprintf(key, sizeof key, "%s.blocks", section);
    status result = take_number(r, key, &positive, true, &p->blocks);
    snprintf(key, sizeof key, "%s.head", section);
    if (!result) result = take_number(r, key, &positive, true, &p->head);
    snprintf(key, sizeof key, "%s.sample", section);
    if (!result) result = take_number(r, key, &seconds, true, &p->sample);
    if (!result) result = take_costs(r, section, "item", p->item);
    return result ? result : take_costs(r, section, "step", p->step);
}

static int by_width(const void *a, const void *b)
{
    const cluster_profile *x = a, *y = b;
    if (x->precision != y->precision) return x->precision < y->precision ? -1 : 1;
    return x->width < y->width ? -1 : x->width > y->width;
}

static status take_profiles(reader *r, cluster *out)
{
    status result = STATUS_OK;
    const job_entries *all = r->source.entries;
    for (size_t i = 0; !result && i < all->count; i++) {
        const job_entry *e = &all->entries[i];
        cluster_profile p = {0};
        if (e->shape != SHAPE_MAPPING || !names_profile(e->key, &p)) continue;
        if (out->profile_count == CLUSTER_PROFILES)
            return source_refuse(&r->source, e,
                                 "'%s' found, at most %d sections of figures expected", e->key,
                                 CLUSTER_PROFILES);
        result = take_profile(r, e->key, &p);
        out->profiles[out->profile_count++] = p;
    }
    if (!result && out->profile_count == 0)
        return source_refuse(&r->source, NULL,
                             "sections such as fp32_128 and bf16_768 expected, none found");
    qsort(out->profiles, out->profile_count, sizeof out->profiles[0], by_width);
    return result;
}

static bool is_known(const char *key)
{
    static const char *const plain[] = {"name",
                                        "ranks",
                                        "hour",
                                        "watts",
                                        "inside",
                                        "between",
                                        "inside.latency",
                                        "inside.bandwidth",
                                        "between.latency",
                                        "between.bandwidth"};
    cluster_profile p;
    char section[128];
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        if (strcmp(plain[i], key) == 0) return true;
    snprintf(section, sizeof section, "%s", key);
    char *point = strchr(section, '.');
    if (point) *point = '\0';
    if (!names_profile(section, &p)) return false;
    if (!point) return true;
    for (int k = 0; k < CLUSTER_COSTS; k++) {
        size_t length = strlen(cluster_cost_names[k]);
        if (strncmp(point + 1, cluster_cost_names[k], length) != 0) continue;
        return strcmp(point + 1 + length, "_item") == 0 || strcmp(point + 1 + length, "_step") == 0;
    }
    return strcmp(point + 1, "blocks") == 0 || strcmp(point + 1, "head") == 0 ||
           strcmp(point + 1, "sample") == 0;
}

static status check_known(const reader *r)
{
    const job_entries *all = r->source.entries;
    char shown[104];
    for (size_t i = 0; i < all->count; i++)
        if (!is_known(all->entries[i].key))
            return source_refuse(&r->source, &all->entries[i],
                                 "'%s' found, a key of a cluster file expected (docs/clusters.md)",
                                 source_show(all->entries[i].key, shown));
    return STATUS_OK;
}

static status take_all(reader *r, cluster *out)
{
    static const number_range counts = {1.0, 65536.0, ENDS_CLOSED},
                              free_or_more = {0.0, 1e30, ENDS_CLOSED};
    double ranks = 0.0;
    const job_entry *name = source_find(&r->source, "name"), *e = source_find(&r->source, "ranks");
    status result = check_known(r);
    if (!result) result = take_number(r, "ranks", &counts, true, &ranks);
    if (!result && ranks != floor(ranks))
        return source_refuse(&r->source, e, "'ranks' is '%s', a whole number expected", e->value);
    out->ranks = (uint64_t)ranks;
    if (name) snprintf(out->name, sizeof out->name, "%s", name->value);
    if (!result) result = take_number(r, "hour", &free_or_more, false, &out->hour);
    if (!result) result = take_number(r, "watts", &free_or_more, false, &out->watts);
    if (!result) result = take_link(r, "inside", true, &out->inside);
    if (!result) result = take_link(r, "between", false, &out->between);
    return result ? result : take_profiles(r, out);
}

status cluster_read(cluster *out, const char *path)
{
    *out = (cluster){0};
    job_entries *entries = calloc(1, sizeof *entries);
    if (!entries) return fail(STATUS_NOMEM, "%s: memory for a cluster file", path);
    status result = job_yaml_read(entries, path);
    reader r = {.source = {.path = path, .entries = entries}};
    if (!result) result = take_all(&r, out);
    free(entries);
    return result;
}

static const char *shown(double value, char text[NUMBER_TEXT])
{
    char digits[NUMBER_TEXT];
    snprintf(digits, sizeof digits, "%.3e", value);
    number_print(strtod(digits, NULL), text, NUMBER_TEXT);
    return text;
}

static void write_link(FILE *out, const char *name, const cluster_link *l)
{
    char a[NUMBER_TEXT], b[NUMBER_TEXT];
    if (l->bandwidth > 0.0)
        fprintf(out, "%s: {latency: %s, bandwidth: %s}\n", name, shown(l->latency, a),
                shown(l->bandwidth, b));
}

static void write_profile(FILE *out, const cluster_profile *p)
{
    char a[NUMBER_TEXT], b[NUMBER_TEXT], c[NUMBER_TEXT];
    fprintf(out, "%s_%" PRIu64 ":\n  blocks: %s\n  head: %s\n  sample: %s\n",
            p->precision == DTYPE_BF16 ? "bf16" : "fp32", p->width, shown(p->blocks, a),
            shown(p->head, b), shown(p->sample, c));
    for (int k = 0; k < CLUSTER_COSTS; k++)
        fprintf(out, "  %s_item: %s\n  %s_step: %s\n", cluster_cost_names[k], shown(p->item[k], a),
                cluster_cost_names[k], shown(p->step[k], b));
}

void cluster_write(FILE *out, const cluster *c)
{
    char a[NUMBER_TEXT];
    if (c->name[0]) fprintf(out, "name: \"%s\"\n", c->name);
    fprintf(out, "ranks: %" PRIu64 "\n", c->ranks);
    write_link(out, "inside", &c->inside);
    write_link(out, "between", &c->between);
    if (c->hour > 0.0) fprintf(out, "hour: %s\n", shown(c->hour, a));
    if (c->watts > 0.0) fprintf(out, "watts: %s\n", shown(c->watts, a));
    for (size_t i = 0; i < c->profile_count; i++) write_profile(out, &c->profiles[i]);
}

static double between(double a, double b, double share)
{
    return a + share * (b - a);
}

bool cluster_profile_of(cluster_profile *out, const cluster *c, dtype precision, uint64_t width)
{
    const cluster_profile *low = NULL, *high = NULL;
    for (size_t i = 0; i < c->profile_count; i++) {
        const cluster_profile *p = &c->profiles[i];
        if (p->precision != precision) continue;
        if (p->width <= width || !low) low = p;
        if (!high || high->width < width) high = p;
    }
    if (!low) return false;
    double share = 0.0;
    if (high->width > low->width)
        share = fmin(fmax(log((double)width / (double)low->width) /
                              log((double)high->width / (double)low->width),
                          0.0),
                     1.0);
    *out = *low;
    out->width = width;
    out->blocks = between(low->blocks, high->blocks, share);
    out->head = between(low->head, high->head, share);
    out->sample = between(low->sample, high->sample, share);
    for (int k = 0; k < CLUSTER_COSTS; k++) {
        out->item[k] = between(low->item[k], high->item[k], share);
        out->step[k] = between(low->step[k], high->step[k], share);
    }
    return true;
}
