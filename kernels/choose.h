/** Functions that are compiled once for each level of instructions: x86-64 as it began (base), with
 * AVX2 and fused multiply-adds (v3), with AVX-512 (v4). The loader chooses. */
#ifndef VARIO_KERNELS_CHOOSE_H
#define VARIO_KERNELS_CHOOSE_H

/* Runs before main, so it calls nothing but the compiler's own look at the processor. */
static inline int choose_level(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return 2;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? 1 : 0;
}

/** Define the declared function `name` as the best of name_base, name_v3 and name_v4. */
#define CHOOSE(name)                                                                               \
    extern __typeof__(name) name##_base, name##_v3, name##_v4;                                     \
    __attribute__((used)) static __typeof__(name) *choose_##name(void)                             \
    {                                                                                              \
        __typeof__(name) *const levels[] = {name##_base, name##_v3, name##_v4};                    \
        return levels[choose_level()];                                                             \
    }                                                                                              \
    __typeof__(name) name __attribute__((ifunc("choose_" #name)));

#endif
