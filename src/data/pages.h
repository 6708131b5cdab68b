/* Buffers of whole pages, given back to the system when they are freed: malloc would keep them for
 * the thread that asked, of which a server has many. Under AddressSanitizer they are malloc's,
 * which looks after their ends. */
#ifndef CUSP_DATA_PAGES_H
#define CUSP_DATA_PAGES_H

#include "base/check.h"

#include <stdlib.h>
#include <sys/mman.h>

#define PAGES_SIZE ((size_t)4096)

/* size: whole pages. Never NULL; not cleared for sure. */
static inline char *pages_new(size_t size) {
#ifdef __SANITIZE_ADDRESS__
    void *p = aligned_alloc(PAGES_SIZE, size);
    CHECK(p);
#else
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
#endif
    return p;
}

/* NULL is fine. size: as it was asked for. */
static inline void pages_free(char *p, size_t size) {
#ifdef __SANITIZE_ADDRESS__
    (void)size;
    free(p);
#else
    if (p) {
        CHECK(munmap(p, size) == 0);
    }
#endif
}

#endif
