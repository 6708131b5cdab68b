/* The container's network: the runner enters a new network namespace and the container inherits it
 * (config.json names none). The namespace, and with it the veth pair, ends with the last process.
 */
#ifndef CUSP_RUNNER_NET_H
#define CUSP_RUNNER_NET_H

#include "engine/bundle/rundir.h"
#include "runner/conf.h"

/* By c->net: "host": nothing; "none": only a loopback; "bridge": a veth pair into c->net_bridge
 * with c->net_addr and a default route by c->net_gateway. */
int net_enter(const struct conf *c, struct err *err) MUST_CHECK;
/* The listening sockets of c->door; call it after net_enter. They are the server's to accept from:
 * while it is away, connections wait in their backlog. */
int net_doors(const struct conf *c, int ret_fds[RUNDIR_DOORS_MAX], struct err *err) MUST_CHECK;

#endif
