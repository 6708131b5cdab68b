/* rtnetlink: see netlink.h. Every request is acknowledged and at most one is under way, so a reply
 * is always to the last request. */
#include "sys/netlink.h"
#include "base/buf.h"
#include "sys/files.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX 1024
#define USUAL_MTU 1500

struct request {
    struct nlmsghdr head;
    char body[REQUEST_MAX];
};

static struct request request_of(uint16_t type, uint16_t flags) {
    return (struct request){.head = {.nlmsg_len = NLMSG_HDRLEN,
                                     .nlmsg_type = type,
                                     .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags}};
}

/* Appends n bytes, aligned. Every caller's content is bounded well below REQUEST_MAX. */
static void *put(struct request *q, const void *p, size_t n) {
    size_t at = NLMSG_ALIGN(q->head.nlmsg_len);
    CHECK(at + NLMSG_ALIGN(n) <= sizeof(*q));
    char *to = (char *)q + at;
    if (p) {
        memcpy(to, p, n);
    }
    q->head.nlmsg_len = (uint32_t)(at + n);
    return to;
}

static void put_attr(struct request *q, uint16_t type, const void *p, size_t n) {
    const struct rtattr a = {.rta_len = (uint16_t)RTA_LENGTH(n), .rta_type = type};
    put(q, &a, sizeof(a));
    put(q, p, n);
}

static void put_text(struct request *q, uint16_t type, const char *text) {
    put_attr(q, type, text, strlen(text) + 1);
}

static void put_u32(struct request *q, uint16_t type, uint32_t v) {
    put_attr(q, type, &v, sizeof(v));
}

/* A nested attribute: ends with nest_end(q, what nest_begin returned). */
static struct rtattr *nest_begin(struct request *q, uint16_t type) {
    const struct rtattr a = {.rta_len = RTA_LENGTH(0), .rta_type = type};
    return put(q, &a, sizeof(a));
}

static void nest_end(struct request *q, struct rtattr *a) {
    a->rta_len = (uint16_t)((char *)q + q->head.nlmsg_len - (char *)a);
}

int netlink_open(struct err *err) {
    auto_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    struct sockaddr_nl a = {.nl_family = AF_NETLINK};
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
        return err_sys(err, errno, "open netlink");
    }
    return take_fd(&fd);
}

struct link {
    unsigned index, mtu;
};

static struct link link_of(const struct nlmsghdr *h) {
    const struct ifinfomsg *info = NLMSG_DATA(h);
    struct link ret = {.index = (unsigned)info->ifi_index};
    unsigned left = h->nlmsg_len - NLMSG_LENGTH(sizeof(*info));
    for (const struct rtattr *a = IFLA_RTA(info); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
        if (a->rta_type == IFLA_MTU && RTA_PAYLOAD(a) == sizeof(ret.mtu)) {
            memcpy(&ret.mtu, RTA_DATA(a), sizeof(ret.mtu));
        }
    }
    return ret;
}

/* Sends, waits for the acknowledgement. 0 or an errno. A link that is told before it goes to
 * *ret_link (may be NULL). */
static int exchange(int nl, const struct request *q, struct link *ret_link) {
    if (send(nl, q, q->head.nlmsg_len, 0) < 0) {
        return errno;
    }
    for (;;) {
        union {
            struct nlmsghdr head; /* for alignment */
            char bytes[16384];
        } in;
        ssize_t got = recv(nl, &in, sizeof(in), 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return errno;
        }
        int left = (int)got;
        for (struct nlmsghdr *h = &in.head; NLMSG_OK(h, (unsigned)left); h = NLMSG_NEXT(h, left)) {
            if (h->nlmsg_type == NLMSG_ERROR) {
                return -((struct nlmsgerr *)NLMSG_DATA(h))->error;
            }
            if (h->nlmsg_type == RTM_NEWLINK && ret_link) {
                *ret_link = link_of(h);
            }
        }
    }
}

static bool is_name(const char *name) {
    size_t n = strlen(name);
    return n > 0 && n <= NETLINK_NAME_MAX;
}

static int bad_name(const char *name, struct err *err) {
    return err_set(err, ERR_INVALID_ARGUMENT, "%s is not an interface name", name);
}

static int find_link(int nl, const char *name, struct link *ret, struct err *err) {
    if (!is_name(name)) {
        return bad_name(name, err);
    }
    struct request q = request_of(RTM_GETLINK, 0);
    const struct ifinfomsg link = {.ifi_family = AF_UNSPEC};
    put(&q, &link, sizeof(link));
    put_text(&q, IFLA_IFNAME, name);
    struct link found = {0};
    int e = exchange(nl, &q, &found);
    if (e == ENODEV || (e == 0 && found.index == 0)) {
        return err_set(err, ERR_NOT_FOUND, "no network interface %s", name);
    }
    if (e) {
        return err_sys(err, e, "look up interface %s", name);
    }
    *ret = found;
    return 0;
}

int netlink_index(int nl, const char *name, unsigned *ret, struct err *err) {
    struct link l;
    if (find_link(nl, name, &l, err) < 0) {
        return -1;
    }
    *ret = l.index;
    return 0;
}

int netlink_mtu(int nl, const char *name, unsigned *ret, struct err *err) {
    struct link l;
    if (find_link(nl, name, &l, err) < 0) {
        return -1;
    }
    *ret = l.mtu;
    return 0;
}

int netlink_delete(int nl, const char *name, struct err *err) {
    if (!is_name(name)) {
        return bad_name(name, err);
    }
    struct request q = request_of(RTM_DELLINK, 0);
    const struct ifinfomsg link = {.ifi_family = AF_UNSPEC};
    put(&q, &link, sizeof(link));
    put_text(&q, IFLA_IFNAME, name);
    int e = exchange(nl, &q, NULL);
    return e && e != ENODEV ? err_sys(err, e, "delete interface %s", name) : 0;
}

int netlink_veth_add(int nl, const char *name, const char *peer, int netns_fd, unsigned mtu,
                     struct err *err) {
    if (!is_name(name) || !is_name(peer)) {
        return bad_name(is_name(name) ? peer : name, err);
    }
    struct request q = request_of(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    const struct ifinfomsg link = {.ifi_family = AF_UNSPEC};
    put(&q, &link, sizeof(link));
    put_text(&q, IFLA_IFNAME, name);
    put_u32(&q, IFLA_MTU, mtu);
    struct rtattr *info = nest_begin(&q, IFLA_LINKINFO);
    put_text(&q, IFLA_INFO_KIND, "veth");
    struct rtattr *data = nest_begin(&q, IFLA_INFO_DATA);
    struct rtattr *other = nest_begin(&q, VETH_INFO_PEER);
    put(&q, &link, sizeof(link));
    put_text(&q, IFLA_IFNAME, peer);
    put_u32(&q, IFLA_MTU, mtu);
    put_u32(&q, IFLA_NET_NS_FD, (uint32_t)netns_fd);
    nest_end(&q, other);
    nest_end(&q, data);
    nest_end(&q, info);
    int e = exchange(nl, &q, NULL);
    if (e == EEXIST) {
        if (netlink_delete(nl, name, err) < 0) {
            return -1;
        }
        e = exchange(nl, &q, NULL);
    }
    return e ? err_sys(err, e, "make veth pair %s", name) : 0;
}

/* Sets an interface up, under a master when one is given. */
static int set_up(int nl, const char *name, unsigned master, struct err *err) {
    if (!is_name(name)) {
        return bad_name(name, err);
    }
    struct request q = request_of(RTM_NEWLINK, 0);
    const struct ifinfomsg link = {
        .ifi_family = AF_UNSPEC, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    put(&q, &link, sizeof(link));
    put_text(&q, IFLA_IFNAME, name);
    if (master) {
        put_u32(&q, IFLA_MASTER, master);
    }
    int e = exchange(nl, &q, NULL);
    return e ? err_sys(err, e, "set interface %s up", name) : 0;
}

int netlink_up(int nl, const char *name, struct err *err) {
    return set_up(nl, name, 0, err);
}

int netlink_join(int nl, const char *name, const char *bridge, struct err *err) {
    unsigned master;
    return netlink_index(nl, bridge, &master, err) < 0 ? -1 : set_up(nl, name, master, err);
}

/* "10.201.0.7/16" -> address in network order and prefix length. */
static int parse_addr(const char *text, struct in_addr *ret, uint8_t *ret_prefix, struct err *err) {
    struct str rest = str_of(text);
    auto_free char *host = str_dup(str_cut(&rest, '/'));
    uint64_t prefix;
    if (inet_pton(AF_INET, host, ret) != 1 || !str_to_u64(rest, &prefix) || prefix > 32) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s is not an address with a prefix length",
                       text);
    }
    *ret_prefix = (uint8_t)prefix;
    return 0;
}

int netlink_addr_add(int nl, const char *name, const char *addr, struct err *err) {
    struct in_addr a;
    uint8_t prefix = 0;
    unsigned index;
    if (parse_addr(addr, &a, &prefix, err) < 0 || netlink_index(nl, name, &index, err) < 0) {
        return -1;
    }
    struct request q = request_of(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    const struct ifaddrmsg msg = {
        .ifa_family = AF_INET, .ifa_prefixlen = prefix, .ifa_index = index};
    put(&q, &msg, sizeof(msg));
    put_attr(&q, IFA_LOCAL, &a, sizeof(a));
    put_attr(&q, IFA_ADDRESS, &a, sizeof(a));
    int e = exchange(nl, &q, NULL);
    return e && e != EEXIST ? err_sys(err, e, "give %s the address %s", name, addr) : 0;
}

int netlink_default_route(int nl, const char *gateway, struct err *err) {
    struct in_addr a;
    if (inet_pton(AF_INET, gateway, &a) != 1) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s is not an address", gateway);
    }
    struct request q = request_of(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
    const struct rtmsg msg = {.rtm_family = AF_INET,
                              .rtm_table = RT_TABLE_MAIN,
                              .rtm_protocol = RTPROT_BOOT,
                              .rtm_scope = RT_SCOPE_UNIVERSE,
                              .rtm_type = RTN_UNICAST};
    put(&q, &msg, sizeof(msg));
    put_attr(&q, RTA_GATEWAY, &a, sizeof(a));
    int e = exchange(nl, &q, NULL);
    return e && e != EEXIST ? err_sys(err, e, "route through %s", gateway) : 0;
}

/* Packet size of the interface behind the default route, or the usual one. A bridge that takes more
 * would make containers send what the way out drops. */
static unsigned way_out_mtu(int nl) {
    auto_buf struct buf b = BUF_INIT(1u << 20);
    unsigned mtu = USUAL_MTU;
    if (file_read(AT_FDCWD, "/proc/net/route", &b, NULL) < 0) {
        return mtu;
    }
    struct str rest = buf_str(&b);
    while (rest.p) { /* interface TAB destination TAB ... */
        struct str line = str_cut(&rest, '\n');
        struct str iface = str_trim(str_cut(&line, '\t'));
        if (str_eqc(str_cut(&line, '\t'), "00000000")) {
            auto_free char *name = str_dup(iface);
            unsigned found;
            if (netlink_mtu(nl, name, &found, NULL) == 0 && found > 0) {
                return found;
            }
        }
    }
    return mtu;
}

int netlink_bridge_ensure(const char *name, const char *addr, struct err *err) {
    if (!is_name(name)) {
        return bad_name(name, err);
    }
    auto_close int nl = netlink_open(err);
    if (nl < 0) {
        return -1;
    }
    struct request q = request_of(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    const struct ifinfomsg link = {.ifi_family = AF_UNSPEC};
    put(&q, &link, sizeof(link));
    put_text(&q, IFLA_IFNAME, name);
    put_u32(&q, IFLA_MTU, way_out_mtu(nl));
    struct rtattr *info = nest_begin(&q, IFLA_LINKINFO);
    put_text(&q, IFLA_INFO_KIND, "bridge");
    struct rtattr *data = nest_begin(&q, IFLA_INFO_DATA);
    put_u32(&q, IFLA_BR_FORWARD_DELAY, 0);
    put_u32(&q, IFLA_BR_STP_STATE, 0);
    nest_end(&q, data);
    nest_end(&q, info);
    int e = exchange(nl, &q, NULL);
    if (e && e != EEXIST) {
        return err_sys(err, e, "make bridge %s", name);
    }
    return netlink_addr_add(nl, name, addr, err) < 0 || netlink_up(nl, name, err) < 0 ? -1 : 0;
}
