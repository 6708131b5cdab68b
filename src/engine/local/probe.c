/* The host, probed by use. One trial is one run directory with the runner in the foreground; the
 * root file system is an empty directory with the host's own /usr bound into it, so nothing is
 * needed but a `true` that every host has. */
#include "engine/local/probe.h"

#include "base/rec.h"
#include "engine/bundle/rundir.h"
#include "engine/local/rundirs.h"
#include "sys/files.h"
#include "sys/nat.h"
#include "sys/netlink.h"
#include "sys/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROBE_FILE "probe"
#define PROBE_FORMAT 1
#define MAX_MOUNTS 8

bool probe_swap_limit(const struct cgroup_layout *l) {
    for (size_t i = 0; i < l->nr; i++) {
        if (!l->h[i].unified && strcmp(l->h[i].name, "memory") == 0) {
            return faccessat(l->h[i].root_fd, "memory.memsw.limit_in_bytes", F_OK, 0) == 0;
        }
    }
    return true;
}

uint64_t probe_nofile(void) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) < 0) {
        return 0;
    }
    return r.rlim_max > 1048576 ? 1048576 : r.rlim_max;
}

/* -- one trial -------------------------------------------------------------------------------- */

struct trial_root {
    struct bundle_mount mounts[MAX_MOUNTS];
    size_t nr;
};

/* The top level of the host as far as a dynamically linked program needs it: links as links,
 * directories bound read-only. */
static int make_root(const char *root, struct trial_root *ret, struct err *err) {
    static const char *const names[] = {"usr", "bin", "sbin", "lib", "lib32", "lib64"};
    static const char *const sources[] = {"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"};
    ret->nr = 0;
    if (file_mkdirs(AT_FDCWD, root, 0755, err) < 0) {
        return -1;
    }
    auto_close int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(err, errno, "open %s", root);
    }
    for (size_t i = 0; i < NR_OF(names); i++) {
        struct stat st;
        char to[256];
        if (lstat(sources[i], &st) < 0) {
            continue;
        }
        ssize_t n = S_ISLNK(st.st_mode) ? readlink(sources[i], to, sizeof(to) - 1) : 0;
        int rc = 0;
        if (n > 0) {
            to[n] = 0;
            rc = symlinkat(to, fd, names[i]);
        } else if (S_ISDIR(st.st_mode)) {
            rc = mkdirat(fd, names[i], 0755);
            ret->mounts[ret->nr++] = (struct bundle_mount){sources[i], sources[i], true};
        }
        if (rc < 0 && errno != EEXIST) {
            return err_sys(err, errno, "make %s/%s", root, names[i]);
        }
    }
    return 0;
}

static int run_trial(const struct probe_input *in, const char *dir, struct err *err) {
    auto_buf struct buf out = BUF_INIT(4096);
    char *argv[] = {(char *)in->runner_path, (char *)dir, NULL};
    int status;
    struct rundir_look look;
    if (proc_run(in->runner_path, argv, STR(""), &out, &status, err) < 0 ||
        rundir_look(dir, &look, err) < 0) {
        return -1;
    }
    mem_auto_close(&look.pidfd);
    if (look.state == RUNDIR_EXITED && look.exit.kind == EXIT_CODE && look.exit.value == 0) {
        return 0;
    }
    if (look.state == RUNDIR_EXITED && look.exit.kind == EXIT_RUNTIME) {
        return err_set(err, ERR_FAILED_PRECONDITION, "%s", look.exit.why);
    }
    return err_set(err, ERR_FAILED_PRECONDITION, "a trial container failed: %s%s",
                   look.state == RUNDIR_EXITED ? look.exit.stderr_tail : "", buf_cstr(&out));
}

static int try_runtime(const struct probe_input *in, const char *runtime, bool hide,
                       struct err *err) {
    auto_free char *run_root = xasprintf("%s/run", in->data_dir);
    auto_free char *dir = xasprintf("%s/.probe/%s", run_root, hide ? "hide" : "plain");
    auto_free char *root = xasprintf("%s/run/.probe-root", in->data_dir);
    auto_free char *log_dir = xasprintf("%s/run/.probe-log", in->data_dir);
    auto_free char *cgroup = xasprintf("/cusp/%s/probe", in->instance);
    auto_free char *runner_cgroup = xasprintf("/cusp/%s/runners", in->instance);
    auto_free char *program = proc_find("true");
    struct trial_root r;
    if (program == NULL) {
        return err_set(err, ERR_FAILED_PRECONDITION, "there is no `true` to try containers with");
    }
    const char *command[] = {program, NULL}, *env[] = {"PATH=/usr/bin:/bin", NULL};
    const char *lowers[] = {root, NULL};
    if (rundir_remove(run_root, dir, in->cgroups, err) < 0 || make_root(root, &r, err) < 0) {
        return -1;
    }
    const struct rundir_plan plan = {
        .job = "0",
        .replica = "probe",
        .nonce = "probe",
        .attempt = 1,
        .log_dir = log_dir,
        .runtime = runtime,
        .hide_unified = hide,
        .container = "cusp-probe",
        .lowers = lowers,
        .cgroup = cgroup,
        .runner_cgroup = runner_cgroup,
        .mem_bytes = 256u << 20,
        .cpu_milli = 1000,
        .pids = 64,
        .net = "none",
        .foreground = true,
        .hosts = "",
        .resolv = "",
        .hostname = "probe",
        .bundle = {.argv = command,
                   .env = env,
                   .cwd = "/",
                   .mounts = r.mounts,
                   .nr_mounts = r.nr,
                   .shm_bytes = 1u << 20,
                   .no_swap_limit = !probe_swap_limit(in->cgroups),
                   .no_cgroup_ns = access("/proc/self/ns/cgroup", F_OK) < 0,
                   .nofile = probe_nofile()}};
    int rc = rundir_create(dir, &plan, err);
    if (rc == 0) {
        rc = run_trial(in, dir, err);
    }
    (void)!rundir_remove(run_root, dir, in->cgroups, NULL);
    (void)!file_remove_tree(AT_FDCWD, root, NULL);
    (void)!file_remove_tree(AT_FDCWD, log_dir, NULL);
    return rc;
}

/* -- which runtime ---------------------------------------------------------------------------- */

/* "crun version 1.8.1\n…" -> "crun 1.8.1" */
static void version_text(const char *runtime, char *ret, size_t size) {
    auto_buf struct buf out = BUF_INIT(4096);
    char *argv[] = {(char *)runtime, "--version", NULL};
    int status;
    const char *name = strrchr(runtime, '/') + 1;
    if (proc_run(runtime, argv, STR(""), &out, &status, NULL) == 0) {
        struct str rest = buf_str(&out);
        struct str line = str_cut(&rest, '\n');
        ptrdiff_t at = str_find(line, STR("version "));
        if (at >= 0) {
            struct str v = str_sub(line, (size_t)at + 8, 32);
            (void)snprintf(ret, size, "%s %.*s", name, STR_ARG(v));
            return;
        }
    }
    (void)snprintf(ret, size, "%s", name);
}

static bool try_one(const struct probe_input *in, const char *path, struct probe_result *ret,
                    struct buf *why) {
    bool hybrid = in->cgroups->kind == CGROUP_HYBRID;
    /* crun refuses hybrid hierarchies unless the unified one is out of its sight; runc minds not.
     */
    for (int hide = 0; hide <= (hybrid ? 1 : 0); hide++) {
        struct err e = {0};
        if (try_runtime(in, path, hide != 0, &e) == 0) {
            (void)snprintf(ret->runtime, sizeof(ret->runtime), "%s", path);
            ret->hide_unified = hide != 0;
            version_text(path, ret->runtime_text, sizeof(ret->runtime_text));
            return true;
        }
        (void)buf_printf(why, "%s%s%s: %s", why->n > 0 ? "; " : "", path,
                         hide ? " without the unified hierarchy" : "", e.msg);
    }
    return false;
}

static int find_runtime(const struct probe_input *in, struct probe_result *ret, struct err *err) {
    static const char *const by_speed[] = {"crun", "runc"};
    auto_buf struct buf why = BUF_INIT(900);
    if (in->runtime[0] == '/') {
        if (try_one(in, in->runtime, ret, &why)) {
            return 0;
        }
    } else {
        for (size_t i = 0; i < NR_OF(by_speed); i++) {
            bool wanted = strcmp(in->runtime, "auto") == 0 || strcmp(in->runtime, by_speed[i]) == 0;
            auto_free char *path = wanted ? proc_find(by_speed[i]) : NULL;
            if (path != NULL && try_one(in, path, ret, &why)) {
                return 0;
            }
        }
    }
    return err_set(err, ERR_FAILED_PRECONDITION, "no container runtime works here (%s): %s",
                   in->runtime, why.n > 0 ? buf_cstr(&why) : "none is installed");
}

/* -- remembered ------------------------------------------------------------------------------- */

static void put_stamp(struct buf *b, const char *path) {
    struct stat st;
    if (path != NULL && stat(path, &st) == 0) {
        (void)buf_printf(b, "%s %llu %lld.%09ld;", path, (unsigned long long)st.st_ino,
                         (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    }
}

/* Everything the answer depends on, as one line. */
static void make_key(const struct probe_input *in, struct buf *b) {
    auto_free char *crun = proc_find("crun");
    auto_free char *runc = proc_find("runc");
    (void)!proc_boot_id(b, NULL);
    (void)buf_printf(b, ";%s;%s;", in->runtime, cgroup_kind_name(in->cgroups->kind));
    put_stamp(b, in->runner_path);
    put_stamp(b, crun);
    put_stamp(b, runc);
    if (in->runtime[0] == '/') {
        put_stamp(b, in->runtime);
    }
}

static bool recall(const char *path, struct str key, struct probe_result *ret) {
    auto_buf struct buf b = BUF_INIT(16384);
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct rec r;
    if (file_read(AT_FDCWD, path, &b, NULL) < 0 || rec_parse(a, buf_str(&b), &r, NULL) < 0 ||
        rec_get_u64(&r, "format", 0) != PROBE_FORMAT || !str_eq(rec_get(&r, "key"), key) ||
        rec_get_cstr(&r, "runtime") == NULL || rec_get_cstr(&r, "runtime_text") == NULL) {
        return false;
    }
    (void)snprintf(ret->runtime, sizeof(ret->runtime), "%s", rec_get_cstr(&r, "runtime"));
    (void)snprintf(ret->runtime_text, sizeof(ret->runtime_text), "%s",
                   rec_get_cstr(&r, "runtime_text"));
    ret->hide_unified = rec_get_u64(&r, "hide_unified", 0) != 0;
    return true;
}

static void remember(const char *path, struct str key, const struct probe_result *p) {
    auto_buf struct buf b = BUF_INIT(16384);
    rec_begin(&b);
    rec_put_u64(&b, "format", PROBE_FORMAT);
    rec_put(&b, "key", key);
    rec_puts(&b, "runtime", p->runtime);
    rec_puts(&b, "runtime_text", p->runtime_text);
    rec_put_u64(&b, "hide_unified", p->hide_unified);
    /* Not remembered is probed again. */
    (void)!file_write_atomic(AT_FDCWD, path, buf_str(&b), 0600, FILE_NO_SYNC, NULL);
}

/* -- network ---------------------------------------------------------------------------------- */

/* Not remembered: somebody may have taken the bridge or the rules away, and asking is cheap. */
static void probe_network(const struct probe_input *in, struct probe_result *ret) {
    (void)snprintf(ret->net, sizeof(ret->net), "%s", in->network);
    (void)snprintf(ret->net_text, sizeof(ret->net_text), "%s", in->network);
    if (strcmp(in->network, "bridge") != 0) {
        return;
    }
    struct err e = {0};
    const char *how;
    auto_free char *addr = xasprintf("%s/%u", in->gateway, in->prefix_len);
    if (netlink_bridge_ensure(in->bridge, addr, &e) == 0 &&
        nat_ensure(in->bridge, in->subnet, &how, &e) == 0) {
        (void)snprintf(ret->net_text, sizeof(ret->net_text), "bridge %s (%s)", in->bridge, how);
        return;
    }
    (void)snprintf(ret->net, sizeof(ret->net), "host");
    (void)snprintf(ret->net_text, sizeof(ret->net_text), "host");
    (void)snprintf(ret->warning, sizeof(ret->warning),
                   "jobs share the host's network, because a bridge could not be set up: %.380s",
                   e.msg);
}

int probe_host(const struct probe_input *in, struct probe_result *ret, struct err *err) {
    auto_free char *path = xasprintf("%s/" PROBE_FILE, in->data_dir);
    auto_buf struct buf key = BUF_INIT(8192);
    struct probe_result r = {0};
    make_key(in, &key);
    if (!recall(path, buf_str(&key), &r)) {
        if (find_runtime(in, &r, err) < 0) {
            return -1;
        }
        remember(path, buf_str(&key), &r);
    }
    probe_network(in, &r);
    *ret = r;
    return 0;
}
