/* The codec of exchanges that have no peer: request bytes come from memory, the reply goes there.
 */
#include "net/inner.h"

#include "net/net_int.h"
#include "net/xch_int.h"

#include <unistd.h>

/* Everything that calls the handler back, and the end, happens here and not within its calls. */
static void step(struct loop_task *t) {
    struct inner *in = CONTAINER_OF(t, struct inner, task);
    struct xch *x = in->x;
    while (!in->over && !in->body_over && in->body.n && x->credit) {
        size_t left = in->body.n - in->delivered;
        size_t n = left < x->credit ? left : (size_t)x->credit;
        struct str part = str_sub(in->body, in->delivered, n);
        in->delivered += n;
        xch_deliver(x, part);
        if (in->delivered == in->body.n) {
            in->body_over = true;
            xch_body_end(x, NULL);
        }
    }
    if (in->over) {
        in->x = NULL;
        xch_served(x);
        in->done(in);
    }
}

static void end(struct inner *in) {
    in->over = true;
    loop_post(in->loop, &in->task);
}

static void send_head(struct xch *x, int status, const struct headers *h, int64_t length) {
    struct inner *in = x->stream;
    in->status = status;
    in->reply_headers.p = arena_own_array(in->arena, h->n + 1, sizeof(struct header));
    for (size_t i = 0; i < h->n; i++) {
        in->reply_headers.p[in->reply_headers.n++] = (struct header){
            arena_str(in->arena, h->p[i].name), arena_str(in->arena, h->p[i].value)};
    }
}

static bool send_body(struct xch *x, const struct str *slices, size_t n, bool more) {
    struct inner *in = x->stream;
    for (size_t i = 0; i < n; i++) {
        in->broken = buf_put_str(&in->reply, slices[i]) < 0 || in->broken;
    }
    if (!more) {
        end(in);
    }
    return true;
}

static void send_trailers(struct xch *x, const struct headers *h) {
    end(x->stream);
}

static void send_file(struct xch *x, int fd, uint64_t offset, uint64_t len) {
    struct inner *in = x->stream;
    close(fd);
    in->broken = true;
    end(in);
}

static void grant(struct xch *x) {
    struct inner *in = x->stream;
    loop_post(in->loop, &in->task);
}

static void reset(struct xch *x, enum reset_why why) {
    struct inner *in = x->stream;
    in->broken = true;
    end(in);
}

static const struct codec_ops inner_codec = {.name = "inner",
                                             .send_head = send_head,
                                             .send_body = send_body,
                                             .send_trailers = send_trailers,
                                             .send_file = send_file,
                                             .grant = grant,
                                             .reset = reset};

void inner_run(struct inner *in, struct xch *outer, void (*handler)(struct xch *, void *arg),
               void *arg) {
    struct xch *x = xch_new(outer->server, &inner_codec, in);
    x->door = outer->door;
    x->within = true;
    in->x = x;
    in->arena = arena_new(ARENA_NO_MAX);
    in->loop = outer->server->loop;
    in->status = 0;
    in->reply_headers = (struct headers){0};
    buf_init(&in->reply, in->max_reply);
    loop_task_init(&in->task, step);
    x->head = (struct xch_head){.method = in->method,
                                .scheme = outer->head.scheme,
                                .authority = outer->head.authority,
                                .path = in->path,
                                .query = in->query,
                                .headers = in->headers,
                                .content_length = (int64_t)in->body.n,
                                .has_body = in->body.n > 0,
                                .peer = outer->head.peer};
    xch_dispatch_to(x, handler, arg);
}

void inner_fini(struct inner *in) {
    CHECK(!in->x);
    buf_fini(&in->reply);
    arena_free(in->arena);
    in->arena = NULL;
}
