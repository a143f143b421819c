/* Files grow in a directory below the one they are for, which other things may be in: a clone of a
 * repository of models, with its README. */
#include "io/weights/export.h"

#include "io/checkpoints/checkpoint.h"
#include "io/checkpoints/safetensors.h"
#include "io/files/data_file.h"
#include "io/files/file.h"
#include "io/files/json_text.h"
#include "io/tokens/tokenizer.h"
#include "io/weights/config_json.h"
#include "runtime/agree.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 };

static const saved_array arrays[EXPORT_FILES] = {
    [EXPORT_MEAN] = {.file = "model.safetensors"},
    [EXPORT_DEVIATION] = {.file = "posterior.safetensors"},
};

struct export_sink {
    MPI_Comm comm;
    int rank;
    char directory[PATH_SIZE], temporary[PATH_SIZE];
    bool made, force; /* the directory, by us; files in the way are replaced */
    gpt2_config config;
    parameters p;
    size_t file_count; /* 1 without a posterior */
    safetensors_header header;
    int descriptors[EXPORT_FILES]; /* -1: not open */
};

static void join(char path[PATH_SIZE], const char *directory, const char *name)
{
    snprintf(path, PATH_SIZE, "%.3800s/%.200s", directory, name);
}

static status refuse_existing(const export_sink *e, const char *name)
{
    char path[PATH_SIZE];
    join(path, e->directory, name);
    if (e->force || access(path, F_OK) != 0) return STATUS_OK;
    return fail(STATUS_INPUT, "%s: found, a new file expected (--force replaces it)", path);
}

/* Before the work; of a tokenizer's files put_in_place learns when they are there. */
static status refuse_model(const export_sink *e)
{
    static const char *const names[] = {"model.safetensors", "posterior.safetensors",
                                        "config.json"};
    status result = STATUS_OK;
    for (size_t i = 0; !result && i < sizeof names / sizeof *names; i++)
        result = refuse_existing(e, names[i]);
    return result;
}

static status as_status(const export_sink *e, const char *verb, size_t file, int error)
{
    char path[PATH_SIZE], text[STATUS_MESSAGE_SIZE];
    if (!error) return STATUS_OK;
    join(path, e->directory, arrays[file].file);
    data_file_explain(text, sizeof text, verb, path, e->directory, error);
    return fail(STATUS_IO, "%s", text);
}

static status write_at(export_sink *e, size_t file, uint64_t offset, const void *data, size_t bytes)
{
    return as_status(e, "write", file, data_file_write(e->descriptors[file], offset, data, bytes));
}

/* Rank 0, before others open them: in their full length, but for headers empty. */
static status make_files(export_sink *e)
{
    status result = STATUS_OK;
    for (size_t i = 0; !result && i < e->file_count; i++) {
        char path[PATH_SIZE];
        uint64_t bytes = safetensors_offset(&e->header, &e->p, arrays, 0, 1, 0);
        join(path, e->temporary, arrays[i].file);
        result = as_status(e, "create", i, data_file_create(&e->descriptors[i], path, bytes));
        if (!result) result = write_at(e, i, 0, e->header.bytes, e->header.size);
    }
    return result;
}

/* Rank 0. */
static status make_directories(export_sink *e)
{
    e->made = access(e->directory, F_OK) != 0;
    status result = file_make_directories(e->directory);
    if (!result) result = refuse_model(e);
    if (!result) result = file_remove_tree(e->temporary);
    if (result) return result;
    if (mkdir(e->temporary, 0777) == 0) return make_files(e);
    return fail(STATUS_IO, "create %s: %s", e->temporary, strerror(errno));
}

static status open_files(export_sink *e)
{
    status result = STATUS_OK;
    for (size_t i = 0; !result && i < e->file_count && e->rank != 0; i++) {
        char path[PATH_SIZE];
        join(path, e->temporary, arrays[i].file);
        result = as_status(e, "open", i, data_file_join(&e->descriptors[i], path));
    }
    return result;
}

static status export_open_local(export_sink *e)
{
    gpt2_config biased = e->config;
    biased.bias = true;
    status result = gpt2_parameters(&e->p, &biased);
    if (!result) result = safetensors_make(&e->header, &e->p, arrays, 0, 1);
    if (!result && e->rank == 0) result = make_directories(e);
    result = agree(e->comm, result);
    return result ? result : agree(e->comm, open_files(e));
}

status export_open(export_sink **out, MPI_Comm comm, const char *directory,
                   const gpt2_config *config, bool posterior, bool force)
{
    *out = NULL;
    export_sink *e = calloc(1, sizeof *e);
    status result = agree(comm, e ? STATUS_OK : fail(STATUS_NOMEM, "memory for an export"));
    if (result) {
        free(e);
        return result;
    }
    e->comm = comm;
    e->config = *config;
    e->force = force;
    e->file_count = posterior ? EXPORT_FILES : 1;
    for (size_t i = 0; i < EXPORT_FILES; i++) e->descriptors[i] = -1;
    MPI_Comm_rank(comm, &e->rank);
    snprintf(e->directory, sizeof e->directory, "%s", directory);
    join(e->temporary, directory, ".exporting");
    result = export_open_local(e);
    if (result) export_abandon(&e);
    *out = e;
    return result;
}

const parameters *export_parameters(const export_sink *e)
{
    return &e->p;
}

status export_write(export_sink *e, export_file file, const slice *part, const float *values)
{
    uint64_t index = e->p.tensors[part->tensor].index + part->first;
    return write_at(e, file, safetensors_offset(&e->header, &e->p, arrays, 0, 0, index), values,
                    part->count * sizeof *values);
}

static status settle(export_sink *e)
{
    status result = STATUS_OK;
    for (size_t i = 0; i < e->file_count; i++) {
        status here = as_status(e, "write", i, data_file_close(&e->descriptors[i], true));
        if (!result) result = here;
    }
    return agree(e->comm, result);
}

/* @param text  is freed */
static status write_text(const export_sink *e, const char *name, char *text)
{
    char path[PATH_SIZE];
    join(path, e->temporary, name);
    status result = text ? file_write_atomic(path, text, strlen(text))
                         : fail(STATUS_NOMEM, "memory to write %s", path);
    free(text);
    return result;
}

static status write_json(const export_sink *e)
{
    status result = write_text(e, "config.json", config_json_make(&e->config));
    return result
               ? result
               : write_text(e, "generation_config.json", config_json_make_generation(&e->config));
}

/* Without a posterior an older one would be that of other weights. */
static status remove_older(const export_sink *e)
{
    char path[PATH_SIZE];
    join(path, e->directory, arrays[EXPORT_DEVIATION].file);
    return e->file_count == EXPORT_FILES ? STATUS_OK : file_remove_tree(path);
}

static int is_file(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static status put_in_place(const export_sink *e)
{
    struct dirent **entries;
    int n = scandir(e->temporary, &entries, is_file, alphasort);
    status result =
        n < 0 ? fail(STATUS_IO, "read %s: %s", e->temporary, strerror(errno)) : STATUS_OK;
    for (int i = 0; !result && i < n; i++) result = refuse_existing(e, entries[i]->d_name);
    if (!result) result = remove_older(e);
    for (int i = 0; i < n; i++) {
        char from[PATH_SIZE], to[PATH_SIZE];
        join(from, e->temporary, entries[i]->d_name);
        join(to, e->directory, entries[i]->d_name);
        if (!result && rename(from, to) != 0)
            result = fail(STATUS_IO, "rename %s: %s", from, strerror(errno));
        free(entries[i]);
    }
    if (n >= 0) free(entries);
    return result ? result : file_sync_directory(e->directory);
}

/* What prepare says of token files. */
static bool has_bytes(const char *directory)
{
    char path[PATH_SIZE];
    join(path, directory, "meta.json");
    json_t *meta;
    if (json_text_read(&meta, path, 0)) status_clear();
    const char *kind = json_string_value(json_object_get(meta, "tokenizer"));
    bool found = kind && strcmp(kind, "bytes") == 0;
    json_decref(meta);
    return found;
}

static status write_tokenizer(const export_sink *e, const char *const *directories, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (tokenizer_exists(directories[i])) return tokenizer_copy(directories[i], e->temporary);
    for (size_t i = 0; i < count; i++)
        if (has_bytes(directories[i])) return tokenizer_write_bytes(e->temporary);
    return STATUS_OK;
}

/* Rank 0. */
static status publish(const export_sink *e, const char *const *tokenizers, size_t count)
{
    status result = write_json(e);
    if (!result) result = write_tokenizer(e, tokenizers, count);
    if (!result) result = file_sync_directory(e->temporary);
    return result ? result : put_in_place(e);
}

status export_finish(export_sink **out, const char *const *tokenizers, size_t count)
{
    export_sink *e = *out;
    status result = settle(e);
    if (!result) result = agree(e->comm, e->rank == 0 ? publish(e, tokenizers, count) : STATUS_OK);
    if (!result) e->made = false;
    export_abandon(out);
    return result;
}

/* All ranks have closed their files before rank 0 removes them. */
void export_abandon(export_sink **out)
{
    export_sink *e = *out;
    if (!e) return;
    for (size_t i = 0; i < EXPORT_FILES; i++) data_file_close(&e->descriptors[i], false);
    MPI_Barrier(e->comm);
    if (e->rank == 0) file_remove_tree(e->temporary);
    if (e->made) rmdir(e->directory); /* where nothing else is in it */
    free(e->header.bytes);
    parameters_close(&e->p);
    free(e);
    *out = NULL;
}
