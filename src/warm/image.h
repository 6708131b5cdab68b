/* CONTRACT. The warm image: the memory of a Python process that has imported its frameworks, on
 * disk. Written by freeze.c inside a container of the job's image, put back by thaw.c inside each
 * trial's own container (docs/internals/warm-workers.md). x86-64 Linux only. No libc on either
 * side: both live in processes whose libc is the image's.
 *
 * File: one page with struct warm_head, then pages of memory, then (at tables_off) the arrays of
 * struct warm_map and struct warm_run and the NUL-terminated paths, then (at hot_off) what the
 * first thawing found, an array of struct warm_hot. All offsets are from the beginning of the file,
 * all addresses and lengths of memory are whole pages. */
#ifndef CUSP_WARM_IMAGE_H
#define CUSP_WARM_IMAGE_H

#include <stdint.h>

#define WARM_MAGIC 0x32676d4970737543ull /* "CuspImg2" */
#define WARM_PAGE 4096ull
#define WARM_DIR "/.cusp/warm"
#define WARM_THAW WARM_DIR "/thaw"
#define WARM_IMAGE WARM_DIR "/image"
#define WARM_COLD WARM_DIR "/cold" /* written by thaw: why the start was a cold one after all */

/* Set in the environment of the first thawing, which shows that it works and which pages a run
 * writes: the thawed Python starts and ends like a trial's, without running its program, with
 * WARM_CHECK_WARM, and nothing is started cold. Also in sitecustomize.py. */
#define WARM_CHECK "CUSP_WARM_CHECK"
#define WARM_CHECK_WARM 42
#define WARM_CHECK_COLD 43

#define WARM_MAX_MAPS 32768u
#define WARM_MAX_RUNS 65536u
#define WARM_MAX_HOT 65536u
#define WARM_MAX_SPECIALS 8u
#define WARM_NSIG 64

/* Where thaw itself is linked: far from programs (0x55…, 0x400000), from libraries and stacks
 * (0x7e… up), and above every heap, which is what glibc's sbrk needs afterwards. */
#define WARM_THAW_BASE 0x700000000000ull
#define WARM_TABLE_AT 0x710000000000ull
#define WARM_PARK_AT 0x720000000000ull

struct warm_cpu {
    uint32_t leaf1[3]; /* eax, ecx, edx */
    uint32_t leaf7[3]; /* ebx, ecx, edx */
};

enum warm_kind {
    WARM_ANON = 1, /* private memory without a file */
    WARM_FILE,     /* private, of a file */
    WARM_SHARED,   /* of a file, read only */
    WARM_STACK,    /* the first thread's */
};

struct warm_map {
    uint64_t start, end;
    uint64_t file_off;
    int64_t file_size, mtime_sec, mtime_nsec; /* it has to be the very same file */
    uint32_t path;                            /* offset among the paths */
    uint32_t prot;                            /* PROT_* */
    uint32_t kind;
    uint32_t wipe; /* 1: comes back empty, as after a fork (MADV_WIPEONFORK) */
};

struct warm_run {
    uint64_t start, end, off;
    uint32_t prot, unused;
};

/* Memory that a run which does nothing writes, inside writable runs: the thawing copies it at once,
 * which costs a fraction of as many page faults. */
struct warm_hot {
    uint64_t start, end;
};

/* The kernel's own mappings (vdso and its data): moved to where the frozen process had them. */
struct warm_special {
    uint64_t start, end;
};

struct warm_sigaction {
    uint64_t handler, flags, restorer, mask;
};

struct warm_head {
    uint64_t magic, size; /* of the file */
    uint64_t tables_off;
    uint32_t nr_maps, nr_runs, paths_len, nr_specials;
    uint64_t hot_off; /* 0: none */
    uint64_t nr_hot;
    struct warm_special special[WARM_MAX_SPECIALS];
    uint64_t vdso_off, vdso_len; /* a copy of it: another kernel's does not fit */
    struct warm_cpu cpu;
    /* where it goes on */
    uint64_t rsp, rip, fs_base;
    uint32_t mxcsr, x87_cw;
    uint64_t sigmask;
    struct warm_sigaction sig[WARM_NSIG]; /* of signal i + 1 */
    uint64_t alt_sp, alt_size;
    uint32_t alt_flags, unused;
    uint64_t robust_head, robust_len;
    /* addresses inside the frozen process; 0: it has none */
    uint64_t tid_at;  /* libc's copy of the thread id */
    uint64_t brk_at;  /* libc's copy of the break */
    uint64_t rseq_at; /* struct rseq of the thread */
};

/* What freeze is called with, and what it says when it cannot. */
struct warm_ask {
    const char *path;    /* file to write */
    uint64_t brk_at;     /* &__curbrk or 0 */
    uint64_t rseq_at;    /* or 0 */
    uint64_t tid_off;    /* from the thread pointer */
    uint64_t used_bytes; /* result: size of the file */
    char why[256];       /* result */
};

#endif
