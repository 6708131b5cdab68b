/* What is known of a pipeline: events applied to a plain value, and that value as a record. Pure.
 */
#include "ctl/pipeline_int.h"

#include "base/rec.h"

static const char *const state_names[] = {
    [PIPELINE_STATE_UNSPECIFIED] = "PIPELINE_STATE_UNSPECIFIED",
    [PIPELINE_STATE_QUEUED] = "PIPELINE_STATE_QUEUED",
    [PIPELINE_STATE_PENDING] = "PIPELINE_STATE_PENDING",
    [PIPELINE_STATE_RUNNING] = "PIPELINE_STATE_RUNNING",
    [PIPELINE_STATE_SUCCEEDED] = "PIPELINE_STATE_SUCCEEDED",
    [PIPELINE_STATE_FAILED] = "PIPELINE_STATE_FAILED",
    [PIPELINE_STATE_CANCELLING] = "PIPELINE_STATE_CANCELLING",
    [PIPELINE_STATE_CANCELLED] = "PIPELINE_STATE_CANCELLED",
    [PIPELINE_STATE_PAUSED] = "PIPELINE_STATE_PAUSED",
};
static const char *const phase_names[] = {
    [PIPELINE_NEW] = "new",
    [PIPELINE_EXPORTING] = "exporting",
    [PIPELINE_CHILD_DUE] = "child_due",
    [PIPELINE_FOLLOWING] = "following",
    [PIPELINE_UPLOADING] = "uploading",
    [PIPELINE_DONE] = "done",
};

const char *pipeline_state_name(enum pipeline_state s) {
    return (size_t)s < NR_OF(state_names) ? state_names[s] : state_names[0];
}

bool pipeline_state_is_terminal(enum pipeline_state s) {
    return s == PIPELINE_STATE_SUCCEEDED || s == PIPELINE_STATE_FAILED ||
           s == PIPELINE_STATE_CANCELLED;
}

/* ---- events ---- */

static void end(struct pipeline_status *s, usec_t when, enum pipeline_state state, int code,
                const char *msg) {
    s->phase = PIPELINE_DONE;
    s->state = state;
    s->end_time = when;
    s->error_code = code;
    s->error_msg = msg;
}

static void note_start(struct pipeline_status *s, usec_t when) {
    if (when && !s->start_time) {
        s->start_time = when;
    }
}

/* The job's end is the pipeline's, unless there is something to upload. A wish to cancel that came
 * too late for the job is granted all the same: the user was told so. */
static void child_done(struct pipeline_status *s, const struct pipeline_spec *spec,
                       const struct pipeline_event *ev) {
    note_start(s, ev->started_at);
    s->child_end = ev->time;
    s->best_trial = ev->best_trial;
    s->best_job = ev->best_job;
    if (ev->child_state == JOB_STATE_SUCCEEDED && s->cancel_requested) {
        end(s, ev->time, PIPELINE_STATE_CANCELLED, ERR_CANCELLED, "CANCELED");
    } else if (ev->child_state == JOB_STATE_SUCCEEDED && spec->has_upload) {
        s->phase = PIPELINE_UPLOADING;
    } else if (ev->child_state == JOB_STATE_SUCCEEDED) {
        end(s, ev->time, PIPELINE_STATE_SUCCEEDED, 0, NULL);
    } else {
        end(s, ev->time,
            ev->child_state == JOB_STATE_CANCELLED ? PIPELINE_STATE_CANCELLED
                                                   : PIPELINE_STATE_FAILED,
            ev->code ? ev->code : ERR_INTERNAL, ev->msg);
    }
}

/* The phase in which the fact can come to be; PIPELINE_DONE: any but that. */
static enum pipeline_phase phase_of(enum pipeline_event_type type) {
    switch (type) {
    case PIPELINE_EV_CREATED:
        return PIPELINE_NEW;
    case PIPELINE_EV_EXPORTED:
        return PIPELINE_EXPORTING;
    case PIPELINE_EV_CHILD_CREATED:
        return PIPELINE_CHILD_DUE;
    case PIPELINE_EV_CHILD_RUNNING:
    case PIPELINE_EV_CHILD_DONE:
        return PIPELINE_FOLLOWING;
    case PIPELINE_EV_CANCEL_REQUESTED:
    case PIPELINE_EV_DONE:
    case PIPELINE_EV_END:
        break;
    }
    return PIPELINE_DONE;
}

static bool fits(const struct pipeline_status *s, const struct pipeline_event *ev) {
    enum pipeline_phase in = phase_of(ev->type);
    if (in != PIPELINE_DONE) {
        return s->phase == in;
    }
    if (s->phase == PIPELINE_NEW || s->phase == PIPELINE_DONE) {
        return false;
    }
    return ev->type != PIPELINE_EV_DONE || ev->state != PIPELINE_STATE_SUCCEEDED ||
           s->phase == PIPELINE_UPLOADING;
}

int pipeline_apply(struct pipeline_status *s, const struct pipeline_spec *spec,
                   const struct pipeline_event *ev, struct err *err) {
    if (!fits(s, ev)) {
        return err_set(err, ERR_DATA_LOSS, "event %llu (%s) does not fit the phase %s",
                       (unsigned long long)ev->seq, pipeline_event_name(ev->type),
                       phase_names[s->phase]);
    }
    switch (ev->type) {
    case PIPELINE_EV_CREATED:
        s->create_time = ev->time;
        s->state = PIPELINE_STATE_PENDING;
        s->phase = spec->has_input ? PIPELINE_EXPORTING : PIPELINE_CHILD_DUE;
        break;
    case PIPELINE_EV_EXPORTED:
        s->data = ev->data;
        s->export_end = ev->time;
        s->phase = PIPELINE_CHILD_DUE;
        break;
    case PIPELINE_EV_CHILD_CREATED:
        s->child = ev->child;
        s->phase = PIPELINE_FOLLOWING;
        break;
    case PIPELINE_EV_CHILD_RUNNING:
        note_start(s, ev->started_at);
        break;
    case PIPELINE_EV_CHILD_DONE:
        child_done(s, spec, ev);
        break;
    case PIPELINE_EV_CANCEL_REQUESTED:
        s->cancel_requested = true;
        break;
    case PIPELINE_EV_DONE:
        s->model = ev->model;
        end(s, ev->time, ev->state, ev->code, ev->msg);
        break;
    case PIPELINE_EV_END:
        CHECK(!"not an event type");
    }
    if (!pipeline_is_over(s)) {
        s->state = s->cancel_requested ? PIPELINE_STATE_CANCELLING
                   : s->start_time     ? PIPELINE_STATE_RUNNING
                                       : PIPELINE_STATE_PENDING;
    }
    s->update_time = ev->time;
    pipeline_check(s, spec);
    return 0;
}

void pipeline_check(const struct pipeline_status *s, const struct pipeline_spec *spec) {
    CHECK(pipeline_is_over(s) == pipeline_state_is_terminal(s->state));
    CHECK(pipeline_is_over(s) == (s->end_time != 0));
    CHECK((s->error_code == 0) == (!pipeline_is_over(s) || s->state == PIPELINE_STATE_SUCCEEDED));
    CHECK((s->model.name != NULL) == (s->state == PIPELINE_STATE_SUCCEEDED && spec->has_upload));
    CHECK(s->child || (s->phase != PIPELINE_FOLLOWING && s->phase != PIPELINE_UPLOADING &&
                       s->state != PIPELINE_STATE_SUCCEEDED));
    CHECK(!s->data.format || spec->has_input);
    CHECK(!s->best_job || (spec->is_tuned && s->best_trial));
}

/* ---- the record ---- */

#define STATUS_TIMES(X)                                                                            \
    X(create_time)                                                                                 \
    X(start_time)                                                                                  \
    X(end_time)                                                                                    \
    X(update_time)                                                                                 \
    X(export_end)                                                                                  \
    X(child_end)

void pipeline_status_encode(struct buf *b, const struct pipeline_status *s) {
    rec_begin(b);
    rec_puts(b, "state", pipeline_state_name(s->state));
    rec_puts(b, "phase", phase_names[s->phase]);
#define X(f) rec_put_some(b, #f, s->f);
    STATUS_TIMES(X)
#undef X
    if (s->error_code) {
        rec_put_i64(b, "error_code", s->error_code);
    }
    rec_puts(b, "error_msg", s->error_msg);
    rec_puts(b, "child", s->child);
    rec_put_some(b, "best_trial", s->best_trial);
    rec_puts(b, "best_job", s->best_job);
    rec_put_some(b, "cancel_requested", s->cancel_requested);
    pipeline_data_put(b, &s->data);
    pipeline_model_put(b, &s->model);
}

static int word_index(const char *const *words, size_t nr, struct str word) {
    for (size_t i = 0; i < nr; i++) {
        if (str_eqc(word, words[i])) {
            return (int)i;
        }
    }
    return -1;
}

int pipeline_status_decode(struct arena *a, struct str text, struct pipeline_status *ret,
                           struct err *err) {
    struct rec r;
    struct pipeline_status s = {0};
    if (rec_parse(a, text, &r, err) != 0) {
        return err_wrap(err, "pipeline status");
    }
    int state = word_index(state_names, NR_OF(state_names), rec_get(&r, "state"));
    int phase = word_index(phase_names, NR_OF(phase_names), rec_get(&r, "phase"));
    if (state <= 0 || phase < 0) {
        return err_set(err, ERR_DATA_LOSS, "pipeline status has no known state or phase");
    }
    s.state = (enum pipeline_state)state;
    s.phase = (enum pipeline_phase)phase;
#define X(f) s.f = rec_get_u64(&r, #f, 0);
    STATUS_TIMES(X)
#undef X
    s.error_code = (int)rec_get_i64(&r, "error_code", 0);
    s.error_msg = rec_get_cstr(&r, "error_msg");
    s.child = rec_get_cstr(&r, "child");
    s.best_trial = rec_get_u64(&r, "best_trial", 0);
    s.best_job = rec_get_cstr(&r, "best_job");
    s.cancel_requested = rec_get_u64(&r, "cancel_requested", 0) != 0;
    pipeline_data_get(&r, &s.data);
    pipeline_model_get(&r, &s.model);
    *ret = s;
    return 0;
}
