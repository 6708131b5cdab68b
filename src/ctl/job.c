/* Job facts. */
#include "ctl/job.h"

#include "ctl/ctl_int.h"

static struct fact *fact_of(struct list *l) {
    return list_entry(l, struct fact, link);
}

struct job *job_new(struct ctl *c, struct arena *arena, struct str name, struct job_spec *spec) {
    struct job *j = xcalloc(1, sizeof(*j));
    j->ctl = c;
    j->arena = arena;
    j->name = arena_str(arena, name);
    j->spec = spec;
    if (!str_to_u64(str_of(spec->id), &j->id)) {
        j->id = str_hash(name);
    }
    list_init(&j->link);
    list_init(&j->inbox);
    list_init(&j->unsaved);
    list_init(&j->trial_ops);
    j->qnode.klass = spec->strategy == STRATEGY_SPOT;
    j->qnode.id = j->id;
    return j;
}

static void free_facts(struct list *l) {
    while (!list_is_empty(l)) {
        struct fact *f = fact_of(l->next);
        list_del(&f->link);
        free(f);
    }
}

void job_free(struct job *j) {
    if (!j) {
        return;
    }
    attempt_free(j->attempt);
    if (j->hold) {
        free(j->hold->places);
        free(j->hold);
    }
    free_facts(&j->inbox);
    free_facts(&j->unsaved);
    free(j->trial);
    free(j->error_msg);
    if (j->measures) {
        measures_fini(j->measures);
        free(j->measures);
    }
    arena_free(j->arena);
    free(j);
}

struct measures *job_measures(struct job *j) {
    if (!j->measures) {
        j->measures = xcalloc(1, sizeof(*j->measures));
        measures_init(j->measures);
    }
    return j->measures;
}

bool job_is_born(const struct job *j) {
    return j->durable > 0;
}

bool job_is_terminal(const struct job *j) {
    return job_state_is_terminal(j->status.state);
}

bool job_may_cancel(const struct job *j) {
    return !job_is_terminal(j) &&
           (j->attempt->verdict == VERDICT_NONE || j->attempt->verdict == VERDICT_RETRY);
}

bool job_is_settled(const struct job *j) {
    return j->durable == j->seq && list_is_empty(&j->inbox) && !j->trial;
}

void job_check(const struct job *j) {
    CHECK(j->durable <= j->seq);
    if (j->attempt) {
        attempt_check(j->attempt);
    }
    if (job_is_terminal(j)) {
        CHECK(j->attempt->sm.state == PHASE_DONE && !j->attempt->run);
        CHECK(j->status.end_time && !j->qnode.queued);
        CHECK((j->status.state == JOB_STATE_SUCCEEDED) == (j->status.error_code == 0));
    }
}

/* Never goes back: a job that ran once stays RUNNING through its retries. */
static enum job_state state_of(const struct job *j) {
    if (j->cancel_requested) {
        return JOB_STATE_CANCELLING;
    }
    if (j->status.start_time) {
        return JOB_STATE_RUNNING;
    }
    unsigned p = j->attempt->sm.state;
    if (p >= PHASE_PLACED && p <= PHASE_STARTING) {
        return JOB_STATE_PENDING;
    }
    if (p == PHASE_WAITING && j->status.state == JOB_STATE_UNSPECIFIED) {
        return JOB_STATE_QUEUED;
    }
    return j->status.state;
}

static usec_t since(usec_t now, usec_t then) {
    return now > then ? now - then : 1; /* 0 would read "not reached" */
}

/* Where the time went; measured on the attempt that got furthest, so a retry overwrites. */
static void note_times(struct job *j, const struct event *ev, unsigned before) {
    struct job_status *s = &j->status;
    const struct attempt *a = j->attempt;
    if (ev->type == EV_ATTEMPT_PLACED && !s->t_queued) {
        s->t_queued = since(ev->time, s->create_time);
    }
    if (ev->type == EV_ATTEMPT_STEP) {
        usec_t took = ev->took ? ev->took : 1;
        usec_t *at = ev->step == STAGE_IMAGE      ? &s->t_image
                     : ev->step == STAGE_PACKAGES ? &s->t_packages
                                                  : &s->t_bundle;
        *at = took;
    }
    unsigned now = a->sm.state;
    if (before == now) {
        return;
    }
    if (a->up_at == ev->time && now == PHASE_RUNNING) {
        s->t_start = since(ev->time, a->intent_at);
        if (!s->start_time) {
            s->start_time = ev->time;
        }
    }
    /* It ran and ended while nobody looked, or before the last worker was up. */
    if (before == PHASE_STARTING && now != PHASE_RUNNING && !s->start_time &&
        ev->type == EV_REPLICA_EXITED && ev->exit->kind != EXIT_RUNTIME) {
        s->start_time = ev->exit->started_at ? ev->exit->started_at : ev->time;
        s->t_run = since(ev->time, s->start_time);
    }
    if (before == PHASE_RUNNING) {
        s->t_run = since(ev->time, a->up_at);
    }
    if (now == PHASE_DONE) {
        s->t_collect = since(ev->time, a->collect_at);
    }
}

static int apply_created(struct job *j, const struct event *ev, struct err *err) {
    if (j->attempt) {
        return err_set(err, ERR_DATA_LOSS, "event %llu: the job is created a second time",
                       (unsigned long long)ev->seq);
    }
    j->status.create_time = ev->time;
    j->qnode.submitted = ev->time;
    j->attempt = attempt_new(j, 1);
    return 0;
}

static int apply_retry(struct job *j, const struct event *ev, struct err *err) {
    struct attempt *a = j->attempt;
    if (a->sm.state != PHASE_DONE || a->verdict != VERDICT_RETRY || ev->policy >= POLICY_NR) {
        return err_set(err, ERR_DATA_LOSS, "event %llu: a retry nobody decided",
                       (unsigned long long)ev->seq);
    }
    j->used[ev->policy]++;
    j->attempt = attempt_new(j, a->nr + 1);
    j->attempt->not_before = ev->not_before;
    attempt_free(a);
    return 0;
}

static int apply_done(struct job *j, const struct event *ev, struct err *err) {
    if (j->attempt->sm.state != PHASE_DONE || job_is_terminal(j)) {
        return err_set(err, ERR_DATA_LOSS, "event %llu: a second or early outcome",
                       (unsigned long long)ev->seq);
    }
    free(j->error_msg);
    j->error_msg = xstrdup(ev->msg);
    j->status.error_msg = j->error_msg;
    j->status.error_code = ev->code;
    j->status.end_time = ev->time;
    j->status.state = ev->state;
    return 0;
}

int job_apply(struct job *j, const struct event *ev, struct err *err) {
    int rc;
    if (ev->seq != j->seq + 1 || (ev->type != EV_JOB_CREATED && !j->attempt) ||
        job_is_terminal(j)) {
        return err_set(err, ERR_DATA_LOSS, "event %llu (%s) does not follow event %llu",
                       (unsigned long long)ev->seq, event_type_name(ev->type),
                       (unsigned long long)j->seq);
    }
    if (ev->type == EV_JOB_CREATED) {
        rc = apply_created(j, ev, err);
    } else if (ev->type == EV_RETRY) {
        rc = apply_retry(j, ev, err);
    } else if (ev->type == EV_JOB_DONE) {
        rc = apply_done(j, ev, err);
    } else if (ev->type == EV_MEASURED) {
        measures_apply(job_measures(j), ev->seq, ev->attempt, ev->reports, ev->nr_reports);
        rc = 0;
    } else {
        unsigned before = j->attempt->sm.state;
        rc = attempt_apply(j->attempt, ev, err);
        if (rc == 0) {
            note_times(j, ev, before);
        }
    }
    if (rc != 0) {
        return rc;
    }
    if (ev->type == EV_CANCEL_REQUESTED && j->attempt->verdict == VERDICT_CANCELLED) {
        j->cancel_requested = true;
    }
    j->seq = ev->seq;
    j->status.attempt = j->attempt->nr;
    j->status.update_time = ev->time;
    if (!job_is_terminal(j)) {
        j->status.state = state_of(j);
    }
    job_check(j);
    return 0;
}

void job_encode_status(const struct job *j, struct buf *b, usec_t now, bool with_cancel) {
    auto_buf struct buf why = BUF_INIT(1024);
    struct job_status s = j->status;
    if (with_cancel) {
        s.state = JOB_STATE_CANCELLING;
        s.update_time = now;
    } else if (job_is_born(j) && !job_is_terminal(j)) {
        job_explain(j, &why);
        s.pending_reason = why.n ? why.p : NULL;
    }
    job_status_encode(b, &s);
}
