/* A tuning job's own events, and its status, to records and back. */
#include "base/rec.h"
#include "ctl/tuning_int.h"

static const char *const names[] = {
    [TUNING_EV_CREATED - TUNING_EV_CREATED] = "TUNING_CREATED",
    [TUNING_EV_TRIAL_JOB - TUNING_EV_CREATED] = "TRIAL_JOB",
    [TUNING_EV_TRIAL_FAILED - TUNING_EV_CREATED] = "TRIAL_FAILED",
    [TUNING_EV_CANCEL_REQUESTED - TUNING_EV_CREATED] = "CANCEL_REQUESTED",
    [TUNING_EV_ENDING - TUNING_EV_CREATED] = "TUNING_ENDING",
    [TUNING_EV_DONE - TUNING_EV_CREATED] = "TUNING_DONE",
};

const char *tuning_event_name(uint32_t type) {
    return type >= TUNING_EV_CREATED && type < TUNING_EV_END ? names[type - TUNING_EV_CREATED]
                                                             : NULL;
}

static void put_outcome(struct buf *b, const struct tuning_event *ev) {
    rec_puts(b, "state", job_state_name(ev->state));
    rec_put_i64(b, "code", ev->code);
    rec_puts(b, "msg", ev->msg);
}

void tuning_event_encode(struct buf *b, const struct tuning_event *ev) {
    rec_begin(b);
    switch (ev->type) {
    case TUNING_EV_TRIAL_JOB:
        rec_put_u64(b, "trial", ev->trial);
        rec_puts(b, "job", ev->job);
        break;
    case TUNING_EV_TRIAL_FAILED:
        rec_put_u64(b, "trial", ev->trial);
        rec_puts(b, "msg", ev->msg);
        break;
    case TUNING_EV_ENDING:
    case TUNING_EV_DONE:
        put_outcome(b, ev);
        break;
    case TUNING_EV_CREATED:
    case TUNING_EV_CANCEL_REQUESTED:
        break;
    case TUNING_EV_END:
        CHECK(!"not an event type");
    }
}

static int bad(struct err *err, const struct store_event *in, const char *what) {
    return err_set(err, ERR_DATA_LOSS, "event %llu (%s): bad %s", (unsigned long long)in->seq,
                   tuning_event_name(in->type), what);
}

int tuning_event_decode(struct arena *a, const struct store_event *in, struct tuning_event *ret,
                        struct err *err) {
    struct rec r;
    if (!tuning_event_name(in->type)) {
        return err_set(err, ERR_DATA_LOSS,
                       "event %llu has type %u, which this version does not know",
                       (unsigned long long)in->seq, in->type);
    }
    if (in->version != TUNING_EVENT_VERSION) {
        return bad(err, in, "version");
    }
    if (rec_parse(a, in->body, &r, err) != 0) {
        return err_wrap(err, "event %llu (%s)", (unsigned long long)in->seq,
                        tuning_event_name(in->type));
    }
    struct tuning_event ev = {.type = (enum tuning_event_type)in->type,
                              .trial = rec_get_u64(&r, "trial", 0),
                              .job = rec_get_cstr(&r, "job"),
                              .msg = rec_get_cstr(&r, "msg"),
                              .code = (int)rec_get_i64(&r, "code", 0)};
    bool of_trial = ev.type == TUNING_EV_TRIAL_JOB || ev.type == TUNING_EV_TRIAL_FAILED;
    if (of_trial && !ev.trial) {
        return bad(err, in, "trial");
    }
    if (ev.type == TUNING_EV_TRIAL_JOB && !ev.job) {
        return bad(err, in, "job");
    }
    if ((ev.type == TUNING_EV_ENDING || ev.type == TUNING_EV_DONE) &&
        (!job_state_read(rec_get(&r, "state"), &ev.state) || !job_state_is_terminal(ev.state))) {
        return bad(err, in, "state");
    }
    *ret = ev;
    return 0;
}

/* ---- the status ---- */

#define STATUS_TIMES(X)                                                                            \
    X(create_time)                                                                                 \
    X(start_time)                                                                                  \
    X(end_time)                                                                                    \
    X(update_time)
#define STATUS_NUMBERS(X)                                                                          \
    X(max_trials)                                                                                  \
    X(parallel)                                                                                    \
    X(max_failed)                                                                                  \
    X(nr_trials)                                                                                   \
                                                                                                   \
    X(nr_succeeded)                                                                                \
    X(nr_infeasible)                                                                               \
    X(nr_failed)

void tuning_status_encode(struct buf *b, const struct tuning_status *s) {
    rec_begin(b);
    rec_puts(b, "state", job_state_name(s->state));
#define X(f) rec_put_some(b, #f, s->f);
    STATUS_TIMES(X)
    STATUS_NUMBERS(X)
#undef X
    if (s->error_code) {
        rec_put_i64(b, "error_code", s->error_code);
    }
    rec_puts(b, "error_msg", s->error_msg);
    rec_put_some(b, "cancel_requested", s->cancel_requested);
    if (s->ending) {
        rec_puts(b, "ending", job_state_name(s->ending));
    }
    rec_put_some(b, "best_trial", s->best_trial);
}

int tuning_status_decode(struct arena *a, struct str text, struct tuning_status *ret,
                         struct err *err) {
    struct rec r;
    struct tuning_status s = {0};
    if (rec_parse(a, text, &r, err) != 0) {
        return err_wrap(err, "tuning job status");
    }
    if (!job_state_read(rec_get(&r, "state"), &s.state)) {
        return err_set(err, ERR_DATA_LOSS, "tuning job status has no known state");
    }
#define X(f) s.f = rec_get_u64(&r, #f, 0);
    STATUS_TIMES(X)
#undef X
#define X(f) s.f = (uint32_t)rec_get_u64(&r, #f, 0);
    STATUS_NUMBERS(X)
#undef X
    s.error_code = (int)rec_get_i64(&r, "error_code", 0);
    s.error_msg = rec_get_cstr(&r, "error_msg");
    s.cancel_requested = rec_get_u64(&r, "cancel_requested", 0) != 0;
    (void)job_state_read(rec_get(&r, "ending"), &s.ending);
    s.best_trial = rec_get_u64(&r, "best_trial", 0);
    *ret = s;
    return 0;
}
