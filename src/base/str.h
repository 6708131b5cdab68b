/* struct str: a borrowed view of bytes (not necessarily terminated, may hold NUL). Never owns.
 * Functions never modify what they look at and never allocate unless they say so. */
#ifndef CUSP_BASE_STR_H
#define CUSP_BASE_STR_H

#include "base/check.h"

struct str {
    const char *p;
    size_t n;
};

#define STR(lit) ((struct str){"" lit, sizeof(lit) - 1})
/* For printf("%.*s", STR_ARG(s)). */
#define STR_ARG(s) ((int)(s).n), ((s).p ? (s).p : "")

static inline struct str str_of(const char *c) {
    return (struct str){c, c ? strlen(c) : 0};
}
static inline struct str str_n(const char *p, size_t n) {
    return (struct str){p, n};
}
static inline bool str_eq(struct str a, struct str b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline bool str_eqc(struct str a, const char *c) {
    return str_eq(a, str_of(c));
}
bool str_ieq(struct str a, struct str b); /* ASCII case-insensitive */
int str_cmp(struct str a, struct str b);  /* bytewise; <0, 0, >0 */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
/* Whole text against a pattern in which the byte `any` stands for any run of bytes. */
bool str_glob(struct str pattern, struct str text, char any);
/* First index of c / of needle, or -1. */
ptrdiff_t str_chr(struct str s, char c);
ptrdiff_t str_find(struct str s, struct str needle);
struct str str_sub(struct str s, size_t from, size_t len); /* clamped */
struct str str_trim(struct str s);                         /* spaces and tabs at both ends */
/* Splits *rest at the first c: returns what is before it, *rest becomes what is after (empty and
 * p == NULL when c does not occur, so a loop can end on rest.p == NULL). */
struct str str_cut(struct str *rest, char c);
/* Whole string must be a decimal number in range; no sign for u64, no spaces. */
bool str_to_u64(struct str s, uint64_t *ret);
bool str_to_i64(struct str s, int64_t *ret);
bool str_to_double(struct str s, double *ret);
/* True when the bytes are well-formed UTF-8 (no surrogates, no overlong forms). */
bool str_is_utf8(struct str s);
size_t str_utf8_len(struct str s); /* code points, s must be UTF-8 */
uint64_t str_hash(struct str s);   /* FNV-1a; stable across processes, not for untrusted tables */

#endif
