/* Flat text records. */
#include "base/rec.h"

#define REC_HEADER "cusp-rec 1\n"

void rec_begin(struct buf *b) {
    buf_puts(b, REC_HEADER);
}

void rec_put(struct buf *b, const char *key, struct str value) {
    buf_puts(b, key);
    buf_putc(b, '=');
    size_t from = 0;
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        char esc = c == '\n' ? 'n' : c == '\r' ? 'r' : c == '\\' ? '\\' : c == 0 ? '0' : 0;
        if (esc) {
            buf_put(b, value.p + from, i - from);
            buf_putc(b, '\\');
            buf_putc(b, esc);
            from = i + 1;
        }
    }
    buf_put(b, value.p + from, value.n - from);
    buf_putc(b, '\n');
}

void rec_puts(struct buf *b, const char *key, const char *value) {
    if (value) {
        rec_put(b, key, str_of(value));
    }
}

void rec_put_u64(struct buf *b, const char *key, uint64_t value) {
    buf_puts(b, key);
    buf_putc(b, '=');
    buf_put_u64(b, value);
    buf_putc(b, '\n');
}

void rec_put_i64(struct buf *b, const char *key, int64_t value) {
    buf_puts(b, key);
    buf_putc(b, '=');
    buf_put_i64(b, value);
    buf_putc(b, '\n');
}

static bool unescape(struct arena *a, struct str in, struct str *ret) {
    char *out = arena_alloc(a, in.n + 1);
    size_t n = 0;
    if (!out) {
        return false;
    }
    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];
        if (c == '\\') {
            if (++i == in.n) {
                return false;
            }
            switch (in.p[i]) {
            case 'n':
                c = '\n';
                break;
            case 'r':
                c = '\r';
                break;
            case '\\':
                c = '\\';
                break;
            case '0':
                c = 0;
                break;
            default:
                return false;
            }
        }
        out[n++] = c;
    }
    *ret = (struct str){out, n};
    return true;
}

static bool is_key(struct str k) {
    for (size_t i = 0; i < k.n; i++) {
        char c = k.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.')) {
            return false;
        }
    }
    return k.n > 0;
}

int rec_parse(struct arena *a, struct str text, struct rec *ret, struct err *err) {
    if (!str_starts(text, STR(REC_HEADER))) {
        return err_set(err, ERR_DATA_LOSS, "record has no \"cusp-rec 1\" header");
    }
    if (text.p[text.n - 1] != '\n') {
        return err_set(err, ERR_DATA_LOSS, "record ends in the middle of a line");
    }
    struct str rest = str_sub(text, sizeof(REC_HEADER) - 1, text.n);
    size_t lines = 0;
    for (size_t i = 0; i < rest.n; i++) {
        lines += rest.p[i] == '\n';
    }
    struct rec r = {.p = arena_calloc(a, lines + 1, sizeof(*r.p))};
    if (!r.p) {
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "record is too large");
    }
    while (rest.n) {
        struct str value = str_cut(&rest, '\n');
        struct str key = str_cut(&value, '=');
        if (!value.p || !is_key(key)) {
            return err_set(err, ERR_DATA_LOSS, "record line %zu is not key=value", r.n + 2);
        }
        r.p[r.n].key = key;
        if (!unescape(a, value, &r.p[r.n].value)) {
            return err_set(err, ERR_DATA_LOSS, "record line %zu has a bad escape", r.n + 2);
        }
        r.n++;
    }
    *ret = r;
    return 0;
}

struct str rec_get(const struct rec *r, const char *key) {
    struct str v;
    size_t it = 0;
    return rec_next(r, key, &it, &v) ? v : (struct str){NULL, 0};
}

const char *rec_get_cstr(const struct rec *r, const char *key) {
    return rec_get(r, key).p; /* unescape terminates: the arena zeroes */
}

uint64_t rec_get_u64(const struct rec *r, const char *key, uint64_t otherwise) {
    uint64_t v;
    return str_to_u64(rec_get(r, key), &v) ? v : otherwise;
}

int64_t rec_get_i64(const struct rec *r, const char *key, int64_t otherwise) {
    int64_t v;
    return str_to_i64(rec_get(r, key), &v) ? v : otherwise;
}

bool rec_next(const struct rec *r, const char *key, size_t *it, struct str *ret) {
    struct str want = str_of(key);
    while (*it < r->n) {
        const struct rec_pair *p = &r->p[(*it)++];
        if (str_eq(p->key, want)) {
            *ret = p->value;
            return true;
        }
    }
    return false;
}
