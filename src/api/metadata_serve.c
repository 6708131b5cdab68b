/* A job's metadata server (reference 22 §2): who may ask, how, and requests that wait for a change
 * (wait_for_change=true). What a job is never changes while it runs, so such a request is answered
 * when its time is up, when the ETag it knows is not the one there is, or never: it ends with the
 * job. */
#include "api/identity_int.h"

#include "api/call.h"
#include "api/cusp_path.h"
#include "base/enc.h"
#include "base/limits.h"

#define PREFIX "/computeMetadata/v1"
#define REPLY_MAX (1u << 20)
#define WAIT_MAX_S (30u * 86400) /* longer is for ever */

void metadata_answer(struct xch *x, int status, struct str type, struct str etag, struct str body) {
    const struct header h[] = {{STR("content-type"), type},
                               {STR("metadata-flavor"), STR("Google")},
                               {STR("server"), STR("Metadata Server for cusp")},
                               {STR("etag"), etag}};
    xch_reply(x, status, h, NR_OF(h) - (etag.n == 0), body);
}

void metadata_refuse(struct xch *x, int status, const char *why) {
    metadata_answer(x, status, STR("text/plain; charset=UTF-8"), (struct str){NULL, 0},
                    str_of(why));
}

static void not_found(struct xch *x) {
    metadata_refuse(x, 404, "There is no such metadata.\n");
}

/* ---- waiting */

struct waiting {
    struct list link;
    struct timer timer;
    struct identity *d;
    struct xch *x;
    struct str path;
};

static void answer_now(struct identity *d, struct xch *x, const struct caller *c, struct str path,
                       bool may_wait);

static struct caller *stop_waiting(struct waiting *w) {
    struct clock *k = w->d->clock;
    struct caller *c = identity_caller(w->d, w->x);
    k->ops->disarm(k, &w->timer);
    list_del(&w->link);
    if (c) {
        c->nr_waiting--;
    }
    return c;
}

static void on_time(struct timer *t) {
    struct waiting *w = CONTAINER_OF(t, struct waiting, timer);
    const struct caller *c = stop_waiting(w);
    if (c) {
        answer_now(w->d, w->x, c, w->path, false);
    } else {
        metadata_refuse(w->x, 503, "The job has ended.\n");
    }
    xch_unref(w->x);
}

static void on_gone(struct xch *x, void *arg) {
    struct waiting *w = arg;
    (void)stop_waiting(w);
    xch_abort(x);
    xch_unref(x);
}

/* Seconds; WAIT_MAX_S and more: until the job ends. */
static bool wait_time(struct xch *x, uint64_t *ret) {
    struct str text = cusp_query_get(x, "timeout_sec");
    *ret = WAIT_MAX_S;
    return !text.p || str_to_u64(text, ret);
}

/* True: answered, or will be. */
static bool wait_for_change(struct identity *d, struct xch *x, struct str path, struct str etag) {
    struct str known = cusp_query_get(x, "last_etag");
    struct caller *c = identity_caller(d, x);
    uint64_t seconds;
    if (!str_ieq(cusp_query_get(x, "wait_for_change"), STR("true"))) {
        return false;
    }
    if (!wait_time(x, &seconds)) {
        metadata_refuse(x, 400, "timeout_sec: a number of seconds\n");
        return true;
    }
    if ((known.p && !str_eq(known, etag)) || seconds == 0) {
        return false;
    }
    if (c->nr_waiting >= limits.metadata_waits) {
        limits_hit(&limits.metadata_waits);
        metadata_refuse(x, 503, "Too many requests of this job wait for a change already.\n");
        return true;
    }
    struct waiting *w = arena_calloc(xch_arena(x), 1, sizeof(*w));
    w->d = d;
    w->x = xch_ref(x);
    w->path = path;
    w->timer.fn = on_time;
    c->nr_waiting++;
    list_push_tail(&d->waiting, &w->link);
    if (seconds < WAIT_MAX_S) {
        d->clock->ops->arm(d->clock, &w->timer,
                           d->clock->ops->mono(d->clock) + seconds * USEC_PER_SEC);
    }
    xch_reply_is_endless(x);
    xch_on_gone(x, on_gone, w);
    return true;
}

/* ---- values */

/* "token" of instance/service-accounts/default/token; .p NULL for anything else. */
static struct str account_leaf(const struct caller *c, struct str path) {
    struct str rest = path;
    static const char base[] = "instance/service-accounts/";
    if (!str_starts(rest, str_of(base))) {
        return (struct str){NULL, 0};
    }
    rest = str_sub(rest, sizeof(base) - 1, rest.n);
    struct str account = str_cut(&rest, '/');
    return str_eqc(account, "default") || str_eqc(account, c->email) ? rest : (struct str){NULL, 0};
}

static void answer_now(struct identity *d, struct xch *x, const struct caller *c, struct str path,
                       bool may_wait) {
    auto_buf struct buf b = BUF_INIT(REPLY_MAX);
    struct str alt = cusp_query_get(x, "alt");
    bool recursive = str_ieq(cusp_query_get(x, "recursive"), STR("true"));
    enum metadata_form form;
    if (alt.n && !str_eqc(alt, "json") && !str_eqc(alt, "text")) {
        metadata_refuse(x, 400, "alt: json or text\n");
        return;
    }
    const char *word = !alt.n ? NULL : str_eqc(alt, "json") ? "json" : "text";
    if (!metadata_get(c, xch_arena(x), path, recursive, word, &b, &form)) {
        not_found(x);
        return;
    }
    char text[24];
    uint64_t hash = str_hash(buf_str(&b));
    struct str etag =
        str_n(text, (size_t)snprintf(text, sizeof(text), "%016llx", (unsigned long long)hash));
    if (!may_wait || !wait_for_change(d, x, path, etag)) {
        metadata_answer(x, 200,
                        form == METADATA_JSON ? STR("application/json") : STR("application/text"),
                        etag, buf_str(&b));
    }
}

static void get(struct identity *d, struct xch *x, const struct caller *c, struct str path) {
    struct str leaf = account_leaf(c, path);
    if (str_eqc(leaf, "token")) {
        auto_buf struct buf b = BUF_INIT(REPLY_MAX);
        identity_put_token(d, c, &b);
        metadata_answer(x, 200, STR("application/json"), (struct str){NULL, 0}, buf_str(&b));
    } else if (str_eqc(leaf, "identity")) {
        identity_sign(d, x);
    } else {
        answer_now(d, x, c, path, true);
    }
}

void metadata_serve(struct identity *d, struct xch *x, const struct caller *c) {
    const struct xch_head *h = xch_head(x);
    struct str path;
    if (!str_eqc(h->method, "GET") && !str_eqc(h->method, "HEAD")) {
        metadata_refuse(x, 405, "GET and HEAD only\n");
    } else if (str_eqc(h->path, "/")) {
        metadata_answer(x, 200, STR("application/text"), (struct str){NULL, 0},
                        STR("computeMetadata/\n"));
    } else if (!str_ieq(xch_header(x, "metadata-flavor"), STR("Google"))) {
        metadata_refuse(x, 403, "Missing required header \"Metadata-Flavor: Google\".\n");
    } else if (xch_header(x, "x-forwarded-for").p) {
        metadata_refuse(x, 403, "Requests by a proxy (X-Forwarded-For) are refused.\n");
    } else if (!str_starts(h->path, STR(PREFIX)) ||
               !enc_unpercent(xch_arena(x), str_sub(h->path, sizeof(PREFIX) - 1, h->path.n), false,
                              &path)) {
        if (str_eqc(h->path, "/computeMetadata") || str_eqc(h->path, "/computeMetadata/")) {
            metadata_answer(x, 200, STR("application/text"), (struct str){NULL, 0}, STR("v1/\n"));
        } else {
            not_found(x);
        }
    } else if (path.n && path.p[0] != '/') {
        not_found(x);
    } else {
        get(d, x, c, str_sub(path, 1, path.n));
    }
}
