/* The HTTP/1 syntax backend's seam: feed a linted head, then body bytes; get views. One backend is
 * built in (http-parser 2.9.4); its types stay in h1_parse.c. No I/O, no allocation.
 *
 * Both readings must agree: the backend's idea of headers, chunks and ends is compared with ours
 * (h1_lint.h), and a difference is a refused request, never a guess. */
#ifndef CUSP_NET_H1_PARSE_H
#define CUSP_NET_H1_PARSE_H

#include "net/h1_lint.h"
#include "net/xch.h"

struct h1_parse {
    /* Of the request, after h1_parse_head: views into the head that was fed. */
    struct str method, target;
    struct header *headers; /* the caller's room for what h1_lint counted */
    size_t nr_headers;
    int64_t content_length; /* -1 when chunked; 0 without a body */
    bool chunked, keep_alive, http10;
    bool done; /* the whole message was fed */

    /* Private. */
    void (*on_body)(void *arg, struct str bytes);
    void *arg;
    size_t room;
    struct h1_frame frame;
    uint64_t left; /* of a body with a length */
    bool broken, head_done, message_done;
    uint64_t chunk_size;
    unsigned chunks;
    uint64_t backend[8];
};

/* Name of the backend for logs: "http-parser 2.9.4". */
const char *h1_parse_backend(void);
/* Once per process before the first head: tells the backend the caps that h1_lint enforces. */
void h1_parse_setup(void);

/* `head` must have passed h1_scan_head and h1_lint; header names are lower-cased in place. The
 * views live as long as `head`. on_body is kept for h1_parse_body. 0, or -1 with *ret_fault. */
int h1_parse_head(struct h1_parse *p, char *head, size_t n, struct header *headers, size_t room,
                  void (*on_body)(void *arg, struct str bytes), void *arg,
                  struct h1_fault *ret_fault);

/* Feeds body bytes; on_body gets at most max_body of them, framing is consumed beside that. Returns
 * how many bytes were taken (0: max_body is spent or nothing came), -1 when refused. Sets p->done
 * at the end; never takes a byte past it. */
ptrdiff_t h1_parse_body(struct h1_parse *p, struct str bytes, uint64_t max_body,
                        struct h1_fault *ret_fault);
/* Chunked and not inside a chunk's data: bytes are worth reading even when no body may be
 * delivered. */
bool h1_parse_at_framing(const struct h1_parse *p);

#endif
