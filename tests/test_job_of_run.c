/* A run's job is found wherever it still is: in job.yaml, else in the newest whole state.json. */
#include "folder_fixture.h"
#include "io/checkpoints/checkpoint_state.h"
#include "io/runs/job_checkpoint.h"
#include "io/runs/job_of_run.h"
#include "job_text.h"

#include <sys/stat.h>

TestSuite(job_of_run, .init = open_folder, .fini = close_folder, .timeout = 60);

static const char *const steps[] = {"step-00000010", "step-00000020"};

/* Two checkpoints, whose jobs have 10 and 20 steps, and a job.yaml of 50. */
static void make_run(void)
{
    for (size_t i = 0; i < 2; i++) {
        char set[32];
        snprintf(set, sizeof set, "steps=%zu", 10 * (i + 1));
        job j = read_with(small_job, (const char *[]){set}, 1);
        mkdir(path_of(steps[i]), 0777);
        checkpoint_words words;
        cr_assert_eq(job_checkpoint_words(&words, &j), STATUS_OK);
        cr_assert_eq(checkpoint_state_write(path_of(steps[i]), &words, &(checkpoint_prior){0},
                                            &(checkpoint_facts){0}, &(parameters){0}, NULL, 0,
                                            NULL),
                     STATUS_OK, "%s", status_message());
        checkpoint_words_close(&words);
    }
    write_file("job.yaml", small_job, strlen(small_job));
}

static void damage_state(const char *step)
{
    char name[64];
    snprintf(name, sizeof name, "%s/state.json", step);
    write_file(name, "{\"format\": 1}", 13);
}

/* @param words  of what is said, NULL: nothing */
static void expect_steps(const char *path, uint64_t count, const char *words)
{
    job j;
    char said[STATUS_MESSAGE_SIZE];
    cr_assert_eq(job_of_run(&j, path, said), STATUS_OK, "%s", status_message());
    cr_expect_eq(j.steps, count, "%llu steps", (unsigned long long)j.steps);
    cr_expect(words ? strstr(said, words) != NULL : !*said, "%s", said);
}

Test(job_of_run, job_yaml_counts)
{
    make_run();
    expect_steps(folder, 50, NULL);
    expect_steps(path_of(steps[0]), 50, NULL);
}

Test(job_of_run, a_checkpoint_stands_in_for_it)
{
    static const char *const left[] = {NULL, "", "name: base\nmodel", small_job, "name: base\n"};
    /* The last but one is whole but for a block of NULs, as a machine that went down leaves it. */
    char nuls[sizeof small_job + 4] = "";
    memcpy(nuls, small_job, sizeof small_job);
    make_run();
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++) {
        unlink(path_of("job.yaml"));
        if (left[i])
            write_file("job.yaml", i == 3 ? nuls : left[i], strlen(left[i]) + (i == 3 ? 4 : 0));
        expect_steps(folder, 20, "step-00000020/state.json is taken");
        expect_steps(folder, 20, "job.yaml:");
    }
    damage_state(steps[1]);
    expect_steps(folder, 10, "step-00000010/state.json is taken");
    expect_steps(path_of(steps[0]), 10, "step-00000010/state.json is taken");
}

/* A checkpoint that was copied out of its run has its job with it. */
Test(job_of_run, a_checkpoint_alone_has_its_job)
{
    make_run();
    unlink(path_of("job.yaml"));
    expect_steps(path_of(steps[0]), 10, "job.yaml: not found");
}

Test(job_of_run, what_to_do_is_said_where_none_has_it)
{
    job j;
    char said[STATUS_MESSAGE_SIZE];
    make_run();
    write_file("job.yaml", "x", 1);
    damage_state(steps[0]);
    damage_state(steps[1]);
    cr_expect_eq(job_of_run(&j, folder, said), STATUS_INPUT);
    cr_expect(strstr(status_message(), "job.yaml:1:1: a mapping of keys expected") &&
                  strstr(status_message(), "put the run's job file there"),
              "%s", status_message());
    status_clear();
    file_remove_tree(path_of("job.yaml"));
    for (size_t i = 0; i < 2; i++) file_remove_tree(path_of(steps[i]));
    cr_expect_not(job_run_exists(folder));
    cr_expect_eq(job_of_run(&j, folder, said), STATUS_INPUT);
    cr_expect(strstr(status_message(), "job.yaml of a run expected"), "%s", status_message());
}
