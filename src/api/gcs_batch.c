/* Batches (reference 21 §5): POST /batch/storage/v1 with a multipart/mixed body whose parts are
 * whole requests. Each runs as an exchange of its own through the same routes; answers come back in
 * the order of the parts. What moves media has no place in a batch. */
#include "api/gcs_batch.h"
#include "api/gcs_int.h"

#include "base/limits.h"
#include "net/inner.h"

#define REPLY_MAX (1u << 20) /* bytes of one part's answer */
#define PARALLEL 8           /* parts under way at once */
#define BATCH_BOUNDARY "batch_cusp_answer"

struct batch_part {
    struct batch *batch;
    struct inner inner;
    struct str content_id;
};

struct batch {
    struct gcs_call *c;
    struct batch_part *parts;
    size_t n, started, done;
};

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
    struct batch_request *r = arena_own_array(b->c->a, BATCH_MAX, sizeof(*r));
    if (!why && gcs_batch_parse(b->c->a, xch_header(x, "content-type"), body, r, &b->n, &err) < 0) {
        why = &err;
    }
    if (why) {
        gcs_reply_err(x, why);
        batch_free(b);
        return;
    }
    b->parts = xcalloc(b->n, sizeof(*b->parts));
    for (size_t i = 0; i < b->n; i++) {
        b->parts[i] = (struct batch_part){.batch = b, .content_id = r[i].content_id};
        struct inner *in = &b->parts[i].inner;
        in->method = r[i].method;
        in->path = r[i].path;
        in->query = r[i].query;
        in->body = r[i].body;
        in->headers = r[i].headers;
    }
    run_more(b);
}

void gcs_batch(struct gcs_call *c) {
    struct batch *b = xcalloc(1, sizeof(*b));
    b->c = c;
    xch_collect_plain(c->x, limits.max_api_body, batch_body, b);
}
