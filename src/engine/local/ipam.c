/* Address registry: a directory of links under one flock. */
#include "engine/local/ipam.h"

#include "base/mem.h"
#include "sys/files.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* A link is made before its run directory. One that has none after this long never will. */
#define GRACE_SEC 60

static void addr_text(uint32_t addr, char ret[IPAM_ADDR_SIZE]) {
    struct in_addr in = {.s_addr = htonl(addr)};
    CHECK(inet_ntop(AF_INET, &in, ret, IPAM_ADDR_SIZE) != NULL);
}

int ipam_init(struct ipam *m, const char *subnet, const char *registry, struct err *err) {
    struct str rest = str_of(subnet);
    struct str addr = str_cut(&rest, '/');
    auto_free char *text = str_dup(addr);
    struct in_addr in;
    uint64_t len;
    if (inet_pton(AF_INET, text, &in) != 1 || !str_to_u64(rest, &len) || len < 8 || len > 29) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "subnet \"%s\" is not an IPv4 network like 10.201.0.0/16", subnet);
    }
    uint32_t mask = ~0u << (32 - len);
    m->mask = mask;
    m->base = ntohl(in.s_addr) & mask;
    m->prefix_len = (unsigned)len;
    char base[IPAM_ADDR_SIZE];
    addr_text(m->base, base);
    m->dir = xasprintf("%s/%s_%u", registry, base, m->prefix_len);
    if (file_mkdirs(AT_FDCWD, m->dir, 0700, err) < 0) {
        free(take(&m->dir));
        return err_wrap(err, "registry of addresses");
    }
    return 0;
}

void ipam_fini(struct ipam *m) {
    free(take(&m->dir));
}

void ipam_gateway(const struct ipam *m, char ret[IPAM_ADDR_SIZE]) {
    addr_text(m->base + 1, ret);
}

static int lock_dir(const struct ipam *m, struct err *err) {
    auto_close int fd = open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(err, errno, "open the registry of addresses");
    }
    while (flock(fd, LOCK_EX) < 0) {
        if (errno != EINTR) {
            return err_sys(err, errno, "lock the registry of addresses");
        }
    }
    return take_fd(&fd);
}

static bool owner_of(int fd, const char *addr, char ret[PATH_MAX]) {
    ssize_t n = readlinkat(fd, addr, ret, PATH_MAX - 1);
    ret[n < 0 ? 0 : n] = 0;
    return n > 0;
}

static bool is_stale(int fd, const char *addr) {
    char owner[PATH_MAX];
    struct stat st;
    struct timespec now;
    if (!owner_of(fd, addr, owner) || access(owner, F_OK) == 0 ||
        fstatat(fd, addr, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        clock_gettime(CLOCK_REALTIME, &now) < 0) {
        return false;
    }
    return now.tv_sec - st.st_mtim.tv_sec > GRACE_SEC || st.st_mtim.tv_sec > now.tv_sec + GRACE_SEC;
}

int ipam_take(const struct ipam *m, const char *owner, char ret[IPAM_ADDR_SIZE], struct err *err) {
    auto_close int fd = lock_dir(m, err);
    if (fd < 0) {
        return -1;
    }
    uint32_t room = ~m->mask - 2; /* without network, gateway and broadcast */
    uint32_t at = (uint32_t)(str_hash(str_of(owner)) % room);
    for (uint32_t i = 0; i < room; i++) {
        char addr[IPAM_ADDR_SIZE];
        addr_text(m->base + 2 + (at + i) % room, addr);
        int rc = symlinkat(owner, fd, addr);
        if (rc < 0 && errno == EEXIST) {
            if (!is_stale(fd, addr) || unlinkat(fd, addr, 0) < 0) {
                continue;
            }
            rc = symlinkat(owner, fd, addr);
        }
        if (rc < 0) {
            return err_sys(err, errno, "take address %s", addr);
        }
        memcpy(ret, addr, sizeof(addr));
        return 0;
    }
    return err_set(err, ERR_RESOURCE_EXHAUSTED, "all %u addresses of the bridge are in use", room);
}

void ipam_give(const struct ipam *m, const char *owner, const char *addr) {
    auto_close int fd = lock_dir(m, NULL);
    char now[PATH_MAX];
    if (fd >= 0 && owner_of(fd, addr, now) && strcmp(now, owner) == 0) {
        (void)unlinkat(fd, addr, 0);
    }
}

void ipam_sweep(const struct ipam *m, const char *prefix) {
    auto_close int fd = lock_dir(m, NULL);
    DIR *d = fd < 0 ? NULL : opendir(m->dir);
    struct dirent *e;
    char owner[PATH_MAX];
    while (d != NULL && (e = readdir(d)) != NULL) {
        if (e->d_name[0] != '.' && owner_of(fd, e->d_name, owner) &&
            str_starts(str_of(owner), str_of(prefix)) && access(owner, F_OK) < 0) {
            (void)unlinkat(fd, e->d_name, 0);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
}
