#include "pipes.h"

#include "base/rec.h"

/* One export, seal or upload under way. */
struct pipe_work {
    struct list link; /* sim_pipe.works */
    struct world *w;
    size_t pipe;
    struct pipeline_work *work;
    struct timer timer;
    enum { DO_EXPORT, DO_SEAL, DO_UPLOAD } kind;
    bool cancelled, has_txn;
    struct store_txn txn;
    char version[160], model[128];
};

static struct sim_pipe *pipe_at(struct world *w, size_t i) {
    return w->pipes.p[i];
}

/* ---- ops ---- */

static int decode(void *arg, struct arena *a, const struct store_row *row,
                  struct pipeline_spec *ret, struct err *err) {
    struct rec r;
    if (rec_parse(a, row->spec, &r, err) != 0) {
        return -1;
    }
    *ret = (struct pipeline_spec){.name = arena_str(a, row->name),
                                  .parent = arena_str(a, row->parent),
                                  .id = arena_str(a, name_last_segment(row->name)),
                                  .project_number = 123,
                                  .has_input = rec_get_u64(&r, "has_input", 0) != 0,
                                  .has_upload = rec_get_u64(&r, "has_upload", 0) != 0,
                                  .is_tuned = rec_get_u64(&r, "is_tuned", 0) != 0};
    size_t *index = arena_alloc(a, sizeof(*index));
    *index = (size_t)rec_get_u64(&r, "index", 0);
    ret->parsed = index;
    return 0;
}

static size_t index_of(const struct pipeline_spec *spec) {
    return *(const size_t *)spec->parsed;
}

static int make_child(void *arg, struct arena *a, const struct pipeline_spec *spec,
                      const struct pipeline_data *data, struct job_create *ret, struct err *err) {
    struct world *w = arg;
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    CHECK((data != NULL) == spec->has_input);
    world_encode_wish(&b, &pipe_at(w, index_of(spec))->wish.child);
    *ret = (struct job_create){.kind = STR("customJob"),
                               .parent = spec->parent,
                               .display_name = spec->id,
                               .spec = arena_str(a, buf_str(&b))};
    return 0;
}

static int make_tuning(void *arg, struct arena *a, const struct pipeline_spec *spec,
                       const struct pipeline_data *data, struct tuning_create *ret,
                       struct err *err) {
    struct world *w = arg;
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    struct sim_pipe *p = pipe_at(w, index_of(spec));
    CHECK((data != NULL) == spec->has_input);
    p->tune = world_plan_tune(w, &p->wish.tune, &b);
    *ret = (struct tuning_create){
        .parent = spec->parent, .display_name = spec->id, .spec = arena_str(a, buf_str(&b))};
    return 0;
}

static void work_free(struct pipe_work *k) {
    list_del(&k->link);
    if (k->has_txn) {
        store_txn_fini(&k->txn);
    }
    free(k);
}

static void answer(struct pipe_work *k, int code, const char *text) {
    struct pipeline_work *work = k->work;
    struct err err;
    if (code) {
        err_set(&err, (enum err_code)code, "%s", text);
    }
    work_free(k);
    work->cb(work, code ? &err : NULL);
}

static void on_uploaded(struct store_txn *t, const struct err *err) {
    struct pipe_work *k = t->arg;
    struct pipeline_work *work = k->work;
    struct err e;
    if (err) {
        e = *err;
    }
    work_free(k);
    work->cb(work, err ? &e : NULL);
}

static void upload(struct pipe_work *k) {
    struct world *w = k->w;
    struct sim_pipe *p = pipe_at(w, k->pipe);
    p->versions++;
    snprintf(k->model, sizeof(k->model), WORLD_PARENT "/models/%s", p->base.id);
    snprintf(k->version, sizeof(k->version), "%s@%u", k->model, p->versions);
    store_txn_init(&k->txn, on_uploaded, k);
    k->has_txn = true;
    store_txn_insert(&k->txn, &(struct store_row){.name = str_of(k->version),
                                                  .kind = STR("modelVersion"),
                                                  .parent = str_of(k->model),
                                                  .create_time = 1,
                                                  .update_time = 1});
    k->work->join(k->work, &k->txn,
                  &(struct pipeline_model){
                      .name = k->model, .version = strrchr(k->version, '@') + 1, .aliases = "x"});
    w->shim.ops->commit(&w->shim, &k->txn);
}

static void on_timer(struct timer *t) {
    struct pipe_work *k = CONTAINER_OF(t, struct pipe_work, timer);
    struct sim_pipe *p = pipe_at(k->w, k->pipe);
    enum pipe_mischief m = k->kind == DO_EXPORT ? p->wish.export_ends
                           : k->kind == DO_SEAL ? p->wish.seal_ends
                                                : p->wish.upload_ends;
    if (k->cancelled) {
        answer(k, ERR_CANCELLED, "stopped");
    } else if (m == PIPE_FAILS) {
        answer(k, ERR_INVALID_ARGUMENT, "as the script says");
    } else if (m == PIPE_PASSES && k->kind == DO_UPLOAD && !p->passed) {
        p->passed = true;
        answer(k, ERR_ABORTED, "as the script says, this time");
    } else if (k->kind == DO_UPLOAD) {
        upload(k);
    } else {
        if (k->kind == DO_EXPORT) {
            k->work->data = (struct pipeline_data){
                .format = "csv", .uri = {"gs://b/a", "gs://b/b", "gs://b/c"}, .items = {8, 1, 1}};
        }
        answer(k, 0, NULL);
    }
}

static void begin(struct world *w, struct pipeline_work *work, int kind) {
    struct pipe_work *k = xcalloc(1, sizeof(*k));
    struct clock *c = &w->clock.base;
    k->w = w;
    k->pipe = index_of(work->spec);
    k->work = work;
    k->kind = kind;
    k->timer.fn = on_timer;
    list_push_tail(&pipe_at(w, k->pipe)->works, &k->link);
    c->ops->arm(c, &k->timer,
                c->ops->mono(c) + pipe_at(w, k->pipe)->wish.work_ms * (usec_t)USEC_PER_MSEC);
}

static void begin_export(void *arg, struct pipeline_work *work) {
    begin(arg, work, DO_EXPORT);
}
static void begin_seal(void *arg, struct pipeline_work *work) {
    begin(arg, work, DO_SEAL);
}
static void begin_upload(void *arg, struct pipeline_work *work) {
    begin(arg, work, DO_UPLOAD);
}

static void cancel(void *arg, struct pipeline_work *work) {
    struct pipe_work *k;
    list_each (k, &pipe_at(arg, index_of(work->spec))->works, link) {
        k->cancelled = true;
    }
}

static const struct pipeline_ops ops = {.decode = decode,
                                        .child = make_child,
                                        .tuning = make_tuning,
                                        .export_data = begin_export,
                                        .seal = begin_seal,
                                        .upload = begin_upload,
                                        .cancel = cancel};

/* ---- life ---- */

void pipes_init(struct world *w) {
    w->cfg.pipelines = &ops;
    w->cfg.pipelines_arg = w;
}

void pipes_crash(struct world *w) {
    for (size_t i = 0; i < w->pipes.n; i++) {
        struct list *works = &pipe_at(w, i)->works;
        while (!list_is_empty(works)) {
            struct pipe_work *k = list_first(works, struct pipe_work, link);
            w->clock.base.ops->disarm(&w->clock.base, &k->timer);
            work_free(k);
        }
    }
}

void pipes_fini(struct world *w) {
    for (size_t i = 0; i < w->pipes.n; i++) {
        sim_parent_fini(&pipe_at(w, i)->base);
        free(pipe_at(w, i));
    }
    vec_fini(&w->pipes);
}

size_t world_create_pipe(struct world *w, const struct pipe_wish *wish) {
    struct sim_pipe *p = xcalloc(1, sizeof(*p));
    auto_buf struct buf spec = BUF_INIT(BUF_NO_MAX);
    size_t at = w->pipes.n;
    p->wish = *wish;
    list_init(&p->works);
    sim_parent_init(w, &p->base, PIPELINE_KIND, "pipeline", at);
    vec_push(&w->pipes, p);
    rec_begin(&spec);
    rec_put_u64(&spec, "index", at);
    rec_put_u64(&spec, "has_input", wish->has_input);
    rec_put_u64(&spec, "has_upload", wish->has_upload);
    rec_put_u64(&spec, "is_tuned", wish->is_tuned);
    struct pipeline_create in = {.parent = STR(WORLD_PARENT),
                                 .id = str_of(p->base.id),
                                 .display_name = STR("sim"),
                                 .spec = buf_str(&spec)};
    ctl_pipeline_create(w->ctl, &in, &world_new_call(w, at, SIM_CREATE, true)->call);
    return at;
}

void world_cancel_pipe(struct world *w, size_t pipe) {
    struct sim_pipe *p = pipe_at(w, pipe);
    p->base.cancel_asked = true;
    if (p->tune) {
        p->tune->base.cancel_asked = true;
    }
    ctl_pipeline_cancel(w->ctl, str_of(pipe_at(w, pipe)->base.name),
                        &world_new_call(w, pipe, SIM_CANCEL, true)->call);
}

void world_delete_pipe(struct world *w, size_t pipe) {
    pipe_at(w, pipe)->base.delete_asked = true;
    ctl_pipeline_delete(w->ctl, str_of(pipe_at(w, pipe)->base.name),
                        &world_new_call(w, pipe, SIM_DELETE, true)->call);
}

void pipes_note(struct world *w, const struct sim_call *c, const struct err *err) {
    sim_parent_note(&pipe_at(w, c->job)->base, c, err);
}

/* ---- looking ---- */

const struct store_row *world_pipe_row(struct world *w, size_t pipe) {
    return sim_parent_row(w, &pipe_at(w, pipe)->base);
}

void world_pipe_status(struct world *w, size_t pipe, struct arena *a, struct pipeline_status *ret) {
    const struct store_row *row = world_pipe_row(w, pipe);
    struct err err;
    *ret = (struct pipeline_status){0};
    if (row) {
        CHECK(pipeline_status_decode(a, arena_str(a, row->status), ret, &err) == 0);
        CHECK(str_eqc(row->state, pipeline_state_name(ret->state)));
    }
}

unsigned world_pipe_versions(struct world *w, size_t pipe) {
    const struct sim_pipe *p = pipe_at(w, pipe);
    unsigned n = 0;
    for (unsigned v = 1; v <= p->versions; v++) {
        auto_free char *name = xasprintf(WORLD_PARENT "/models/%s@%u", p->base.id, v);
        n += w->store->ops->peek(w->store, str_of(name)) != NULL;
    }
    return n;
}

/* ---- what must hold ---- */

/* The tuning job that was planned for it is there now. */
static void learn_tune(struct sim_pipe *p, const char *name) {
    struct sim_parent *t = &p->tune->base;
    struct str id = name_last_segment(str_of(name));
    snprintf(t->name, sizeof(t->name), "%s", name);
    snprintf(t->id, sizeof(t->id), "%.*s", STR_ARG(id));
    t->cancel_asked = t->cancel_asked || p->base.cancel_asked;
}

static const char *check(struct world *w, size_t i) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct sim_pipe *p = pipe_at(w, i);
    struct pipeline_status s;
    unsigned versions = world_pipe_versions(w, i);
    world_pipe_status(w, i, a, &s);
    const char *wrong = sim_parent_check(w, &p->base, pipeline_state_is_terminal(s.state));
    if (wrong) {
        return wrong;
    }
    if (!world_pipe_row(w, i)) {
        return versions && !p->base.delete_asked ? sim_complain(&p->base, "a model and no row")
                                                 : NULL;
    }
    bool wants = s.state == PIPELINE_STATE_SUCCEEDED && p->wish.has_upload;
    if (versions != (wants ? 1u : 0u)) {
        return sim_complain(&p->base, "%s, and %u model versions", pipeline_state_name(s.state),
                            versions);
    }
    bool may_go = p->tune && p->tune->base.delete_asked;
    if (s.child && !may_go && !w->store->ops->peek(w->store, str_of(s.child))) {
        return sim_complain(&p->base, "names a job that is not there");
    }
    if (s.child && p->wish.is_tuned) {
        learn_tune(p, s.child);
    }
    if (s.best_job && !w->store->ops->peek(w->store, str_of(s.best_job))) {
        return sim_complain(&p->base, "names a best job that is not there");
    }
    if (p->wish.is_tuned && s.state == PIPELINE_STATE_SUCCEEDED && !s.best_job) {
        return sim_complain(&p->base, "succeeded without a best trial");
    }
    return NULL;
}

const char *pipes_invariant(struct world *w) {
    for (size_t i = 0; i < w->pipes.n; i++) {
        const char *wrong = check(w, i);
        if (wrong) {
            return wrong;
        }
    }
    return NULL;
}

/* Children bear their pipeline's id as their display name. */
static const char *check_children(struct world *w) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    const struct store_row *rows;
    size_t nr = sim_children(w, a, &rows);
    for (size_t i = 0; i < w->pipes.n; i++) {
        const struct sim_pipe *p = pipe_at(w, i);
        unsigned n = 0;
        for (size_t k = 0; k < nr; k++) {
            n += str_eqc(rows[k].display_name, p->base.id);
        }
        if (n > 1) {
            return sim_complain(&p->base, "%u jobs", n);
        }
    }
    return NULL;
}

static const char *check_events(struct world *w, size_t i) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct store_event *ev;
    size_t n = world_events_of(w, pipe_at(w, i)->base.name, a, &ev);
    for (size_t k = 0; k < n; k++) {
        struct pipeline_event e;
        struct err err;
        if (ev[k].seq != k + 1 || pipeline_event_decode(a, &ev[k], &e, &err) != 0) {
            return sim_complain(&pipe_at(w, i)->base, "event %zu is wrong", k + 1);
        }
    }
    return n ? NULL : sim_complain(&pipe_at(w, i)->base, "no events");
}

static const char *check_outcome(struct world *w, size_t i) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    const struct sim_pipe *p = pipe_at(w, i);
    struct pipeline_status s;
    world_pipe_status(w, i, a, &s);
    if (!pipeline_state_is_terminal(s.state)) {
        return sim_complain(&p->base, "never finished: %s", pipeline_state_name(s.state));
    }
    /* A cancel that came after the end changes nothing; then there is an end to look at. */
    if (s.state == PIPELINE_STATE_SUCCEEDED && (!s.child || !s.start_time)) {
        return sim_complain(&p->base, "succeeded without a job");
    }
    if (s.cancel_requested && s.state == PIPELINE_STATE_SUCCEEDED) {
        return sim_complain(&p->base, "was cancelled and succeeded");
    }
    bool asked = p->base.cancel_asked || (p->tune && p->tune->base.cancel_asked);
    if (s.state == PIPELINE_STATE_CANCELLED && !asked) {
        return sim_complain(&p->base, "cancelled by nobody");
    }
    if (s.state == PIPELINE_STATE_FAILED && (!s.error_msg || !s.error_msg[0])) {
        return sim_complain(&p->base, "failed without a word");
    }
    return check_events(w, i);
}

const char *pipes_final(struct world *w) {
    if (w->ctl->pipelines.nr || w->ctl->nr_works || !list_is_empty(&w->ctl->pipelines.graveyard)) {
        return "pipelines are still in memory";
    }
    for (size_t i = 0; i < w->pipes.n; i++) {
        const char *wrong = world_pipe_row(w, i) ? check_outcome(w, i) : NULL;
        if (wrong) {
            return wrong;
        }
    }
    return check_children(w);
}
