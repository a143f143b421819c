/* What comes from outside is a regular file, what is written goes where nothing else is. */
#include "folder_fixture.h"
#include "io/files/data_file.h"
#include "io/files/json_text.h"
#include "io/files/lock.h"
#include "io/jobs/job.h"
#include "io/runs/output.h"
#include "io/runs/run.h"
#include "io/tokens/tokenizer.h"
#include "io/weights/config_json.h"
#include "io/weights/pretrained.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* What waits for a pipe's writer is ended by Criterion. */
TestSuite(file, .init = open_folder, .fini = close_folder, .timeout = 30);

static void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

static void make_pipe(const char *name)
{
    cr_assert_eq(mkfifo(path_of(name), 0600), 0);
}

static void make_folder(const char *name)
{
    cr_assert_eq(mkdir(path_of(name), 0700), 0);
}

static void expect_said(status result, status expected, const char *words)
{
    cr_expect_eq(result, expected, "status %d", (int)result);
    cr_expect(strstr(status_message(), words), "'%s' expected in: %s", words, status_message());
    status_clear();
}

static void expect_text(const char *name, const char *expected)
{
    char *text = NULL;
    size_t size;
    cr_assert_eq(file_read_text(&text, &size, path_of(name), 1000), STATUS_OK, "%s",
                 status_message());
    cr_expect_str_eq(text, expected);
    free(text);
}

/* ---- reading ---- */

Test(file, nothing_but_a_regular_file_is_read)
{
    int fd;
    char *text;
    size_t size;
    make_pipe("pipe");
    make_folder("folder");
    const char *const others[] = {"pipe", "folder"};
    for (size_t i = 0; i < 2; i++) {
        const char *words = "no regular file found";
        expect_said(file_open(&fd, NULL, path_of(others[i]), "a table"), STATUS_INPUT, words);
        cr_expect_eq(fd, -1);
        expect_said(file_read_text(&text, &size, path_of(others[i]), 10), STATUS_INPUT, words);
        cr_expect_null(text);
    }
    expect_said(file_open(&fd, NULL, "/dev/zero", "a table"), STATUS_INPUT,
                "/dev/zero: a table expected, no regular file found");
    expect_said(file_open(&fd, NULL, path_of("absent"), "a table"), STATUS_INPUT, "No such file");
}

/* Every reader of files from outside opens them by the one rule. */
Test(file, no_reader_waits_for_a_pipe)
{
    job j;
    gpt2_config c;
    tokenizer *t;
    json_t *root;
    const char *words = "no regular file found";
    const char *const names[] = {"job.yaml", "config.json", "vocab.json", "merges.txt",
                                 "model.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) make_pipe(names[i]);
    expect_said(job_read(&j, path_of("job.yaml"), NULL, 0), STATUS_INPUT, words);
    expect_said(config_json_read(&c, path_of("config.json")), STATUS_INPUT, words);
    expect_said(tokenizer_open(&t, folder), STATUS_INPUT, words);
    expect_said(pretrained_model(&c, path_of("model.safetensors")), STATUS_INPUT, "expected");
    expect_said(json_text_read(&root, path_of("config.json"), 0), STATUS_INPUT, words);
    cr_expect_not(lock_is_held(path_of("job.yaml")));
    unlink(path_of("config.json"));
    write_text("config.json",
               "{\"model_type\": \"gpt2\", \"n_layer\": 1, \"n_head\": 1, \"n_embd\": 8, "
               "\"n_positions\": 8, \"vocab_size\": 8}");
    expect_said(pretrained_model(&c, folder), STATUS_INPUT, words);
}

/* ---- writing ---- */

Test(file, a_temporary_file_is_no_link_of_someone_else)
{
    char victim[128];
    write_text("victim", "mine");
    strcpy(victim, path_of("victim"));
    cr_assert_eq(symlink(victim, path_of("out.tmp")), 0);
    cr_assert_eq(file_write_atomic(path_of("out"), "new", 3), STATUS_OK, "%s", status_message());
    expect_text("victim", "mine");
    expect_text("out", "new");
    write_text("out.tmp", "what a killed process left");
    cr_assert_eq(file_write_atomic(path_of("out"), "newer", 5), STATUS_OK, "%s", status_message());
    expect_text("out", "newer");
    make_pipe("out.tmp");
    cr_assert_eq(file_write_atomic(path_of("out"), "newest", 6), STATUS_OK, "%s", status_message());
    expect_text("out", "newest");
    make_folder("out.tmp");
    expect_said(file_write_atomic(path_of("out"), "no", 2), STATUS_IO, "out.tmp: Is a directory");
}

Test(file, nothing_is_added_to_a_pipe)
{
    make_pipe("events.jsonl");
    expect_said(file_append_line(path_of("events.jsonl"), "{}", 2), STATUS_IO, "no regular file");
}

/* The limit cuts the second write short, as a disk that fills up does. */
Test(file, short_writes_go_on_and_end_in_a_sentence)
{
    enum { BYTES = 1 << 16, ROOM = 5000 };
    int fd;
    char *data = calloc(1, BYTES), text[512];
    struct rlimit before, small;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = ROOM;
    cr_assert_eq(data_file_create(&fd, path_of("data"), 0), 0);
    setrlimit(RLIMIT_FSIZE, &small);
    int error = data_file_write(fd, 100, data, BYTES);
    status written = file_write_atomic(path_of("whole"), data, BYTES);
    setrlimit(RLIMIT_FSIZE, &before);
    cr_expect_eq(error, EFBIG);
    data_file_explain(text, sizeof text, "write", "x/data", folder, error);
    cr_expect(strstr(text, "write x/data: File too large (") && strstr(text, " bytes are free"),
              "%s", text);
    expect_said(written, STATUS_IO, "bytes are free there");
    cr_expect_eq(access(path_of("whole.tmp"), F_OK), -1);
    cr_expect_eq(data_file_close(&fd, true), 0);
    cr_expect_eq(fd, -1);
    free(data);
}

Test(file, parts_are_written_at_their_places)
{
    int first, second;
    char found[8] = "";
    cr_assert_eq(data_file_create(&first, path_of("data"), 6), 0);
    cr_assert_eq(data_file_join(&second, path_of("data")), 0);
    cr_expect_eq(data_file_write(second, 3, "def", 3), 0);
    cr_expect_eq(data_file_write(first, 0, "abc", 3), 0);
    cr_expect_eq(data_file_close(&second, true), 0);
    cr_expect_eq(data_file_close(&first, true), 0);
    expect_text("data", "abcdef");
    cr_assert_eq(file_open(&first, NULL, path_of("data"), "data"), STATUS_OK);
    cr_expect_eq(data_file_read(first, "data", "wte", 2, found, 3), STATUS_OK);
    cr_expect_str_eq(found, "cde");
    expect_said(data_file_read(first, "data", "wte", 4, found, 4), STATUS_INPUT,
                "data: truncated in tensor 'wte': 4 bytes expected at 4, 2 found");
    data_file_close(&first, false);
    cr_assert_eq(symlink("data", path_of("link")), 0);
    make_pipe("pipe");
    cr_expect_eq(data_file_join(&second, path_of("link")), ELOOP);
    cr_expect_neq(data_file_join(&second, path_of("pipe")), 0);
}

/* ---- outputs ---- */

Test(file, what_lies_inside_is_seen_through_links)
{
    char rest[64], directory[128];
    make_folder("d");
    make_folder("d/e");
    strcpy(directory, path_of("d"));
    cr_assert_eq(symlink("d/e", path_of("link")), 0);
    cr_expect(file_inside(rest, sizeof rest, path_of("link/x/y"), directory));
    cr_expect_str_eq(rest, "e/x/y");
    cr_expect(file_inside(rest, sizeof rest, path_of("d/e/.."), directory));
    cr_expect_str_eq(rest, "");
    cr_expect_not(file_inside(NULL, 0, path_of("dx"), directory));
    cr_expect_not(file_inside(NULL, 0, folder, directory));
    cr_expect(file_inside(rest, sizeof rest, directory, "/"));
    cr_expect_str_eq(rest, directory + 1);
}

Test(file, a_result_takes_no_inputs_place)
{
    char data[128], pattern[128], pair[300], hard[128];
    write_text("a.bin", "tokens");
    write_text("b.bin", "tokens");
    strcpy(data, path_of("a.bin"));
    strcpy(hard, path_of("hard"));
    cr_assert_eq(link(data, hard), 0);
    strcpy(pattern, path_of("*.bin"));
    snprintf(pair, sizeof pair, "idx:%s/absent,%s", folder, data);
    const char *const inputs[] = {NULL, pattern}, *const pairs[] = {pair};
    const char *words = "the input";
    expect_said(output_check_file(path_of("b.bin"), inputs, 2), STATUS_INPUT, words);
    expect_said(output_check_file(hard, inputs, 2), STATUS_INPUT, words);
    expect_said(output_check_file(data, pairs, 1), STATUS_INPUT, words);
    expect_said(output_check_file(path_of("b.bin"), pairs, 1), STATUS_OK, "");
    expect_said(output_check_file(path_of("c.bin"), inputs, 2), STATUS_OK, "");
    make_pipe("pipe");
    expect_said(output_check_file(path_of("pipe"), NULL, 0), STATUS_INPUT, "something else found");
}

static bool takes_nothing(const char *name)
{
    (void)name;
    return false;
}

Test(file, a_result_lies_in_no_checkpoint_and_replaces_no_file_of_a_run)
{
    make_folder("run");
    make_folder("run/step-00000001");
    write_text("run/step-00000001/state.json", "{}");
    write_text("run/step-00000001/model.safetensors", "");
    write_text("run/job.yaml", "");
    write_text("run/events.jsonl", "");
    const char *in = "lies in the checkpoint";
    expect_said(output_check_file(path_of("run/step-00000001/x/y.csv"), NULL, 0), STATUS_INPUT, in);
    expect_said(output_check_directory(path_of("run/step-00000001"), NULL, 0, takes_nothing),
                STATUS_INPUT, in);
    expect_said(output_check_run(path_of("run/step-00000001/new"), NULL, 0), STATUS_INPUT, in);
    expect_said(output_check_file(path_of("run/metrics.csv"), NULL, 0), STATUS_INPUT, "of the run");
    expect_said(output_check_file(path_of("run/report.html"), NULL, 0), STATUS_OK, "");
    expect_said(output_check_file(path_of("run/rows.csv"), NULL, 0), STATUS_OK, "");
    expect_said(output_check_directory(path_of("run"), NULL, 0, takes_nothing), STATUS_INPUT,
                "the directory of a run found");
    expect_said(output_check_directory(path_of("run/model"), NULL, 0, takes_nothing), STATUS_OK,
                "");

    char job_file[128], step[128];
    strcpy(job_file, path_of("run/job.yaml"));
    strcpy(step, path_of("run/step-00000001"));
    const char *const jobs[] = {job_file}, *const steps[] = {step};
    expect_said(output_check_run(path_of("run"), jobs, 1), STATUS_INPUT, "holds the input");
    expect_said(output_check_run(path_of("run"), steps, 1), STATUS_INPUT, "holds the input");
    expect_said(output_check_run(path_of("other"), steps, 1), STATUS_OK, "");
}
