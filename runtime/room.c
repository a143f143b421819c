#include "runtime/room.h"

#include "runtime/agree.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

/* What the kernel would give without swapping. */
static double free_bytes(void)
{
    double kilobytes = INFINITY;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %lf kB", &kilobytes) == 1) break;
    if (file) fclose(file);
    return 1024.0 * kilobytes;
}

/* Of all ranks of this node together. */
static double on_node(MPI_Comm world, double bytes, int *ranks)
{
    MPI_Comm node;
    MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    MPI_Comm_size(node, ranks);
    MPI_Allreduce(MPI_IN_PLACE, &bytes, 1, MPI_DOUBLE, MPI_SUM, node);
    MPI_Comm_free(&node);
    return bytes;
}

status room_check(MPI_Comm world, double bytes, const char *format, ...)
{
    int ranks;
    double wanted = on_node(world, bytes, &ranks), there = free_bytes();
    char host[256] = "this host", what[512];
    va_list arguments;
    if (wanted <= there) return agree(world, STATUS_OK);
    gethostname(host, sizeof host - 1);
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return agree(world,
                 fail(STATUS_NOMEM, "%s; the ranks on %s (%d) need %.4g GB, and %.4g GB are free",
                      what, host, ranks, 1e-9 * wanted, 1e-9 * there));
}
