/* CHECK: an invariant that holds unless cusp itself is wrong. On in all builds; never carries side
 * effects. A failed CHECK dumps the flight recorder (if one is registered) and aborts: a crash is a
 * legal shutdown, running on with broken state is not. */
#ifndef CUSP_BASE_CHECK_H
#define CUSP_BASE_CHECK_H

#include "base/banned.h"

/* Registered once at start; called before abort. May be NULL. Must be async-signal-tolerant. */
void check_set_dump(void (*dump)(void));
_Noreturn void check_failed(const char *expr, const char *file, int line, const char *func);

#define CHECK(expr)                                                                                \
    do {                                                                                           \
        if (__builtin_expect(!(expr), 0)) {                                                        \
            check_failed(#expr, __FILE__, __LINE__, __func__);                                     \
        }                                                                                          \
    } while (0)

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define NR_OF(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#endif
