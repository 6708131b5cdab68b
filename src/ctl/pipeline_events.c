/* A pipeline's events to records and back. */
#include "ctl/pipeline_int.h"

#include "base/rec.h"

static const char *const names[] = {
    [PIPELINE_EV_CREATED - PIPELINE_EV_CREATED] = "PIPELINE_CREATED",
    [PIPELINE_EV_EXPORTED - PIPELINE_EV_CREATED] = "EXPORTED",
    [PIPELINE_EV_CHILD_CREATED - PIPELINE_EV_CREATED] = "CHILD_CREATED",
    [PIPELINE_EV_CHILD_RUNNING - PIPELINE_EV_CREATED] = "CHILD_RUNNING",
    [PIPELINE_EV_CHILD_DONE - PIPELINE_EV_CREATED] = "CHILD_DONE",
    [PIPELINE_EV_CANCEL_REQUESTED - PIPELINE_EV_CREATED] = "CANCEL_REQUESTED",
    [PIPELINE_EV_DONE - PIPELINE_EV_CREATED] = "PIPELINE_DONE",
};

const char *pipeline_event_name(uint32_t type) {
    return type >= PIPELINE_EV_CREATED && type < PIPELINE_EV_END ? names[type - PIPELINE_EV_CREATED]
                                                                 : NULL;
}

static const char *const set_names[SET_NR] = {
    [SET_TRAINING] = "training", [SET_VALIDATION] = "validation", [SET_TEST] = "test"};

void pipeline_data_put(struct buf *b, const struct pipeline_data *d) {
    char key[32];
    if (!d->format) {
        return;
    }
    rec_puts(b, "format", d->format);
    rec_puts(b, "dataset", d->dataset);
    for (int i = 0; i < SET_NR; i++) {
        snprintf(key, sizeof(key), "%s_uri", set_names[i]);
        rec_puts(b, key, d->uri[i]);
        snprintf(key, sizeof(key), "%s_items", set_names[i]);
        rec_put_u64(b, key, d->items[i]);
    }
}

void pipeline_data_get(const struct rec *r, struct pipeline_data *ret) {
    char key[32];
    ret->format = rec_get_cstr(r, "format");
    ret->dataset = rec_get_cstr(r, "dataset");
    for (int i = 0; i < SET_NR; i++) {
        snprintf(key, sizeof(key), "%s_uri", set_names[i]);
        ret->uri[i] = rec_get_cstr(r, key);
        snprintf(key, sizeof(key), "%s_items", set_names[i]);
        ret->items[i] = rec_get_u64(r, key, 0);
    }
}

void pipeline_model_put(struct buf *b, const struct pipeline_model *m) {
    if (m->name) {
        rec_puts(b, "model", m->name);
        rec_puts(b, "model_version", m->version);
        rec_puts(b, "model_aliases", m->aliases);
    }
}

void pipeline_model_get(const struct rec *r, struct pipeline_model *ret) {
    ret->name = rec_get_cstr(r, "model");
    ret->version = rec_get_cstr(r, "model_version");
    ret->aliases = rec_get_cstr(r, "model_aliases");
}

void pipeline_event_encode(struct buf *b, const struct pipeline_event *ev) {
    rec_begin(b);
    switch (ev->type) {
    case PIPELINE_EV_EXPORTED:
        pipeline_data_put(b, &ev->data);
        break;
    case PIPELINE_EV_CHILD_CREATED:
        rec_puts(b, "child", ev->child);
        break;
    case PIPELINE_EV_CHILD_RUNNING:
        rec_put_u64(b, "started_at", ev->started_at);
        break;
    case PIPELINE_EV_CHILD_DONE:
        rec_puts(b, "state", job_state_name(ev->child_state));
        rec_put_u64(b, "started_at", ev->started_at);
        rec_put_i64(b, "code", ev->code);
        rec_puts(b, "msg", ev->msg);
        rec_put_some(b, "best_trial", ev->best_trial);
        rec_puts(b, "best_job", ev->best_job);
        break;
    case PIPELINE_EV_DONE:
        rec_puts(b, "state", pipeline_state_name(ev->state));
        rec_put_i64(b, "code", ev->code);
        rec_puts(b, "msg", ev->msg);
        pipeline_model_put(b, &ev->model);
        break;
    case PIPELINE_EV_CREATED:
    case PIPELINE_EV_CANCEL_REQUESTED:
        break;
    case PIPELINE_EV_END:
        CHECK(!"not an event type");
    }
}

static int bad(struct err *err, const struct store_event *in, const char *what) {
    return err_set(err, ERR_DATA_LOSS, "event %llu (%s): bad %s", (unsigned long long)in->seq,
                   pipeline_event_name(in->type), what);
}

/* False: no such state, or not a final one. */
static bool get_state(struct str name, enum pipeline_state *ret) {
    for (int s = 1; s <= PIPELINE_STATE_PAUSED; s++) {
        if (str_eqc(name, pipeline_state_name((enum pipeline_state)s))) {
            *ret = (enum pipeline_state)s;
            return pipeline_state_is_terminal(*ret);
        }
    }
    return false;
}

int pipeline_event_decode(struct arena *a, const struct store_event *in, struct pipeline_event *ret,
                          struct err *err) {
    struct rec r;
    if (!pipeline_event_name(in->type)) {
        return err_set(err, ERR_DATA_LOSS,
                       "event %llu has type %u, which this version does not know",
                       (unsigned long long)in->seq, in->type);
    }
    if (in->version != PIPELINE_EVENT_VERSION) {
        return bad(err, in, "version");
    }
    if (rec_parse(a, in->body, &r, err) != 0) {
        return err_wrap(err, "event %llu (%s)", (unsigned long long)in->seq,
                        pipeline_event_name(in->type));
    }
    struct pipeline_event ev = {
        .type = (enum pipeline_event_type)in->type, .seq = in->seq, .time = in->time};
    ev.code = (int)rec_get_i64(&r, "code", 0);
    ev.msg = rec_get_cstr(&r, "msg");
    ev.started_at = rec_get_u64(&r, "started_at", 0);
    ev.best_trial = rec_get_u64(&r, "best_trial", 0);
    ev.best_job = rec_get_cstr(&r, "best_job");
    switch (ev.type) {
    case PIPELINE_EV_EXPORTED:
        pipeline_data_get(&r, &ev.data);
        if (!ev.data.format) {
            return bad(err, in, "format");
        }
        break;
    case PIPELINE_EV_CHILD_CREATED:
        ev.child = rec_get_cstr(&r, "child");
        if (!ev.child) {
            return bad(err, in, "child");
        }
        break;
    case PIPELINE_EV_CHILD_DONE:
        if (!job_state_read(rec_get(&r, "state"), &ev.child_state) ||
            !job_state_is_terminal(ev.child_state)) {
            return bad(err, in, "state");
        }
        break;
    case PIPELINE_EV_DONE:
        if (!get_state(rec_get(&r, "state"), &ev.state)) {
            return bad(err, in, "state");
        }
        pipeline_model_get(&r, &ev.model);
        break;
    case PIPELINE_EV_CREATED:
    case PIPELINE_EV_CHILD_RUNNING:
    case PIPELINE_EV_CANCEL_REQUESTED:
    case PIPELINE_EV_END:
        break;
    }
    *ret = ev;
    return 0;
}
