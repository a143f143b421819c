/** One loop, compiled for several instruction sets and chosen when the program starts. Contraction
 * is off, so plain additions and multiplications give the same bits in every clone. */
#ifndef VARIO_KERNELS_CLONES_H
#define VARIO_KERNELS_CLONES_H

#if defined(__x86_64__) && defined(__linux__) && !defined(__SANITIZE_ADDRESS__) &&                 \
    !defined(__clang__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif

#endif
