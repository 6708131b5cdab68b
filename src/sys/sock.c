/* Unix sockets: see sock.h. The directory is named as /proc/self/fd/N, which is always short. */
#include "sys/sock.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int address(int dirfd, const char *name, struct sockaddr_un *ret, struct err *err) {
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n = snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", dirfd, name);
    if (n < 0 || (size_t)n >= sizeof(ret->sun_path)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "socket name %s is too long", name);
    }
    return 0;
}

int sock_unix_listen(int dirfd, const char *name, int backlog, struct err *err) {
    struct sockaddr_un a;
    if (address(dirfd, name, &a, err) < 0) {
        return -1;
    }
    auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return err_sys(err, errno, "socket");
    }
    unlinkat(dirfd, name, 0);
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || fchmodat(dirfd, name, 0600, 0) < 0 ||
        listen(fd, backlog) < 0) {
        return err_sys(err, errno, "listen on %s", name);
    }
    return take_fd(&fd);
}

int sock_unix_connect(int dirfd, const char *name, struct err *err) {
    struct sockaddr_un a;
    if (address(dirfd, name, &a, err) < 0) {
        return -1;
    }
    auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return err_sys(err, errno, "socket");
    }
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
        if (errno == ECONNREFUSED) {
            return err_set(err, ERR_UNAVAILABLE, "nobody listens on %s", name);
        }
        return err_sys(err, errno, "connect to %s", name);
    }
    return take_fd(&fd);
}

/* -- descriptors ------------------------------------------------------------------------------ */

union control {
    struct cmsghdr head; /* aligns it */
    char room[CMSG_SPACE(SOCK_FDS_MAX * sizeof(int))];
};

int sock_send_fds(int fd, struct str text, const int *fds, size_t nr, struct err *err) {
    union control c = {0};
    struct iovec v = {(void *)text.p, text.n};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    CHECK(nr <= SOCK_FDS_MAX);
    if (nr > 0) {
        m.msg_control = c.room;
        m.msg_controllen = CMSG_SPACE(nr * sizeof(int));
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(nr * sizeof(int));
        memcpy(CMSG_DATA(h), fds, nr * sizeof(int));
    }
    ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    return n == (ssize_t)text.n ? 0 : err_sys(err, n < 0 ? errno : EMSGSIZE, "send descriptors");
}

ssize_t sock_recv_fds(int fd, char *text, size_t size, int fds[SOCK_FDS_MAX], size_t *ret_nr,
                      struct err *err) {
    union control c = {0};
    struct iovec v = {text, size};
    struct msghdr m = {
        .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.room, .msg_controllen = sizeof(c.room)};
    ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    if (n < 0) {
        return err_sys(err, errno, "receive descriptors");
    }
    *ret_nr = 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
        if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS) {
            size_t nr = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(fds + *ret_nr, CMSG_DATA(h), nr * sizeof(int));
            *ret_nr += nr;
        }
    }
    return n;
}
