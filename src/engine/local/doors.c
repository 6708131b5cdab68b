/* Doors of replicas (local.h): which addresses, and fetching the listening sockets from the runner
 * that holds them. */
#include "engine/local/local_int.h"

#include "base/log.h"
#include "engine/bundle/rundir.h"
#include "sys/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define ASK_TIMEOUT_SEC 5

/* -- addresses -------------------------------------------------------------------------------- */

static bool on_host(const struct local *eng) {
    return strcmp(eng->probe.net, "host") == 0;
}

int doors_plan(struct local_replica *r, const char ***ret, const char **ret_address,
               struct err *err) {
    struct local *eng = r->att->eng;
    struct arena *a = r->att->arena;
    const char **doors = arena_calloc(a, RUNDIR_DOORS_MAX + 1, sizeof(*doors));
    *ret = NULL;
    *ret_address = "";
    if (eng->opts.doors == NULL) {
        return 0;
    }
    if (on_host(eng)) {
        char addr[IPAM_ADDR_SIZE];
        if (ipam_take(&eng->host_doors, r->dir, addr, err) < 0) {
            return -1;
        }
        *ret_address = arena_printf(a, "%s:" DOOR_HOST_PORT, addr);
        doors[0] = *ret_address;
    } else {
        *ret_address = DOOR_ADDRESS;
        doors[0] = DOOR_ADDRESS ":80";
        doors[1] = eng->opts.doors->ca_pem != NULL ? DOOR_ADDRESS ":443" : NULL;
    }
    *ret = doors;
    return 0;
}

/* -- fetching --------------------------------------------------------------------------------- */

struct door_ask {
    struct lane_work work;
    struct local *eng;
    struct local_replica *r; /* NULL: nobody wants them any more */
    char *dir;
    int fds[SOCK_FDS_MAX];
    size_t nr;
    int rc;
    struct err err;
};

static int fetch(struct door_ask *q, struct err *err) {
    char line[64];
    const struct timeval limit = {.tv_sec = ASK_TIMEOUT_SEC};
    auto_close int dir = open(q->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        return err_sys(err, errno, "open %s", q->dir);
    }
    auto_close int fd = sock_unix_connect(dir, RUNDIR_SOCK, err);
    if (fd < 0) {
        return -1;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
        send(fd, "doors\n", 6, MSG_NOSIGNAL) != 6) {
        return err_sys(err, errno, "ask the runner");
    }
    ssize_t n = sock_recv_fds(fd, line, sizeof(line), q->fds, &q->nr, err);
    if (n < 0) {
        return -1;
    }
    return str_starts(str_n(line, (size_t)n), STR("ok"))
               ? 0
               : err_set(err, ERR_UNAVAILABLE, "runner: %.*s", (int)n, line);
}

static void ask_run(struct lane_work *w) {
    struct door_ask *q = CONTAINER_OF(w, struct door_ask, work);
    q->rc = fetch(q, &q->err);
}

static void ask_done(struct lane_work *w) {
    struct door_ask *q = CONTAINER_OF(w, struct door_ask, work);
    struct local *eng = q->eng;
    bool over = local_done(eng), given = false;
    if (!over && q->r != NULL) {
        struct local_replica *r = q->r;
        r->door_ask = NULL;
        if (!w->cancelled && q->rc == 0 && q->nr > 0) {
            const struct engine_doors *d = eng->opts.doors;
            r->door = d->open(d->arg, r->att->run->spec, r->name, q->fds, q->nr);
            given = true;
        } else if (!w->cancelled && q->rc < 0) {
            log_warn("a replica has no door to the server", "job=%s replica=%s error=\"%s\"",
                     r->att->run->spec->id, r->name, q->err.msg);
        }
    }
    for (size_t i = 0; i < q->nr && !given; i++) {
        close(q->fds[i]);
    }
    free(q->dir);
    free(q);
}

void doors_want(struct local_replica *r) {
    struct local *eng = r->att->eng;
    if (eng->opts.doors == NULL || r->door_ask != NULL || r->door != 0) {
        return;
    }
    struct door_ask *q = xcalloc(1, sizeof(*q));
    q->eng = eng;
    q->r = r;
    q->dir = xstrdup(r->dir);
    q->work.run = ask_run;
    q->work.done = ask_done;
    r->door_ask = q;
    local_submit(eng, &q->work);
}

void doors_drop(struct local_replica *r) {
    const struct engine_doors *d = r->att->eng->opts.doors;
    if (r->door_ask != NULL) {
        r->door_ask->r = NULL;
        r->door_ask = NULL;
    }
    if (r->door != 0) {
        d->close(d->arg, r->door);
        r->door = 0;
    }
}
