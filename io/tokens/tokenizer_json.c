/* JSON in a tokenizer's files. */
#include "io/files/file.h"
#include "io/files/foreign.h"
#include "io/files/json_text.h"
#include "io/tokens/tokenizer_parts.h"

#include <jansson.h>
#include <stdlib.h>

status tokenizer_load_json(json_t **root, const char *path)
{
    char *text;
    size_t size;
    json_error_t error;
    status result = file_read_text(&text, &size, path, TOKENIZER_FILE);
    if (result) return result;
    *root = json_text_load(text, size, JSON_REJECT_DUPLICATES, &error);
    free(text);
    if (!*root) result = foreign_refuse(path);
    if (!*root && !result)
        return fail(STATUS_INPUT, "%s:%d:%d: JSON expected: %s", path, error.line, error.column,
                    error.text);
    if (result || json_is_object(*root)) return result;
    return fail(STATUS_INPUT, "%s: a JSON object expected", path);
}
