/* Doors: listening sockets that somebody else made, each with the owner's number on what comes by
 * it. */
#include "net/conn.h"
#include "net/net_int.h"

#include <unistd.h>

#define ACCEPT_PAUSE (100 * USEC_PER_MSEC) /* after running out of descriptors */

static void on_door(void *arg, bool readable, bool writable) {
    struct door *d = arg;
    struct net_server *s = d->server;
    (void)readable;
    (void)writable;
    if (!net_accept(s, d->fd, d->id)) {
        loop_fd_set(d->watch, 0);
        s->clock->ops->arm(s->clock, &s->accept_again,
                           s->clock->ops->mono(s->clock) + ACCEPT_PAUSE);
    }
}

static void close_door(struct door *d) {
    loop_fd_unwatch(d->watch);
    close(d->fd);
    list_del(&d->link);
    free(d);
}

int net_door_open(struct net_server *s, int fd, uint64_t id, struct err *err) {
    CHECK(id != 0);
    struct door *d = xcalloc(1, sizeof(*d));
    d->server = s;
    d->fd = fd;
    d->id = id;
    d->watch = s->stopping ? NULL : loop_fd_watch(s->loop, fd, true, false, on_door, d);
    if (!d->watch) {
        close(fd);
        free(d);
        return err_set(err, ERR_INTERNAL, "%s",
                       s->stopping ? "the server is stopping" : "cannot poll a listening socket");
    }
    list_push_tail(&s->doors, &d->link);
    return 0;
}

void net_door_close(struct net_server *s, uint64_t id) {
    struct door *d, *tmp;
    struct conn *c;
    list_each_safe (d, tmp, &s->doors, link) {
        if (d->id == id) {
            close_door(d);
        }
    }
    list_each (c, &s->conns, link) {
        if (c->door == id) {
            conn_kill(c);
        }
    }
}

/* What waits in their backlogs waits for the next server. */
void net_close_doors(struct net_server *s) {
    struct door *d, *tmp;
    list_each_safe (d, tmp, &s->doors, link) {
        close_door(d);
    }
}
