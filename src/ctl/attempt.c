/* Attempt facts: what events say, never what ought to be done about it. */
#include "ctl/attempt.h"

#include <signal.h>

#include "ctl/job.h"

static const struct sm_state phases[] = {
    [PHASE_NEW] = {"new", SM_TO(PHASE_WAITING), false},
    [PHASE_WAITING] = {"waiting", SM_TO(PHASE_PLACED) | SM_TO(PHASE_COLLECTING), false},
    [PHASE_PLACED] = {"placed", SM_TO(PHASE_STAGING) | SM_TO(PHASE_COLLECTING), false},
    [PHASE_STAGING] = {"staging", SM_TO(PHASE_STARTING) | SM_TO(PHASE_COLLECTING), false},
    [PHASE_STARTING] = {"starting",
                        SM_TO(PHASE_RUNNING) | SM_TO(PHASE_STOPPING) | SM_TO(PHASE_COLLECTING),
                        false},
    [PHASE_RUNNING] = {"running", SM_TO(PHASE_STOPPING) | SM_TO(PHASE_COLLECTING), false},
    [PHASE_STOPPING] = {"stopping", SM_TO(PHASE_COLLECTING), false},
    [PHASE_COLLECTING] = {"collecting", SM_TO(PHASE_DONE), false},
    [PHASE_DONE] = {"done", 0, true},
};

void attempt_check(const struct attempt *a) {
    unsigned p = a->sm.state;
    CHECK(p < PHASE_PLACED || p > PHASE_STOPPING || a->places);
    CHECK(p < PHASE_STARTING || p > PHASE_STOPPING || a->nonce[0]);
    CHECK(p < PHASE_STOPPING || a->verdict != VERDICT_NONE);
    CHECK(p >= PHASE_STOPPING || a->verdict == VERDICT_NONE);
    CHECK(p != PHASE_DONE || !a->run);
    if (p == PHASE_RUNNING) {
        for (uint32_t i = 0; i < a->nr_replicas; i++) {
            CHECK(a->replicas[i].sm.state != REPLICA_NONE);
        }
        CHECK(!replica_has_ended(&a->replicas[0]));
    }
}

static void invariant(const struct sm *sm) {
    attempt_check(CONTAINER_OF(sm, struct attempt, sm));
}

struct attempt *attempt_new(struct job *j, uint32_t nr) {
    struct attempt *a = xcalloc(1, sizeof(*a));
    a->job = j;
    a->nr = nr;
    a->nr_replicas = job_spec_replicas(j->spec);
    a->replicas = xcalloc(a->nr_replicas ? a->nr_replicas : 1, sizeof(*a->replicas));
    for (uint32_t i = 0; i < a->nr_replicas; i++) {
        replica_init(&a->replicas[i], i);
    }
    sm_init(&a->sm, phases, PHASE_NEW, "attempt", nr, invariant);
    sm_move(&a->sm, PHASE_WAITING);
    return a;
}

void attempt_free(struct attempt *a) {
    if (!a) {
        return;
    }
    for (uint32_t i = 0; i < a->nr_replicas; i++) {
        replica_fini(&a->replicas[i]);
    }
    if (a->run) {
        free(a->run->replicas);
        free(a->run);
    }
    free(a->replicas);
    free(a->places);
    free(a->fail_msg);
    free(a->waiting_for);
    free(a);
}

uint32_t attempt_nr_alive(const struct attempt *a) {
    uint32_t n = 0;
    if (a->gone || a->sm.state < PHASE_STARTING) {
        return 0;
    }
    for (uint32_t i = 0; i < a->nr_replicas; i++) {
        n += !replica_has_ended(&a->replicas[i]);
    }
    return n;
}

static bool all_are_up(const struct attempt *a) {
    for (uint32_t i = 0; i < a->nr_replicas; i++) {
        if (a->replicas[i].sm.state == REPLICA_NONE) {
            return false;
        }
    }
    return true;
}

/* The first deciding event wins. */
static void decide(struct attempt *a, enum policy policy) {
    if (a->verdict == VERDICT_NONE) {
        a->policy = policy;
        a->verdict = outcome_verdict(policy, a->job->used, a->job->spec->disable_retries);
    }
}

/* Except that a cancel or a deadline also puts an end to a retry that has not begun. */
static void decide_finally(struct attempt *a, enum policy policy) {
    if (a->verdict == VERDICT_RETRY) {
        a->verdict = VERDICT_NONE;
    }
    decide(a, policy);
}

/* Moves to the phase that the facts now imply. */
static void settle(struct attempt *a, const struct event *ev) {
    unsigned p = a->sm.state;
    if (a->verdict == VERDICT_NONE) {
        if (p == PHASE_STARTING && all_are_up(a)) {
            a->up_at = ev->time;
            sm_move(&a->sm, PHASE_RUNNING);
        }
        return;
    }
    if (p >= PHASE_COLLECTING) {
        return;
    }
    if (attempt_nr_alive(a) == 0 || (ev->type == EV_ATTEMPT_FAILED && ev->forced)) {
        a->collect_at = ev->time;
        sm_move(&a->sm, PHASE_COLLECTING);
    } else if (p != PHASE_STOPPING) {
        sm_move(&a->sm, PHASE_STOPPING);
    }
}

static void note_failure(struct attempt *a, int code, const char *msg) {
    free(a->fail_msg);
    a->fail_code = code;
    a->fail_msg = xstrdup(msg);
}

static int contradiction(const struct attempt *a, const struct event *ev, struct err *err) {
    return err_set(err, ERR_DATA_LOSS, "event %llu: %s does not fit attempt %u, which is %s",
                   (unsigned long long)ev->seq, event_type_name(ev->type), a->nr, sm_name(&a->sm));
}

static int apply_placed(struct attempt *a, const struct event *ev, struct err *err) {
    if (a->sm.state != PHASE_WAITING || ev->nr_places != a->nr_replicas) {
        return contradiction(a, ev, err);
    }
    a->places = xcalloc(ev->nr_places, sizeof(*a->places));
    memcpy(a->places, ev->places, ev->nr_places * sizeof(*a->places));
    sm_move(&a->sm, PHASE_PLACED);
    return 0;
}

static int apply_intent(struct attempt *a, const struct event *ev, struct err *err) {
    if (a->sm.state != PHASE_STAGING || strlen(ev->nonce) >= sizeof(a->nonce)) {
        return contradiction(a, ev, err);
    }
    memcpy(a->nonce, ev->nonce, strlen(ev->nonce) + 1);
    a->intent_at = ev->time;
    a->intent_seq = ev->seq;
    sm_move(&a->sm, PHASE_STARTING);
    return 0;
}

static int apply_replica(struct attempt *a, const struct event *ev, struct err *err) {
    if (ev->replica >= a->nr_replicas || a->sm.state < PHASE_STARTING) {
        return contradiction(a, ev, err);
    }
    struct replica *r = &a->replicas[ev->replica];
    bool had_ended = replica_has_ended(r);
    replica_apply(r, ev, a->stop_signo == 0);
    if (replica_has_ended(r) && !had_ended) {
        struct ending e = replica_ending(r, ev->replica == 0);
        decide(a, outcome_of_ending(&e));
    }
    return 0;
}

int attempt_apply(struct attempt *a, const struct event *ev, struct err *err) {
    if (ev->attempt && ev->attempt != a->nr) {
        return contradiction(a, ev, err);
    }
    if (a->sm.state == PHASE_DONE) {
        return contradiction(a, ev, err);
    }
    int rc = 0;
    switch (ev->type) {
    case EV_ATTEMPT_PLACED:
        rc = apply_placed(a, ev, err);
        break;
    case EV_ATTEMPT_STEP:
        if (a->sm.state == PHASE_PLACED) {
            sm_move(&a->sm, PHASE_STAGING);
        }
        break;
    case EV_ATTEMPT_STAGED:
        if (a->sm.state == PHASE_PLACED) {
            sm_move(&a->sm, PHASE_STAGING);
        }
        break;
    case EV_LAUNCH_INTENT:
        rc = apply_intent(a, ev, err);
        break;
    case EV_REPLICA_STARTED:
    case EV_REPLICA_EXITED:
    case EV_REPLICA_LOST:
        rc = apply_replica(a, ev, err);
        break;
    case EV_ATTEMPT_FAILED:
        if (a->verdict == VERDICT_NONE) {
            note_failure(a, ev->code, ev->msg);
        }
        a->gone = a->gone || !ev->forced;
        decide(a, outcome_of_failure(ev->code));
        break;
    case EV_CANCEL_REQUESTED:
        decide_finally(a, POLICY_CANCEL);
        break;
    case EV_DEADLINE:
        if (a->verdict == VERDICT_NONE || a->verdict == VERDICT_RETRY) {
            note_failure(
                a, ev->deadline == DEADLINE_RUN ? ERR_DEADLINE_EXCEEDED : ERR_RESOURCE_EXHAUSTED,
                NULL);
        }
        decide_finally(a, POLICY_FAIL);
        break;
    case EV_STOP_SENT:
        a->stop_signo = ev->signo;
        a->stop_at = ev->time;
        break;
    case EV_ATTEMPT_RELEASED:
        if (a->sm.state != PHASE_COLLECTING) {
            return contradiction(a, ev, err);
        }
        a->gone = true;
        sm_move(&a->sm, PHASE_DONE);
        break;
    case EV_JOB_CREATED:
    case EV_RETRY:
    case EV_JOB_DONE:
    case EV_MEASURED:
    case EV_TYPE_NR:
        return contradiction(a, ev, err);
    }
    if (rc == 0) {
        settle(a, ev);
    }
    return rc;
}
