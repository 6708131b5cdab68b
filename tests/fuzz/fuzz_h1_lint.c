/* Lint and backend on arbitrary heads and bodies. What passes must be unambiguous by a reading of
 * its own, and must mean the same whether it came in one piece or byte by byte. */
#include "base/limits.h"
#include "base/mem.h"
#include "net/h1_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void collect(void *arg, struct str bytes) {
    CHECK(bytes.n > 0);
    buf_put_str(arg, bytes);
}

/* Finds the head shown `step` more bytes at a time. */
static ptrdiff_t scan(struct str all, size_t step) {
    struct h1_scan s = {0};
    struct h1_fault f;
    for (size_t n = step < all.n ? step : all.n;; n = n + step < all.n ? n + step : all.n) {
        ptrdiff_t r = h1_scan_head(&s, str_n(all.p, n), &f);
        if (r != 0 || n == all.n) {
            return r;
        }
    }
}

/* The head as somebody else would read it: lines by CR LF, names before the first colon. Returns
 * whether a length stands beside chunks, which one shape alone may. */
static bool check_unambiguous(struct str head) {
    unsigned hosts = 0, lengths = 0, chunked = 0, identities = 0, ranges = 0, lines = 0;
    bool is_put = str_starts(head, STR("PUT ")), is_11 = false;
    while (head.n > 2) {
        ptrdiff_t n = str_find(head, STR("\r\n"));
        CHECK(n > 0);
        struct str line = str_n(head.p, (size_t)n);
        head = str_sub(head, (size_t)n + 2, head.n);
        CHECK(str_chr(line, '\r') < 0 && str_chr(line, '\n') < 0 && str_chr(line, 0) < 0);
        if (lines++ == 0) {
            is_11 = str_ends(line, STR(" HTTP/1.1"));
            CHECK(is_11 || str_ends(line, STR(" HTTP/1.0")));
            continue;
        }
        CHECK(line.p[0] != ' ' && line.p[0] != '\t');
        struct str name = str_cut(&line, ':');
        CHECK(name.n > 0 && line.p && name.p[name.n - 1] > ' ');
        hosts += str_ieq(name, STR("host"));
        lengths += str_ieq(name, STR("content-length"));
        ranges += str_ieq(name, STR("content-range"));
        if (str_ieq(name, STR("transfer-encoding"))) {
            bool is_identity = str_ieq(str_trim(line), STR("identity"));
            CHECK(is_identity || str_ieq(str_trim(line), STR("chunked")));
            identities += is_identity;
            chunked += !is_identity;
        }
    }
    CHECK(hosts <= 1 && lengths <= 1 && chunked + identities <= 1 && identities <= lengths);
    CHECK(!(lengths && chunked) || (is_put && is_11 && ranges == 1));
    return lengths && chunked;
}

/* Body bytes and how many were taken; -1 refused. Of two framings the chunks count, nobody after
 * the parser sees the length, and the connection ends. */
static ptrdiff_t read_body(struct str head, size_t nr_headers, struct str rest, size_t step,
                           bool has_both, struct buf *body) {
    struct h1_parse p;
    struct h1_fault f;
    size_t used = 0;
    auto_free char *copy = xmalloc(head.n);
    auto_free struct header *headers = xcalloc(nr_headers + 1, sizeof(*headers));
    memcpy(copy, head.p, head.n);
    if (h1_parse_head(&p, copy, head.n, headers, nr_headers, collect, body, &f)) {
        CHECK(f.status >= 400 && f.what);
        return -1;
    }
    for (size_t i = 0; i < p.nr_headers; i++) {
        CHECK(p.headers[i].name.p >= copy && p.headers[i].name.p < copy + head.n);
        CHECK(!has_both || !str_eqc(p.headers[i].name, "content-length"));
    }
    CHECK(!has_both || (p.chunked && !p.keep_alive && p.content_length == -1));
    while (used < rest.n && !p.done) {
        size_t n = rest.n - used < step ? rest.n - used : step;
        ptrdiff_t r = h1_parse_body(&p, str_n(rest.p + used, n), 7, &f);
        if (r < 0) {
            CHECK(f.status >= 400 && f.what);
            return -1;
        }
        CHECK(r > 0 && (size_t)r <= n);
        used += (size_t)r;
    }
    return (ptrdiff_t)used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str all = {(const char *)data, size};
    struct h1_fault f;
    size_t nr_headers;
    limits.max_header_bytes = 4000;
    limits.max_header_line = 1000;
    limits.max_header_count = 20;
    h1_parse_setup();
    if (size == 0) {
        return 0;
    }
    ptrdiff_t n = scan(all, SIZE_MAX / 2);
    CHECK(n == scan(all, 1) && n == scan(all, 3));
    if (n <= 0 || h1_lint(str_n(all.p, (size_t)n), &nr_headers, &f)) {
        return 0;
    }
    struct str head = str_n(all.p, (size_t)n);
    struct str rest = str_sub(all, (size_t)n, all.n);
    bool has_both = check_unambiguous(head);
    auto_buf struct buf once = BUF_INIT(BUF_NO_MAX);
    auto_buf struct buf bytewise = BUF_INIT(BUF_NO_MAX);
    ptrdiff_t a = read_body(head, nr_headers, rest, SIZE_MAX / 2, has_both, &once);
    ptrdiff_t b = read_body(head, nr_headers, rest, 1, has_both, &bytewise);
    CHECK(a == b);
    CHECK(a < 0 || str_eq(buf_str(&once), buf_str(&bytewise)));
    return 0;
}
