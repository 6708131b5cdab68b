/* Network interfaces by rtnetlink: a bridge on the host, veth pairs into network namespaces. A
 * socket acts on the namespace it was opened in, wherever its owner goes later. IPv4 only. Blocking
 * calls of microseconds; any thread, one at a time per socket. */
#ifndef CUSP_SYS_NETLINK_H
#define CUSP_SYS_NETLINK_H

#include "base/err.h"

#define NETLINK_NAME_MAX 15 /* bytes of an interface name */

/* A bridge of that name exists, is up, forwards at once (no spanning tree) and has the address
 * ("10.201.0.1/16"). What is there already stays. A new bridge takes the packet size of the
 * interface that the default route uses. */
int netlink_bridge_ensure(const char *name, const char *addr, struct err *err) MUST_CHECK;

/* A socket for the namespace of the calling thread: descriptor >= 0, close-on-exec. */
int netlink_open(struct err *err) MUST_CHECK;
/* Index of an interface; NOT_FOUND. */
int netlink_index(int nl, const char *name, unsigned *ret, struct err *err) MUST_CHECK;
/* A pair: `name` here (down), `peer` in the namespace behind netns_fd. An existing `name` (left by
 * a namespace that is just going) is replaced. mtu: bytes, of both ends. */
int netlink_veth_add(int nl, const char *name, const char *peer, int netns_fd, unsigned mtu,
                     struct err *err) MUST_CHECK;
/* The largest packet an interface takes, bytes. */
int netlink_mtu(int nl, const char *name, unsigned *ret, struct err *err) MUST_CHECK;
/* Puts an interface under a bridge and sets it up. */
int netlink_join(int nl, const char *name, const char *bridge, struct err *err) MUST_CHECK;
int netlink_up(int nl, const char *name, struct err *err) MUST_CHECK;
/* addr "10.201.0.7/16"; having it already is success. */
int netlink_addr_add(int nl, const char *name, const char *addr, struct err *err) MUST_CHECK;
int netlink_default_route(int nl, const char *gateway, struct err *err) MUST_CHECK;
/* Not existing is success. */
int netlink_delete(int nl, const char *name, struct err *err) MUST_CHECK;

#endif
