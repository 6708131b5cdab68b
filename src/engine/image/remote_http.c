/* Requests to other registries, through libcurl: one blocks its thread until it is over, cancelled,
 * or silent for too long. Redirects are followed here and not by libcurl, so that it is plain who
 * gets the credentials: the place they are for, nobody it sends us to. */
#include "base/limits.h"
#include "engine/image/remote_int.h"

#include <errno.h>
#include <jansson.h>
#include <strings.h>
#include <unistd.h>

#define REDIRECTS_MAX 6
#define FIRST_TRIES 3
#define AUTHORIZE_MAX 2 /* tries of one request: the token may just have run out */
#define CHALLENGE_MAX ((size_t)16 << 10)
#define TRANSFER_BUFFER 524288L
#define BACKOFF_MAX (30 * (usec_t)USEC_PER_SEC)

/* ---- sessions */

static const struct remote_host *host_config(const struct remote_config *c, struct str host) {
    for (size_t i = 0; i < c->nr_hosts; i++) {
        if (str_eqc(host, c->hosts[i].host)) {
            return &c->hosts[i];
        }
    }
    return NULL;
}

static bool is_loopback(struct str host) {
    struct str name = host;
    name = str_cut(&name, ':');
    return str_eqc(name, "localhost") || str_starts(name, STR("127.")) || str_eqc(host, "[::1]") ||
           str_starts(host, STR("[::1]:"));
}

static void add_spot(struct remote_session *s, const char *base, bool scheme_is_known) {
    struct str rest = str_of(base);
    struct str host = str_sub(rest, (size_t)str_find(rest, STR("://")) + 3, rest.n);
    host = str_cut(&host, '/');
    const struct remote_host *h = host_config(s->config, host);
    struct remote_spot *spot = &s->spots[s->nr_spots++];
    spot->base = base;
    spot->host = arena_strndup(s->arena, host.p, host.n);
    spot->insecure = is_loopback(host) || (h != NULL && h->insecure);
    spot->ca = h != NULL && h->ca != NULL && h->ca[0] != '\0' ? h->ca : NULL;
    spot->scheme_is_known = scheme_is_known;
}

static struct str cut_mirror(struct str *list) {
    size_t i = 0;
    while (i < list->n && strchr(" \t,", list->p[i]) != NULL) {
        i++;
    }
    size_t from = i;
    while (i < list->n && strchr(" \t,", list->p[i]) == NULL) {
        i++;
    }
    struct str word = str_sub(*list, from, i - from);
    *list = str_sub(*list, i, list->n);
    while (word.n > 0 && word.p[word.n - 1] == '/') {
        word.n--;
    }
    return word;
}

struct remote_session *remote_session_new(const struct remote_config *c,
                                          const struct remote_ref *ref, const char *actions) {
    struct remote_session *s = xcalloc(1, sizeof(*s));
    const struct remote_host *h = host_config(c, str_of(ref->host));
    const char *mirrors = h != NULL && strcmp(actions, "pull") == 0 ? h->mirrors : NULL;
    s->config = c;
    s->ref = ref;
    s->actions = actions;
    s->arena = arena_new(ARENA_NO_MAX);
    atomic_init(&s->cancelled, false);
    atomic_init(&s->answered, false);
    (void)pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    s->spots =
        arena_calloc(s->arena, strlen(mirrors != NULL ? mirrors : "") / 2 + 2, sizeof(*s->spots));
    struct str list = str_of(mirrors), word;
    while ((word = cut_mirror(&list)).n > 0) {
        bool whole = str_find(word, STR("://")) >= 0;
        add_spot(s, arena_printf(s->arena, "%s%.*s", whole ? "" : "https://", STR_ARG(word)),
                 whole);
    }
    bool hub = strcmp(ref->host, "docker.io") == 0;
    add_spot(s, arena_printf(s->arena, "https://%s", hub ? "registry-1.docker.io" : ref->host),
             false);
    struct remote_spot *own = &s->spots[s->nr_spots - 1];
    own->host = ref->host;
    if (h != NULL) {
        own->insecure = own->insecure || h->insecure;
        own->ca = h->ca != NULL && h->ca[0] != '\0' ? h->ca : own->ca;
    }
    return s;
}

void remote_session_free(struct remote_session *s) {
    if (s == NULL) {
        return;
    }
    for (size_t i = 0; i < s->idle.n; i++) {
        curl_easy_cleanup(s->idle.p[i]);
    }
    vec_fini(&s->idle);
    for (size_t i = 0; i < s->nr_spots; i++) {
        free(s->spots[i].authorization);
    }
    (void)pthread_cond_destroy(&s->wake);
    (void)pthread_mutex_destroy(&s->lock);
    arena_free(s->arena);
    free(s);
}

void remote_cancel(struct remote_session *s) {
    (void)pthread_mutex_lock(&s->lock);
    atomic_store(&s->cancelled, true);
    (void)pthread_cond_broadcast(&s->wake);
    (void)pthread_mutex_unlock(&s->lock);
}

bool remote_is_cancelled(struct remote_session *s) {
    return atomic_load(&s->cancelled);
}

size_t remote_places(const struct remote_session *s) {
    return s->nr_spots;
}

size_t remote_main_place(const struct remote_session *s) {
    return s->nr_spots - 1;
}

const char *remote_place(const struct remote_session *s, size_t place) {
    return s->spots[place].host;
}

/* ---- one transfer */

struct transfer {
    struct remote_session *s;
    struct remote_req *q;
    CURL *h;
    struct buf *challenge;
    uint64_t at, fd_at;
    char content_range[64];
    bool begun, stopped;
    struct err why; /* what a callback found */
};

static CURL *take_handle(struct remote_session *s) {
    CURL *h = NULL;
    (void)pthread_mutex_lock(&s->lock);
    if (s->idle.n > 0) {
        h = s->idle.p[--s->idle.n];
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (h == NULL) {
        h = curl_easy_init();
        CHECK(h != NULL);
    }
    curl_easy_reset(h); /* options; the connections stay */
    return h;
}

static void give_handle(struct remote_session *s, CURL *h) {
    (void)pthread_mutex_lock(&s->lock);
    vec_push(&s->idle, h);
    (void)pthread_mutex_unlock(&s->lock);
}

static void keep(char *at, size_t cap, struct str v) {
    (void)snprintf(at, cap, "%.*s", STR_ARG(v));
}

static size_t on_header(char *p, size_t size, size_t n, void *arg) {
    struct transfer *t = arg;
    struct remote_req *q = t->q;
    struct str value = str_n(p, size * n);
    while (value.n > 0 && (value.p[value.n - 1] == '\n' || value.p[value.n - 1] == '\r')) {
        value.n--;
    }
    if (str_starts(value, STR("HTTP/"))) { /* what came before was 1xx */
        q->content_type_got[0] = q->digest[0] = q->location[0] = q->range[0] = '\0';
        t->content_range[0] = '\0';
        return size * n;
    }
    struct str name = str_cut(&value, ':');
    value = str_trim(value);
    if (value.p == NULL) {
        return size * n;
    }
    if (str_ieq(name, STR("content-type"))) {
        keep(q->content_type_got, sizeof(q->content_type_got), value);
    } else if (str_ieq(name, STR("docker-content-digest"))) {
        keep(q->digest, sizeof(q->digest), value);
    } else if (str_ieq(name, STR("location"))) {
        if (value.n < sizeof(q->location)) { /* a cut-off address leads elsewhere */
            keep(q->location, sizeof(q->location), value);
        }
    } else if (str_ieq(name, STR("range"))) {
        keep(q->range, sizeof(q->range), value);
    } else if (str_ieq(name, STR("content-range"))) {
        keep(t->content_range, sizeof(t->content_range), value);
    } else if (str_ieq(name, STR("www-authenticate")) && t->challenge != NULL) {
        (void)buf_put_str(t->challenge, value);
        (void)buf_putc(t->challenge, '\n');
    }
    return size * n;
}

/* Where the body begins: at 0, or where we asked for it to begin. */
static int begin_body(struct transfer *t) {
    struct remote_req *q = t->q;
    t->begun = true;
    t->at = 0;
    if (q->status != 206) {
        return 0;
    }
    uint64_t first = 0;
    struct str range = str_of(t->content_range);
    if (str_starts(range, STR("bytes "))) {
        range = str_sub(range, 6, range.n);
        if (str_to_u64(str_trim(str_cut(&range, '-')), &first) && first == q->from) {
            t->at = first;
            return 0;
        }
    }
    t->q->can_retry = true;
    return err_set(&t->why, ERR_UNAVAILABLE,
                   "answered with other bytes (%.60s) than those from "
                   "%llu on",
                   t->content_range, (unsigned long long)q->from);
}

static size_t on_body(char *p, size_t size, size_t n, void *arg) {
    struct transfer *t = arg;
    struct remote_req *q = t->q;
    (void)curl_easy_getinfo(t->h, CURLINFO_RESPONSE_CODE, &q->status);
    if (q->sink == NULL || (q->status != 200 && q->status != 206)) {
        if (q->reply.n + size * n > q->max) {
            if (q->status >= 300) {
                return size * n; /* of an error page its beginning will do */
            }
            (void)err_set(&t->why, ERR_RESOURCE_EXHAUSTED,
                          "answered with more than the %zu bytes that are possible", q->max);
            return 0;
        }
        (void)buf_put(&q->reply, p, size * n);
        return size * n;
    }
    if ((!t->begun && begin_body(t) < 0) ||
        q->sink(q->arg, t->at, str_n(p, size * n), &t->why) < 0) {
        t->stopped = true;
        return 0;
    }
    t->at += size * n;
    return size * n;
}

static size_t on_read(char *p, size_t size, size_t n, void *arg) {
    struct transfer *t = arg;
    struct remote_req *q = t->q;
    size_t want = size * n;
    if (q->fd < 0) {
        want = want < q->body.n - t->fd_at ? want : (size_t)(q->body.n - t->fd_at);
        if (want > 0) {
            memcpy(p, q->body.p + t->fd_at, want);
        }
        t->fd_at += want;
        return want;
    }
    want = want < q->fd_size - t->fd_at ? want : (size_t)(q->fd_size - t->fd_at);
    ssize_t got = want > 0 ? pread(q->fd, p, want, (off_t)t->fd_at) : 0;
    if (got < 0 || (got == 0 && want > 0)) {
        (void)err_sys(&t->why, got < 0 ? errno : ESTALE, "read what is to be sent");
        return CURL_READFUNC_ABORT;
    }
    t->fd_at += (uint64_t)got;
    if (q->sent != NULL && got > 0) {
        q->sent(q->arg, (uint64_t)got);
    }
    return (size_t)got;
}

static int on_seek(void *arg, curl_off_t offset, int origin) {
    struct transfer *t = arg;
    if (origin != SEEK_SET) {
        return CURL_SEEKFUNC_CANTSEEK;
    }
    t->fd_at = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

static int on_tick(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    struct transfer *t = arg;
    (void)a, (void)b, (void)c, (void)d;
    return remote_is_cancelled(t->s) ? 1 : 0;
}

static bool same_origin(const char *a, const char *b) {
    static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
    CURLU *u[2] = {curl_url(), curl_url()};
    bool same = curl_url_set(u[0], CURLUPART_URL, a, 0) == CURLUE_OK &&
                curl_url_set(u[1], CURLUPART_URL, b, 0) == CURLUE_OK;
    for (size_t i = 0; same && i < NR_OF(parts); i++) {
        char *v[2] = {NULL, NULL};
        same = curl_url_get(u[0], parts[i], &v[0], CURLU_DEFAULT_PORT) == CURLUE_OK &&
               curl_url_get(u[1], parts[i], &v[1], CURLU_DEFAULT_PORT) == CURLUE_OK &&
               strcasecmp(v[0], v[1]) == 0;
        curl_free(v[0]);
        curl_free(v[1]);
    }
    curl_url_cleanup(u[0]);
    curl_url_cleanup(u[1]);
    return same;
}

/* The host of a whole URL, lower case or as written; "" when there is none. */
static void host_of(const char *url, char *ret, size_t cap) {
    CURLU *u = curl_url();
    char *v = NULL;
    ret[0] = '\0';
    if (curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &v, 0) == CURLUE_OK) {
        (void)snprintf(ret, cap, "%s", v);
    }
    curl_free(v);
    curl_url_cleanup(u);
}

static void set_trust(CURL *h, const struct remote_spot *spot, const char *url) {
    char host[256];
    host_of(url, host, sizeof(host));
    bool own = same_origin(url, spot->base);
    if (own && spot->ca != NULL) {
        curl_easy_setopt(h, CURLOPT_CAINFO, spot->ca);
    }
    if ((own && spot->insecure) || is_loopback(str_of(host))) {
        curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

static void set_method(CURL *h, struct transfer *t) {
    const struct remote_req *q = t->q;
    if (strcmp(q->method, "HEAD") == 0) {
        curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
    } else if (q->has_body) {
        curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(h, CURLOPT_UPLOAD_BUFFERSIZE, 1048576L);
        curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE,
                         (curl_off_t)(q->fd >= 0 ? q->fd_size : q->body.n));
        curl_easy_setopt(h, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(h, CURLOPT_READDATA, t);
        curl_easy_setopt(h, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(h, CURLOPT_SEEKDATA, t);
    }
    if (strcmp(q->method, "HEAD") != 0) {
        curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, q->method);
    }
}

static struct curl_slist *set_headers(CURL *h, const struct remote_req *q,
                                      const char *authorization) {
    struct curl_slist *l = curl_slist_append(NULL, "Expect:");
    char line[512];
    if (q->accept != NULL) {
        (void)snprintf(line, sizeof(line), "Accept: %s", q->accept);
        l = curl_slist_append(l, line);
    }
    if (q->content_type != NULL) {
        (void)snprintf(line, sizeof(line), "Content-Type: %s", q->content_type);
        l = curl_slist_append(l, line);
    }
    if (q->from > 0) {
        (void)snprintf(line, sizeof(line), "Range: bytes=%llu-", (unsigned long long)q->from);
        l = curl_slist_append(l, line);
    }
    if (authorization != NULL) {
        l = curl_slist_append(l, authorization);
    }
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, l);
    return l;
}

static int explain(struct transfer *t, const struct remote_spot *spot, const char *url, CURLcode rc,
                   const char *words, struct err *err) {
    char host[256];
    host_of(url, host, sizeof(host));
    if (remote_is_cancelled(t->s)) {
        return err_set(err, ERR_CANCELLED, "cancelled");
    }
    if (t->why.code != ERR_OK) {
        if (t->stopped && !t->q->can_retry) {
            if (err != NULL) {
                *err = t->why;
            }
            return -1;
        }
        return err_set(err, t->why.code, "registry %s (%s) %s", spot->host, host, t->why.msg);
    }
    if (rc == CURLE_OPERATION_TIMEDOUT) {
        t->q->can_retry = true;
        return err_set(err, ERR_DEADLINE_EXCEEDED,
                       "%s said nothing for %llu s (limit pull_stall_s)", host,
                       (unsigned long long)limits.pull_stall_s);
    }
    if (rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_SSL_CACERT_BADFILE) {
        return err_set(err, ERR_PERMISSION_DENIED,
                       "the certificate of %s is not trusted (%s): name its authority with ca = "
                       "FILE in [registry %s] of the server's configuration",
                       host, words, spot->host);
    }
    t->q->can_retry = true;
    return err_set(err, ERR_UNAVAILABLE, "%s cannot be reached: %s", host, words);
}

int remote_transfer(struct remote_session *s, const struct remote_spot *spot, const char *url,
                    const char *authorization, struct remote_req *q, char **ret_redirect,
                    struct buf *ret_challenge, struct err *err) {
    struct transfer t = {.s = s, .q = q, .challenge = ret_challenge};
    char words[CURL_ERROR_SIZE] = "";
    long after = 0;
    char *to = NULL;
    curl_off_t wait = 0;
    t.h = take_handle(s);
    q->status = 0;
    q->retry_after_s = 0;
    q->can_retry = false;
    buf_fini(&q->reply);
    buf_init(&q->reply, q->max);
    struct curl_slist *headers = set_headers(t.h, q, authorization);
    set_method(t.h, &t);
    set_trust(t.h, spot, url);
    curl_easy_setopt(t.h, CURLOPT_URL, url);
    curl_easy_setopt(t.h, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(t.h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(t.h, CURLOPT_USERAGENT, "cusp");
    curl_easy_setopt(t.h, CURLOPT_ERRORBUFFER, words);
    curl_easy_setopt(t.h, CURLOPT_BUFFERSIZE, TRANSFER_BUFFER);
    curl_easy_setopt(t.h, CURLOPT_CONNECTTIMEOUT, (long)limits.pull_connect_s);
    curl_easy_setopt(t.h, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(t.h, CURLOPT_LOW_SPEED_TIME, (long)limits.pull_stall_s);
    curl_easy_setopt(t.h, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(t.h, CURLOPT_HEADERDATA, &t);
    curl_easy_setopt(t.h, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(t.h, CURLOPT_WRITEDATA, &t);
    curl_easy_setopt(t.h, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(t.h, CURLOPT_XFERINFOFUNCTION, on_tick);
    curl_easy_setopt(t.h, CURLOPT_XFERINFODATA, &t);
    CURLcode rc = curl_easy_perform(t.h);
    (void)curl_easy_getinfo(t.h, CURLINFO_RESPONSE_CODE, &after);
    q->status = after;
    if (curl_easy_getinfo(t.h, CURLINFO_RETRY_AFTER, &wait) == CURLE_OK && wait > 0) {
        q->retry_after_s = wait > UINT32_MAX ? UINT32_MAX : (unsigned)wait;
    }
    if (curl_easy_getinfo(t.h, CURLINFO_REDIRECT_URL, &to) == CURLE_OK && to != NULL) {
        *ret_redirect = xstrdup(to);
    }
    if (after != 0) {
        atomic_store(&s->answered, true);
    }
    int ret = 0;
    if (rc != CURLE_OK) {
        ret = explain(&t, spot, url, rc, words[0] != '\0' ? words : curl_easy_strerror(rc), err);
    }
    bool no_tls = rc == CURLE_SSL_CONNECT_ERROR || rc == CURLE_COULDNT_CONNECT;
    q->tls_failed = no_tls;
    curl_slist_free_all(headers);
    give_handle(s, t.h);
    return ret;
}

/* ---- a request: authorised, redirected */

static bool is_plain(const char *url) {
    return strncmp(url, "http://", 7) == 0;
}

/* A registry of a laboratory may speak no TLS. Found out once; credentials have not been sent. */
static bool fall_back(struct remote_session *s, struct remote_spot *spot) {
    bool changed = false;
    (void)pthread_mutex_lock(&s->lock);
    if (spot->insecure && !spot->scheme_is_known && !is_plain(spot->base)) {
        spot->base = arena_printf(s->arena, "http://%s", spot->base + strlen("https://"));
        changed = true;
    } else {
        changed = spot->insecure && is_plain(spot->base); /* another thread has done it */
    }
    (void)pthread_mutex_unlock(&s->lock);
    return changed;
}

static char *url_of(struct remote_session *s, const struct remote_spot *spot, const char *path) {
    (void)pthread_mutex_lock(&s->lock);
    char *url = xasprintf("%s/v2/%s/%s", spot->base, s->ref->repo, path);
    (void)pthread_mutex_unlock(&s->lock);
    return url;
}

static bool is_url(const char *path) {
    return strncmp(path, "http://", 7) == 0 || strncmp(path, "https://", 8) == 0;
}

static int denied(struct remote_session *s, const struct remote_spot *spot, struct err *err) {
    (void)pthread_mutex_lock(&s->lock);
    const char *from = spot->creds_from;
    (void)pthread_mutex_unlock(&s->lock);
    return from != NULL ? err_set(err, ERR_PERMISSION_DENIED,
                                  "registry %s refuses the credentials from %s for repository %s",
                                  spot->host, from, s->ref->repo)
                        : err_set(err, ERR_UNAUTHENTICATED,
                                  "repository %s of registry %s does not exist or is not for "
                                  "everybody: run docker login %s as the user that cuspd runs as, "
                                  "or set username and password in [registry %s]",
                                  s->ref->repo, spot->host, spot->host, spot->host);
}

/* Relative to what was asked for, as Location may be. */
static void absolute_location(struct remote_req *q, const char *url) {
    CURLU *u = curl_url();
    char *whole = NULL;
    if (q->location[0] != '\0' && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_URL, q->location, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_URL, &whole, 0) == CURLUE_OK &&
        strlen(whole) < sizeof(q->location)) {
        (void)snprintf(q->location, sizeof(q->location), "%s", whole);
    } else {
        q->location[0] = '\0';
    }
    curl_free(whole);
    curl_url_cleanup(u);
}

static int follow(const struct remote_spot *spot, char **url, char *to, unsigned hops,
                  struct err *err) {
    int rc = 0;
    if (hops >= REDIRECTS_MAX) {
        rc = err_set(err, ERR_UNAVAILABLE, "registry %s redirects more than %d times", spot->host,
                     REDIRECTS_MAX);
    } else if (is_plain(to) && !is_plain(*url) && !spot->insecure) {
        rc = err_set(err, ERR_PERMISSION_DENIED,
                     "registry %s redirects from TLS to clear text (%.200s)", spot->host, to);
    }
    free(*url);
    *url = to;
    return rc;
}

int remote_do(struct remote_session *s, size_t place, struct remote_req *q, struct err *err) {
    struct remote_spot *spot = &s->spots[place];
    auto_free char *url = is_url(q->path) ? xstrdup(q->path) : url_of(s, spot, q->path);
    unsigned hops = 0, refused = 0;
    buf_init(&q->reply, q->max);
    for (;;) {
        auto_buf struct buf challenge = BUF_INIT(CHALLENGE_MAX);
        unsigned seen = 0;
        char *to = NULL;
        bool own = same_origin(url, spot->base);
        auto_free char *line = own ? remote_authorization(s, spot, &seen) : NULL;
        if (remote_is_cancelled(s)) {
            return err_set(err, ERR_CANCELLED, "cancelled");
        }
        int rc = remote_transfer(s, spot, url, line, q, &to, &challenge, err);
        if (rc < 0) {
            free(to);
            if (q->tls_failed && own && !is_plain(url) && !is_url(q->path) && fall_back(s, spot)) {
                free(url);
                url = url_of(s, spot, q->path);
                continue;
            }
            return -1;
        }
        if (to != NULL) {
            if (follow(spot, &url, to, ++hops, err) < 0) {
                return -1;
            }
            continue;
        }
        if (q->status == 401 && own) {
            if (refused++ >= AUTHORIZE_MAX) {
                return denied(s, spot, err);
            }
            if (remote_authorize(s, spot, buf_str(&challenge), seen, err) < 0) {
                return -1;
            }
            continue;
        }
        absolute_location(q, url);
        q->can_retry = q->status == 408 || q->status == 429 || q->status >= 500;
        return 0;
    }
}

/* ---- trying again, and giving up */

int remote_pause(struct remote_session *s, const struct remote_req *q, unsigned tries,
                 struct err *err) {
    /* Who has never answered is more likely wrong than busy. */
    uint64_t most = atomic_load(&s->answered) || limits.pull_tries < FIRST_TRIES ? limits.pull_tries
                                                                                 : FIRST_TRIES;
    if (!q->can_retry || tries >= most || remote_is_cancelled(s)) {
        return -1;
    }
    usec_t wait = (usec_t)limits.pull_backoff_ms * USEC_PER_MSEC;
    for (unsigned i = 1; i < tries && wait < BACKOFF_MAX; i++) {
        wait *= 2;
    }
    wait = wait < BACKOFF_MAX ? wait : BACKOFF_MAX;
    if (q->retry_after_s > limits.pull_retry_wait_s) {
        limits_hit(&limits.pull_retry_wait_s);
        return err_set(err, ERR_RESOURCE_EXHAUSTED,
                       "registry %s asks to come back in %u s, more than %llu (limit "
                       "pull_retry_wait_s)",
                       s->ref->host, q->retry_after_s,
                       (unsigned long long)limits.pull_retry_wait_s);
    }
    if (q->retry_after_s > 0) {
        wait = q->retry_after_s * (usec_t)USEC_PER_SEC;
    }
    usec_t end = time_mono() + wait;
    struct timespec at = {.tv_sec = (time_t)(end / USEC_PER_SEC),
                          .tv_nsec = (long)(end % USEC_PER_SEC) * 1000};
    (void)pthread_mutex_lock(&s->lock);
    while (!remote_is_cancelled(s) && pthread_cond_timedwait(&s->wake, &s->lock, &at) == 0) {
    }
    (void)pthread_mutex_unlock(&s->lock);
    return remote_is_cancelled(s) ? err_set(err, ERR_CANCELLED, "cancelled") : 0;
}

int remote_refused(struct remote_session *s, size_t place, const struct remote_req *q,
                   const char *what, struct err *err) {
    json_t *j = json_loadb(q->reply.p != NULL ? q->reply.p : "", q->reply.n, 0, NULL);
    const json_t *first = json_array_get(json_object_get(j, "errors"), 0);
    const char *said = json_string_value(json_object_get(first, "message"));
    const char *word = json_string_value(json_object_get(first, "code"));
    enum err_code code = q->status == 404   ? ERR_NOT_FOUND
                         : q->status == 401 ? ERR_UNAUTHENTICATED
                         : q->status == 403 ? ERR_PERMISSION_DENIED
                         : q->status == 429 ? ERR_RESOURCE_EXHAUSTED
                         : q->status >= 500 ? ERR_UNAVAILABLE
                                            : ERR_FAILED_PRECONDITION;
    (void)err_set(err, code, "registry %s, repository %s: %s: %s%s%.200s%s%.300s (status %ld)",
                  s->spots[place].host, s->ref->repo, what,
                  q->status == 404   ? "there is none"
                  : q->status == 429 ? "too many requests"
                                     : "refused",
                  word != NULL ? ": " : "", word != NULL ? word : "", said != NULL ? ": " : "",
                  said != NULL ? said : "", q->status);
    json_decref(j);
    return -1;
}

int remote_get(struct remote_session *s, size_t place, struct remote_req *q, const char *what,
               struct err *err) {
    for (unsigned tries = 1;; tries++) {
        struct err why = {0};
        int rc = remote_do(s, place, q, &why);
        if (rc == 0 && q->status < 300) {
            return 0;
        }
        if (rc == 0) {
            (void)remote_refused(s, place, q, what, &why);
        }
        if (remote_pause(s, q, tries, &why) < 0) {
            if (err != NULL) {
                *err = why;
            }
            return -1;
        }
        buf_fini(&q->reply);
    }
}
