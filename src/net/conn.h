/* One client connection: a transport, the bytes not yet understood, the codec that the first bytes
 * chose, and one timer. Lives on the server's list until its socket is closed. Loop thread only. */
#ifndef CUSP_NET_CONN_H
#define CUSP_NET_CONN_H

#include "net/h1.h"
#include "net/h2.h"
#include "net/transport.h"

struct net_server;

enum conn_state {
    CONN_SNIFF,     /* first bytes, of the connection or of what TLS protects */
    CONN_HANDSHAKE, /* TLS; works only when net/handshakes.h says so */
    CONN_H1,
    CONN_H2,
    CONN_ENDING, /* no more input is understood; queued output is flushed */
    CONN_LINGER, /* output is ended; input is thrown away so that the peer can read our last words
                  */
    CONN_DEAD,   /* freed at the end of the current run */
};

struct conn {
    unsigned magic;
    enum conn_state state;
    struct net_server *server;
    struct transport t;
    struct buf in; /* read and not yet taken by the codec */
    struct h1 h1;
    struct h2 *h2; /* NULL unless it was chosen */
    struct list link, dirty_link;
    struct list turn_link; /* CONN_HANDSHAKE: waiting for a turn or a place */
    bool in_handshake;     /* has one of the max_tls_handshakes places */
    bool has_turn;         /* may work on it in this run */
    struct timer timer;
    unsigned watched; /* LOOP_FD_* */
    bool running;     /* inside conn_run: kicks are remembered, not posted */
    bool again;
    bool eof;   /* the peer ended its output */
    bool reset; /* close so that the peer notices a broken-off reply */
    bool stalled;
    usec_t opened_at, stalled_since, linger_until;
    uint64_t door; /* 0: the listener */
    char peer[64];
};

/* Takes fd. NULL when it cannot be watched (fd is closed). */
struct conn *conn_open(struct net_server *s, int fd, const char *peer);
/* Work is due: output was queued, credit was given. Runs at the end of this turn. */
void conn_kick(struct conn *c);
void conn_run(struct conn *c); /* from the server's task */
/* For codecs, while running or followed by a kick: */
void conn_finish(struct conn *c); /* flush, then end politely */
void conn_break(struct conn *c);  /* now, and noticeably */
/* Shutdown: ends it when idle, else after the running exchange. */
void conn_retire(struct conn *c);
/* Shutdown, grace is over. */
void conn_kill(struct conn *c);

#endif
