/* Tokens beside the vocabulary, of three files that transformers reads them from. It takes them out
 * of a text before anything is split; here special ones stay text and no others are taken. */
#include "io/files/json_text.h"
#include "io/tokens/tokenizer_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Note a token, or all of a list, as special; the content is what counts. */
static void note_special(json_t *special, json_t *value)
{
    size_t i;
    json_t *one;
    if (json_is_object(value)) value = json_object_get(value, "content");
    if (json_is_string(value)) json_object_set_new(special, json_string_value(value), json_true());
    json_array_foreach(value, i, one) note_special(special, one);
}

/* added_tokens.json: token to id. */
static json_t *list_ids(json_t *root)
{
    json_t *list = json_array(), *id;
    const char *text;
    json_object_foreach(root, text, id)
        json_text_add(&list, json_pack("{ss sO}", "content", text, "id", id));
    return list;
}

/* added_tokens_decoder of tokenizer_config.json: id, as text, to what is known of the token. */
static json_t *list_decoder(json_t *decoder)
{
    json_t *list = json_array(), *token;
    const char *number;
    json_object_foreach(decoder, number, token)
    {
        json_t *copy = json_is_object(token) ? json_copy(token) : json_object();
        char *end;
        long id = strtol(number, &end, 10);
        json_object_set_new(copy, "id", json_integer(*number && !*end ? id : -1));
        json_text_add(&list, copy);
    }
    return list;
}

/* A file of the directory, NULL where it is absent. */
static status load(json_t **root, char path[ADDED_PATH], const char *directory, const char *name)
{
    *root = NULL;
    snprintf(path, ADDED_PATH, "%.3800s/%s", directory, name);
    return access(path, F_OK) == 0 ? json_text_read_object(root, path, JSON_REJECT_DUPLICATES)
                                   : STATUS_OK;
}

static status read_lists(added_tokens all[ADDED_FILES], json_t *special, const char *directory)
{
    json_t *root;
    char path[ADDED_PATH];
    status result = load(&root, all[0].path, directory, "tokenizer.json");
    all[0].key = "added_tokens, ";
    all[0].tokens = json_incref(json_object_get(root, "added_tokens"));
    json_decref(root);
    if (result || (result = load(&root, all[1].path, directory, "tokenizer_config.json")))
        return result;
    all[1].key = "added_tokens_decoder, ";
    all[1].tokens = list_decoder(json_object_get(root, "added_tokens_decoder"));
    json_decref(root);
    if ((result = load(&root, all[2].path, directory, "added_tokens.json"))) return result;
    all[2].key = "";
    all[2].tokens = list_ids(root);
    json_decref(root);
    if ((result = load(&root, path, directory, "special_tokens_map.json"))) return result;
    const char *role;
    json_t *value;
    json_object_foreach(root, role, value) note_special(special, value);
    json_decref(root);
    return all[1].tokens && all[2].tokens ? STATUS_OK
                                          : fail(STATUS_NOMEM, "memory for added tokens");
}

/* A token is special when one of the files says so; added_tokens.json has no word for it. */
static void mark_special(added_tokens all[ADDED_FILES], json_t *special)
{
    size_t i;
    json_t *token;
    json_object_set_new(special, "<|endoftext|>", json_true());
    for (int f = 0; f < 2; f++)
        json_array_foreach(all[f].tokens, i,
                           token) if (!json_is_false(json_object_get(token, "special")))
            note_special(special, token);
    for (int f = 0; f < ADDED_FILES; f++) json_array_foreach(all[f].tokens, i, token)
        {
            const char *text = json_string_value(json_object_get(token, "content"));
            bool found = text && json_object_get(special, text);
            json_object_set_new(token, "special", json_boolean(found));
        }
}

status added_tokens_read(added_tokens all[ADDED_FILES], const char *directory)
{
    json_t *special = json_object();
    memset(all, 0, ADDED_FILES * sizeof *all);
    status result = special ? read_lists(all, special, directory)
                            : fail(STATUS_NOMEM, "memory for added tokens");
    if (!result) mark_special(all, special);
    json_decref(special);
    return result;
}

void added_tokens_close(added_tokens all[ADDED_FILES])
{
    for (int f = 0; f < ADDED_FILES; f++) json_decref(all[f].tokens);
}
