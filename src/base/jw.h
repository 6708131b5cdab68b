/* Append-only JSON writer into a buf: no tree. Commas and indentation are its business, balance is
 * the caller's (CHECKed at jw_end_*). Non-UTF-8 bytes in strings are written as U+FFFD. */
#ifndef CUSP_BASE_JW_H
#define CUSP_BASE_JW_H

#include "base/buf.h"

#define JW_MAX_DEPTH 256 /* 100 messages within lists within messages, with room */

struct jw {
    struct buf *b;
    int indent; /* spaces a level; 0 = compact */
    unsigned depth;
    bool after_key;
    bool has_items[JW_MAX_DEPTH];
};

void jw_init(struct jw *w, struct buf *b, int indent);
void jw_object(struct jw *w);
void jw_end_object(struct jw *w);
void jw_array(struct jw *w);
void jw_end_array(struct jw *w);
void jw_key(struct jw *w, const char *key);
void jw_key_str(struct jw *w, struct str key);
void jw_str(struct jw *w, struct str s);
void jw_cstr(struct jw *w, const char *s); /* NULL writes null */
void jw_i64(struct jw *w, int64_t v);
void jw_u64(struct jw *w, uint64_t v);
void jw_i64_string(struct jw *w, int64_t v); /* quoted, as proto3 JSON and GCS want */
void jw_double(struct jw *w,
               double v); /* shortest form that reads back the same; NaN etc. as strings */
void jw_bool(struct jw *w, bool v);
void jw_null(struct jw *w);
void jw_raw(struct jw *w, struct str json); /* a complete value, trusted */
/* Key and value in one: */
void jw_kv(struct jw *w, const char *key, const char *value); /* NULL value: nothing written */
void jw_kv_u64_string(struct jw *w, const char *key, uint64_t v);

#endif
