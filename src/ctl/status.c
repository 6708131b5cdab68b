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
#define X(f)                                                                                       \
    if (s->f) {                                                                                    \
        rec_put_u64(b, #f, s->f);                                                                  \
    }
    STATUS_TIMES(X)
#undef X
    if (s->attempt) {
        rec_put_u64(b, "attempt", s->attempt);
    }
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
    struct str state = rec_get(&r, "state");
    size_t i = 1;
    while (i < NR_OF(state_names) && !str_eqc(state, state_names[i])) {
        i++;
    }
    if (i == NR_OF(state_names)) {
        return err_set(err, ERR_DATA_LOSS, "job status has no known state");
    }
    s.state = (enum job_state)i;
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
