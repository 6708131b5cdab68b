/* Networks: see net.h. Order matters for speed: the inner end is up before the outer one, so that
 * the bridge finds a carrier at once and forwards without waiting for the link watcher. */
#include "runner/net.h"
#include "base/mem.h"
#include "sys/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* -- doors ------------------------------------------------------------------------------------ */

#define DOOR_BACKLOG 1024

static int door_address(const char *text, char ret_host[INET_ADDRSTRLEN], struct sockaddr_in *ret,
                        struct err *err) {
    struct str port = str_of(text);
    struct str host = str_cut(&port, ':');
    uint64_t n;
    (void)snprintf(ret_host, INET_ADDRSTRLEN, "%.*s", STR_ARG(host));
    *ret = (struct sockaddr_in){.sin_family = AF_INET};
    if (host.n >= INET_ADDRSTRLEN || inet_pton(AF_INET, ret_host, &ret->sin_addr) != 1 ||
        !str_to_u64(port, &n) || n == 0 || n > 65535) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s: bad %s %s", RUNDIR_CONF, RC_DOOR, text);
    }
    ret->sin_port = htons((uint16_t)n);
    return 0;
}

/* Linux takes packets for any of its addresses on any interface: bound to the loopback device, the
 * socket cannot be reached by a neighbour on the bridge who routes the address to us. */
static int open_door(const struct conf *c, const char *text, struct err *err) {
    char host[INET_ADDRSTRLEN];
    struct sockaddr_in a;
    const int one = 1;
    bool own = strcmp(c->net, "host") != 0;
    if (door_address(text, host, &a, err) < 0) {
        return -1;
    }
    if (own) {
        auto_free char *with_prefix = xasprintf("%s/32", host);
        auto_close int nl = netlink_open(err);
        if (nl < 0 || netlink_addr_add(nl, "lo", with_prefix, err) < 0) {
            return err_wrap(err, "address %s", host);
        }
    }
    auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
        (own && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", sizeof("lo")) < 0) ||
        bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, DOOR_BACKLOG) < 0) {
        return err_sys(err, errno, "listen on %s", text);
    }
    return take_fd(&fd);
}

int net_doors(const struct conf *c, int ret_fds[RUNDIR_DOORS_MAX], struct err *err) {
    for (size_t i = 0; i < c->nr_doors; i++) {
        ret_fds[i] = open_door(c, c->door[i], err);
        if (ret_fds[i] < 0) {
            while (i-- > 0) {
                close(ret_fds[i]);
            }
            return -1;
        }
    }
    return 0;
}
