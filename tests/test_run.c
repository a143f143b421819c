/* Run directories: the lock, metrics over several restarts, starting over. */
#include "io/files/file.h"
#include "io/runs/history.h"
#include "io/runs/run.h"

#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static job j;

static void open_folder(void)
{
    memset(&j, 0, sizeof j);
    strcpy(j.output, "/tmp/vario-run-XXXXXX");
    strcpy(j.name, "deep");
    cr_assert(mkdtemp(j.output));
    strcat(j.output, "/a/b");
}

static void close_folder(void)
{
    *strstr(j.output, "/a/b") = '\0';
    file_remove_tree(j.output);
}

TestSuite(run, .init = open_folder, .fini = close_folder);

static char *read_back(const run *r, const char *name)
{
    char path[2000], *text;
    size_t size;
    snprintf(path, sizeof path, "%s/%s", run_path(r), name);
    cr_assert_eq(file_read_text(&text, &size, path, 1 << 20), STATUS_OK, "%s", status_message());
    return text;
}

/* Another process cannot have the run while it is open, and can when the holder is gone, however it
 * went. */
Test(run, is_locked)
{
    run *r = NULL, *other = NULL;
    int channel[2];
    char byte;
    cr_assert_eq(pipe(channel), 0);
    pid_t holder = fork();
    if (holder == 0) {
        if (run_open(&r, &j) == STATUS_OK) (void)!write(channel[1], "x", 1);
        pause();
        _exit(0);
    }
    cr_assert_eq(read(channel[0], &byte, 1), 1);
    char pid[32];
    snprintf(pid, sizeof pid, "process %ld", (long)holder);
    cr_expect_eq(run_open(&other, &j), STATUS_INPUT);
    cr_expect(strstr(status_message(), "in use") && strstr(status_message(), pid), "%s",
              status_message());
    status_clear();
    kill(holder, SIGKILL);
    waitpid(holder, NULL, 0);
    cr_expect_eq(run_open(&other, &j), STATUS_OK, "%s", status_message());
    run_close(&other);
}

Test(run, rows_after_the_checkpoint_go)
{
    run *r = NULL;
    double seconds = -1.0;
    char said[STATUS_MESSAGE_SIZE];
    cr_assert_eq(run_open(&r, &j), STATUS_OK);
    cr_assert_eq(run_metrics_open(r, 0, &seconds, said), STATUS_OK);
    cr_expect_eq(seconds, 0.0);
    for (uint64_t step = 10; step <= 50; step += 10) {
        metrics row = {.step = step,
                       .tokens = step * 100,
                       .seconds = (double)step / 2.0,
                       .train_loss = 3.0,
                       .valid_loss = NAN,
                       .bytes_sent = 7};
        cr_assert_eq(run_metrics_append(r, &row), STATUS_OK);
    }
    run_close(&r);
    cr_assert_eq(run_open(&r, &j), STATUS_OK);
    cr_assert_eq(run_metrics_open(r, 30, &seconds, said), STATUS_OK);
    cr_expect_eq(seconds, 15.0);
    char *text = read_back(r, "metrics.csv");
    cr_expect(strstr(text, "\n30,3000,15,3,,"), "%s", text);
    cr_expect_null(strstr(text, "\n40,"));
    cr_expect_eq(
        strncmp(text, "step,tokens,seconds,train_loss,valid_loss,valid_loss_averaged,lr,", 60), 0);
    free(text);
    run_close(&r);
}

static void write_metrics(const run *r, const char *text)
{
    char path[2000];
    snprintf(path, sizeof path, "%s/metrics.csv", run_path(r));
    cr_assert_eq(file_write_atomic(path, text, strlen(text)), STATUS_OK);
}

/* The columns that an older version lacks are there after a resume, empty in its rows. */
Test(run, rows_of_an_older_version_get_the_new_columns)
{
    run *r = NULL;
    double seconds;
    char said[STATUS_MESSAGE_SIZE];
    cr_assert_eq(run_open(&r, &j), STATUS_OK);
    cr_assert_eq(run_metrics_open(r, 0, &seconds, said), STATUS_OK);
    char *header = read_back(r, "metrics.csv"), older[300];
    snprintf(older, sizeof older, "%.*s\n10,1000,5,3\n20,2000,10,2\n30,3",
             (int)(strstr(header, ",valid_loss") - header), header);
    write_metrics(r, older);
    cr_assert_eq(run_metrics_open(r, 20, &seconds, said), STATUS_OK, "%s", status_message());
    cr_expect_eq(seconds, 10.0);
    cr_assert_eq(run_metrics_append(r, &(metrics){.step = 30}), STATUS_OK);
    char *text = read_back(r, "metrics.csv");
    cr_expect_eq(strncmp(text, header, strlen(header)), 0);
    cr_expect(strstr(text, "\n10,1000,5,3,,"), "%s", text);
    size_t columns[4] = {0}, line = 0;
    for (const char *c = text; *c && line < 4; c++) {
        if (*c == ',') columns[line]++;
        if (*c == '\n') line++;
    }
    for (size_t i = 1; i < 4; i++) cr_expect_eq(columns[i], columns[0], "row %zu", i);
    free(text);
    free(header);
    run_close(&r);
}

/* A damaged row costs itself alone, is named by its line and kept aside. */
Test(run, damaged_rows_cost_themselves_alone)
{
    static const struct {
        const char *rows;    /* of step, tokens, seconds, train_loss; the checkpoint is of step 5 */
        const char *steps;   /* those that stay */
        const char *damaged; /* what is in metrics.csv.damaged, NULL: no such file */
        const char *said;    /* NULL: nothing */
        double seconds;
    } cases[] = {
        {"1,1,1,3\n2,2,2,3\n3,3,3,3\n", "123", NULL, NULL, 3},
        {"1,1,1,3\nx,2,2,3\n3,3,3,3\n", "13", "x,2,2,3\n", "line 3; ", 3},
        {"1,1,1,3\n2,2,3\n3,3,3,3\n4,4,y,3\n5,5,5,3\n", "135", "2,2,3\n4,4,y,3\n", "lines 3, 5; ",
         5},
        {"1,1,1,3\n2,2,2,3\n9,9,3,3\n4,4,4,3\n5,5,5,3\n", "1245", "9,9,3,3\n", "line 4; ", 5},
        {"1,1,1,3\n80,2,2,3\n90,2,2,3\n4,4,4,3\n5,5,5,3\n6,6,6,3\n", "145", "80,2,2,3\n90,2,2,3\n",
         "lines 3, 4; ", 5},
        {"1,1,1,3\n2,2,2,3\n1,3,3,3\n4,4,4,3\n", "124", "1,3,3,3\n", "line 4; ", 4},
        {"1,1,1,3\n2,2,2,3\n6,6,6,3\n7,7", "12", NULL, NULL, 2},
        {"1,1,1,3\n2,2,2,3\n3,3", "12", "3,3\n", "line 4; ", 2},
        {"1,1,1,3\n-2,2,2,3\n\n3,3,3,3\n", "13", "-2,2,2,3\n", "line 3; ", 3},
        {"1,1,1,3\r\n2,2,2,3\r\nx\r\n3,3,3,3\n", "123", "x\n", "line 4; ", 3},
    };
    run *r = NULL;
    double seconds;
    char said[STATUS_MESSAGE_SIZE], text[400], path[2000];
    cr_assert_eq(run_open(&r, &j), STATUS_OK);
    snprintf(path, sizeof path, "%s/metrics.csv.damaged", run_path(r));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unlink(path);
        snprintf(text, sizeof text, "step,tokens,seconds,train_loss\n%s", cases[i].rows);
        write_metrics(r, text);
        cr_assert_eq(run_metrics_open(r, 5, &seconds, said), STATUS_OK, "%s", status_message());
        cr_expect_eq(seconds, cases[i].seconds, "case %zu: %g", i, seconds);
        char *kept = read_back(r, "metrics.csv"), steps[16] = "";
        for (const char *c = strchr(kept, '\n'); c && c[1]; c = strchr(c + 1, '\n'))
            strncat(steps, c + 1, 1);
        cr_expect_str_eq(steps, cases[i].steps, "case %zu: %s", i, kept);
        cr_expect_null(strchr(kept, '\r'));
        free(kept);
        cr_expect(cases[i].said ? strstr(said, cases[i].said) && strstr(said, "metrics.csv")
                                : !*said,
                  "case %zu: %s", i, said);
        cr_expect_eq(access(path, F_OK) == 0, cases[i].damaged != NULL, "case %zu", i);
        if (!cases[i].damaged) continue;
        char *damaged = read_back(r, "metrics.csv.damaged");
        cr_expect_str_eq(damaged, cases[i].damaged, "case %zu", i);
        free(damaged);
    }
    cr_expect_eq(run_clear(r, false), STATUS_OK);
    cr_expect_neq(access(path, F_OK), 0);
    run_close(&r);
}

Test(run, lost_metrics_are_begun_anew_and_said)
{
    run *r = NULL;
    double seconds;
    char said[STATUS_MESSAGE_SIZE], path[2000];
    cr_assert_eq(run_open(&r, &j), STATUS_OK);
    snprintf(path, sizeof path, "%s/metrics.csv", run_path(r));
    static const char *const left[] = {NULL, "", "step,tok"};
    for (size_t i = 0; i < 3; i++) {
        unlink(path);
        if (left[i]) write_metrics(r, left[i]);
        cr_assert_eq(run_metrics_open(r, 5, &seconds, said), STATUS_OK, "%s", status_message());
        cr_expect(strstr(said, "metrics.csv: no rows found of the 5 steps before"), "%s", said);
        cr_expect_eq(seconds, 0.0);
        char *text = read_back(r, "metrics.csv");
        cr_expect_str_eq(text, metrics_header);
        free(text);
    }
    char *text = read_back(r, "metrics.csv.damaged");
    cr_expect_str_eq(text, "step,tok\n");
    free(text);
    run_close(&r);
}

/* What spreadsheets and editors leave: a byte order mark, CRLF. */
Test(run, metrics_of_other_programs_are_read)
{
    run *r = NULL;
    double seconds;
    char said[STATUS_MESSAGE_SIZE], path[2000];
    metrics_table t;
    cr_assert_eq(run_open(&r, &j), STATUS_OK);
    write_metrics(r, "\xef\xbb\xbfstep,tokens,seconds,train_loss\r\n10,100,5,3\r\n20,200,9,3\r\n");
    snprintf(path, sizeof path, "%s/metrics.csv", run_path(r));
    cr_assert_eq(metrics_read(&t, path), STATUS_OK, "%s", status_message());
    cr_expect(t.count == 2 && !t.torn && t.rows[1].seconds == 9.0 && t.rows[1].train_loss == 3.0);
    metrics_close(&t);
    cr_assert_eq(run_metrics_open(r, 20, &seconds, said), STATUS_OK, "%s", status_message());
    cr_expect(seconds == 9.0 && !*said, "%s", said);
    char *text = read_back(r, "metrics.csv");
    cr_expect_eq(strncmp(text, metrics_header, strlen(metrics_header)), 0);
    cr_expect(strstr(text, "\n10,100,5,3,,") && strstr(text, "\n20,200,9,3,,"), "%s", text);
    cr_expect_null(strchr(text, '\r'));
    free(text);
    run_close(&r);
}

/* @param bytes  that a file of this process may have from here on */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN); /* a write past it fails as one to a full disk does */
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Rows and events that find no room are written when there is some, in their order. */
Test(run, what_cannot_be_written_waits)
{
    run *r = NULL;
    double seconds;
    char said[STATUS_MESSAGE_SIZE];
    cr_assert_eq(run_open(&r, &j), STATUS_OK);
    cr_assert_eq(run_metrics_open(r, 0, &seconds, said), STATUS_OK);
    cr_assert_eq(run_event(r, "started", json_object()), STATUS_OK);
    limit_files(20);
    for (uint64_t step = 1; step <= 3; step++) {
        cr_expect_eq(run_metrics_append(r, &(metrics){.step = step}), STATUS_IO);
        cr_expect(strstr(status_message(), "metrics.csv"), "%s", status_message());
        status_clear();
    }
    cr_expect_eq(run_event(r, "checkpoint", json_object()), STATUS_IO);
    status_clear();
    cr_expect_eq(run_rows_waiting(r), 3);
    limit_files(RLIM_INFINITY);
    cr_expect_eq(run_metrics_append(r, &(metrics){.step = 4}), STATUS_OK, "%s", status_message());
    cr_expect_eq(run_rows_waiting(r), 0);
    run_settle(r);
    char *rows = read_back(r, "metrics.csv"), *events = read_back(r, "events.jsonl");
    const char *at = strchr(rows, '\n');
    for (char step = '1'; step <= '4'; step++, at = strchr(at + 1, '\n'))
        cr_expect(at && at[1] == step && at[2] == ',', "%s", rows);
    cr_expect_str_eq(at, "\n");
    cr_expect(strstr(events, "started") && strstr(events, "checkpoint"), "%s", events);
    free(rows);
    free(events);
    run_close(&r);
}

/* An editor, or a person who makes room, may replace or remove the file of a run that goes on. */
Test(run, rows_go_to_the_file_that_is_there)
{
    run *r = NULL;
    double seconds;
    char said[STATUS_MESSAGE_SIZE], path[2000];
    cr_assert_eq(run_open(&r, &j), STATUS_OK);
    cr_assert_eq(run_metrics_open(r, 0, &seconds, said), STATUS_OK);
    snprintf(path, sizeof path, "%s/metrics.csv", run_path(r));
    unlink(path);
    cr_assert_eq(run_metrics_append(r, &(metrics){.step = 7}), STATUS_OK);
    char *text = read_back(r, "metrics.csv");
    size_t header = strlen(metrics_header);
    cr_expect_eq(strncmp(text, metrics_header, header), 0);
    cr_expect_eq(strncmp(text + header, "7,", 2), 0);
    free(text);
    run_close(&r);
}

Test(run, other_columns_are_refused)
{
    run *r = NULL;
    double seconds;
    char said[STATUS_MESSAGE_SIZE];
    static const char *const others[] = {"step,tokens,seconds,loss\n10,100,5,3\n",
                                         "step,tokens,sec\n10,100,5\n"};
    cr_assert_eq(run_open(&r, &j), STATUS_OK);
    for (size_t i = 0; i < 2; i++) {
        write_metrics(r, others[i]);
        cr_expect_eq(run_metrics_open(r, 10, &seconds, said), STATUS_INPUT);
        cr_expect(strstr(status_message(), "metrics.csv: other columns"), "%s", status_message());
        status_clear();
        char *text = read_back(r, "metrics.csv");
        cr_expect_str_eq(text, others[i]);
        free(text);
    }
    run_close(&r);
}

Test(run, metrics_are_read_as_they_were_written)
{
    run *r = NULL;
    double seconds;
    char said[STATUS_MESSAGE_SIZE];
    metrics_table t;
    char path[2000];
    metrics row = {.step = 10,
                   .tokens = 1000,
                   .seconds = 5.25,
                   .train_loss = 3.0,
                   .valid_loss = NAN,
                   .bytes_sent = 7,
                   .comm_fraction = 0.5,
                   .seconds_wait = 1.5,
                   .loo_loss = NAN};
    cr_assert_eq(run_open(&r, &j), STATUS_OK);
    cr_assert_eq(run_metrics_open(r, 0, &seconds, said), STATUS_OK);
    cr_assert_eq(run_metrics_append(r, &row), STATUS_OK);
    row.step = 20;
    cr_assert_eq(run_metrics_append(r, &row), STATUS_OK);
    snprintf(path, sizeof path, "%s/metrics.csv", run_path(r));
    cr_assert_eq(metrics_read(&t, path), STATUS_OK, "%s", status_message());
    cr_assert_eq(t.count, 2);
    cr_expect_not(t.torn);
    cr_expect_eq(t.rows[1].step, 20);
    cr_expect_eq(t.rows[0].seconds, 5.25);
    cr_expect(isnan(t.rows[0].valid_loss) && isnan(t.rows[0].loo_loss));
    cr_expect_eq(t.rows[0].bytes_sent, 7);
    cr_expect_eq(t.rows[0].comm_fraction, 0.5);
    cr_expect_eq(t.rows[0].seconds_wait, 1.5);
    metrics_close(&t);
    run_close(&r);
}

/* A torn last row belongs to a run that goes on or was killed; anything else is damage. */
Test(run, damaged_metrics_are_refused_by_their_line)
{
    static const struct {
        const char *rows, *said;
    } cases[] = {
        {"10,100,5,3\n20,200", NULL},
        {"10,100,5,3\n20,200,x,3\n", ":3: 'x' found in field 3"},
        {"10,100,5,3,1\n", ":2: 5 fields found, 4 expected"},
        {"10,100,5\n", ":2: 3 fields found, 4 expected"},
        {"10,,5,3\n", ":2: '' found in field 2"},
        {"10,100,5,3\n10,100,5,3\n", ":3: step 10 found after step 10"},
    };
    run *r = NULL;
    char path[2000], text[300];
    cr_assert_eq(run_open(&r, &j), STATUS_OK);
    snprintf(path, sizeof path, "%s/metrics.csv", run_path(r));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        metrics_table t;
        snprintf(text, sizeof text, "step,tokens,seconds,train_loss\n%s", cases[i].rows);
        write_metrics(r, text);
        cr_expect_eq(metrics_read(&t, path), cases[i].said ? STATUS_INPUT : STATUS_OK, "case %zu",
                     i);
        if (cases[i].said)
            cr_expect(strstr(status_message(), cases[i].said), "%s", status_message());
        else
            cr_expect(t.torn && t.count == 1 && isnan(t.rows[0].lr));
        status_clear();
        metrics_close(&t);
    }
    run_close(&r);
}

Test(run, clearing_needs_force)
{
    run *r = NULL;
    char path[2000], copy[2000];
    cr_assert_eq(run_open(&r, &j), STATUS_OK);
    snprintf(copy, sizeof copy, "%s/step-00000010-best", run_path(r));
    mkdir(copy, 0777);
    cr_expect_eq(run_clear(r, false), STATUS_OK);
    snprintf(path, sizeof path, "%s/step-00000010", run_path(r));
    mkdir(path, 0777);
    cr_expect_eq(run_clear(r, false), STATUS_INPUT);
    cr_expect(strstr(status_message(), "1 checkpoint") && strstr(status_message(), "--force"), "%s",
              status_message());
    status_clear();
    cr_expect_eq(access(path, F_OK), 0);
    cr_expect_eq(run_clear(r, true), STATUS_OK);
    cr_expect_neq(access(path, F_OK), 0);
    cr_expect_eq(access(copy, F_OK), 0);
    run_close(&r);
}

Test(run, events_are_lines_of_json)
{
    run *r = NULL;
    cr_assert_eq(run_open(&r, &j), STATUS_OK);
    cr_assert_eq(run_event(r, "started", json_pack("{si}", "step", 3)), STATUS_OK);
    cr_assert_eq(run_event(r, "finished", json_object()), STATUS_OK);
    char *text = read_back(r, "events.jsonl");
    cr_expect(strstr(text, "\"event\": \"started\", \"step\": 3}\n"), "%s", text);
    cr_expect(strstr(text, "\"event\": \"finished\"}\n"), "%s", text);
    free(text);
    run_close(&r);
}

/* What a killed process or a machine that went down left of a line harms no other. */
Test(run, events_after_a_torn_one_are_whole)
{
    static const struct {
        const char *bytes;
        size_t size;
    } torn[] = {{"{\"time\": \"20", 12}, {"\0\0\0\0", 4}};
    run *r = NULL;
    char path[2000];
    json_t *events;
    size_t damaged;
    bool broken;
    cr_assert_eq(run_open(&r, &j), STATUS_OK);
    cr_assert_eq(run_event(r, "started", json_object()), STATUS_OK);
    snprintf(path, sizeof path, "%s/events.jsonl", run_path(r));
    for (size_t i = 0; i < 2; i++) {
        FILE *out = fopen(path, "ab");
        cr_assert(out);
        fwrite(torn[i].bytes, 1, torn[i].size, out);
        fclose(out);
        cr_assert_eq(history_broken(&broken, run_path(r)), STATUS_OK);
        cr_expect_eq(broken, i == 0);
        cr_assert_eq(run_event(r, "finished", json_object()), STATUS_OK);
        cr_assert_eq(history_read_lines(&events, &damaged, run_path(r), "events.jsonl"), STATUS_OK);
        cr_expect_eq(json_array_size(events), i + 2);
        cr_expect_eq(damaged, i + 1);
        json_decref(events);
    }
    run_close(&r);
}

Test(run, needs_space_and_a_directory)
{
    run *r = NULL;
    cr_assert_eq(run_open(&r, &j), STATUS_OK);
    cr_expect_eq(run_check_space(r, 1), STATUS_OK);
    cr_expect_neq(run_check_space(r, UINT64_MAX), STATUS_OK);
    cr_expect(strstr(status_message(), run_path(r)), "%s", status_message());
    status_clear();
    run_close(&r);
    strcpy(j.name, "deep/.lock/below");
    cr_expect_eq(run_open(&r, &j), STATUS_INPUT);
    cr_expect(strstr(status_message(), ".lock"), "%s", status_message());
    status_clear();
}
