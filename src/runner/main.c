/* cusp-runner RUN-DIRECTORY: runs one container to its end, whatever happens to the server.
 *
 * Before it detaches it reads run.conf and takes the lock; who cannot have the lock, or finds that
 * an exit is recorded already, changes nothing. Exit codes of the process that was spawned are in
 * rundir.h. */
#include "base/fail.h"
#include "engine/bundle/rundir.h"
#include "runner/run.h"
#include "sys/files.h"
#include "sys/lockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CONF_MAX (1u << 20)

static int refuse(struct run *r, int code, const struct err *err) {
    if (r->ready_fd >= 0) {
        dprintf(r->ready_fd, "failed %s\n", err->msg);
    }
    dprintf(STDERR_FILENO, "cusp-runner: %s\n", err->msg);
    return code;
}

static int load(struct run *r, const char *dir, struct err *err) {
    r->dir = realpath(dir, NULL);
    if (!r->dir) {
        return err_sys(err, errno, "run directory %s", dir);
    }
    r->dir_fd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->dir_fd < 0) {
        return err_sys(err, errno, "open run directory %s", dir);
    }
    auto_buf struct buf b = BUF_INIT(CONF_MAX);
    if (file_read(r->dir_fd, RUNDIR_CONF, &b, err) < 0) {
        return -1;
    }
    return conf_parse(r->arena, arena_str(r->arena, buf_str(&b)), &r->conf, err);
}

static int take_lock(struct run *r, struct err *err) {
    if (FAIL_POINT("runner.start.before_lock", err) < 0) {
        return -1;
    }
    r->lock_fd = lockfile_take(r->dir_fd, RUNDIR_LOCK, err);
    if (r->lock_fd < 0 || FAIL_POINT("runner.start.after_lock", err) < 0) {
        return -1;
    }
    if (faccessat(r->dir_fd, RUNDIR_EXIT, F_OK, 0) == 0) {
        return err_set(err, ERR_ALREADY_EXISTS, "this run has ended already");
    }
    return 0;
}

/* Our output goes to runner.log from here on; nothing of the caller's stays open. */
static int take_over_stdio(struct run *r, struct err *err) {
    r->log_fd = openat(r->dir_fd, RUNDIR_LOG, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    auto_close int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (r->log_fd < 0 || null_fd < 0) {
        return err_sys(err, errno, "open %s", RUNDIR_LOG);
    }
    if (!r->conf.foreground &&
        (dup2(null_fd, 0) < 0 || dup2(null_fd, 1) < 0 || dup2(r->log_fd, 2) < 0)) {
        return err_sys(err, errno, "replace standard streams");
    }
    return 0;
}

/* The caller's child ends here with code 0; we go on as nobody's child in a session of our own. The
 * lock is shared by the copies of its descriptor and stays held. */
static int detach(struct err *err) {
    pid_t pid = fork();
    if (pid < 0) {
        return err_sys(err, errno, "fork");
    }
    if (pid > 0) {
        _exit(0);
    }
    setsid();
    pid = fork();
    if (pid < 0) {
        return err_sys(err, errno, "fork");
    }
    if (pid > 0) {
        _exit(0);
    }
    return 0;
}

int main(int argc, char **argv) {
    struct run r = {.dir_fd = -1, .lock_fd = -1, .log_fd = -1, .signal_fd = -1, .init_fd = -1};
    struct err err;
    r.ready_fd = fcntl(RUNDIR_READY_FD, F_SETFD, FD_CLOEXEC) == 0 ? RUNDIR_READY_FD : -1;
    syscall(SYS_close_range, RUNDIR_READY_FD + 1, ~0u, 0);
    for (int fd = 0; fd <= RUNDIR_READY_FD; fd++) {
        /* a hole would be filled by one of our own files, and then be inherited or closed */
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR | O_CLOEXEC) != fd) {
            return RUNDIR_RC_FAILED;
        }
    }
    if (argc != 2) {
        err_set(&err, ERR_INVALID_ARGUMENT, "usage: cusp-runner RUN-DIRECTORY");
        return refuse(&r, RUNDIR_RC_USAGE, &err);
    }
    umask(022);
    r.arena = arena_new(ARENA_NO_MAX);
    int rc;
    if (load(&r, argv[1], &err) < 0) {
        rc = refuse(&r, RUNDIR_RC_CONF, &err);
    } else if (take_lock(&r, &err) < 0) {
        rc = refuse(&r,
                    err.code == ERR_ABORTED          ? RUNDIR_RC_LOCKED
                    : err.code == ERR_ALREADY_EXISTS ? RUNDIR_RC_ENDED
                                                     : RUNDIR_RC_FAILED,
                    &err);
    } else if ((!r.conf.foreground && detach(&err) < 0) || take_over_stdio(&r, &err) < 0) {
        rc = refuse(&r, RUNDIR_RC_FAILED, &err);
    } else {
        rc = run_main(&r);
    }
    mem_auto_close(&r.init_fd);
    mem_auto_close(&r.signal_fd);
    mem_auto_close(&r.log_fd);
    mem_auto_close(&r.dir_fd);
    arena_free(r.arena);
    free(r.dir);
    mem_auto_close(&r.lock_fd); /* last: released means that nothing is left to do */
    return rc;
}
