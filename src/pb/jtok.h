/* JSON tokens over a complete text (RFC 8259, strict). Private to src/pb. Grammar between tokens is
 * the reader's business; jtok_expect reports it the same way. The text must be valid UTF-8 already.
 */
#ifndef CUSP_PB_JTOK_H
#define CUSP_PB_JTOK_H

#include "base/arena.h"
#include "base/err.h"

enum jtok_type {
    JTOK_END = 0,
    JTOK_OBJECT,
    JTOK_OBJECT_END,
    JTOK_ARRAY,
    JTOK_ARRAY_END,
    JTOK_COLON,
    JTOK_COMMA,
    JTOK_STRING,
    JTOK_NUMBER,
    JTOK_TRUE,
    JTOK_FALSE,
    JTOK_NULL
};

struct jtok {
    struct arena *arena; /* for strings with escapes */
    const char *begin, *end, *p;
    enum jtok_type type; /* of the current token */
    const char *at;      /* where it starts */
    struct str text; /* STRING: decoded (view of the input when it has no escapes); NUMBER: raw */
    struct str raw;  /* as written, quotes included */
};

void jtok_init(struct jtok *t, struct arena *a, struct str json);
/* Advances; -1 with INVALID_ARGUMENT (or RESOURCE_EXHAUSTED) on a malformed token. */
int jtok_next(struct jtok *t, struct err *err);
/* -1 always: "Invalid JSON payload received. WHAT" with line, column and the text around `at`. */
int jtok_fail(const struct jtok *t, const char *at, const char *what, struct err *err);

#endif
