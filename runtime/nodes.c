/* Pages are touched first by whoever writes them, so each owner's are near to it. */
#define _GNU_SOURCE /* memfd_create */
#include "runtime/nodes.h"

#include "runtime/mpi_calls.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

enum { HEAD = 65536 /* as large as pages are anywhere */ };

static size_t mapped(size_t bytes)
{
    return HEAD + (bytes + HEAD - 1) / HEAD * HEAD;
}

#if defined(__linux__)
/* What the first rank tells the others. */
typedef struct {
    int64_t process, file; /* file < 0: there is none */
    uint64_t token;        /* what the pages begin with, should processes' numbers mislead */
} offer;

static offer make(void **base, size_t bytes)
{
    static uint64_t made;
    offer o = {.process = getpid(), .file = memfd_create("vario", MFD_CLOEXEC)};
    o.token = (uint64_t)getpid() << 32 ^ (uint64_t)(uintptr_t)&o ^ ++made;
    *base = MAP_FAILED;
    if (o.file >= 0 && ftruncate((int)o.file, (off_t)mapped(bytes)) == 0)
        *base = mmap(NULL, mapped(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, (int)o.file, 0);
    if (*base != MAP_FAILED) memcpy(*base, &o.token, sizeof o.token);
    return o;
}

static void take(void **base, const offer *o, size_t bytes)
{
    char path[64];
    *base = MAP_FAILED;
    snprintf(path, sizeof path, "/proc/%lld/fd/%lld", (long long)o->process, (long long)o->file);
    int file = o->file >= 0 ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    if (lseek(file, 0, SEEK_END) == (off_t)mapped(bytes))
        *base = mmap(NULL, mapped(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (*base == MAP_FAILED || memcmp(*base, &o->token, sizeof o->token) == 0) return;
    munmap(*base, mapped(bytes));
    *base = MAP_FAILED;
}

/* Mapped by all ranks of the node, or by none. */
static bool map(void **base, const node_map *n, size_t bytes)
{
    offer o = {.file = -1};
    if (n->place == 0) o = make(base, bytes);
    MPI_Bcast(&o, (int)sizeof o, MPI_BYTE, 0, n->comm);
    if (n->place > 0) take(base, &o, bytes);
    int here = *base != MAP_FAILED, all;
    MPI_Allreduce(&here, &all, 1, MPI_INT, MPI_LAND, n->comm);
    if (n->place == 0 && o.file >= 0) close((int)o.file);
    if (here && !all) munmap(*base, mapped(bytes));
    if (!all) *base = NULL;
    return all;
}

static void unmap(void *base, size_t bytes)
{
    munmap(base, mapped(bytes));
}
#else
static bool map(void **base, const node_map *n, size_t bytes)
{
    (void)n;
    (void)bytes;
    *base = NULL;
    return false;
}

static void unmap(void *base, size_t bytes)
{
    (void)base;
    (void)bytes;
}
#endif

status node_memory_open(node_memory *m, const node_map *n, size_t bytes)
{
    *m = (node_memory){.bytes = bytes};
    if (map(&m->base, n, bytes)) return STATUS_OK;
    m->bytes = 0;
    return fail(STATUS_NOMEM, "%.4g GB of memory that a node's ranks share: %s",
                1e-9 * (double)bytes, strerror(errno));
}

void node_memory_close(node_memory *m)
{
    if (m->base) unmap(m->base, m->bytes);
    *m = (node_memory){0};
}

void *node_memory_at(const node_memory *m)
{
    return (char *)m->base + HEAD;
}

void nodes_meet(const node_map *n)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    MPI_Barrier(n->comm);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* 0: as they are. */
static status pretend(int *most)
{
    const char *text = getenv("VARIO_NODE_RANKS");
    char *end;
    *most = 0;
    if (!text) return STATUS_OK;
    long ranks = strtol(text, &end, 10);
    if (end == text || *end != '\0' || ranks < 1 || ranks > 1 << 20)
        return fail(STATUS_INPUT,
                    "VARIO_NODE_RANKS is '%.40s', a whole number from 1 to %d expected", text,
                    1 << 20);
    *most = (int)ranks;
    return STATUS_OK;
}

static void split(node_map *n, MPI_Comm world, int most)
{
    int place;
    MPI_Comm real;
    MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &real);
    MPI_Comm_rank(real, &place);
    MPI_Comm_split(real, most ? place / most : 0, place, &n->comm);
    MPI_Comm_free(&real);
    MPI_Comm_rank(n->comm, &n->place);
}

/* Nodes are numbered as their first ranks are. */
static void number(node_map *n, MPI_Comm world, int rank, int size)
{
    int leader = rank;
    MPI_Bcast(&leader, 1, MPI_INT, 0, n->comm);
    MPI_Allgather(&leader, 1, MPI_INT, n->of, 1, MPI_INT, world);
    MPI_Allgather(&n->place, 1, MPI_INT, n->places, 1, MPI_INT, world);
    for (int r = 0; r < size; r++) {
        leader = n->of[r]; /* an earlier rank, whose node is numbered, or itself */
        n->of[r] = leader == r ? n->count++ : n->of[leader];
    }
    for (int r = 0; r < size; r++) n->first[n->of[r] + 1]++;
    for (int k = 0; k < n->count; k++) n->first[k + 1] += n->first[k];
    for (int r = 0; r < size; r++) n->ranks[n->first[n->of[r]] + n->places[r]] = r;
    n->here = n->of[rank];
}

/* Whether every node can. */
static bool can_share(const node_map *n, MPI_Comm world)
{
    node_memory probe;
    int here = node_memory_open(&probe, n, HEAD) == STATUS_OK, all;
    if (!here) status_clear();
    if (here && n->place == 0) memcpy(node_memory_at(&probe), &here, sizeof here);
    nodes_meet(n);
    int found = 0;
    if (here) memcpy(&found, node_memory_at(&probe), sizeof found);
    node_memory_close(&probe);
    MPI_Allreduce(&found, &all, 1, MPI_INT, MPI_LAND, world);
    return all;
}

status nodes_open(node_map *n, MPI_Comm world)
{
    int rank, size, enough, all, most;
    *n = (node_map){.comm = MPI_COMM_NULL};
    status result = pretend(&most);
    if (result) return result;
    MPI_Comm_rank(world, &rank);
    MPI_Comm_size(world, &size);
    size_t room = (size_t)size + 1;
    n->of = calloc(room, sizeof *n->of);
    n->places = calloc(room, sizeof *n->places);
    n->first = calloc(room, sizeof *n->first);
    n->ranks = calloc(room, sizeof *n->ranks);
    enough = n->of && n->places && n->first && n->ranks;
    MPI_Allreduce(&enough, &all, 1, MPI_INT, MPI_LAND, world);
    if (!all) {
        nodes_close(n);
        return fail(STATUS_NOMEM, "memory for the nodes of %d ranks", size);
    }
    split(n, world, most);
    number(n, world, rank, size);
    if (n->count == size || !can_share(n, world)) n->count = 0;
    return STATUS_OK;
}

void nodes_close(node_map *n)
{
    if (n->comm != MPI_COMM_NULL) MPI_Comm_free(&n->comm);
    free(n->of);
    free(n->places);
    free(n->first);
    free(n->ranks);
    *n = (node_map){.comm = MPI_COMM_NULL};
}

int nodes_receiver(const node_map *n, int sender, int node)
{
    int size = n->first[node + 1] - n->first[node];
    return n->ranks[n->first[node] + n->places[sender] % size];
}
