/* Written by hand: four kinds of fields of one message. */
#include "io/runs/tensorboard.h"

#include "io/files/data_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, FIELDS_MAX = 64, HEAD = 12, TAIL = 4 };

struct tensorboard {
    int fd;
    uint64_t size; /* of the file so far */
    char path[PATH_SIZE];
    char event[HEAD + FIELDS_MAX * 64 + 64]; /* a record in the making, behind its head */
    size_t used;
};

/* CRC-32C (Castagnoli), reflected, as RFC 3720 has it. */
static uint32_t crc(const char *data, size_t size)
{
    uint32_t sum = ~0U;
    for (size_t i = 0; i < size; i++) {
        sum ^= (unsigned char)data[i];
        for (int bit = 0; bit < 8; bit++) sum = sum >> 1 ^ (sum & 1 ? 0x82f63b78U : 0);
    }
    return ~sum;
}

static uint32_t masked(const char *data, size_t size)
{
    uint32_t sum = crc(data, size);
    return (sum >> 15 | sum << 17) + 0xa282ead8U;
}

static void put_bytes(char *out, uint64_t value, int count)
{
    for (int i = 0; i < count; i++) out[i] = (char)(value >> 8 * i & 0xff);
}

static void put_varint(tensorboard *t, uint64_t value)
{
    for (; value > 127; value >>= 7) t->event[t->used++] = (char)(value | 128);
    t->event[t->used++] = (char)value;
}

static void put_fixed(tensorboard *t, char tag, const void *value, int bytes)
{
    uint64_t bits = 0;
    uint32_t half;
    if (bytes == 8)
        memcpy(&bits, value, 8);
    else {
        memcpy(&half, value, 4);
        bits = half;
    }
    t->event[t->used++] = tag;
    put_bytes(t->event + t->used, bits, bytes);
    t->used += (size_t)bytes;
}

static void put_text(tensorboard *t, char tag, const char *text, size_t size)
{
    t->event[t->used++] = tag;
    put_varint(t, size);
    memcpy(t->event + t->used, text, size);
    t->used += size;
}

/* Event: 1 wall_time, 2 step. */
static void begin_event(tensorboard *t, uint64_t step)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    t->used = HEAD;
    put_fixed(t, 0x09, &seconds, 8);
    t->event[t->used++] = 0x10;
    put_varint(t, step);
}

static status end_event(tensorboard *t)
{
    size_t size = t->used - HEAD;
    put_bytes(t->event, size, 8);
    put_bytes(t->event + 8, masked(t->event, 8), 4);
    put_bytes(t->event + t->used, masked(t->event + HEAD, size), TAIL);
    t->used += TAIL;
    int error = data_file_write(t->fd, t->size, t->event, t->used);
    if (error) return fail(STATUS_IO, "write %s: %s", t->path, strerror(error));
    t->size += t->used;
    return STATUS_OK;
}

/* Event: 3 file_version; 7 session_log, in which 1 status: START. */
static status write_head(tensorboard *t, uint64_t steps)
{
    static const char version[] = "brain.Event:2", start[] = {0x08, 0x01};
    begin_event(t, 0);
    put_text(t, 0x1a, version, sizeof version - 1);
    status result = end_event(t);
    if (result || steps == 0) return result;
    begin_event(t, steps);
    put_text(t, 0x3a, start, sizeof start);
    return end_event(t);
}

status tensorboard_open(tensorboard **out, const char *directory, uint64_t steps)
{
    char host[64] = "";
    tensorboard *t = calloc(1, sizeof *t);
    *out = NULL;
    if (!t) return fail(STATUS_NOMEM, "memory for %s", directory);
    gethostname(host, sizeof host - 1);
    snprintf(t->path, sizeof t->path, "%.3900s/events.out.tfevents.%010lld.%s.%d", directory,
             (long long)time(NULL), host, (int)getpid());
    int error = mkdir(directory, 0777) != 0 && errno != EEXIST ? errno : 0;
    t->fd = -1;
    if (!error) error = data_file_create(&t->fd, t->path, 0);
    status result =
        error ? fail(STATUS_IO, "create %s: %s", t->path, strerror(error)) : write_head(t, steps);
    if (result) tensorboard_close(&t);
    *out = t;
    return result;
}

/* Event: 5 summary, in which every 1 value has 1 tag and 2 simple_value. */
status tensorboard_append(tensorboard *t, const metrics *row)
{
    char values[FIELDS_MAX * 64], name[METRICS_NAME];
    size_t size = 0;
    double value;
    for (size_t i = 1; metrics_field(row, i, name, &value); i++) { /* 0 is the step */
        if (value != value) continue;
        float single = (float)value;
        size_t length = strlen(name);
        values[size++] = 0x0a;
        values[size++] = (char)(2 + length + 5);
        values[size++] = 0x0a;
        values[size++] = (char)length;
        memcpy(values + size, name, length);
        size += length;
        values[size++] = 0x15;
        uint32_t bits;
        memcpy(&bits, &single, sizeof bits);
        put_bytes(values + size, bits, 4);
        size += 4;
    }
    begin_event(t, row->step);
    put_text(t, 0x2a, values, size);
    return end_event(t);
}

void tensorboard_close(tensorboard **out)
{
    tensorboard *t = *out;
    if (!t) return;
    data_file_close(&t->fd, false);
    free(t);
    *out = NULL;
}
