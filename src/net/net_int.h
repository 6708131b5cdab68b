/* Inside of the server: what connections, codecs and exchanges share. Loop thread only. */
#ifndef CUSP_NET_NET_INT_H
#define CUSP_NET_NET_INT_H

#include "base/list.h"
#include "net/cold.h"
#include "net/h1_lint.h"
#include "net/handshakes.h"
#include "net/net.h"
#include "net/tls_creds.h"
#include "sys/loop.h"

/* One read of a streaming body. Shared by all connections: bytes are consumed or copied before the
 * next read. */
#define NET_READ_BODY (256u * 1024u)
#define NET_READ_HEAD (32u * 1024u)

struct door {
    struct list link;
    struct net_server *server;
    int fd;
    uint64_t id;
    struct loop_fd *watch;
};

struct net_server {
    struct loop *loop;
    struct clock *clock;
    void (*handler)(struct xch *, void *arg);
    void (*finished)(struct xch *, int status, void *arg);
    void *arg;
    unsigned refs; /* 1 for the owner, 1 for each exchange in use */

    int listen_fd;
    struct loop_fd *accept_watch;
    struct timer accept_again; /* after running out of descriptors */
    char *address, *unix_path;

    enum net_tls tls;
    const char *tls_cert, *tls_key;
    struct tls_creds creds; /* empty: TLS clients are refused */
    char *tls_room;         /* TRANSPORT_ROOM bytes once there are creds */
    struct handshakes handshakes;

    struct lane *disk; /* may be NULL */
    struct cold_seen cold_seen;
    unsigned nr_cold; /* cold.c's transfers under way */

    struct list doors;
    struct list conns;
    struct list dirty;  /* connections with something to do at the end of this turn */
    struct list notify; /* exchanges owed a callback */
    struct loop_task work;
    struct list websockets; /* open ones, told to close when the server stops */
    struct list spare;      /* exchanges for reuse */
    unsigned nr_spare;
    char *read_room; /* NET_READ_BODY bytes */
    uint64_t next_id;
    struct net_stats stats;

    char date[32]; /* of the Date header, for the second date_at */
    int64_t date_at;

    bool stopping, stopped;
    struct timer grace;
    void (*stopped_cb)(void *arg);
    void *stopped_arg;
    struct loop_task stopped_task;
};

/* A server without a listener (tests, fuzzing); net_listen is this plus a socket. */
struct net_server *net_new(struct loop *l, const struct net_config *cfg);
/* Serves an already connected socket; takes fd. peer: text for logs. -1 when over max_connections
 * (the peer was told) or when the socket cannot be watched. */
int net_adopt(struct net_server *s, int fd, const char *peer);
/* Takes what waits on a listening socket, up to a turn's worth. False: accepting is to pause. */
bool net_accept(struct net_server *s, int listen_fd, uint64_t door);
void net_close_doors(struct net_server *s);
void net_unref(struct net_server *s);
/* A connection was freed; ends a shutdown when it was the last. */
void net_conn_gone(struct net_server *s);
/* The Date header's value. */
const char *net_date(struct net_server *s);

/* Shutdown: says "going away" to each. */
void net_close_websockets(struct net_server *s);

/* The server's own short replies, Google-shaped. Appends a whole HTTP/1.1 response with
 * Connection: close. */
void net_render_refusal(struct net_server *s, struct buf *out, int http_status, const char *what,
                        const char *limit_name, const uint64_t *limit, bool with_body);
/* Only the JSON. */
void net_render_refusal_body(struct buf *body, int http_status, const char *what,
                             const char *limit_name, const uint64_t *limit);
/* Clients that speak something else hear it: those of TLS by an HTTP/1.1 reply in clear text, which
 * they cannot read but know; others by an HTTP/1.1 reply or HTTP/2 GOAWAY that names https. */
void net_refuse_tls(struct net_server *s, struct buf *out, const char *peer);
void net_refuse_cleartext(struct net_server *s, struct buf *out, const char *peer, bool is_h2);
/* May a handler's header be sent? Not those the codecs make, nor values that would split a reply.
 */
bool net_header_sendable(const struct header *hd);
const char *net_reason(int http_status); /* "Not Found"; "Unknown" */

#endif
