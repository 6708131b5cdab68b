/* Staging: image, package layer, run directory of every replica. All of it is file work, done in
 * one lane work (two when packages have to be installed in between); nothing runs yet when it is
 * over. */
#include "engine/local/local_int.h"

#include "engine/local/env.h"
#include "engine/local/packages.h"
#include "engine/local/rundirs.h"
#include "engine/local/warm.h"
#include "sys/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define PIDS_LIMIT 32768u           /* of one replica; stops fork bombs, not data loaders */
#define FALLBACK_RESOLVER "8.8.8.8" /* when all the host has is a resolver on its own loopback */
#define MAX_DEVICE_NODES 24

static void submit(struct local_attempt *a, void (*run)(struct lane_work *),
                   void (*done)(struct lane_work *)) {
    CHECK(!a->working);
    a->working = true;
    a->work.run = run;
    a->work.done = done;
    local_submit(a->eng, &a->work);
}

/* -- what all containers of this host have in common ------------------------------------------- */

void local_plan_common(struct local *eng, struct rundir_plan *plan) {
    plan->runtime = eng->probe.runtime;
    plan->hide_unified = eng->probe.hide_unified;
    plan->net = eng->probe.net;
    plan->bridge = LOCAL_BRIDGE;
    plan->gateway = eng->gateway;
    plan->pids = PIDS_LIMIT;
    plan->bundle.no_swap_limit = !probe_swap_limit(&eng->cgroups);
    plan->bundle.no_cgroup_ns = access("/proc/self/ns/cgroup", F_OK) < 0;
    plan->bundle.nofile = probe_nofile();
    if (eng->cgroups.kind == CGROUP_NONE) {
        plan->pids = 0;
    }
}

void local_resolv(struct local *eng, struct buf *out) {
    bool bridge = strcmp(eng->probe.net, "bridge") == 0;
    auto_buf struct buf host = BUF_INIT(65536);
    /* systemd-resolved keeps the real servers here; the other file names only its own address. */
    if (file_read(AT_FDCWD, "/run/systemd/resolve/resolv.conf", &host, NULL) < 0) {
        buf_clear(&host);
        if (file_read(AT_FDCWD, "/etc/resolv.conf", &host, NULL) < 0) {
            buf_clear(&host);
        }
    }
    names_resolv_file(out, buf_str(&host), bridge, bridge ? FALLBACK_RESOLVER : NULL);
}

/* -- lane: images ------------------------------------------------------------------------------ */

static int resolve_images(struct local_attempt *a, struct err *err) {
    const struct job_spec *s = a->run->spec;
    for (uint32_t p = 0; p < s->nr_pools; p++) {
        struct local_pool *lp = &a->pools[p];
        if (s->pools[p].replica_count == 0 || lp->image.layers != NULL) {
            continue;
        }
        bool ready;
        if (images_ready(a, p, &ready, err) < 0) {
            return -1;
        }
        if (!ready) {
            a->need_image = p;
            return 0;
        }
        if (image_lookup_user(&lp->image, a->arena, &lp->user, err) < 0 ||
            trust_layer(a->eng, a->arena, &lp->image, &lp->trust_layer, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* -- lane: run directories --------------------------------------------------------------------- */

static int take_addresses(struct local_attempt *a, struct err *err) {
    if (strcmp(a->eng->probe.net, "bridge") != 0) {
        return 0;
    }
    for (uint32_t i = 0; i < a->nr_reps; i++) {
        if (a->reps[i].addr[0] == 0 &&
            ipam_take(&a->eng->ipam, a->reps[i].dir, a->reps[i].addr, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* A directory of this very try may be there when the server died between the intent and the launch.
 * It is made again unless something ran in it: the same nonce never runs twice. */
static int clear_old(struct local_attempt *a, struct local_replica *r, struct err *err) {
    struct rundir_look look;
    if (rundir_look(r->dir, &look, err) < 0) {
        return -1;
    }
    mem_auto_close(&look.pidfd);
    if (look.state == RUNDIR_ABSENT) {
        return 0;
    }
    if (look.state != RUNDIR_FRESH && strcmp(look.nonce, a->run->nonce) == 0) {
        return err_set(err, ERR_FAILED_PRECONDITION, "this try of replica %s has already run",
                       r->name);
    }
    return rundir_remove(a->eng->run_root, r->dir, &a->eng->cgroups, err);
}

static size_t device_nodes(const struct replica_run *rr, struct bundle_device *ret) {
    static const char *const shared[] = {"/dev/nvidiactl", "/dev/nvidia-uvm",
                                         "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset"};
    size_t n = 0;
    static _Thread_local char names[16][32];
    for (size_t i = 0; i < NR_OF(shared) + rr->place.nr_devices && rr->place.nr_devices > 0; i++) {
        const char *path;
        struct stat st;
        if (i < NR_OF(shared)) {
            path = shared[i];
        } else {
            size_t k = i - NR_OF(shared);
            (void)snprintf(names[k], sizeof(names[k]), "/dev/nvidia%u", rr->place.devices[k]);
            path = names[k];
        }
        if (stat(path, &st) == 0 && S_ISCHR(st.st_mode) && n < MAX_DEVICE_NODES) {
            ret[n++] = (struct bundle_device){path, 'c', major(st.st_rdev), minor(st.st_rdev)};
        }
    }
    return n;
}

/* Layers of the pool; WARM_LAYERS places are left in front. */
static const char **lower_dirs(struct local_attempt *a, const struct local_pool *lp) {
    size_t n = 0;
    while (lp->image.layers[n] != NULL) {
        n++;
    }
    const char **out = arena_calloc(a->arena, WARM_LAYERS + n + 3, sizeof(*out));
    size_t at = WARM_LAYERS;
    if (lp->pkg_layer != NULL) {
        out[at++] = lp->pkg_layer;
    }
    if (lp->trust_layer != NULL) {
        out[at++] = lp->trust_layer;
    }
    memcpy(out + at, lp->image.layers, n * sizeof(*out));
    return out + WARM_LAYERS;
}

/* /gcs, and on top of it the buckets that are directories elsewhere. */
static const struct bundle_mount *gcs_mounts(struct local_attempt *a, size_t *ret_n) {
    const char **more = a->eng->opts.gcs_mounts;
    size_t n = 0, k = 0;
    while (more && more[2 * n]) {
        n++;
    }
    struct bundle_mount *m = arena_calloc(a->arena, n + 1, sizeof(*m));
    m[k++] = (struct bundle_mount){a->eng->bucket_root, "/gcs", false};
    for (size_t i = 0; i < n; i++) {
        m[k++] = (struct bundle_mount){more[2 * i],
                                       arena_printf(a->arena, "/gcs/%s", more[2 * i + 1]), false};
    }
    *ret_n = k;
    return m;
}

static int make_rundir(struct local_attempt *a, struct local_replica *r, const char *resolv,
                       struct err *err) {
    struct local *eng = a->eng;
    const struct job_spec *s = a->run->spec;
    const struct pool_spec *pool = &s->pools[r->pool];
    const struct local_pool *lp = &a->pools[r->pool];
    const struct replica_run *rr = &a->run->replicas[r->nr];
    bool bridge = r->addr[0] != 0;

    struct env env;
    const char **argv, **doors, *door;
    const struct engine_doors *d = eng->opts.doors;
    if (doors_plan(r, &doors, &door, err) < 0) {
        return -1;
    }
    bool shared_net = strcmp(eng->probe.net, "host") == 0;
    const struct env_input in = {.spec = s,
                                 .replica = r->nr,
                                 .image_env = lp->image.env,
                                 .extra_env = eng->opts.extra_env,
                                 .door_env = d == NULL    ? NULL
                                             : shared_net ? d->host_env
                                                          : d->env,
                                 .door = door,
                                 .gateway = eng->gateway,
                                 .home = lp->user.home};
    if (env_make(a->arena, &in, &env, err) < 0 ||
        env_command(a->arena, &env, pool, lp->image.entrypoint, lp->image.cmd, &argv, err) < 0) {
        return -1;
    }
    const char **lowers = lower_dirs(a, lp), *warm[WARM_LAYERS];
    warm_stage(r, &in, &env, lowers, &argv, warm);
    for (size_t i = WARM_LAYERS; i-- > 0;) {
        if (warm[i] != NULL) {
            *--lowers = warm[i];
        }
    }
    auto_buf struct buf hosts = BUF_INIT(1 << 20);
    const char **addrs = arena_calloc(a->arena, a->nr_reps, sizeof(*addrs));
    for (uint32_t i = 0; i < a->nr_reps && bridge; i++) {
        addrs[i] = a->reps[i].addr;
    }
    names_hosts_file(&hosts, s, r->nr, addrs);
    for (size_t i = 0; d != NULL && !shared_net && d->names != NULL && d->names[i] != NULL; i++) {
        (void)buf_printf(&hosts, "%s\t%s\n", door, d->names[i]);
    }
    char hostname[NAMES_HOST_SIZE];
    names_host(s, r->pool, r->index, hostname);
    names_veth(eng->instance, s->id, a->run->attempt, r->name, r->veth);

    struct bundle_device nodes[MAX_DEVICE_NODES];
    size_t nr_mounts;
    const struct bundle_mount *mounts = gcs_mounts(a, &nr_mounts);
    const char *id = arena_printf(a->arena, "%s-a%u-%s", s->id, a->run->attempt, r->name);
    struct rundir_plan plan = {
        .job = s->id,
        .replica = r->name,
        .nonce = a->run->nonce,
        .attempt = a->run->attempt,
        .log_dir = r->log_dir,
        .container = arena_printf(a->arena, "cusp-%s-%s", eng->instance, id),
        .lowers = lowers,
        .cgroup = arena_printf(a->arena, "/cusp/%s/%s", eng->instance, id),
        .runner_cgroup = arena_printf(a->arena, "/cusp/%s/runners", eng->instance),
        .mem_bytes = rr->place.mem_bytes,
        .cpu_milli = rr->place.cpu_milli,
        .veth = r->veth,
        .addr = arena_printf(a->arena, "%s/%u", r->addr, eng->ipam.prefix_len),
        .doors = doors,
        .metrics = s->trial_id != NULL,
        .hosts = buf_cstr(&hosts),
        .resolv = resolv,
        .hostname = hostname,
        .bundle = {.argv = argv,
                   .env = env_strings(&env),
                   .cwd = lp->image.workdir,
                   .uid = lp->user.uid,
                   .gid = lp->user.gid,
                   .extra_gids = lp->user.extra_gids,
                   .nr_extra_gids = lp->user.nr_extra,
                   .mounts = mounts,
                   .nr_mounts = nr_mounts,
                   .shm_bytes = rr->place.mem_bytes / 2,
                   .device_nodes = nodes,
                   .nr_device_nodes = device_nodes(rr, nodes)}};
    local_plan_common(eng, &plan);
    return rundir_create(r->dir, &plan, err);
}

static int make_rundirs(struct local_attempt *a, struct err *err) {
    auto_buf struct buf resolv = BUF_INIT(65536);
    local_resolv(a->eng, &resolv);
    if (file_mkdirs(AT_FDCWD, a->eng->bucket_root, 0755, err) < 0 || take_addresses(a, err) < 0) {
        return -1;
    }
    for (uint32_t i = 0; i < a->nr_reps; i++) {
        if (clear_old(a, &a->reps[i], err) < 0 ||
            make_rundir(a, &a->reps[i], buf_cstr(&resolv), err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* -- lane: the whole ----------------------------------------------------------------------------
 */

static void add_input(struct local_attempt *a, enum input_kind kind, const char *uri,
                      const char *digest) {
    for (size_t i = 0; i < a->nr_inputs; i++) {
        if (a->inputs[i].kind == kind && strcmp(a->inputs[i].uri, uri) == 0) {
            return;
        }
    }
    struct staged_input *in = &a->inputs[a->nr_inputs++];
    in->kind = kind;
    in->uri = uri;
    in->digest = digest;
}

/* What the names in the job's spec stood for, this time. */
static void note_inputs(struct local_attempt *a) {
    const struct job_spec *s = a->run->spec;
    size_t max = s->nr_pools;
    for (uint32_t p = 0; p < s->nr_pools; p++) {
        for (size_t i = 0; a->pools[p].pkg_digests != NULL && s->pools[p].package_uris[i]; i++) {
            max++;
        }
    }
    a->inputs = arena_calloc(a->arena, max + 1, sizeof(*a->inputs));
    a->nr_inputs = 0;
    for (uint32_t p = 0; p < s->nr_pools; p++) {
        const struct local_pool *lp = &a->pools[p];
        if (lp->image.digest != NULL) {
            add_input(a, INPUT_IMAGE, s->pools[p].image_uri, lp->image.digest);
        }
        for (size_t i = 0; lp->pkg_digests != NULL && lp->pkg_digests[i] != NULL; i++) {
            add_input(a, INPUT_PACKAGE, s->pools[p].package_uris[i], lp->pkg_digests[i]);
        }
    }
}

static int stage_all(struct local_attempt *a, struct err *err) {
    const struct job_spec *s = a->run->spec;
    usec_t t0 = time_mono();
    a->need_pool = a->need_image = UINT32_MAX;
    if (resolve_images(a, err) < 0) {
        return -1;
    }
    usec_t t1 = time_mono();
    a->took_image += t1 - t0;
    if (a->need_image != UINT32_MAX) {
        return 0;
    }
    for (uint32_t p = 0; p < s->nr_pools; p++) {
        bool ready = true;
        if (s->pools[p].kind != TASK_PYTHON || s->pools[p].replica_count == 0) {
            continue;
        }
        if (packages_key(a, p, &ready, err) < 0) {
            return -1;
        }
        if (!ready) {
            a->need_pool = p;
            a->took_packages += time_mono() - t1;
            return 0;
        }
    }
    usec_t t2 = time_mono();
    a->took_packages += t2 - t1;
    note_inputs(a);
    int rc = make_rundirs(a, err);
    a->took_bundle += time_mono() - t2;
    return rc;
}

static void stage_run(struct lane_work *w) {
    struct local_attempt *a = CONTAINER_OF(w, struct local_attempt, work);
    a->rc = stage_all(a, &a->err);
}

static bool has_python(const struct job_spec *s) {
    for (uint32_t p = 0; p < s->nr_pools; p++) {
        if (s->pools[p].kind == TASK_PYTHON && s->pools[p].replica_count > 0) {
            return true;
        }
    }
    return false;
}

static void tell_staged(struct local_attempt *a) {
    const struct engine_sink *sink = a->run->sink;
    a->phase = ATT_STAGED;
    warm_make(a);
    sink->step(a->run, STAGE_IMAGE, a->took_image);
    if (!a->releasing && has_python(a->run->spec)) {
        sink->step(a->run, STAGE_PACKAGES, a->took_packages);
    }
    if (!a->releasing) {
        sink->step(a->run, STAGE_BUNDLE, a->took_bundle);
    }
    if (!a->releasing) {
        packages_note_start(a);
    }
    if (!a->releasing) {
        a->run->inputs = a->inputs;
        a->run->nr_inputs = a->nr_inputs;
        sink->staged(a->run);
    }
}

static void stage_done(struct lane_work *w) {
    struct local_attempt *a = CONTAINER_OF(w, struct local_attempt, work);
    if (local_done(a->eng)) {
        return;
    }
    a->working = false;
    if (a->releasing) {
        attempt_release_step(a);
        return;
    }
    if (w->cancelled) {
        a->rc = err_set(&a->err, ERR_CANCELLED, "the server is stopping");
    }
    attempt_tell_notes(a);
    if (a->releasing) {
        return; /* a note can make the owner give up */
    }
    if (a->rc < 0) {
        attempt_fail(a, &a->err);
    } else if (a->need_image != UINT32_MAX) {
        images_want(a, a->need_image);
    } else if (a->need_pool != UINT32_MAX) {
        a->packages_since = time_mono();
        packages_install(a, a->need_pool);
    } else {
        tell_staged(a);
    }
}

void stage_images_ready(struct local_attempt *a, const struct err *why) {
    if (why != NULL) {
        attempt_fail(a, why);
    } else {
        submit(a, stage_run, stage_done);
    }
}

void stage_packages_ready(struct local_attempt *a, const struct err *why) {
    a->took_packages += time_mono() - a->packages_since;
    if (why != NULL) {
        attempt_fail(a, why);
    } else {
        submit(a, stage_run, stage_done);
    }
}

int stage_begin(struct local_attempt *a, struct err *err) {
    (void)err;
    a->phase = ATT_STAGING;
    submit(a, stage_run, stage_done);
    return 0;
}
