/* Large files that are not in memory, on their way to a client: read ahead by the disk lane instead
 * of by sendfile on the loop's time. Loop thread only; inside of net. */
#ifndef CUSP_NET_COLD_H
#define CUSP_NET_COLD_H

#include "base/time.h"

#include <sys/types.h>

struct xch;

#define COLD_SEEN 64 /* ranges remembered by a server */

/* What was read past the page cache lately, oldest overwritten: who comes again is worth a place in
 * it. */
struct cold_seen {
    struct cold_range {
        dev_t dev;
        ino_t ino;
        uint64_t changed_ns, at;
    } range[COLD_SEEN];
    unsigned nr; /* ever written */
};

/* Sends [offset, offset+len) of fd as the rest of x's reply and finishes x; fd stays the caller's.
 * False, and nothing was done: the file is small, in memory, or on its way there; or there is no
 * lane, or limits.max_cold_reads are under way. A file that ends early breaks the reply off. */
bool cold_send(struct xch *x, int fd, uint64_t offset, uint64_t len);

#endif
