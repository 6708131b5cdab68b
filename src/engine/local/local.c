/* The local engine's ops table, construction, sweep and close. */
#include "engine/local/local_int.h"

#include "engine/local/host.h"
#include "engine/local/packages.h"
#include "engine/local/rundirs.h"
#include "engine/local/warm.h"
#include "sys/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#define REGISTRY "/run/cusp/net"
#define HOST_DOORS "127.201.0.0/16"

static struct local *of(struct engine *e) {
    return CONTAINER_OF(e, struct local, base);
}

/* -- lane works ------------------------------------------------------------------------------- */

/* The groups all jobs share; the kernel refuses while one still runs in them. */
static void remove_shared_cgroups(struct local *eng) {
    auto_free char *own = xasprintf("cusp/%s", eng->instance);
    auto_free char *runners = xasprintf("%s/runners", own);
    for (size_t i = 0; i < eng->cgroups.nr; i++) {
        (void)unlinkat(eng->cgroups.h[i].root_fd, runners, AT_REMOVEDIR);
        (void)unlinkat(eng->cgroups.h[i].root_fd, own, AT_REMOVEDIR);
    }
}

static void destroy(struct local *eng) {
    struct local_attempt *a, *tmp;
    list_each_safe (a, tmp, &eng->attempts, link) {
        local_attempt_free(a);
    }
    metrics_hub_close(eng);
    packages_free(eng);
    warm_free(eng);
    remove_shared_cgroups(eng);
    cgroup_layout_close(&eng->cgroups);
    ipam_fini(&eng->ipam);
    ipam_fini(&eng->host_doors);
    arena_free(eng->arena);
    free(eng);
}

void local_submit(struct local *eng, struct lane_work *w) {
    eng->pending++;
    lane_submit(eng->disk, w);
}

bool local_done(struct local *eng) {
    CHECK(eng->pending > 0);
    eng->pending--;
    if (!eng->closing) {
        return false;
    }
    if (eng->pending == 0) {
        destroy(eng);
    }
    return true;
}

/* -- ops -------------------------------------------------------------------------------------- */

static void local_capacity(struct engine *e, struct capacity *ret) {
    *ret = of(e)->capacity;
}

static int local_stage(struct engine *e, struct attempt_run *run, struct err *err) {
    if (run->priv != NULL) {
        return err_set(err, ERR_FAILED_PRECONDITION, "the attempt is staged already");
    }
    return stage_begin(local_attempt_new(of(e), run), err);
}

static int local_launch(struct engine *e, struct attempt_run *run, struct err *err) {
    (void)e;
    if (run->priv == NULL) {
        return err_set(err, ERR_FAILED_PRECONDITION, "the attempt is not staged");
    }
    return attempt_launch(run->priv, err);
}

static int local_reattach(struct engine *e, struct attempt_run *run, struct err *err) {
    if (run->priv != NULL) {
        return err_set(err, ERR_FAILED_PRECONDITION, "the attempt is known already");
    }
    return local_attempt_reattach(local_attempt_new(of(e), run), err);
}

static int local_signal(struct engine *e, struct attempt_run *run, uint32_t replica, int signo,
                        struct err *err) {
    (void)e;
    struct local_attempt *a = run->priv;
    if (a == NULL || a->phase == ATT_STAGING || a->phase == ATT_STAGED) {
        return 0;
    }
    if (replica >= a->nr_reps) {
        return err_set(err, ERR_INVALID_ARGUMENT, "there is no replica %u", replica);
    }
    sup_signal(&a->reps[replica].sup, signo);
    return 0;
}

static void local_release(struct engine *e, struct attempt_run *run) {
    /* Without priv (never staged by this server) there may still be directories. */
    struct local_attempt *a = run->priv != NULL ? run->priv : local_attempt_new(of(e), run);
    attempt_release(a);
}

/* -- sweep ------------------------------------------------------------------------------------ */

struct sweep {
    struct lane_work work;
    struct local *eng;
    VEC_OF(char *) dirs;
    VEC_OF(char *) cgroups;
    bool (*is_live)(void *arg, const char *job_id, uint32_t attempt);
    void *arg;
};

static void sweep_dir(void *arg, const char *dir, const char *job, uint32_t attempt) {
    struct sweep *s = arg;
    if (job != NULL && strcmp(job, PACKAGES_JOB) == 0 && packages_is_running(s->eng, dir)) {
        return;
    }
    if (job != NULL && strcmp(job, WARM_JOB) == 0 && warm_is_running(s->eng, dir)) {
        return;
    }
    if (job == NULL || !s->is_live(s->arg, job, attempt)) {
        vec_push(&s->dirs, xstrdup(dir));
    }
}

/* "JOB-aN-REPLICA" */
static bool cgroup_is_live(struct sweep *s, const char *name) {
    struct str rest = str_of(name);
    struct str job = str_cut(&rest, '-');
    struct str attempt = str_cut(&rest, '-');
    uint64_t n;
    if (rest.p == NULL || attempt.n < 2 || attempt.p[0] != 'a' ||
        !str_to_u64(str_sub(attempt, 1, attempt.n), &n) || n > UINT32_MAX) {
        return strcmp(name, "runners") == 0;
    }
    if (packages_is_cgroup(s->eng, name) || warm_is_cgroup(s->eng, name)) {
        return true;
    }
    auto_free char *id = str_dup(job);
    return s->is_live(s->arg, id, (uint32_t)n);
}

static void find_cgroups(struct sweep *s) {
    for (size_t i = 0; i < s->eng->cgroups.nr; i++) {
        auto_free char *path = xasprintf("cusp/%s", s->eng->instance);
        int fd = openat(s->eng->cgroups.h[i].root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *e;
        while (d != NULL && (e = readdir(d)) != NULL) {
            if (e->d_type == DT_DIR && e->d_name[0] != '.' && !cgroup_is_live(s, e->d_name)) {
                vec_push(&s->cgroups, xasprintf("/%s/%s", path, e->d_name));
            }
        }
        if (d != NULL) {
            closedir(d);
        }
    }
}

static void sweep_run(struct lane_work *w) {
    struct sweep *s = CONTAINER_OF(w, struct sweep, work);
    for (size_t i = 0; i < s->dirs.n; i++) {
        if (unlink(s->dirs.p[i]) < 0) { /* a stray file; directories answer EISDIR */
            (void)!rundir_remove(s->eng->run_root, s->dirs.p[i], &s->eng->cgroups, NULL);
        }
    }
    for (size_t i = 0; i < s->cgroups.n; i++) {
        if (cgroup_kill_all(&s->eng->cgroups, s->cgroups.p[i], 10 * USEC_PER_SEC, NULL) == 0) {
            (void)!cgroup_remove(&s->eng->cgroups, s->cgroups.p[i], NULL);
        }
    }
    if (s->eng->ipam.dir != NULL) {
        ipam_sweep(&s->eng->ipam, s->eng->run_root);
    }
    if (s->eng->host_doors.dir != NULL) {
        ipam_sweep(&s->eng->host_doors, s->eng->run_root);
    }
    trust_tidy(s->eng);
    warm_tidy(s->eng);
}

static void sweep_done(struct lane_work *w) {
    struct sweep *s = CONTAINER_OF(w, struct sweep, work);
    struct local *eng = s->eng;
    for (size_t i = 0; i < s->dirs.n; i++) {
        free(s->dirs.p[i]);
    }
    for (size_t i = 0; i < s->cgroups.n; i++) {
        free(s->cgroups.p[i]);
    }
    vec_fini(&s->dirs);
    vec_fini(&s->cgroups);
    free(s);
    (void)local_done(eng);
}

static void local_sweep(struct engine *e,
                        bool (*is_live)(void *arg, const char *job_id, uint32_t attempt),
                        void *arg) {
    struct sweep *s = xcalloc(1, sizeof(*s));
    s->eng = of(e);
    s->is_live = is_live;
    s->arg = arg;
    s->work.run = sweep_run;
    s->work.done = sweep_done;
    /* Which ones is decided now, on the loop: a job made while the lane works is no garbage. */
    (void)!rundir_each(s->eng->run_root, sweep_dir, s, NULL);
    find_cgroups(s);
    local_submit(s->eng, &s->work);
}

static void local_close(struct engine *e) {
    struct local *eng = of(e);
    struct local_attempt *a;
    eng->closing = true;
    list_each (a, &eng->attempts, link) {
        eng->clock->ops->disarm(eng->clock, &a->start_limit);
        images_forget(a);
        for (uint32_t i = 0; i < a->nr_reps; i++) {
            sup_let_go(&a->reps[i].sup);
            doors_let_go(&a->reps[i]);
            metrics_let_go(&a->reps[i]);
        }
    }
    metrics_hub_close(eng);
    packages_let_go(eng);
    warm_let_go(eng);
    if (eng->pending == 0) {
        destroy(eng);
    }
}

static const struct engine_ops local_ops = {
    .name = "local",
    .caps = ENGINE_REATTACH,
    .capacity = local_capacity,
    .stage = local_stage,
    .launch = local_launch,
    .reattach = local_reattach,
    .signal = local_signal,
    .release = local_release,
    .sweep = local_sweep,
    .close = local_close,
};

/* -- construction ----------------------------------------------------------------------------- */

const char **local_copy_list(struct arena *a, const char **list) {
    size_t n = 0;
    while (list != NULL && list[n] != NULL) {
        n++;
    }
    const char **out = arena_calloc(a, n + 1, sizeof(*out));
    for (size_t i = 0; i < n; i++) {
        out[i] = arena_strdup(a, list[i]);
    }
    return out;
}

static void copy_opts(struct local *eng, const struct engine_local_opts *o) {
    struct arena *a = eng->arena;
    eng->opts = *o;
    eng->opts.data_dir = arena_strdup(a, o->data_dir);
    eng->opts.runner_path = arena_strdup(a, o->runner_path);
    eng->opts.runtime = arena_strdup(a, o->runtime != NULL ? o->runtime : "auto");
    eng->opts.network = arena_strdup(a, o->network != NULL ? o->network : "bridge");
    eng->opts.subnet = arena_strdup(a, o->subnet != NULL ? o->subnet : "10.201.0.0/16");
    eng->opts.extra_env = local_copy_list(a, o->extra_env);
    eng->run_root = arena_printf(a, "%s/run", o->data_dir);
    eng->log_root = arena_printf(a, "%s/logs", o->data_dir);
    eng->pkg_root = arena_printf(a, "%s/pkgs", o->data_dir);
    char tools_id[17];
    warm_tools_id(tools_id);
    eng->opts.warm_imports = arena_strdup(a, o->warm_imports);
    eng->warm_root = arena_printf(a, "%s/warm", o->data_dir);
    eng->warm_tools = arena_printf(a, "%s/tools-%s/fs", eng->warm_root, tools_id);
    eng->bucket_root = arena_printf(a, "%s/buckets", o->data_dir);
    names_instance(o->data_dir, eng->instance);
}

static int setup(struct local *eng, struct err *err) {
    if (eng->opts.data_dir[0] != '/') {
        return err_set(err, ERR_INVALID_ARGUMENT, "the data directory must be absolute");
    }
    if (access(eng->opts.runner_path, X_OK) < 0) {
        return err_sys(err, errno, "runner %s", eng->opts.runner_path);
    }
    if (file_mkdirs(AT_FDCWD, eng->run_root, 0700, err) < 0 ||
        cgroup_layout_open(&eng->cgroups, err) < 0) {
        return -1;
    }
    auto_free char *own_registry = xasprintf("%s/.net", eng->run_root);
    struct err e = {0};
    if (ipam_init(&eng->ipam, eng->opts.subnet, REGISTRY, &e) < 0 &&
        (e.code == ERR_INVALID_ARGUMENT ||
         ipam_init(&eng->ipam, eng->opts.subnet, own_registry, &e) < 0)) {
        if (err != NULL) {
            *err = e;
        }
        return -1;
    }
    char gateway[IPAM_ADDR_SIZE];
    ipam_gateway(&eng->ipam, gateway);
    const struct probe_input in = {.data_dir = eng->opts.data_dir,
                                   .runner_path = eng->opts.runner_path,
                                   .runtime = eng->opts.runtime,
                                   .network = eng->opts.network,
                                   .subnet = eng->opts.subnet,
                                   .bridge = LOCAL_BRIDGE,
                                   .gateway = gateway,
                                   .prefix_len = eng->ipam.prefix_len,
                                   .instance = eng->instance,
                                   .cgroups = &eng->cgroups};
    if (probe_host(&in, &eng->probe, err) < 0) {
        return -1;
    }
    eng->gateway =
        arena_strdup(eng->arena, strcmp(eng->probe.net, "bridge") == 0 ? gateway : "127.0.0.1");
    if (eng->opts.doors != NULL && strcmp(eng->probe.net, "host") == 0 &&
        ipam_init(&eng->host_doors, HOST_DOORS, REGISTRY, NULL) < 0 &&
        ipam_init(&eng->host_doors, HOST_DOORS, own_registry, err) < 0) {
        return -1;
    }
    host_capacity(eng->opts.cpu_milli, eng->opts.mem_bytes, &eng->capacity);
    (void)snprintf(eng->describe, sizeof(eng->describe), "%s, cgroup %s, network %s%s%s",
                   eng->probe.runtime_text, cgroup_kind_name(eng->cgroups.kind),
                   eng->probe.net_text, eng->probe.warning[0] != 0 ? "; warning: " : "",
                   eng->probe.warning);
    return 0;
}

struct engine *engine_local_new(const struct engine_local_opts *o, struct err *err) {
    struct local *eng = xcalloc(1, sizeof(*eng));
    eng->base.ops = &local_ops;
    eng->arena = arena_new(ARENA_NO_MAX);
    eng->loop = o->loop;
    eng->clock = loop_clock(o->loop);
    eng->disk = o->disk;
    list_init(&eng->attempts);
    list_init(&eng->installs);
    list_init(&eng->makings);
    eng->metrics.fd = -1;
    copy_opts(eng, o);
    if (setup(eng, err) < 0) {
        destroy(eng);
        return NULL;
    }
    metrics_hub_open(eng);
    return &eng->base;
}

const char **engine_local_images_in_use(struct engine *e, struct arena *a) {
    struct local *eng = of(e);
    const struct local_attempt *at;
    size_t max = 0, n = 0;
    list_each (at, &eng->attempts, link) {
        max += at->run->spec->nr_pools;
    }
    const char **out = arena_calloc(a, max + 1, sizeof(*out));
    list_each (at, &eng->attempts, link) {
        for (uint32_t p = 0; p < at->run->spec->nr_pools; p++) {
            struct image img = {0};
            /* while a lane works on the attempt its pools are not ours to read */
            if (!at->working && at->pools[p].image.layers != NULL) {
                out[n++] = arena_strdup(a, at->pools[p].image.digest);
            } else if (image_find(eng->opts.images, a, at->run->spec->pools[p].image_uri, &img,
                                  NULL) == 0) {
                out[n++] = img.digest;
            }
        }
    }
    return out;
}

struct tidying {
    struct lane_work work;
    struct local *eng;
};

static void tidy_run(struct lane_work *w) {
    trust_tidy(CONTAINER_OF(w, struct tidying, work)->eng);
}

static void tidy_done(struct lane_work *w) {
    struct tidying *t = CONTAINER_OF(w, struct tidying, work);
    struct local *eng = t->eng;
    free(t);
    (void)local_done(eng);
}

void engine_local_tidy(struct engine *e) {
    struct tidying *t = xcalloc(1, sizeof(*t));
    t->eng = of(e);
    t->work.run = tidy_run;
    t->work.done = tidy_done;
    local_submit(t->eng, &t->work);
}

const char *engine_local_describe(struct engine *e) {
    return of(e)->describe;
}

void engine_local_metrics(struct engine *e, struct buf *b) {
    warm_metrics(of(e), b);
}
