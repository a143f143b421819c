/** What `vario top` shows of a run. */
#ifndef VARIO_REPORT_TOP_H
#define VARIO_REPORT_TOP_H

#include "io/runs/history.h"

#include <stdio.h>

/** Print how a run stands, with bars for a window of `columns` characters; of a run with rows. */
void top_print_block(FILE *out, const history *h, int columns);

/** Print a row as a line. */
void top_print_line(FILE *out, const history *h, size_t row);

#endif
