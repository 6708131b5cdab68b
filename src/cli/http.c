/* HTTP through libcurl: one request at a time. */
#include "cli/cli.h"

#include "base/enc.h"
#include "base/time.h"

#include <curl/curl.h>
#include <errno.h>
#include <unistd.h>

#define REPLY_MAX (256u << 20)
#define SILENCE_MAX_S 120L

static _Thread_local char
    *full_message; /* of the last error reply: longer than a struct err holds */

/* One handle a thread, so that its connection serves the next request too. */
static _Thread_local CURL *idle;

static CURL *open_url(const struct cli *c, const char *method, const char *path) {
    CURL *h = idle ? idle : curl_easy_init();
    bool whole = strncmp(path, "http://", 7) == 0 || strncmp(path, "https://", 8) == 0;
    auto_free char *url = xasprintf("%s%s", whole ? "" : c->endpoint, path);
    const char *ca = getenv("CUSP_CA");
    CHECK(h);
    idle = NULL;
    curl_easy_reset(h);
    if (ca && *ca) {
        curl_easy_setopt(h, CURLOPT_CAINFO, ca);
    }
    curl_easy_setopt(h, CURLOPT_URL, url);
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(h, CURLOPT_NOPROXY,
                     "*"); /* the server is ours, on this machine or beside it */
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
    return h;
}

static void put_back(CURL *h) {
    if (idle) {
        curl_easy_cleanup(h);
    } else {
        idle = h;
    }
}

void http_thread_end(void) {
    curl_easy_cleanup(idle);
    free(full_message);
    idle = NULL;
    full_message = NULL;
}

static size_t to_buf(char *p, size_t size, size_t n, void *arg) {
    return buf_put(arg, p, size * n) ? 0 : size * n;
}

const char *http_full_message(const struct err *err) {
    size_t n = strlen(err->msg);
    bool cut = n + 1 == sizeof(err->msg);
    return full_message && cut && strncmp(full_message, err->msg, n - 4) == 0 ? full_message
                                                                              : err->msg;
}

/* The server's own words, if it sent Google's error form. */
static int error_of(long status, struct str body, struct err *err) {
    json_t *j = json_loadb(body.p, body.n, 0, NULL);
    json_t *e = json_object_get(j, "error");
    const char *msg = json_string_value(json_object_get(e, "message"));
    const char *name = json_string_value(json_object_get(e, "status"));
    enum err_code code = status == 404   ? ERR_NOT_FOUND
                         : status == 409 ? ERR_ALREADY_EXISTS
                         : status < 500  ? ERR_INVALID_ARGUMENT
                         : status == 501 ? ERR_UNIMPLEMENTED
                                         : ERR_INTERNAL;
    for (unsigned i = 1; name && i < ERR_CODE_NR; i++) {
        if (strcmp(name, err_code_name((enum err_code)i)) == 0) {
            code = (enum err_code)i;
        }
    }
    if (msg) {
        err_set(err, code, "%s", msg);
        free(full_message);
        full_message = xstrdup(msg);
    } else {
        err_set(err, code, "the server answered HTTP %ld", status);
    }
    json_decref(j);
    return -1;
}

static int finish(const struct cli *c, CURL *h, struct http_reply *r, struct err *err) {
    char detail[CURL_ERROR_SIZE] = "";
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, detail);
    CURLcode rc = curl_easy_perform(h);
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &r->status);
    put_back(h);
    if (rc == CURLE_COULDNT_CONNECT) {
        err_set(err, ERR_UNAVAILABLE,
                "no server answers at %s. Start one with: cusp serve --data-dir DIR   or name "
                "another with --endpoint or CUSP_ENDPOINT",
                c->endpoint);
        if (err) {
            err->sys = ECONNREFUSED;
        }
        return -1;
    }
    if (rc == CURLE_PEER_FAILED_VERIFICATION) {
        return err_set(err, ERR_UNAVAILABLE,
                       "%s: %s. Name the file of the authority that signed for it in CUSP_CA: "
                       "DATA_DIR/tls/ca.pem, where `cusp tls init` made one",
                       c->endpoint, detail[0] ? detail : curl_easy_strerror(rc));
    }
    if (rc != CURLE_OK && !(rc == CURLE_WRITE_ERROR && r->status && r->status < 400)) {
        return err_set(err, ERR_UNAVAILABLE, "%s: %s", c->endpoint,
                       detail[0] ? detail : curl_easy_strerror(rc));
    }
    return r->status >= 400 ? error_of(r->status, buf_str(&r->body), err) : 0;
}

int http_call(const struct cli *c, const char *method, const char *path, const char *body,
              struct http_reply *ret, struct err *err) {
    CURL *h = open_url(c, method, path);
    struct curl_slist *headers = NULL;
    *ret = (struct http_reply){.body = BUF_INIT(REPLY_MAX)};
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, to_buf);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, &ret->body);
    if (body) {
        headers = curl_slist_append(headers, "Content-Type: application/json; charset=utf-8");
        headers = curl_slist_append(headers, "Expect:");
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, body);
        curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    }
    int rc = finish(c, h, ret, err);
    curl_slist_free_all(headers);
    if (rc) {
        http_reply_fini(ret);
    }
    return rc;
}

int http_json(const struct cli *c, const char *method, const char *path, json_t *body, json_t **ret,
              struct err *err) {
    struct http_reply r;
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    int rc = http_call(c, method, path, text, &r, err);
    free(text);
    if (rc) {
        return -1;
    }
    json_t *j = r.body.n ? json_loadb(r.body.p, r.body.n, JSON_DECODE_ANY, NULL) : json_object();
    http_reply_fini(&r);
    if (!j) {
        return err_set(err, ERR_INTERNAL, "the server's answer is not JSON; is %s a cusp server?",
                       c->endpoint);
    }
    if (ret) {
        *ret = j;
    } else {
        json_decref(j);
    }
    return 0;
}

struct streaming {
    CURL *h;
    bool (*fn)(void *, struct str);
    void *arg;
    struct buf error_body;
};

static size_t to_stream(char *p, size_t size, size_t n, void *arg) {
    struct streaming *s = arg;
    long status = 0;
    curl_easy_getinfo(s->h, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 400) {
        return buf_put(&s->error_body, p, size * n) ? 0 : size * n;
    }
    return s->fn(s->arg, str_n(p, size * n)) ? size * n : 0;
}

int http_stream(const struct cli *c, const char *path, bool (*fn)(void *arg, struct str bytes),
                void *arg, struct err *err) {
    struct streaming s = {open_url(c, "GET", path), fn, arg, BUF_INIT(1 << 20)};
    struct http_reply r = {0};
    curl_easy_setopt(s.h, CURLOPT_WRITEFUNCTION, to_stream);
    curl_easy_setopt(s.h, CURLOPT_WRITEDATA, &s);
    int rc = finish(c, s.h, &r, err);
    if (rc && s.error_body.n) {
        (void)error_of(r.status, buf_str(&s.error_body), err);
    }
    buf_fini(&s.error_body);
    return rc;
}

struct moving {
    const struct http_req *req;
    struct http_reply *reply;
    CURL *h;
    uint64_t left; /* of the body, UPLOAD_UNKNOWN: until its end */
    int failed;    /* errno of read */
    bool stopped;  /* by the sink */
};

static size_t from_fd(char *p, size_t size, size_t n, void *arg) {
    struct moving *m = arg;
    size_t want = size * n;
    if (m->left != UPLOAD_UNKNOWN && m->left < want) {
        want = (size_t)m->left;
    }
    ssize_t got = want ? read(m->req->fd, p, want) : 0;
    if (got < 0) {
        m->failed = errno;
        return CURL_READFUNC_ABORT;
    }
    if (m->left != UPLOAD_UNKNOWN) {
        m->left -= (uint64_t)got;
        if (got == 0 && want) { /* shorter than it was */
            m->failed = ESTALE;
            return CURL_READFUNC_ABORT;
        }
    }
    if (m->req->sent) {
        m->req->sent(m->req->arg, str_n(p, (size_t)got));
    }
    return (size_t)got;
}

static size_t to_sink(char *p, size_t size, size_t n, void *arg) {
    struct moving *m = arg;
    long status = 0;
    curl_easy_getinfo(m->h, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 300 || !m->req->sink) {
        return buf_put(&m->reply->body, p, size * n) ? 0 : size * n;
    }
    m->stopped = !m->req->sink(m->req->arg, str_n(p, size * n));
    return m->stopped ? 0 : size * n;
}

static void keep(char *at, size_t cap, struct str value) {
    snprintf(at, cap, "%.*s", STR_ARG(value));
}

static size_t on_header(char *p, size_t size, size_t n, void *arg) {
    struct http_reply *r = arg;
    struct str value = str_n(p, size * n);
    while (value.n && (value.p[value.n - 1] == '\n' || value.p[value.n - 1] == '\r')) {
        value.n--;
    }
    struct str name = str_cut(&value, ':');
    value = str_trim(value);
    if (str_ieq(name, STR("location"))) {
        keep(r->location, sizeof(r->location), value);
    } else if (str_ieq(name, STR("range"))) {
        keep(r->range, sizeof(r->range), value);
    } else if (str_ieq(name, STR("x-cusp-log-bytes"))) {
        keep(r->log_bytes, sizeof(r->log_bytes), value);
    }
    return size * n;
}

int http_do(const struct cli *c, const struct http_req *q, struct http_reply *ret,
            struct err *err) {
    CURL *h = open_url(c, q->method, q->path);
    struct moving m = {.req = q, .reply = ret, .h = h, .left = q->size};
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    *ret = (struct http_reply){.body = BUF_INIT(REPLY_MAX)};
    for (size_t i = 0; i < NR_OF(q->headers) && q->headers[i]; i++) {
        headers = curl_slist_append(headers, q->headers[i]);
    }
    if (q->has_body) {
        curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, q->method);
        curl_easy_setopt(h, CURLOPT_READFUNCTION, from_fd);
        curl_easy_setopt(h, CURLOPT_READDATA, &m);
        curl_easy_setopt(h, CURLOPT_UPLOAD_BUFFERSIZE, 1048576L);
        if (q->size != UPLOAD_UNKNOWN) {
            curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, (curl_off_t)q->size);
        }
    }
    curl_easy_setopt(h, CURLOPT_BUFFERSIZE, 262144L);
    curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L); /* a peer that fell silent is gone */
    curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, SILENCE_MAX_S);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(h, CURLOPT_HEADERDATA, ret);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, to_sink);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, &m);
    int rc = finish(c, h, ret, err);
    curl_slist_free_all(headers);
    if (rc) {
        http_reply_fini(ret);
    }
    if (rc && m.failed) {
        return m.failed == ESTALE
                   ? err_set(err, ERR_ABORTED, "the file became shorter while it was read")
                   : err_sys(err, m.failed, "read the file");
    }
    return rc;
}

struct upload {
    const char *label;
    uint64_t size, sent;
    bool tty;
    usec_t began, shown;
};

static void on_sent(void *arg, struct str bytes) {
    struct upload *u = arg;
    usec_t now = time_mono();
    u->sent += bytes.n;
    if (!u->tty || now - u->began < USEC_PER_SEC || now - u->shown < USEC_PER_SEC / 10) {
        return;
    }
    auto_buf struct buf b = BUF_INIT(256);
    bytes_text(&b, u->sent);
    if (u->size != UPLOAD_UNKNOWN) {
        buf_puts(&b, " of ");
        bytes_text(&b, u->size);
        buf_printf(&b, " (%.0f%%)", u->size ? (double)u->sent * 100 / (double)u->size : 100);
    }
    fprintf(stderr, "\r%.40s  %s  ", u->label, buf_cstr(&b));
    u->shown = now;
}

int http_upload(const struct cli *c, const char *method, const char *path, const char *content_type,
                int fd, uint64_t size, const char *label, struct http_reply *ret, struct err *err) {
    struct upload u = {.label = label,
                       .size = size,
                       .tty = isatty(STDERR_FILENO) && !c->quiet,
                       .began = time_mono()};
    auto_free char *type = xasprintf("Content-Type: %s", content_type);
    struct http_req q = {.method = method,
                         .path = path,
                         .headers = {type},
                         .has_body = true,
                         .fd = fd,
                         .size = size,
                         .sent = on_sent,
                         .arg = &u};
    int rc = http_do(c, &q, ret, err);
    if (u.shown) {
        fprintf(stderr, "\r%*s\r", 78, ""); /* the line is the caller's again */
    }
    return rc;
}

void http_reply_fini(struct http_reply *r) {
    buf_fini(&r->body);
}

char *http_escape(struct str s) {
    struct buf b = BUF_INIT(BUF_NO_MAX);
    enc_percent(&b, s, "");
    return buf_take(&b, NULL);
}
