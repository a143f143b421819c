/* Event files, read back by a reader of this file's own: framing, checksums, protocol buffers. */
#include "folder_fixture.h"
#include "io/runs/tensorboard.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <math.h>
#include <string.h>

enum { SIZE = 1 << 16 };

/* RFC 3720's polynomial, byte by byte from a table. */
static uint32_t checksum(const unsigned char *data, size_t size)
{
    uint32_t table[256], sum = 0xffffffffU;
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int k = 0; k < 8; k++)
            table[i] = table[i] & 1 ? table[i] >> 1 ^ 0x82f63b78U : table[i] >> 1;
    }
    for (size_t i = 0; i < size; i++) sum = table[(sum ^ data[i]) & 255] ^ sum >> 8;
    sum ^= 0xffffffffU;
    return (sum >> 15 | sum << 17) + 0xa282ead8U;
}

static uint64_t fixed(const unsigned char *at, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes; i-- > 0;) value = value << 8 | at[i];
    return value;
}

static uint64_t varint(const unsigned char **at)
{
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        value |= (uint64_t)(**at & 127) << shift;
        if (!(*(*at)++ & 128)) return value;
    }
}

typedef struct {
    uint64_t step;
    double time;
    char version[32];
    bool starts;
    char tags[32][40];
    float values[32];
    size_t count;
} event;

static void read_value(event *e, const unsigned char *at, const unsigned char *end)
{
    while (at < end) {
        uint64_t key = varint(&at);
        if (key == 0x0a) {
            size_t size = varint(&at);
            memcpy(e->tags[e->count], at, size);
            e->tags[e->count][size] = '\0';
            at += size;
        } else {
            cr_assert_eq(key, 0x15);
            uint32_t bits = (uint32_t)fixed(at, 4);
            memcpy(&e->values[e->count], &bits, 4);
            at += 4;
        }
    }
    e->count++;
}

static void read_event(event *e, const unsigned char *at, const unsigned char *end)
{
    *e = (event){0};
    while (at < end) {
        uint64_t key = varint(&at);
        if (key == 0x09) {
            uint64_t bits = fixed(at, 8);
            memcpy(&e->time, &bits, 8);
            at += 8;
        } else if (key == 0x10) {
            e->step = varint(&at);
        } else {
            size_t size = varint(&at);
            const unsigned char *inner = at, *last = at + size;
            if (key == 0x1a) memcpy(e->version, at, size);
            if (key == 0x3a) e->starts = size == 2 && at[0] == 0x08 && at[1] == 1;
            for (; key == 0x2a && inner < last;) {
                cr_assert_eq(varint(&inner), 0x0a);
                size_t length = varint(&inner);
                read_value(e, inner, inner + length);
                inner += length;
            }
            at = last;
        }
    }
    cr_assert_eq(at, end);
}

/* The only file of the directory. */
static size_t read_events(event *events, const char *directory)
{
    static unsigned char data[SIZE];
    char path[1024] = "";
    DIR *all = opendir(directory);
    cr_assert_not_null(all);
    for (struct dirent *entry; (entry = readdir(all));)
        if (strncmp(entry->d_name, "events.out.tfevents.", 20) == 0)
            snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
    closedir(all);
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "%s", path);
    size_t size = fread(data, 1, SIZE, file), count = 0;
    fclose(file);
    for (size_t at = 0; at < size; count++) {
        size_t length = fixed(data + at, 8);
        cr_assert_eq(fixed(data + at + 8, 4), checksum(data + at, 8));
        cr_assert_leq(at + 16 + length, size);
        cr_assert_eq(fixed(data + at + 12 + length, 4), checksum(data + at + 12, length));
        read_event(&events[count], data + at + 12, data + at + 12 + length);
        at += 16 + length;
    }
    return count;
}

static float value_of(const event *e, const char *tag)
{
    for (size_t i = 0; i < e->count; i++)
        if (strcmp(e->tags[i], tag) == 0) return e->values[i];
    return NAN;
}

TestSuite(tensorboard, .init = open_folder, .fini = close_folder);

Test(tensorboard, checksums)
{
    cr_expect_eq(checksum((const unsigned char *)"123456789", 9),
                 (0xe3069283U >> 15 | 0xe3069283U << 17) + 0xa282ead8U);
}

Test(tensorboard, rows)
{
    tensorboard *t;
    event events[8];
    char directory[512];
    snprintf(directory, sizeof directory, "%s/board", folder);
    metrics row;
    memset(&row, 0, sizeof row);
    row.step = 300;
    row.tokens = 4000000;
    row.train_loss = 1.25;
    row.valid_loss = NAN;
    cr_assert_eq(tensorboard_open(&t, directory, 200), STATUS_OK);
    cr_assert_eq(tensorboard_append(t, &row), STATUS_OK);
    row.step = 301;
    row.valid_loss = 2.5;
    cr_assert_eq(tensorboard_append(t, &row), STATUS_OK);
    tensorboard_close(&t);
    cr_assert_eq(read_events(events, directory), 4);
    cr_expect_str_eq(events[0].version, "brain.Event:2");
    cr_expect(events[1].starts);
    cr_expect_eq(events[1].step, 200);
    cr_expect_eq(events[2].step, 300);
    cr_expect_gt(events[2].time, 1.6e9);
    cr_expect_eq(value_of(&events[2], "train_loss"), 1.25F);
    cr_expect_eq(value_of(&events[2], "tokens"), 4e6F);
    cr_expect(isnan(value_of(&events[2], "valid_loss")));
    cr_expect(isnan(value_of(&events[2], "step")));
    cr_expect_eq(value_of(&events[3], "valid_loss"), 2.5F);
    cr_expect_eq(events[3].count, events[2].count + 1);
}

Test(tensorboard, a_run_from_its_beginning)
{
    tensorboard *t;
    event events[8];
    cr_assert_eq(tensorboard_open(&t, folder, 0), STATUS_OK);
    tensorboard_close(&t);
    cr_expect_eq(read_events(events, folder), 1);
}

Test(tensorboard, no_directory)
{
    tensorboard *t;
    char directory[512];
    snprintf(directory, sizeof directory, "%s/none/board", folder);
    cr_expect_eq(tensorboard_open(&t, directory, 0), STATUS_IO);
    cr_expect_null(t);
    cr_expect_not_null(strstr(status_message(), directory));
}
