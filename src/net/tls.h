/* TLS as a filter over one socket's bytes: ciphertext is fed in, plaintext comes out, and the other
 * way round. It never touches the socket (net/transport.h does), so it cannot block and every
 * partial state is bytes in a buffer. Loop thread only. */
#ifndef CUSP_NET_TLS_H
#define CUSP_NET_TLS_H

#include "base/buf.h"

struct tls;
struct tls_creds;

/* A server's side of a handshake yet to come. NULL when OpenSSL has no memory. */
struct tls *tls_open(const struct tls_creds *creds);
void tls_close(struct tls *t); /* NULL is fine */

enum tls_rc {
    TLS_AGAIN = 0,   /* everything fed was used: more is needed */
    TLS_OK = 1,      /* handshake: complete. read: ret_n bytes came out, there may be more */
    TLS_EOF = -1,    /* the peer said it sends no more */
    TLS_BROKEN = -2, /* tls_why tells; an alert is in the output */
};
/* Gives ciphertext to work on. The view must stay until tls_settle. */
void tls_feed(struct tls *t, struct str cipher);
/* Keeps what of the fed bytes was not used yet. */
void tls_settle(struct tls *t);
enum tls_rc tls_handshake(struct tls *t);
/* At most n bytes of plaintext. */
enum tls_rc tls_read(struct tls *t, char *p, size_t n, size_t *ret_n);
/* Plaintext or ciphertext is inside that tls_read may turn into bytes without more being fed. */
bool tls_has_pending(const struct tls *t);
/* Encrypts all of it into the output. */
enum tls_rc tls_write(struct tls *t, const char *p, size_t n);
/* Says that no more will be sent. Once. */
void tls_end(struct tls *t);
/* Ciphertext for the socket: the owner sends p[*at..n) and moves *at; tls_sent when all went. */
struct buf *tls_out(struct tls *t, size_t **ret_at);
void tls_sent(struct tls *t);
size_t tls_queued(const struct tls *t);

const char *tls_why(const struct tls *t); /* why it is broken; "" */
/* After the handshake. The chosen ALPN protocol, empty when the client offered none. */
struct str tls_protocol(const struct tls *t);
bool tls_was_resumed(const struct tls *t);

#endif
