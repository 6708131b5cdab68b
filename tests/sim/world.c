/* The world of the simulator: construction, crashes, requests. */
#include "pipes.h"
#include "tunes.h"

#include "base/rec.h"

#define HOST_MEM (UINT64_C(64) << 30)

void wish_label_text(struct wish *w, const char *key, const char *value) {
    CHECK(w->nr_labels < NR_OF(w->labels));
    snprintf(w->labels[w->nr_labels].key, sizeof(w->labels[0].key), "%s", key);
    snprintf(w->labels[w->nr_labels].value, sizeof(w->labels[0].value), "%s", value);
    w->nr_labels++;
}

void wish_label(struct wish *w, const char *key, uint64_t value) {
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    wish_label_text(w, key, text);
}

/* ---- spec bytes ---- */
void world_encode_wish(struct buf *b, const struct wish *w) {
    rec_begin(b);
    rec_put_u64(b, "workers", w->workers);
    rec_put_u64(b, "cpu_milli", w->cpu_milli ? w->cpu_milli : 1000);
    rec_put_u64(b, "timeout", w->timeout ? w->timeout : 7 * 86400 * (uint64_t)USEC_PER_SEC);
    rec_put_u64(b, "max_wait", w->max_wait);
    rec_put_u64(b, "strategy", w->strategy);
    rec_put_u64(b, "disable_retries", w->disable_retries);
    for (unsigned i = 0; i < w->nr_labels; i++) {
        rec_puts(b, "label", w->labels[i].key);
        rec_puts(b, "value", w->labels[i].value);
    }
}

static int decode_spec(void *arg, struct arena *a, const struct store_row *row,
                       struct job_spec **ret, struct err *err) {
    struct rec r;
    if (rec_parse(a, row->spec, &r, err) != 0) {
        return -1;
    }
    struct job_spec *s = arena_alloc(a, sizeof(*s));
    s->name = arena_str(a, row->name).p;
    s->id = arena_str(a, name_last_segment(row->name)).p;
    s->project_number = 123;
    s->location = "us-central1";
    s->nr_pools = 2;
    s->pools = arena_calloc(a, 2, sizeof(*s->pools));
    for (int p = 0; p < 2; p++) {
        s->pools[p].replica_count = p == 0 ? 1 : (uint32_t)rec_get_u64(&r, "workers", 0);
        s->pools[p].machine.type = "n1-standard-4";
        s->pools[p].machine.cpu_milli = (uint32_t)rec_get_u64(&r, "cpu_milli", 0);
        s->pools[p].machine.mem_bytes = UINT64_C(1) << 30;
    }
    s->timeout = rec_get_u64(&r, "timeout", 0);
    s->max_wait = rec_get_u64(&r, "max_wait", 0);
    s->strategy = (enum job_strategy)rec_get_u64(&r, "strategy", 0);
    s->disable_retries = rec_get_u64(&r, "disable_retries", 0) != 0;
    s->labels = arena_calloc(a, r.n, sizeof(*s->labels));
    struct str key, value, text;
    size_t ki = 0, vi = 0, ai = 0, nr_args = 0;
    s->trial_id = rec_get_cstr(&r, "trial");
    s->pools[0].args = arena_calloc(a, r.n + 1, sizeof(*s->pools[0].args));
    while (rec_next(&r, "arg", &ai, &text)) {
        s->pools[0].args[nr_args++] = text.p;
    }
    while (rec_next(&r, "label", &ki, &key) && rec_next(&r, "value", &vi, &value)) {
        s->labels[s->nr_labels++] = (struct env_var){key.p, value.p};
    }
    *ret = s;
    return 0;
}

int world_decode_nothing(void *arg, struct arena *a, const struct store_row *row,
                         struct job_spec **ret, struct err *err) {
    return err_set(err, ERR_DATA_LOSS, "this spec is of no known form");
}

/* ---- the store that can be full ---- */
static struct world *world_of(struct store *s) {
    return CONTAINER_OF(s, struct world, shim);
}

static void shim_commit(struct store *s, struct store_txn *t) {
    struct world *w = world_of(s);
    if (w->disk_full || w->broken_disk) {
        list_push_tail(&w->refused, &t->link);
    } else {
        w->store->ops->commit(w->store, t);
    }
}

static void shim_get(struct store *s, struct store_get *g) {
    world_of(s)->store->ops->get(world_of(s)->store, g);
}

static void shim_load(struct store *s, struct store_load *l) {
    world_of(s)->store->ops->load_live(world_of(s)->store, l);
}

static void shim_events(struct store *s, struct store_events *e) {
    world_of(s)->store->ops->events(world_of(s)->store, e);
}

static const struct store_ops shim_ops = {
    .commit = shim_commit, .get = shim_get, .load_live = shim_load, .events = shim_events};

static bool refuse_one(struct world *w) {
    struct err err;
    if (list_is_empty(&w->refused)) {
        return false;
    }
    struct store_txn *t = list_first(&w->refused, struct store_txn, link);
    list_del(&t->link);
    err_set(&err, w->broken_disk ? ERR_INTERNAL : ERR_RESOURCE_EXHAUSTED,
            "no space left on device");
    t->cb(t, &err);
    return true;
}

/* ---- life of the world ---- */
static void on_line(void *arg, uint64_t project, const char *job_id, usec_t when, int severity,
                    const char *text) {
    struct world *w = arg;
    text = text ? text : "(end)";
    if (w->keep_log) {
        buf_printf(&w->log, "%s %d %s\n", job_id, severity, text);
    }
    if (w->trace) {
        printf("        log %s %d %s\n", job_id, severity, text);
    }
}

static void on_fatal(void *arg, const struct err *err) {
    struct world *w = arg;
    w->fatals++;
}

void world_init(struct world *w, uint64_t seed, uint32_t cpu_milli) {
    *w = (struct world){.shim = {.ops = &shim_ops}};
    vclock_init(&w->clock);
    rng_seed(&w->rng, seed);
    rng_seed(&w->ctl_rng, seed ^ 0x5151515151515151u);
    buf_init(&w->log, BUF_NO_MAX);
    list_init(&w->refused);
    list_init(&w->calls);
    w->store = store_mem_new(NULL);
    w->engine = engine_fake_new(&(struct engine_fake_opts){
        .clock = &w->clock.base, .cpu_milli = cpu_milli, .mem_bytes = HOST_MEM});
    w->cfg = (struct ctl_config){.clock = &w->clock.base,
                                 .rng = &w->ctl_rng,
                                 .store = &w->shim,
                                 .engine = w->engine,
                                 .decode_spec = decode_spec,
                                 .service_log = on_line,
                                 .log_arg = w,
                                 .fatal = on_fatal,
                                 .fatal_arg = w};
    pipes_init(w);
    tunes_init(w);
}

static void on_started(void *arg, const struct err *err) {
    struct world *w = arg;
    CHECK(!err);
    w->is_up = true;
}

void world_boot(struct world *w) {
    w->cfg.engine = w->engine;
    w->is_up = false;
    w->ctl = ctl_new(&w->cfg);
    ctl_start(w->ctl, on_started, w);
}

static bool coin(void *arg) {
    struct world *w = arg;
    return rng_below(&w->rng, 2) == 0;
}

static bool always(void *arg) {
    return true;
}

static void forget_calls(struct world *w) {
    while (!list_is_empty(&w->calls)) {
        struct sim_call *c = list_first(&w->calls, struct sim_call, link);
        list_del(&c->link);
        free(c);
    }
}

void world_crash(struct world *w, int keep_pending) {
    while (!list_is_empty(&w->refused)) {
        list_del(w->refused.next);
    }
    w->store = store_mem_crash(w->store,
                               keep_pending == 2 ? coin
                               : keep_pending    ? always
                                                 : NULL,
                               w);
    w->engine = engine_fake_survivor(w->engine);
    ctl_free(w->ctl);
    w->ctl = NULL;
    if (w->on_crash) {
        w->on_crash(w->on_crash_arg);
    }
    pipes_crash(w);
    tunes_crash(w);
    forget_calls(w);
}

void world_fini(struct world *w) {
    if (w->ctl) {
        world_crash(w, 0);
    }
    w->engine->ops->close(w->engine);
    w->store->ops->close(w->store, NULL, NULL);
    (void)store_mem_step(w->store);
    for (size_t i = 0; i < w->jobs.n; i++) {
        free(w->jobs.p[i].status);
    }
    vec_fini(&w->jobs);
    pipes_fini(w);
    tunes_fini(w);
    buf_fini(&w->log);
    vclock_fini(&w->clock);
}

/* Is the next timer so far away that any disk would have answered before? */
static bool is_far(struct world *w) {
    struct heap_node *top = heap_top(&w->clock.timers);
    return !top || CONTAINER_OF(top, struct timer, node)->when > w->clock.now + USEC_PER_SEC;
}

bool world_step(struct world *w) {
    /* The store and the timers race; either may be late, the store by up to a second. */
    bool store_first = rng_below(&w->rng, 3) != 0 || is_far(w);
    if (store_first && (store_mem_step(w->store) || refuse_one(w))) {
        return true;
    }
    return vclock_fire_next(&w->clock) || store_mem_step(w->store) || refuse_one(w);
}

unsigned world_settle(struct world *w, unsigned max) {
    unsigned n = 0;
    while (n < max && world_step(w)) {
        n++;
    }
    return n;
}

/* ---- requests ---- */
static void note_answer(struct world *w, const struct sim_call *c, const struct err *err) {
    w->answered = true;
    err_clear(&w->last_err);
    if (err) {
        w->last_err = *err;
    }
    if (c->is_pipe) {
        pipes_note(w, c, err);
        return;
    }
    if (c->is_tune) {
        tunes_note(w, c, err);
        return;
    }
    struct sim_job *j = &w->jobs.p[c->job];
    switch (c->kind) {
    case SIM_CREATE:
        j->created = !err;
        j->refused = err != NULL;
        break;
    case SIM_CANCEL:
        j->cancel_acked = j->cancel_acked || !err;
        break;
    case SIM_DELETE:
        j->deleted = j->deleted || !err;
        break;
    case SIM_EDIT:
    case SIM_ADD:
    case SIM_RERUN:
    case SIM_STOP:
        break;
    }
}

static void on_answer(struct ctl_call *call, const struct err *err, const struct store_row *row) {
    struct sim_call *c = CONTAINER_OF(call, struct sim_call, call);
    struct world *w = c->w;
    if (w->trace) {
        printf("        answer to call %d of %s %zu: %s\n", c->kind,
               c->is_pipe   ? "pipeline"
               : c->is_tune ? "tuning job"
                            : "job",
               c->job, err ? err->msg : "ok");
    }
    if (c->kind == SIM_CREATE && !err && !c->is_pipe && !c->is_tune) {
        CHECK(row && str_eqc(row->name, w->jobs.p[c->job].name));
    }
    note_answer(w, c, err);
    list_del(&c->link);
    free(c);
}

struct sim_call *world_new_call(struct world *w, size_t index, int kind, bool is_pipe) {
    struct sim_call *c = xcalloc(1, sizeof(*c));
    c->call.cb = on_answer;
    c->w = w;
    c->job = index;
    c->is_pipe = is_pipe;
    c->kind = kind;
    list_push_tail(&w->calls, &c->link);
    w->answered = false;
    return c;
}

size_t world_create(struct world *w, const struct wish *wish) {
    struct sim_job j = {.wish = *wish};
    auto_buf struct buf spec = BUF_INIT(BUF_NO_MAX);
    world_encode_wish(&spec, wish);
    snprintf(j.id, sizeof(j.id), "%llu", (unsigned long long)ctl_new_id(w->ctl));
    snprintf(j.name, sizeof(j.name), "%s/customJobs/%s", WORLD_PARENT, j.id);
    size_t at = w->jobs.n;
    vec_push(&w->jobs, j);
    struct job_create in = {.kind = STR("customJob"),
                            .parent = STR(WORLD_PARENT),
                            .id = str_of(w->jobs.p[at].id),
                            .display_name = STR("sim"),
                            .spec = buf_str(&spec)};
    ctl_job_create(w->ctl, &in, &world_new_call(w, at, SIM_CREATE, false)->call);
    return at;
}

void world_cancel(struct world *w, size_t job) {
    w->jobs.p[job].cancel_asked = true;
    ctl_job_cancel(w->ctl, str_of(w->jobs.p[job].name),
                   &world_new_call(w, job, SIM_CANCEL, false)->call);
}

void world_delete(struct world *w, size_t job) {
    w->jobs.p[job].delete_asked = true;
    ctl_job_delete(w->ctl, str_of(w->jobs.p[job].name),
                   &world_new_call(w, job, SIM_DELETE, false)->call);
}

/* ---- looking ---- */
const struct store_row *world_row(struct world *w, size_t job) {
    return w->store->ops->peek(w->store, str_of(w->jobs.p[job].name));
}

void world_status(struct world *w, size_t job, struct arena *a, struct job_status *ret) {
    const struct store_row *row = world_row(w, job);
    CHECK(row && job_status_decode(a, arena_str(a, row->status), ret, NULL) == 0);
}

enum job_state world_state(struct world *w, size_t job) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct job_status s;
    if (!world_row(w, job)) {
        return JOB_STATE_UNSPECIFIED;
    }
    world_status(w, job, a, &s);
    return s.state;
}

struct events_wait {
    struct store_events req;
    struct store_event *ev;
    size_t n;
    bool done;
};

static void on_events(struct store_events *e, const struct store_event *ev, size_t n,
                      const struct err *err) {
    struct events_wait *x = e->arg;
    CHECK(!err);
    x->ev = arena_memdup(e->arena, ev, n * sizeof(*ev));
    x->n = n;
    x->done = true;
}

size_t world_events_of(struct world *w, const char *name, struct arena *a,
                       struct store_event **ret) {
    struct events_wait x = {0};
    x.req = (struct store_events){.owner = str_of(name), .arena = a, .cb = on_events, .arg = &x};
    w->store->ops->events(w->store, &x.req);
    while (!x.done && store_mem_step(w->store)) {
    }
    CHECK(x.done);
    *ret = x.ev;
    return x.n;
}

size_t world_events(struct world *w, size_t job, struct arena *a, struct store_event **ret) {
    return world_events_of(w, w->jobs.p[job].name, a, ret);
}
