#include "pipes.h"

#include "base/rec.h"

#include <stdarg.h>

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
                                  .has_upload = rec_get_u64(&r, "has_upload", 0) != 0};
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
    snprintf(k->model, sizeof(k->model), WORLD_PARENT "/models/%s", p->id);
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
        free(pipe_at(w, i)->status);
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
    snprintf(p->id, sizeof(p->id), "%llu", (unsigned long long)ctl_new_id(w->ctl));
    snprintf(p->name, sizeof(p->name), WORLD_PARENT "/trainingPipelines/%s", p->id);
    vec_push(&w->pipes, p);
    rec_begin(&spec);
    rec_put_u64(&spec, "index", at);
    rec_put_u64(&spec, "has_input", wish->has_input);
    rec_put_u64(&spec, "has_upload", wish->has_upload);
    struct pipeline_create in = {.parent = STR(WORLD_PARENT),
                                 .id = str_of(p->id),
                                 .display_name = STR("sim"),
                                 .spec = buf_str(&spec)};
    ctl_pipeline_create(w->ctl, &in, &world_new_call(w, at, SIM_CREATE, true)->call);
    return at;
}

void world_cancel_pipe(struct world *w, size_t pipe) {
    pipe_at(w, pipe)->cancel_asked = true;
    ctl_pipeline_cancel(w->ctl, str_of(pipe_at(w, pipe)->name),
                        &world_new_call(w, pipe, SIM_CANCEL, true)->call);
}

void world_delete_pipe(struct world *w, size_t pipe) {
    pipe_at(w, pipe)->delete_asked = true;
    ctl_pipeline_delete(w->ctl, str_of(pipe_at(w, pipe)->name),
                        &world_new_call(w, pipe, SIM_DELETE, true)->call);
}

void pipes_note(struct world *w, const struct sim_call *c, const struct err *err) {
    struct sim_pipe *p = pipe_at(w, c->job);
    if (c->kind == SIM_CREATE) {
        p->created = !err;
        p->refused = err != NULL;
    } else if (c->kind == SIM_CANCEL) {
        p->cancel_acked = p->cancel_acked || !err;
    } else {
        p->deleted = p->deleted || !err;
    }
}

/* ---- looking ---- */

const struct store_row *world_pipe_row(struct world *w, size_t pipe) {
    return w->store->ops->peek(w->store, str_of(pipe_at(w, pipe)->name));
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
        auto_free char *name = xasprintf(WORLD_PARENT "/models/%s@%u", p->id, v);
        n += w->store->ops->peek(w->store, str_of(name)) != NULL;
    }
    return n;
}

/* ---- what must hold ---- */

static char complaint[256];

__attribute__((format(printf, 1, 2))) static const char *complain(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(complaint, sizeof(complaint), fmt, ap);
    va_end(ap);
    return complaint;
}

static const char *check_record(struct world *w, size_t i) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct sim_pipe *p = pipe_at(w, i);
    const struct store_row *row = world_pipe_row(w, i);
    struct pipeline_status s;
    unsigned versions = world_pipe_versions(w, i);
    if (!row) {
        return versions && !p->delete_asked ? complain("pipeline %zu has a model and no row", i)
                                            : NULL;
    }
    world_pipe_status(w, i, a, &s);
    bool wants = s.state == PIPELINE_STATE_SUCCEEDED && p->wish.has_upload;
    if (versions != (wants ? 1u : 0u)) {
        return complain("pipeline %zu is %s and has %u model versions", i,
                        pipeline_state_name(s.state), versions);
    }
    if (row->is_live == pipeline_state_is_terminal(s.state)) {
        return complain("pipeline %zu: state and liveness disagree", i);
    }
    if (s.child && !w->store->ops->peek(w->store, str_of(s.child))) {
        return complain("pipeline %zu names a job that is not there", i);
    }
    if (row->is_live ? p->status != NULL : p->status && !str_eqc(row->status, p->status)) {
        return complain("pipeline %zu has a second outcome", i);
    }
    if (!row->is_live && !p->status) {
        p->status = str_dup(row->status);
    }
    return NULL;
}

const char *pipes_invariant(struct world *w) {
    for (size_t i = 0; i < w->pipes.n; i++) {
        const struct sim_pipe *p = pipe_at(w, i);
        bool is_there = world_pipe_row(w, i) != NULL;
        if (p->deleted && is_there) {
            return complain("pipeline %zu was deleted and is there again", i);
        }
        if (p->created && !p->delete_asked && !is_there) {
            return complain("pipeline %zu was acknowledged and is gone", i);
        }
        if (p->refused && is_there) {
            return complain("pipeline %zu was refused and is there", i);
        }
        const char *wrong = check_record(w, i);
        if (wrong) {
            return wrong;
        }
    }
    return NULL;
}

struct children {
    struct store_list list;
    struct world *w;
    bool done;
    const char *wrong;
};

/* Children bear their pipeline's id as their display name. */
static void on_children(struct store_list *l, const struct store_row *rows, size_t nr,
                        struct str next_token, const struct err *err) {
    struct children *c = l->arg;
    CHECK(!err && !next_token.n);
    c->done = true;
    for (size_t i = 0; i < c->w->pipes.n && !c->wrong; i++) {
        const struct sim_pipe *p = pipe_at(c->w, i);
        unsigned n = 0;
        for (size_t k = 0; k < nr; k++) {
            n += str_eqc(rows[k].display_name, p->id);
        }
        if (n > 1) {
            c->wrong = complain("pipeline %zu has %u jobs", i, n);
        }
    }
}

static const char *check_children(struct world *w) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct children c = {.w = w};
    c.list = (struct store_list){.kind = STR("customJob"),
                                 .parent = STR(WORLD_PARENT),
                                 .page_size = 1000,
                                 .arena = a,
                                 .cb = on_children,
                                 .arg = &c};
    w->store->ops->list(w->store, &c.list);
    while (!c.done && store_mem_step(w->store)) {
    }
    CHECK(c.done);
    return c.wrong;
}

static const char *check_events(struct world *w, size_t i) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct store_event *ev;
    size_t n = world_events_of(w, pipe_at(w, i)->name, a, &ev);
    for (size_t k = 0; k < n; k++) {
        struct pipeline_event e;
        struct err err;
        if (ev[k].seq != k + 1 || pipeline_event_decode(a, &ev[k], &e, &err) != 0) {
            return complain("pipeline %zu: event %zu is wrong", i, k + 1);
        }
    }
    return n ? NULL : complain("pipeline %zu has no events", i);
}

static const char *check_outcome(struct world *w, size_t i) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    const struct sim_pipe *p = pipe_at(w, i);
    struct pipeline_status s;
    world_pipe_status(w, i, a, &s);
    if (!pipeline_state_is_terminal(s.state)) {
        return complain("pipeline %zu never finished: %s", i, pipeline_state_name(s.state));
    }
    if (s.state == PIPELINE_STATE_SUCCEEDED && (p->cancel_acked || !s.child || !s.start_time)) {
        /* A cancel that came after the end changes nothing; then there is an end to look at. */
        if (!s.child || !s.start_time) {
            return complain("pipeline %zu succeeded without a job", i);
        }
    }
    if (s.cancel_requested && s.state == PIPELINE_STATE_SUCCEEDED) {
        return complain("pipeline %zu was cancelled and succeeded", i);
    }
    if (s.state == PIPELINE_STATE_CANCELLED && !p->cancel_asked) {
        return complain("pipeline %zu: cancelled by nobody", i);
    }
    if (s.state == PIPELINE_STATE_FAILED && (!s.error_msg || !s.error_msg[0])) {
        return complain("pipeline %zu failed without a word", i);
    }
    return check_events(w, i);
}

const char *pipes_final(struct world *w) {
    if (w->ctl->nr_pipelines || w->ctl->nr_works || !list_is_empty(&w->ctl->pipeline_graveyard)) {
        return complain("%zu pipelines are still in memory", w->ctl->nr_pipelines);
    }
    for (size_t i = 0; i < w->pipes.n; i++) {
        const char *wrong = world_pipe_row(w, i) ? check_outcome(w, i) : NULL;
        if (wrong) {
            return wrong;
        }
    }
    return check_children(w);
}
