/* Allocation that aborts when the machine has no memory (safe because nothing a peer sends can ask
 * for unbounded memory) and cleanup attributes for call-lifetime objects. */
#ifndef CUSP_BASE_MEM_H
#define CUSP_BASE_MEM_H

#include "base/str.h"

void *xmalloc(size_t n) __attribute__((malloc));
void *xcalloc(size_t count, size_t size) __attribute__((malloc));
void *xrealloc(void *p, size_t n);
void *xrealloc_array(void *p, size_t count, size_t size); /* overflow-checked */
char *xstrdup(const char *s);                             /* NULL stays NULL */
char *xstrndup(const char *p, size_t n);
char *str_dup(struct str s); /* owned, terminated copy */
char *xasprintf(const char *fmt, ...) PRINTF_LIKE(1, 2);

static inline void mem_auto_free(void *pp) {
    free(*(void **)pp);
}
void mem_auto_close(int *fd); /* closes fd >= 0, keeps errno */

#define auto_free __attribute__((cleanup(mem_auto_free)))
#define auto_close __attribute__((cleanup(mem_auto_close)))

/* Gives ownership away: returns *p and sets it to NULL. For descriptors: take_fd. */
#define take(p)                                                                                    \
    ({                                                                                             \
        __typeof__(*(p)) take_v_ = *(p);                                                           \
        *(p) = NULL;                                                                               \
        take_v_;                                                                                   \
    })
static inline int take_fd(int *fd) {
    int v = *fd;
    *fd = -1;
    return v;
}

#endif
