/** gemm for those who are in libvario too, which has no oneDNN: kernels_open sets it. */
#ifndef VARIO_KERNELS_GEMM_HERE_H
#define VARIO_KERNELS_GEMM_HERE_H

#include "kernels/kernels.h"

/** gemm itself, NULL until kernels_open. */
extern __typeof__(gemm) *gemm_here;

#endif
