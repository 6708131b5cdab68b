/* Reading what a trial measures: see metrics.h. The library rewrites its file in place, so a
 * reading may find it empty or cut short; the next one, or the last, finds the rest. Between two
 * readings pass at least 5 ms, in which no program reports the hundred times that the file keeps.
 */
#include "engine/local/metrics.h"

#include "base/limits.h"
#include "engine/local/local_int.h"
#include "engine/local/metrics_file.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_PAUSE (5 * USEC_PER_MSEC)
#define BLIND_PAUSE USEC_PER_SEC /* without inotify */

static struct local *eng_of(struct local_replica *r) {
    return r->att->eng;
}

/* -- lane: one reading ------------------------------------------------------------------------ */

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void on_report(void *arg, const struct metric_report *r) {
    struct metrics *m = arg;
    char key[METRIC_TAG_MAX + 96];
    int n = snprintf(key, sizeof(key), "%llu %lld %a %s", (unsigned long long)r->timestamp,
                     (long long)r->step, r->value, r->tag);
    uint64_t hash = str_hash(str_n(key, (size_t)n));
    vec_push(&m->now, hash);
    if (m->seen.n == 0 || bsearch(&hash, m->seen.p, m->seen.n, sizeof(hash), by_value) == NULL) {
        struct metric_report copy = *r;
        copy.tag = arena_strdup(m->arena, r->tag);
        vec_push(&m->fresh, copy);
    }
}

/* The end of the file, or nothing: a link, a pipe, a file that is not there. */
static void read_tail(const char *run_dir, struct buf *out, bool *ret_is_tail) {
    struct stat st;
    auto_free char *dir = xasprintf("%s/" METRICS_DIR, run_dir);
    auto_close int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir_fd < 0) {
        return;
    }
    auto_close int fd = file_open_beneath(dir_fd, METRICS_NAME,
                                          O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW, 0, NULL);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        return;
    }
    size_t most = (size_t)limits.max_metrics_bytes;
    off_t at = st.st_size > (off_t)most ? st.st_size - (off_t)most : 0;
    if (at > 0) {
        limits_hit(&limits.max_metrics_bytes);
    }
    *ret_is_tail = at > 0;
    char *room = buf_reserve(out, most);
    ssize_t n = pread(fd, room, most, at);
    buf_commit(out, n > 0 ? (size_t)n : 0);
}

static void read_run(struct lane_work *w) {
    struct metrics *m = CONTAINER_OF(w, struct metrics, work);
    auto_buf struct buf text = BUF_INIT((size_t)limits.max_metrics_bytes + 1);
    bool is_tail = false;
    m->now.n = m->fresh.n = 0;
    arena_clear(m->arena);
    read_tail(m->rep->dir, &text, &is_tail);
    metrics_parse(buf_str(&text), is_tail, on_report, m);
    if (m->now.n > 0) { /* found in the middle of a rewrite it says nothing of what was seen */
        qsort(m->now.p, m->now.n, sizeof(*m->now.p), by_value);
        typeof(m->seen) old = m->seen;
        m->seen.p = m->now.p;
        m->seen.n = m->now.n;
        m->seen.cap = m->now.cap;
        m->now.p = old.p;
        m->now.n = old.n;
        m->now.cap = old.cap;
    }
}

/* -- the loop's side -------------------------------------------------------------------------- */

static void submit(struct metrics *m);

static void rearm(struct metrics *m, usec_t delay) {
    struct clock *c = eng_of(m->rep)->clock;
    m->resting = true;
    c->ops->arm(c, &m->pause, c->ops->mono(c) + delay);
}

static void read_done(struct lane_work *w) {
    struct metrics *m = CONTAINER_OF(w, struct metrics, work);
    struct local_replica *r = m->rep;
    struct local_attempt *a = r->att;
    struct attempt_run *run = a->run;
    if (local_done(a->eng)) {
        return;
    }
    m->working = false;
    if (a->releasing) {
        attempt_release_step(a);
        return;
    }
    if (m->fresh.n > 0 && run->sink->measured) {
        run->sink->measured(run, r->nr, m->fresh.p, m->fresh.n);
    }
    if (a->releasing) {
        return; /* a measurement can make the owner give up; it waits for nothing of ours */
    }
    if (m->finishing && m->changed) {
        submit(m); /* begun before the end: once more */
    } else if (m->finishing) {
        m->finished = true;
        m->on_finished(r);
    } else {
        rearm(m, m->wd < 0 ? BLIND_PAUSE : READ_PAUSE);
    }
}

static void submit(struct metrics *m) {
    struct local *eng = eng_of(m->rep);
    eng->clock->ops->disarm(eng->clock, &m->pause);
    m->resting = m->changed = false;
    m->working = true;
    m->work.run = read_run;
    m->work.done = read_done;
    local_submit(eng, &m->work);
}

static void on_pause(struct timer *t) {
    struct metrics *m = CONTAINER_OF(t, struct metrics, pause);
    m->resting = false;
    if (!m->working && (m->changed || m->wd < 0)) {
        submit(m);
    }
}

/* Read at once, unless it was a moment ago: then when the pause is over. */
static void changed(struct metrics *m) {
    if (m->finishing) {
        return;
    }
    if (m->working || m->resting) {
        m->changed = true;
    } else {
        submit(m);
    }
}

static void unwatch(struct metrics *m) {
    if (m->wd >= 0) {
        (void)inotify_rm_watch(eng_of(m->rep)->metrics.fd, m->wd);
        m->wd = -1;
    }
}

void metrics_begin(struct local_replica *r) {
    struct metrics *m = &r->metrics;
    struct local *eng = eng_of(r);
    if (r->att->run->spec->trial_id == NULL || m->rep != NULL) {
        return;
    }
    auto_free char *dir = xasprintf("%s/" METRICS_DIR, r->dir);
    m->rep = r;
    m->arena = arena_new(ARENA_NO_MAX);
    m->pause.fn = on_pause;
    m->wd = eng->metrics.fd < 0 ? -1
                                : inotify_add_watch(eng->metrics.fd, dir,
                                                    IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_TO |
                                                        IN_ONLYDIR | IN_DONT_FOLLOW);
    submit(m); /* it may have written before it was watched */
}

void metrics_finish(struct local_replica *r, void (*on_finished)(struct local_replica *)) {
    struct metrics *m = &r->metrics;
    metrics_begin(r);
    CHECK(m->rep != NULL && !m->finishing);
    unwatch(m);
    m->finishing = true;
    m->on_finished = on_finished;
    if (m->working) {
        m->changed = true;
    } else {
        submit(m);
    }
}

void metrics_let_go(struct local_replica *r) {
    struct metrics *m = &r->metrics;
    if (m->rep != NULL) {
        unwatch(m);
        eng_of(r)->clock->ops->disarm(eng_of(r)->clock, &m->pause);
    }
}

void metrics_fini(struct local_replica *r) {
    struct metrics *m = &r->metrics;
    if (m->rep != NULL) {
        CHECK(!m->working || eng_of(r)->closing);
        metrics_let_go(r);
        arena_free(m->arena);
        vec_fini(&m->fresh);
        vec_fini(&m->seen);
        vec_fini(&m->now);
        m->rep = NULL;
    }
}

/* -- inotify ---------------------------------------------------------------------------------- */

/* wd -1: all of them, something was lost. */
static void tell_changed(struct local *eng, int wd) {
    struct local_attempt *a;
    list_each (a, &eng->attempts, link) {
        for (uint32_t i = 0; i < a->nr_reps; i++) {
            struct metrics *m = &a->reps[i].metrics;
            if (m->rep != NULL && m->wd >= 0 && (wd < 0 || m->wd == wd)) {
                changed(m);
            }
        }
    }
}

static void on_inotify(void *arg, bool readable, bool writable) {
    struct local *eng = arg;
    _Alignas(struct inotify_event) char room[16384];
    ssize_t n = read(eng->metrics.fd, room, sizeof(room));
    int last = INT_MIN;
    for (ssize_t at = 0; at + (ssize_t)sizeof(struct inotify_event) <= n;) {
        const struct inotify_event *ev = (const struct inotify_event *)(room + at);
        at += (ssize_t)(sizeof(*ev) + ev->len);
        int wd = ev->mask & IN_Q_OVERFLOW ? -1 : ev->wd;
        if (wd != last) {
            tell_changed(eng, wd);
        }
        last = wd;
    }
}

void metrics_hub_open(struct local *eng) {
    eng->metrics.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (eng->metrics.fd >= 0) {
        eng->metrics.watch =
            loop_fd_watch(eng->loop, eng->metrics.fd, true, false, on_inotify, eng);
    }
}

void metrics_hub_close(struct local *eng) {
    loop_fd_unwatch(eng->metrics.watch);
    eng->metrics.watch = NULL;
    if (eng->metrics.fd >= 0) {
        close(take_fd(&eng->metrics.fd));
    }
}
