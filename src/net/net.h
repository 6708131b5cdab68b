/* CONTRACT. The server side of the network: one listener, every protocol behind struct xch. */
#ifndef CUSP_NET_NET_H
#define CUSP_NET_NET_H

#include "net/xch.h"

struct loop;
struct net_server;

enum net_tls {
    NET_TLS_OFF,      /* clear text only */
    NET_TLS_OPTIONAL, /* both on the one port, told apart by the first byte; clear text only while
                         the files are not there */
    NET_TLS_REQUIRED, /* clear text is refused with an answer that says so */
};

struct net_config {
    const char *listen; /* "127.0.0.1:8080", "[::1]:0", "unix:/path"; port 0 = any free; NULL: only
                           by doors */
    enum net_tls tls;
    const char *tls_cert, *tls_key; /* PEM: chain, key; must outlive the server */
    void (*handler)(struct xch *, void *arg);
    /* The handler has finished an exchange (reply given, or broken off). status 0: no reply was
     * begun. Not called for exchanges within exchanges (net/inner.h). May be NULL. */
    void (*finished)(struct xch *, int status, void *arg);
    void *arg;
    struct lane *disk; /* reads files that are not in memory (xch_send_file); NULL: the loop does */
};

struct net_server *net_listen(struct loop *l, const struct net_config *cfg, struct err *err);
/* The bound address as text, e.g. "127.0.0.1:40123". Valid for the server's life. */
const char *net_address(const struct net_server *s);
/* True when bound to a loopback or Unix address. */
bool net_is_loopback(const char *listen);
/* Doors: more listening sockets of the same server, such as those in other network namespaces. What
 * comes by one says so (xch_door). net_door_open takes fd; id is the caller's, not 0, and may be
 * that of several doors. net_door_close stops listening and breaks off every connection that came
 * by them; an id that is not there is fine. net_shutdown closes them all. */
int net_door_open(struct net_server *s, int fd, uint64_t id, struct err *err);
void net_door_close(struct net_server *s, uint64_t id);
/* Stops accepting, lets running exchanges finish (up to grace), closes idle connections, then cb.
 */
void net_shutdown(struct net_server *s, usec_t grace, void (*cb)(void *arg), void *arg);
void net_free(struct net_server *s); /* after the shutdown callback */

/* Reads certificate and key again; connections that are open keep what they have. On failure
 * nothing changes; the error names the file. Blocks for the two small files. Logs a certificate
 * that has expired or is about to. */
int net_reload_tls(struct net_server *s, struct err *err);
/* True when TLS clients are served. */
bool net_has_tls(const struct net_server *s);
/* Unix seconds when the certificate (or one of its chain) expires; 0 without TLS. */
int64_t net_tls_expires_at(const struct net_server *s);

struct net_stats {
    uint64_t connections_open, connections_total, exchanges_open, exchanges_total, bytes_in,
        bytes_out;
    uint64_t handshakes_open, handshakes_total, handshakes_resumed, handshakes_failed;
};
void net_get_stats(const struct net_server *s, struct net_stats *ret);

#endif
