/* Batches (reference 21 §5): POST /batch/storage/v1 with a multipart/mixed body whose parts are
 * whole requests. Each runs as an exchange of its own through the same routes; answers come back in
 * the order of the parts. What moves media has no place in a batch. */
#include "api/gcs_int.h"

#include "base/limits.h"
#include "net/inner.h"

#define CALL_MAX 100         /* as the real service */
#define REPLY_MAX (1u << 20) /* bytes of one part's answer */
#define PART_HEADERS_MAX 64  /* of a part's request */
#define PARALLEL 8           /* parts under way at once */
#define BATCH_BOUNDARY "batch_cusp_answer"

struct batch_part {
    struct batch *batch;
    struct inner inner;
    struct str content_id;
    bool is_started, is_done;
};

struct batch {
    struct gcs_call *c;
    struct batch_part *parts;
    size_t n, started, done;
};

/* ---- taking the body apart ---- */

/* One line without its end; *rest behind it. */
static struct str line(struct str *rest) {
    struct str l = str_cut(rest, '\n');
    return l.n && l.p[l.n - 1] == '\r' ? str_sub(l, 0, l.n - 1) : l;
}

static int read_headers(struct gcs_call *c, struct str *rest, struct headers *ret,
                        struct err *err) {
    ret->p = arena_own_array(c->a, PART_HEADERS_MAX, sizeof(*ret->p));
    for (;;) {
        struct str value = line(rest);
        if (value.n == 0) {
            return 0;
        }
        struct str name = str_trim(str_cut(&value, ':'));
        if (!value.p || ret->n == PART_HEADERS_MAX) {
            return err_set(err, ERR_INVALID_ARGUMENT, "Malformed headers in a part of the batch");
        }
        char *lower = arena_strndup(c->a, name.p, name.n);
        for (size_t i = 0; lower && i < name.n; i++) {
            lower[i] = (char)(lower[i] >= 'A' && lower[i] <= 'Z' ? lower[i] + 32 : lower[i]);
        }
        ret->p[ret->n++] = (struct header){str_n(lower, lower ? name.n : 0), str_trim(value)};
    }
}

static struct str find_header(const struct headers *h, const char *name) {
    for (size_t i = 0; i < h->n; i++) {
        if (str_eqc(h->p[i].name, name)) {
            return h->p[i].value;
        }
    }
    return STR("");
}

/* "https://host/storage/v1/..." or "/storage/v1/..." -> path and query. */
static int read_target(struct batch_part *p, struct str target, struct err *err) {
    ptrdiff_t scheme = str_find(target, STR("://"));
    if (scheme > 0) {
        struct str rest = str_sub(target, (size_t)scheme + 3, target.n);
        ptrdiff_t slash = str_chr(rest, '/');
        target = slash < 0 ? STR("") : str_sub(rest, (size_t)slash, rest.n);
    }
    struct str query = target;
    p->inner.path = str_cut(&query, '?');
    p->inner.query = query;
    if (!str_starts(p->inner.path, STR("/")) || str_find(p->inner.path, STR("upload/")) >= 0 ||
        str_starts(p->inner.path, STR("/download/")) || str_starts(p->inner.path, STR("/batch")) ||
        str_find(query, STR("alt=media")) >= 0) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "Uploads, downloads and batches cannot be part of a batch: %.*s",
                       (int)(target.n > 200 ? 200 : target.n), target.p ? target.p : "");
    }
    return 0;
}

static int read_part(struct batch *b, struct str text, struct err *err) {
    struct gcs_call *c = b->c;
    struct batch_part *p = &b->parts[b->n];
    struct headers outer = {0};
    uint64_t length;
    if (read_headers(c, &text, &outer, err) < 0) {
        return -1;
    }
    while (text.n && (text.p[0] == '\r' || text.p[0] == '\n')) {
        text = str_sub(text, 1, text.n);
    }
    struct str rest = line(&text);
    *p = (struct batch_part){.batch = b, .content_id = find_header(&outer, "content-id")};
    p->inner.method = str_cut(&rest, ' ');
    if (!rest.p || !p->inner.method.n || read_target(p, str_cut(&rest, ' '), err) < 0) {
        return rest.p ? -1
                      : err_set(err, ERR_INVALID_ARGUMENT, "A part of the batch is no request");
    }
    if (read_headers(c, &text, &p->inner.headers, err) < 0) {
        return -1;
    }
    struct str given = find_header(&p->inner.headers, "content-length");
    if (given.n && str_to_u64(given, &length) && length <= text.n) {
        text = str_sub(text, 0, (size_t)length);
    } else {
        while (text.n && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == '\r')) {
            text.n--;
        }
    }
    p->inner.body = text.n ? text : STR("");
    b->n++;
    return 0;
}

static int read_parts(struct batch *b, struct str boundary, struct str body, struct err *err) {
    struct str delim = str_of(arena_printf(b->c->a, "--%.*s", STR_ARG(boundary)));
    ptrdiff_t at = str_find(body, delim);
    while (at >= 0) {
        struct str rest = str_sub(body, (size_t)at + delim.n, body.n);
        if (str_starts(rest, STR("--"))) {
            return b->n ? 0 : err_set(err, ERR_INVALID_ARGUMENT, "The batch holds no request");
        }
        (void)line(&rest);
        at = str_find(rest, delim);
        if (at < 0) {
            break;
        }
        if (b->n == CALL_MAX) {
            return err_set(err, ERR_INVALID_ARGUMENT,
                           "The batch holds more than %d requests, which is the maximum.",
                           CALL_MAX);
        }
        if (read_part(b, str_sub(rest, 0, (size_t)at), err) < 0) {
            return -1;
        }
        body = rest;
    }
    return err_set(err, ERR_INVALID_ARGUMENT, "The last delimiter of the batch is missing");
}

static struct str find_boundary(struct str type) {
    ptrdiff_t at = str_find(type, STR("boundary="));
    if (at < 0) {
        return STR("");
    }
    struct str b = str_sub(type, (size_t)at + 9, type.n);
    if (b.n && (b.p[0] == '"' || b.p[0] == '\'')) {
        char quote = b.p[0];
        b = str_sub(b, 1, b.n);
        return str_cut(&b, quote);
    }
    return str_trim(str_cut(&b, ';'));
}

/* ---- answering ---- */

static const char *reason_of(int status) {
    switch (status) {
    case 200:
        return "OK";
    case 204:
        return "No Content";
    case 304:
        return "Not Modified";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 409:
        return "Conflict";
    case 412:
        return "Precondition Failed";
    default:
        return "Status";
    }
}

static void put_answer(struct buf *b, struct batch_part *p, size_t index) {
    const struct inner *in = &p->inner;
    buf_puts(b, "--" BATCH_BOUNDARY "\r\nContent-Type: application/http\r\nContent-ID: ");
    struct str id = p->content_id;
    if (id.n && id.p[0] == '<') {
        buf_puts(b, "<response-");
        buf_put_str(b, str_sub(id, 1, id.n));
    } else if (id.n) {
        buf_puts(b, "response-");
        buf_put_str(b, id);
    } else {
        buf_printf(b, "<response-%zu>", index + 1);
    }
    int status = in->broken ? 500 : in->status;
    buf_printf(b, "\r\n\r\nHTTP/1.1 %d %s\r\n", status, reason_of(status));
    for (size_t i = 0; !in->broken && i < in->reply_headers.n; i++) {
        buf_printf(b, "%.*s: %.*s\r\n", STR_ARG(in->reply_headers.p[i].name),
                   STR_ARG(in->reply_headers.p[i].value));
    }
    size_t n = in->broken ? 0 : in->reply.n;
    if (status != 204 && status != 304) {
        buf_printf(b, "content-length: %zu\r\n", n);
    }
    buf_puts(b, "\r\n");
    buf_put(b, in->reply.p, n);
    buf_puts(b, "\r\n");
}

static void batch_free(struct batch *b) {
    gcs_call_free(b->c);
    free(b->parts);
    free(b);
}

static void answer(struct batch *b) {
    auto_buf struct buf out = BUF_INIT(BUF_NO_MAX);
    for (size_t i = 0; i < b->n; i++) {
        put_answer(&out, &b->parts[i], i);
        inner_fini(&b->parts[i].inner);
    }
    buf_puts(&out, "--" BATCH_BOUNDARY "--\r\n");
    struct header h = {STR("content-type"), STR("multipart/mixed; boundary=" BATCH_BOUNDARY)};
    xch_reply(b->c->x, 200, &h, 1, buf_str(&out));
    batch_free(b);
}

static void run_more(struct batch *b);

static void part_done(struct inner *in) {
    struct batch_part *p = in->arg;
    struct batch *b = p->batch;
    b->done++;
    if (b->done == b->n) {
        answer(b);
    } else {
        run_more(b);
    }
}

static void handle(struct xch *x, void *arg) {
    struct gcs_call *c = arg;
    struct err err;
    if (!api_gcs_handle(c->g, x)) {
        err_set(&err, ERR_NOT_FOUND, "Not Found");
        gcs_reply_err(x, &err);
    }
}

static void run_more(struct batch *b) {
    while (b->started < b->n && b->started - b->done < PARALLEL) {
        struct batch_part *p = &b->parts[b->started++];
        p->inner.done = part_done;
        p->inner.arg = p;
        p->inner.max_reply = REPLY_MAX;
        inner_run(&p->inner, b->c->x, handle, b->c);
    }
}

static void batch_body(struct xch *x, void *arg, struct str body, const struct err *why) {
    struct batch *b = arg;
    struct err err;
    struct str boundary = find_boundary(xch_header(x, "content-type"));
    if (!why && (boundary.n == 0 || boundary.n > 200)) {
        err_field(&err, ERR_INVALID_ARGUMENT, "content-type",
                  "The Content-Type of a batch must be multipart/mixed with a boundary");
        why = &err;
    } else if (!why && read_parts(b, boundary, body, &err) < 0) {
        why = &err;
    }
    if (why) {
        gcs_reply_err(x, why);
        batch_free(b);
        return;
    }
    run_more(b);
}

void gcs_batch(struct gcs_call *c) {
    struct batch *b = xcalloc(1, sizeof(*b));
    b->c = c;
    b->parts = xcalloc(CALL_MAX, sizeof(*b->parts));
    xch_collect_plain(c->x, limits.max_api_body, batch_body, b);
}
