/** Which values the runs of every bracket get. */
#ifndef VARIO_TUNE_CHOICES_H
#define VARIO_TUNE_CHOICES_H

#include "tune/plan.h"

/** Make p->configs: of lists alone every choice, of one range alone even places from end to end, of
 * anything else points of the scrambled Halton sequence (tune/points.h), each another one.
 * @param runs  of a bracket, UINT64_MAX: not said
 * @param draw  seed of the points
 * @return STATUS_OK, STATUS_INPUT (a range that is none, fewer choices than runs) or STATUS_NOMEM
 */
status choices_make(tune_plan *p, uint64_t runs, uint64_t draw);

#endif
