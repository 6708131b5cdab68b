/* What must hold in the whole world after every step, and at the end of time. */
#include "pipes.h"
#include "tunes.h"

#include <stdarg.h>

static char complaint[256];

__attribute__((format(printf, 1, 2))) static const char *complain(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(complaint, sizeof(complaint), fmt, ap);
    va_end(ap);
    return complaint;
}

/* The ledger is what the holds say; nothing is queued twice or held by the finished. */
static const char *check_ctl(struct world *w) {
    struct ctl *c = w->ctl;
    struct ledger sum = {0};
    struct job *j;
    size_t queued = 0;
    list_each (j, &c->jobs, link) {
        job_check(j);
        queued += j->qnode.queued;
        if (j->hold && j->hold->cpu) {
            ledger_take(&sum, j->hold->places, j->hold->nr);
        }
        if (j->attempt->run && j->attempt->sm.state == PHASE_DONE) {
            return complain("job %s: done but the engine still has it", j->spec->id);
        }
    }
    if (queued != c->queue.n) {
        return complain("%zu jobs say they are queued, the queue has %zu", queued, c->queue.n);
    }
    if (sum.cpu_milli != c->ledger.cpu_milli || sum.mem_bytes != c->ledger.mem_bytes ||
        sum.replicas != c->ledger.replicas) {
        return complain("the ledger has %llu milli-cpu held, the holds make %llu",
                        (unsigned long long)c->ledger.cpu_milli, (unsigned long long)sum.cpu_milli);
    }
    return NULL;
}

static const char *check_host(struct world *w) {
    struct engine_fake_census n;
    struct capacity total;
    engine_fake_count(w->engine, &n);
    w->engine->ops->capacity(w->engine, &total);
    if (n.nr_double) {
        return complain("a replica was started twice");
    }
    if (n.cpu_milli > total.cpu_milli || n.mem_bytes > total.mem_bytes) {
        return complain("%u milli-cpu run on a host of %u", n.cpu_milli, total.cpu_milli);
    }
    for (size_t i = 0; n.nr_alive && i < w->jobs.n; i++) {
        if (engine_fake_live_attempts(w->engine, w->jobs.p[i].id) > 1) {
            return complain("job %zu has two attempts alive", i);
        }
    }
    return NULL;
}

/* What a user was told stays true. */
static const char *check_promises(struct world *w) {
    for (size_t i = 0; i < w->jobs.n; i++) {
        struct sim_job *j = &w->jobs.p[i];
        const struct store_row *row = world_row(w, i);
        if (j->deleted && row) {
            return complain("job %zu was deleted and is there again", i);
        }
        if (j->created && !j->delete_asked && !row) {
            return complain("job %zu was acknowledged and is gone", i);
        }
        if (j->refused && row) {
            return complain("job %zu was refused and is there", i);
        }
        if (!row || (j->status && row->is_live)) {
            if (row) {
                return complain("job %zu was finished and lives again", i);
            }
            continue;
        }
        if (!row->is_live && !j->status) {
            j->status = str_dup(row->status);
        } else if (j->status && !str_eqc(row->status, j->status)) {
            return complain("job %zu has a second outcome", i);
        }
    }
    return NULL;
}

const char *world_invariant(struct world *w) {
    const char *wrong = w->ctl ? check_ctl(w) : NULL;
    wrong = wrong ? wrong : check_host(w);
    wrong = wrong ? wrong : check_promises(w);
    wrong = wrong ? wrong : pipes_invariant(w);
    return wrong ? wrong : tunes_invariant(w);
}

static const char *wish_text(const struct wish *w, const char *key) {
    for (unsigned i = 0; i < w->nr_labels; i++) {
        if (strcmp(w->labels[i].key, key) == 0) {
            return w->labels[i].value;
        }
    }
    return "";
}

static bool wish_has(const struct wish *w, const char *key) {
    return wish_text(w, key)[0] != 0;
}

static uint64_t wish_value(const struct wish *w, const char *key, uint64_t otherwise) {
    uint64_t v;
    return str_to_u64(str_of(wish_text(w, key)), &v) ? v : otherwise;
}

/* Does the script let this attempt's primary end well? */
static bool may_succeed(const struct wish *w, uint32_t attempt) {
    if (attempt > wish_value(w, "cusp-test-until-attempt", UINT32_MAX)) {
        return true;
    }
    if (wish_has(w, "cusp-test-fail")) {
        /* A crash in the middle of a gang's launch leaves a primary that may well end by itself. */
        return w->workers > 0 && strcmp(wish_text(w, "cusp-test-fail"), "launch") == 0;
    }
    if (wish_value(w, "cusp-test-replica", 0) != 0 ||
        wish_value(w, "cusp-test-lose-replica", 0) != 0) {
        return true;
    }
    return !wish_has(w, "cusp-test-signal") && !wish_has(w, "cusp-test-oom") &&
           !wish_has(w, "cusp-test-lose") && !wish_has(w, "cusp-test-lose-replica") &&
           !wish_has(w, "cusp-test-runtime-error") && wish_value(w, "cusp-test-exit", 0) == 0;
}

static const char *check_events(struct world *w, size_t i) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct store_event *ev;
    size_t n = world_events(w, i, a, &ev), done = 0;
    for (size_t k = 0; k < n; k++) {
        struct event e;
        struct err err;
        if (ev[k].seq != k + 1) {
            return complain("job %zu: event %zu has number %llu", i, k + 1,
                            (unsigned long long)ev[k].seq);
        }
        if (event_decode(a, &ev[k], &e, &err) != 0) {
            return complain("job %zu: %s", i, err.msg);
        }
        done += e.type == EV_JOB_DONE;
    }
    if (n == 0 || done != 1 || ev[n - 1].type != EV_JOB_DONE) {
        return complain("job %zu: %zu events, %zu outcomes", i, n, done);
    }
    return NULL;
}

static const char *check_outcome(struct world *w, size_t i) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    const struct sim_job *j = &w->jobs.p[i];
    struct job_status s;
    world_status(w, i, a, &s);
    if (!job_state_is_terminal(s.state) || world_row(w, i)->is_live) {
        return complain("job %zu never finished: %s", i, job_state_name(s.state));
    }
    if (s.state == JOB_STATE_SUCCEEDED && !may_succeed(&j->wish, s.attempt)) {
        return complain("job %zu: success was invented for attempt %u", i, s.attempt);
    }
    if (s.state == JOB_STATE_SUCCEEDED && (s.error_code || !s.start_time)) {
        return complain("job %zu succeeded with error %d", i, s.error_code);
    }
    if (s.state == JOB_STATE_CANCELLED && (!j->cancel_asked || s.error_code != ERR_CANCELLED)) {
        return complain("job %zu: cancelled by nobody", i);
    }
    if (s.state == JOB_STATE_FAILED && (!s.error_code || !s.error_msg || !s.error_msg[0])) {
        return complain("job %zu failed without a word", i);
    }
    return check_events(w, i);
}

const char *world_final(struct world *w) {
    struct engine_fake_census n;
    struct ctl_stats st;
    engine_fake_count(w->engine, &n);
    if (n.nr_containers) {
        return complain("%u containers are left over", n.nr_containers);
    }
    ctl_get_stats(w->ctl, &st);
    if (st.cpu_milli_held || st.mem_held || w->ctl->nr_jobs || w->ctl->nr_in_flight) {
        return complain("%zu jobs are still in memory, %u milli-cpu held", w->ctl->nr_jobs,
                        st.cpu_milli_held);
    }
    if (!list_is_empty(&w->calls)) {
        return complain("a call was never answered");
    }
    for (size_t i = 0; i < w->jobs.n; i++) {
        const char *wrong = world_row(w, i) ? check_outcome(w, i) : NULL;
        if (wrong) {
            return wrong;
        }
    }
    const char *wrong = pipes_final(w);
    wrong = wrong ? wrong : tunes_final(w);
    return wrong ? wrong : world_invariant(w);
}
