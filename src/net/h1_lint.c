/* Raw checks of HTTP/1 heads and chunk framing. Everything two parsers could read differently is
 * refused, whether or not the backend behind h1_parse.h would also refuse it. RFC 9112. */
#include "net/h1_lint.h"

#include "base/limits.h"

static int refuse(struct h1_fault *f, int status, const char *what) {
    *f = (struct h1_fault){.status = status, .what = what};
    return -1;
}

#define REFUSE_LIMIT(f, status_, what_, limit_)                                                    \
    (*(f) = (struct h1_fault){.status = (status_),                                                 \
                              .what = (what_),                                                     \
                              .limit_name = #limit_,                                               \
                              .limit = &limits.limit_},                                            \
     -1)

/* RFC 9110 tchar. */
static bool is_token_char(unsigned char c) {
    static const char others[] = "!#$%&'*+-.^_`|~";
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != 0 && strchr(others, c) != NULL);
}

static bool is_token(struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        if (!is_token_char((unsigned char)s.p[i])) {
            return false;
        }
    }
    return s.n > 0;
}

/* Field values: visible characters, spaces, tabs, and bytes above ASCII (UTF-8 in practice). */
static bool is_value_char(unsigned char c) {
    return c == '\t' || (c >= 0x20 && c != 0x7f);
}

ptrdiff_t h1_scan_head(struct h1_scan *s, struct str head, struct h1_fault *f) {
    while (s->at < head.n) {
        const char *from = head.p + s->at;
        const char *lf = memchr(from, '\n', head.n - s->at);
        size_t end = lf ? (size_t)(lf - head.p) : head.n; /* of the line so far */
        size_t len = end - s->line;
        if (lf && (len == 0 || lf[-1] != '\r')) {
            return refuse(f, 400, "Lines of the request head must end with CR LF.");
        }
        len -= lf ? 1 : 0;
        if (len > limits.max_header_line + (lf ? 0 : 1)) { /* an unfinished line may hold its CR */
            return s->lines == 0
                       ? REFUSE_LIMIT(f, 414, "The request line is too long.", max_header_line)
                       : REFUSE_LIMIT(f, 431, "A request header is too long.", max_header_line);
        }
        if (end + (lf ? 1 : 0) > limits.max_header_bytes) {
            return REFUSE_LIMIT(f, 431, "The request head is too large.", max_header_bytes);
        }
        s->at = end;
        if (!lf) {
            return 0;
        }
        s->at = end + 1;
        s->line = s->at;
        if (len == 0) {
            return (ptrdiff_t)s->at;
        }
        if (s->lines++ > limits.max_header_count) { /* the first line is the request line */
            return REFUSE_LIMIT(f, 431, "The request has too many headers.", max_header_count);
        }
    }
    return 0;
}

/* uri-host [ ":" port ]; a comma would be two hosts joined by somebody on the way. */
static bool is_host(struct str v) {
    static const char others[] = "-._~!$&'()*+;=%:[]";
    for (size_t i = 0; i < v.n; i++) {
        char c = v.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              (c != 0 && strchr(others, c)))) {
            return false;
        }
    }
    return true;
}

static int lint_target(struct str method, struct str target, struct h1_fault *f) {
    for (size_t i = 0; i < target.n; i++) {
        unsigned char c = (unsigned char)target.p[i];
        if (c <= 0x20 || c >= 0x7f || c == '#') {
            return refuse(f, 400, "The request target holds a forbidden character.");
        }
    }
    if (str_eqc(method, "CONNECT")) {
        return refuse(f, 501, "CONNECT is not implemented: this server is not a proxy.");
    }
    if (target.n == 0 || (target.p[0] != '/' && !str_starts(target, STR("http://")) &&
                          !str_starts(target, STR("https://")))) {
        return refuse(f, 400, "The request target must be a path or an absolute http URL.");
    }
    if (target.p[0] != '/') {
        struct str at = str_sub(target, (size_t)str_find(target, STR("://")) + 3, target.n);
        size_t n = 0;
        while (n < at.n && at.p[n] != '/' && at.p[n] != '?') {
            n++;
        }
        if (n == 0 || !is_host(str_n(at.p, n))) {
            return refuse(f, 400, "The request target has no well-formed host.");
        }
    }
    return 0;
}

static int lint_request_line(struct str line, bool *ret_http10, bool *ret_put, struct h1_fault *f) {
    struct str rest = line;
    struct str method = str_cut(&rest, ' ');
    struct str target = str_cut(&rest, ' ');
    if (!is_token(method) || !rest.p) {
        return refuse(f, 400, "Malformed request line.");
    }
    if (lint_target(method, target, f)) {
        return -1;
    }
    if (rest.n != 8 || memcmp(rest.p, "HTTP/", 5) != 0 || rest.p[6] != '.' || rest.p[5] < '0' ||
        rest.p[5] > '9' || rest.p[7] < '0' || rest.p[7] > '9') {
        return refuse(f, 400, "Malformed HTTP version.");
    }
    if (rest.p[5] != '1' || (rest.p[7] != '0' && rest.p[7] != '1')) {
        return refuse(f, 505, "Only HTTP/1.0 and HTTP/1.1 are spoken here.");
    }
    *ret_http10 = rest.p[7] == '0';
    *ret_put = str_eqc(method, "PUT");
    return 0;
}

static bool is_length(struct str v) {
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9') {
            return false;
        }
    }
    return v.n > 0 && v.n <= 18; /* fits int64_t */
}

struct seen {
    unsigned host, length, coding, range;
    bool identity; /* "no coding", which RFC 2616 had a word for: TensorFlow says it */
};

static int lint_header(struct str line, bool http10, struct seen *seen, struct h1_fault *f) {
    if (line.p[0] == ' ' || line.p[0] == '\t') {
        return refuse(f, 400, "Folded headers are not accepted.");
    }
    ptrdiff_t colon = str_chr(line, ':');
    if (colon < 0 || !is_token(str_n(line.p, (size_t)colon))) {
        return refuse(f, 400, "Malformed header name.");
    }
    struct str name = str_n(line.p, (size_t)colon);
    struct str value = str_sub(line, (size_t)colon + 1, line.n);
    for (size_t i = 0; i < value.n; i++) {
        if (!is_value_char((unsigned char)value.p[i])) {
            return refuse(f, 400, "A header value holds a control character.");
        }
    }
    value = str_trim(value);
    if (name.n == 4 && str_ieq(name, STR("host"))) {
        if (++seen->host > 1 || !is_host(value)) {
            return refuse(f, 400, "There must be one well-formed Host header.");
        }
    } else if (name.n == 14 && str_ieq(name, STR("content-length"))) {
        if (++seen->length > 1 || !is_length(value)) {
            return refuse(f, 400, "There may be one Content-Length header, a decimal number.");
        }
    } else if (name.n == 17 && str_ieq(name, STR("transfer-encoding"))) {
        if (++seen->coding > 1 || http10) {
            return refuse(f, 400, "Unexpected Transfer-Encoding header.");
        }
        seen->identity = str_ieq(value, STR("identity"));
        if (!seen->identity && !str_ieq(value, STR("chunked"))) {
            return refuse(f, 501, "The only transfer coding accepted is chunked.");
        }
    } else if (name.n == 13 && str_ieq(name, STR("content-range"))) {
        seen->range++;
    }
    return 0;
}

int h1_lint(struct str head, size_t *ret_nr_headers, struct h1_fault *f) {
    struct seen seen = {0};
    bool first = true, http10 = false, put = false;
    size_t nr = 0;
    for (;;) {
        const char *lf = memchr(head.p, '\n', head.n);
        CHECK(lf && lf > head.p); /* h1_scan_head delimited it */
        struct str line = str_n(head.p, (size_t)(lf - head.p) - 1);
        head = str_sub(head, line.n + 2, head.n);
        if (memchr(line.p, '\r', line.n)) {
            return refuse(f, 400, "A bare CR in the request head.");
        }
        if (first) {
            if (lint_request_line(line, &http10, &put, f)) {
                return -1;
            }
            first = false;
        } else if (line.n == 0) {
            break;
        } else {
            nr++;
            if (lint_header(line, http10, &seen, f)) {
                return -1;
            }
        }
    }
    if (!seen.host && !http10) {
        return refuse(f, 400, "The Host header is missing.");
    }
    if (seen.identity && !seen.length) {
        return refuse(f, 501, "The only transfer coding accepted is chunked.");
    }
    /* Two framings are how requests are smuggled. One client is known that sends them in good
     * faith, TensorFlow with a piece of a resumable upload; that shape alone passes (h1_parse.c).
     */
    if (seen.length && seen.coding && !seen.identity && !(put && seen.range == 1)) {
        return refuse(f, 400, "Content-Length and Transfer-Encoding exclude each other.");
    }
    *ret_nr_headers = nr;
    return 0;
}

/* ---- chunk framing */

static int hex_value(unsigned char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of a size line after its first digit. */
static int frame_size_byte(struct h1_frame *f, unsigned char c, struct h1_fault *fault) {
    int v = hex_value(c);
    if (v >= 0) {
        if (f->size >> 58) { /* the next digit must stay within int64_t */
            return refuse(fault, 400, "A chunk size is too large.");
        }
        f->size = f->size * 16 + (unsigned)v;
        f->at = FRAME_SIZE;
    } else if (f->at == FRAME_SIZE_FIRST) {
        return refuse(fault, 400, "A chunk must begin with its size.");
    } else if (c == '\r') {
        f->at = FRAME_SIZE_LF;
    } else if (c == ';') {
        f->at = FRAME_EXT;
    } else {
        return refuse(fault, 400, "Malformed chunk size.");
    }
    return 0;
}

static int frame_trailer_byte(struct h1_frame *f, unsigned char c, struct h1_fault *fault) {
    if (f->at == FRAME_TRAILER_VALUE) {
        if (c == '\r') {
            f->at = FRAME_TRAILER_LF;
            return 0;
        }
        return is_value_char(c) ? 0 : refuse(fault, 400, "Malformed trailer.");
    }
    if (f->at == FRAME_TRAILER_FIRST && c == '\r') {
        f->at = FRAME_FINAL_LF;
    } else if (f->at == FRAME_TRAILER_NAME && c == ':') {
        f->at = FRAME_TRAILER_VALUE;
    } else if (is_token_char(c)) {
        f->at = FRAME_TRAILER_NAME;
    } else {
        return refuse(fault, 400, "Malformed trailer.");
    }
    return 0;
}

static int frame_byte(struct h1_frame *f, unsigned char c, struct h1_fault *fault) {
    switch (f->at) {
    case FRAME_SIZE_FIRST:
    case FRAME_SIZE:
        return frame_size_byte(f, c, fault);
    case FRAME_EXT:
        if (c == '\r') {
            f->at = FRAME_SIZE_LF;
        } else if (!is_value_char(c)) {
            return refuse(fault, 400, "Malformed chunk extension.");
        }
        return 0;
    case FRAME_DATA_CR:
        f->at = FRAME_DATA_LF;
        return c == '\r' ? 0 : refuse(fault, 400, "A chunk is longer than its size.");
    case FRAME_TRAILER_FIRST:
    case FRAME_TRAILER_NAME:
    case FRAME_TRAILER_VALUE:
        return frame_trailer_byte(f, c, fault);
    case FRAME_SIZE_LF:
        f->data_left = f->size;
        f->at = f->size ? FRAME_DATA : FRAME_TRAILER_FIRST;
        f->size = f->ext = f->digits = 0;
        break;
    case FRAME_DATA_LF:
        f->at = FRAME_SIZE_FIRST;
        break;
    case FRAME_TRAILER_LF:
        f->at = FRAME_TRAILER_FIRST;
        break;
    case FRAME_FINAL_LF:
        f->at = FRAME_DONE;
        break;
    case FRAME_DATA:
    case FRAME_DONE:
        CHECK(false);
    }
    return c == '\n' ? 0 : refuse(fault, 400, "Chunk lines must end with CR LF.");
}

ptrdiff_t h1_frame_take(struct h1_frame *f, struct str bytes, struct h1_fault *fault) {
    size_t i = 0;
    while (i < bytes.n && f->at != FRAME_DATA && f->at != FRAME_DONE) {
        bool in_trailer = f->at >= FRAME_TRAILER_FIRST;
        if (frame_byte(f, (unsigned char)bytes.p[i++], fault)) {
            return -1;
        }
        if (in_trailer && ++f->trailer > limits.max_header_line) {
            return REFUSE_LIMIT(fault, 431, "The trailers are too large.", max_header_line);
        }
        if (f->at == FRAME_SIZE && ++f->digits > 16) {
            return refuse(fault, 400, "A chunk size has too many digits.");
        }
        if (f->at == FRAME_EXT && f->ext++ > limits.max_chunk_ext) { /* the ';' is not counted */
            return REFUSE_LIMIT(fault, 400, "A chunk extension is too long.", max_chunk_ext);
        }
    }
    return (ptrdiff_t)i;
}

void h1_frame_data(struct h1_frame *f, uint64_t n) {
    CHECK(f->at == FRAME_DATA && n <= f->data_left);
    f->data_left -= n;
    if (f->data_left == 0) {
        f->at = FRAME_DATA_CR;
    }
}
