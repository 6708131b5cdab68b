/* Protocol detection. A TLS record of a handshake begins with 0x16, which no HTTP/1 method does;
 * the HTTP/2 preface is a fixed string chosen so that no HTTP/1 request can look like it. */
#include "net/sniff.h"

static const char h2_preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

enum sniff sniff_first_bytes(struct str bytes) {
    if (bytes.n == 0) {
        return SNIFF_MORE;
    }
    if ((unsigned char)bytes.p[0] == 0x16) {
        return SNIFF_TLS;
    }
    size_t n = bytes.n < SNIFF_MAX ? bytes.n : SNIFF_MAX;
    if (memcmp(bytes.p, h2_preface, n) != 0) {
        return SNIFF_H1;
    }
    return n == SNIFF_MAX ? SNIFF_H2 : SNIFF_MORE;
}
