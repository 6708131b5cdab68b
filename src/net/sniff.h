/* Which protocol does a connection speak? Decided from its first bytes, at most SNIFF_MAX of them,
 * which are then handed on to the codec, never read twice. Pure. */
#ifndef CUSP_NET_SNIFF_H
#define CUSP_NET_SNIFF_H

#include "base/str.h"

#define SNIFF_MAX 24 /* the length of the HTTP/2 connection preface */

enum sniff {
    SNIFF_MORE, /* could still be HTTP/2: wait for more bytes */
    SNIFF_H1,
    SNIFF_TLS,
    SNIFF_H2,
};

enum sniff sniff_first_bytes(struct str bytes);

#endif
