/* Records: flat ordered lists of key=value, the one format of everything cusp writes for itself
 * (events, status rows, run directory files). Text, one pair a line, so `cat` and `cusp replay`
 * show it; values escape newline, CR, backslash and NUL as \n \r \\ \0. Keys are [a-z0-9_.]+; a key
 * may repeat (lists). First line is "cusp-rec 1". Unknown keys are ignored by readers, so fields
 * can be added; the format number changes only when old readers would be wrong. */
#ifndef CUSP_BASE_REC_H
#define CUSP_BASE_REC_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

/* Writing: append to a buf. rec_begin writes the header line. */
void rec_begin(struct buf *b);
void rec_put(struct buf *b, const char *key, struct str value);
void rec_puts(struct buf *b, const char *key, const char *value); /* NULL: nothing written */
void rec_put_u64(struct buf *b, const char *key, uint64_t value);
/* 0 is what is read where there is nothing: not written. */
static inline void rec_put_some(struct buf *b, const char *key, uint64_t value) {
    if (value) {
        rec_put_u64(b, key, value);
    }
}
void rec_put_i64(struct buf *b, const char *key, int64_t value);

/* Reading: parsed into an arena (views stay valid as long as it does). */
struct rec_pair {
    struct str key, value;
};
struct rec {
    struct rec_pair *p;
    size_t n;
};
/* Refuses a missing header, a line without '=', bad escapes, an unterminated last line (a torn
 * write) with DATA_LOSS. */
int rec_parse(struct arena *a, struct str text, struct rec *ret, struct err *err) MUST_CHECK;
/* First value of key; .p == NULL when absent. */
struct str rec_get(const struct rec *r, const char *key);
/* Terminated string or NULL. */
const char *rec_get_cstr(const struct rec *r, const char *key);
uint64_t rec_get_u64(const struct rec *r, const char *key, uint64_t otherwise);
int64_t rec_get_i64(const struct rec *r, const char *key, int64_t otherwise);
/* Lists: *it starts at 0; false at the end. */
bool rec_next(const struct rec *r, const char *key, size_t *it, struct str *ret);

#endif
