/* Error values: names, HTTP mapping, formatting. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>

static const struct {
    const char *name;
    int http;
} codes[ERR_CODE_NR] = {
    [ERR_OK] = {"OK", 200},
    [ERR_CANCELLED] = {"CANCELLED", 499},
    [ERR_UNKNOWN] = {"UNKNOWN", 500},
    [ERR_INVALID_ARGUMENT] = {"INVALID_ARGUMENT", 400},
    [ERR_DEADLINE_EXCEEDED] = {"DEADLINE_EXCEEDED", 504},
    [ERR_NOT_FOUND] = {"NOT_FOUND", 404},
    [ERR_ALREADY_EXISTS] = {"ALREADY_EXISTS", 409},
    [ERR_PERMISSION_DENIED] = {"PERMISSION_DENIED", 403},
    [ERR_RESOURCE_EXHAUSTED] = {"RESOURCE_EXHAUSTED", 429},
    [ERR_FAILED_PRECONDITION] = {"FAILED_PRECONDITION", 400},
    [ERR_ABORTED] = {"ABORTED", 409},
    [ERR_OUT_OF_RANGE] = {"OUT_OF_RANGE", 400},
    [ERR_UNIMPLEMENTED] = {"UNIMPLEMENTED", 501},
    [ERR_INTERNAL] = {"INTERNAL", 500},
    [ERR_UNAVAILABLE] = {"UNAVAILABLE", 503},
    [ERR_DATA_LOSS] = {"DATA_LOSS", 500},
    [ERR_UNAUTHENTICATED] = {"UNAUTHENTICATED", 401},
};

const char *err_code_name(enum err_code code) {
    return (unsigned)code < ERR_CODE_NR ? codes[code].name : "UNKNOWN";
}

int err_code_http(enum err_code code) {
    return (unsigned)code < ERR_CODE_NR ? codes[code].http : 500;
}

__attribute__((format(printf, 5, 0))) static int
fill(struct err *err, enum err_code code, int sys, const char *field, const char *fmt, va_list ap) {
    if (!err) {
        return -1;
    }
    CHECK(code != ERR_OK);
    err->code = code;
    err->sys = sys;
    snprintf(err->field, sizeof(err->field), "%s", field);
    vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    return -1;
}

int err_set(struct err *err, enum err_code code, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fill(err, code, 0, "", fmt, ap);
    va_end(ap);
    return -1;
}

int err_field(struct err *err, enum err_code code, const char *field, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fill(err, code, 0, field, fmt, ap);
    va_end(ap);
    return -1;
}

int err_wrap(struct err *err, const char *fmt, ...) {
    char old[sizeof(err->msg)];
    char pre[256];
    va_list ap;
    if (!err) {
        return -1;
    }
    va_start(ap, fmt);
    vsnprintf(pre, sizeof(pre), fmt, ap);
    va_end(ap);
    memcpy(old, err->msg, sizeof(old));
    snprintf(err->msg, sizeof(err->msg), "%s: %.*s", pre, (int)(sizeof(old) - sizeof(pre) - 3),
             old);
    return -1;
}

static enum err_code code_of_errno(int errnum) {
    switch (errnum) {
    case ENOENT:
    case ENOTDIR:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_ALREADY_EXISTS;
    case EACCES:
    case EPERM:
        return ERR_PERMISSION_DENIED;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return ERR_RESOURCE_EXHAUSTED;
    case EINVAL:
    case ENAMETOOLONG:
    case ELOOP:
        return ERR_INVALID_ARGUMENT;
    case ETIMEDOUT:
        return ERR_DEADLINE_EXCEEDED;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
        return ERR_UNAVAILABLE;
    default:
        return ERR_INTERNAL;
    }
}

int err_sys(struct err *err, int errnum, const char *fmt, ...) {
    char what[512];
    va_list ap;
    if (!err) {
        return -1;
    }
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    err_set(err, code_of_errno(errnum), "%s: %s", what, strerror(errnum));
    err->sys = errnum;
    return -1;
}

void err_clear(struct err *err) {
    *err = (struct err){0};
}
