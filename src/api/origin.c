/* Refusing web pages. A page of any site may send "simple" requests to 127.0.0.1 (no preflight, the
 * body as text/plain): without this, visiting it could create a job. Browsers always say where such
 * a request comes from, and a page cannot change what they say. */
#include "api/origin.h"

#include "api/call.h"

/* HOST of HOST[:PORT]; an IPv6 address keeps its brackets. */
static struct str host_name(struct str host) {
    ptrdiff_t end = host.n && host.p[0] == '[' ? str_chr(host, ']') + 1 : str_chr(host, ':');
    struct str name = end > 0 ? str_sub(host, 0, (size_t)end) : host;
    /* "localhost." is localhost, said absolutely. */
    return name.n > 1 && name.p[name.n - 1] == '.' ? str_sub(name, 0, name.n - 1) : name;
}

static bool is_among(struct str name, struct str names) {
    while (names.p) {
        if (str_ieq(name, str_trim(str_cut(&names, ',')))) {
            return true;
        }
    }
    return false;
}

static bool is_ipv4(struct str s) {
    unsigned parts = 0;
    while (s.p) {
        struct str one = str_cut(&s, '.');
        uint64_t n;
        if (!str_to_u64(one, &n) || n > 255) {
            return false;
        }
        parts++;
    }
    return parts == 4;
}

static bool ends_with_name(struct str host, const char *suffix) {
    struct str s = str_of(suffix);
    return host.n > s.n && str_ieq(str_sub(host, host.n - s.n, s.n), s);
}

bool origin_host_is_ours(struct str host, struct str names) {
    struct str name = host_name(host);
    return !name.n || name.p[0] == '[' || str_chr(name, '.') < 0 || is_ipv4(name) ||
           ends_with_name(name, ".localhost") || ends_with_name(name, ".googleapis.com") ||
           ends_with_name(name, ".pkg.dev") || ends_with_name(name, ".gcr.io") ||
           str_ieq(name, STR("gcr.io")) || /* what gcloud pushes to, whatever the endpoint */
           is_among(name, names);
}

bool origin_is_own(struct str origin, struct str host) {
    struct str rest = origin;
    if (str_starts(origin, STR("http://"))) {
        rest = str_sub(origin, 7, origin.n);
    } else if (str_starts(origin, STR("https://"))) {
        rest = str_sub(origin, 8, origin.n);
    } else {
        return false; /* "null" and other schemes */
    }
    return rest.n && str_ieq(rest, host);
}

static bool changes_nothing(struct str method) {
    return str_eqc(method, "GET") || str_eqc(method, "HEAD") || str_eqc(method, "OPTIONS");
}

bool origin_refuse(struct xch *x, struct str names,
                   bool (*said)(struct xch *, const struct err *err)) {
    const struct xch_head *h = xch_head(x);
    struct str origin = xch_header(x, "origin"), host = h->authority;
    struct err err;
    if (!origin_host_is_ours(host, names)) {
        err_set(&err, ERR_PERMISSION_DENIED,
                "Host \"%.*s\" is not a name of this machine: a server that asks for no "
                "credentials (--auth=none) answers to localhost, to addresses and to --host-names",
                (int)(host.n > 100 ? 100 : host.n), host.p);
    } else if (origin.p && !changes_nothing(h->method) && !origin_is_own(origin, host)) {
        err_set(&err, ERR_PERMISSION_DENIED,
                "Requests from web pages of another origin (\"%.*s\") are refused: a server that "
                "asks for no credentials (--auth=none) cannot know who is behind them",
                (int)(origin.n > 100 ? 100 : origin.n), origin.p);
    } else {
        return false;
    }
    if (!said || !said(x, &err)) {
        reply_error(x, &err);
    }
    return true;
}
