/* The HTTP/2 codec: one nghttp2 session a connection, one exchange a stream. Chosen by the client's
 * preface (prior knowledge). Request bodies move by the exchange's credit, which becomes the
 * stream's window; replies wait in their stream until nghttp2 and the socket want them. Loop thread
 * only. */
#ifndef CUSP_NET_H2_H
#define CUSP_NET_H2_H

#include "base/str.h"
#include "base/time.h"

struct conn;
struct h2;

/* NULL when the library refuses (out of memory). The preface is still to come as input. */
struct h2 *h2_open(struct conn *c, usec_t now);
/* Tells every exchange that its peer is gone and frees. NULL is allowed. */
void h2_close(struct h2 *h);
/* Takes all of it. */
void h2_input(struct h2 *h, struct str bytes, usec_t now);
/* How many bytes are worth reading now; 0: output must drain first. */
size_t h2_want(const struct h2 *h);
/* Delivers bodies that were granted, then moves frames to the connection's queue up to its
 * high-water mark. Ends the connection when nothing is left to say or hear. */
void h2_output(struct h2 *h, usec_t now);
/* The queue was flushed as far as the socket took it: more frames, sources that paused. */
void h2_drained(struct h2 *h);
/* The peer will send no more. */
void h2_eof(struct h2 *h, usec_t now);
/* GOAWAY; running exchanges finish. */
void h2_retire(struct h2 *h);
/* Resets the streams whose replies have no end of their own. */
void h2_break_endless(struct h2 *h);
/* When something must have happened; USEC_NEVER when nothing is due. */
usec_t h2_deadline(const struct h2 *h);
void h2_timeout(struct h2 *h, usec_t now);

#endif
