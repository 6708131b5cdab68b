/* Aborting allocators. */
#include "base/mem.h"

#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

static _Noreturn void out_of_memory(size_t n) {
    dprintf(STDERR_FILENO, "cusp: out of memory asking for %zu bytes\n", n);
    abort();
}

void *xmalloc(size_t n) {
    void *p = malloc(n ? n : 1);
    if (!p) {
        out_of_memory(n);
    }
    return p;
}

void *xcalloc(size_t count, size_t size) {
    void *p = calloc(count ? count : 1, size ? size : 1);
    if (!p) {
        out_of_memory(count * size);
    }
    return p;
}

void *xrealloc(void *p, size_t n) {
    p = realloc(p, n ? n : 1);
    if (!p) {
        out_of_memory(n);
    }
    return p;
}

void *xrealloc_array(void *p, size_t count, size_t size) {
    size_t n;
    CHECK(!__builtin_mul_overflow(count, size, &n));
    return xrealloc(p, n);
}

char *xstrndup(const char *p, size_t n) {
    char *s = xmalloc(n + 1);
    if (n) {
        memcpy(s, p, n);
    }
    s[n] = 0;
    return s;
}

char *xstrdup(const char *s) {
    return s ? xstrndup(s, strlen(s)) : NULL;
}

char *str_dup(struct str s) {
    return xstrndup(s.p, s.n);
}

char *xasprintf(const char *fmt, ...) {
    va_list ap;
    char *s = NULL;
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    if (n < 0) {
        out_of_memory(0);
    }
    return s;
}

void mem_auto_close(int *fd) {
    if (*fd >= 0) {
        int saved = errno;
        close(*fd);
        errno = saved;
    }
}
