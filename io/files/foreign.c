#include "io/files/foreign.h"

#include "base/utf8.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD = 512 };

/* The beginning of a regular file, as text. */
static void read_head(char head[HEAD + 1], const char *path)
{
    struct stat info;
    ssize_t n = 0;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) n = read(fd, head, HEAD);
    if (fd >= 0) close(fd);
    head[n > 0 ? n : 0] = '\0';
}

static bool begins(const char *text, const char *with)
{
    return strncasecmp(text, with, strlen(with)) == 0;
}

status foreign_refuse(const char *path)
{
    char head[HEAD + 1];
    read_head(head, path);
    if (begins(head, "version https://git-lfs.github.com/"))
        return fail(STATUS_INPUT,
                    "%s: a Git LFS pointer found, the file that it stands for expected: `git lfs "
                    "pull` fetches it",
                    path);
    const char *text = head + utf8_mark(head, strlen(head));
    while (isspace((unsigned char)*text)) text++;
    if (begins(text, "<!doctype html") || begins(text, "<html"))
        return fail(STATUS_INPUT,
                    "%s: an HTML page found, as a server sends it in place of a file that needs a "
                    "login or is not there; the file itself expected",
                    path);
    return STATUS_OK;
}
