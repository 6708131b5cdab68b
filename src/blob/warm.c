/* What was uploaded past the page cache (direct.c) is read into it once it has been answered for,
 * when memory lies idle: its first reader is often a job that starts with it, and finding it on the
 * disk costs that reader seconds a gigabyte. A piece after the other on the disk lane, so that
 * others get their turn; given up when the server closes. Nothing is promised by it. */
#include "blob/upload_int.h"

#include "base/limits.h"

#include <fcntl.h>
#include <unistd.h>

#define WARM_PIECE (16u << 20) /* between two turns of others */
#define WARM_STEP                                                                                  \
    (512u << 10) /* the kernel reads no more of one request than the disk takes in one */

struct warm {
    struct blob *b;
    struct lane_work work;
    int fd;
    uint64_t at, end;
};

static bool has_room(uint64_t size) {
    long pages = sysconf(_SC_AVPHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 &&
           size <= (uint64_t)pages * (uint64_t)page / 100 * limits.warm_free_percent;
}

static void warm_run(struct lane_work *w) {
    struct warm *m = CONTAINER_OF(w, struct warm, work);
    uint64_t stop = m->end - m->at < WARM_PIECE ? m->end : m->at + WARM_PIECE;
    for (; m->at < stop; m->at += WARM_STEP) {
        if (posix_fadvise(m->fd, (off_t)m->at, WARM_STEP, POSIX_FADV_WILLNEED)) {
            m->at = m->end; /* not on this file system */
            return;
        }
    }
}

static void warm_done(struct lane_work *w) {
    struct warm *m = CONTAINER_OF(w, struct warm, work);
    if (!w->cancelled && !m->b->is_closing && m->at < m->end) {
        lane_submit(m->b->disk, &m->work);
        return;
    }
    struct blob *b = m->b;
    close(m->fd);
    free(m);
    blob_drop(b);
}

void upload_warm(struct blob_upload *u) {
    if (!u->was_direct || !u->is_complete || u->part || u->fd < 0 || u->b->is_closing ||
        !has_room(u->offset)) {
        return;
    }
    struct warm *m = xcalloc(1, sizeof(*m));
    m->b = u->b;
    m->fd = take_fd(&u->fd);
    m->end = u->offset;
    m->work = (struct lane_work){.run = warm_run, .done = warm_done};
    blob_hold(u->b);
    lane_submit(u->b->disk, &m->work);
}
