/* Doors of replicas (local.h): which addresses, and fetching the listening sockets from the runner
 * that holds them. */
#include "engine/local/local_int.h"

#include "base/fail.h"
#include "base/log.h"
#include "engine/bundle/rundir.h"
#include "sys/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define ASK_TIMEOUT_SEC 5
/* The runner answers as long as its container runs; when it did not, it was busy or the server
 * short of something. Until then the replica's connections wait in the backlog. */
#define RETRY_FIRST (USEC_PER_SEC / 2)
#define RETRY_MAX (30 * USEC_PER_SEC)

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
    struct timer again;
    usec_t delay; /* before the next try */
    bool working; /* on the lane; else waiting for `again` */
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
    if (FAIL_POINT("engine.doors.before_fetch", err) < 0) {
        return -1;
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

static void ask_free(struct door_ask *q) {
    free(q->dir);
    free(q);
}

static void ask_again(struct timer *t) {
    struct door_ask *q = CONTAINER_OF(t, struct door_ask, again);
    q->working = true;
    q->nr = 0;
    q->err = (struct err){0};
    local_submit(q->eng, &q->work);
}

static void ask_later(struct door_ask *q) {
    const struct local_replica *r = q->r;
    struct clock *c = q->eng->clock;
    log_warn("a replica's door was not fetched", "job=%s replica=%s again_in_ms=%llu error=\"%s\"",
             r->att->run->spec->id, r->name, (unsigned long long)(q->delay / USEC_PER_MSEC),
             q->err.msg);
    c->ops->arm(c, &q->again, c->ops->mono(c) + q->delay);
    q->delay = q->delay * 2 < RETRY_MAX ? q->delay * 2 : RETRY_MAX;
}

static void ask_done(struct lane_work *w) {
    struct door_ask *q = CONTAINER_OF(w, struct door_ask, work);
    struct local *eng = q->eng;
    bool over = local_done(eng), given = false;
    q->working = false;
    if (!over && q->r != NULL && !w->cancelled && q->rc < 0) {
        ask_later(q);
        return;
    }
    if (!over && q->r != NULL) {
        struct local_replica *r = q->r;
        r->door_ask = NULL;
        if (!w->cancelled && q->nr > 0) {
            const struct engine_doors *d = eng->opts.doors;
            r->door = d->open(d->arg, r->att->run->spec, r->name, q->fds, q->nr);
            given = true;
        }
    }
    for (size_t i = 0; i < q->nr && !given; i++) {
        close(q->fds[i]);
    }
    ask_free(q);
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
    q->again.fn = ask_again;
    q->delay = RETRY_FIRST;
    q->working = true;
    r->door_ask = q;
    local_submit(eng, &q->work);
}

void doors_let_go(struct local_replica *r) {
    struct door_ask *q = r->door_ask;
    if (q == NULL) {
        return;
    }
    r->door_ask = NULL;
    q->r = NULL;
    if (!q->working) { /* else its end finds that nobody wants it */
        struct clock *c = q->eng->clock;
        c->ops->disarm(c, &q->again);
        ask_free(q);
    }
}

void doors_drop(struct local_replica *r) {
    const struct engine_doors *d = r->att->eng->opts.doors;
    doors_let_go(r);
    if (r->door != 0) {
        d->close(d->arg, r->door);
        r->door = 0;
    }
}
