/* Lines and tails: see lines.h. */
#include "runner/lines.h"

void lines_init(struct lines *l, size_t max) {
    *l = (struct lines){.held = BUF_INIT(max), .max = max};
}

void lines_fini(struct lines *l) {
    buf_fini(&l->held);
}

static void emit(struct lines *l, struct str piece, bool partial, lines_fn *fn, void *arg) {
    fn(arg, piece, partial);
    l->in_line = partial;
}

void lines_feed(struct lines *l, struct str bytes, lines_fn *fn, void *arg) {
    while (bytes.n) {
        ptrdiff_t nl = str_chr(bytes, '\n');
        size_t len = nl < 0 ? bytes.n : (size_t)nl;
        size_t room = l->max - l->held.n;
        if (len > room) {
            /* full before the newline: what fits goes out as a part */
            buf_put(&l->held, bytes.p, room);
            emit(l, buf_str(&l->held), true, fn, arg);
            buf_clear(&l->held);
            bytes = str_sub(bytes, room, bytes.n);
        } else if (nl < 0) {
            buf_put(&l->held, bytes.p, len);
            return;
        } else if (l->held.n == 0) {
            emit(l, str_sub(bytes, 0, len), false, fn, arg);
            bytes = str_sub(bytes, len + 1, bytes.n);
        } else {
            buf_put(&l->held, bytes.p, len);
            emit(l, buf_str(&l->held), false, fn, arg);
            buf_clear(&l->held);
            bytes = str_sub(bytes, len + 1, bytes.n);
        }
    }
}

void lines_end(struct lines *l, lines_fn *fn, void *arg) {
    if (l->held.n || l->in_line) {
        emit(l, buf_str(&l->held), false, fn, arg);
        buf_clear(&l->held);
    }
}

void tail_fini(struct tail *t) {
    for (size_t i = 0; i < TAIL_LINES; i++) {
        free(t->line[i]);
    }
    *t = (struct tail){0};
}

void tail_add(struct tail *t, struct str piece, bool partial) {
    if (t->joining) {
        size_t newest = (t->next + TAIL_LINES - 1) % TAIL_LINES;
        char *old = t->line[newest];
        size_t keep = strlen(old);
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
        buf_put(&b, old, keep);
        buf_put_str(&b, piece.n > TAIL_BYTES ? str_sub(piece, piece.n - TAIL_BYTES, TAIL_BYTES)
                                             : piece);
        if (b.n > TAIL_BYTES) {
            buf_consume(&b, b.n - TAIL_BYTES);
        }
        free(old);
        t->line[newest] = xstrndup(buf_cstr(&b), b.n);
    } else {
        struct str kept =
            piece.n > TAIL_BYTES ? str_sub(piece, piece.n - TAIL_BYTES, TAIL_BYTES) : piece;
        free(t->line[t->next]);
        t->line[t->next] = kept.n ? xstrndup(kept.p, kept.n) : xstrdup("");
        t->next = (t->next + 1) % TAIL_LINES;
        t->n += t->n < TAIL_LINES;
    }
    t->joining = partial;
}

void tail_text(const struct tail *t, struct buf *out) {
    auto_buf struct buf all = BUF_INIT(BUF_NO_MAX);
    for (size_t i = 0; i < t->n; i++) {
        size_t at = (t->next + TAIL_LINES - t->n + i) % TAIL_LINES;
        buf_printf(&all, "%s%s", i ? "\n" : "", t->line[at]);
    }
    struct str s = buf_str(&all);
    if (s.n > TAIL_BYTES) {
        s = str_sub(s, s.n - TAIL_BYTES, TAIL_BYTES);
        while (s.n && ((unsigned char)s.p[0] & 0xC0) == 0x80) {
            s = str_sub(s, 1, s.n); /* continuation byte of a character cut in two */
        }
    }
    buf_put_str(out, s);
}
