/* The list of what is wrong with a request. */
#include "pb/violations.h"

#include "base/buf.h"

#include <stdarg.h>

void violations_init(struct violations *vs, struct arena *a) {
    *vs = (struct violations){.arena = a};
}

void violations_add(struct violations *vs, const char *field, const char *fmt, ...) {
    if (vs->n == VIOLATIONS_MAX) {
        vs->dropped++;
        return;
    }
    if (vs->n == vs->cap) {
        size_t cap = vs->cap ? vs->cap * 2 : 8;
        struct violation *v = arena_calloc(vs->arena, cap, sizeof(*v));
        if (!v) {
            vs->dropped++;
            return;
        }
        if (vs->n) {
            memcpy(v, vs->v, vs->n * sizeof(*v));
        }
        vs->v = v;
        vs->cap = cap;
    }
    va_list ap;
    va_start(ap, fmt);
    auto_free char *text = NULL;
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    CHECK(n >= 0);
    struct violation *v = &vs->v[vs->n];
    v->field = arena_str(vs->arena, str_of(field));
    v->description = arena_str(vs->arena, str_n(text, (size_t)n));
    if (!v->field.p || !v->description.p) { /* arena full: the request fails for that anyway */
        vs->dropped++;
        return;
    }
    vs->n++;
}

void violations_list_text(const struct violations *vs, struct buf *out) {
    buf_puts(out, "List of found errors:\t");
    for (size_t i = 0; i < vs->n; i++) {
        buf_printf(out, "%zu.Field: %s; Message: %s\t", i + 1, vs->v[i].field.p,
                   vs->v[i].description.p);
    }
}

void violations_plain_text(const struct violations *vs, struct buf *out) {
    for (size_t i = 0; i < vs->n; i++) {
        buf_printf(out, "%s%s", i ? "\n" : "", vs->v[i].description.p);
    }
}

int violations_to_err(const struct violations *vs, struct err *err) {
    if (!vs->n && !vs->dropped) {
        return 0;
    }
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    violations_list_text(vs, &b);
    return err_field(err, ERR_INVALID_ARGUMENT, vs->n ? vs->v[0].field.p : "", "%s", buf_cstr(&b));
}
