/* Gzip, unpacked a step at a time: how much comes out at once is the caller's choice, so a bomb
 * fills nothing. Pure; any thread, one at a time. */
#ifndef CUSP_BASE_GUNZIP_H
#define CUSP_BASE_GUNZIP_H

#include "base/err.h"
#include "base/str.h"

struct gunzip;

struct gunzip *gunzip_new(void);
void gunzip_free(struct gunzip *g); /* NULL is fine */
/* Takes from the front of *in, puts up to cap bytes to out. *ret_n == cap: there may be more
 * without any new input. Takes nothing once the end came. INVALID_ARGUMENT: not gzip; err->msg is
 * the bare reason. */
int gunzip_step(struct gunzip *g, struct str *in, char *out, size_t cap, size_t *ret_n,
                struct err *err) MUST_CHECK;
bool gunzip_is_done(const struct gunzip *g); /* the packed stream came to its proper end */
void gunzip_again(struct gunzip *g); /* another member follows (RFC 1952 2.2: they are one text) */

#endif
