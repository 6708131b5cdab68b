/* A connected stream socket (TCP or Unix) with an output queue: bytes, then at most one file range
 * with closing bytes. Everything is non-blocking; the owner decides when to read, flush and close.
 * After transport_start_tls the same verbs go through a TLS filter. Loop thread only. */
#ifndef CUSP_NET_TRANSPORT_H
#define CUSP_NET_TRANSPORT_H

#include "base/buf.h"
#include "base/time.h"
#include "net/tls.h"
#include "sys/loop.h"

/* What TLS works in between two calls; one for all connections of a server. */
#define TRANSPORT_ROOM (256u * 1024u)

struct transport {
    int fd;
    struct loop_fd *watch;
    struct tls *tls; /* NULL: clear text */
    char *tls_room;  /* TRANSPORT_ROOM bytes, the server's */
    struct buf out;  /* queued bytes are out.p[out_at..out.n) */
    size_t out_at;
    int file; /* sent after the queued bytes; -1: none */
    uint64_t file_at, file_left;
    struct str file_tail; /* static text, queued when the file is through */
    uint64_t bytes_in, bytes_out;
    bool no_sendfile; /* not for this file (its system refused, or copy): read and write instead */
    bool more;        /* the last read may have left bytes that the socket will not tell of */
    bool ended;       /* output was ended; what still comes is read as it is */
};

/* Takes fd (already non-blocking). `fn` as in loop_fd_watch. -1 when it cannot be watched. */
int transport_open(struct transport *t, struct loop *l, int fd,
                   void (*fn)(void *arg, bool readable, bool writable), void *arg);
void transport_close(struct transport *t, bool reset); /* reset: the peer sees it was broken off */

/* From here on everything goes through TLS; `first` are bytes of the client already read. -1 when
 * there is no memory for it. */
int transport_start_tls(struct transport *t, const struct tls_creds *creds, char *room,
                        struct str first);

enum { TRANSPORT_EOF = 0, TRANSPORT_AGAIN = -1, TRANSPORT_BROKEN = -2 };
/* TLS only: goes on with the handshake. 1 when it is complete, else one of the above; the reply is
 * in the queue either way, an alert too. */
ptrdiff_t transport_handshake(struct transport *t);
/* Bytes read (> 0) or one of the above. t->more: a read that follows may find more. */
ptrdiff_t transport_read(struct transport *t, char *p, size_t n);
/* Where to append output. Not while a file is queued (CHECKed). */
struct buf *transport_out(struct transport *t);
/* Sends from bytes what the socket takes now, past the queue, which is empty. Not with TLS. An
 * error takes nothing: the next flush meets it. */
size_t transport_push(struct transport *t, struct str bytes);
/* Queues a file range; takes file. copy: without sendfile. */
void transport_send_file(struct transport *t, int file, uint64_t at, uint64_t len, struct str tail,
                         bool copy);
static inline bool transport_has_file(const struct transport *t) {
    return t->file >= 0;
}
/* Bytes queued, not counting a file. */
static inline size_t transport_queued(const struct transport *t) {
    return t->out.n - t->out_at;
}
static inline bool transport_is_flushed(const struct transport *t) {
    return t->out.n == t->out_at && t->file < 0 && (!t->tls || tls_queued(t->tls) == 0);
}
/* Encrypted bytes that the socket did not take yet. */
static inline size_t transport_encrypted(const struct transport *t) {
    return t->tls ? tls_queued(t->tls) : 0;
}
/* Writes what the socket takes, a bounded slice of a file at most. 0, or TRANSPORT_BROKEN (the peer
 * is gone, or the file ended early). *ret_progress: something went out. */
int transport_flush(struct transport *t, bool *ret_progress);
/* No more output: the peer sees the end of the stream. Once flushed; false when TLS has to say
 * goodbye first and the socket does not take it now: flush and call again. */
bool transport_end_output(struct transport *t);

#endif
