/* What was uploaded past the page cache (direct.c) is read into it once it has been answered for,
 * when memory lies idle: its first reader is often a job that starts with it, and finding it on the
 * disk costs that reader seconds a gigabyte. It is read with read(2), not with readahead(2): on a
 * virtual machine a page that the disk has filled costs the first processor that looks at it a
 * fault of the host's (1.5 s a GiB were measured), and that is the reader's time otherwise. A piece
 * after the other on the disk lane, so that others get their turn; given up when the server closes.
 * Nothing is promised by it. */
#include "blob/upload_int.h"

#include "base/limits.h"
#include "sys/files.h"
#include "sys/meminfo.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define WARM_PIECE (8u << 20) /* between two turns of others */
#define WARM_STEP (256u << 10)

struct warm {
    struct blob *b;
    struct lane_work work;
    int fd;
    uint64_t at, end;
    uint64_t warmed; /* by the last run */
};

/* Idle is what is free, and file pages that were used once: the kernel gives those up first. */
static bool has_room(uint64_t size) {
    auto_buf struct buf b = BUF_INIT(64 << 10);
    if (file_read(AT_FDCWD, "/proc/meminfo", &b, NULL)) {
        return false;
    }
    uint64_t idle = meminfo_bytes(buf_str(&b), STR("MemFree:")) +
                    meminfo_bytes(buf_str(&b), STR("Inactive(file):"));
    return size <= idle / 100 * limits.warm_free_percent;
}

static void warm_run(struct lane_work *w) {
    struct warm *m = CONTAINER_OF(w, struct warm, work);
    uint64_t stop = m->end - m->at < WARM_PIECE ? m->end : m->at + WARM_PIECE;
    auto_free char *p = xmalloc(WARM_STEP);
    while (m->at < stop) {
        ssize_t n = pread(m->fd, p, WARM_STEP, (off_t)m->at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            m->at = m->end; /* whoever reads it will hear of it */
            return;
        }
        m->at += (uint64_t)n;
        m->warmed += (uint64_t)n;
    }
}

static void warm_done(struct lane_work *w) {
    struct warm *m = CONTAINER_OF(w, struct warm, work);
    m->b->stats.bytes_warmed += m->warmed;
    m->warmed = 0;
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
    if (u->was_direct && u->is_complete && !u->part) {
        u->b->stats.bytes_direct += u->offset;
    }
    if (!u->was_direct || !u->is_complete || u->part || u->fd < 0 || u->b->is_closing ||
        !has_room(u->offset)) {
        return;
    }
    struct warm *m = xcalloc(1, sizeof(*m));
    m->b = u->b;
    m->fd = take_fd(&u->fd);
    m->end = u->offset;
    (void)posix_fadvise(m->fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* reads ahead of itself */
    m->work = (struct lane_work){.run = warm_run, .done = warm_done};
    blob_hold(u->b);
    lane_submit(u->b->disk, &m->work);
}
