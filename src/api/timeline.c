/* GET /cusp/v1/projects/P/locations/L/customJobs/ID:events -- a job's events as they happened, and
 * where its time went. What `cusp custom-jobs describe --timeline` and `cusp replay` print. */
#include "api/call.h"
#include "api/cusp_path.h"
#include "base/rec.h"

struct timeline {
    struct api *api;
    struct xch *xch;
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

static void put_status(struct timeline *t, struct jw *w) {
    struct job_status st;
    struct err err;
    auto_buf struct buf reason = BUF_INIT(1024);
    unsigned position = 0;
    if (job_status_decode(xch_arena(t->xch), t->row.status, &st, &err)) {
        return;
    }
    jw_kv(w, "state", job_state_name(st.state));
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

static void put_event(struct timeline *t, struct jw *w, const struct store_event *ev) {
    struct rec r;
    jw_object(w);
    jw_key(w, "seq");
    jw_u64(w, ev->seq);
    put_time(w, "time", ev->time);
    jw_kv(w, "type", event_type_name(ev->type));
    jw_key(w, "facts");
    jw_object(w);
    if (rec_parse(xch_arena(t->xch), ev->body, &r, NULL) == 0) {
        for (size_t i = 0; i < r.n; i++) {
            jw_key_str(w, r.p[i].key);
            jw_str(w, r.p[i].value);
        }
    }
    jw_end_object(w);
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
    auto_buf struct buf b = BUF_INIT(16 << 20);
    struct jw w;
    jw_init(&w, &b, 2);
    jw_object(&w);
    jw_key(&w, "name");
    jw_str(&w, t->name.canonical);
    put_status(t, &w);
    jw_key(&w, "events");
    jw_array(&w);
    for (size_t i = 0; i < n; i++) {
        put_event(t, &w, &ev[i]);
    }
    jw_end_array(&w);
    jw_end_object(&w);
    buf_putc(&b, '\n');
    reply_json(x, 200, buf_str(&b));
    xch_unref(x);
}

static void on_row(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct timeline *t = g->arg;
    struct err missing;
    if (err ? err->code == ERR_NOT_FOUND : !row) {
        err_set(&missing, ERR_NOT_FOUND, "The CustomJob \"%.*s\" does not exist.",
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
    if (name_parse_in(a->projects, xch_arena(x), rest, "customJobs", "name", &t->name, &err)) {
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
