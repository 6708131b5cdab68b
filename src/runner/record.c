/* Records: see record.h. */
#include "runner/record.h"
#include "engine/bundle/rundir.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORD_MAX (64u << 10)
#define WORDS_MAX (64u << 10) /* of the runtime's log that are looked at */
#define WORDS_LINES 3
#define RETRY_PAUSE_USEC 500000

static void put_identity(struct buf *b, const char *pid_key, const char *start_key, pid_t pid) {
    uint64_t start;
    rec_put_u64(b, pid_key, (uint64_t)pid);
    if (proc_start_time(pid, &start, NULL) == 0) {
        rec_put_u64(b, start_key, start);
    }
}

int record_status(struct run *r, struct err *err) {
    auto_buf struct buf b = BUF_INIT(RECORD_MAX);
    auto_buf struct buf boot = BUF_INIT(64);
    if (proc_boot_id(&boot, err) < 0) {
        return -1;
    }
    rec_begin(&b);
    rec_put_u64(&b, RC_FORMAT, RUNDIR_FORMAT);
    rec_puts(&b, RC_NONCE, r->conf.nonce);
    rec_puts(&b, RS_PHASE, r->phase == RUN_RUNNING ? "running" : "starting");
    put_identity(&b, RS_RUNNER_PID, RS_RUNNER_START, getpid());
    rec_put(&b, RS_BOOT_ID, buf_str(&boot));
    if (r->phase == RUN_RUNNING) {
        put_identity(&b, RS_PID, RS_PID_START, r->init);
        rec_put_u64(&b, RS_STARTED_AT, r->started_at);
    }
    return file_write_atomic(r->dir_fd, RUNDIR_STATUS, buf_str(&b), 0644, FILE_NO_SYNC, err);
}

static void put_exit(struct run *r, struct buf *b) {
    auto_buf struct buf tail = BUF_INIT(2 * TAIL_BYTES);
    const struct seglog *log = &r->pump.log;
    rec_begin(b);
    rec_put_u64(b, RC_FORMAT, RUNDIR_FORMAT);
    rec_puts(b, RC_NONCE, r->conf.nonce);
    rec_puts(b, RE_KIND, r->outcome.kind);
    rec_put_i64(b, RE_VALUE, r->outcome.value);
    rec_puts(b, RE_WHY, r->outcome.why);
    rec_put_u64(b, RE_MEM_LIMIT, r->conf.mem_limit);
    rec_put_u64(b, RE_MEM_PEAK, r->stats.mem_peak);
    rec_put_u64(b, RE_OOM_KILLS, r->stats.oom_kills);
    rec_put_u64(b, RE_PIDS_REFUSED, r->stats.pids_refused);
    rec_put_u64(b, RE_CPU_USEC, r->stats.cpu_usec);
    if (r->started_at) {
        rec_put_u64(b, RE_STARTED_AT, r->started_at);
    }
    rec_put_u64(b, RE_ENDED_AT, r->ended_at);
    rec_put_u64(b, RE_LAST_SEQ, log->written);
    rec_put_u64(b, RE_LOG_LOST, log->lost_total);
    tail_text(&r->pump.tail, &tail);
    rec_put(b, RE_STDERR_TAIL, buf_str(&tail));
}

/* The run directory itself was removed while we ran (its data directory was thrown away). */
static bool is_removed(int dir_fd) {
    struct stat st;
    return fstat(dir_fd, &st) == 0 && st.st_nlink == 0;
}

void record_exit(struct run *r) {
    auto_buf struct buf b = BUF_INIT(RECORD_MAX);
    struct err err;
    put_exit(r, &b);
    for (;;) {
        if (file_write_atomic(r->dir_fd, RUNDIR_EXIT, buf_str(&b), 0644, FILE_SYNC, &err) == 0) {
            return;
        }
        dprintf(r->log_fd, "cusp-runner: write %s: %s\n", RUNDIR_EXIT, err.msg);
        if (is_removed(r->dir_fd)) {
            return; /* nobody will ever look there */
        }
        if (unlinkat(r->dir_fd, RUNDIR_RESERVE, 0) < 0) {
            usleep(RETRY_PAUSE_USEC);
        }
    }
}

/* The last few lines of text. */
static struct str last_lines(struct str text, size_t lines) {
    while (text.n && text.p[text.n - 1] == '\n') {
        text.n--;
    }
    for (size_t i = text.n; i > 0; i--) {
        if (text.p[i - 1] == '\n' && --lines == 0) {
            return str_sub(text, i, text.n);
        }
    }
    return text;
}

void record_runtime_words(struct run *r, struct buf *out) {
    auto_buf struct buf said = BUF_INIT(WORDS_MAX);
    tail_text(&r->pump.tail, &said);
    struct str held = buf_str(&r->pump.in[1].lines.held);
    if (held.n) {
        buf_printf(&said, "%s%.*s", said.n ? "\n" : "", STR_ARG(held));
    }
    if (said.n == 0) {
        auto_close int fd = openat(r->dir_fd, RUNDIR_LOG, O_RDONLY | O_CLOEXEC);
        char *room = buf_reserve(&said, WORDS_MAX);
        ssize_t n = fd < 0 ? 0 : pread(fd, room, WORDS_MAX, r->log_start);
        buf_commit(&said, n > 0 ? (size_t)n : 0);
    }
    buf_put_str(out, last_lines(buf_str(&said), WORDS_LINES));
}
