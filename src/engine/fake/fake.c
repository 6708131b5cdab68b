/* The fake engine: timers instead of processes. Shipped in the normal binary, so that the whole
 * server can be tried without containers; what the simulator runs the control plane on.
 *
 * Everything it reports leaves from a timer, in the order it came about. */
#include "engine/engine.h"
#include "engine/fake/host.h"

#define START_DELAY USEC_PER_MSEC /* between the starts of two replicas of a gang */
#define RELEASE_DELAY USEC_PER_MSEC
#define REATTACH_DELAY USEC_PER_MSEC
#define METRICS_KEPT 100u /* by the library that writes the file */

enum run_state {
    RUN_NEW = 0,
    RUN_STAGING,
    RUN_STAGED,
    RUN_LAUNCHING,
    RUN_UP,
    RUN_ATTACHING,
    RUN_RELEASING
};

struct fake {
    struct engine base; /* first */
    struct fake_host *host;
    struct list runs;
};

/* attempt_run.priv */
struct fake_run {
    struct list link;
    struct fake *engine;
    struct attempt_run *run;
    struct script script;
    enum run_state state;
    uint32_t nr_done;     /* replicas launched, or reported by reattach */
    struct arena *inputs; /* what run->inputs points at; NULL: nothing staged */
    struct timer timer;
};

static struct fake *fake_of(struct engine *e) {
    return CONTAINER_OF(e, struct fake, base);
}

static void after(struct fake_run *r, usec_t delay) {
    struct clock *k = r->engine->host->clock;
    k->ops->arm(k, &r->timer, k->ops->mono(k) + delay);
}

static void fail(struct fake_run *r, enum err_code code, const char *what) {
    struct err err;
    r->state = RUN_NEW;
    err_set(&err, code, "%s", what);
    r->run->sink->attempt_failed(r->run, &err);
}

/* There are no bytes behind the names here: equal names, equal digests. */
static void add_input(struct fake_run *r, struct staged_input *all, enum input_kind kind,
                      const char *uri) {
    struct attempt_run *run = r->run;
    for (size_t i = 0; i < run->nr_inputs; i++) {
        if (all[i].kind == kind && strcmp(all[i].uri, uri) == 0) {
            return;
        }
    }
    unsigned long long hash = str_hash(str_of(uri));
    all[run->nr_inputs++] = (struct staged_input){
        .kind = kind, .uri = uri, .digest = arena_printf(r->inputs, "fake:%016llx", hash)};
}

static void note_inputs(struct fake_run *r) {
    const struct job_spec *s = r->run->spec;
    size_t max = s->nr_pools;
    for (uint32_t p = 0; p < s->nr_pools; p++) {
        for (size_t i = 0; s->pools[p].kind == TASK_PYTHON && s->pools[p].package_uris[i]; i++) {
            max++;
        }
    }
    arena_free(r->inputs);
    r->inputs = arena_new(ARENA_NO_MAX);
    struct staged_input *all = arena_own_array(r->inputs, max + 1, sizeof(*all));
    r->run->inputs = all;
    r->run->nr_inputs = 0;
    for (uint32_t p = 0; p < s->nr_pools; p++) {
        const struct pool_spec *pool = &s->pools[p];
        if (pool->replica_count > 0 && pool->image_uri) {
            add_input(r, all, INPUT_IMAGE, pool->image_uri);
        }
        for (size_t i = 0; pool->kind == TASK_PYTHON && pool->package_uris[i]; i++) {
            add_input(r, all, INPUT_PACKAGE, pool->package_uris[i]);
        }
    }
}

static void finish_staging(struct fake_run *r) {
    const struct engine_sink *s = r->run->sink;
    if (r->script.fail == SCRIPT_FAIL_STAGE) {
        fail(r, r->script.fail_code, "image \"fake\" was told to fail by a label");
        return;
    }
    r->state = RUN_STAGED;
    note_inputs(r);
    s->step(r->run, STAGE_IMAGE, r->script.stage);
    s->step(r->run, STAGE_BUNDLE, 1);
    s->staged(r->run);
}

/* As from a file that keeps the last ones: what was reported while nobody looked comes again. */
static void report_measured(struct fake_run *r, const struct container *c) {
    uint32_t first = c->nr_reported > METRICS_KEPT ? c->nr_reported - METRICS_KEPT + 1 : 1;
    struct metric_report all[METRICS_KEPT];
    size_t n = 0;
    for (uint32_t k = first; k <= c->nr_reported; k++) {
        all[n++] = host_report(c, k);
    }
    if (n > 0 && r->state != RUN_RELEASING && r->run->sink->measured) {
        r->run->sink->measured(r->run, c->replica, all, n);
    }
}

static void report_end(struct fake_run *r, struct container *c) {
    struct err err;
    if (c->is_lost) {
        err_set(&err, ERR_UNAVAILABLE, "its supervisor is gone");
        r->run->sink->replica_lost(r->run, c->replica, &err);
    } else {
        r->run->sink->replica_exited(r->run, c->replica, &c->exit);
    }
}

/* One replica a tick, so that a crash can fall between two of them. */
static void launch_next(struct fake_run *r) {
    if (r->script.fail == SCRIPT_FAIL_LAUNCH && r->nr_done + 1 == r->run->nr_replicas) {
        host_remove(r->engine->host, r->run->spec->id, r->run->attempt);
        fail(r, r->script.fail_code, "the launch was told to fail by a label");
        return;
    }
    uint32_t i = r->nr_done++;
    struct container *c = host_start(r->engine->host, r->run, i, &r->script);
    struct start_info info = {.started_at = c->started_at};
    if (r->nr_done < r->run->nr_replicas) {
        after(r, START_DELAY);
    } else {
        r->state = RUN_UP;
    }
    if (c->planned.kind != EXIT_RUNTIME) {
        r->run->sink->replica_started(r->run, i, &info);
    }
}

static void report_next(struct fake_run *r) {
    uint32_t i = r->nr_done++;
    struct container *c = host_find(r->engine->host, r->run->spec->id, r->run->attempt, i);
    if (r->nr_done < r->run->nr_replicas) {
        after(r, REATTACH_DELAY);
    } else {
        r->state = RUN_UP;
    }
    if (!c) {
        struct err err;
        err_set(&err, ERR_NOT_FOUND, "there is no run directory");
        r->run->sink->replica_lost(r->run, i, &err);
    } else if (c->is_alive) {
        struct start_info info = {.started_at = c->started_at};
        r->run->sink->replica_started(r->run, i, &info);
        report_measured(r, c);
    } else {
        report_measured(r, c);
        report_end(r, c);
    }
}

static void finish_release(struct fake_run *r) {
    struct attempt_run *run = r->run;
    host_remove(r->engine->host, run->spec->id, run->attempt);
    list_del(&r->link);
    run->priv = NULL;
    arena_free(r->inputs);
    free(r);
    run->sink->released(run);
}

static void on_timer(struct timer *t) {
    struct fake_run *r = CONTAINER_OF(t, struct fake_run, timer);
    switch (r->state) {
    case RUN_STAGING:
        finish_staging(r);
        break;
    case RUN_LAUNCHING:
        launch_next(r);
        break;
    case RUN_ATTACHING:
        report_next(r);
        break;
    case RUN_RELEASING:
        finish_release(r);
        break;
    case RUN_NEW:
    case RUN_STAGED:
    case RUN_UP:
        CHECK(!"nothing is due");
    }
}

static struct fake_run *run_of_container(struct fake *f, const struct container *c) {
    struct fake_run *r;
    list_each (r, &f->runs, link) {
        bool is_known = r->state == RUN_LAUNCHING || r->state == RUN_UP ||
                        (r->state == RUN_ATTACHING && c->replica < r->nr_done);
        if (is_known && r->run->attempt == c->attempt && strcmp(r->run->spec->id, c->job) == 0) {
            return r;
        }
    }
    return NULL;
}

/* A container ended, or reported, while this engine lives. */
static void on_end(void *arg, struct container *c) {
    struct fake_run *r = run_of_container(arg, c);
    if (r) {
        report_end(r, c);
    }
}

static void on_report(void *arg, struct container *c, const struct metric_report *m) {
    struct fake_run *r = run_of_container(arg, c);
    if (r && r->run->sink->measured) {
        r->run->sink->measured(r->run, c->replica, m, 1);
    }
}

static struct fake_run *run_of(struct engine *e, struct attempt_run *run) {
    struct fake *f = fake_of(e);
    struct fake_run *r = run->priv;
    if (!r) {
        r = xcalloc(1, sizeof(*r));
        r->engine = f;
        r->run = run;
        r->timer.fn = on_timer;
        script_read(run->spec, run->attempt, &r->script);
        list_push_tail(&f->runs, &r->link);
        run->priv = r;
    }
    return r;
}

static void fake_capacity(struct engine *e, struct capacity *ret) {
    struct fake_host *h = fake_of(e)->host;
    *ret = (struct capacity){.cpu_milli = h->cpu_milli, .mem_bytes = h->mem_bytes, .node = "fake"};
}

static int fake_stage(struct engine *e, struct attempt_run *run, struct err *err) {
    struct fake_run *r = run_of(e, run);
    CHECK(r->state == RUN_NEW);
    r->state = RUN_STAGING;
    after(r, r->script.stage);
    return 0;
}

static int fake_launch(struct engine *e, struct attempt_run *run, struct err *err) {
    struct fake_run *r = run_of(e, run);
    CHECK(r->state == RUN_STAGED);
    r->state = RUN_LAUNCHING;
    r->nr_done = 0;
    after(r, 0);
    return 0;
}

static int fake_reattach(struct engine *e, struct attempt_run *run, struct err *err) {
    struct fake_run *r = run_of(e, run);
    CHECK(r->state == RUN_NEW);
    r->state = RUN_ATTACHING;
    after(r, 0);
    return 0;
}

static int fake_signal(struct engine *e, struct attempt_run *run, uint32_t replica, int signo,
                       struct err *err) {
    struct container *c = host_find(fake_of(e)->host, run->spec->id, run->attempt, replica);
    if (c) {
        host_signal(c, signo);
    }
    return 0;
}

static void fake_release(struct engine *e, struct attempt_run *run) {
    struct fake_run *r = run_of(e, run);
    CHECK(r->state != RUN_RELEASING);
    r->state = RUN_RELEASING;
    after(r, RELEASE_DELAY);
}

static void fake_sweep(struct engine *e, bool (*is_live)(void *arg, const char *, uint32_t),
                       void *arg) {
    struct fake_host *h = fake_of(e)->host;
    struct container *c;
    bool again = true;
    while (again) {
        again = false;
        list_each (c, &h->containers, link) {
            if (!is_live(arg, c->job, c->attempt)) {
                char job[sizeof(c->job)];
                memcpy(job, c->job, sizeof(job));
                host_remove(h, job, c->attempt);
                again = true;
                break;
            }
        }
    }
}

static void fake_detach(struct fake *f) {
    struct fake_run *r, *tmp;
    f->host->on_end = NULL;
    f->host->on_report = NULL;
    list_each_safe (r, tmp, &f->runs, link) {
        f->host->clock->ops->disarm(f->host->clock, &r->timer);
        list_del(&r->link);
        arena_free(r->inputs);
        free(r);
    }
}

static void fake_close(struct engine *e) {
    struct fake *f = fake_of(e);
    fake_detach(f);
    host_free(f->host); /* its containers are timers of this process: they cannot outlive it */
    free(f);
}

static const struct engine_ops ops = {
    .name = "fake",
    .caps = ENGINE_REATTACH,
    .capacity = fake_capacity,
    .stage = fake_stage,
    .launch = fake_launch,
    .reattach = fake_reattach,
    .signal = fake_signal,
    .release = fake_release,
    .sweep = fake_sweep,
    .close = fake_close,
};

static struct engine *fake_on(struct fake_host *h) {
    struct fake *f = xcalloc(1, sizeof(*f));
    f->base.ops = &ops;
    f->host = h;
    list_init(&f->runs);
    h->on_end = on_end;
    h->on_report = on_report;
    h->arg = f;
    return &f->base;
}

struct engine *engine_fake_new(const struct engine_fake_opts *o) {
    return fake_on(host_new(o));
}

struct engine *engine_fake_survivor(struct engine *old) {
    struct fake *f = fake_of(old);
    struct fake_host *h = f->host;
    fake_detach(f);
    free(f);
    return fake_on(h);
}

void engine_fake_count(struct engine *e, struct engine_fake_census *ret) {
    const struct fake_host *h = fake_of(e)->host;
    const struct container *c;
    *ret = (struct engine_fake_census){.nr_launched = h->nr_launched, .nr_double = h->nr_double};
    list_each (c, &h->containers, link) {
        ret->nr_containers++;
        if (c->is_alive) {
            ret->nr_alive++;
            ret->cpu_milli += c->cpu_milli;
            ret->mem_bytes += c->mem_bytes;
        }
    }
}

uint32_t engine_fake_live_attempts(struct engine *e, const char *job_id) {
    const struct fake_host *h = fake_of(e)->host;
    const struct container *c;
    uint32_t lowest = 0, n = 0;
    list_each (c, &h->containers, link) {
        if (c->is_alive && strcmp(c->job, job_id) == 0 && (n == 0 || c->attempt != lowest)) {
            lowest = c->attempt;
            n++;
        }
    }
    return n;
}
