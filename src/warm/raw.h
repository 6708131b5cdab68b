/* System calls and a little text work without a libc, for freeze.c and thaw.c only. Results are the
 * kernel's: -errno on failure. */
#ifndef CUSP_WARM_RAW_H
#define CUSP_WARM_RAW_H

#include <stddef.h>
#include <stdint.h>

#include <asm/unistd_64.h>

static inline long raw_call(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                            uint64_t f) {
    long ret;
    register uint64_t r10 __asm__("r10") = d;
    register uint64_t r8 __asm__("r8") = e;
    register uint64_t r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}
#define RAW(nr, ...) RAW_PICK(__VA_ARGS__, RAW6, RAW5, RAW4, RAW3, RAW2, RAW1)(nr, __VA_ARGS__)
#define RAW_PICK(a, b, c, d, e, f, pick, ...) pick
#define RAW1(n, a) raw_call(n, (uint64_t)(a), 0, 0, 0, 0, 0)
#define RAW2(n, a, b) raw_call(n, (uint64_t)(a), (uint64_t)(b), 0, 0, 0, 0)
#define RAW3(n, a, b, c) raw_call(n, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), 0, 0, 0)
#define RAW4(n, a, b, c, d)                                                                        \
    raw_call(n, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), 0, 0)
#define RAW5(n, a, b, c, d, e)                                                                     \
    raw_call(n, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), (uint64_t)(e), 0)
#define RAW6(n, a, b, c, d, e, f)                                                                  \
    raw_call(n, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), (uint64_t)(e),         \
             (uint64_t)(f))

/* The compiler calls these by itself. Each program is one source file, so they are defined here. */
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);

void *memcpy(void *to, const void *from, size_t n) {
    void *ret = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    return ret;
}

void *memset(void *to, int c, size_t n) {
    void *ret = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(c) : "memory");
    return ret;
}

/* x86-64's struct stat; libc's header would want libc. */
struct kstat {
    uint64_t dev, ino, nlink;
    uint32_t mode, uid, gid, pad;
    uint64_t rdev;
    int64_t size, blksize, blocks;
    uint64_t atime, atime_nsec, mtime, mtime_nsec, ctime, ctime_nsec;
    int64_t unused[3];
};

static inline size_t raw_len(const char *s) {
    size_t n = 0;
    while (s[n] != 0) {
        n++;
    }
    return n;
}

static inline int raw_same(const void *a, const void *b, size_t n) {
    const char *x = a, *y = b;
    for (size_t i = 0; i < n; i++) {
        if (x[i] != y[i]) {
            return 0;
        }
    }
    return 1;
}

static inline int raw_starts(const char *s, const char *with) {
    for (; *with != 0; s++, with++) {
        if (*s != *with) {
            return 0;
        }
    }
    return 1;
}

/* Hexadecimal digits at *p; *p moves behind them. */
static inline uint64_t raw_hex(const char **p) {
    uint64_t v = 0;
    for (;; (*p)++) {
        char c = **p;
        if (c >= '0' && c <= '9') {
            v = v << 4 | (uint64_t)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            v = v << 4 | (uint64_t)(c - 'a' + 10);
        } else {
            return v;
        }
    }
}

static inline void raw_cpuid(uint32_t leaf, uint32_t ret[4]) {
    __asm__ volatile("cpuid"
                     : "=a"(ret[0]), "=b"(ret[1]), "=c"(ret[2]), "=d"(ret[3])
                     : "a"(leaf), "c"(0));
}

#endif
