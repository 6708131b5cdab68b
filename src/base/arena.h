/* Bump allocator for things that die together (an exchange, a decoded message, a job's spec).
 * Memory is zeroed. arena_alloc aborts past the arena's maximum only for arenas made with
 * ARENA_NO_MAX; a bounded arena returns NULL, which the caller turns into an ordinary error. */
#ifndef CUSP_BASE_ARENA_H
#define CUSP_BASE_ARENA_H

#include "base/mem.h"

struct arena;
#define ARENA_NO_MAX ((size_t)0)

struct arena *arena_new(size_t max_bytes);
void arena_free(struct arena *a);             /* NULL is fine */
void arena_clear(struct arena *a);            /* frees everything but the first block */
void *arena_alloc(struct arena *a, size_t n); /* 16-byte aligned, zeroed */
/* For small things of our own making in an arena whose maximum bounds what a peer sent: never NULL,
 * the maximum is not looked at. n is a constant or bounded by one. */
void *arena_own(struct arena *a, size_t n);
void *arena_own_array(struct arena *a, size_t count, size_t size);
void *arena_calloc(struct arena *a, size_t count, size_t size); /* NULL on overflow */
void *arena_memdup(struct arena *a, const void *p, size_t n);
char *arena_strndup(struct arena *a, const char *p, size_t n); /* terminated */
char *arena_strdup(struct arena *a, const char *s);            /* NULL stays NULL */
struct str arena_str(struct arena *a, struct str s);           /* copied view, terminated */
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
size_t arena_used(const struct arena *a); /* bytes handed out */

static inline void arena_auto_free(struct arena **a) {
    arena_free(*a);
}
#define auto_arena __attribute__((cleanup(arena_auto_free)))

#endif
