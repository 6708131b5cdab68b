/* The words that users read about a job: its error, its service log, why it waits. */
#include "ctl/ctl_int.h"
#include "ctl/quota.h"

/* Ended badly on its own account, not because it was told to. */
static bool is_culprit(const struct attempt *a, uint32_t i) {
    const struct replica *r = &a->replicas[i];
    if (!replica_has_ended(r) || !r->own_end) {
        return false;
    }
    struct ending e = replica_ending(r, i == 0);
    enum policy p = outcome_of_ending(&e);
    return p != POLICY_NONE && p != POLICY_SUCCEED;
}

/* One sentence a replica, primary first; the log tail of the first that has one. */
static int error_of_replicas(const struct job *j, struct buf *b) {
    const struct attempt *a = j->attempt;
    const char *tail = NULL;
    int code = 0;
    for (uint32_t i = 0; i < a->nr_replicas; i++) {
        if (!is_culprit(a, i)) {
            continue;
        }
        const struct replica *r = &a->replicas[i];
        struct ending e = replica_ending(r, i == 0);
        uint32_t pool, index;
        char name[32];
        job_spec_locate(j->spec, i, &pool, &index);
        snprintf(name, sizeof(name), "workerpool%u-%u", pool, index);
        outcome_sentence(b, name, &e, r->why);
        code = code ? code : outcome_code(&e);
        if (!tail && r->exit && r->exit->stderr_tail[0]) {
            tail = r->exit->stderr_tail;
        }
    }
    if (tail) {
        outcome_tail(b, tail);
    }
    return code;
}

static void put_seconds(struct buf *b, usec_t d) {
    time_format_duration(b, d);
}

int job_error(const struct job *j, struct buf *b) {
    const struct attempt *a = j->attempt;
    const struct job_spec *s = j->spec;
    int code = a->fail_code;
    if (code == ERR_DEADLINE_EXCEEDED && !a->fail_msg) {
        buf_puts(b, "The job ran for longer than its scheduling.timeout of ");
        put_seconds(b, s->timeout);
        buf_puts(b, " and was stopped.\n");
        outcome_pointer(b, j->ctl->cfg.console_url, s->project_number, s->id);
        return code;
    }
    if (code == ERR_RESOURCE_EXHAUSTED && !a->fail_msg) {
        buf_printf(b,
                   "Resources are insufficient in region: %s. The job waited for longer than its "
                   "scheduling.max_wait_duration of ",
                   s->location ? s->location : "");
        put_seconds(b, s->max_wait);
        buf_puts(b, ". Please try a different region or accelerator.");
        return code;
    }
    if (code) {
        if (a->policy == POLICY_RETRY_FAULT) {
            buf_puts(b, "Internal error occurred for the current attempt. \n");
        }
        buf_printf(b, "%s\n", a->fail_msg ? a->fail_msg : "");
    } else {
        code = error_of_replicas(j, b);
    }
    outcome_pointer(b, j->ctl->cfg.console_url, s->project_number, s->id);
    return code ? code : ERR_INTERNAL;
}

static void say(struct job *j, usec_t when, int severity, const char *text) {
    const struct ctl_config *cfg = &j->ctl->cfg;
    cfg->service_log(cfg->log_arg, j->spec->project_number, j->spec->id, when, severity, text);
}

static void say_web_access(struct job *j, usec_t time) {
    if (j->spec->web_access) {
        say(j, time, 400,
            "enableWebAccess has no effect: this server has no interactive shells, and "
            "webAccessUris stays empty. root can enter the container on this machine (README.md, "
            "Limits).");
    }
}

static void say_clamps(struct job *j, const struct event *ev) {
    uint32_t last = UINT32_MAX;
    for (uint32_t i = 0; i < ev->nr_places && i < job_spec_replicas(j->spec); i++) {
        uint32_t pool, index;
        job_spec_locate(j->spec, i, &pool, &index);
        if (ev->places[i].clamped && pool != last) {
            auto_buf struct buf b = BUF_INIT(1024);
            buf_printf(&b, "workerpool%u: ", pool);
            place_describe_clamp(&b, &j->spec->pools[pool].machine, &ev->places[i]);
            buf_puts(&b, "; it runs with that");
            say(j, ev->time, 400, buf_cstr(&b));
            last = pool;
        }
    }
}

/* The lines and their order are Vertex's (reference 11 §4). */
void job_narrate(struct job *j, const struct event *ev) {
    switch (ev->type) {
    case EV_ATTEMPT_PLACED:
        /* Of the creation, said only now: a log that is opened for every queued job would make a
         * burst of creates a burst of files. */
        if (ev->attempt == 1) {
            say(j, j->status.create_time, 200, "Waiting for job to be provisioned.");
            say_web_access(j, ev->time);
        }
        say(j, ev->time, 200,
            "Vertex AI is provisioning job running framework. First time usage might take couple "
            "of "
            "minutes, and subsequent runs can be much faster.");
        say_clamps(j, ev);
        break;
    case EV_ATTEMPT_STAGED:
        say(j, ev->time, 200, "Vertex AI is setting up this job.");
        break;
    case EV_LAUNCH_INTENT:
        say(j, ev->time, 200, "Waiting for training program to start.");
        say(j, ev->time, 200, "Job is preparing.");
        break;
    case EV_REPLICA_STARTED:
        if (ev->replica == 0) {
            say(j, ev->time, 200, "Job is running.");
        }
        break;
    case EV_REPLICA_EXITED:
        if (ev->exit->kind == EXIT_CODE && ev->exit->value == 0) {
            say(j, ev->time, 200, "Task completed. Exit code (0). Exit reason (SUCCEEDED)");
        }
        if (ev->replica == 0) {
            say(j, ev->time, 200, "Tearing down training program.");
        }
        break;
    case EV_ATTEMPT_RELEASED:
        say(j, ev->time, 200, "Finished tearing down training program.");
        break;
    case EV_RETRY: {
        auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
        buf_printf(&b, "Attempt %u failed and the job is restarted: %s", ev->attempt,
                   ev->msg ? ev->msg : "");
        say(j, ev->time, 400, buf_cstr(&b));
        break;
    }
    case EV_JOB_CREATED:
    case EV_CANCEL_REQUESTED:
    case EV_DEADLINE:
    case EV_STOP_SENT:
    case EV_ATTEMPT_STEP:
    case EV_REPLICA_LOST:
    case EV_ATTEMPT_FAILED:
    case EV_MEASURED:
    case EV_TYPE_NR:
        break;
    case EV_JOB_DONE:
        if (ev->state == JOB_STATE_SUCCEEDED) {
            say(j, ev->time, 200, "Job completed successfully.");
        } else if (ev->state == JOB_STATE_CANCELLED) {
            say(j, ev->time, 200, "Job is cancelled.");
        } else {
            say(j, ev->time, 500, ev->msg ? ev->msg : "");
        }
        say(j, ev->time, 0, NULL); /* no more lines */
        break;
    }
}

void job_explain(const struct job *j, struct buf *b) {
    struct ctl *c = j->ctl;
    const struct attempt *a = j->attempt;
    if (job_is_terminal(j)) {
        return;
    }
    if (a->sm.state != PHASE_WAITING) {
        if (a->waiting_for && (a->sm.state == PHASE_PLACED || a->sm.state == PHASE_STAGING)) {
            buf_puts(b, a->waiting_for);
        }
        return;
    }
    if (!j->qnode.queued) {
        if (a->not_before) {
            buf_puts(b, "pauses until ");
            time_format_rfc3339(b, a->not_before);
            buf_puts(b, " before it is tried again");
        }
        return;
    }
    auto_free struct placement *p = xcalloc(a->nr_replicas ? a->nr_replicas : 1, sizeof(*p));
    if (c->cfg.hold) {
        buf_puts(b, "the server holds all jobs back");
    } else if (quota_allows(c->cfg.max_running, c->ledger.replicas, a->nr_replicas, b)) {
        place(&c->total, &c->ledger, j->spec, p, b);
    }
    size_t ahead = queue_position(&c->queue, &j->qnode) - 1;
    if (ahead) {
        buf_printf(b, "%sbehind %zu job%s", b->n ? "; " : "", ahead, ahead == 1 ? "" : "s");
    }
    if (a->waiting_for) { /* prepared ahead of its turn */
        buf_printf(b, "%s%s", b->n ? "; " : "", a->waiting_for);
    }
}
