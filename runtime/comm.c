/* The only place, beside io/, where MPI_COMM_WORLD is named. Messages are bytes: MPI has no bf16.
 */
#include "runtime/comm.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#endif

const char *const bytes_names[BYTES_KINDS] = {"weights", "gradients", "parameters", "norms",
                                              "control"};

/* Ranks of a node read each other's memory, which is what lets messages come while both compute.
 * Some containers forbid it even within a process; Open MPI then fails message by message unless it
 * is told. */
static void prepare_copies(void)
{
#if defined(__linux__) && defined(SYS_process_vm_readv)
    char here = 1, there = 0;
    struct iovec to = {&there, 1}, from = {&here, 1};
    if (syscall(SYS_process_vm_readv, getpid(), &to, 1UL, &from, 1UL, 0UL) != 1)
        setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 0);
#endif
}

status comm_open(comm *c)
{
    *c = (comm){.size = 1};
    int provided = 0;
    prepare_copies();
    MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &provided);
    MPI_Comm_dup(MPI_COMM_WORLD, &c->world);
    MPI_Comm_dup(MPI_COMM_WORLD, &c->checkpoint);
    MPI_Comm_rank(c->world, &c->rank);
    MPI_Comm_size(c->world, &c->size);
    if (provided < MPI_THREAD_MULTIPLE)
        return fail(STATUS_PEER, "MPI: thread support MPI_THREAD_MULTIPLE expected, level %d found",
                    provided);
    return STATUS_OK;
}

void comm_close(comm *c)
{
    MPI_Comm_free(&c->checkpoint);
    MPI_Comm_free(&c->world);
    MPI_Finalize();
}

void comm_join(comm *c, MPI_Comm over)
{
    *c = (comm){.size = 1};
    MPI_Comm_dup(over, &c->world);
    c->checkpoint = c->world;
    MPI_Comm_rank(c->world, &c->rank);
    MPI_Comm_size(c->world, &c->size);
}

void comm_leave(comm *c)
{
    MPI_Comm_free(&c->world);
}

comm comm_alone(void)
{
    return (comm){.world = MPI_COMM_SELF, .checkpoint = MPI_COMM_SELF, .size = 1};
}

void comm_meet(comm *c)
{
    MPI_Request request;
    int done = 0;
    MPI_Ibarrier(c->world, &request);
    while (!done) {
        MPI_Test(&request, &done, MPI_STATUS_IGNORE);
        if (!done) nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
}

/* Values of all ranks that are on the stack at once. */
enum { GATHERED_MOST = 1 << 15 };

static void sum_part(comm *c, double *values, size_t count)
{
    double all[(size_t)c->size * count];
    MPI_Allgather(values, (int)count, MPI_DOUBLE, all, (int)count, MPI_DOUBLE, c->world);
    for (size_t i = 0; i < count; i++) {
        values[i] = 0.0;
        for (size_t r = 0; r < (size_t)c->size; r++) values[i] += all[r * count + i];
    }
}

void comm_sum_ordered(comm *c, double *values, size_t count)
{
    if (c->size == 1 || count == 0) return;
    size_t most = c->size < GATHERED_MOST ? GATHERED_MOST / (size_t)c->size : 1;
    time_kind before = timing_switch(&c->timing, TIME_WAIT);
    for (size_t i = 0; i < count; i += most)
        sum_part(c, values + i, count - i < most ? count - i : most);
    timing_switch(&c->timing, before);
    c->sent[BYTES_CONTROL] += (uint64_t)(c->size - 1) * count * sizeof *values;
}

void comm_send(comm *c, const void *data, size_t bytes, int to, int tag, bytes_kind kind,
               MPI_Request *request)
{
    assert(bytes <= INT_MAX);
    MPI_Isend(data, (int)bytes, MPI_BYTE, to, tag, c->world, request);
    c->sent[kind] += bytes;
}

void comm_receive(comm *c, void *data, size_t bytes, int from, int tag, MPI_Request *request)
{
    assert(bytes <= INT_MAX);
    MPI_Irecv(data, (int)bytes, MPI_BYTE, from, tag, c->world, request);
}

void comm_wait(comm *c, MPI_Request *requests, size_t count)
{
    if (count == 0) return;
    time_kind before = timing_switch(&c->timing, TIME_WAIT);
    MPI_Waitall((int)count, requests, MPI_STATUSES_IGNORE);
    timing_switch(&c->timing, before);
}

void comm_gather(comm *c, void *data, const size_t *first, size_t element_bytes, bytes_kind kind)
{
    if (c->size == 1) return;
    int counts[c->size], displacements[c->size];
    MPI_Datatype element;
    MPI_Type_contiguous((int)element_bytes, MPI_BYTE, &element);
    MPI_Type_commit(&element);
    for (int r = 0; r < c->size; r++) {
        assert(first[r + 1] <= INT_MAX);
        counts[r] = (int)(first[r + 1] - first[r]);
        displacements[r] = (int)first[r];
    }
    time_kind before = timing_switch(&c->timing, TIME_WAIT);
    MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, data, counts, displacements, element,
                   c->world);
    timing_switch(&c->timing, before);
    c->sent[kind] += (uint64_t)(c->size - 1) * (uint64_t)counts[c->rank] * element_bytes;
    MPI_Type_free(&element);
}
