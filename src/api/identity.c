/* Callers by door, and the requests they make about themselves. */
#include "api/identity_int.h"

#include "api/call.h"
#include "api/cusp_path.h"
#include "api/projects.h"
#include "base/enc.h"
#include "base/jw.h"
#include "base/log.h"
#include "engine/job_spec.h"
#include "sys/loop.h"

#define REPLY_MAX (1u << 20)
#define AUDIENCE_MAX 2048
#define PATH_SHOWN 512 /* bytes of a path in the access log */

/* ---- callers */

static struct str id_text(char ret[24], uint64_t id) {
    return str_n(ret, (size_t)snprintf(ret, 24, "%llu", (unsigned long long)id));
}

struct caller *identity_caller(const struct identity *d, const struct xch *x) {
    char key[24];
    return xch_door(x) ? map_get(&d->callers, id_text(key, xch_door(x))) : NULL;
}

static void caller_free(struct caller *c) {
    free(c->job);
    free(c->job_id);
    free(c->replica);
    free(c->project_id);
    free(c->location);
    free(c->email);
    free(c);
}

uint64_t identity_open(struct identity *d, const struct job_spec *s, const char *replica) {
    char key[24];
    auto_arena struct arena *a = arena_new(4096);
    struct caller *c = xcalloc(1, sizeof(*c));
    const char *id = projects_id(d->projects, a, s->project_number);
    c->id = ++d->next_id;
    c->job = xstrdup(s->name);
    c->job_id = xstrdup(s->id);
    c->replica = xstrdup(replica);
    c->project_id = xstrdup(id ? id : s->project_id);
    c->project_number = s->project_number;
    c->location = xstrdup(s->location);
    /* Without one, jobs run as the custom code service agent (reference 09 §3). */
    c->email = s->service_account && s->service_account[0]
                   ? xstrdup(s->service_account)
                   : xasprintf("service-%llu@gcp-sa-aiplatform-cc.iam.gserviceaccount.com",
                               (unsigned long long)s->project_number);
    map_put(&d->callers, id_text(key, c->id), c);
    return c->id;
}

void identity_close(struct identity *d, uint64_t id) {
    char key[24];
    struct caller *c = map_del(&d->callers, id_text(key, id));
    if (c) {
        caller_free(c);
    }
}

bool identity_is_job(const struct xch *x) {
    return xch_door(x) != 0;
}

/* The token that a request bears; .p NULL: none. */
static struct str bearer_of(const struct xch *x) {
    struct str h = xch_header(x, "authorization");
    return str_starts(h, STR("Bearer ")) ? str_trim(str_sub(h, 7, h.n)) : (struct str){NULL, 0};
}

bool identity_refuse(struct identity *d, struct xch *x) {
    struct str path = xch_head(x)->path;
    struct token_claims t;
    struct err err;
    if (!(str_starts(path, STR("/cusp/")) || str_eqc(path, "/metrics")) ||
        !(identity_is_job(x) || bearer_read(d->keys, xch_arena(x), bearer_of(x), &t))) {
        return false;
    }
    err_set(&err, ERR_PERMISSION_DENIED,
            "%.*s administers the server; jobs may not ask for it. Ask from outside the container, "
            "without a job's token.",
            (int)(path.n > 200 ? 200 : path.n), path.p);
    reply_error(x, &err);
    return true;
}

bool identity_reject(struct identity *d, struct xch *x,
                     bool (*said)(struct xch *, const struct err *err)) {
    struct str token = bearer_of(x);
    struct token_claims t;
    struct err err;
    if (!bearer_is_ours(token)) {
        return false;
    }
    if (!bearer_read(d->keys, xch_arena(x), token, &t)) {
        err_set(&err, ERR_UNAUTHENTICATED,
                "Request had invalid authentication credentials: the access token was not made by "
                "this server, or was changed.");
    } else if (t.expires <= d->clock->ops->wall(d->clock) / USEC_PER_SEC) {
        err_set(&err, ERR_UNAUTHENTICATED,
                "Request had invalid authentication credentials: the access token has expired. The "
                "metadata server gives fresh ones.");
    } else {
        return false;
    }
    if (!said || !said(x, &err)) {
        reply_error(x, &err);
    }
    return true;
}

/* ---- tokens */

void identity_put_token(struct identity *d, const struct caller *c, struct buf *b) {
    auto_buf struct buf token = BUF_INIT(REPLY_MAX);
    struct jw w;
    bearer_make(d->keys, c, d->clock->ops->wall(d->clock), &token);
    jw_init(&w, b, 0);
    jw_object(&w);
    jw_kv(&w, "access_token", buf_cstr(&token));
    jw_key(&w, "expires_in");
    jw_u64(&w, TOKEN_LIFE_S);
    jw_kv(&w, "token_type", "Bearer");
    jw_end_object(&w);
}

/* A request that waits for the signing key. */
struct signing {
    struct token_wait wait;
    struct identity *d;
    struct xch *x;
    bool jwks;
    struct str audience; /* .p NULL: certificates are wanted */
    bool full;
};

static void signing_ready(struct token_wait *t, const struct err *err) {
    struct signing *g = CONTAINER_OF(t, struct signing, wait);
    struct identity *d = g->d;
    auto_buf struct buf b = BUF_INIT(REPLY_MAX);
    struct err e;
    int rc = -1;
    if (err) {
        e = *err;
    } else if (!g->audience.p) {
        rc = token_put_certs(d->keys, g->jwks, &b, &e);
    } else {
        const struct caller *c = identity_caller(d, g->x); /* the job may have ended meanwhile */
        rc = c ? token_make_identity(d->keys, c, g->audience, g->full,
                                     d->clock->ops->wall(d->clock), &b, &e)
               : err_set(&e, ERR_NOT_FOUND, "The job has ended.");
    }
    if (rc) {
        log_error("identity token", "error=\"%s\"", e.msg);
        metadata_refuse(g->x, 503, "No identity token can be made now.\n");
    } else if (g->audience.p) {
        metadata_answer(g->x, 200, STR("application/text"), (struct str){NULL, 0}, buf_str(&b));
    } else {
        reply_json(g->x, 200, buf_str(&b));
    }
    xch_unref(g->x);
}

static void sign_later(struct identity *d, struct xch *x, struct str audience, bool full,
                       bool jwks) {
    struct signing *g = arena_calloc(xch_arena(x), 1, sizeof(*g));
    g->d = d;
    g->x = xch_ref(x);
    g->audience = audience;
    g->full = full;
    g->jwks = jwks;
    g->wait.ready = signing_ready;
    token_keys_need(d->keys, &g->wait);
}

void identity_sign(struct identity *d, struct xch *x) {
    struct str audience = cusp_query_get(x, "audience"), format = cusp_query_get(x, "format");
    if (!audience.n) {
        metadata_refuse(x, 400, "non-empty audience parameter required\n");
    } else if (audience.n > AUDIENCE_MAX) {
        metadata_refuse(x, 400, "audience: at most 2048 bytes\n");
    } else if (format.n && !str_eqc(format, "full") && !str_eqc(format, "standard")) {
        metadata_refuse(x, 400, "format: full or standard\n");
    } else {
        sign_later(d, x, audience, str_eqc(format, "full"), false);
    }
}

/* ---- oauth2.googleapis.com, www.googleapis.com */

static void token_endpoint(struct identity *d, struct xch *x, const struct caller *c) {
    auto_buf struct buf b = BUF_INIT(REPLY_MAX);
    if (!str_eqc(xch_head(x)->method, "POST")) {
        reply_json(x, 405, STR("{\"error\": \"invalid_request\"}"));
        return;
    }
    /* Whatever is shown (a refresh token, a key): the job is what it is. */
    identity_put_token(d, c, &b);
    reply_json(x, 200, buf_str(&b));
}

static void token_info(struct identity *d, struct xch *x) {
    auto_buf struct buf b = BUF_INIT(REPLY_MAX);
    struct token_claims t;
    struct jw w;
    uint64_t now = d->clock->ops->wall(d->clock) / USEC_PER_SEC;
    if (!bearer_read(d->keys, xch_arena(x), cusp_query_get(x, "access_token"), &t) ||
        t.expires <= now) {
        reply_json(x, 400,
                   STR("{\"error\": \"invalid_token\", \"error_description\": \"Invalid Value\"}"));
        return;
    }
    jw_init(&w, &b, 2);
    jw_object(&w);
    jw_key(&w, "email");
    jw_str(&w, t.email);
    jw_kv(&w, "email_verified", "true");
    jw_key(&w, "scope");
    jw_str(&w, t.scope);
    jw_kv_u64_string(&w, "exp", t.expires);
    jw_kv_u64_string(&w, "expires_in", t.expires - now);
    jw_kv(&w, "access_type", "online");
    jw_end_object(&w);
    reply_json(x, 200, buf_str(&b));
}

bool identity_handle(struct identity *d, struct xch *x) {
    const struct xch_head *h = xch_head(x);
    const struct caller *c = identity_caller(d, x);
    bool google = str_find(h->authority, STR(".googleapis.com")) >= 0;
    bool oauth = str_starts(h->authority, STR("oauth2.googleapis.com"));
    if (str_eqc(h->path, "/oauth2/v3/certs") || str_eqc(h->path, "/oauth2/v1/certs")) {
        sign_later(d, x, (struct str){NULL, 0}, false, str_eqc(h->path, "/oauth2/v3/certs"));
    } else if (str_eqc(h->path, "/oauth2/v3/tokeninfo") ||
               str_eqc(h->path, "/oauth2/v1/tokeninfo") ||
               (oauth && str_eqc(h->path, "/tokeninfo"))) {
        token_info(d, x);
    } else if (!c) {
        return false;
    } else if (oauth && str_eqc(h->path, "/token")) {
        token_endpoint(d, x, c);
    } else if (str_starts(h->path, STR("/computeMetadata")) || (str_eqc(h->path, "/") && !google)) {
        metadata_serve(d, x, c);
    } else {
        return false;
    }
    return true;
}

/* ---- the access log */

/* A quoted value: what would end it or the line is replaced. */
static void put_quoted(struct buf *b, const char *name, struct str v) {
    buf_printf(b, " %s=\"", name);
    for (size_t i = 0; i < v.n && i < PATH_SHOWN; i++) {
        unsigned char ch = (unsigned char)v.p[i];
        buf_putc(b, ch < 0x20 || ch == 0x7f || ch == '"' || ch == '\\' ? '?' : (char)ch);
    }
    buf_putc(b, '"');
}

void identity_finished(struct identity *d, struct xch *x, int status) {
    const struct xch_head *h = xch_head(x);
    const struct caller *c = identity_caller(d, x);
    struct str bearer = bearer_of(x);
    struct token_claims t = {0};
    usec_t now = d->clock->ops->wall(d->clock);
    const char *token = "none";
    if (bearer.n) {
        token = !bearer_read(d->keys, xch_arena(x), bearer, &t) ? "foreign"
                : t.expires <= now / USEC_PER_SEC               ? "expired"
                                                                : "valid";
    }
    if (!c && !t.job.n) {
        return;
    }
    auto_buf struct buf b = BUF_INIT(16384), at = BUF_INIT(64);
    time_format_rfc3339(&at, now);
    struct str job = c ? str_of(c->job) : t.job;
    buf_printf(&b, "time=%s request=%llu job=%.*s by=%s token=%s", buf_cstr(&at),
               (unsigned long long)xch_id(x), STR_ARG(job), c ? "door" : "token", token);
    if (c) {
        buf_printf(&b, " replica=%s", c->replica);
    }
    if (t.job.n && !str_eq(t.job, job)) {
        buf_printf(&b, " token_job=%.*s", STR_ARG(t.job));
    }
    buf_printf(&b, " account=%.*s", STR_ARG(t.email.n ? t.email : str_of(c ? c->email : "")));
    buf_printf(&b, " peer=%.*s", STR_ARG(h->peer));
    put_quoted(&b, "method", h->method);
    put_quoted(&b, "host", h->authority);
    put_quoted(&b, "path", h->path);
    buf_printf(&b, " status=%d usec=%llu", status,
               (unsigned long long)(d->clock->ops->mono(d->clock) - xch_started_at(x)));
    access_log_put(d->access, buf_str(&b));
}

/* ---- life */

struct identity *identity_new(struct loop *loop, struct lane *disk, const char *data_dir,
                              struct projects *projects, struct err *err) {
    auto_free char *dir = xasprintf("%s/identity", data_dir);
    struct token_keys *keys = token_keys_open(disk, dir, err);
    if (!keys) {
        err_wrap(err, "identity");
        return NULL;
    }
    struct identity *d = xcalloc(1, sizeof(*d));
    d->clock = loop_clock(loop);
    d->projects = projects;
    d->keys = keys;
    d->access = access_log_new(loop, disk, data_dir);
    map_init(&d->callers);
    list_init(&d->waiting);
    return d;
}

void identity_free(struct identity *d) {
    if (!d) {
        return;
    }
    size_t it = 0;
    const struct map_slot *slot;
    while ((slot = map_next(&d->callers, &it))) {
        caller_free(slot->value);
    }
    map_fini(&d->callers);
    token_keys_free(d->keys);
    access_log_free(d->access);
    free(d);
}
