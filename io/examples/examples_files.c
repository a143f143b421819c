/* Images of bytes and their labels: MNIST's pair of files, packed or mapped, and CIFAR-10's
 * batches. */
#include "base/memory.h"
#include "io/examples/examples_kinds.h"
#include "io/files/file.h"
#include "io/files/unpack.h"

#include <stdlib.h>
#include <string.h>

enum { IDX_IMAGES = 0x0803, IDX_LABELS = 0x0801, IDX_IMAGES_HEADER = 16, IDX_LABELS_HEADER = 8 };
enum { CIFAR_CLASSES = 10, CIFAR_PIXELS = 3 * 32 * 32, CIFAR_RECORD = 1 + CIFAR_PIXELS };

static const unsigned char *bytes_of(const file_mapping *m)
{
    return m->data;
}

static void scale_bytes(float *inputs, const unsigned char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) inputs[i] = (float)bytes[i] / 255.0F;
}

/* IDX */

typedef struct {
    char *images_path, *labels_path;
    file_mapping images, labels;
} idx;

static void idx_close(examples *x)
{
    idx *d = x->data;
    file_unmap(&d->images);
    file_unmap(&d->labels);
    free(d->images_path); /* and the labels', behind the comma */
    free(d);
}

static void idx_row(const examples *x, uint64_t number, float *inputs, uint16_t *label,
                    float *value)
{
    (void)value;
    const idx *d = x->data;
    *label = bytes_of(&d->labels)[IDX_LABELS_HEADER + number];
    if (!inputs) return;
    scale_bytes(inputs, bytes_of(&d->images) + IDX_IMAGES_HEADER + number * x->inputs, x->inputs);
}

static uint32_t big_endian(const file_mapping *m, size_t word)
{
    const unsigned char *b = bytes_of(m) + 4 * word;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* As many bytes as a packed file's header promises, and one more if it is there. */
static status idx_unpack(file_mapping *m, const char *path, const char *what, uint32_t magic,
                         size_t header)
{
    size_t promised = 1;
    bool possible = true;
    status result = unpack_file(m, path, what, header);
    if (result || m->bytes < header || big_endian(m, 0) != magic) return result;
    for (size_t word = 1; possible && word < header / 4; word++)
        possible = memory_product(&promised, promised, big_endian(m, word));
    if (!possible || promised > SIZE_MAX / 2) return STATUS_OK;
    file_unmap(m);
    return unpack_file(m, path, what, header + promised + 1);
}

/* What does not begin as it should may be packed. */
static status idx_map(file_mapping *m, const char *path, const char *what, uint32_t magic,
                      size_t header)
{
    status result = file_map(m, path, what);
    if (!result && m->bytes >= 4 && big_endian(m, 0) != magic) {
        file_unmap(m);
        result = idx_unpack(m, path, what, magic, header);
    }
    if (result) return result;
    uint32_t found = m->bytes >= 4 ? big_endian(m, 0) : 0;
    if (m->bytes >= 4 && found != magic)
        return fail(STATUS_INPUT, "%s: header: magic 0x%08x found, 0x%08x (%s) expected", path,
                    found, magic, what);
    if (m->bytes < header)
        return fail(STATUS_INPUT, "%s: header: %zu bytes found, %zu expected", path, m->bytes,
                    header);
    return STATUS_OK;
}

static status idx_images(examples *x, const idx *d)
{
    uint32_t count = big_endian(&d->images, 1), rows = big_endian(&d->images, 2),
             columns = big_endian(&d->images, 3);
    size_t promised, found = d->images.bytes - IDX_IMAGES_HEADER;
    x->count = count;
    bool possible = memory_product(&x->inputs, rows, columns);
    if (!possible || !memory_product(&promised, x->inputs, count) || promised != found)
        return fail(STATUS_INPUT,
                    "%s: header: %u images of %u x %u promised, %zu bytes of pixels found",
                    d->images_path, count, rows, columns, found);
    if (found == 0) return fail(STATUS_INPUT, "%s: images expected, none found", d->images_path);
    return STATUS_OK;
}

static status idx_labels(examples *x, const idx *d)
{
    uint32_t count = big_endian(&d->labels, 1);
    size_t found = d->labels.bytes - IDX_LABELS_HEADER;
    if (count != found)
        return fail(STATUS_INPUT, "%s: header: %u labels promised, %zu bytes of labels found",
                    d->labels_path, count, found);
    if (count != x->count)
        return fail(STATUS_INPUT, "%s: %u labels found, %llu expected, as many as images in %s",
                    d->labels_path, count, (unsigned long long)x->count, d->images_path);
    for (size_t i = 0; i < found; i++) {
        unsigned label = bytes_of(&d->labels)[IDX_LABELS_HEADER + i];
        if (label >= x->limit)
            return fail(STATUS_INPUT, "%s: label %zu is %u, a class below %zu expected",
                        d->labels_path, i, label, x->limit);
        if (label >= x->outputs) x->outputs = label + 1;
    }
    return STATUS_OK;
}

status idx_open(examples *x, const char *where)
{
    idx *d = calloc(1, sizeof *d);
    if (!d) return fail(STATUS_NOMEM, "memory for %s", x->text);
    x->data = d;
    x->row = idx_row;
    x->close = idx_close;
    d->images_path = strdup(where);
    if (!d->images_path) return fail(STATUS_NOMEM, "memory for %s", x->text);
    char *comma = strrchr(d->images_path, ',');
    if (!comma)
        return fail(STATUS_INPUT, "%s: two files expected, idx:IMAGES,LABELS; one found", x->text);
    *comma = '\0';
    d->labels_path = comma + 1;
    status result =
        idx_map(&d->images, d->images_path, "an IDX file of images", IDX_IMAGES, IDX_IMAGES_HEADER);
    if (!result) result = idx_images(x, d);
    if (!result)
        result = idx_map(&d->labels, d->labels_path, "an IDX file of labels", IDX_LABELS,
                         IDX_LABELS_HEADER);
    if (!result) result = idx_labels(x, d);
    return result;
}

/* CIFAR-10 */

typedef struct {
    size_t count;
    file_mapping batches[];
} cifar;

static void cifar_close(examples *x)
{
    cifar *d = x->data;
    for (size_t i = 0; i < d->count; i++) file_unmap(&d->batches[i]);
    free(d);
}

static void cifar_row(const examples *x, uint64_t number, float *inputs, uint16_t *label,
                      float *value)
{
    (void)value;
    const file_mapping *batch = ((const cifar *)x->data)->batches;
    for (; number >= batch->bytes / CIFAR_RECORD; batch++) number -= batch->bytes / CIFAR_RECORD;
    const unsigned char *record = bytes_of(batch) + number * CIFAR_RECORD;
    *label = record[0];
    if (inputs) scale_bytes(inputs, record + 1, CIFAR_PIXELS);
}

static status cifar_batch(examples *x, file_mapping *batch, const char *path)
{
    status result = file_map(batch, path, "a CIFAR-10 batch");
    if (result) return result;
    if (batch->bytes % CIFAR_RECORD)
        return fail(STATUS_INPUT, "%s: %zu bytes found, whole records of %d bytes expected", path,
                    batch->bytes, CIFAR_RECORD);
    size_t count = batch->bytes / CIFAR_RECORD;
    for (size_t i = 0; i < count; i++) {
        unsigned label = bytes_of(batch)[i * CIFAR_RECORD];
        if (label >= CIFAR_CLASSES)
            return fail(STATUS_INPUT, "%s: the label of record %zu is %u, below %d expected", path,
                        i, label, CIFAR_CLASSES);
    }
    x->count += count;
    return STATUS_OK;
}

status cifar_open(examples *x, const char *where)
{
    glob_t found = {0};
    status result = file_find(&found, where, "a CIFAR-10 batch");
    cifar *d = NULL;
    if (!result) d = calloc(1, sizeof *d + found.gl_pathc * sizeof *d->batches);
    if (!result && !d) result = fail(STATUS_NOMEM, "memory for %zu batches", found.gl_pathc);
    x->data = d;
    x->inputs = CIFAR_PIXELS;
    x->outputs = CIFAR_CLASSES;
    x->row = cifar_row;
    x->close = d ? cifar_close : NULL;
    for (size_t i = 0; !result && i < found.gl_pathc; i++)
        result = cifar_batch(x, &d->batches[d->count++], found.gl_pathv[i]);
    globfree(&found);
    return result;
}
