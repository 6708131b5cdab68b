/* What is wrong with a request: a list of (field, description), all found at once. Pure data in an
 * arena; made by JSON decoding, pbcheck and the API layer's own rules, answered as
 * google.rpc.BadRequest. One thread at a time. */
#ifndef CUSP_PB_VIOLATIONS_H
#define CUSP_PB_VIOLATIONS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#define VIOLATIONS_MAX 100 /* further ones are counted in `dropped` */

struct violation {
    struct str field;       /* "job_spec.worker_pool_specs[0].machine_spec"; may be empty */
    struct str description; /* both terminated */
};

struct violations {
    struct arena *arena;
    struct violation *v;
    size_t n, cap, dropped;
};

void violations_init(struct violations *vs, struct arena *a);
void violations_add(struct violations *vs, const char *field, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* "List of found errors:\t1.Field: F; Message: M.\t..." (reference 10 §8): for rule violations. */
void violations_list_text(const struct violations *vs, struct buf *out);
/* Descriptions, one a line: for JSON decoding errors, whose descriptions are whole sentences. */
void violations_plain_text(const struct violations *vs, struct buf *out);
/* 0 when the list is empty; else -1 and INVALID_ARGUMENT with the list text (cut to fit). */
int violations_to_err(const struct violations *vs, struct err *err);

#endif
