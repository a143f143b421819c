/* POSIX files. */
#include "io/files/file.h"

#include "io/files/data_file.h"
#include "io/files/file_calls.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 };

static status io_failed(const char *what, const char *path)
{
    return fail(STATUS_IO, "%s %s: %s", what, path, strerror(errno));
}

/* What is not the path's fault is no wrong input. */
static status open_failed(const char *path)
{
    bool resource = errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == EIO;
    return fail(resource ? STATUS_IO : STATUS_INPUT, "%s: %s", path, strerror(errno));
}

status file_open(int *fd, uint64_t *bytes, const char *path, const char *what)
{
    struct stat info;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0 && errno != ENXIO) return open_failed(path);
    if (*fd >= 0 && fstat(*fd, &info) == 0 && S_ISREG(info.st_mode)) {
        if (bytes) *bytes = (uint64_t)info.st_size;
        return STATUS_OK;
    }
    if (*fd >= 0) close(*fd);
    *fd = -1;
    return fail(STATUS_INPUT, "%s: %s expected, no regular file found", path, what);
}

static status as_stream(FILE **file, int fd, const char *mode, const char *path)
{
    *file = fdopen(fd, mode);
    if (*file) return STATUS_OK;
    close(fd);
    return fail(STATUS_NOMEM, "memory to open %s", path);
}

status file_open_stream(FILE **file, uint64_t *bytes, const char *path, const char *what)
{
    int fd;
    *file = NULL;
    status result = file_open(&fd, bytes, path, what);
    return result ? result : as_stream(file, fd, "rb", path);
}

static status write_failed(const char *verb, const char *path, const char *where, int error)
{
    char text[STATUS_MESSAGE_SIZE];
    data_file_explain(text, sizeof text, verb, path, where, error);
    return fail(STATUS_IO, "%s", text);
}

status file_create(int *fd, const char *path)
{
    int error = data_file_create(fd, path, 0);
    return error ? write_failed("create", path, path, error) : STATUS_OK;
}

status file_create_stream(FILE **file, const char *path)
{
    int fd;
    *file = NULL;
    status result = file_create(&fd, path);
    return result ? result : as_stream(file, fd, "wb", path);
}

status file_open_append(int *fd, const char *path)
{
    struct stat info;
    *fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666);
    if (*fd < 0) return io_failed("open", path);
    if (fstat(*fd, &info) == 0 && S_ISREG(info.st_mode)) return STATUS_OK;
    close(*fd);
    *fd = -1;
    return fail(STATUS_IO, "open %s: a file to add to expected, no regular file found", path);
}

status file_map(file_mapping *m, const char *path, const char *what)
{
    int fd;
    uint64_t bytes = 0;
    *m = (file_mapping){0};
    status result = file_open(&fd, &bytes, path, what);
    if (result) return result;
    void *data = bytes ? mmap(NULL, (size_t)bytes, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    if (data == MAP_FAILED)
        result = io_failed("map", path);
    else if (!data)
        result = fail(STATUS_INPUT, "%s: %s expected, an empty file found", path, what);
    else
        *m = (file_mapping){data, (size_t)bytes};
    close(fd);
    return result;
}

void file_unmap(file_mapping *m)
{
    if (m->data) munmap((void *)m->data, m->bytes);
    *m = (file_mapping){0};
}

/* A pattern that names this file alone. */
static void escape(char *pattern, const char *path)
{
    for (; *path; path++) {
        if (strchr("*?[]\\", *path)) *pattern++ = '\\';
        *pattern++ = *path;
    }
    *pattern = '\0';
}

status file_find(glob_t *found, const char *pattern, const char *what)
{
    char exact[2 * PATH_SIZE];
    bool is_file = strlen(pattern) < PATH_SIZE && access(pattern, F_OK) == 0;
    if (is_file) escape(exact, pattern);
    switch (glob(is_file ? exact : pattern, GLOB_ERR, NULL, found)) {
    case 0: return STATUS_OK;
    case GLOB_NOSPACE: return fail(STATUS_NOMEM, "memory to list %s", pattern);
    case GLOB_ABORTED:
        return fail(STATUS_INPUT, "%s: a directory of the pattern cannot be read: %s", pattern,
                    strerror(errno));
    default:
        return fail(STATUS_INPUT, "%s: %s expected, no file of this name found", pattern, what);
    }
}

bool file_same(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static bool names_variable(const char *at)
{
    return *at == '$' && (isalpha((unsigned char)at[1]) || at[1] == '_' || at[1] == '{');
}

bool file_wants_shell(const char *path)
{
    if (strncmp(path, "./", 2) == 0) return false;
    for (const char *c = path; *c; c++) {
        bool begins = c == path || c[-1] == ':' || c[-1] == ',';
        if ((begins && *c == '~') || names_variable(c)) return true;
    }
    return false;
}

bool file_resolve(char *found, size_t size, const char *path)
{
    char there[PATH_SIZE], rest[PATH_SIZE] = "", longer[PATH_SIZE + 1], *whole;
    if (strlen(path) >= sizeof there) return false;
    strcpy(there, path);
    while (!(whole = realpath(*there ? there : ".", NULL))) {
        if (!*there) return false;
        char *slash = strrchr(there, '/'), *name = slash ? slash + 1 : there;
        snprintf(longer, sizeof longer, "%s%s%s", name, *name && *rest ? "/" : "", rest);
        memcpy(rest, longer, sizeof rest);
        *(slash == there && slash[1] ? slash + 1 : slash ? slash : there) = '\0';
    }
    bool root = strcmp(whole, "/") == 0;
    int n = snprintf(found, size, "%s%s%s", root ? "" : whole, *rest ? "/" : "", rest);
    free(whole);
    return n >= 0 && (size_t)n < size;
}

bool file_inside(char *rest, size_t size, const char *path, const char *directory)
{
    char inner[PATH_SIZE], outer[PATH_SIZE];
    if (!file_resolve(inner, sizeof inner, path) || !file_resolve(outer, sizeof outer, directory))
        return false;
    size_t length = strlen(outer);
    if (strncmp(inner, outer, length) != 0 || (inner[length] && inner[length] != '/')) return false;
    if (rest) snprintf(rest, size, "%s", inner + length + (inner[length] == '/'));
    return true;
}

status file_sync_directory(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return io_failed("open", path);
    /* Some file systems cannot sync a directory and say EINVAL. */
    status result = fsync(fd) != 0 && errno != EINVAL ? io_failed("fsync", path) : STATUS_OK;
    close(fd);
    return result;
}

static status sync_parent(const char *path)
{
    char parent[PATH_SIZE];
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (!slash) return file_sync_directory(".");
    *slash = '\0';
    return file_sync_directory(*parent ? parent : "/");
}

static status write_synced(const char *path, const char *text, size_t size)
{
    int fd;
    status result = file_create(&fd, path);
    if (result) return result;
    int error = data_file_write(fd, 0, text, size), closed = data_file_close(&fd, !error);
    if (!error) error = closed;
    return error ? write_failed("write", path, path, error) : STATUS_OK;
}

status file_write_atomic(const char *path, const char *text, size_t size)
{
    char temporary[PATH_SIZE];
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    status result = write_synced(temporary, text, size);
    if (!result && rename(temporary, path) != 0) result = io_failed("rename", temporary);
    if (result) {
        unlink(temporary);
        return result;
    }
    return sync_parent(path);
}

static bool is_torn(int fd, off_t size)
{
    char last = '\n';
    return size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n';
}

static status append_line(int fd, const char *path, const char *line, size_t size)
{
    struct stat before;
    if (fstat(fd, &before) != 0) return io_failed("stat", path);
    char end = '\n';
    size_t torn = is_torn(fd, before.st_size);
    struct iovec parts[] = {{&end, torn}, {(void *)line, size}, {&end, 1}};
    ssize_t n;
    do n = writev(fd, parts, 3);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)(torn + size + 1)) return STATUS_OK;
    if (n < 0) return io_failed("write", path);
    (void)!ftruncate(fd, before.st_size);
    return fail(STATUS_IO, "write %s: %zu bytes expected, %zd written", path, torn + size + 1, n);
}

status file_append_line(const char *path, const char *line, size_t size)
{
    int fd;
    status result = file_open_append(&fd, path);
    if (result) return result;
    result = append_line(fd, path, line, size);
    if (close(fd) != 0 && !result) result = io_failed("close", path);
    return result;
}

status file_print_atomic(const char *path, void (*print)(FILE *out, const void *context),
                         const void *context)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out) print(out, context);
    status result = out && fclose(out) == 0 ? file_write_atomic(path, text, size)
                                            : fail(STATUS_NOMEM, "memory to write %s", path);
    free(text);
    return result;
}

static status read_text(char **text, size_t size, const char *path, FILE *file)
{
    *text = malloc(size + 1);
    if (!*text) return fail(STATUS_NOMEM, "memory to read %s", path);
    size_t found = fread(*text, 1, size, file);
    (*text)[found] = '\0';
    if (found == size) return STATUS_OK;
    free(*text);
    *text = NULL;
    if (ferror(file)) return io_failed("read", path);
    return fail(STATUS_IO, "read %s: %zu bytes expected, %zu found", path, size, found);
}

status file_read_text(char **text, size_t *size, const char *path, size_t limit)
{
    FILE *file;
    uint64_t bytes = 0;
    *text = NULL;
    *size = 0;
    status result = file_open_stream(&file, &bytes, path, "a file of text");
    if (result) return result;
    if (bytes > limit)
        result = fail(STATUS_INPUT, "%s: %" PRIu64 " bytes found, at most %zu expected", path,
                      bytes, limit);
    if (!result) result = read_text(text, (size_t)bytes, path, file);
    if (!result) *size = (size_t)bytes;
    fclose(file);
    return result;
}

status file_blame(int error)
{
    bool resource = error == ENOSPC || error == EDQUOT || error == EIO;
    return resource ? STATUS_IO : STATUS_INPUT;
}

static status remove_entries(const char *path, DIR *directory)
{
    status result = STATUS_OK;
    for (struct dirent *e = readdir(directory); e && !result; e = readdir(directory)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        char child[PATH_SIZE];
        snprintf(child, sizeof child, "%s/%s", path, e->d_name);
        result = file_remove_tree(child);
    }
    return result;
}

status file_remove_tree(const char *path)
{
    struct stat info;
    if (lstat(path, &info) != 0) return errno == ENOENT ? STATUS_OK : io_failed("stat", path);
    if (!S_ISDIR(info.st_mode))
        return unlink(path) == 0 || errno == ENOENT ? STATUS_OK : io_failed("remove", path);
    DIR *directory = opendir(path);
    if (!directory) return io_failed("open", path);
    status result = remove_entries(path, directory);
    closedir(directory);
    if (!result && rmdir(path) != 0 && errno != ENOENT) result = io_failed("remove", path);
    return result;
}

status file_make_directories(const char *path)
{
    char part[PATH_SIZE];
    for (size_t i = 1; i <= strlen(path) && i < sizeof part; i++) {
        if (path[i] != '/' && path[i] != '\0') continue;
        snprintf(part, sizeof part, "%.*s", (int)i, path);
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return fail(file_blame(errno), "%s: cannot make the directory %s: %s", path, part,
                        strerror(errno));
    }
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return fail(STATUS_INPUT, "%s: a directory expected, something else found", path);
    return STATUS_OK;
}
