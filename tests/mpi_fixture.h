/* MPI in a Criterion test: it starts inside the fixture, since Criterion forks for every test, and
 * every test has an mpirun of its own. Agree (agree.h) before asserting on one rank. */
#ifndef VARIO_TESTS_MPI_FIXTURE_H
#define VARIO_TESTS_MPI_FIXTURE_H

#include "runtime/comm.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static comm world;

static void world_open(void)
{
    const char *ranks = getenv("TEST_RANKS");
    cr_assert_eq(comm_open(&world), STATUS_OK);
    if (ranks) cr_assert_eq(world.size, atoi(ranks), "not launched on %s ranks", ranks);
}

static void world_close(void)
{
    comm_close(&world);
}

/* True on all ranks or on none, so that no rank leaves the others waiting in an assertion. */
static inline bool everywhere(bool here)
{
    int all, mine = here;
    MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_LAND, world.world);
    return all;
}

#define MPI_SUITE(name) TestSuite(name, .init = world_open, .fini = world_close, .timeout = 60)

#endif
