/* Jansson knows what to escape. */
#include "io/files/json_text.h"

#include "io/tokens/utf8.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

void json_text_put(struct json_t *o, const char *key, double value)
{
    if (!isnan(value)) json_object_set_new(o, key, isinf(value) ? json_null() : json_real(value));
}

void json_text_print(FILE *out, const char *text)
{
    json_t *value = json_string(text);
    char *quoted = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    fputs(quoted ? quoted : "\"\"", out);
    free(quoted);
    json_decref(value);
}

void json_text_print_bytes(FILE *out, const char *bytes, size_t size)
{
    char *text = NULL;
    size_t length = 0;
    FILE *clean = open_memstream(&text, &length);
    for (size_t at = 0; clean && at < size;) {
        const unsigned char *rest = (const unsigned char *)bytes + at;
        size_t good = utf8_valid(rest, size - at);
        for (size_t i = 0; i < good; i++)
            rest[i] ? fputc(rest[i], clean) : fputs("\xef\xbf\xbd", clean);
        at += good;
        if (at == size) break;
        at += utf8_invalid(rest + good, size - at);
        fputs("\xef\xbf\xbd", clean);
    }
    bool made = clean && fclose(clean) == 0;
    json_text_print(out, made ? text : "");
    free(text);
}
