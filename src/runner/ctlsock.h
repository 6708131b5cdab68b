/* ctl.sock: one line a request, one line an answer (rundir.h). At most CTLSOCK_CLIENTS peers at a
 * time; a peer that stops reading or sends nonsense is dropped. Single thread, never blocks. */
#ifndef CUSP_RUNNER_CTLSOCK_H
#define CUSP_RUNNER_CTLSOCK_H

#include "base/buf.h"
#include "base/err.h"

#include <poll.h>

#define CTLSOCK_CLIENTS 8
#define CTLSOCK_LINE_MAX 128

struct ctlsock_answer {
    struct buf text; /* without newline */
    const int *fds;  /* sent along; they stay the answerer's */
    size_t nr_fds;
};
/* Answers one request line. */
typedef void ctlsock_answer_fn(void *arg, struct str line, struct ctlsock_answer *ret);

struct ctlsock_client {
    int fd; /* -1: free place */
    size_t n;
    char line[CTLSOCK_LINE_MAX];
};

struct ctlsock {
    int fd;
    struct ctlsock_client client[CTLSOCK_CLIENTS];
    ctlsock_answer_fn *answer;
    void *arg;
};

/* Closed: ctlsock_fini and ctlsock_poll are fine from here on. */
void ctlsock_init(struct ctlsock *c, ctlsock_answer_fn *answer, void *arg);
int ctlsock_open(struct ctlsock *c, int dirfd, const char *name, struct err *err) MUST_CHECK;
void ctlsock_fini(struct ctlsock *c);
/* Fills up to CTLSOCK_CLIENTS + 1 entries, returns how many; hand them back after poll. */
size_t ctlsock_poll(const struct ctlsock *c, struct pollfd *ret);
void ctlsock_serve(struct ctlsock *c, const struct pollfd *p, size_t n);

#endif
