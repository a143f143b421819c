/* Whether tokens that meet mean the same. Files that are the same need not be understood. */
#include "io/files/file.h"
#include "io/tokens/tokenizer_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 };

/* The same bytes, or absent from both. */
static bool same_file(const char *a, const char *b, const char *name)
{
    char path[PATH_SIZE], *x = NULL, *y = NULL;
    size_t size = 0, other = 0;
    snprintf(path, sizeof path, "%.3800s/%s", a, name);
    bool there = access(path, F_OK) == 0;
    if (there) file_read_text(&x, &size, path, TOKENIZER_FILE);
    snprintf(path, sizeof path, "%.3800s/%s", b, name);
    bool too = access(path, F_OK) == 0;
    if (too) file_read_text(&y, &other, path, TOKENIZER_FILE);
    bool same = (!there && !too) || (x && y && size == other && memcmp(x, y, size) == 0);
    free(x);
    free(y);
    status_clear();
    return same;
}

static bool same_files(const char *a, const char *b)
{
    const tokenizer_form *form = tokenizer_find(a);
    if (!form || form != tokenizer_find(b)) return false;
    bool same = same_file(a, b, form->first) && (!form->second || same_file(a, b, form->second));
    for (size_t i = 0; same && i < TOKENIZER_OTHERS; i++)
        same = same_file(a, b, tokenizer_others[i]);
    return same;
}

static bool is_known(const tokens_meaning *m)
{
    return m->bytes || (m->directory && tokenizer_exists(m->directory));
}

/* What a tokenizer gives, 0 for bytes that are tokens. */
static status read_digest(uint64_t *digest, size_t *count, const tokens_meaning *m)
{
    tokenizer *t = NULL;
    *digest = 0;
    *count = BYTES;
    if (m->bytes) return STATUS_OK;
    status result = tokenizer_open(&t, m->directory);
    if (result) return result;
    *count = tokenizer_count(t);
    *digest = tokenizer_is_bytes(t) ? 0 : tokenizer_digest(t);
    tokenizer_close(&t);
    return STATUS_OK;
}

static const char *place_of(const tokens_meaning *m)
{
    return m->bytes ? "bytes" : m->directory;
}

status tokenizer_compare(const tokens_meaning *a, const tokens_meaning *b)
{
    uint64_t x = 0, y = 0;
    size_t many = 0, others = 0;
    if (!is_known(a) || !is_known(b)) return STATUS_OK;
    if (!a->bytes && !b->bytes && same_files(a->directory, b->directory)) return STATUS_OK;
    status result = read_digest(&x, &many, a);
    if (!result) result = read_digest(&y, &others, b);
    if (result) {
        char why[STATUS_MESSAGE_SIZE];
        snprintf(why, sizeof why, "%s", status_message());
        status_clear();
        return fail(result, "%.150s's tokenizer cannot be compared with that of %.150s: %.600s",
                    a->of, b->of, why);
    }
    if (x == y) return STATUS_OK;
    return fail(STATUS_INPUT,
                "%.200s's tokenizer is another than that of %.200s (%.200s: %zu tokens; %.200s: "
                "%zu), the same expected",
                a->of, b->of, place_of(a), many, place_of(b), others);
}

status tokenizer_compare_runs(const char *const *runs, size_t count)
{
    char first_directory[PATH_SIZE], directory[PATH_SIZE];
    tokens_meaning first = {0};
    status result = STATUS_OK;
    for (size_t i = 0; !result && i < count; i++) {
        char *found = first.of ? directory : first_directory;
        if (!runs[i] || !tokenizer_of_run(found, PATH_SIZE, runs[i])) continue;
        const tokens_meaning here = {.of = runs[i], .directory = found};
        if (first.of)
            result = tokenizer_compare(&here, &first);
        else
            first = here;
    }
    return result;
}
