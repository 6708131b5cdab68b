/* Control groups: see cgroup.h. Facts relied on (checked on 6.1 and 6.18):
 * - v1 counts oom_kill on the cgroup of the victim only, so statistics add up the children; limits
 *   and max_usage are hierarchical.
 * - v2 memory.events and pids.events are hierarchical.
 * - v1 cpuset cgroups accept no process before cpus and mems are filled in. */
#include "sys/cgroup.h"
#include "sys/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define CPU_PERIOD_USEC 100000u
#define TREE_DEPTH_MAX 32
#define REMOVE_TRIES 200
#define PAUSE_USEC 1000

/* --- layout ------------------------------------------------------------------------------- */

static bool has_word(const char *list, const char *word) {
    struct str rest = str_of(list);
    while (rest.p) {
        if (str_eqc(str_cut(&rest, ','), word)) {
            return true;
        }
    }
    return false;
}

/* Options of the superblock that name controllers: what is left without the generic ones. */
static void controllers_of(struct str options, char *ret, size_t size) {
    static const char *const generic[] = {
        "rw",       "ro",         "xattr",        "clone_children",
        "noprefix", "nsdelegate", "favordynmods", "memory_recursiveprot"};
    auto_buf struct buf b = BUF_INIT(size - 1);
    while (options.p) {
        struct str o = str_cut(&options, ',');
        bool skip = o.n == 0 || str_starts(o, STR("release_agent="));
        for (size_t i = 0; i < NR_OF(generic); i++) {
            skip = skip || str_eqc(o, generic[i]);
        }
        if (!skip) {
            buf_printf(&b, "%s%.*s", b.n ? "," : "", STR_ARG(o));
        }
    }
    snprintf(ret, size, "%s", buf_cstr(&b));
}

/* One line of mountinfo: "id parent dev root MOUNT options [tags] - TYPE source SUPEROPTIONS". */
static void add_mount(struct cgroup_layout *l, struct str line) {
    struct str field[6], tail = line;
    for (size_t i = 0; i < NR_OF(field); i++) {
        field[i] = str_cut(&tail, ' ');
    }
    ptrdiff_t dash = str_find(line, STR(" - "));
    if (dash < 0 || l->nr == CGROUP_MAX_HIERARCHIES) {
        return;
    }
    tail = str_sub(line, (size_t)dash + 3, line.n);
    struct str type = str_cut(&tail, ' ');
    str_cut(&tail, ' ');
    bool unified = str_eqc(type, "cgroup2");
    if (!unified && !str_eqc(type, "cgroup")) {
        return;
    }
    struct cgroup_hierarchy h = {.unified = unified};
    if (!unified) {
        controllers_of(tail, h.name, sizeof(h.name));
    }
    for (size_t i = 0; i < l->nr; i++) {
        if (l->h[i].unified == unified && strcmp(l->h[i].name, h.name) == 0) {
            return; /* mounted twice, for example inside somebody's container */
        }
    }
    auto_free char *mount = str_dup(field[4]);
    if (field[4].n < sizeof(h.mount)) {
        memcpy(h.mount, mount, field[4].n + 1);
    }
    h.root_fd = open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (h.root_fd >= 0) {
        l->h[l->nr++] = h;
    }
}

int cgroup_layout_open(struct cgroup_layout *ret, struct err *err) {
    auto_buf struct buf b = BUF_INIT(4u << 20);
    if (file_read(AT_FDCWD, "/proc/self/mountinfo", &b, err) < 0) {
        return -1;
    }
    struct cgroup_layout l = {0};
    struct str rest = buf_str(&b);
    while (rest.p) {
        add_mount(&l, str_cut(&rest, '\n'));
    }
    bool v1 = false, v2 = false;
    for (size_t i = 0; i < l.nr; i++) {
        v2 = v2 || l.h[i].unified;
        /* name=systemd alone has no controllers and does not make a v1 host */
        v1 = v1 || (!l.h[i].unified && strncmp(l.h[i].name, "name=", 5) != 0);
    }
    l.kind = v1 && v2 ? CGROUP_HYBRID : v1 ? CGROUP_V1 : v2 ? CGROUP_V2 : CGROUP_NONE;
    *ret = l;
    return 0;
}

void cgroup_layout_close(struct cgroup_layout *l) {
    for (size_t i = 0; i < l->nr; i++) {
        close(l->h[i].root_fd);
    }
    *l = (struct cgroup_layout){0};
}

const char *cgroup_kind_name(enum cgroup_kind k) {
    switch (k) {
    case CGROUP_V1:
        return "v1";
    case CGROUP_HYBRID:
        return "hybrid";
    case CGROUP_V2:
        return "v2";
    case CGROUP_NONE:
        break;
    }
    return "none";
}

/* The hierarchy that carries a controller, or NULL. */
static const struct cgroup_hierarchy *carrier(const struct cgroup_layout *l, const char *name) {
    for (size_t i = 0; i < l->nr; i++) {
        if (l->kind == CGROUP_V2 ? l->h[i].unified : has_word(l->h[i].name, name)) {
            return &l->h[i];
        }
    }
    return NULL;
}

static const char *below(const char *path) {
    while (*path == '/') {
        path++;
    }
    return path;
}

/* Directory of path in a hierarchy, or -1 with errno. */
static int open_group(const struct cgroup_hierarchy *h, const char *path) {
    return openat(h->root_fd, below(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* --- making ------------------------------------------------------------------------------- */

static void copy_value(int from, int to, const char *file) {
    auto_buf struct buf now = BUF_INIT(4096);
    auto_buf struct buf parent = BUF_INIT(4096);
    if (file_read(to, file, &now, NULL) == 0 && str_trim(buf_str(&now)).n > 1) {
        return;
    }
    if (file_read(from, file, &parent, NULL) == 0) {
        (void)!file_poke(to, file, buf_cstr(&parent)); /* entering reports what is still wrong */
    }
}

/* mkdir -p below a hierarchy's root; on the way fills cpuset and enables v2 controllers. */
static int make_in(const struct cgroup_hierarchy *h, const char *path, bool for_children,
                   struct err *err) {
    auto_close int at = fcntl(h->root_fd, F_DUPFD_CLOEXEC, 0);
    if (at < 0) {
        return err_sys(err, errno, "cgroup root");
    }
    bool cpuset = has_word(h->name, "cpuset");
    struct str rest = str_of(below(path));
    while (rest.p) {
        struct str part = str_cut(&rest, '/');
        if (part.n == 0) {
            continue;
        }
        if (h->unified) {
            /* one at a time: a controller the parent lacks must not keep the others away */
            (void)!file_poke(at, "cgroup.subtree_control", "+memory");
            (void)!file_poke(at, "cgroup.subtree_control", "+cpu");
            (void)!file_poke(at, "cgroup.subtree_control", "+pids");
        }
        auto_free char *name = str_dup(part);
        if (mkdirat(at, name, 0755) < 0 && errno != EEXIST) {
            return err_sys(err, errno, "make cgroup %s (%s)", path, h->unified ? "v2" : h->name);
        }
        int next = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (next < 0) {
            return err_sys(err, errno, "open cgroup %s (%s)", path, h->unified ? "v2" : h->name);
        }
        if (cpuset) {
            copy_value(at, next, "cpuset.cpus");
            copy_value(at, next, "cpuset.mems");
        }
        close(at);
        at = next;
    }
    if (h->unified && for_children) {
        (void)!file_poke(at, "cgroup.subtree_control", "+memory");
        (void)!file_poke(at, "cgroup.subtree_control", "+cpu");
        (void)!file_poke(at, "cgroup.subtree_control", "+pids");
    }
    return 0;
}

static int set_u64(int dir, const char *file, uint64_t value) {
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    return file_poke(dir, file, text);
}

static int limit_memory(const struct cgroup_layout *l, int dir, uint64_t bytes) {
    if (l->kind == CGROUP_V2) {
        (void)!file_poke(dir, "memory.swap.max", "0"); /* absent without swap accounting */
        return set_u64(dir, "memory.max", bytes);
    }
    int r = set_u64(dir, "memory.limit_in_bytes", bytes);
    if (r < 0) {
        return r;
    }
    r = set_u64(dir, "memory.memsw.limit_in_bytes", bytes);
    return r == -ENOENT ? 0 : r;
}

static int limit_cpu(const struct cgroup_layout *l, int dir, uint64_t milli) {
    uint64_t quota = milli * (CPU_PERIOD_USEC / 1000);
    if (l->kind == CGROUP_V2) {
        char text[48];
        snprintf(text, sizeof(text), "%llu %u", (unsigned long long)quota, CPU_PERIOD_USEC);
        return file_poke(dir, "cpu.max", text);
    }
    (void)!set_u64(dir, "cpu.cfs_period_us", CPU_PERIOD_USEC);
    int r = set_u64(dir, "cpu.cfs_quota_us", quota);
    return r == -ENOENT ? 0 : r; /* a kernel without CFS bandwidth control */
}

static int limit_pids(const struct cgroup_layout *l, int dir, uint64_t pids) {
    (void)l;
    return set_u64(dir, "pids.max", pids);
}

static int limit_one(const struct cgroup_layout *l, const char *path, const char *controller,
                     uint64_t value,
                     int (*set)(const struct cgroup_layout *l, int dir, uint64_t value),
                     struct err *err) {
    if (!value) {
        return 0;
    }
    const struct cgroup_hierarchy *h = carrier(l, controller);
    if (!h) {
        return 0; /* the host has no such controller; the caller probed and told the user */
    }
    auto_close int dir = open_group(h, path);
    if (dir < 0) {
        return err_sys(err, errno, "open cgroup %s", path);
    }
    int r = set(l, dir, value);
    return r < 0 ? err_sys(err, -r, "limit %s of cgroup %s to %llu", controller, path,
                           (unsigned long long)value)
                 : 0;
}

int cgroup_make(const struct cgroup_layout *l, const char *path, const struct cgroup_limits *limits,
                struct err *err) {
    for (size_t i = 0; i < l->nr; i++) {
        if (make_in(&l->h[i], path, true, err) < 0) {
            return -1;
        }
    }
    if (!limits) {
        return 0;
    }
    if (limit_one(l, path, "memory", limits->mem_bytes, limit_memory, err) < 0 ||
        limit_one(l, path, "cpu", limits->cpu_milli, limit_cpu, err) < 0 ||
        limit_one(l, path, "pids", limits->pids, limit_pids, err) < 0) {
        return -1;
    }
    return 0;
}

int cgroup_enter(const struct cgroup_layout *l, const char *path, pid_t pid, struct err *err) {
    int rc = 0;
    for (size_t i = 0; i < l->nr; i++) {
        const struct cgroup_hierarchy *h = &l->h[i];
        if (make_in(h, path, false, err) < 0) {
            rc = -1;
            continue;
        }
        auto_close int dir = open_group(h, path);
        int r = dir < 0 ? -errno : set_u64(dir, "cgroup.procs", (uint64_t)pid);
        if (r < 0) {
            rc = err_sys(err, -r, "enter cgroup %s (%s)", path, h->unified ? "v2" : h->name);
        }
    }
    return rc;
}

/* --- walking ------------------------------------------------------------------------------ */

typedef void group_fn(int dir, void *arg);

/* Calls fn for the group open at dir and every group below it, children first. */
static void walk(int dir, int depth, group_fn *fn, void *arg) {
    int list_fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = list_fd < 0 ? NULL : fdopendir(list_fd);
    for (struct dirent *e; d && depth < TREE_DEPTH_MAX && (e = readdir(d));) {
        if (e->d_type == DT_DIR && e->d_name[0] != '.') {
            auto_close int child = openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (child >= 0) {
                walk(child, depth + 1, fn, arg);
            }
        }
    }
    if (d) {
        closedir(d);
    }
    fn(dir, arg);
}

struct census {
    size_t n;
    int sig; /* 0: count only */
    pid_t self;
};

static void visit_processes(int dir, void *arg) {
    struct census *c = arg;
    auto_buf struct buf b = BUF_INIT(16u << 20);
    if (file_read(dir, "cgroup.procs", &b, NULL) < 0) {
        return;
    }
    struct str rest = buf_str(&b);
    while (rest.p) {
        uint64_t pid;
        if (str_to_u64(str_cut(&rest, '\n'), &pid) && pid > 0 && (pid_t)pid != c->self) {
            c->n++;
            if (c->sig) {
                kill((pid_t)pid, c->sig);
            }
        }
    }
}

/* Which hierarchies list a process differs (a runtime can die between joining two), so all are
 * looked at; the number is the highest found in one. */
static size_t sweep(const struct cgroup_layout *l, const char *path, int sig) {
    size_t most = 0;
    for (size_t i = 0; i < l->nr; i++) {
        auto_close int dir = open_group(&l->h[i], path);
        if (dir >= 0) {
            struct census c = {0, sig, getpid()};
            walk(dir, 0, visit_processes, &c);
            most = c.n > most ? c.n : most;
        }
    }
    return most;
}

size_t cgroup_count(const struct cgroup_layout *l, const char *path) {
    return sweep(l, path, 0);
}

/* Whether v1 freezing was possible; a frozen process dies only when thawed. */
static bool freeze(const struct cgroup_layout *l, const char *path, bool on) {
    const struct cgroup_hierarchy *h = carrier(l, "freezer");
    auto_close int dir = h && !h->unified ? open_group(h, path) : -1;
    return dir >= 0 && file_poke(dir, "freezer.state", on ? "FROZEN" : "THAWED") == 0;
}

static void visit_thaw(int dir, void *arg) {
    (void)arg;
    (void)!file_poke(dir, "freezer.state", "THAWED");
}

/* A container can have been frozen by somebody (runtime pause) below our cgroup. */
static void thaw_tree(const struct cgroup_layout *l, const char *path) {
    const struct cgroup_hierarchy *h = carrier(l, "freezer");
    auto_close int dir = h && !h->unified ? open_group(h, path) : -1;
    if (dir >= 0) {
        walk(dir, 0, visit_thaw, NULL);
    }
}

int cgroup_kill_all(const struct cgroup_layout *l, const char *path, usec_t limit,
                    struct err *err) {
    usec_t end = time_mono() + limit;
    for (int round = 0;; round++) {
        for (size_t i = 0; i < l->nr; i++) {
            auto_close int dir = l->h[i].unified ? open_group(&l->h[i], path) : -1;
            if (dir >= 0) {
                (void)!file_poke(dir, "cgroup.kill", "1"); /* kernel 5.14; else the sweep does it */
            }
        }
        if (cgroup_count(l, path) == 0) {
            return 0;
        }
        /* Freezing is needed only against something that forks as fast as we kill. */
        bool frozen = round > 0 && freeze(l, path, true);
        sweep(l, path, SIGKILL);
        if (frozen) {
            freeze(l, path, false);
        }
        thaw_tree(l, path);
        size_t left = cgroup_count(l, path);
        if (left == 0) {
            return 0;
        }
        if (time_mono() >= end) {
            return err_set(err, ERR_DEADLINE_EXCEEDED, "%zu processes left in cgroup %s after kill",
                           left, path);
        }
        usleep(PAUSE_USEC);
    }
}

/* Removes the children of an open group, then the caller removes the group itself. */
static int remove_children(int dir, int depth) {
    int rc = 0;
    int list_fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = list_fd < 0 ? NULL : fdopendir(list_fd);
    for (struct dirent *e; d && depth < TREE_DEPTH_MAX && (e = readdir(d));) {
        if (e->d_type == DT_DIR && e->d_name[0] != '.') {
            auto_close int child = openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (child >= 0) {
                remove_children(child, depth + 1);
            }
            if (unlinkat(dir, e->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT) {
                rc = -errno;
            }
        }
    }
    if (d) {
        closedir(d);
    }
    return rc;
}

static int remove_in(const struct cgroup_hierarchy *h, const char *path) {
    for (int i = 0;; i++) {
        if (unlinkat(h->root_fd, below(path), AT_REMOVEDIR) == 0 || errno == ENOENT) {
            return 0;
        }
        int why = errno;
        if (i == REMOVE_TRIES || why != EBUSY) {
            return -why;
        }
        auto_close int dir = open_group(h, path);
        if (dir < 0 || remove_children(dir, 0) < 0 || i > 0) {
            usleep(PAUSE_USEC);
        }
    }
}

int cgroup_remove(const struct cgroup_layout *l, const char *path, struct err *err) {
    int rc = 0;
    for (size_t i = 0; i < l->nr; i++) {
        int r = remove_in(&l->h[i], path);
        if (r < 0) {
            rc = err_sys(err, -r, "remove cgroup %s (%s)", path,
                         l->h[i].unified ? "v2" : l->h[i].name);
        }
    }
    return rc;
}

/* --- statistics --------------------------------------------------------------------------- */

static uint64_t read_u64(int dir, const char *file) {
    auto_buf struct buf b = BUF_INIT(256);
    uint64_t v = 0;
    if (file_read(dir, file, &b, NULL) == 0) {
        struct str s = buf_str(&b);
        if (!str_to_u64(str_cut(&s, '\n'), &v)) {
            return 0; /* "max" */
        }
    }
    return v;
}

/* "key value" lines. */
static uint64_t read_keyed(int dir, const char *file, const char *key) {
    auto_buf struct buf b = BUF_INIT(65536);
    if (file_read(dir, file, &b, NULL) < 0) {
        return 0;
    }
    struct str rest = buf_str(&b);
    while (rest.p) {
        struct str value = str_cut(&rest, '\n');
        uint64_t v;
        if (str_eqc(str_cut(&value, ' '), key) && str_to_u64(value, &v)) {
            return v;
        }
    }
    return 0;
}

static void visit_oom_v1(int dir, void *arg) {
    *(uint64_t *)arg += read_keyed(dir, "memory.oom_control", "oom_kill");
}

static void visit_refused_v1(int dir, void *arg) {
    *(uint64_t *)arg += read_keyed(dir, "pids.events", "max");
}

static void stats_v2(int dir, struct cgroup_stats *s) {
    s->cpu_usec = read_keyed(dir, "cpu.stat", "usage_usec");
    s->mem_bytes = read_u64(dir, "memory.current");
    s->mem_peak = read_u64(dir, "memory.peak"); /* kernel 5.19 */
    s->mem_limit = read_u64(dir, "memory.max");
    s->oom_kills = read_keyed(dir, "memory.events", "oom_kill");
    s->pids = read_u64(dir, "pids.current");
    s->pids_refused = read_keyed(dir, "pids.events", "max");
}

int cgroup_read_stats(const struct cgroup_layout *l, const char *path, struct cgroup_stats *ret,
                      struct err *err) {
    struct cgroup_stats s = {0};
    bool found = false;
    static const char *const controllers[] = {"memory", "cpuacct", "pids"};
    for (size_t i = 0; i < NR_OF(controllers); i++) {
        const struct cgroup_hierarchy *h = carrier(l, controllers[i]);
        auto_close int dir = h ? open_group(h, path) : -1;
        if (dir < 0) {
            continue;
        }
        found = true;
        if (h->unified) {
            stats_v2(dir, &s);
            break;
        }
        if (i == 0) {
            s.mem_bytes = read_u64(dir, "memory.usage_in_bytes");
            s.mem_peak = read_u64(dir, "memory.max_usage_in_bytes");
            s.mem_limit = read_u64(dir, "memory.limit_in_bytes");
            if (s.mem_limit >= (uint64_t)1 << 62) {
                s.mem_limit = 0; /* the kernel's "unlimited" is the largest page multiple */
            }
            walk(dir, 0, visit_oom_v1, &s.oom_kills);
        } else if (i == 1) {
            s.cpu_usec = read_u64(dir, "cpuacct.usage") / 1000;
        } else {
            s.pids = read_u64(dir, "pids.current");
            walk(dir, 0, visit_refused_v1, &s.pids_refused);
        }
    }
    if (!found) {
        return err_set(err, ERR_NOT_FOUND, "no cgroup %s", path);
    }
    *ret = s;
    return 0;
}
