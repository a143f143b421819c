/* Apart from gemm.c, which brings the library. */
#include "kernels/gemm_here.h"

__typeof__(gemm) *gemm_here = NULL;
