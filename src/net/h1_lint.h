/* What the syntax backend lets through and we must not (request smuggling), checked on raw bytes
 * before the backend sees them. Three pieces: find the end of a head within its caps; check a whole
 * head; check the framing bytes of a chunked body. Pure; views only. */
#ifndef CUSP_NET_H1_LINT_H
#define CUSP_NET_H1_LINT_H

#include "base/str.h"

/* Why bytes were refused: an HTTP status, a sentence for the error body, and the named limit that
 * was passed (NULL when the bytes are wrong rather than too many). */
struct h1_fault {
    int status;
    const char *what;       /* static text */
    const char *limit_name; /* "max_header_bytes"; NULL */
    const uint64_t *limit;
};

/* ---- finding the end. Zeroed at the start of a head; keeps its place between calls. */
struct h1_scan {
    size_t at;   /* bytes already looked at */
    size_t line; /* where the current line begins */
    size_t lines;
};

/* `head` is everything received of this head so far. Returns the head's length including the empty
 * line, 0 when more bytes are needed, -1 when refused (*ret_fault filled). Enforces
 * max_header_bytes, max_header_line, max_header_count and CRLF line endings. */
ptrdiff_t h1_scan_head(struct h1_scan *s, struct str head, struct h1_fault *ret_fault);

/* ---- checking a whole head (as delimited by h1_scan_head). 0, or -1 with *ret_fault. */
int h1_lint(struct str head, size_t *ret_nr_headers, struct h1_fault *ret_fault);

/* ---- framing of a chunked body: size lines with extensions, line ends after data, trailers. */
enum h1_frame_at {
    FRAME_SIZE_FIRST, /* at the first digit of a size line: zero value */
    FRAME_SIZE,
    FRAME_EXT,
    FRAME_SIZE_LF,
    FRAME_DATA, /* data_left bytes of data come next; not framing */
    FRAME_DATA_CR,
    FRAME_DATA_LF,
    FRAME_TRAILER_FIRST, /* at the first byte of a trailer line, or of the final empty line */
    FRAME_TRAILER_NAME,
    FRAME_TRAILER_VALUE,
    FRAME_TRAILER_LF,
    FRAME_FINAL_LF,
    FRAME_DONE,
};

struct h1_frame {
    enum h1_frame_at at;
    uint64_t data_left;            /* of the chunk whose data comes next */
    uint64_t size;                 /* being read */
    uint64_t digits, ext, trailer; /* bytes so far, for the caps */
};

/* Takes framing bytes only: stops before data, after the last byte of the body, or at the end of
 * `bytes`. Returns how many it took (0 is possible in FRAME_DATA), -1 when refused. */
ptrdiff_t h1_frame_take(struct h1_frame *f, struct str bytes, struct h1_fault *ret_fault);
/* n bytes of data went by; n <= data_left. */
void h1_frame_data(struct h1_frame *f, uint64_t n);

#endif
