/* The lists, as text, JSON and CSV. */
#include "base/terminal.h"
#include "io/files/file.h"
#include "io/files/json_text.h"
#include "report/sensitivity.h"

#include <ctype.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>

enum { SHOWN_TOKENS = 48 /* of a text */ };

static const char *const nouns[] = {"example", "sequence", "token"};

static bool has_classes(const sensitivity_report *r)
{
    model_config config = job_model(r->j);
    return r->per == PER_EXAMPLE && model_has_classes(&config);
}

/* Bytes as text; what is none of a line's characters becomes a dot. */
static void print_tokens(const sensitivity_report *r, const uint16_t *tokens, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (r->j->model.gpt2.vocab_size > 256)
            printf("%s%u", i ? " " : "", (unsigned)tokens[i]);
        else
            putchar(isprint(tokens[i]) ? (int)tokens[i] : tokens[i] == '\n' ? ' ' : '.');
    }
}

/* A sequence's beginning, or a token after those before it. */
static void print_text(const sensitivity_report *r, dataset_batch *b, const sensitivity_row *row)
{
    uint64_t length = r->j->batch.length;
    uint64_t window = r->per == PER_TOKEN ? row->index / length : row->index;
    if (dataset_window(r->data, window, b, 0)) {
        status_clear(); /* it could be read before */
        return;
    }
    if (r->per == PER_SEQUENCE) {
        print_tokens(r, b->tokens, length < SHOWN_TOKENS ? length : SHOWN_TOKENS);
        return;
    }
    size_t end = (size_t)(row->index % length) + 1, first = end > 24 ? end - 24 : 0;
    print_tokens(r, b->tokens + first, end - first);
    printf(" [");
    print_tokens(r, b->targets + end - 1, 1);
    putchar(']');
}

static void print_row(const sensitivity_report *r, dataset_batch *b, const sensitivity_row *row)
{
    printf("  %9" PRIu64, row->index);
    if (has_classes(r)) printf(" %5zu %9zu %8.4f", row->label, row->predicted, row->p);
    if (r->per == PER_TOKEN) printf(" %8.4f", row->p);
    if (r->per != PER_SEQUENCE) printf(" %9.4f", row->error);
    printf(" %10.4g", row->variance);
    if (r->per == PER_EXAMPLE) printf(" %11.4g", row->sensitivity);
    printf(" %9.4f %9.4f", row->loss, row->loo_loss);
    if (row->mislabelled) printf("  mislabelled");
    if (row->left_out) printf("  left out");
    if (r->per != PER_EXAMPLE) {
        printf("  ");
        print_text(r, b, row);
    }
    putchar('\n');
}

static void print_head(const sensitivity_report *r, const char *end)
{
    printf("\n%s sensitive\n  %9s", end, "index");
    if (has_classes(r)) printf(" %5s %9s %8s", "class", "predicted", "p");
    if (r->per == PER_TOKEN) printf(" %8s", "p");
    if (r->per != PER_SEQUENCE) printf(" %9s", "error");
    printf(" %10s", r->per == PER_EXAMPLE ? "variance" : "sensit.");
    if (r->per == PER_EXAMPLE) printf(" %11s", "sensitivity");
    printf(" %9s %9s\n", "loss", "left out");
}

static size_t listed(const sensitivity_report *r)
{
    return r->top < r->table.count ? r->top : (size_t)r->table.count;
}

static void print_groups(const sensitivity_report *r)
{
    printf("\n%-20s %9s %12s %9s %12s %12s\n", "group", "rows", "sensitivity", "loss",
           "added alone", "together");
    for (size_t i = 0; i < r->group_count; i++) {
        const sensitivity_group *g = &r->groups[i];
        terminal_print(stdout, "%-20s %9" PRIu64 " %12.5g %9.4f %12.5g %12.5g\n", g->name, g->count,
                       g->sensitivity, g->loss / (double)g->count, g->alone, g->together);
    }
}

void sensitivity_print(const sensitivity_report *r)
{
    dataset_batch b;
    uint64_t planted, found;
    terminal_print(stdout, "%s, step %" PRIu64 ": %" PRIu64 " %ss\n", r->run, r->step,
                   r->table.count, nouns[r->per]);
    printf("  loss %.4f nats %s, left out (estimated) %.4f\n", r->table.loss,
           r->per == PER_EXAMPLE ? "an example" : "a token", r->table.loo_loss);
    sensitivity_count_mistakes(r, &planted, &found);
    if (planted > 0)
        printf("  %" PRIu64 " of %" PRIu64 " planted mistakes (%.1f%%) among the first tenth\n",
               found, planted, 100.0 * (double)found / (double)planted);
    if (dataset_batch_open(&b, r->j)) {
        status_clear();
        return;
    }
    for (int end = 0; end < 2 && r->top > 0; end++) {
        print_head(r, end ? "least" : "most");
        for (size_t i = 0; i < listed(r); i++)
            print_row(r, &b, r->ranked[end ? r->table.count - 1 - i : i]);
    }
    if (r->group_count > 0) print_groups(r);
    dataset_batch_close(&b);
}

static json_t *row_json(const sensitivity_report *r, const sensitivity_row *row)
{
    json_t *o = json_pack("{sI}", "index", (json_int_t)row->index);
    if (has_classes(r))
        json_text_join(&o, json_pack("{sI sI}", "class", (json_int_t)row->label, "predicted",
                                     (json_int_t)row->predicted));
    if (r->per == PER_TOKEN) json_text_set(&o, "token", json_integer((json_int_t)row->label));
    json_text_put(&o, "p", row->p);
    json_text_put(&o, "error", row->error);
    json_text_put(&o, "variance", row->variance);
    json_text_put(&o, "sensitivity", row->sensitivity);
    json_text_put(&o, "loss", row->loss);
    json_text_put(&o, "loo_loss", row->loo_loss);
    if (row->mislabelled) json_text_set(&o, "mislabelled", json_true());
    if (row->left_out) json_text_set(&o, "left_out", json_true());
    return o;
}

static json_t *groups_json(const sensitivity_report *r)
{
    json_t *groups = json_array();
    for (size_t i = 0; i < r->group_count; i++) {
        const sensitivity_group *g = &r->groups[i];
        json_t *o =
            json_pack("{so sI}", "name", json_text_string(g->name), "rows", (json_int_t)g->count);
        json_text_put(&o, "sensitivity", g->sensitivity);
        json_text_put(&o, "loss", g->loss / (double)g->count);
        json_text_put(&o, "added_alone", g->alone);
        json_text_put(&o, "added_together", g->together);
        json_text_add(&groups, o);
    }
    return groups;
}

static json_t *ranked_json(const sensitivity_report *r, bool least)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < listed(r); i++)
        json_text_add(&rows, row_json(r, r->ranked[least ? r->table.count - 1 - i : i]));
    return rows;
}

status sensitivity_print_json(const sensitivity_report *r)
{
    uint64_t planted, found;
    sensitivity_count_mistakes(r, &planted, &found);
    json_t *o =
        json_pack("{so sI ss sI}", "run", json_text_string(r->run), "step", (json_int_t)r->step,
                  "per", nouns[r->per], "rows", (json_int_t)r->table.count);
    json_text_put(&o, "loss", r->table.loss);
    json_text_put(&o, "loo_loss", r->table.loo_loss);
    json_text_put(&o, "ess_over_training_rows", r->weight);
    if (planted > 0)
        json_text_join(&o, json_pack("{sI sI}", "mislabelled", (json_int_t)planted,
                                     "mislabelled_in_first_tenth", (json_int_t)found));
    json_text_set(&o, "most", ranked_json(r, false));
    json_text_set(&o, "least", ranked_json(r, true));
    if (r->group_count > 0) json_text_set(&o, "groups", groups_json(r));
    return json_text_print(stdout, o, 0);
}

static void write_field(FILE *out, double value)
{
    if (isnan(value))
        fputc(',', out);
    else
        fprintf(out, ",%.9g", value);
}

static void write_rows(FILE *out, const void *context)
{
    const sensitivity_report *r = context;
    size_t outputs = r->table.outputs;
    fprintf(out, "index,class,predicted,mislabelled,left_out,p,error,variance,sensitivity,loss,"
                 "loo_loss");
    for (int half = 0; half < 2; half++)
        for (size_t c = 0; c < outputs; c++)
            fprintf(out, ",%s_%zu", half ? "variance" : "error", c);
    for (uint64_t i = 0; i < r->table.count; i++) {
        const sensitivity_row *row = &r->table.rows[i];
        fprintf(out, "\n%" PRIu64 ",%zu,%zu,%d,%d", row->index, row->label, row->predicted,
                row->mislabelled, row->left_out);
        const double fields[] = {row->p,           row->error, row->variance,
                                 row->sensitivity, row->loss,  row->loo_loss};
        for (size_t k = 0; k < sizeof fields / sizeof fields[0]; k++) write_field(out, fields[k]);
        for (size_t k = 0; k < 2 * outputs; k++)
            write_field(out, (double)r->table.details[i * 2 * outputs + k]);
    }
    fputc('\n', out);
}

status sensitivity_write_csv(const sensitivity_report *r, const char *path)
{
    return file_print_atomic(path, write_rows, r);
}
