/* Examples in files: what is read back, and everything that can be wrong with them. */
#include "folder_fixture.h"
#include "io/examples/examples.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(examples_files, .init = open_folder, .fini = close_folder);

static char text[512];

/* "csv:a.csv", or "idx:a,b", with the folder before each name. */
static const char *text_of(const char *kind, const char *first, const char *second)
{
    snprintf(text, sizeof text, "%s:%s/%s", kind, folder, first);
    size_t used = strlen(text);
    if (second) snprintf(text + used, sizeof text - used, ",%s/%s", folder, second);
    return text;
}

static examples *open_files(const char *set, size_t outputs, bool values)
{
    examples *x = NULL;
    status result = examples_open(&x, &(examples_spec){.text = set, .outputs = outputs}, values);
    cr_assert_eq(result, STATUS_OK, "%s", status_message());
    return x;
}

/* The whole sentence: the folder, then `sentence`. */
static void expect_refused_as(const char *set, size_t outputs, bool values, const char *sentence)
{
    examples *x = NULL;
    char whole[512];
    status result = examples_open(&x, &(examples_spec){.text = set, .outputs = outputs}, values);
    cr_expect_eq(result, STATUS_INPUT, "%s accepted", set);
    cr_expect_null(x);
    snprintf(whole, sizeof whole, "%s/%s", folder, sentence);
    cr_expect_str_eq(status_message(), whole);
    status_clear();
}

/* An IDX file: a magic, up to three sizes, then bytes 0, 1, 2, ... */
static void write_idx(const char *name, uint32_t magic, const uint32_t *sizes, size_t size_count,
                      size_t bytes)
{
    unsigned char file[256];
    size_t at = 0;
    for (size_t w = 0; w <= size_count; w++) {
        uint32_t word = w == 0 ? magic : sizes[w - 1];
        for (int shift = 24; shift >= 0; shift -= 8) file[at++] = (unsigned char)(word >> shift);
    }
    for (size_t i = 0; i < bytes; i++) file[at++] = (unsigned char)i;
    write_file(name, file, at);
}

static void write_images(const char *name, uint32_t count, uint32_t rows, uint32_t columns,
                         size_t bytes)
{
    write_idx(name, 0x803, (uint32_t[]){count, rows, columns}, 3, bytes);
}

static void write_labels(const char *name, uint32_t count, size_t bytes)
{
    write_idx(name, 0x801, &count, 1, bytes);
}

Test(examples_files, idx_is_read)
{
    float image[6];
    uint16_t label;
    write_images("images", 3, 2, 3, 18);
    write_labels("labels", 3, 3);
    examples *x = open_files(text_of("idx", "images", "labels"), 0, false);
    cr_expect_eq(examples_count(x), 3);
    cr_expect_eq(examples_inputs(x), 6);
    cr_expect_eq(examples_outputs(x), 3);
    cr_expect(examples_classes(x));
    cr_assert_eq(examples_row(x, 2, image, &label, NULL), STATUS_OK);
    cr_expect_eq(label, 2);
    for (int i = 0; i < 6; i++) cr_expect_eq(image[i], (float)(12 + i) / 255.0F);
    examples_close(&x);
    x = open_files(text_of("idx", "images", "labels"), 10, false);
    cr_expect_eq(examples_outputs(x), 10);
    examples_close(&x);
}

static void expect_idx_refused(const char *images, const char *labels, const char *sentence)
{
    expect_refused_as(text_of("idx", images, labels), 0, false, sentence);
}

/* NAME.gz of NAME, without its last bytes. */
static void pack(const char *name, off_t missing)
{
    char command[2 * sizeof folder + 100], packed[64];
    struct stat info;
    snprintf(packed, sizeof packed, "%s.gz", name);
    snprintf(command, sizeof command, "gzip -c %s/%s >%s/%s", folder, name, folder, packed);
    cr_assert_eq(system(command), 0);
    cr_assert_eq(stat(path_of(packed), &info), 0);
    cr_assert_eq(truncate(path_of(packed), info.st_size - missing), 0);
}

Test(examples_files, packed_idx_is_read)
{
    float image[6];
    uint16_t label;
    write_images("images", 3, 2, 3, 18);
    write_labels("labels", 3, 3);
    pack("images", 0);
    pack("labels", 0);
    examples *x = open_files(text_of("idx", "images.gz", "labels.gz"), 0, false);
    cr_expect_eq(examples_count(x), 3);
    cr_assert_eq(examples_row(x, 2, image, &label, NULL), STATUS_OK);
    cr_expect_eq(label, 2);
    for (int i = 0; i < 6; i++) cr_expect_eq(image[i], (float)(12 + i) / 255.0F);
    examples_close(&x);
    expect_idx_refused("labels.gz", "labels",
                       "labels.gz: header: magic 0x00000801 found, 0x00000803 (an IDX file of "
                       "images) expected");
    write_images("long", 3, 2, 3, 19);
    pack("long", 0);
    expect_idx_refused("long.gz", "labels",
                       "long.gz: header: 3 images of 2 x 3 promised, 19 bytes of pixels found");
    pack("images", 12);
    expect_idx_refused("images.gz", "labels",
                       "images.gz: byte 0 of the unpacked file: whole data expected: truncated "
                       "gzip input");
    write_images("huge", UINT32_MAX, UINT32_MAX, UINT32_MAX, 18);
    pack("huge", 0);
    expect_idx_refused("huge.gz", "labels",
                       "huge.gz: header: 4294967295 images of 4294967295 x 4294967295 promised, 0 "
                       "bytes of pixels found");
    write_idx("none", 0x803, (uint32_t[]){0, 2, 3}, 3, 0);
    cr_assert_eq(truncate(path_of("none"), 0), 0);
    pack("none", 0);
    expect_idx_refused("none.gz", "labels", "none.gz: header: 0 bytes found, 16 expected");
}

Test(examples_files, bad_idx_is_named)
{
    write_images("images", 3, 2, 3, 18);
    write_labels("labels", 3, 3);
    write_images("short", 3, 2, 3, 17);
    write_images("long", 3, 2, 3, 19);
    write_images("none", 0, 2, 3, 0);
    write_images("flat", 3, 0, 3, 0);
    write_images("huge", UINT32_MAX, UINT32_MAX, UINT32_MAX, 18);
    write_labels("few", 2, 2);
    write_labels("cut_labels", 3, 2);
    write_idx("header", 0x803, (uint32_t[]){3, 2}, 2, 0);
    write_idx("magic", 0xd03, (uint32_t[]){3, 2, 3}, 3, 18);
    write_file("tiny", "ab", 2);
    write_file("empty", "", 0);
    write_file("packed.gz", "\x1f\x8b\x08\x00xyz", 7);
    mkdir(path_of("directory"), 0777);
    cr_assert_eq(mkfifo(path_of("pipe"), 0666), 0);
    expect_idx_refused("short", "labels",
                       "short: header: 3 images of 2 x 3 promised, 17 bytes of pixels found");
    expect_idx_refused("long", "labels",
                       "long: header: 3 images of 2 x 3 promised, 19 bytes of pixels found");
    expect_idx_refused("huge", "labels",
                       "huge: header: 4294967295 images of 4294967295 x 4294967295 promised, 18 "
                       "bytes of pixels found");
    expect_idx_refused("none", "labels", "none: images expected, none found");
    expect_idx_refused("flat", "labels", "flat: images expected, none found");
    expect_idx_refused("header", "labels", "header: header: 12 bytes found, 16 expected");
    expect_idx_refused("magic", "labels",
                       "magic: header: magic 0x00000d03 found, 0x00000803 (an IDX file of images) "
                       "expected");
    expect_idx_refused("labels", "labels",
                       "labels: header: magic 0x00000801 found, 0x00000803 (an IDX file of images) "
                       "expected");
    expect_idx_refused("tiny", "labels", "tiny: header: 2 bytes found, 16 expected");
    expect_idx_refused("empty", "labels",
                       "empty: an IDX file of images expected, an empty file found");
    expect_idx_refused("packed.gz", "labels",
                       "packed.gz: header: magic 0x1f8b0800 found, 0x00000803 (an IDX file of "
                       "images) expected");
    expect_idx_refused("directory", "labels",
                       "directory: an IDX file of images expected, no regular file found");
    expect_idx_refused("pipe", "labels",
                       "pipe: an IDX file of images expected, no regular file found");
    expect_idx_refused("absent", "labels", "absent: No such file or directory");
    expect_idx_refused("images", "absent", "absent: No such file or directory");
    expect_idx_refused("images", "images",
                       "images: header: magic 0x00000803 found, 0x00000801 (an IDX file of labels) "
                       "expected");
    expect_idx_refused("images", "cut_labels",
                       "cut_labels: header: 3 labels promised, 2 bytes of labels found");
    expect_refused_as(text_of("idx", "images", "labels"), 2, false,
                      "labels: label 2 is 2, a class below 2 expected");
    char sentence[256];
    snprintf(sentence, sizeof sentence,
             "few: 2 labels found, 3 expected, as many as images in %s/images", folder);
    expect_idx_refused("images", "few", sentence);
    examples *x = NULL;
    cr_expect_eq(examples_open(&x, &(examples_spec){.text = "idx:one"}, false), STATUS_INPUT);
    cr_expect_str_eq(status_message(), "idx:one: two files expected, idx:IMAGES,LABELS; one found");
    status_clear();
}

enum { RECORD = 3073 };

/* Records whose labels are first, first + 1, ..., and whose pixels are all the label times 20. */
static void write_batch(const char *name, int first, size_t bytes)
{
    static unsigned char file[4 * RECORD];
    cr_assert_leq(bytes, sizeof file);
    for (size_t i = 0; i < bytes; i++) {
        int label = first + (int)(i / RECORD);
        file[i] = (unsigned char)(i % RECORD == 0 ? label : label * 20);
    }
    write_file(name, file, bytes);
}

Test(examples_files, cifar_is_read)
{
    static float image[RECORD - 1];
    write_batch("batch_1.bin", 3, 2 * RECORD);
    write_batch("batch_2.bin", 7, RECORD);
    write_batch("batch_3.bin", 1, 3 * RECORD);
    examples *x = open_files(text_of("cifar", "batch_*.bin", NULL), 0, false);
    cr_expect_eq(examples_count(x), 6);
    cr_expect_eq(examples_inputs(x), RECORD - 1);
    cr_expect_eq(examples_outputs(x), 10);
    static const uint16_t labels[] = {3, 4, 7, 1, 2, 3};
    for (uint64_t i = 0; i < 6; i++) {
        uint16_t label;
        cr_assert_eq(examples_row(x, i, image, &label, NULL), STATUS_OK);
        cr_expect_eq(label, labels[i]);
        cr_expect_eq(image[0], (float)(20 * label) / 255.0F);
        cr_expect_eq(image[RECORD - 2], image[0]);
    }
    examples_close(&x);
}

static void expect_cifar_refused(const char *pattern, const char *sentence)
{
    expect_refused_as(text_of("cifar", pattern, NULL), 0, false, sentence);
}

Test(examples_files, bad_cifar_is_named)
{
    write_batch("good_1.bin", 0, RECORD);
    write_batch("good_2.bin", 0, RECORD - 1);
    write_batch("label.bin", 8, 3 * RECORD);
    write_file("empty.bin", "", 0);
    mkdir(path_of("directory"), 0777);
    expect_cifar_refused("good_*.bin",
                         "good_2.bin: 3072 bytes found, whole records of 3073 bytes expected");
    expect_cifar_refused("label.bin", "label.bin: the label of record 2 is 10, below 10 expected");
    expect_cifar_refused("empty.bin", "empty.bin: a CIFAR-10 batch expected, an empty file found");
    expect_cifar_refused("directory",
                         "directory: a CIFAR-10 batch expected, no regular file found");
    expect_cifar_refused("absent_*",
                         "absent_*: a CIFAR-10 batch expected, no file of this name found");
}

static void write_csv(const char *name, const char *table)
{
    write_file(name, table, strlen(table));
}

Test(examples_files, csv_is_read)
{
    float inputs[2], value;
    uint16_t label;
    write_csv("x.csv", "width,height,kind\r\n1.5, -2e3 ,0\r\n+3,.25,2\r\n4,5,1");
    examples *x = open_files(text_of("csv", "x.csv", NULL), 0, false);
    cr_expect_eq(examples_count(x), 3);
    cr_expect_eq(examples_inputs(x), 2);
    cr_expect_eq(examples_outputs(x), 3);
    cr_assert_eq(examples_row(x, 0, inputs, &label, NULL), STATUS_OK);
    cr_expect(inputs[0] == 1.5F && inputs[1] == -2000 && label == 0);
    cr_assert_eq(examples_row(x, 1, inputs, &label, NULL), STATUS_OK);
    cr_expect(inputs[0] == 3 && inputs[1] == 0.25F && label == 2);
    examples_close(&x);
    write_csv("y.csv", "x,y\n1,-0.125\n2,1e-3\n");
    x = open_files(text_of("csv", "y.csv", NULL), 1, true);
    cr_expect_eq(examples_count(x), 2);
    cr_expect_eq(examples_outputs(x), 1);
    cr_assert_eq(examples_row(x, 0, inputs, NULL, &value), STATUS_OK);
    cr_expect(inputs[0] == 1 && value == -0.125F);
    examples_close(&x);
}

static void expect_csv_refused(const char *table, bool values, const char *sentence)
{
    write_csv("x.csv", table);
    expect_refused_as(text_of("csv", "x.csv", NULL), 3, values, sentence);
}

/* As many columns as no memory holds for as many rows: they are counted first. */
Test(examples_files, wide_header)
{
    enum { COLUMNS = 1000000, ROWS = 1000000 };
    char *table = malloc(COLUMNS + 2 * ROWS + 1);
    memset(table, ',', COLUMNS);
    table[COLUMNS] = '\n';
    for (size_t i = 0; i < ROWS; i++) memcpy(table + COLUMNS + 1 + 2 * i, "1\n", 2);
    write_file("x.csv", table, COLUMNS + 2 * ROWS + 1);
    free(table);
    expect_refused_as(text_of("csv", "x.csv", NULL), 3, false,
                      "x.csv:2: 1 columns found, the header's 1000001 expected");
}

Test(examples_files, bad_csv_is_named)
{
    expect_csv_refused("a,b,c\n1,2,0\n1,x,0\n", false, "x.csv:3:2: 'x' found, a number expected");
    expect_csv_refused("a,b,c\n1,,0\n", false, "x.csv:2:2: '' found, a number expected");
    expect_csv_refused("a,b,c\n1,0x10,0\n", false, "x.csv:2:2: '0x10' found, a number expected");
    expect_csv_refused("a,b,c\n1,nan,0\n", false, "x.csv:2:2: 'nan' found, a number expected");
    expect_csv_refused("a,b,c\n1,1e39,0\n", false, "x.csv:2:2: '1e39' found, a number expected");
    expect_csv_refused("a,b,c\n1,2 3,0\n", false, "x.csv:2:2: '2 3' found, a number expected");
    expect_csv_refused("a,b,c\n1,\x01z,0\n", false, "x.csv:2:2: '?z' found, a number expected");
    expect_csv_refused("a,b,c\n1,2,0\n1,2\n", false,
                       "x.csv:3: 2 columns found, the header's 3 expected");
    expect_csv_refused("a,b,c\n1,2,0,4\n", false,
                       "x.csv:2: 4 columns found, the header's 3 expected");
    expect_csv_refused("a,b,c\n1,2,0\n\n1,2,0\n", false,
                       "x.csv:3: 1 columns found, the header's 3 expected");
    expect_csv_refused("a,b,c\n1,2,3\n", false,
                       "x.csv:2:3: '3' found, a class, a whole number below 3, expected");
    expect_csv_refused("a,b,c\n1,2,-1\n", false,
                       "x.csv:2:3: '-1' found, a class, a whole number below 3, expected");
    expect_csv_refused("a,b,c\n1,2,0.5\n", false,
                       "x.csv:2:3: '0.5' found, a class, a whole number below 3, expected");
    expect_csv_refused("1,2,0\n3,4,1\n", false, "x.csv:1: a header line expected, numbers found");
    expect_csv_refused("a\n1\n", false, "x.csv:1: 1 column found, inputs and a target expected");
    expect_csv_refused("a,b,c\n", false, "x.csv: rows below the header expected, none found");
    expect_csv_refused("a,b,c", true, "x.csv: rows below the header expected, none found");
    expect_csv_refused("", false, "x.csv: a table expected, an empty file found");
    mkdir(path_of("directory"), 0777);
    expect_refused_as(text_of("csv", "directory", NULL), 0, true,
                      "directory: a table expected, no regular file found");
    expect_refused_as(text_of("csv", "absent.csv", NULL), 0, true,
                      "absent.csv: No such file or directory");
    char shown[128], field[128] = "a,b\n1,";
    memset(field + 6, '9', 70);
    snprintf(shown, sizeof shown, "x.csv:2:2: '%.32s' found, a number expected", field + 6);
    write_csv("x.csv", field);
    expect_refused_as(text_of("csv", "x.csv", NULL), 0, true, shown);
}

Test(examples_files, mistakes_need_another_class)
{
    examples *x = NULL;
    write_csv("x.csv", "a,b\n1,0\n2,0\n");
    examples_spec spec = {.text = text_of("csv", "x.csv", NULL), .mislabelled = 0.5};
    cr_expect_eq(examples_open(&x, &spec, false), STATUS_INPUT);
    cr_expect(strstr(status_message(), "mislabelled rows asked for, but there is one class only"),
              "%s", status_message());
    status_clear();
}
