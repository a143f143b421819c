/** What the files of `vario sensitivity` share; rank 0 alone calls all of this. */
#ifndef VARIO_REPORT_SENSITIVITY_H
#define VARIO_REPORT_SENSITIVITY_H

#include "analysis/sensitivity.h"

/** Rows that a command speaks of together. */
typedef struct {
    char name[40];
    uint32_t number; /**< in report.group_of */
    uint64_t count;
    double sensitivity, loss; /**< sums */
    double alone;             /**< what its rows add to their losses, each left out alone */
    double together;          /**< what they add when all are left out */
} sensitivity_group;

typedef struct {
    const char *run;
    const job *j;
    uint64_t step;
    sensitivity_per per;
    dataset *data;
    sensitivity_table table;
    const sensitivity_row **ranked; /**< [table.count] from the most sensitive to the least */
    bool by_loss;                   /**< ranked by what is added to the loss */
    size_t top;                     /**< rows of each end that are listed */
    sensitivity_group *groups;
    size_t group_count;
    uint32_t *group_of; /**< [table.count] number of each row's; UINT32_MAX: none */
    double weight;      /**< ess over the number of training examples or tokens; NaN: other data */
} sensitivity_report;

/** Rank the table's rows; equal ones in the order of the data. */
status sensitivity_rank(sensitivity_report *r);

/** What rows are ranked by. */
double sensitivity_key(const sensitivity_report *r, const sensitivity_row *row);

/** Find the groups and add up their rows, in the order of the classes, or of their first rows;
 * `together` is not set.
 * @param by  "class", or a file with the name of the group of example i (or window, or token) in
 *            line i */
status sensitivity_make_groups(sensitivity_report *r, const char *by);

/** Planted mistakes, and those of them among the first tenth of the ranking. */
void sensitivity_count_mistakes(const sensitivity_report *r, uint64_t *planted, uint64_t *found);

void sensitivity_print(const sensitivity_report *r);
status sensitivity_print_json(const sensitivity_report *r);
status sensitivity_write_csv(const sensitivity_report *r, const char *path);

/** The most and the least sensitive examples as images where they are square, else sensitivities
 * over their rank. */
status sensitivity_draw(const sensitivity_report *r, const char *path);

#endif
