/* The only place, beside io/, where MPI_COMM_WORLD is named. Messages are bytes: MPI has no bf16.
 */
#include "runtime/comm.h"

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

enum { COUNT_MAX = 1 << 30 };

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

bool comm_is_launched(void)
{
    return getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK");
}

/* A process that no launcher started needs no daemon of Open MPI's beside it: that takes as long to
 * start as all else, and of a thousand one fails, where several make their directory at once. */
static void prepare_alone(void)
{
    if (!comm_is_launched()) setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
}

status comm_open(comm *c)
{
    *c = (comm){.size = 1, .count_max = COUNT_MAX, .nodes = {.comm = MPI_COMM_NULL}};
    int provided = 0;
    prepare_copies();
    prepare_alone();
    MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &provided);
    MPI_Comm_dup(MPI_COMM_WORLD, &c->world);
    MPI_Comm_dup(MPI_COMM_WORLD, &c->checkpoint);
    MPI_Comm_rank(c->world, &c->rank);
    MPI_Comm_size(c->world, &c->size);
    if (provided < MPI_THREAD_MULTIPLE)
        return fail(STATUS_PEER, "MPI: thread support MPI_THREAD_MULTIPLE expected, level %d found",
                    provided);
    return nodes_open(&c->nodes, c->world);
}

void comm_close(comm *c)
{
    nodes_close(&c->nodes);
    MPI_Comm_free(&c->checkpoint);
    MPI_Comm_free(&c->world);
    MPI_Finalize();
}

/* A handle that is none, as Fortran's integers may be, is an error of MPI_COMM_WORLD's, whose
 * handler would end the program. */
static status check_handle(MPI_Comm over, const char *call)
{
    MPI_Errhandler before;
    int between = 0;
    if (over == MPI_COMM_NULL)
        return fail(STATUS_INPUT, "%s: a communicator expected, MPI_COMM_NULL found", call);
    MPI_Comm_get_errhandler(MPI_COMM_WORLD, &before);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    int code = MPI_Comm_test_inter(over, &between);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, before);
    MPI_Errhandler_free(&before);
    if (code != MPI_SUCCESS)
        return fail(STATUS_INPUT, "%s: a communicator expected, a handle of none found", call);
    if (between)
        return fail(STATUS_INPUT, "%s: an intra-communicator expected, an inter-communicator found",
                    call);
    return STATUS_OK;
}

status comm_join(comm *c, MPI_Comm over, const char *call)
{
    *c = (comm){.size = 1, .count_max = COUNT_MAX, .world = MPI_COMM_NULL};
    status result = check_handle(over, call);
    if (!result && MPI_Comm_dup(over, &c->world) != MPI_SUCCESS)
        result = fail(STATUS_PEER, "%s: MPI_Comm_dup of the communicator failed", call);
    if (result) return result;
    c->checkpoint = c->world;
    MPI_Comm_rank(c->world, &c->rank);
    MPI_Comm_size(c->world, &c->size);
    return STATUS_OK;
}

void comm_leave(comm *c)
{
    MPI_Comm_free(&c->world);
}

comm comm_alone(void)
{
    return (comm){
        .world = MPI_COMM_SELF, .checkpoint = MPI_COMM_SELF, .size = 1, .count_max = COUNT_MAX};
}

void comm_barrier(comm *c)
{
    MPI_Request request;
    int done = 0;
    activity_wait("all ranks at a barrier", -1);
    MPI_Ibarrier(c->world, &request);
    while (!done) {
        MPI_Test(&request, &done, MPI_STATUS_IGNORE);
        if (!done) nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    activity_done(0);
}

/* Values of all ranks that are on the stack at once. */
enum { GATHERED_MAX = 1 << 15 };

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
    size_t max = c->size < GATHERED_MAX ? GATHERED_MAX / (size_t)c->size : 1;
    time_kind before = timing_switch(&c->timing, TIME_WAIT);
    for (size_t i = 0; i < count; i += max)
        sum_part(c, values + i, count - i < max ? count - i : max);
    timing_switch(&c->timing, before);
    c->sent[BYTES_CONTROL] += (uint64_t)(c->size - 1) * count * sizeof *values;
}

/* So many bytes as `count` of a type, which bytes_end frees: bytes where they can be counted,
 * else one of a type made of them. */
static MPI_Datatype bytes_begin(const comm *c, size_t bytes, int *count)
{
    *count = bytes <= c->count_max ? (int)bytes : 1;
    if (bytes <= c->count_max) return MPI_BYTE;
    size_t parts = bytes / c->count_max, rest = bytes % c->count_max;
    const int lengths[] = {(int)parts, (int)rest};
    const MPI_Aint places[] = {0, (MPI_Aint)(bytes - rest)};
    MPI_Datatype part, whole;
    MPI_Type_contiguous((int)c->count_max, MPI_BYTE, &part);
    const MPI_Datatype types[] = {part, MPI_BYTE};
    MPI_Type_create_struct(2, lengths, places, types, &whole);
    MPI_Type_commit(&whole);
    MPI_Type_free(&part);
    return whole;
}

/* A message under way keeps its type. */
static void bytes_end(MPI_Datatype *type)
{
    if (*type != MPI_BYTE) MPI_Type_free(type);
}

/* Whose message a request is, for the watchdog alone: where two requests meet in a place, nobody
 * knows of one. */
enum { NOTES = 1024 };
static struct {
    const MPI_Request *request;
    int peer, tag;
    bool sends;
} notes[NOTES];

static size_t note_at(const MPI_Request *request)
{
    return (uintptr_t)request / sizeof *request % NOTES;
}

static void note_request(const MPI_Request *request, int peer, int tag, bool sends)
{
    size_t at = note_at(request);
    notes[at].request = request;
    notes[at].peer = peer;
    notes[at].tag = tag;
    notes[at].sends = sends;
}

static void note_wait(const MPI_Request *request)
{
    size_t at = note_at(request);
    bool known = notes[at].request == request;
    const char *what = "messages";
    if (known && notes[at].tag == TAG_WEIGHTS)
        what = notes[at].sends ? "weights to be taken by rank" : "weights of rank";
    if (known && notes[at].tag == TAG_GRADIENTS)
        what = notes[at].sends ? "gradients to be taken by rank" : "gradients of rank";
    activity_wait(what, known ? notes[at].peer : -1);
}

void comm_send(comm *c, const void *data, size_t bytes, int to, int tag, bytes_kind kind,
               MPI_Request *request)
{
    int count;
    MPI_Datatype type = bytes_begin(c, bytes, &count);
    MPI_Isend(data, count, type, to, tag, c->world, request);
    bytes_end(&type);
    c->sent[kind] += bytes;
    note_request(request, to, tag, true);
}

void comm_receive(comm *c, void *data, size_t bytes, int from, int tag, MPI_Request *request)
{
    int count;
    MPI_Datatype type = bytes_begin(c, bytes, &count);
    MPI_Irecv(data, count, type, from, tag, c->world, request);
    bytes_end(&type);
    note_request(request, from, tag, false);
}

void comm_wait(comm *c, MPI_Request *requests, size_t count)
{
    if (count == 0) return;
    time_kind before = timing_switch(&c->timing, TIME_WAIT);
    for (size_t i = 0; i < count; i++) {
        if (requests[i] == MPI_REQUEST_NULL) continue;
        note_wait(&requests[i]);
        MPI_Wait(&requests[i], MPI_STATUS_IGNORE);
    }
    activity_done(0);
    timing_switch(&c->timing, before);
}

void comm_broadcast(comm *c, void *data, size_t bytes, int from)
{
    for (size_t at = 0; at < bytes; at += c->count_max) {
        size_t left = bytes - at;
        MPI_Bcast((char *)data + at, (int)(left < c->count_max ? left : c->count_max), MPI_BYTE,
                  from, c->world);
    }
}

void comm_collect(comm *c, void *data, size_t bytes)
{
    int count;
    MPI_Datatype type = bytes_begin(c, bytes, &count);
    MPI_Gather(c->rank == 0 ? MPI_IN_PLACE : data, count, type, data, count, type, 0, c->world);
    bytes_end(&type);
}

static void gather_counted(comm *c, void *data, const size_t *first, size_t element_bytes)
{
    int counts[c->size], displacements[c->size];
    MPI_Datatype element;
    MPI_Type_contiguous((int)element_bytes, MPI_BYTE, &element);
    MPI_Type_commit(&element);
    for (int r = 0; r < c->size; r++) {
        counts[r] = (int)(first[r + 1] - first[r]);
        displacements[r] = (int)first[r];
    }
    MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, data, counts, displacements, element,
                   c->world);
    MPI_Type_free(&element);
}

/* Where a piece lies is counted in int, too: beyond it pieces go one by one. */
void comm_all_gather(comm *c, void *data, const size_t *first, size_t element_bytes,
                     bytes_kind kind)
{
    if (c->size == 1) return;
    time_kind before = timing_switch(&c->timing, TIME_WAIT);
    if (first[c->size] <= c->count_max)
        gather_counted(c, data, first, element_bytes);
    else
        for (int r = 0; r < c->size; r++)
            comm_broadcast(c, (char *)data + first[r] * element_bytes,
                           (first[r + 1] - first[r]) * element_bytes, r);
    timing_switch(&c->timing, before);
    uint64_t mine = first[c->rank + 1] - first[c->rank];
    c->sent[kind] += (uint64_t)(c->size - 1) * mine * element_bytes;
}
