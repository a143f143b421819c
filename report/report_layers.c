/* Quantiles of a layer come from counts in narrow logarithmic bins, so weights pass by once. */
#include "io/checkpoints/checkpoint_source.h"
#include "io/checkpoints/safetensors.h"
#include "optimizer/optimizer.h"
#include "report/report.h"
#include "runtime/sharding.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PIECE = 1 << 18 /* elements: a megabyte */,
    DECADE = 1000 /* bins */,
    LEAST = -30,
    MOST = 20
};

typedef struct {
    uint64_t counts[(MOST - LEAST) * DECADE];
    uint64_t total;
} histogram;

typedef struct {
    parameters p;
    runtime_settings with;
    checkpoint_source *source;
    size_t largest; /* elements that are read at once */
    float *buffers; /* [2][largest] h, then deviations */
    histogram *h, *sigma;
} reading;

static void count_values(histogram *to, const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double bin = values[i] > 0.0f ? (log10((double)values[i]) - LEAST) * DECADE : 0.0;
        double last = (MOST - LEAST) * DECADE - 1;
        to->counts[bin > last ? (size_t)last : bin > 0.0 ? (size_t)bin : 0]++;
    }
    to->total += count;
}

/* The middle of the bin in which a share of the values is reached. */
static double quantile(const histogram *of, double share)
{
    uint64_t seen = 0;
    size_t bin = 0;
    for (; bin + 1 < sizeof of->counts / sizeof of->counts[0]; bin++) {
        seen += of->counts[bin];
        if ((double)seen >= share * (double)of->total) break;
    }
    return bin == 0 ? 0.0 : pow(10.0, LEAST + ((double)bin + 0.5) / DECADE);
}

/* Of points there is none. */
static spread spread_of(const histogram *of)
{
    if (of->total == 0) return (spread){NAN, NAN, NAN};
    return (spread){quantile(of, 0.05), quantile(of, 0.5), quantile(of, 0.95)};
}

static status read_piece(reading *x, const slice *part)
{
    float *h = x->buffers, *sigma = h + x->largest;
    const checkpoint_prior *prior = checkpoint_source_prior(x->source);
    status result = checkpoint_source_read(x->source, SOURCE_STORED, part, h);
    if (result) return result;
    ivon_sigma(sigma, h, prior->lambda, prior->delta[part->tensor], part->count);
    count_values(x->h, h, part->count);
    count_values(x->sigma, sigma, part->count);
    return STATUS_OK;
}

static status read_unit(reading *x, size_t number, layer_spreads *to)
{
    const unit *u = &x->p.units[number];
    status result = STATUS_OK;
    memset(x->h, 0, sizeof *x->h);
    memset(x->sigma, 0, sizeof *x->sigma);
    for (size_t t = u->first; t < u->first + u->tensors; t++) {
        slice whole = {.tensor = t, .count = x->p.tensors[t].count};
        if (!checkpoint_source_has_hessian(x->source, t)) continue;
        for (size_t at = 0; !result && at < whole.count;) {
            slice part = checkpoint_source_part(&x->with, &x->p, &whole, at, PIECE);
            result = read_piece(x, &part);
            at += part.count;
        }
    }
    to->hessian[number] = spread_of(x->h);
    to->sigma[number] = spread_of(x->sigma);
    return result;
}

static status open_reading(reading *x, const history *h)
{
    model_config config = job_model(&h->job);
    x->with = job_settings(&h->job);
    status result = model_parameters(&x->p, &config);
    if (result) return result;
    x->largest = checkpoint_source_largest(&x->with, &x->p, PIECE);
    x->buffers = malloc(2 * x->largest * sizeof *x->buffers);
    x->h = malloc(sizeof *x->h);
    x->sigma = malloc(sizeof *x->sigma);
    if (!x->buffers || !x->h || !x->sigma) return fail(STATUS_NOMEM, "memory to read a posterior");
    return checkpoint_source_open(&x->source, MPI_COMM_SELF, h->path, &x->with, &x->p);
}

/* Without factors the posterior has its pictures all the same. */
static status read_directions(const reading *x, layer_spreads *to)
{
    status result =
        report_read_bases(&to->directions, checkpoint_source_path(x->source), &x->with, &x->p);
    if (!result || result == STATUS_NOMEM) return result;
    status_warn("%s", status_message());
    status_clear();
    return STATUS_OK;
}

static status read_all(reading *x, report_run *run)
{
    layer_spreads *to = &run->layers;
    status result = open_reading(x, &run->h);
    if (result) return result;
    if (!(checkpoint_source_prior(x->source)->lambda > 0.0))
        return fail(STATUS_INPUT, "%s: the checkpoint has no h", run->h.path);
    to->step = checkpoint_source_facts(x->source)->steps;
    to->hessian = calloc(x->p.unit_count, sizeof *to->hessian);
    to->sigma = calloc(x->p.unit_count, sizeof *to->sigma);
    if (!to->hessian || !to->sigma) return fail(STATUS_NOMEM, "memory for layers");
    for (size_t u = 0; !result && u < x->p.unit_count; u++) result = read_unit(x, u, to);
    if (!result) result = read_directions(x, to);
    if (!result) to->units = x->p.unit_count;
    return result;
}

status report_read_layers(report_run *run)
{
    reading x = {0};
    *run->no_layers = '\0';
    status result = read_all(&x, run);
    checkpoint_source_close(&x.source);
    parameters_close(&x.p);
    free(x.buffers);
    free(x.h);
    free(x.sigma);
    if (result == STATUS_OK || result == STATUS_NOMEM) return result;
    snprintf(run->no_layers, sizeof run->no_layers, "%s", status_message());
    status_clear();
    return STATUS_OK;
}

typedef struct {
    const char *label, *range;
    size_t offset; /* of the spreads in layer_spreads */
} layer_panel;

static const spread *spreads_of(const report_run *run, const layer_panel *panel)
{
    return *(spread *const *)((const char *)&run->layers + panel->offset);
}

static size_t max_units(const report *r)
{
    size_t max = 0;
    for (size_t i = 0; i < r->count; i++)
        if (r->runs[i].layers.units > max) max = r->runs[i].layers.units;
    return max;
}

/* The first unit of GPT-2 is the embeddings, the last the final norm; between them are blocks. */
static void set_tics(FILE *out, const report *r, size_t units)
{
    bool blocks = true;
    for (size_t i = 0; i < r->count; i++)
        blocks = blocks && (r->runs[i].layers.units == 0 || (job_reads_tokens(&r->runs[i].h.job) &&
                                                             r->runs[i].layers.units == units));
    fprintf(out, "set xrange [-0.5:%zu.5]\nset offsets 0, 0, 0, 0\n", units - 1);
    if (!blocks) {
        fprintf(out, "set xtics %zu\n", 1 + units / 12);
        return;
    }
    fprintf(out, "set xlabel 'e: embeddings, blocks from 0, n: final norm'\nset xtics ('e' 0");
    for (size_t u = 1; u + 1 < units; u += 1 + units / 14) fprintf(out, ", '%zu' %zu", u - 1, u);
    fprintf(out, ", 'n' %zu)\n", units - 1);
}

/* Whether what is drawn spans more than a decade or so. */
static bool spans(const report *r, const layer_panel *panel)
{
    double min = INFINITY, max = 0.0;
    for (size_t i = 0; i < r->count; i++)
        for (size_t u = 0; spreads_of(&r->runs[i], panel) && u < r->runs[i].layers.units; u++) {
            const spread *s = &spreads_of(&r->runs[i], panel)[u];
            min = s->low > 0.0 ? fmin(min, s->low) : min;
            max = fmax(max, s->high);
        }
    return max > 20.0 * min;
}

static void draw_layers(FILE *out, const report *r, const void *what, bool alone)
{
    const layer_panel *panel = what;
    report_axes(out, "layer", panel->label, false, spans(r, panel));
    set_tics(out, r, max_units(r));
    for (size_t i = 0; i < r->count; i++) {
        fprintf(out, "$layers%zu << EOD\n", i);
        for (size_t u = 0; spreads_of(&r->runs[i], panel) && u < r->runs[i].layers.units; u++) {
            const spread *s = &spreads_of(&r->runs[i], panel)[u];
            fprintf(out, "%zu %.9g %.9g %.9g\n", u, s->low, s->median, s->high);
        }
        fprintf(out, "EOD\n");
    }
    fprintf(out, "plot NaN notitle");
    for (size_t i = 0; i < r->count; i++) {
        if (r->runs[i].layers.units == 0 || !spreads_of(&r->runs[i], panel)) continue;
        if (r->count == 1)
            fprintf(out,
                    ", $layers0 using 1:2:4 with filledcurves fs transparent solid 0.25 lc rgb "
                    "'%s' title '%s'",
                    report_colour(0), panel->range);
        fprintf(out,
                ", $layers%zu using 1:3 with linespoints lw 1.6 pt 7 ps 0.4 dt %d lc rgb '%s' ", i,
                report_dash(i), report_colour(i));
        fputs(r->count == 1 ? "title 'median'" : "notitle", out);
    }
    report_run_keys(out, r, alone);
    fputc('\n', out);
}

static void note_missing(const report *r)
{
    for (size_t i = 0; i < r->count; i++) {
        const report_run *run = &r->runs[i];
        const metrics *last = report_last(run);
        if (*run->no_layers)
            report_note(r, "%s: no spread over layers: %s.", run->label, run->no_layers);
        else if (last && last->step != run->layers.step)
            report_note(r, "%s: layers are those of the checkpoint of step %" PRIu64 ".",
                        run->label, run->layers.step);
    }
}

static bool any_bases(const report *r)
{
    bool any = false;
    for (size_t i = 0; i < r->count; i++) any = any || r->runs[i].layers.directions;
    return any;
}

static void note_directions(const report *r)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->runs[i].layers.directions)
            report_note(r,
                        "%s: σ and h of its matrices are those of directions in their bases, and "
                        "what is a point has none.",
                        r->runs[i].label);
}

status report_write_layers(const report *r)
{
    static const layer_panel panels[] = {
        {"σ", "5 to 95 of 100", offsetof(layer_spreads, sigma)},
        {"h", "5 to 95 of 100", offsetof(layer_spreads, hessian)},
        {"share of all directions", "least to most", offsetof(layer_spreads, directions)}};
    report_section(r, "Posterior");
    report_grid(r, true);
    status result = report_draw_posterior_curves(r);
    const char *caption =
        r->count > 1 ? "medians, at the newest checkpoint" : "at the newest checkpoint";
    if (!result && max_units(r) > 0)
        result = report_picture(r, "sigma-layers", "Deviation σ over layers", caption, draw_layers,
                                &panels[0]);
    if (!result && max_units(r) > 0)
        result = report_picture(r, "hessian-layers", "Hessian h over layers", caption, draw_layers,
                                &panels[1]);
    if (!result && any_bases(r))
        result = report_picture(r, "directions-layers", "Directions of gradients over layers",
                                "eigenvalues of the bases' factors: (Σλ)²/Σλ² of n", draw_layers,
                                &panels[2]);
    report_grid(r, false);
    note_missing(r);
    note_directions(r);
    return result;
}
