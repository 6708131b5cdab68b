/* The server object: the listening socket, the list of connections, the work that runs at the end
 * of a turn, shutdown. What a connection does is conn.c's. */
#include "net/net_int.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/rng.h"
#include "net/conn.h"
#include "net/xch_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPTS_A_TURN 64
#define ACCEPT_PAUSE (100 * USEC_PER_MSEC) /* after running out of descriptors */

/* ---- addresses */

union address {
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

/* "HOST:PORT" with a numeric host or "localhost", "[V6]:PORT", "unix:PATH". */
static int parse_address(const char *text, union address *ret, socklen_t *ret_n, struct err *err) {
    struct str s = str_of(text);
    union address a;
    uint64_t port;
    char host[64];
    memset(&a, 0, sizeof(a));
    if (str_starts(s, STR("unix:"))) {
        s = str_sub(s, 5, s.n);
        if (s.n == 0 || s.n >= sizeof(a.un.sun_path)) {
            return err_set(err, ERR_INVALID_ARGUMENT, "listen address \"%s\": bad socket path",
                           text);
        }
        a.un.sun_family = AF_UNIX;
        memcpy(a.un.sun_path, s.p, s.n);
        *ret = a;
        *ret_n = sizeof(a.un);
        return 0;
    }
    size_t colon = s.n;
    while (colon > 0 && s.p[colon - 1] != ':') {
        colon--;
    }
    struct str h = str_sub(s, 0, colon ? colon - 1 : 0);
    bool v6 = h.n > 2 && h.p[0] == '[' && h.p[h.n - 1] == ']';
    if (v6) {
        h = str_sub(h, 1, h.n - 2);
    }
    if (str_eqc(h, "localhost")) {
        h = STR("127.0.0.1");
    }
    if (colon == 0 || h.n >= sizeof(host) || !str_to_u64(str_sub(s, colon, s.n), &port) ||
        port > 65535) {
        goto bad;
    }
    memcpy(host, h.p, h.n);
    host[h.n] = 0;
    if (v6) {
        a.in6.sin6_family = AF_INET6;
        a.in6.sin6_port = htons((uint16_t)port);
        if (inet_pton(AF_INET6, host, &a.in6.sin6_addr) != 1) {
            goto bad;
        }
        *ret_n = sizeof(a.in6);
    } else {
        a.in.sin_family = AF_INET;
        a.in.sin_port = htons((uint16_t)port);
        if (inet_pton(AF_INET, host, &a.in.sin_addr) != 1) {
            goto bad;
        }
        *ret_n = sizeof(a.in);
    }
    *ret = a;
    return 0;
bad:
    return err_set(err, ERR_INVALID_ARGUMENT,
                   "listen address \"%s\" is not HOST:PORT, [V6]:PORT or unix:PATH", text);
}

static void format_address(const union address *a, char *out, size_t n) {
    char host[INET6_ADDRSTRLEN] = "";
    if (a->sa.sa_family == AF_INET) {
        inet_ntop(AF_INET, &a->in.sin_addr, host, sizeof(host));
        snprintf(out, n, "%s:%u", host, ntohs(a->in.sin_port));
    } else if (a->sa.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a->in6.sin6_addr, host, sizeof(host));
        snprintf(out, n, "[%s]:%u", host, ntohs(a->in6.sin6_port));
    } else {
        snprintf(out, n, "unix");
    }
}

bool net_is_loopback(const char *listen) {
    union address a;
    socklen_t n;
    if (parse_address(listen, &a, &n, NULL)) {
        return false;
    }
    if (a.sa.sa_family == AF_INET) {
        return ntohl(a.in.sin_addr.s_addr) >> 24 == 127;
    }
    return a.sa.sa_family == AF_UNIX || IN6_IS_ADDR_LOOPBACK(&a.in6.sin6_addr);
}

/* ---- the end of a turn */

static void do_work(struct loop_task *t) {
    struct net_server *s = CONTAINER_OF(t, struct net_server, work);
    s->refs++; /* the last exchange may go below */
    /* What is queued while this runs waits for the next phase of the loop. */
    struct list now;
    list_init(&now);
    list_move_all(&s->notify, &now);
    while (!list_is_empty(&now)) {
        struct xch *x = list_first(&now, struct xch, notify_link);
        list_del(&x->notify_link);
        xch_notify(x);
    }
    list_move_all(&s->dirty, &now);
    while (!list_is_empty(&now)) {
        struct conn *c = list_first(&now, struct conn, dirty_link);
        list_del(&c->dirty_link);
        conn_run(c);
    }
    net_unref(s);
}

const char *net_date(struct net_server *s) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME_COARSE, &ts);
    if (ts.tv_sec != s->date_at) {
        static const char days[7][4] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
        static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                           "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        auto_buf struct buf b = BUF_INIT(64);
        uint64_t month = 1;
        time_format_rfc3339(&b, (usec_t)ts.tv_sec * USEC_PER_SEC); /* 2024-05-01T10:00:00Z */
        (void)str_to_u64(str_n(b.p + 5, 2), &month);
        snprintf(s->date, sizeof(s->date), "%s, %.2s %s %.4s %.8s GMT", days[ts.tv_sec / 86400 % 7],
                 b.p + 8, months[month - 1], b.p, b.p + 11);
        s->date_at = ts.tv_sec;
    }
    return s->date;
}

/* ---- accepting */

static void accept_pause_over(struct timer *t) {
    struct net_server *s = CONTAINER_OF(t, struct net_server, accept_again);
    struct door *d;
    if (s->accept_watch) {
        loop_fd_set(s->accept_watch, LOOP_FD_READ);
    }
    list_each (d, &s->doors, link) {
        loop_fd_set(d->watch, LOOP_FD_READ);
    }
}

/* Over max_connections: one write into an empty socket buffer, then away. */
static void turn_away(struct net_server *s, int fd) {
    auto_buf struct buf b = BUF_INIT(4096);
    limits_hit(&limits.max_connections);
    net_render_refusal(s, &b, 503, "Too many connections.", "max_connections",
                       &limits.max_connections, true);
    (void)!send(fd, b.p, b.n, MSG_NOSIGNAL | MSG_DONTWAIT); /* best effort by design */
    shutdown(fd, SHUT_WR);
    close(fd);
}

static int adopt(struct net_server *s, int fd, const char *peer, uint64_t door) {
    if (s->stopping || s->stats.connections_open >= limits.max_connections) {
        turn_away(s, fd);
        return -1;
    }
    struct conn *c = conn_open(s, fd, peer);
    if (c) {
        c->door = door;
    }
    return c ? 0 : -1;
}

int net_adopt(struct net_server *s, int fd, const char *peer) {
    return adopt(s, fd, peer, 0);
}

bool net_accept(struct net_server *s, int listen_fd, uint64_t door) {
    for (unsigned i = 0; i < ACCEPTS_A_TURN; i++) {
        union address a;
        socklen_t n = sizeof(a);
        char peer[64];
        memset(&a, 0, sizeof(a));
        int fd = accept4(listen_fd, &a.sa, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            format_address(&a, peer, sizeof(peer));
            (void)adopt(s, fd, peer, door); /* the peer was told, or is gone */
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log_warn("cannot accept connections for a moment", "errno=%d", errno);
            return false;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return true;
        } /* else that one connection failed: next */
    }
    return true;
}

static void on_accept(void *arg, bool readable, bool writable) {
    struct net_server *s = arg;
    (void)readable;
    (void)writable;
    if (!net_accept(s, s->listen_fd, 0)) {
        loop_fd_set(s->accept_watch, 0);
        s->clock->ops->arm(s->clock, &s->accept_again,
                           s->clock->ops->mono(s->clock) + ACCEPT_PAUSE);
    }
}

/* A socket file nobody answers on is left from a crash. */
static void remove_stale(const struct sockaddr_un *un) {
    struct stat st;
    if (lstat(un->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode)) {
        return;
    }
    auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)un, sizeof(*un)) != 0 &&
        errno == ECONNREFUSED) {
        unlink(un->sun_path);
    }
}

/* Accepted sockets inherit these from the listener, so they cost no call each. Keep-alive probes
 * find hosts that died without a word under a followed log, where nothing is ever read or written.
 */
static void set_tcp_options(int fd) {
    static const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET, SO_REUSEADDR, 1},    {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},    {IPPROTO_TCP, TCP_KEEPIDLE, 60},
        {IPPROTO_TCP, TCP_KEEPINTVL, 15}, {IPPROTO_TCP, TCP_KEEPCNT, 4},
    };
    for (size_t i = 0; i < NR_OF(options); i++) {
        /* Each is a refinement; a kernel without it still serves. */
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
    }
}

static int start_listening(struct net_server *s, const char *listen_at, struct err *err) {
    union address a;
    socklen_t n;
    char text[128];
    if (parse_address(listen_at, &a, &n, err)) {
        return -1;
    }
    s->listen_fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->listen_fd < 0) {
        return err_sys(err, errno, "listen on %s", listen_at);
    }
    if (a.sa.sa_family == AF_UNIX) {
        remove_stale(&a.un);
    } else {
        set_tcp_options(s->listen_fd);
    }
    if (bind(s->listen_fd, &a.sa, n) != 0 || listen(s->listen_fd, 1024) != 0) {
        return err_sys(err, errno, "listen on %s", listen_at);
    }
    if (a.sa.sa_family == AF_UNIX) {
        s->unix_path = xstrdup(a.un.sun_path);
        s->address = xstrdup(listen_at);
    } else {
        n = sizeof(a);
        if (getsockname(s->listen_fd, &a.sa, &n) != 0) {
            return err_sys(err, errno, "listen on %s", listen_at);
        }
        format_address(&a, text, sizeof(text));
        s->address = xstrdup(text);
    }
    s->accept_watch = loop_fd_watch(s->loop, s->listen_fd, true, false, on_accept, s);
    return s->accept_watch ? 0 : err_set(err, ERR_INTERNAL, "listen on %s: cannot poll", listen_at);
}

static void stop_listening(struct net_server *s) {
    loop_fd_unwatch(s->accept_watch);
    s->accept_watch = NULL;
    s->clock->ops->disarm(s->clock, &s->accept_again);
    mem_auto_close(&s->listen_fd);
    s->listen_fd = -1;
    if (s->unix_path) {
        unlink(s->unix_path);
    }
}

/* ---- TLS */

#define EXPIRY_WARNING ((int64_t)30 * 86400)

static void tell_expiry(const struct tls_creds *c, const char *cert_path, int64_t now) {
    auto_buf struct buf when = BUF_INIT(64);
    time_format_rfc3339(&when, c->expires_at > 0 ? (usec_t)c->expires_at * USEC_PER_SEC : 0);
    if (c->expires_at <= now) {
        log_error("the TLS certificate has expired: clients will refuse it",
                  "tls_cert=%s expired=%s", cert_path, buf_cstr(&when));
    } else if (c->expires_at - now < EXPIRY_WARNING) {
        log_warn("the TLS certificate expires soon", "tls_cert=%s expires=%s", cert_path,
                 buf_cstr(&when));
    }
}

int net_reload_tls(struct net_server *s, struct err *err) {
    struct tls_creds fresh;
    if (s->tls == NET_TLS_OFF) {
        return err_set(err, ERR_FAILED_PRECONDITION, "tls = off");
    }
    if (tls_creds_load(&fresh, s->tls_cert, s->tls_key, err)) {
        return -1;
    }
    tls_creds_free(&s->creds);
    s->creds = fresh;
    if (!s->tls_room) {
        s->tls_room = xmalloc(TRANSPORT_ROOM);
    }
    tell_expiry(&s->creds, s->tls_cert, (int64_t)(s->clock->ops->wall(s->clock) / USEC_PER_SEC));
    return 0;
}

bool net_has_tls(const struct net_server *s) {
    return tls_creds_are_there(&s->creds);
}

int64_t net_tls_expires_at(const struct net_server *s) {
    return net_has_tls(s) ? s->creds.expires_at : 0;
}

/* Without files, tls = optional means clear text; with bad ones nobody knows what was meant. */
static int start_tls(struct net_server *s, struct err *err) {
    struct err why;
    if (s->tls == NET_TLS_OFF || net_reload_tls(s, &why) == 0) {
        return 0;
    }
    if (s->tls == NET_TLS_OPTIONAL && why.code == ERR_NOT_FOUND) {
        log_debug("clear text only", "why=\"%s\"", why.msg);
        return 0;
    }
    *err = why;
    return err_wrap(err, s->tls == NET_TLS_REQUIRED && why.code == ERR_NOT_FOUND
                             ? "tls = required needs a certificate and its key (`cusp tls init` "
                               "makes them)"
                             : "TLS");
}

/* ---- life */

static void tell_stopped(struct loop_task *t) {
    struct net_server *s = CONTAINER_OF(t, struct net_server, stopped_task);
    if (s->stopped_cb) {
        s->stopped_cb(s->stopped_arg); /* may net_free */
    }
}

static void grace_over(struct timer *t) {
    struct net_server *s = CONTAINER_OF(t, struct net_server, grace);
    struct conn *c;
    list_each (c, &s->conns, link) {
        conn_kill(c);
    }
}

struct net_server *net_new(struct loop *l, const struct net_config *cfg) {
    struct net_server *s = xcalloc(1, sizeof(*s));
    struct rng r;
    s->loop = l;
    s->clock = loop_clock(l);
    s->handler = cfg->handler;
    s->finished = cfg->finished;
    s->arg = cfg->arg;
    s->disk = cfg->disk;
    s->tls = cfg->tls;
    s->tls_cert = cfg->tls_cert;
    s->tls_key = cfg->tls_key;
    handshakes_init(&s->handshakes, l);
    s->refs = 1;
    s->listen_fd = -1;
    list_init(&s->doors);
    list_init(&s->conns);
    list_init(&s->dirty);
    list_init(&s->notify);
    list_init(&s->spare);
    list_init(&s->websockets);
    loop_task_init(&s->work, do_work);
    loop_task_init(&s->stopped_task, tell_stopped);
    s->accept_again.fn = accept_pause_over;
    s->grace.fn = grace_over;
    s->read_room = xmalloc(NET_READ_BODY);
    rng_seed_system(&r);
    s->next_id = rng_u64(&r) >> 24; /* request ids of two runs of the server do not meet in a log */
    h1_parse_setup();
    return s;
}

struct net_server *net_listen(struct loop *l, const struct net_config *cfg, struct err *err) {
    struct net_server *s = net_new(l, cfg);
    if (start_tls(s, err) || (cfg->listen && start_listening(s, cfg->listen, err))) {
        stop_listening(s);
        net_free(s);
        return NULL;
    }
    return s;
}

const char *net_address(const struct net_server *s) {
    return s->address;
}

void net_get_stats(const struct net_server *s, struct net_stats *ret) {
    *ret = s->stats;
    ret->handshakes_open = s->handshakes.open;
    ret->handshakes_total = s->handshakes.done;
    ret->handshakes_resumed = s->handshakes.resumed;
    ret->handshakes_failed = s->handshakes.failed;
}

void net_conn_gone(struct net_server *s) {
    if (s->stopping && !s->stopped && list_is_empty(&s->conns)) {
        s->stopped = true;
        s->clock->ops->disarm(s->clock, &s->grace);
        loop_post(s->loop, &s->stopped_task);
    }
}

void net_shutdown(struct net_server *s, usec_t grace, void (*cb)(void *arg), void *arg) {
    struct conn *c;
    CHECK(!s->stopping);
    s->stopping = true;
    s->stopped_cb = cb;
    s->stopped_arg = arg;
    stop_listening(s);
    net_close_doors(s);
    net_close_websockets(s);
    list_each (c, &s->conns, link) {
        conn_retire(c);
    }
    s->clock->ops->arm(s->clock, &s->grace, s->clock->ops->mono(s->clock) + grace);
    net_conn_gone(s);
}

void net_unref(struct net_server *s) {
    if (--s->refs > 0) {
        return;
    }
    loop_unpost(s->loop, &s->work);
    struct xch *x, *tmp;
    list_each_safe (x, tmp, &s->spare, link) {
        xch_free_spare(x);
    }
    tls_creds_free(&s->creds);
    free(s->tls_room);
    free(s->read_room);
    free(s->address);
    free(s->unix_path);
    free(s);
}

/* Exchanges that handlers still hold keep the memory; nothing else of the server runs any more. */
void net_free(struct net_server *s) {
    if (!s) {
        return;
    }
    CHECK(list_is_empty(&s->conns));
    loop_unpost(s->loop, &s->stopped_task);
    handshakes_fini(&s->handshakes);
    s->clock->ops->disarm(s->clock, &s->grace);
    net_unref(s);
}
