/* Job states and the status record: the mutable half of a job as it is stored. */
#include "base/rec.h"
#include "ctl/ctl.h"

static const char *const state_names[] = {
    [JOB_STATE_UNSPECIFIED] = "JOB_STATE_UNSPECIFIED",
    [JOB_STATE_QUEUED] = "JOB_STATE_QUEUED",
    [JOB_STATE_PENDING] = "JOB_STATE_PENDING",
    [JOB_STATE_RUNNING] = "JOB_STATE_RUNNING",
    [JOB_STATE_SUCCEEDED] = "JOB_STATE_SUCCEEDED",
    [JOB_STATE_FAILED] = "JOB_STATE_FAILED",
    [JOB_STATE_CANCELLING] = "JOB_STATE_CANCELLING",
    [JOB_STATE_CANCELLED] = "JOB_STATE_CANCELLED",
    [JOB_STATE_PAUSED] = "JOB_STATE_PAUSED",
    [JOB_STATE_EXPIRED] = "JOB_STATE_EXPIRED",
    [JOB_STATE_UPDATING] = "JOB_STATE_UPDATING",
    [JOB_STATE_PARTIALLY_SUCCEEDED] = "JOB_STATE_PARTIALLY_SUCCEEDED",
};

const char *job_state_name(enum job_state s) {
    return (size_t)s < NR_OF(state_names) ? state_names[s] : state_names[0];
}

bool job_state_read(struct str name, enum job_state *ret) {
    for (size_t i = 1; i < NR_OF(state_names); i++) {
        if (str_eqc(name, state_names[i])) {
            *ret = (enum job_state)i;
            return true;
        }
    }
    return false;
}

bool job_state_is_terminal(enum job_state s) {
    return s == JOB_STATE_SUCCEEDED || s == JOB_STATE_FAILED || s == JOB_STATE_CANCELLED ||
           s == JOB_STATE_EXPIRED || s == JOB_STATE_PARTIALLY_SUCCEEDED;
}

/* Key and field of everything that is a plain number of microseconds. */
#define STATUS_TIMES(X)                                                                            \
    X(create_time)                                                                                 \
    X(start_time)                                                                                  \
    X(end_time)                                                                                    \
    X(update_time)                                                                                 \
    X(t_queued)                                                                                    \
    X(t_image)                                                                                     \
    X(t_packages)                                                                                  \
    X(t_bundle)                                                                                    \
    X(t_start)                                                                                     \
    X(t_run)                                                                                       \
    X(t_collect)

void job_status_encode(struct buf *b, const struct job_status *s) {
    rec_begin(b);
    rec_puts(b, "state", job_state_name(s->state));
#define X(f) rec_put_some(b, #f, s->f);
    STATUS_TIMES(X)
#undef X
    rec_put_some(b, "attempt", s->attempt);
    if (s->error_code) {
        rec_put_i64(b, "error_code", s->error_code);
    }
    rec_puts(b, "error_msg", s->error_msg);
    rec_puts(b, "pending_reason", s->pending_reason);
}

int job_status_decode(struct arena *a, struct str text, struct job_status *ret, struct err *err) {
    struct rec r;
    if (rec_parse(a, text, &r, err) != 0) {
        return err_wrap(err, "job status");
    }
    struct job_status s = {0};
    if (!job_state_read(rec_get(&r, "state"), &s.state)) {
        return err_set(err, ERR_DATA_LOSS, "job status has no known state");
    }
#define X(f) s.f = rec_get_u64(&r, #f, 0);
    STATUS_TIMES(X)
#undef X
    s.attempt = (uint32_t)rec_get_u64(&r, "attempt", 0);
    s.error_code = (int)rec_get_i64(&r, "error_code", 0);
    s.error_msg = rec_get_cstr(&r, "error_msg");
    s.pending_reason = rec_get_cstr(&r, "pending_reason");
    *ret = s;
    return 0;
}
