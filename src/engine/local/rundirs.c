/* Run directories. Nothing here decides: it writes down, reads and clears away. The one subtle rule
 * is in rundir_remove: removal happens under the runner's own lock. A runner the server spawned
 * just before it died may take its lock at any later moment; it then finds either its directory,
 * whole, or files that are gone, and gives up. So "absent or fresh" can be believed. */
#include "engine/local/rundirs.h"

#include "base/fail.h"
#include "base/rec.h"
#include "base/rng.h"
#include "engine/bundle/rundir.h"
#include "engine/local/metrics.h"
#include "sys/files.h"
#include "sys/lockfile.h"
#include "sys/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define REC_MAX_BYTES (256u * 1024u)
#define CONFIG_MAX_BYTES ((size_t)16 << 20)
#define KILL_LIMIT (10 * USEC_PER_SEC)
#define LOCK_TRIES 500 /* of lockfile_take, which itself tries for 10 ms */

static int write_at(int dirfd, const char *name, struct str text, struct err *err) {
    auto_close int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) {
        return err_sys(err, errno, "create %s", name);
    }
    return file_write_all(fd, text, err);
}

struct home {
    char text[48];
};

/* Where a directory is on this machine; "" when that cannot be told. */
static struct home home_of(int dirfd) {
    struct home h = {""};
    struct stat st;
    if (fstat(dirfd, &st) == 0) {
        (void)snprintf(h.text, sizeof(h.text), "%llu:%llu", (unsigned long long)st.st_dev,
                       (unsigned long long)st.st_ino);
    }
    return h;
}

/* Written before there was a home: taken for what it says. */
static bool is_copy(int dirfd, const struct rec *conf) {
    struct home h = home_of(dirfd);
    struct str home = rec_get(conf, RC_HOME);
    return home.n && !str_eqc(home, h.text);
}

static void conf_text(struct buf *b, int dirfd, const char *dir, const struct rundir_plan *p) {
    struct home h = home_of(dirfd);
    rec_begin(b);
    rec_put_u64(b, RC_FORMAT, RUNDIR_FORMAT);
    rec_puts(b, RC_JOB, p->job);
    rec_put_u64(b, RC_ATTEMPT, p->attempt);
    rec_puts(b, RC_REPLICA, p->replica);
    rec_puts(b, RC_NONCE, p->nonce);
    rec_puts(b, RC_LOG_DIR, p->log_dir);
    rec_puts(b, RC_RUNTIME, p->runtime);
    auto_free char *root = xasprintf("%s/runtime", dir);
    rec_puts(b, RC_RUNTIME_ROOT, root);
    rec_puts(b, RC_CONTAINER, p->container);
    for (size_t i = 0; p->lowers[i] != NULL; i++) {
        rec_puts(b, RC_LOWER, p->lowers[i]);
    }
    rec_puts(b, RC_HOME, h.text);
    rec_puts(b, RC_CGROUP, p->cgroup);
    rec_puts(b, RC_RUNNER_CGROUP, p->runner_cgroup);
    rec_put_u64(b, RC_HIDE_UNIFIED, p->hide_unified);
    rec_put_u64(b, RC_MEM_LIMIT, p->mem_bytes);
    rec_put_u64(b, RC_CPU_MILLI, p->cpu_milli);
    rec_put_u64(b, RC_PIDS_LIMIT, p->pids);
    rec_puts(b, RC_NET, p->net);
    if (strcmp(p->net, "bridge") == 0) {
        rec_puts(b, RC_NET_BRIDGE, p->bridge);
        rec_puts(b, RC_NET_VETH, p->veth);
        rec_puts(b, RC_NET_ADDR, p->addr);
        rec_puts(b, RC_NET_GATEWAY, p->gateway);
    }
    for (size_t i = 0; p->doors != NULL && p->doors[i] != NULL; i++) {
        rec_puts(b, RC_DOOR, p->doors[i]);
    }
    if (p->foreground) {
        rec_put_u64(b, RC_FOREGROUND, 1);
    }
}

static int config_text(struct buf *b, const char *dir, const struct rundir_plan *p,
                       struct err *err) {
    struct bundle_spec s = p->bundle;
    auto_free char *rootfs = xasprintf("%s/rootfs", dir);
    auto_free char *cgroup = xasprintf("%s/c", p->cgroup);
    auto_free char *hosts = xasprintf("%s/etc/hosts", dir);
    auto_free char *resolv = xasprintf("%s/etc/resolv.conf", dir);
    auto_free char *hostname = xasprintf("%s/etc/hostname", dir);
    auto_free char *metrics = xasprintf("%s/" METRICS_DIR, dir);
    auto_free struct bundle_mount *mounts = xcalloc(s.nr_mounts + 5, sizeof(*mounts));
    mounts[0] = (struct bundle_mount){hosts, "/etc/hosts", false};
    mounts[1] = (struct bundle_mount){resolv, "/etc/resolv.conf", false};
    mounts[2] = (struct bundle_mount){hostname, "/etc/hostname", false};
    for (size_t i = 0; i < s.nr_mounts; i++) {
        mounts[3 + i] = s.mounts[i];
    }
    if (p->metrics) {
        mounts[s.nr_mounts + 3] = (struct bundle_mount){metrics, METRICS_MOUNT, false};
        mounts[s.nr_mounts + 4] = (struct bundle_mount){metrics, METRICS_MOUNT_OLD, false};
        s.nr_mounts += 2;
    }
    s.rootfs = rootfs;
    s.cgroup_path = cgroup;
    s.hostname = p->hostname;
    s.mem_bytes = p->mem_bytes;
    s.cpu_milli = p->cpu_milli;
    s.pids = p->pids;
    s.mounts = mounts;
    s.nr_mounts += 3;
    return bundle_config_json(&s, b, err);
}

static int fill(int fd, const char *dir, const struct rundir_plan *p, struct err *err) {
    static const char *const dirs[] = {"bundle", "upper", "work", "rootfs", "etc"};
    for (size_t i = 0; i < NR_OF(dirs); i++) {
        if (mkdirat(fd, dirs[i], 0755) < 0) {
            return err_sys(err, errno, "make directory %s", dirs[i]);
        }
    }
    if (p->metrics && (mkdirat(fd, METRICS_DIR, 0777) < 0 ||
                       fchmodat(fd, METRICS_DIR, 0777, 0) < 0)) { /* the image's user writes */
        return err_sys(err, errno, "make directory %s", METRICS_DIR);
    }
    auto_buf struct buf conf = BUF_INIT(REC_MAX_BYTES), config = BUF_INIT(CONFIG_MAX_BYTES);
    conf_text(&conf, fd, dir, p);
    if (conf.full) {
        return err_set(err, ERR_INVALID_ARGUMENT, "the image has too many layers");
    }
    if (config_text(&config, dir, p, err) < 0 ||
        write_at(fd, "bundle/config.json", buf_str(&config), err) < 0 ||
        write_at(fd, "etc/hosts", str_of(p->hosts), err) < 0 ||
        write_at(fd, "etc/resolv.conf", str_of(p->resolv), err) < 0) {
        return -1;
    }
    auto_free char *hostname = xasprintf("%s\n", p->hostname);
    if (write_at(fd, "etc/hostname", str_of(hostname), err) < 0) {
        return -1;
    }
    return write_at(fd, RUNDIR_CONF, buf_str(&conf), err);
}

/* "DIR/.tmp-HEX" beside the final name's grandparents: same file system, same sweep. */
static char *temp_name(const char *dir, const char *what) {
    uint64_t r;
    rng_secret(&r, sizeof(r));
    const char *slash = strrchr(dir, '/');
    return xasprintf("%.*s/.%s-%016" PRIx64, (int)(slash - dir), dir, what, r);
}

static int make_parents(const char *dir, struct err *err) {
    auto_free char *parent = xstrndup(dir, (size_t)(strrchr(dir, '/') - dir));
    return file_mkdirs(AT_FDCWD, parent, 0700, err);
}

int rundir_create(const char *dir, const struct rundir_plan *plan, struct err *err) {
    auto_free char *tmp = temp_name(dir, "tmp");
    if (FAIL_POINT("engine.stage.before_rundir", err) < 0 || make_parents(dir, err) < 0) {
        return err_wrap(err, "make the run directory");
    }
    if (mkdir(tmp, 0700) < 0) {
        return err_sys(err, errno, "make the run directory");
    }
    auto_close int fd = open(tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 ? err_sys(err, errno, "open the run directory") : fill(fd, dir, plan, err);
    if (rc == 0 && renameat2(AT_FDCWD, tmp, AT_FDCWD, dir, RENAME_NOREPLACE) < 0) {
        rc = err_sys(err, errno, "name the run directory");
        if (errno == EEXIST && err != NULL) {
            err->code = ERR_ALREADY_EXISTS;
        }
    }
    if (rc < 0) {
        (void)!file_remove_tree(AT_FDCWD, tmp, NULL); /* the sweep gets what is left */
    }
    return rc;
}

/* -- looking ---------------------------------------------------------------------------------- */

/* 1 read, 0 absent, -1 error. */
static int read_rec(struct arena *a, int dirfd, const char *name, struct rec *ret,
                    struct err *err) {
    struct buf b = BUF_INIT(REC_MAX_BYTES);
    struct err e = {0};
    int rc = file_read(dirfd, name, &b, &e);
    if (rc == 0) {
        rc = rec_parse(a, arena_str(a, buf_str(&b)), ret, &e) < 0 ? -1 : 1;
    } else if (e.sys == ENOENT) {
        rc = 0;
    }
    buf_fini(&b);
    if (rc < 0 && err != NULL) {
        *err = e;
        err_wrap(err, "read %s", name);
    }
    return rc;
}

static void copy_text(char *to, size_t size, const char *from) {
    (void)snprintf(to, size, "%s", from != NULL ? from : "");
}

static void decode_exit(const struct rec *r, struct exit_info *x) {
    static const struct {
        const char *name;
        enum exit_kind kind;
    } kinds[] = {
        {"code", EXIT_CODE}, {"signal", EXIT_SIGNAL}, {"oom", EXIT_OOM}, {"runtime", EXIT_RUNTIME}};
    struct str kind = rec_get(r, RE_KIND);
    *x = (struct exit_info){
        .kind = EXIT_UNKNOWN,
        .value = (int)rec_get_i64(r, RE_VALUE, -1),
        .mem_limit_bytes = rec_get_u64(r, RE_MEM_LIMIT, 0),
        .mem_peak_bytes = rec_get_u64(r, RE_MEM_PEAK, 0),
        .started_at = rec_get_u64(r, RE_STARTED_AT, 0),
        .ended_at = rec_get_u64(r, RE_ENDED_AT, 0),
    };
    for (size_t i = 0; i < NR_OF(kinds); i++) {
        if (str_eqc(kind, kinds[i].name)) {
            x->kind = kinds[i].kind;
        }
    }
    copy_text(x->why, sizeof(x->why), rec_get_cstr(r, RE_WHY));
    copy_text(x->stderr_tail, sizeof(x->stderr_tail), rec_get_cstr(r, RE_STDERR_TAIL));
}

/* 1 exit found, 0 none, -1 error. */
static int look_exit(struct arena *a, int fd, struct rundir_look *ret, struct err *err) {
    struct rec r;
    int rc = read_rec(a, fd, RUNDIR_EXIT, &r, err);
    if (rc > 0) {
        decode_exit(&r, &ret->exit);
        ret->state = RUNDIR_EXITED;
    }
    return rc;
}

/* The runner named by the status file, if it is that very process: its pidfd, or -1. */
static int open_runner(const struct rec *status) {
    auto_buf struct buf boot = BUF_INIT(256);
    pid_t pid = (pid_t)rec_get_i64(status, RS_RUNNER_PID, 0);
    uint64_t start;
    if (pid <= 0 || proc_boot_id(&boot, NULL) < 0 ||
        !str_eq(str_trim(buf_str(&boot)), rec_get(status, RS_BOOT_ID))) {
        return -1;
    }
    /* The pidfd first: once we hold it, the pid cannot come to name another process unnoticed. */
    auto_close int fd = proc_pidfd_open(pid, NULL);
    if (fd < 0 || proc_start_time(pid, &start, NULL) < 0 ||
        start != rec_get_u64(status, RS_RUNNER_START, 0)) {
        return -1;
    }
    return take_fd(&fd);
}

static int look_alive(struct arena *a, int fd, struct rundir_look *ret, struct err *err) {
    struct rec r;
    int rc = read_rec(a, fd, RUNDIR_STATUS, &r, err);
    if (rc < 0) {
        return -1;
    }
    ret->state = RUNDIR_STARTING;
    if (rc > 0) {
        ret->pidfd = open_runner(&r);
        ret->started_at = rec_get_u64(&r, RS_STARTED_AT, 0);
        if (ret->pidfd >= 0 && str_eqc(rec_get(&r, RS_PHASE), "running")) {
            ret->state = RUNDIR_RUNNING;
        }
    }
    return 0;
}

static int look_in(struct arena *a, int fd, struct rundir_look *ret, struct err *err) {
    struct rec r;
    int rc = read_rec(a, fd, RUNDIR_CONF, &r, err);
    if (rc < 0) {
        return -1;
    }
    if (rc > 0) {
        copy_text(ret->nonce, sizeof(ret->nonce), rec_get_cstr(&r, RC_NONCE));
        ret->is_copy = is_copy(fd, &r);
        copy_text(ret->cgroup, sizeof(ret->cgroup),
                  ret->is_copy ? "" : rec_get_cstr(&r, RC_CGROUP));
        copy_text(ret->addr, sizeof(ret->addr), rec_get_cstr(&r, RC_NET_ADDR));
    }
    if ((rc = look_exit(a, fd, ret, err)) != 0) {
        return rc < 0 ? -1 : 0;
    }
    switch (lockfile_probe(fd, RUNDIR_LOCK, err)) {
    case LOCKFILE_HELD:
        return look_alive(a, fd, ret, err);
    case LOCKFILE_FREE:
    case LOCKFILE_ABSENT:
        break;
    case LOCKFILE_ERROR:
        return -1;
    }
    /* It may have ended between the two looks. */
    if ((rc = look_exit(a, fd, ret, err)) != 0) {
        return rc < 0 ? -1 : 0;
    }
    ret->state = faccessat(fd, RUNDIR_STATUS, F_OK, 0) == 0 ? RUNDIR_DEAD : RUNDIR_FRESH;
    return 0;
}

int rundir_look(const char *dir, struct rundir_look *ret, struct err *err) {
    struct rundir_look look = {.state = RUNDIR_ABSENT, .pidfd = -1};
    auto_close int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT) {
        return err_sys(err, errno, "open the run directory");
    }
    if (fd >= 0) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        if (look_in(a, fd, &look, err) < 0) {
            return -1;
        }
    }
    *ret = look;
    return 0;
}

/* -- removing --------------------------------------------------------------------------------- */

static void kill_runner(int dirfd) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct rec r;
    if (read_rec(a, dirfd, RUNDIR_STATUS, &r, NULL) <= 0) {
        return;
    }
    auto_close int pidfd = open_runner(&r);
    if (pidfd >= 0 && proc_pidfd_signal(pidfd, SIGKILL, NULL) == 0) {
        struct pollfd p = {.fd = pidfd, .events = POLLIN};
        (void)poll(&p, 1, (int)(KILL_LIMIT / USEC_PER_MSEC));
    }
}

/* Takes run.lock, killing who holds it. A runner that has only just begun has written no status
 * yet, hence the loop. */
static int seize_lock(int dirfd, struct err *err) {
    for (int i = 0; i < LOCK_TRIES; i++) {
        struct err e = {0};
        int fd = lockfile_take(dirfd, RUNDIR_LOCK, &e);
        if (fd >= 0) {
            return fd;
        }
        if (e.code != ERR_ABORTED) {
            if (err != NULL) {
                *err = e;
            }
            return -1;
        }
        kill_runner(dirfd);
    }
    return err_set(err, ERR_DEADLINE_EXCEEDED, "the runner holds its lock and cannot be killed");
}

static int clear_cgroup(int dirfd, const struct cgroup_layout *cg, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct rec r;
    const char *path = NULL;
    if (read_rec(a, dirfd, RUNDIR_CONF, &r, NULL) > 0 && !is_copy(dirfd, &r)) {
        path = rec_get_cstr(&r, RC_CGROUP);
    }
    if (path == NULL || cg->kind == CGROUP_NONE) {
        return 0;
    }
    if (cgroup_kill_all(cg, path, KILL_LIMIT, err) < 0) {
        return -1;
    }
    return cgroup_remove(cg, path, err);
}

int rundir_remove(const char *run_root, const char *dir, const struct cgroup_layout *cg,
                  struct err *err) {
    auto_close int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? 0 : err_sys(err, errno, "open the run directory");
    }
    auto_close int lock = seize_lock(fd, err);
    if (lock < 0 || clear_cgroup(fd, cg, err) < 0) {
        return err_wrap(err, "clear %s", dir);
    }
    if (FAIL_POINT("engine.release.before_remove", err) < 0) {
        return -1;
    }
    auto_free char *trash = temp_name(dir, "trash");
    if (rename(dir, trash) < 0) {
        return err_sys(err, errno, "move %s away", dir);
    }
    if (file_remove_tree(AT_FDCWD, trash, err) < 0) {
        return -1;
    }
    auto_free char *parent = xstrdup(dir);
    for (;;) {
        *strrchr(parent, '/') = 0;
        if (strlen(parent) <= strlen(run_root) || rmdir(parent) < 0) {
            return 0; /* other replicas are still there */
        }
    }
}

/* -- finding ---------------------------------------------------------------------------------- */

static bool attempt_of(const char *name, uint32_t *ret) {
    uint64_t n;
    if (name[0] != 'a' || !str_to_u64(str_of(name + 1), &n) || n == 0 || n > UINT32_MAX) {
        return false;
    }
    *ret = (uint32_t)n;
    return true;
}

static bool is_dots(const char *name) {
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

struct walk {
    void (*fn)(void *arg, const char *dir, const char *job, uint32_t attempt);
    void *arg;
};

/* depth 0: jobs, 1: attempts, 2: replicas. Names that do not belong are reported with job NULL. */
static int walk_dir(const struct walk *w, const char *dir, int depth, const char *job,
                    uint32_t attempt, struct err *err) {
    DIR *d = opendir(dir);
    if (d == NULL) {
        return errno == ENOENT ? 0 : err_sys(err, errno, "list %s", dir);
    }
    struct dirent *e;
    int rc = 0;
    while (rc == 0 && (e = readdir(d)) != NULL) {
        if (is_dots(e->d_name)) {
            continue;
        }
        auto_free char *path = xasprintf("%s/%s", dir, e->d_name);
        bool ours = e->d_name[0] != '.';
        if (ours && depth == 0) {
            rc = walk_dir(w, path, 1, e->d_name, 0, err);
        } else if (ours && depth == 1 && attempt_of(e->d_name, &attempt)) {
            rc = walk_dir(w, path, 2, job, attempt, err);
        } else {
            w->fn(w->arg, path, ours && depth == 2 ? job : NULL, attempt);
        }
    }
    closedir(d);
    return rc;
}

int rundir_each(const char *run_root,
                void (*fn)(void *arg, const char *dir, const char *job, uint32_t attempt),
                void *arg, struct err *err) {
    const struct walk w = {fn, arg};
    return walk_dir(&w, run_root, 0, NULL, 0, err);
}
