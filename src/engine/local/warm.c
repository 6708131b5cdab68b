/* Which start a replica gets, and the containers that make memory images: see warm.h. A making is a
 * container like a job's (its own run directory, DIR/run/warm/a1/KEY-RANDOM) without network,
 * buckets or door; what it leaves in its upper directory becomes the image. */
#include "engine/local/warm.h"

#include "base/fail.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/rng.h"
#include "engine/local/local_int.h"
#include "engine/local/rundirs.h"
#include "sys/files.h"
#include "warm/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRY_AGAIN 600 /* seconds that a failure is believed */

struct warm_making {
    struct list link; /* eng->makings */
    struct local *eng;
    struct arena *arena;
    const char *key, *dir, *cgroup_name;
    struct rundir_plan plan;
    const char *chown_dir;
    struct sup sup;
    struct timer limit;
    struct lane_work work;
    bool ended_ok;
    usec_t since;
    /* lane: */
    int rc;
    struct err err;
    struct exit_info exit;
};

/* -- lane: the choice ------------------------------------------------------------------------- */

static size_t count(const char *const *list) {
    size_t n = 0;
    while (list != NULL && list[n] != NULL) {
        n++;
    }
    return n;
}

/* A failure of the last minutes, or "". */
static const char *recent_why(struct local *eng, struct arena *a, const char *key) {
    struct stat st;
    auto_free char *path = xasprintf("%s/%s.why", eng->warm_root, key);
    auto_buf struct buf b = BUF_INIT(WARM_WHY_MAX);
    if (stat(path, &st) < 0 || st.st_mtime + TRY_AGAIN < (time_t)(time_wall() / USEC_PER_SEC) ||
        file_read(AT_FDCWD, path, &b, NULL) < 0) {
        return "";
    }
    return arena_strdup(a, buf_cstr(&b));
}

/* One line a pool: its replicas differ in nothing that is said here. */
static bool speaks(const struct local_replica *r) {
    return r->index == 0;
}

static void want(struct local_replica *r, const char *key, const struct warm_choice *c,
                 const char *cwd, const char **argv, const char **env, const char **lowers) {
    struct local_attempt *a = r->att;
    const struct placement *place = &a->run->replicas[r->nr].place;
    struct warm_want *w = arena_calloc(a->arena, 1, sizeof(*w));
    const char **prefix = arena_calloc(a->arena, c->prefix + 1, sizeof(*prefix));
    memcpy(prefix, argv, c->prefix * sizeof(*prefix));
    *w = (struct warm_want){.key = key,
                            .imports = c->imports,
                            .cwd = cwd,
                            .argv = prefix,
                            .env = env,
                            .lowers = lowers,
                            .mem_bytes = place->mem_bytes,
                            .cpu_milli = place->cpu_milli,
                            .pool = r->pool};
    a->warm_want = w;
}

void warm_stage(struct local_replica *r, const struct env_input *in, const struct env *env,
                const char **lowers, const char ***argv, const char *ret_layers[WARM_LAYERS]) {
    struct local_attempt *a = r->att;
    struct local *eng = a->eng;
    const struct local_pool *lp = &a->pools[r->pool];
    const struct warm_query q = {.mode = eng->opts.warm_mode,
                                 .default_imports = eng->opts.warm_imports,
                                 .supported = warm_is_built(),
                                 .spec = a->run->spec,
                                 .pool = &a->run->spec->pools[r->pool],
                                 .argv = *argv,
                                 .has_devices = a->run->replicas[r->nr].place.nr_devices > 0};
    struct warm_choice c;
    ret_layers[0] = ret_layers[1] = NULL;
    warm_choose(a->arena, &q, &c);
    if (!c.asked) {
        return;
    }
    const char *tools = NULL;
    struct err e = {0};
    if (c.why_not == NULL && warm_tools_layer(eng, &tools, &e) < 0) {
        c.why = WARM_WHY_DISK;
        c.why_not = arena_strdup(a->arena, e.msg);
    }
    if (c.why_not != NULL) {
        atomic_fetch_add(&eng->warm.cold[c.why], 1);
        if (speaks(r)) {
            attempt_note_later(a, 200, "Cold start of Python: %s.", c.why_not);
        }
        return;
    }
    const char **kept = warm_env(a->arena, in, env);
    const struct warm_key_input k = {.tools = tools,
                                     .image_digest = lp->image.digest,
                                     .pkg_key = lp->pkg_key,
                                     .trust_layer = lp->trust_layer,
                                     .cwd = lp->image.workdir,
                                     .imports = c.imports,
                                     .uid = lp->user.uid,
                                     .gid = lp->user.gid,
                                     .argv = *argv,
                                     .prefix = c.prefix,
                                     .env = kept};
    char *key = arena_calloc(a->arena, WARM_KEY_LEN + 1, 1);
    warm_key(&k, key);
    auto_free char *used = xasprintf("%s/%s/used", eng->warm_root, key);
    if (utimensat(AT_FDCWD, used, NULL, 0) == 0) {
        size_t n = count(*argv);
        const char **warm = arena_calloc(a->arena, n + 2, sizeof(*warm));
        warm[0] = WARM_THAW;
        memcpy(warm + 1, *argv, n * sizeof(*warm));
        *argv = warm;
        ret_layers[0] = arena_printf(a->arena, "%s/%s/fs", eng->warm_root, key);
        ret_layers[1] = tools;
        r->warm.is_staged = true;
        if (speaks(r)) {
            attempt_note_later(a, 200, "Warm start of Python: %s imported already (image %.12s).",
                               c.imports, key);
        }
        return;
    }
    const char *why = recent_why(eng, a->arena, key);
    atomic_fetch_add(&eng->warm.cold[why[0] != 0 ? WARM_WHY_FAILED : WARM_WHY_NO_IMAGE], 1);
    if (speaks(r)) {
        if (why[0] != 0) {
            attempt_note_later(a, 200, "Cold start of Python: %s.", why);
        } else {
            attempt_note_later(a, 200,
                               "Cold start of Python: the memory image with %s is being made for "
                               "later runs.",
                               c.imports);
        }
    }
    if (why[0] == 0 && a->warm_want == NULL) {
        want(r, key, &c, lp->image.workdir, *argv, kept, lowers);
    }
}

/* -- which start it was ----------------------------------------------------------------------- */

static void finish_start_run(struct lane_work *w) {
    struct warm_start *s = CONTAINER_OF(w, struct warm_start, work);
    struct local_replica *r = CONTAINER_OF(s, struct local_replica, warm);
    struct warm_counts *n = &r->att->eng->warm;
    auto_free char *upper = xasprintf("%s/upper", r->dir);
    warm_read_left(upper, "cold", s->why, sizeof(s->why));
    if (s->why[0] != 0) {
        atomic_fetch_add(&n->cold[WARM_WHY_THAW], 1);
    } else if (s->is_staged) {
        atomic_fetch_add(&n->warm, 1);
    }
}

static void finish_start_done(struct lane_work *w) {
    struct warm_start *s = CONTAINER_OF(w, struct warm_start, work);
    struct local_replica *r = CONTAINER_OF(s, struct local_replica, warm);
    struct local_attempt *a = r->att;
    if (local_done(a->eng)) {
        return;
    }
    s->working = false;
    s->finished = true;
    if (a->releasing) {
        attempt_release_step(a);
        return;
    }
    if (s->why[0] != 0) {
        auto_free char *text =
            xasprintf("Cold start of Python after all (%s): %s.", r->name, s->why);
        attempt_note(a, 300, text);
    }
    s->on_finished(r);
}

bool warm_must_finish(const struct local_replica *r) {
    return (r->warm.is_staged || r->warm.is_found) && !r->warm.finished;
}

void warm_finish(struct local_replica *r, void (*on_finished)(struct local_replica *)) {
    if (!r->warm.working) {
        r->warm.working = true;
        r->warm.on_finished = on_finished;
        r->warm.work.run = finish_start_run;
        r->warm.work.done = finish_start_done;
        local_submit(r->att->eng, &r->warm.work);
    }
}

/* -- lane: making ----------------------------------------------------------------------------- */

static const char **making_env(struct arena *a, const struct warm_want *w) {
    size_t n = count(w->env), k = 0;
    const char **out = arena_calloc(a, n + 4, sizeof(*out));
    const char *path = NULL;
    for (size_t i = 0; i < n; i++) {
        if (str_starts(str_of(w->env[i]), STR("PYTHONPATH="))) {
            path = w->env[i] + strlen("PYTHONPATH=");
        } else if (!str_starts(str_of(w->env[i]), STR(WARM_VAR_IMPORTS "="))) {
            out[k++] = arena_strdup(a, w->env[i]);
        }
    }
    out[k++] = path != NULL && path[0] != 0 ? arena_printf(a, "PYTHONPATH=" WARM_DIR ":%s", path)
                                            : "PYTHONPATH=" WARM_DIR;
    out[k++] = arena_printf(a, WARM_VAR_IMPORTS "=%s", w->imports);
    return out;
}

/* The image's user writes the image beside our programs. */
static int make_writable(struct warm_making *m, struct err *err) {
    auto_free char *dir = xasprintf("%s/upper" WARM_DIR, m->dir);
    return file_mkdirs(AT_FDCWD, dir, 0755, err) < 0 ||
                   chown(dir, m->plan.bundle.uid, m->plan.bundle.gid) < 0
               ? err_sys(err, errno, "prepare " WARM_DIR)
               : 0;
}

static void prepare_run(struct lane_work *w) {
    struct warm_making *m = CONTAINER_OF(w, struct warm_making, work);
    local_plan_common(m->eng, &m->plan);
    m->plan.net = "none";
    m->rc = rundir_create(m->dir, &m->plan, &m->err) < 0 ? -1 : make_writable(m, &m->err);
}

static void explain(struct warm_making *m, char why[WARM_WHY_MAX]) {
    auto_free char *upper = xasprintf("%s/upper", m->dir);
    warm_read_left(upper, "why", why, WARM_WHY_MAX);
    if (why[0] != 0) {
        return;
    }
    if (m->ended_ok && m->exit.kind == EXIT_OOM) {
        (void)snprintf(why, WARM_WHY_MAX,
                       "making the memory image took more memory than the task has");
    } else if (m->ended_ok && m->exit.kind == EXIT_CODE && m->exit.value == 0) {
        (void)snprintf(why, WARM_WHY_MAX, "no memory image was written");
    } else if (m->ended_ok) {
        (void)snprintf(why, WARM_WHY_MAX, "making the memory image ended with %s %d%s%.200s",
                       m->exit.kind == EXIT_SIGNAL ? "signal" : "code", m->exit.value,
                       m->exit.why[0] != 0 ? ": " : "", m->exit.why);
    } else {
        (void)snprintf(why, WARM_WHY_MAX, "the memory image could not be made: %.300s", m->err.msg);
    }
}

static void finish_run(struct lane_work *w) {
    struct warm_making *m = CONTAINER_OF(w, struct warm_making, work);
    struct local *eng = m->eng;
    auto_free char *upper = xasprintf("%s/upper", m->dir);
    char why[WARM_WHY_MAX] = "";
    if (m->ended_ok && m->exit.kind == EXIT_CODE && m->exit.value == 0) {
        m->rc = FAIL_POINT("engine.warm.before_keep", &m->err) < 0
                    ? -1
                    : warm_keep(eng, upper, m->key, &m->err);
        (void)snprintf(why, sizeof(why), "%.400s", m->rc < 0 ? m->err.msg : "");
    } else {
        m->rc = -1;
        explain(m, why);
    }
    if (m->rc < 0) {
        atomic_fetch_add(&eng->warm.failed, 1);
        warm_note_why(eng, m->key, why);
        log_info("no memory image", "key=%.12s why=\"%s\"", m->key, why);
    } else {
        atomic_fetch_add(&eng->warm.made, 1);
        log_info("memory image made", "key=%.12s ms=%llu", m->key,
                 (unsigned long long)((time_mono() - m->since) / USEC_PER_MSEC));
    }
    (void)!rundir_remove(eng->run_root, m->dir, &eng->cgroups, NULL); /* or the sweep does */
    warm_tidy(eng);
}

/* -- loop ------------------------------------------------------------------------------------- */

static void making_free(struct warm_making *m) {
    m->eng->clock->ops->disarm(m->eng->clock, &m->limit);
    sup_fini(&m->sup);
    list_del(&m->link);
    arena_free(m->arena);
    free(m);
}

static void finish_done(struct lane_work *w) {
    struct warm_making *m = CONTAINER_OF(w, struct warm_making, work);
    if (!local_done(m->eng)) {
        making_free(m);
    }
}

static void finish(struct warm_making *m) {
    m->work.run = finish_run;
    m->work.done = finish_done;
    local_submit(m->eng, &m->work);
}

static void on_started(struct sup *s, usec_t at) {
    (void)s;
    (void)at;
}

static void on_ended(struct sup *s, enum sup_end how, const struct exit_info *x,
                     const struct err *why) {
    struct warm_making *m = CONTAINER_OF(s, struct warm_making, sup);
    m->ended_ok = how == SUP_EXITED;
    if (x != NULL) {
        m->exit = *x;
    }
    if (why != NULL) {
        m->err = *why;
    }
    finish(m);
}

static void on_stopped(struct sup *s) {
    (void)s;
}

static void on_limit(struct timer *t) {
    limits_hit(&limits.warm_make_s);
    sup_kill(&CONTAINER_OF(t, struct warm_making, limit)->sup);
}

static void prepare_done(struct lane_work *w) {
    struct warm_making *m = CONTAINER_OF(w, struct warm_making, work);
    if (local_done(m->eng)) {
        return;
    }
    if (w->cancelled) {
        m->rc = err_set(&m->err, ERR_CANCELLED, "the server is stopping");
    }
    if (m->rc < 0) {
        finish(m);
        return;
    }
    struct clock *c = m->eng->clock;
    c->ops->arm(c, &m->limit, c->ops->mono(c) + limits.warm_make_s * USEC_PER_SEC);
    sup_spawn(&m->sup);
}

/* The replica's layers below ours. */
static const char **making_lowers(struct arena *a, const char *tools, const char **lowers) {
    size_t n = count(lowers);
    const char **out = arena_calloc(a, n + 2, sizeof(*out));
    out[0] = tools;
    for (size_t i = 0; i < n; i++) {
        out[i + 1] = arena_strdup(a, lowers[i]);
    }
    return out;
}

static struct warm_making *making_new(struct local_attempt *at, const struct warm_want *w) {
    struct local *eng = at->eng;
    const struct local_pool *lp = &at->pools[w->pool];
    struct warm_making *m = xcalloc(1, sizeof(*m));
    struct arena *a = m->arena = arena_new(ARENA_NO_MAX);
    uint64_t r;
    rng_secret(&r, sizeof(r));
    m->eng = eng;
    m->since = time_mono();
    m->key = arena_strdup(a, w->key);
    m->cgroup_name = arena_printf(a, WARM_JOB "-a1-%016" PRIx64, r);
    m->dir = arena_printf(a, "%s/" WARM_JOB "/a1/%.12s-%016" PRIx64, eng->run_root, m->key, r);
    uint32_t *gids = arena_calloc(a, lp->user.nr_extra + 1, sizeof(*gids));
    memcpy(gids, lp->user.extra_gids, lp->user.nr_extra * sizeof(*gids));
    m->plan = (struct rundir_plan){
        .job = WARM_JOB,
        .replica = "warm",
        .nonce = "warm",
        .attempt = 1,
        .log_dir = arena_printf(a, "%s/log", m->dir), /* goes with it */
        .container = arena_printf(a, "cusp-%s-%s", eng->instance, m->cgroup_name),
        .lowers = making_lowers(a, eng->warm_tools, w->lowers),
        .cgroup = arena_printf(a, "/cusp/%s/%s", eng->instance, m->cgroup_name),
        .runner_cgroup = arena_printf(a, "/cusp/%s/runners", eng->instance),
        .mem_bytes = w->mem_bytes,
        .cpu_milli = w->cpu_milli,
        .hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost\n",
        .resolv = "",
        .hostname = "warm",
        .bundle = {.argv = local_copy_list(a, w->argv),
                   .env = making_env(a, w),
                   .cwd = arena_strdup(a, w->cwd),
                   .uid = lp->user.uid,
                   .gid = lp->user.gid,
                   .extra_gids = gids,
                   .nr_extra_gids = lp->user.nr_extra,
                   .shm_bytes = (uint64_t)64 << 20}};
    m->sup = (struct sup){.eng = eng,
                          .dir = m->dir,
                          .nonce = "warm",
                          .started = on_started,
                          .ended = on_ended,
                          .stopped = on_stopped};
    m->limit.fn = on_limit;
    list_push_tail(&eng->makings, &m->link);
    return m;
}

void warm_make(struct local_attempt *a) {
    const struct warm_want *w = a->warm_want;
    struct warm_making *m;
    size_t under_way = 0;
    if (w == NULL) {
        return;
    }
    a->warm_want = NULL;
    list_each (m, &a->eng->makings, link) {
        under_way++;
        if (strcmp(m->key, w->key) == 0) {
            return;
        }
    }
    if (under_way >= limits.warm_max_making) {
        limits_hit(&limits.warm_max_making);
        return; /* the next run asks again */
    }
    m = making_new(a, w);
    m->work.run = prepare_run;
    m->work.done = prepare_done;
    local_submit(a->eng, &m->work);
}

bool warm_is_running(const struct local *eng, const char *dir) {
    const struct warm_making *m;
    list_each (m, &eng->makings, link) {
        if (strcmp(m->dir, dir) == 0) {
            return true;
        }
    }
    return false;
}

bool warm_is_cgroup(const struct local *eng, const char *name) {
    const struct warm_making *m;
    list_each (m, &eng->makings, link) {
        if (strcmp(m->cgroup_name, name) == 0) {
            return true;
        }
    }
    return false;
}

void warm_let_go(struct local *eng) {
    struct warm_making *m;
    list_each (m, &eng->makings, link) {
        eng->clock->ops->disarm(eng->clock, &m->limit);
        sup_let_go(&m->sup);
    }
}

void warm_free(struct local *eng) {
    struct warm_making *m, *tmp;
    list_each_safe (m, tmp, &eng->makings, link) {
        making_free(m);
    }
}

void warm_metrics(const struct local *eng, struct buf *b) {
    const struct warm_counts *w = &eng->warm;
    (void)buf_printf(b,
                     "# TYPE cusp_warm_starts_total counter\ncusp_warm_starts_total %llu\n"
                     "# TYPE cusp_warm_fallbacks_total counter\n",
                     (unsigned long long)w->warm);
    for (enum warm_why i = 0; i < WARM_NR_WHY; i++) {
        (void)buf_printf(b, "cusp_warm_fallbacks_total{why=\"%s\"} %llu\n", warm_why_name(i),
                         (unsigned long long)w->cold[i]);
    }
    (void)buf_printf(b,
                     "# TYPE cusp_warm_images gauge\ncusp_warm_images %llu\n"
                     "# TYPE cusp_warm_image_bytes gauge\ncusp_warm_image_bytes %llu\n"
                     "# TYPE cusp_warm_makings_total counter\n"
                     "cusp_warm_makings_total{result=\"made\"} %llu\n"
                     "cusp_warm_makings_total{result=\"failed\"} %llu\n",
                     (unsigned long long)w->images, (unsigned long long)w->bytes,
                     (unsigned long long)w->made, (unsigned long long)w->failed);
}
