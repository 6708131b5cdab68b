/* ctl.sock: see ctlsock.h. */
#include "runner/ctlsock.h"
#include "sys/sock.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

void ctlsock_init(struct ctlsock *c, ctlsock_answer_fn *answer, void *arg) {
    *c = (struct ctlsock){.fd = -1, .answer = answer, .arg = arg};
    for (size_t i = 0; i < CTLSOCK_CLIENTS; i++) {
        c->client[i].fd = -1;
    }
}

int ctlsock_open(struct ctlsock *c, int dirfd, const char *name, struct err *err) {
    int fd = sock_unix_listen(dirfd, name, CTLSOCK_CLIENTS, err);
    if (fd < 0) {
        return -1;
    }
    c->fd = fd;
    return 0;
}

static void drop(struct ctlsock_client *k) {
    close(k->fd);
    *k = (struct ctlsock_client){.fd = -1};
}

void ctlsock_fini(struct ctlsock *c) {
    for (size_t i = 0; i < CTLSOCK_CLIENTS; i++) {
        if (c->client[i].fd >= 0) {
            drop(&c->client[i]);
        }
    }
    mem_auto_close(&c->fd);
    c->fd = -1;
}

size_t ctlsock_poll(const struct ctlsock *c, struct pollfd *ret) {
    size_t n = 0, busy = 0;
    for (size_t i = 0; i < CTLSOCK_CLIENTS; i++) {
        if (c->client[i].fd >= 0) {
            ret[n++] = (struct pollfd){c->client[i].fd, POLLIN, 0};
            busy++;
        }
    }
    if (c->fd >= 0 && busy < CTLSOCK_CLIENTS) { /* else they wait in the backlog */
        ret[n++] = (struct pollfd){c->fd, POLLIN, 0};
    }
    return n;
}

static void accept_one(struct ctlsock *c) {
    int fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    for (size_t i = 0; fd >= 0 && i < CTLSOCK_CLIENTS; i++) {
        if (c->client[i].fd < 0) {
            c->client[i].fd = fd;
            return;
        }
    }
    mem_auto_close(&fd);
}

static bool answer_line(struct ctlsock *c, struct ctlsock_client *k, struct str line) {
    struct ctlsock_answer a = {.text = BUF_INIT(4096)};
    c->answer(c->arg, line, &a);
    buf_putc(&a.text, '\n');
    bool sent = sock_send_fds(k->fd, buf_str(&a.text), a.fds, a.nr_fds, NULL) == 0;
    buf_fini(&a.text);
    return sent;
}

static void serve_one(struct ctlsock *c, struct ctlsock_client *k) {
    ssize_t n = recv(k->fd, k->line + k->n, sizeof(k->line) - k->n, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        drop(k);
        return;
    }
    k->n += (size_t)n;
    struct str rest = str_n(k->line, k->n);
    ptrdiff_t nl;
    while ((nl = str_chr(rest, '\n')) >= 0) {
        if (!answer_line(c, k, str_sub(rest, 0, (size_t)nl))) {
            drop(k);
            return;
        }
        rest = str_sub(rest, (size_t)nl + 1, rest.n);
    }
    if (rest.n == sizeof(k->line)) {
        drop(k);
        return;
    }
    memmove(k->line, rest.p, rest.n);
    k->n = rest.n;
}

void ctlsock_serve(struct ctlsock *c, const struct pollfd *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!p[i].revents) {
            continue;
        }
        if (p[i].fd == c->fd) {
            accept_one(c);
            continue;
        }
        for (size_t j = 0; j < CTLSOCK_CLIENTS; j++) {
            if (c->client[j].fd == p[i].fd) {
                serve_one(c, &c->client[j]);
                break;
            }
        }
    }
}
