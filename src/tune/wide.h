/* WIDE before a function whose loops run over arrays: compiled for AVX2 too, chosen when the
 * program starts. Without fused multiply-add, so that both make the same numbers. */
#ifndef CUSP_TUNE_WIDE_H
#define CUSP_TUNE_WIDE_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif

#endif
