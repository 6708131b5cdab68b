/* POST images:pull and images:push: what happens meanwhile is told as JSON lines of one reply. What
 * fails before the first line is an ordinary error reply; a client that goes away takes its
 * interest in the transfer with it. */
#include "api/images_int.h"
#include "base/limits.h"
#include "engine/image/pull.h"

#include <jansson.h>

#define BODY_MAX ((uint64_t)64 << 10)
#define LINE_MAX_BYTES ((size_t)1 << 20)

struct transfer {
    struct api_images *im;
    struct xch *x;
    struct arena *a;
    bool is_push, started;
    const char *image, *to;
    struct pull_wait pull;
    struct push_wait push;
};

static void begin(struct transfer *t) {
    static const struct header h[] = {{STR("content-type"), STR("application/x-ndjson")}};
    if (!t->started) {
        t->started = true;
        xch_start(t->x, 200, h, NR_OF(h), -1);
    }
}

static void over(struct transfer *t) {
    struct xch *x = t->x;
    arena_free(t->a); /* t is in it */
    xch_unref(x);
}

static void put_line(struct transfer *t, struct buf *b) {
    begin(t);
    (void)buf_putc(b, '\n');
    (void)xch_write(t->x, buf_str(b)); /* a line a second: no client is too slow for that */
}

static void say(struct transfer *t, const char *text, const struct transfer_state *s) {
    auto_buf struct buf b = BUF_INIT(LINE_MAX_BYTES);
    struct jw w;
    jw_init(&w, &b, 0);
    jw_object(&w);
    jw_kv(&w, s != NULL ? "progress" : "text", text);
    if (s != NULL && s->phase == TRANSFER_MOVING) {
        jw_kv_u64_string(&w, "done", s->done);
        jw_kv_u64_string(&w, "total", s->total);
    }
    jw_end_object(&w);
    put_line(t, &b);
}

static void fail(struct transfer *t, const struct err *err) {
    if (!t->started) {
        reply_error(t->x, err);
        over(t);
        return;
    }
    auto_buf struct buf b = BUF_INIT(LINE_MAX_BYTES);
    struct jw w;
    bool is_private = api_error_is_private(err->code);
    jw_init(&w, &b, 0);
    jw_object(&w);
    jw_key(&w, "error");
    jw_object(&w);
    jw_key(&w, "code");
    jw_i64(&w, err_code_http(err->code));
    jw_kv(&w, "message", is_private ? "the server failed; its log says why" : err->msg);
    jw_kv(&w, "status", err_code_name(err->code));
    jw_end_object(&w);
    jw_end_object(&w);
    put_line(t, &b);
    xch_end(t->x);
    over(t);
}

static void finish(struct transfer *t, const char *digest, const struct image *img) {
    auto_buf struct buf b = BUF_INIT(LINE_MAX_BYTES);
    struct jw w;
    jw_init(&w, &b, 0);
    jw_object(&w);
    jw_kv(&w, "digest", digest);
    if (img != NULL) {
        jw_key(&w, "image");
        images_put(&w, img);
    }
    jw_end_object(&w);
    put_line(t, &b);
    xch_end(t->x);
    over(t);
}

/* ---- the puller's calls */

static void pull_note(struct pull_wait *w, int severity, const char *text) {
    (void)severity;
    say(CONTAINER_OF(w, struct transfer, pull), text, NULL);
}

static void pull_progress(struct pull_wait *w, const struct transfer_state *s) {
    struct transfer *t = CONTAINER_OF(w, struct transfer, pull);
    auto_buf struct buf b = BUF_INIT(4096);
    transfer_text(s, "pulling", t->image, &b);
    say(t, buf_cstr(&b), s);
}

static void pull_done(struct pull_wait *w, const struct err *why) {
    struct transfer *t = CONTAINER_OF(w, struct transfer, pull);
    struct image img;
    struct err err = {0};
    if (why != NULL || image_find(t->im->store, t->a, t->image, &img, &err) < 0) {
        fail(t, why != NULL ? why : &err);
    } else {
        finish(t, NULL, &img);
    }
}

static void push_note(struct push_wait *w, int severity, const char *text) {
    (void)severity;
    say(CONTAINER_OF(w, struct transfer, push), text, NULL);
}

static void push_progress(struct push_wait *w, const struct transfer_state *s) {
    struct transfer *t = CONTAINER_OF(w, struct transfer, push);
    auto_buf struct buf b = BUF_INIT(4096);
    transfer_text(s, "pushing", t->image, &b);
    say(t, buf_cstr(&b), s);
}

static void push_done(struct push_wait *w, const char *digest, const struct err *why) {
    struct transfer *t = CONTAINER_OF(w, struct transfer, push);
    if (why != NULL) {
        fail(t, why);
    } else {
        finish(t, digest, NULL);
    }
}

/* ---- the request */

static void on_gone(struct xch *x, void *arg) {
    struct transfer *t = arg;
    if (t->is_push) {
        puller_forget_push(t->im->puller, &t->push);
    } else {
        puller_forget(t->im->puller, &t->pull);
    }
    xch_abort(x);
    over(t);
}

static const char *text_of(struct transfer *t, const json_t *j, const char *key, struct err *err) {
    const json_t *v = json_object_get(j, key);
    if (v != NULL && !json_is_string(v)) {
        (void)err_field(err, ERR_INVALID_ARGUMENT, key, "%s is not text", key);
    }
    return arena_strdup(t->a, json_string_value(v));
}

static int check_name(const char *key, const char *name, struct err *err) {
    if (name == NULL || name[0] == '\0') {
        return err_field(err, ERR_INVALID_ARGUMENT, key, "%s is missing", key);
    }
    if (strlen(name) > limits.image_max_name) {
        limits_hit(&limits.image_max_name);
        return err_field(err, ERR_INVALID_ARGUMENT, key,
                         "%s is longer than %llu bytes (limit image_max_name)", key,
                         (unsigned long long)limits.image_max_name);
    }
    return 0;
}

static int read_request(struct transfer *t, struct str body, struct err *err) {
    json_error_t why;
    json_t *j = json_loadb(body.p != NULL ? body.p : "", body.n, JSON_REJECT_DUPLICATES, &why);
    const char *policy = NULL;
    struct err bad = {0};
    if (!json_is_object(j)) {
        json_decref(j);
        return err_set(err, ERR_INVALID_ARGUMENT, "the body is not a JSON object: %s", why.text);
    }
    t->image = text_of(t, j, "image", &bad);
    t->to = text_of(t, j, "to", &bad);
    policy = text_of(t, j, "policy", &bad);
    json_decref(j);
    if (bad.code == ERR_OK && check_name("image", t->image, &bad) == 0 && t->is_push) {
        (void)check_name("to", t->to, &bad);
    }
    if (bad.code == ERR_OK && policy != NULL && strcmp(policy, "missing") != 0 &&
        strcmp(policy, "always") != 0) {
        (void)err_field(&bad, ERR_INVALID_ARGUMENT, "policy",
                        "policy is neither missing nor always");
    }
    if (bad.code != ERR_OK) {
        *err = bad;
        return -1;
    }
    t->pull.policy = puller_policy(t->im->puller) == PULL_NEVER         ? PULL_NEVER
                     : policy != NULL && strcmp(policy, "missing") == 0 ? PULL_MISSING
                                                                        : PULL_ALWAYS;
    return 0;
}

static void on_body(struct xch *x, void *arg, struct str body, const struct err *err) {
    struct transfer *t = arg;
    struct err why = {0};
    if (err != NULL) {
        why = *err;
    } else if (t->im->puller == NULL) {
        (void)err_set(&why, ERR_UNIMPLEMENTED, "this server speaks to no other registry");
    } else {
        (void)read_request(t, body, &why);
    }
    if (why.code == ERR_OK && t->is_push && puller_policy(t->im->puller) == PULL_NEVER) {
        (void)err_set(&why, ERR_FAILED_PRECONDITION,
                      "the server is to stay away from other registries (pull = never)");
    }
    if (why.code != ERR_OK) {
        fail(t, &why);
        return;
    }
    xch_on_gone(x, on_gone, t);
    xch_reply_is_endless(x);
    if (t->is_push) {
        t->push.image = t->image;
        t->push.to = t->to;
        t->push.note = push_note;
        t->push.progress = push_progress;
        t->push.done = push_done;
        puller_push(t->im->puller, &t->push);
    } else {
        t->pull.uri = t->image;
        t->pull.note = pull_note;
        t->pull.progress = pull_progress;
        t->pull.done = pull_done;
        list_init(&t->pull.link);
        puller_pull(t->im->puller, &t->pull);
    }
}

void images_transfer(struct api_images *im, struct xch *x, bool is_push) {
    struct arena *a = arena_new(ARENA_NO_MAX);
    struct transfer *t = arena_alloc(a, sizeof(*t));
    t->im = im;
    t->a = a;
    t->x = xch_ref(x);
    t->is_push = is_push;
    xch_collect_body(x, BODY_MAX, on_body, t);
}
