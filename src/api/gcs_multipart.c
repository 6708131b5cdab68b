/* multipart/related, streaming. Head lines are collected in a bounded buffer, each byte looked at
 * once; media bytes pass through except a tail as long as a delimiter could be. */
#include "api/gcs_multipart.h"

#define HEAD_EXTRA 8192 /* part headers and preamble beside the JSON */

static int bad(struct err *err, const char *what) {
    return err_set(err, ERR_INVALID_ARGUMENT, "Malformed multipart body: %s", what);
}

struct str multipart_boundary(struct str type) {
    struct str rest = type;
    (void)str_cut(&rest, ';');
    while (rest.p) {
        struct str value = {0};
        struct str param = str_trim(rest);
        if (param.n > 9 && str_ieq(str_sub(param, 0, 9), STR("boundary="))) {
            value = str_sub(param, 9, param.n);
            char q = value.n ? value.p[0] : 0;
            if (q == '"' || q == '\'') {
                value = str_sub(value, 1, value.n);
                ptrdiff_t end = str_chr(value, q);
                return end < 0 ? (struct str){0} : str_sub(value, 0, (size_t)end);
            }
            return str_trim(str_cut(&value, ';'));
        }
        (void)str_cut(&rest, ';');
    }
    return (struct str){0};
}

int multipart_init(struct multipart *m, struct str content_type, size_t max_json,
                   void (*data)(void *arg, struct str bytes), void *arg, struct err *err) {
    struct str b = multipart_boundary(content_type);
    if (b.n == 0 || b.n > MULTIPART_BOUNDARY_MAX) {
        return bad(err, "no usable boundary in Content-Type");
    }
    *m = (struct multipart){.data = data, .arg = arg, .delim_n = b.n + 2};
    memcpy(m->delim, "--", 2);
    memcpy(m->delim + 2, b.p, b.n);
    buf_init(&m->head, max_json + HEAD_EXTRA);
    buf_init(&m->tail, BUF_NO_MAX);
    return 0;
}

void multipart_fini(struct multipart *m) {
    buf_fini(&m->head);
    buf_fini(&m->tail);
}

struct str multipart_json(const struct multipart *m) {
    return str_n(m->head.p + m->json_from, m->json_to - m->json_from);
}

struct str multipart_media_type(const struct multipart *m) {
    return str_n(m->head.p + m->type_from, m->type_n);
}

static struct str rtrim(struct str s) {
    while (s.n && (s.p[s.n - 1] == '\r' || s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) {
        s.n--;
    }
    return s;
}

/* One line of the head, without its LF. */
static int head_line(struct multipart *m, struct str raw, struct err *err) {
    struct str line = rtrim(raw);
    struct str delim = str_n(m->delim, m->delim_n);
    bool is_delim = str_eq(line, delim);
    switch (m->at) {
    case MP_PREAMBLE:
        if (is_delim) {
            m->is_crlf = raw.n && raw.p[raw.n - 1] == '\r';
            m->at = MP_HEAD1;
        }
        return 0;
    case MP_HEAD1:
        if (line.n == 0) {
            m->at = MP_JSON;
            m->json_from = m->json_to = m->head.n;
        }
        return is_delim ? bad(err, "a part without content") : 0;
    case MP_JSON:
        if (is_delim) {
            m->json_to = (size_t)(raw.p - m->head.p);
            m->at = MP_HEAD2;
        } else if (str_starts(line, delim) && str_ends(line, STR("--")) && line.n == delim.n + 2) {
            return bad(err, "the media part is missing");
        }
        return 0;
    case MP_HEAD2:
        if (line.n == 0) {
            m->at = MP_DATA;
        } else if (line.n > 13 && str_ieq(str_sub(line, 0, 13), STR("content-type:"))) {
            struct str type = str_trim(str_sub(line, 13, line.n));
            m->type_from = (size_t)(type.p - m->head.p);
            m->type_n = type.n;
        }
        return 0;
    case MP_DATA:
    case MP_DONE:
        break;
    }
    return 0;
}

/* Index of the LF that begins a delimiter line within s, or -1. Complete ones only: the byte after
 * the delimiter must be there. */
static ptrdiff_t find_delim(const struct multipart *m, struct str s) {
    for (size_t from = 0; from < s.n;) {
        const char *lf = memchr(s.p + from, '\n', s.n - from);
        if (!lf) {
            return -1;
        }
        size_t at = (size_t)(lf - s.p), after = at + 1 + m->delim_n;
        if (after >= s.n) {
            return -1;
        }
        if (memcmp(lf + 1, m->delim, m->delim_n) == 0) {
            char c = s.p[after];
            if (c == '-' && after + 1 == s.n) {
                return -1;
            }
            if ((c == '-' && s.p[after + 1] == '-') || c == '\r' || c == '\n' || c == ' ' ||
                c == '\t') {
                return (ptrdiff_t)at;
            }
        }
        from = at + 1;
    }
    return -1;
}

static void give(struct multipart *m, struct str s) {
    if (s.n) {
        m->data(m->arg, s);
    }
}

/* s: media bytes, maybe followed by the delimiter. Returns how many were dealt with. */
static size_t media(struct multipart *m, struct str s) {
    size_t keep = m->delim_n + 6; /* CR LF delim -- CR LF */
    ptrdiff_t at = find_delim(m, s);
    if (at >= 0) {
        size_t end = (size_t)at;
        if (m->is_crlf && end && s.p[end - 1] == '\r') {
            end--;
        }
        give(m, str_sub(s, 0, end));
        m->at = MP_DONE;
        return s.n;
    }
    if (s.n <= keep) {
        return 0;
    }
    give(m, str_sub(s, 0, s.n - keep));
    return s.n - keep;
}

static void feed_media(struct multipart *m, struct str s) {
    if (m->tail.n) {
        /* Enough of the new bytes to decide about every byte of the old tail. */
        size_t room = 2 * (m->delim_n + 6);
        size_t n = s.n < room ? s.n : room;
        size_t old = m->tail.n;
        buf_put(&m->tail, s.p, n);
        size_t done = media(m, buf_str(&m->tail));
        if (m->at == MP_DONE) {
            return;
        }
        if (n == s.n) {
            buf_consume(&m->tail, done);
            return;
        }
        /* All of the old tail is out (n was long enough); go on inside s. */
        CHECK(done >= old);
        s = str_sub(s, done - old, s.n);
        buf_clear(&m->tail);
    }
    size_t done = media(m, s);
    if (m->at != MP_DONE) {
        buf_put(&m->tail, s.p + done, s.n - done);
    }
}

int multipart_feed(struct multipart *m, struct str s, struct err *err) {
    while (s.n && m->at < MP_DATA) {
        const char *lf = memchr(s.p, '\n', s.n);
        size_t n = lf ? (size_t)(lf - s.p) + 1 : s.n;
        if (buf_put(&m->head, s.p, n) < 0) {
            return err_set(err, ERR_INVALID_ARGUMENT,
                           "The metadata part of the upload is larger than %zu bytes", m->head.max);
        }
        s = str_sub(s, n, s.n);
        if (lf) {
            struct str line = str_n(m->head.p + m->line, m->head.n - m->line - 1);
            if (head_line(m, line, err) < 0) {
                return -1;
            }
            m->line = m->head.n;
        }
    }
    if (m->at == MP_DATA && s.n) {
        feed_media(m, s);
    }
    return 0;
}

int multipart_end(struct multipart *m, struct err *err) {
    if (m->at < MP_DATA) {
        return bad(err, "it ends before the media part");
    }
    if (m->at == MP_DONE) {
        return 0;
    }
    struct str s = rtrim(buf_str(&m->tail));
    if (s.n && s.p[s.n - 1] == '\n') {
        s = rtrim(str_sub(s, 0, s.n - 1));
    }
    struct str delim = str_n(m->delim, m->delim_n);
    struct str before = str_ends(s, STR("--")) ? str_sub(s, 0, s.n - 2) : (struct str){0};
    if (!str_ends(before, delim)) {
        return bad(err, "the last boundary is missing");
    }
    before.n -= delim.n;
    /* A line end before the delimiter belongs to it; some clients leave it out. */
    if (before.n && before.p[before.n - 1] == '\n') {
        before.n--;
        if (m->is_crlf && before.n && before.p[before.n - 1] == '\r') {
            before.n--;
        }
    }
    give(m, before);
    m->at = MP_DONE;
    return 0;
}
