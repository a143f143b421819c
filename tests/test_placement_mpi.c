/* Threads of ranks that are bound in different ways; every rank of a test is on one node. */
#define _GNU_SOURCE
#include "mpi_fixture.h"
#include "runtime/agree.h"
#include "runtime/placement.h"

#include <sched.h>
#include <string.h>

static size_t processors[CPU_SETSIZE]; /* that this node gives to its ranks */
static int count;

/* Run on `some` of them from the one at `first`, round and round. */
static void bind_to(int first, int some)
{
    cpu_set_t mask;
    CPU_ZERO(&mask);
    for (int i = 0; i < some; i++) CPU_SET(processors[(first + i) % count], &mask);
    cr_assert_eq(sched_setaffinity(0, sizeof mask, &mask), 0);
}

/* The launcher may have bound the rank: its cpuset is what it cannot leave. */
static void open_node(void)
{
    unsetenv("OMP_NUM_THREADS");
    cpu_set_t all;
    memset(&all, 0xff, sizeof all);
    cr_assert_eq(sched_setaffinity(0, sizeof all, &all), 0);
    cr_assert_eq(sched_getaffinity(0, sizeof all, &all), 0);
    count = 0;
    for (size_t i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &all)) processors[count++] = i;
}

MPI_SUITE(placement, open_node, NULL)

static void expect_same_warning(const placement *p)
{
    char first[sizeof p->warning];
    memcpy(first, p->warning, sizeof first);
    MPI_Bcast(first, (int)sizeof first, MPI_CHAR, 0, world.world);
    cr_expect_str_eq(p->warning, first);
}

MPI_TEST(unbound_ranks_divide_the_node)
{
    bind_to(0, count);
    placement p = placement_choose(&world, 0);
    int share = count / world.size;
    cr_expect_eq(p.threads, share ? share : 1);
    cr_expect_eq(p.node_ranks, world.size);
    cr_expect_eq(p.node_processors, count);
    cr_expect_eq(*p.warning != '\0', share == 0, "%s", p.warning);
    cr_expect_not(p.oversubscribed);
    expect_same_warning(&p);
}

MPI_TEST(bound_ranks_have_their_mask)
{
    if (count < world.size) return;
    int each = count / world.size;
    bind_to(world.rank * each, each);
    placement p = placement_choose(&world, 0);
    cr_expect_eq(p.threads, each);
    cr_expect_eq(p.node_threads, each * world.size);
    cr_expect_str_empty(p.warning);
    p = placement_choose(&world, (uint64_t)each + 1);
    cr_expect_eq(p.threads, each + 1);
    cr_expect(p.oversubscribed);
    cr_expect(strstr(p.warning, "threads a rank"), "%s", p.warning);
}

MPI_TEST(ranks_on_one_processor_are_told_of)
{
    bind_to(0, 1);
    placement p = placement_choose(&world, 0);
    cr_expect_eq(p.threads, 1);
    cr_expect_eq(p.node_processors, 1);
    cr_expect_eq(*p.warning != '\0', world.size > 1);
    if (world.size > 1) cr_expect(strstr(p.warning, "share 1 processor:"), "%s", p.warning);
    expect_same_warning(&p);
}

/* The last rank has a processor less than it needs: all know. */
MPI_TEST(one_crowded_rank_is_enough)
{
    bind_to(0, count);
    bool last = world.rank == world.size - 1;
    placement p = placement_choose(&world, last ? (uint64_t)count + 1 : 1);
    cr_expect(p.oversubscribed);
    cr_expect(strstr(p.warning, "processor"), "%s", p.warning);
    expect_same_warning(&p);
}

MPI_TEST(what_is_asked_for_is_taken)
{
    bind_to(0, count);
    cr_expect_eq(placement_choose(&world, 7).threads, 7);
    setenv("OMP_NUM_THREADS", "3", 1);
    cr_expect_eq(placement_choose(&world, 0).threads, 3);
    cr_expect_eq(placement_choose(&world, 1).threads, 1);
}
