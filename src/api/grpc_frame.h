/* The parts of gRPC's wire format that are not HTTP: timeouts, message frames, compression, status
 * text (grpc/grpc doc/PROTOCOL-HTTP2.md). Pure: no exchange, no clock; any thread, one at a time.
 *
 * Errors carry the code that gRPC assigns to each fault (doc/statuscodes.md) and texts meant for
 * the client, INTERNAL ones too. */
#ifndef CUSP_API_GRPC_FRAME_H
#define CUSP_API_GRPC_FRAME_H

#include "base/buf.h"
#include "base/err.h"
#include "base/time.h"

#define GRPC_FRAME_HEAD 5 /* compressed flag, length: four bytes, big-endian */

/* "100m": at most eight digits and one of H M S m u n. Below a microsecond counts as one; 0 is
 * allowed (and over at once). False when malformed. */
bool grpc_timeout_parse(struct str s, usec_t *ret);

enum grpc_encoding { GRPC_IDENTITY = 0, GRPC_GZIP, GRPC_DEFLATE, GRPC_ENCODING_NR };
#define GRPC_ACCEPT_ENCODING "identity,deflate,gzip"
/* By the name in grpc-encoding; false when we cannot read it. */
bool grpc_encoding_find(struct str name, enum grpc_encoding *ret);

/* Appends s as grpc-message: printable ASCII but '%' as it is, other bytes as %XX. */
void grpc_percent(struct buf *b, struct str s);

/* Messages out of a request body that arrives in any pieces. */
struct grpc_in {
    enum grpc_encoding encoding;
    unsigned char head[GRPC_FRAME_HEAD];
    size_t nr_head;   /* of head here */
    size_t len;       /* of the message that head announces, once nr_head is full */
    struct buf part;  /* the message, when it comes in pieces */
    struct buf plain; /* the message, when it came compressed */
    size_t max;       /* bytes of one message, as sent and unpacked alike */
    const char *max_name;
    const uint64_t *max_limit; /* counted when it is hit; may be NULL */
};

void grpc_in_init(struct grpc_in *in, enum grpc_encoding encoding, const char *max_name,
                  const uint64_t *max_limit);
void grpc_in_fini(struct grpc_in *in);
/* Takes from the front of *bytes up to the end of one message. 1: *ret is that message, a view into
 * *bytes or into `in`, good until the next call; 0: all taken, more is needed; -1:
 * RESOURCE_EXHAUSTED (too long), INTERNAL (flags, compression). After an error only grpc_in_fini.
 */
int grpc_in_take(struct grpc_in *in, struct str *bytes, struct str *ret, struct err *err);
/* How many bytes the frame's head, or the message announced by it, still lacks; never 0. */
size_t grpc_in_wants(const struct grpc_in *in);
/* INTERNAL when the body ended inside a frame. */
int grpc_in_end(const struct grpc_in *in, struct err *err);

#endif
