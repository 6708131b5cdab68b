/* config.json of one replica's container: a pure function of struct bundle_spec. It decides every
 * default (capabilities, masks, mounts, limits) in one place and looks at nothing but its argument,
 * so the golden files in tests/wire/bundle are the whole truth about what a job is started with.
 *
 * No user namespace yet: layers are shared between jobs and owned by real uids, and the oldest
 * runtimes we support have no id-mapped mounts. Until then container root is host root with what is
 * below taken away, which is why the capability list is shorter than the usual one. */
#include "engine/bundle/bundle.h"

#include "base/jw.h"
#include "engine/bundle/bundle_int.h"

#include <inttypes.h>

/* What root in a job may do: be the owner of its own tree (tar, pip and apt as root: chown, write
 * regardless of mode, keep setgid bits), signal its children that changed user, drop to another
 * user, listen below 1024. Left out of what containers usually get: MKNOD (a device node made on a
 * shared disk outlives the job), NET_RAW (forged packets on the jobs' bridge), SETFCAP and SETPCAP
 * (nothing gains privileges anyway under no_new_privs), SYS_CHROOT, AUDIT_WRITE (host's log). */
static const char *const root_caps[] = {"CAP_CHOWN",  "CAP_DAC_OVERRIDE", "CAP_FOWNER",
                                        "CAP_FSETID", "CAP_KILL",         "CAP_NET_BIND_SERVICE",
                                        "CAP_SETGID", "CAP_SETUID"};

static const char *const masked[] = {
    "/proc/acpi",          "/proc/asound",      "/proc/interrupts",
    "/proc/kallsyms",      "/proc/kcore",       "/proc/keys",
    "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
    "/proc/timer_list",    "/proc/timer_stats", "/sys/firmware",
    "/sys/fs/selinux",     "/sys/dev/block",    "/sys/devices/virtual/powercap",
};

static const char *const read_only[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                        "/proc/sysrq-trigger"};

#define CPU_PERIOD_USEC 100000u
#define CPU_QUOTA_MIN_USEC 1000u /* the kernel refuses less */
/* A config.json is some 20 KB; argv and env come from a request (100,000 characters of args). */
#define CONFIG_MAX_BYTES ((size_t)16 << 20)

static bool is_abs(const char *p) {
    return p != NULL && p[0] == '/';
}

/* "/a/../b" would be resolved by the runtime inside the root, "" not at all: refuse both here. */
static bool path_is_clean(const char *p) {
    if (!is_abs(p)) {
        return false;
    }
    struct str rest = str_of(p + 1);
    while (rest.p != NULL) {
        struct str part = str_cut(&rest, '/');
        if (str_eqc(part, "..") || str_eqc(part, ".")) {
            return false;
        }
    }
    return true;
}

static int check_spec(const struct bundle_spec *s, struct err *err) {
    if (s->argv == NULL || s->argv[0] == NULL || s->argv[0][0] == '\0') {
        return err_set(err, ERR_INVALID_ARGUMENT, "the container has no command to run");
    }
    if (!path_is_clean(s->cwd)) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "working directory \"%s\" is not an absolute path",
                       s->cwd != NULL ? s->cwd : "");
    }
    if (!is_abs(s->rootfs)) {
        return err_set(err, ERR_INTERNAL, "root file system path is not absolute");
    }
    if (!is_abs(s->cgroup_path)) {
        return err_set(err, ERR_INTERNAL, "cgroup path is not absolute");
    }
    for (size_t i = 0; s->env != NULL && s->env[i] != NULL; i++) {
        const char *eq = strchr(s->env[i], '=');
        if (eq == NULL || eq == s->env[i]) {
            return err_set(err, ERR_INVALID_ARGUMENT, "environment entry %zu has no name", i);
        }
    }
    for (size_t i = 0; i < s->nr_mounts; i++) {
        if (!is_abs(s->mounts[i].source) || !path_is_clean(s->mounts[i].dest)) {
            return err_set(err, ERR_INTERNAL, "mount %zu is not between absolute paths", i);
        }
    }
    for (size_t i = 0; i < s->nr_device_nodes; i++) {
        const struct bundle_device *d = &s->device_nodes[i];
        if (!path_is_clean(d->path) || (d->type != 'c' && d->type != 'b')) {
            return err_set(err, ERR_INTERNAL, "device %zu is malformed", i);
        }
    }
    return 0;
}

static void put_strings(struct jw *w, const char *key, const char *const *v, size_t n) {
    jw_key(w, key);
    jw_array(w);
    for (size_t i = 0; i < n; i++) {
        jw_cstr(w, v[i]);
    }
    jw_end_array(w);
}

static size_t count_of(const char *const *v) {
    size_t n = 0;
    while (v != NULL && v[n] != NULL) {
        n++;
    }
    return n;
}

static void put_rlimit(struct jw *w, const char *type, uint64_t value) {
    jw_object(w);
    jw_kv(w, "type", type);
    jw_key(w, "hard");
    jw_u64(w, value);
    jw_key(w, "soft");
    jw_u64(w, value);
    jw_end_object(w);
}

static void put_process(struct jw *w, const struct bundle_spec *s) {
    jw_key(w, "process");
    jw_object(w);
    jw_key(w, "terminal");
    jw_bool(w, false);
    jw_key(w, "user");
    jw_object(w);
    jw_key(w, "uid");
    jw_u64(w, s->uid);
    jw_key(w, "gid");
    jw_u64(w, s->gid);
    if (s->nr_extra_gids > 0) {
        jw_key(w, "additionalGids");
        jw_array(w);
        for (size_t i = 0; i < s->nr_extra_gids; i++) {
            jw_u64(w, s->extra_gids[i]);
        }
        jw_end_array(w);
    }
    jw_end_object(w);
    put_strings(w, "args", s->argv, count_of(s->argv));
    put_strings(w, "env", s->env, count_of(s->env));
    jw_kv(w, "cwd", s->cwd);

    /* Inheritable and ambient stay empty: they would only matter to programs we do not have. The
     * bounding set is the same for everybody; another user than root starts with nothing at all. */
    jw_key(w, "capabilities");
    jw_object(w);
    put_strings(w, "bounding", root_caps, NR_OF(root_caps));
    put_strings(w, "effective", root_caps, s->uid == 0 ? NR_OF(root_caps) : 0);
    put_strings(w, "permitted", root_caps, s->uid == 0 ? NR_OF(root_caps) : 0);
    put_strings(w, "inheritable", NULL, 0);
    put_strings(w, "ambient", NULL, 0);
    jw_end_object(w);

    jw_key(w, "rlimits");
    jw_array(w);
    put_rlimit(w, "RLIMIT_CORE", 0); /* a core of a training process is its whole memory on disk */
    if (s->nofile > 0) {
        put_rlimit(w, "RLIMIT_NOFILE", s->nofile);
    }
    jw_end_array(w);
    jw_key(w, "noNewPrivileges");
    jw_bool(w, true);
    jw_end_object(w);
}

static void put_mount(struct jw *w, const char *dest, const char *type, const char *source,
                      const char *const *options) {
    jw_object(w);
    jw_kv(w, "destination", dest);
    jw_kv(w, "type", type);
    jw_kv(w, "source", source);
    put_strings(w, "options", options, count_of(options));
    jw_end_object(w);
}

static void put_mounts(struct jw *w, const struct bundle_spec *s) {
    char shm_size[32];
    (void)snprintf(shm_size, sizeof(shm_size), "size=%" PRIu64, s->shm_bytes);
    jw_key(w, "mounts");
    jw_array(w);
    put_mount(w, "/proc", "proc", "proc", (const char *const[]){"nosuid", "noexec", "nodev", NULL});
    put_mount(w, "/dev", "tmpfs", "tmpfs",
              (const char *const[]){"nosuid", "strictatime", "mode=755", "size=65536k", NULL});
    put_mount(w, "/dev/pts", "devpts", "devpts",
              (const char *const[]){"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620",
                                    "gid=5", NULL});
    put_mount(w, "/dev/shm", "tmpfs", "shm",
              (const char *const[]){"nosuid", "noexec", "nodev", "mode=1777",
                                    s->shm_bytes > 0 ? shm_size : "size=65536k", NULL});
    put_mount(w, "/dev/mqueue", "mqueue", "mqueue",
              (const char *const[]){"nosuid", "noexec", "nodev", NULL});
    put_mount(w, "/sys", "sysfs", "sysfs",
              (const char *const[]){"nosuid", "noexec", "nodev", "ro", NULL});
    if (s->mount_cgroup) {
        put_mount(w, "/sys/fs/cgroup", "cgroup", "cgroup",
                  (const char *const[]){"nosuid", "noexec", "nodev", "relatime", "ro", NULL});
    }
    for (size_t i = 0; i < s->nr_mounts; i++) {
        const struct bundle_mount *m = &s->mounts[i];
        put_mount(w, m->dest, "bind", m->source,
                  (const char *const[]){"rbind", "rprivate", "nosuid", "nodev",
                                        m->read_only ? "ro" : "rw", NULL});
    }
    jw_end_array(w);
}

static void put_device_rule(struct jw *w, bool allow, const struct bundle_device *d) {
    jw_object(w);
    jw_key(w, "allow");
    jw_bool(w, allow);
    if (d != NULL) {
        jw_kv(w, "type", d->type == 'c' ? "c" : "b");
        jw_key(w, "major");
        jw_u64(w, d->major);
        jw_key(w, "minor");
        jw_u64(w, d->minor);
    }
    jw_kv(w, "access", d != NULL ? "rw" : "rwm");
    jw_end_object(w);
}

static void put_resources(struct jw *w, const struct bundle_spec *s) {
    jw_key(w, "resources");
    jw_object(w);
    jw_key(w, "devices");
    jw_array(w);
    put_device_rule(w, false, NULL); /* null, zero, random, tty, ptmx are added by the runtime */
    for (size_t i = 0; i < s->nr_device_nodes; i++) {
        put_device_rule(w, true, &s->device_nodes[i]);
    }
    jw_end_array(w);
    if (s->mem_bytes > 0) {
        jw_key(w, "memory");
        jw_object(w);
        jw_key(w, "limit");
        jw_u64(w, s->mem_bytes);
        if (!s->no_swap_limit) {
            /* memory + swap = memory: no swap. A job that outgrows its machine type must be told
             * so, not crawl. */
            jw_key(w, "swap");
            jw_u64(w, s->mem_bytes);
        }
        jw_end_object(w);
    }
    if (s->cpu_milli > 0) {
        uint64_t quota = (uint64_t)s->cpu_milli * (CPU_PERIOD_USEC / 1000);
        uint64_t shares = (uint64_t)s->cpu_milli * 1024 / 1000;
        jw_key(w, "cpu");
        jw_object(w);
        jw_key(w, "shares");
        jw_u64(w, shares < 2 ? 2 : shares > 262144 ? 262144 : shares); /* the kernel's range */
        jw_key(w, "quota");
        jw_u64(w, quota < CPU_QUOTA_MIN_USEC ? CPU_QUOTA_MIN_USEC : quota);
        jw_key(w, "period");
        jw_u64(w, CPU_PERIOD_USEC);
        jw_end_object(w);
    }
    if (s->pids > 0) {
        jw_key(w, "pids");
        jw_object(w);
        jw_key(w, "limit");
        jw_u64(w, s->pids);
        jw_end_object(w);
    }
    jw_end_object(w);
}

static void put_namespace(struct jw *w, const char *type) {
    jw_object(w);
    jw_kv(w, "type", type);
    jw_end_object(w);
}

static int put_linux(struct jw *w, const struct bundle_spec *s, struct err *err) {
    const char *arch = s->seccomp_arch != NULL ? s->seccomp_arch : bundle_seccomp_native_arch();
    jw_key(w, "linux");
    jw_object(w);
    jw_kv(w, "cgroupsPath", s->cgroup_path);
    jw_key(w, "namespaces");
    jw_array(w);
    put_namespace(w, "pid");
    put_namespace(w, "ipc");
    put_namespace(w, "uts");
    put_namespace(w, "mount");
    if (!s->no_cgroup_ns) {
        put_namespace(w, "cgroup");
    }
    if (s->own_netns) {
        put_namespace(w, "network");
    }
    jw_end_array(w);
    if (s->nr_device_nodes > 0) {
        jw_key(w, "devices");
        jw_array(w);
        for (size_t i = 0; i < s->nr_device_nodes; i++) {
            const struct bundle_device *d = &s->device_nodes[i];
            jw_object(w);
            jw_kv(w, "path", d->path);
            jw_kv(w, "type", d->type == 'c' ? "c" : "b");
            jw_key(w, "major");
            jw_u64(w, d->major);
            jw_key(w, "minor");
            jw_u64(w, d->minor);
            jw_key(w, "fileMode");
            jw_u64(w, 0666);
            jw_end_object(w);
        }
        jw_end_array(w);
    }
    put_resources(w, s);
    put_strings(w, "maskedPaths", masked, NR_OF(masked));
    put_strings(w, "readonlyPaths", read_only, NR_OF(read_only));
    if (arch == NULL) {
        return err_set(err, ERR_UNIMPLEMENTED, "no system call profile for this architecture");
    }
    jw_key(w, "seccomp");
    bundle_seccomp_write(w, arch);
    jw_end_object(w);
    return 0;
}

int bundle_config_json(const struct bundle_spec *s, struct buf *out, struct err *err) {
    if (check_spec(s, err) < 0) {
        return -1;
    }
    auto_buf struct buf b = BUF_INIT(CONFIG_MAX_BYTES);
    struct jw w;
    jw_init(&w, &b, 1);
    jw_object(&w);
    jw_kv(&w, "ociVersion", "1.0.2");
    put_process(&w, s);
    jw_key(&w, "root");
    jw_object(&w);
    jw_kv(&w, "path", s->rootfs);
    jw_key(&w, "readonly");
    jw_bool(&w, false);
    jw_end_object(&w);
    jw_kv(&w, "hostname", s->hostname);
    put_mounts(&w, s);
    if (put_linux(&w, s, err) < 0) {
        return -1;
    }
    jw_end_object(&w);
    (void)buf_putc(&b, '\n'); /* a refusal stays visible in b.full */
    if (b.full) {
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "config.json would pass %zu bytes",
                       CONFIG_MAX_BYTES);
    }
    if (buf_put(out, b.p, b.n) < 0) {
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "config.json of %zu bytes does not fit", b.n);
    }
    return 0;
}
