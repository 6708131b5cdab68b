/* GET /cusp/v1/projects/P/locations/L/customJobs/ID:events -- a job's events as they happened, and
 * where its time went. What `cusp custom-jobs describe --timeline` and `cusp replay` print.
 * Of hyperparameterTuningJobs and trainingPipelines too: what they decided, and why.
 *
 * At most EVENTS_SHOWN, those behind ?after=SEQ; "nextAfter" says that there are more. */
#include "api/call.h"
#include "api/cusp_path.h"
#include "base/rec.h"
#include "ctl/tuning.h"

#define EVENTS_SHOWN 5000u
#define REPLY_MAX (64u << 20) /* a trial's events are bounded by max_trial_measurements */

struct timeline;

static void put_job(struct timeline *t, struct jw *w);
static void put_tuning(struct timeline *t, struct jw *w);

static const struct kind {
    const char *word, *collection;
    void (*put_status)(struct timeline *t, struct jw *w); /* what the row's status says */
} kinds[] = {{"CustomJob", "customJobs", put_job},
             {"HyperparameterTuningJob", "hyperparameterTuningJobs", put_tuning},
             {"TrainingPipeline", "trainingPipelines", NULL}};

struct timeline {
    struct api *api;
    const struct kind *kind;
    struct xch *xch;
    uint64_t after;
    struct store_get get;
    struct store_events events;
    struct store_row row;
    struct name_parts name;
};

static void put_time(struct jw *w, const char *key, usec_t t) {
    auto_buf struct buf b = BUF_INIT(64);
    if (t) {
        time_format_rfc3339(&b, t);
        jw_kv(w, key, buf_cstr(&b));
    }
}

static void put_seconds(struct jw *w, const char *key, usec_t t) {
    jw_key(w, key);
    jw_double(w, (double)t / USEC_PER_SEC);
}

static void put_job(struct timeline *t, struct jw *w) {
    struct job_status st;
    struct err err;
    auto_buf struct buf reason = BUF_INIT(1024);
    unsigned position = 0;
    if (job_status_decode(xch_arena(t->xch), t->row.status, &st, &err)) {
        return;
    }
    jw_key(w, "attempt");
    jw_u64(w, st.attempt);
    if (!job_state_is_terminal(st.state) &&
        ctl_job_explain(t->api->ctl, t->name.canonical, &reason, &position)) {
        if (reason.n) {
            jw_kv(w, "waitingFor", buf_cstr(&reason));
        }
        if (position) {
            jw_key(w, "queuePosition");
            jw_u64(w, position);
        }
    }
    jw_key(w, "seconds");
    jw_object(w);
    put_seconds(w, "queued", st.t_queued);
    put_seconds(w, "image", st.t_image);
    put_seconds(w, "packages", st.t_packages);
    put_seconds(w, "bundle", st.t_bundle);
    put_seconds(w, "start", st.t_start);
    put_seconds(w, "running", st.t_run);
    put_seconds(w, "collecting", st.t_collect);
    jw_end_object(w);
}

static void put_count(struct jw *w, const char *key, uint64_t n) {
    jw_key(w, key);
    jw_u64(w, n);
}

static void put_tuning(struct timeline *t, struct jw *w) {
    struct tuning_status st;
    struct err err;
    if (tuning_status_decode(xch_arena(t->xch), t->row.status, &st, &err)) {
        return;
    }
    jw_key(w, "trials");
    jw_object(w);
    put_count(w, "max", st.max_trials);
    put_count(w, "parallel", st.parallel);
    put_count(w, "made", st.nr_trials);
    put_count(w, "succeeded", st.nr_succeeded);
    put_count(w, "infeasible", st.nr_infeasible);
    put_count(w, "failed", st.nr_failed);
    if (st.best_trial) {
        put_count(w, "best", st.best_trial);
    }
    jw_end_object(w);
}

/* A key that a record has more than once (reports, replicas) is a list. */
static void put_facts(struct jw *w, const struct rec *r) {
    jw_object(w);
    for (size_t i = 0; i < r->n; i++) {
        size_t before = 0, more = i + 1;
        while (before < i && !str_eq(r->p[before].key, r->p[i].key)) {
            before++;
        }
        if (before < i) {
            continue; /* written with the first */
        }
        while (more < r->n && !str_eq(r->p[more].key, r->p[i].key)) {
            more++;
        }
        jw_key_str(w, r->p[i].key);
        if (more == r->n) {
            jw_str(w, r->p[i].value);
            continue;
        }
        jw_array(w);
        for (size_t k = i; k < r->n; k++) {
            if (str_eq(r->p[k].key, r->p[i].key)) {
                jw_str(w, r->p[k].value);
            }
        }
        jw_end_array(w);
    }
    jw_end_object(w);
}

static void put_event(struct timeline *t, struct jw *w, const struct store_event *ev) {
    struct rec r;
    jw_object(w);
    jw_key(w, "seq");
    jw_u64(w, ev->seq);
    put_time(w, "time", ev->time);
    jw_kv(w, "type", event_type_name(ev->type));
    jw_key(w, "facts");
    if (rec_parse(xch_arena(t->xch), ev->body, &r, NULL) == 0) {
        put_facts(w, &r);
    } else {
        jw_object(w);
        jw_end_object(w);
    }
    jw_end_object(w);
}

static void on_events(struct store_events *e, const struct store_event *ev, size_t n,
                      const struct err *err) {
    struct timeline *t = e->arg;
    struct xch *x = t->xch;
    if (err) {
        reply_error(x, err);
        xch_unref(x);
        return;
    }
    size_t from = 0, shown = 0;
    while (from < n && ev[from].seq <= t->after) {
        from++;
    }
    auto_buf struct buf b = BUF_INIT(REPLY_MAX);
    struct jw w;
    jw_init(&w, &b, 2);
    jw_object(&w);
    jw_key(&w, "name");
    jw_str(&w, t->name.canonical);
    if (t->row.state.n) {
        jw_key(&w, "state");
        jw_str(&w, t->row.state);
    }
    if (t->kind->put_status) {
        t->kind->put_status(t, &w);
    }
    jw_key(&w, "events");
    jw_array(&w);
    for (; shown < EVENTS_SHOWN && from + shown < n; shown++) {
        put_event(t, &w, &ev[from + shown]);
    }
    jw_end_array(&w);
    if (from + shown < n) {
        jw_key(&w, "nextAfter");
        jw_u64(&w, ev[from + shown - 1].seq);
    }
    jw_end_object(&w);
    buf_putc(&b, '\n');
    if (b.full) {
        struct err large;
        err_set(&large, ERR_RESOURCE_EXHAUSTED, "The events are larger than %u bytes", REPLY_MAX);
        reply_error(x, &large);
    } else {
        reply_json(x, 200, buf_str(&b));
    }
    xch_unref(x);
}

static void on_row(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct timeline *t = g->arg;
    struct err missing;
    if (err ? err->code == ERR_NOT_FOUND : !row) {
        err_set(&missing, ERR_NOT_FOUND, "The %s \"%.*s\" does not exist.", t->kind->word,
                STR_ARG(t->name.canonical));
        err = &missing;
    }
    if (err) {
        reply_error(t->xch, err);
        xch_unref(t->xch);
        return;
    }
    t->row = *row;
    t->events = (struct store_events){
        .owner = t->name.canonical, .arena = xch_arena(t->xch), .cb = on_events, .arg = t};
    t->api->store->ops->events(t->api->store, &t->events);
}

bool timeline_handle(struct api *a, struct xch *x) {
    struct timeline *t;
    struct err err;
    struct str rest;
    if (!cusp_path_match(x, ":events", &rest)) {
        return false;
    }
    t = arena_own(xch_arena(x), sizeof(*t));
    t->kind = &kinds[0];
    for (size_t i = 1; i < NR_OF(kinds); i++) {
        auto_free char *in = xasprintf("/%s/", kinds[i].collection);
        t->kind = str_find(rest, str_of(in)) >= 0 ? &kinds[i] : t->kind;
    }
    struct str after = cusp_query_get(x, "after");
    if (after.p && !str_to_u64(after, &t->after)) {
        err_field(&err, ERR_INVALID_ARGUMENT, "after", "after=%.*s is not the seq of an event",
                  (int)(after.n > 100 ? 100 : after.n), after.p);
        reply_error(x, &err);
        return true;
    }
    if (name_parse_in(a->projects, xch_arena(x), rest, t->kind->collection, "name", &t->name,
                      &err)) {
        reply_error(x, &err);
        return true;
    }
    t->api = a;
    t->xch = xch_ref(x);
    t->get = (struct store_get){
        .name = t->name.canonical, .arena = xch_arena(x), .cb = on_row, .arg = t};
    a->store->ops->get(a->store, &t->get);
    return true;
}
