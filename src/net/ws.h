/* CONTRACT. WebSocket (RFC 6455) on an exchange: the handler of a GET that asks for it accepts, and
 * from then on messages go both ways. Frames, masking, fragments, control frames and UTF-8 are
 * wslay's; this keeps the limits, the back-pressure and the end. No extensions, no subprotocols.
 * Browsers open an HTTP/1.1 connection for it unless HTTP/2 offers extended CONNECT, which we do
 * not. Loop thread only. */
#ifndef CUSP_NET_WS_H
#define CUSP_NET_WS_H

#include "net/xch.h"

struct ws;

enum ws_code { /* RFC 6455 7.4.1 */
               WS_NORMAL = 1000,
               WS_GOING_AWAY = 1001,
               WS_POLICY = 1008,
               WS_INTERNAL = 1011,
               WS_GONE = 1006, /* never on the wire: the peer vanished without a close frame */
};

struct ws_ops {
    /* A whole message; the view is valid during the call. NULL: messages are ignored. */
    void (*message)(struct ws *, void *arg, bool text, struct str bytes);
    /* Exactly once, never from within the caller's own call; w is invalid after it. code: of the
     * close frame that ended it, WS_GONE without one. */
    void (*closed)(struct ws *, void *arg, int code);
    /* After ws_send returned false: the peer took enough. */
    void (*drain)(struct ws *, void *arg);
};

/* Does the request ask for it ("Upgrade: websocket")? */
bool ws_is_asked(const struct xch *x);
/* The handshake. NULL: it is malformed and was answered (400 or 426), x is finished. Else x is the
 * WebSocket's until `closed`; the caller's own references stay the caller's. Where a request comes
 * from (Origin) is the caller's to check. */
struct ws *ws_accept(struct xch *x, const struct ws_ops *ops, void *arg);
/* Queues one message; text must be UTF-8. False when the peer is slow and the source should pause
 * until drain (the message is queued all the same). Nothing happens once it is closing. */
bool ws_send(struct ws *w, bool text, struct str bytes);
/* Says goodbye (reason: at most 123 bytes are sent) and waits shortly for the peer's; `closed`
 * follows. */
void ws_close(struct ws *w, int code, const char *reason);

#endif
