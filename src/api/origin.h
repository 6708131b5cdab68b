/* Who may talk to a server that asks for no credentials: programs of this machine, not the web
 * pages that a browser on it happens to show. Loop thread. */
#ifndef CUSP_API_ORIGIN_H
#define CUSP_API_ORIGIN_H

#include "base/err.h"
#include "base/str.h"

struct xch;

/* A Host header that no page of somebody else can have caused: absent, an address, localhost or
 * below it, a name without a dot (no public name is), a name of the API or of the registries being
 * imitated, or one of names ("a.example, b.example"; the configuration's host_names). */
bool origin_host_is_ours(struct str host, struct str names);
/* An Origin header that is the server's own: http(s)://HOST with the very Host header sent. */
bool origin_is_own(struct str origin, struct str host);

/* Answers 403 and returns true when a web page of another site is behind the request:
 * the Host is somebody's domain (DNS rebinding), or a request that changes something has an Origin
 * that is not the server's own (cross-site request forgery). said (may be NULL) answers where an
 * API of its own words was asked, and returns true. */
bool origin_refuse(struct xch *x, struct str names,
                   bool (*said)(struct xch *, const struct err *err));

#endif
