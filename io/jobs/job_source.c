#include "io/jobs/job_source.h"

#include <stdarg.h>
#include <string.h>

const job_entry *source_find(const job_source *s, const char *key)
{
    for (size_t i = s->entries->count; i-- > 0;)
        if (strcmp(s->entries->entries[i].key, key) == 0) return &s->entries->entries[i];
    return NULL;
}

const char *source_show(const char *text, char out[104])
{
    size_t n = 0;
    for (; n < 100 && *text; text++) {
        bool tab = *text == '\t' && n <= 95;
        if (tab)
            memcpy(out + n, "<tab>", 5);
        else
            out[n] = *text;
        n += tab ? 5 : 1;
    }
    if (*text) /* not inside a character of UTF-8 */
        for (; n > 0 && ((unsigned char)*text & 0xc0) == 0x80; text--) n--;
    snprintf(out + n, 4, "%s", *text ? "..." : "");
    return out;
}

status source_refuse(const job_source *s, const job_entry *e, const char *format, ...)
{
    char sentence[STATUS_MESSAGE_SIZE], key[104], value[104];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    if (!e) return fail(STATUS_INPUT, "%.500s: %s", s->path, sentence);
    if (e->shape == SHAPE_OVERRIDE)
        return fail(STATUS_INPUT, "--set %s=%s: %s", source_show(e->key, key),
                    source_show(e->value, value), sentence);
    return fail(STATUS_INPUT, "%.500s:%zu:%zu: %s", s->path, e->line, e->column, sentence);
}

status source_override(const job_source *s, const char *const *overrides, size_t count)
{
    char shown[104];
    for (size_t i = 0; i < count; i++) {
        const char *equals = strchr(overrides[i], '=');
        size_t length = equals ? (size_t)(equals - overrides[i]) : 0;
        if (length == 0 || length >= sizeof s->entries->entries[0].key)
            return fail(STATUS_INPUT, "--set %s: found, key=value expected",
                        source_show(overrides[i], shown));
        if (s->entries->count == JOB_ENTRIES)
            return fail(STATUS_INPUT, "--set %s: one override too many found",
                        source_show(overrides[i], shown));
        job_entry *e = &s->entries->entries[s->entries->count++];
        *e = (job_entry){.shape = SHAPE_OVERRIDE, .too_long = strlen(equals + 1) > JOB_TEXT};
        memcpy(e->key, overrides[i], length);
        snprintf(e->value, sizeof e->value, "%s", equals + 1);
    }
    return STATUS_OK;
}
