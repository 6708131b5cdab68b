/* See lines.h. */
#include "data/lines.h"

#include "base/buf.h"
#include "base/limits.h"
#include "data/gzfile.h"

#define SLICE (256u << 10)

struct lines {
    struct gzfile *f;
    struct buf b; /* what is read and not yet given */
    size_t at;    /* given so far */
    uint64_t number;
    bool at_end, skipping;
};

struct lines *lines_open(int fd) {
    struct lines *l = xcalloc(1, sizeof(*l));
    l->f = gzfile_new(fd);
    l->b = BUF_INIT(BUF_NO_MAX); /* lines_next bounds it */
    return l;
}

void lines_close(struct lines *l) {
    if (l) {
        gzfile_free(l->f);
        buf_fini(&l->b);
        free(l);
    }
}

uint64_t lines_number(const struct lines *l) {
    return l->number;
}

uint64_t lines_bytes_read(const struct lines *l) {
    return gzfile_bytes_read(l->f);
}

static int fill(struct lines *l, struct err *err) {
    size_t n;
    buf_consume(&l->b, l->at);
    l->at = 0;
    if (gzfile_read(l->f, buf_reserve(&l->b, SLICE), SLICE, &n, err)) {
        return -1;
    }
    buf_commit(&l->b, n);
    l->at_end = n == 0;
    return 0;
}

static struct str without_ends(struct lines *l, struct str s) {
    if (s.n && s.p[s.n - 1] == '\r') {
        s.n--;
    }
    return l->number == 1 && str_starts(s, STR("\xef\xbb\xbf")) ? str_sub(s, 3, s.n) : s;
}

enum lines_step lines_next(struct lines *l, struct str *ret, struct err *err) {
    size_t looked = 0;
    for (;;) {
        struct str have = str_sub(buf_str(&l->b), l->at, l->b.n);
        const char *end = looked < have.n ? memchr(have.p + looked, '\n', have.n - looked) : NULL;
        size_t n = end ? (size_t)(end - have.p) : have.n;
        if (end || (l->at_end && (have.n || l->skipping))) {
            bool was_skipping = l->skipping || n > limits.max_import_line;
            l->at += n + (end != NULL);
            l->number++;
            l->skipping = false;
            *ret = without_ends(l, str_n(have.p, n));
            if (was_skipping) {
                limits_hit(&limits.max_import_line);
            }
            return was_skipping ? LINES_TOO_LONG : LINES_LINE;
        }
        if (l->at_end) {
            return LINES_END;
        }
        if (have.n > limits.max_import_line) {
            l->skipping = true;
            l->at = l->b.n; /* its end will tell */
            have.n = 0;
        }
        looked = have.n;
        if (fill(l, err)) {
            return LINES_ERROR;
        }
    }
}
