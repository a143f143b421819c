/* The program `vario` as a server, for tests that would start it hundreds of times: starting
 * processes and MPI takes ten times as long as what most of them ask for. MPI is started once, and
 * every command runs the program's own main, from its arguments to its exit code, on all ranks.
 *   served DIRECTORY: rank r reads commands from DIRECTORY/to.r, strings that end in a NUL: working
 *   directory, files for stdout and stderr, arguments, and "\4". Rank 0 answers in DIRECTORY/from
 *   with the exit code, 99 where ranks have different ones. A command without arguments ends it.
 * Its processes are in DIRECTORY/pid.r. It shows less than a launch in this: not how a process
 * ends, and not what MPI does in between. */
#include <fcntl.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ARGUMENTS = 512, DIFFERENT = 99 };

int vario_main(int argc, char **argv);

/* The program's calls of these come here, as MPI lets a tool do it. */
int MPI_Init_thread(int *argc, char ***argv, int required, int *provided)
{
    int begun;
    MPI_Initialized(&begun);
    if (!begun) return PMPI_Init_thread(argc, argv, required, provided);
    return MPI_Query_thread(provided);
}

int MPI_Finalize(void)
{
    return MPI_SUCCESS;
}

static void need(int well, const char *what)
{
    if (well) return;
    perror(what);
    exit(98);
}

/* Strings up to "\4"; 0 at the end. */
static int read_command(FILE *in, char **words)
{
    int count = 0;
    size_t size;
    for (; count < ARGUMENTS; count++) {
        words[count] = NULL;
        size = 0;
        if (getdelim(&words[count], &size, '\0', in) < 0) return 0;
        if (strcmp(words[count], "\4") == 0) break;
    }
    need(count < ARGUMENTS, "too many words");
    free(words[count]);
    words[count] = NULL;
    return count;
}

static void lead(int to, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0666);
    need(fd >= 0 && dup2(fd, to) == to, path);
    close(fd);
}

static int run(char **words, int count)
{
    need(chdir(words[0]) == 0, words[0]);
    lead(STDOUT_FILENO, words[1]);
    lead(STDERR_FILENO, words[2]);
    words[2] = "vario";
    int code = vario_main(count - 2, words + 2);
    fflush(stdout);
    fflush(stderr);
    lead(STDOUT_FILENO, "/dev/null");
    lead(STDERR_FILENO, "/dev/null");
    return code;
}

static int agreed(int code)
{
    int low = code, high = code;
    MPI_Allreduce(&code, &low, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    MPI_Allreduce(&code, &high, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    return low == high ? code : DIFFERENT;
}

int main(int argc, char **argv)
{
    char path[4096], *words[ARGUMENTS + 1], *first;
    int provided, rank, count;
    need(argc == 2, "served DIRECTORY");
    MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    snprintf(path, sizeof path, "%s/to.%d", argv[1], rank);
    FILE *in = fopen(path, "r");
    need(in != NULL, path);
    snprintf(path, sizeof path, "%s/from", argv[1]);
    FILE *out = rank == 0 ? fopen(path, "w") : NULL;
    need(rank > 0 || out, path);
    snprintf(path, sizeof path, "%s/pid.%d", argv[1], rank);
    FILE *pid = fopen(path, "w");
    need(pid && fprintf(pid, "%d\n", (int)getpid()) > 0 && fclose(pid) == 0, path);
    while ((count = read_command(in, words)) > 0) {
        first = words[2];
        int code = agreed(run(words, count));
        if (out) fprintf(out, "%d\n", code);
        if (out) fflush(out);
        words[2] = first;
        while (count > 0) free(words[--count]);
    }
    return PMPI_Finalize();
}
