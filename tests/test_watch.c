/* The watchdog's judgement and its sentences, what threads say of themselves, the trial of threads,
 * and which signals are caught. */
#include "base/threads.h"
#include "runtime/guard.h"
#include "runtime/watch_parts.h"

#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { RANKS = 4 };

static watch_peer peers[RANKS];
static char sentence[STATUS_MESSAGE_SIZE], list[256];
static double seconds;

/* All ranks were just heard of, in a step, and get on. */
static void begin(void)
{
    for (int r = 0; r < RANKS; r++) {
        peers[r] = (watch_peer){.process = 100 + r, .heard = 1000.0};
        snprintf(peers[r].host, sizeof peers[r].host, "node%d", r / 2);
        peers[r].beat.kind[ACTIVITY_MAIN] = ACTIVITY_COMPUTES;
        snprintf(peers[r].beat.text[ACTIVITY_MAIN], ACTIVITY_TEXT, "step 58, backward pass");
    }
}

TestSuite(watch, .init = begin);

static void put(int rank, activity_thread thread, activity_kind kind, double still,
                const char *text)
{
    peers[rank].beat.kind[thread] = kind;
    peers[rank].beat.still[thread] = still;
    snprintf(peers[rank].beat.text[thread], ACTIVITY_TEXT, "%s", text);
}

static int tell(double clock)
{
    watch_judge(peers, RANKS, 60.0, clock);
    return watch_tell_stalls(peers, RANKS, clock, false, sentence, list, &seconds);
}

Test(watch, nobody_stands_still_who_computes_or_waits_for_one_who_does)
{
    for (int r = 1; r < RANKS; r++) put(r, ACTIVITY_MAIN, ACTIVITY_WAITS, 500.0, "waits");
    cr_expect_eq(tell(1001.0), -1);
}

Test(watch, a_silent_rank_is_named_with_those_who_wait_for_it)
{
    for (int r = 0; r < 2; r++)
        put(r, ACTIVITY_MAIN, ACTIVITY_WAITS, 46.0,
            "step 58, update, waits for gradients of rank 2");
    for (int r = 0; r < RANKS; r++) peers[r].heard = r == 2 ? 950.0 : 999.0;
    cr_expect_eq(tell(994.0), -1, "before three quarters of the time");
    cr_expect_eq(tell(1000.0), 2);
    cr_expect_str_eq(
        sentence, "rank 2 (node1, process 102) has not been heard of for 50.0 s, last at: step 58, "
                  "backward pass; ranks 0, 1: step 58, update, waits for gradients of rank 2; "
                  "rank 3: step 58, backward pass");
    cr_expect_str_eq(list, "[2]");
    cr_expect_float_eq(seconds, 50.0, 1e-9);
    cr_expect_eq(tell(1001.0), -1, "once");
    peers[2].heard = 1003.0;
    cr_expect_eq(tell(1003.0), -1);
    cr_expect_eq(watch_tell_woken(peers, RANKS, 1003.0, sentence, list, &seconds), 2);
    cr_expect_str_eq(sentence, "rank 2 goes on after 53.0 s");
}

Test(watch, a_call_on_a_file_that_does_not_end_is_named_with_the_file)
{
    put(1, ACTIVITY_WRITER, ACTIVITY_WRITES, 50.0, "checkpoint in the background, writes runs/a/m");
    put(0, ACTIVITY_MAIN, ACTIVITY_WAITS, 48.0, "waits for the checkpoint to be written");
    cr_expect_eq(tell(1000.0), 1);
    cr_expect(strstr(sentence,
                     "rank 1 (node0, process 101) has stood still for 50.0 s at: checkpoint "
                     "in the background, writes runs/a/m; rank 0: waits for the checkpoint"),
              "%s", sentence);
}

static void all_wait(void)
{
    begin();
    for (int r = 0; r < RANKS; r++)
        put(r, ACTIVITY_MAIN, ACTIVITY_WAITS, 46.0, r ? "waits for all ranks" : "waits for rank 1");
}

Test(watch, ranks_that_all_wait_for_each_other_are_named)
{
    all_wait();
    put(3, ACTIVITY_WRITER, ACTIVITY_WRITES, 1.0, "writes");
    cr_expect_eq(tell(1000.0), -1, "they wait for a writer");
    all_wait();
    cr_expect_eq(tell(1000.0), 0);
    cr_expect_str_eq(sentence, "all ranks have waited for each other for 46.0 s; rank 0: waits for "
                               "rank 1; ranks 1, 2, 3: waits for all ranks");
}

Test(watch, after_a_signal_there_is_less_patience_but_with_what_is_written)
{
    put(1, ACTIVITY_MAIN, ACTIVITY_READS, 3.0, "opens d/config.json");
    put(2, ACTIVITY_MAIN, ACTIVITY_WRITES, 30.0, "writes runs/a/m");
    cr_expect_eq(tell(1000.0), -1);
    peers[0].beat.asked = true;
    cr_expect_eq(tell(1000.0), 1, "nothing is there to save");
    begin();
    put(1, ACTIVITY_MAIN, ACTIVITY_READS, 3.0, "opens d/config.json");
    put(2, ACTIVITY_MAIN, ACTIVITY_WRITES, 30.0, "writes runs/a/m");
    peers[0].beat.asked = peers[0].beat.saves = true;
    cr_expect_eq(tell(1000.0), -1);
    peers[1].beat.still[ACTIVITY_MAIN] = 11.0;
    cr_expect_eq(tell(1000.0), 1);
}

Test(watch, many_ranks_and_long_texts_fit_in_a_sentence)
{
    static watch_peer many[600];
    for (int r = 0; r < 600; r++) {
        many[r] = peers[0];
        many[r].heard = r < 300 ? 0.0 : 1000.0;
        memset(many[r].beat.text[ACTIVITY_MAIN], 'a' + r % 26, ACTIVITY_TEXT - 1);
    }
    watch_judge(many, 600, 60.0, 1000.0);
    cr_expect_eq(watch_tell_stalls(many, 600, 1000.0, false, sentence, list, &seconds), 0);
    cr_expect_lt(strlen(sentence), STATUS_MESSAGE_SIZE);
    cr_expect_eq(list[strlen(list) - 1], ']');
}

Test(watch, threads_say_what_they_are_at)
{
    char text[ACTIVITY_TEXT], path[400];
    uint64_t before, after;
    activity_wait("nobody hears this", 1);
    activity_enter(ACTIVITY_MAIN);
    activity_step(58);
    activity_phase("update");
    cr_expect_eq(activity_look(ACTIVITY_MAIN, &before, text), ACTIVITY_COMPUTES);
    cr_expect_str_eq(text, "step 58, update");
    activity_wait("gradients of rank", 3);
    cr_expect_eq(activity_look(ACTIVITY_MAIN, &after, text), ACTIVITY_WAITS);
    cr_expect_str_eq(text, "step 58, update, waits for gradients of rank 3");
    cr_expect_neq(before, after);
    memset(path, 'p', sizeof path);
    snprintf(path + 300, 100, "/the-end-of-it");
    activity_file(ACTIVITY_READS, "reads", path);
    cr_expect_eq(activity_look(ACTIVITY_MAIN, &after, text), ACTIVITY_READS);
    cr_expect(strstr(text, "step 58, update, reads ppp") && strstr(text, "/the-end-of-it"), "%s",
              text);
    cr_expect_eq(activity_done(7), 7);
    cr_expect_eq(activity_look(ACTIVITY_MAIN, &after, text), ACTIVITY_COMPUTES);
    cr_expect_eq(activity_look(ACTIVITY_WRITER, &after, text), ACTIVITY_NONE);
}

Test(watch, threads_that_cannot_be_started_are_a_sentence)
{
    cr_assert_eq(thread_trial_run(0), STATUS_OK);
    cr_assert_eq(thread_trial_run(3), STATUS_OK);
    if (geteuid() == 0) cr_assert_eq(setuid(65534), 0); /* root has no such limit */
    struct rlimit before, one;
    cr_assert_eq(getrlimit(RLIMIT_NPROC, &before), 0);
    one = before;
    one.rlim_cur = 1;
    cr_assert_eq(setrlimit(RLIMIT_NPROC, &one), 0);
    cr_expect_eq(thread_trial_run(3), STATUS_NOMEM);
    cr_expect(strstr(status_message(), "3 more expected") && strstr(status_message(), "ulimit -u"),
              "%s", status_message());
    setrlimit(RLIMIT_NPROC, &before); /* a leak checker starts one too, */
    prctl(PR_SET_DUMPABLE, 1);        /* and looks into this process */
}

Test(watch, signals_are_caught_unless_who_started_it_ignores_them)
{
    signal(SIGHUP, SIG_IGN);
    guard_catch();
    guard_started();
    raise(SIGHUP);
    raise(SIGPIPE);
    cr_expect_not(guard_stop());
    raise(SIGINT);
    cr_expect(guard_stop());
    cr_expect_str_eq(guard_reason(), "SIGINT");
}

Test(watch, a_second_interrupt_ends_it, .signal = SIGINT)
{
    guard_catch();
    guard_started();
    raise(SIGINT);
    raise(SIGINT);
}

Test(watch, before_there_is_anything_to_save_a_signal_ends_it, .exit_code = 75)
{
    guard_catch();
    raise(SIGTERM);
}
