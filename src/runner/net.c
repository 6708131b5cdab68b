/* Networks: see net.h. Order matters for speed: the inner end is up before the outer one, so that
 * the bridge finds a carrier at once and forwards without waiting for the link watcher. */
#include "runner/net.h"
#include "base/mem.h"
#include "sys/netlink.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>

#define INNER_NAME "eth0"

static int connect_bridge(const struct conf *c, int outside, int inside, struct err *err) {
    auto_close int netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (netns < 0) {
        return err_sys(err, errno, "open network namespace");
    }
    unsigned mtu;
    if (netlink_mtu(outside, c->net_bridge, &mtu, err) < 0) {
        return -1;
    }
    return netlink_veth_add(outside, c->net_veth, INNER_NAME, netns, mtu, err) < 0 ||
                   netlink_addr_add(inside, INNER_NAME, c->net_addr, err) < 0 ||
                   netlink_up(inside, INNER_NAME, err) < 0 ||
                   netlink_default_route(inside, c->net_gateway, err) < 0 ||
                   netlink_join(outside, c->net_veth, c->net_bridge, err) < 0
               ? -1
               : 0;
}

int net_enter(const struct conf *c, struct err *err) {
    if (strcmp(c->net, "host") == 0) {
        return 0;
    }
    auto_close int outside = netlink_open(err);
    if (outside < 0) {
        return -1;
    }
    if (unshare(CLONE_NEWNET) < 0) {
        return err_sys(err, errno, "new network namespace");
    }
    auto_close int inside = netlink_open(err);
    if (inside < 0 || netlink_up(inside, "lo", err) < 0) {
        return -1;
    }
    return strcmp(c->net, "none") == 0 ? 0 : connect_bridge(c, outside, inside, err);
}
