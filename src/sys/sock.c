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
