/* MPI in Criterion's tests. MPI starts once in a launch, Criterion forks for every test, and a
 * launch takes a second: so all tests of a suite are one for Criterion, which runs them in order in
 * one process a rank. Agree (agree.h) before asserting on one rank. */
#ifndef VARIO_TESTS_MPI_FIXTURE_H
#define VARIO_TESTS_MPI_FIXTURE_H

#include "runtime/comm.h"

#include <criterion/criterion.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SECONDS_MAX = 60 }; /* of a test */

static comm world;

/* True on all ranks or on none, so that no rank leaves the others waiting in an assertion. */
static inline bool everywhere(bool here)
{
    int all, mine = here;
    MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_LAND, world.world);
    return all;
}

typedef struct mpi_test {
    const char *name;
    void (*run)(void);
    struct mpi_test *next;
} mpi_test;

static mpi_test *mpi_tests, **mpi_tests_end = &mpi_tests;

static inline void add_mpi_test(mpi_test *test)
{
    *mpi_tests_end = test;
    mpi_tests_end = &test->next;
}

/* Rank 0 prints the name of every test that came to its end; TEST_ONLY names the one to run. */
static inline void run_mpi_tests(void (*open)(void), void (*close)(void))
{
    const char *ranks = getenv("TEST_RANKS"), *only = getenv("TEST_ONLY");
    cr_assert_eq(comm_open(&world), STATUS_OK);
    if (ranks) cr_assert_eq(world.size, atoi(ranks), "not launched on %s ranks", ranks);
    const size_t count_max = world.count_max;
    for (const mpi_test *test = mpi_tests; test; test = test->next) {
        if (only && strcmp(only, test->name) != 0) continue;
        alarm(SECONDS_MAX);          /* a test that hangs ends the launch */
        omp_set_num_threads(1);      /* whatever the one before has asked for, */
        world.count_max = count_max; /* likewise */
        if (open) open();
        test->run();
        if (close) close();
        if (world.rank == 0) printf("ran %s\n", test->name), fflush(stdout);
    }
    alarm(0);
    comm_close(&world);
}

/* A suite with these, or NULL, before and after each of its tests. */
#define MPI_SUITE(suite, open, close)                                                              \
    Test(suite, all)                                                                               \
    {                                                                                              \
        run_mpi_tests(open, close);                                                                \
    }

#define MPI_TEST(name)                                                                             \
    static void test_##name(void);                                                                 \
    __attribute__((constructor)) static void add_##name(void)                                      \
    {                                                                                              \
        static mpi_test test = {#name, test_##name, NULL};                                         \
        add_mpi_test(&test);                                                                       \
    }                                                                                              \
    static void test_##name(void)

#endif
