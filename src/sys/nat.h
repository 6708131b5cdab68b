/* Outbound access for the containers behind a bridge: forwarding on, masquerading of what leaves
 * the subnet, forwarding accepted. With nft (one table of our own, loaded atomically, repeatable)
 * or, where that program is missing, with iptables. Starts short programs: blocking, disk lane. */
#ifndef CUSP_SYS_NAT_H
#define CUSP_SYS_NAT_H

#include "base/buf.h"
#include "base/err.h"

/* bridge: interface name; subnet: "10.201.0.0/16". *ret_how is "nft" or "iptables". The error says
 * which program said what. */
int nat_ensure(const char *bridge, const char *subnet, const char **ret_how,
               struct err *err) MUST_CHECK;
/* Takes back what nat_ensure added, except for forwarding itself. Nothing there is success. */
int nat_remove(const char *bridge, const char *subnet, struct err *err) MUST_CHECK;

#endif
