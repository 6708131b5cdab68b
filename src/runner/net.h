/* The container's network: the runner enters a new network namespace and the container inherits it
 * (config.json names none). The namespace, and with it the veth pair, ends with the last process.
 */
#ifndef CUSP_RUNNER_NET_H
#define CUSP_RUNNER_NET_H

#include "runner/conf.h"

/* By c->net: "host": nothing; "none": only a loopback; "bridge": a veth pair into c->net_bridge
 * with c->net_addr and a default route by c->net_gateway. */
int net_enter(const struct conf *c, struct err *err) MUST_CHECK;

#endif
