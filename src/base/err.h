/* The one error value, from the disk to the wire. Codes are the google.rpc codes
 * (reference 10 §8), so an error can be answered without translation.
 *
 * Functions that can fail return 0, or -1 with *err filled; err is the last parameter and may be
 * NULL. On success *err is untouched; on failure outputs are untouched. Filling never allocates. */
#ifndef CUSP_BASE_ERR_H
#define CUSP_BASE_ERR_H

#include "base/check.h"

enum err_code {
    ERR_OK = 0,
    ERR_CANCELLED = 1,
    ERR_UNKNOWN = 2,
    ERR_INVALID_ARGUMENT = 3,
    ERR_DEADLINE_EXCEEDED = 4,
    ERR_NOT_FOUND = 5,
    ERR_ALREADY_EXISTS = 6,
    ERR_PERMISSION_DENIED = 7,
    ERR_RESOURCE_EXHAUSTED = 8,
    ERR_FAILED_PRECONDITION = 9,
    ERR_ABORTED = 10,
    ERR_OUT_OF_RANGE = 11,
    ERR_UNIMPLEMENTED = 12,
    ERR_INTERNAL = 13,
    ERR_UNAVAILABLE = 14,
    ERR_DATA_LOSS = 15,
    ERR_UNAUTHENTICATED = 16,
    ERR_CODE_NR
};

struct err {
    enum err_code code;
    int sys;         /* errno when there was one, else 0 */
    char field[128]; /* offending request field (snake_case path), for BadRequest details; "" if
                        none */
    char msg[1024];  /* what was being attempted and why it failed; no trailing newline */
};

/* Each returns -1, so that a caller can write `return err_set(err, ...)`. */
int err_set(struct err *err, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* As err_set, and names the request field at fault. */
int err_field(struct err *err, enum err_code code, const char *field, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* Prefixes "outer: " to the message; code stays. */
int err_wrap(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* From errno: maps to a code and appends strerror. ENOSPC/EDQUOT -> RESOURCE_EXHAUSTED. */
int err_sys(struct err *err, int errnum, const char *fmt, ...) PRINTF_LIKE(3, 4);
void err_clear(struct err *err);

/* "INVALID_ARGUMENT"; "UNKNOWN" for out-of-range codes. */
const char *err_code_name(enum err_code code);
/* HTTP status for a code (reference 10 §8). */
int err_code_http(enum err_code code);

#endif
