/* Jansson knows what to escape. */
#include "io/json_text.h"

#include <jansson.h>
#include <math.h>
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
