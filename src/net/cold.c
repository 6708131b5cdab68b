/* An upload of some size goes to the disk past the page cache (blob/direct.c), so its first reader
 * finds it there. sendfile would read it a page after the other into fresh pages, with the loop
 * waiting. Here the disk lane reads pieces ahead of the client. The first time they pass the page
 * cache: what is read once is not worth the pages of others, and on a virtual machine whose host
 * takes free ones back each costs a fault (4.8 s a GiB were measured, 1.0 s so). What is read again
 * within memory of the server goes through the page cache and is found there by all who follow. */
#include "net/cold.h"

#include "base/fail.h"
#include "base/limits.h"
#include "base/log.h"
#include "net/net_int.h"
#include "net/xch_int.h"
#include "sys/direct.h"
#include "sys/lane.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define COLD_PIECE                                                                                 \
    (512u << 10) /* half of max_write_queue, so that one goes while another waits                  \
                  */
#define COLD_PIECES 4
#define COLD_ALIGN 4096u /* what any disk takes */
#define COLD_SPOTS 16    /* pages of a range that are looked for in memory */

struct piece {
    struct cold *c;
    struct lane_work work;
    char *p;
    uint64_t at;       /* aligned; where p begins in the file */
    size_t skip, need; /* bytes that are not to be sent, or were; all of them up to its end */
    size_t n;          /* read */
    int error;         /* of reading; errno */
    bool busy, full;
};

struct cold {
    struct xch *x;
    int fd; /* of our own: its flags are changed */
    uint64_t read_at, end;
    unsigned next; /* piece that is sent next */
    unsigned nr_busy;
    bool waiting; /* for the peer */
    struct piece piece[COLD_PIECES];
};

/* ---- whether */

static bool is_in_memory(int fd, uint64_t offset, uint64_t len) {
    uint64_t from = offset / COLD_ALIGN * COLD_ALIGN, size = offset + len - from;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), there = 0;
    char *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, (off_t)from);
    if (p == MAP_FAILED) {
        return true; /* nobody knows: the ordinary way */
    }
    for (uint64_t i = 0; i < COLD_SPOTS; i++) {
        unsigned char in = 1; /* where it cannot be told */
        (void)mincore(p + size / COLD_SPOTS * i / page * page, 1, &in);
        there += in & 1;
    }
    (void)munmap(p, size);
    return there >= COLD_SPOTS / 2;
}

/* Whether that range was read lately; from now on it was. */
static bool seen_before(struct cold_seen *seen, const struct stat *st, uint64_t at) {
    const struct cold_range r = {.dev = st->st_dev,
                                 .ino = st->st_ino,
                                 .changed_ns = (uint64_t)st->st_ctim.tv_sec * 1000000000u +
                                               (uint64_t)st->st_ctim.tv_nsec,
                                 .at = at};
    unsigned nr = seen->nr < COLD_SEEN ? seen->nr : COLD_SEEN;
    for (unsigned i = 0; i < nr; i++) {
        const struct cold_range *s = &seen->range[i];
        if (s->dev == r.dev && s->ino == r.ino && s->changed_ns == r.changed_ns && s->at == r.at) {
            return true;
        }
    }
    seen->range[seen->nr++ % COLD_SEEN] = r;
    return false;
}

/* The same file once more, with flags that are only ours. -1: the ordinary way. */
static int reopen(struct net_server *s, int fd, uint64_t offset, const struct stat *st) {
    char path[64];
    int how = seen_before(&s->cold_seen, st, offset) ? 0 : O_DIRECT;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int own = open(path, O_RDONLY | O_CLOEXEC | how);
    return own >= 0 || !how ? own : open(path, O_RDONLY | O_CLOEXEC); /* some have no O_DIRECT */
}

/* ---- reading, on the lane */

static int read_piece(struct piece *p) {
    int fd = p->c->fd, tries = 0;
    while (p->n < p->need) {
        size_t left = COLD_PIECE - p->n;
        ssize_t r = pread(fd, p->p + p->n, left, (off_t)(p->at + p->n));
        if (r == 0) {
            return EIO; /* truncated under us: the promised length cannot be kept */
        }
        if (r > 0) {
            p->n += (size_t)r;
        } else if (errno == EINVAL && tries++ == 0) {
            /* File systems without O_DIRECT say so here, and others at a place that is odd since
             * the last read was short. From here on all pieces go the ordinary way. */
            (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_DIRECT);
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

static void piece_run(struct lane_work *w) {
    struct piece *p = CONTAINER_OF(w, struct piece, work);
    p->error = FAIL_POINT("net.cold.read", NULL) < 0 ? EIO : read_piece(p);
}

/* ---- sending */

static void step(struct cold *c);

static void piece_done(struct lane_work *w) {
    struct piece *p = CONTAINER_OF(w, struct piece, work);
    p->busy = false;
    p->full = true;
    p->c->nr_busy--;
    if (w->cancelled) {
        p->error = ECANCELED;
    }
    step(p->c);
}

static void read_on(struct cold *c, struct piece *p) {
    if (c->read_at == c->end) {
        return;
    }
    p->skip = c->read_at % COLD_ALIGN;
    p->at = c->read_at - p->skip;
    p->need = c->end - p->at < COLD_PIECE ? (size_t)(c->end - p->at) : COLD_PIECE;
    p->n = 0;
    c->read_at = p->at + p->need;
    p->busy = true;
    c->nr_busy++;
    p->work = (struct lane_work){.run = piece_run, .done = piece_done};
    lane_submit(c->x->server->disk, &p->work);
}

/* The exchange is finished by now; goes when the last read has come back. */
static void drop(struct cold *c) {
    if (c->nr_busy) {
        return;
    }
    struct xch *x = c->x;
    for (unsigned i = 0; i < COLD_PIECES; i++) {
        free(c->piece[i].p);
    }
    close(c->fd);
    x->server->nr_cold--;
    free(c);
    xch_unref(x);
}

static void step(struct cold *c) {
    struct xch *x = c->x;
    if (x->gone) {
        xch_abort(x);
    }
    while (!x->finished && !c->waiting && c->piece[c->next].full) {
        struct piece *p = &c->piece[c->next];
        if (p->error) {
            log_warn("file not sent to its end", "request=%llu at=%llu errno=%d",
                     (unsigned long long)x->id, (unsigned long long)p->at, p->error);
            xch_abort(x);
            break;
        }
        p->skip += xch_feed(x, str_n(p->p + p->skip, p->need - p->skip));
        c->waiting = x->paused;
        if (p->skip < p->need) {
            break;
        }
        p->full = false;
        c->next = (c->next + 1) % COLD_PIECES;
        if (p->at + p->need == c->end) {
            xch_end(x);
        } else {
            read_on(c, p);
        }
    }
    if (x->finished) {
        drop(c);
    }
}

static void drained(struct xch *x, void *arg) {
    struct cold *c = arg;
    (void)x;
    c->waiting = false;
    step(c);
}

static void gone(struct xch *x, void *arg) {
    struct cold *c = arg;
    (void)x;
    step(c);
}

bool cold_send(struct xch *x, int fd, uint64_t offset, uint64_t len) {
    struct net_server *s = x->server;
    struct stat st;
    if (!s->disk || x->within || len < DIRECT_FROM || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        is_in_memory(fd, offset, len)) {
        return false;
    }
    if (s->nr_cold >= limits.max_cold_reads) {
        limits_hit(&limits.max_cold_reads);
        return false;
    }
    int own = reopen(s, fd, offset, &st);
    if (own < 0) {
        return false;
    }
    struct cold *c = xcalloc(1, sizeof(*c));
    s->nr_cold++;
    c->x = xch_ref(x);
    c->fd = own;
    c->read_at = offset;
    c->end = offset + len;
    xch_on_drain(x, drained, c);
    xch_on_gone(x, gone, c);
    for (unsigned i = 0; i < COLD_PIECES; i++) {
        c->piece[i].c = c;
        c->piece[i].p = aligned_alloc(COLD_ALIGN, COLD_PIECE);
        CHECK(c->piece[i].p);
        read_on(c, &c->piece[i]);
    }
    return true;
}
