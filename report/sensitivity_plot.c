/* Tiles of images, or the curve of sorted sensitivities. */
#include "io/files/plot.h"
#include "report/sensitivity.h"

#include <inttypes.h>
#include <math.h>

enum { TILES = 8 /* of each end */, MIN_SIDE = 8 };

/* Pixels of a side of a square image; 0 for inputs that are none. */
static size_t side_of(const sensitivity_report *r)
{
    size_t inputs = r->per == PER_EXAMPLE ? r->j->model.mlp.inputs : 0;
    size_t side = (size_t)lround(sqrt((double)inputs));
    return side >= MIN_SIDE && side * side == inputs ? side : 0;
}

static void place_tile(FILE *out, size_t at, bool min)
{
    fprintf(out, "set origin %.4f,%.4f\nset size 0.1225,0.44\n", 0.01 + 0.1225 * (double)at,
            min ? 0.0 : 0.48);
}

static void draw_pixels(FILE *out, const float *pixels, size_t side)
{
    fprintf(out, "plot '-' matrix with image notitle\n");
    for (size_t y = 0; y < side; y++) {
        for (size_t x = 0; x < side; x++) fprintf(out, " %.3g", (double)pixels[y * side + x]);
        fputc('\n', out);
    }
    fprintf(out, "e\n");
}

static void title_tile(FILE *out, const sensitivity_report *r, const sensitivity_row *row)
{
    fprintf(out, "set title \"#%" PRIu64, row->index);
    if (isnan(row->p))
        fprintf(out, "\\nerror %.2g", row->error);
    else
        fprintf(out, ": %s%zu\\npredicted %zu\\np %.2g",
                row->mislabelled ? "mislabelled " : "class ", row->label, row->predicted, row->p);
    fprintf(out, "\\n%s %.2g\" offset 0,-0.6 font ',9'\n", r->by_loss ? "loss +" : "sensitivity",
            sensitivity_key(r, row));
}

static status draw_tile(FILE *out, const sensitivity_report *r, dataset_batch *b, size_t at,
                        bool min, size_t side)
{
    const sensitivity_row *row = r->ranked[min ? r->table.count - 1 - at : at];
    status result = dataset_window(r->data, row->index, b, 0);
    if (result) return result;
    if (at == 0)
        fprintf(out, "set label 1 '%s sensitive' at screen 0.01,%.3f font ',12'\n",
                min ? "least" : "most", min ? 0.46 : 0.965);
    place_tile(out, at, min);
    title_tile(out, r, row);
    draw_pixels(out, b->inputs, side);
    fprintf(out, "unset label 1\n");
    return STATUS_OK;
}

static status draw_tiles(FILE *out, const sensitivity_report *r, size_t side)
{
    dataset_batch b;
    size_t tiles = r->table.count < TILES ? (size_t)r->table.count : TILES;
    status result = dataset_batch_open(&b, r->j);
    if (result) return result;
    fprintf(out,
            "set multiplot\nunset key\nunset grid\nunset tics\nunset colorbox\n"
            "set palette gray negative\nset cbrange [0:1]\nset size ratio -1\n"
            "set lmargin 0.3\nset rmargin 0.3\nset tmargin 4.4\nset bmargin 0.3\n"
            "set xrange [-0.5:%zu.5]\nset yrange [%zu.5:-0.5]\n",
            side - 1, side - 1);
    for (size_t at = 0; !result && at < tiles; at++)
        result = draw_tile(out, r, &b, at, false, side);
    for (size_t at = 0; !result && at < tiles; at++) result = draw_tile(out, r, &b, at, true, side);
    fprintf(out, "unset multiplot\n");
    dataset_batch_close(&b);
    return result;
}

/* A logarithmic axis shows numbers above 0 alone. */
static void draw_curve(FILE *out, const sensitivity_report *r)
{
    uint64_t planted, found;
    bool positive = sensitivity_key(r, r->ranked[0]) > 0.0;
    sensitivity_count_mistakes(r, &planted, &found);
    if (positive) fprintf(out, "set logscale y\nset format y '%%.0e'\n");
    fprintf(out, "set xlabel 'rank'\nset ylabel '%s'\n$all << EOD\n",
            r->by_loss ? "added to the loss, nats" : "sensitivity");
    for (uint64_t i = 0; i < r->table.count; i++) {
        double key = sensitivity_key(r, r->ranked[i]);
        if (key > 0.0 || !positive)
            fprintf(out, "%" PRIu64 " %.6g %d\n", i + 1, key, r->ranked[i]->mislabelled);
    }
    fprintf(out, "EOD\nplot $all using 1:2 with lines ls 1 title '%s'",
            r->per == PER_EXAMPLE    ? "examples"
            : r->per == PER_SEQUENCE ? "sequences"
                                     : "tokens");
    if (planted > 0)
        fprintf(out, ", $all using 1:($3 ? $2 : 1/0) with points ls 2 title 'planted mistakes'");
    fputc('\n', out);
}

status sensitivity_draw(const sensitivity_report *r, const char *path)
{
    plot p;
    size_t side = side_of(r);
    status result = plot_open(&p, path, side ? 1100 : 800, side ? 480 : 500);
    if (!result && side) result = draw_tiles(p.commands, r, side);
    if (!result && !side) draw_curve(p.commands, r);
    status drawn = plot_close(&p, !result);
    return result ? result : drawn;
}
