/* The fake host. */
#include "engine/fake/host.h"

#include <math.h>
#include <signal.h>

#define DEATH_DELAY USEC_PER_MSEC /* from a signal to the end */

struct fake_host *host_new(const struct engine_fake_opts *o) {
    struct fake_host *h = xcalloc(1, sizeof(*h));
    h->clock = o->clock;
    h->cpu_milli = o->cpu_milli;
    h->mem_bytes = o->mem_bytes;
    list_init(&h->containers);
    map_init(&h->finished);
    return h;
}

static void forget(struct container *c) {
    c->host->clock->ops->disarm(c->host->clock, &c->end);
    c->host->clock->ops->disarm(c->host->clock, &c->report);
    list_del(&c->link);
    free(c);
}

void host_free(struct fake_host *h) {
    struct container *c, *tmp;
    list_each_safe (c, tmp, &h->containers, link) {
        forget(c);
    }
    map_fini(&h->finished);
    free(h);
}

struct container *host_find(struct fake_host *h, const char *job, uint32_t attempt,
                            uint32_t replica) {
    struct container *c;
    list_each (c, &h->containers, link) {
        if (c->attempt == attempt && c->replica == replica && strcmp(c->job, job) == 0) {
            return c;
        }
    }
    return NULL;
}

/* ---- reports ---- */

static usec_t report_delay(const struct container *c, uint32_t k) {
    return c->script.run * k / (c->script.steps + 1);
}

struct metric_report host_report(const struct container *c, uint32_t k) {
    const struct script *s = &c->script;
    double value = s->metric_end + (double)(s->steps - k) / s->steps;
    return (struct metric_report){
        .tag = c->metric,
        .value = s->metric_as == SCRIPT_METRIC_NAN   ? NAN
                 : s->metric_as == SCRIPT_METRIC_INF ? INFINITY
                                                     : value,
        .step = k,
        .timestamp = c->started_at + report_delay(c, k),
    };
}

static void plan_report(struct container *c) {
    struct clock *k = c->host->clock;
    uint32_t next = c->nr_reported + 1;
    if (c->metric[0] && next <= c->script.steps) {
        k->ops->arm(k, &c->report, c->started_mono + report_delay(c, next));
    }
}

static void on_report(struct timer *t) {
    struct container *c = CONTAINER_OF(t, struct container, report);
    struct fake_host *h = c->host;
    struct metric_report r = host_report(c, ++c->nr_reported);
    plan_report(c);
    if (h->on_report) {
        h->on_report(h->arg, c, &r);
    }
}

static void begin_reports(struct container *c, const struct script *s) {
    if (s->metric && s->steps) {
        snprintf(c->metric, sizeof(c->metric), "%s%s", s->metric,
                 s->metric_as == SCRIPT_METRIC_OTHER ? "-other" : "");
    }
    c->script = *s;
    c->script.metric = NULL; /* the spec's, which may go */
    c->report.fn = on_report;
    plan_report(c);
}

static void on_end(struct timer *t) {
    struct container *c = CONTAINER_OF(t, struct container, end);
    struct fake_host *h = c->host;
    h->clock->ops->disarm(h->clock, &c->report);
    c->is_alive = false;
    c->is_lost = c->loses;
    c->exit = c->planned;
    c->exit.started_at = c->started_at;
    c->exit.ended_at = h->clock->ops->wall(h->clock);
    if (c->nr_replicas == 1 && !c->is_lost && c->exit.kind == EXIT_CODE && c->exit.value == 0) {
        (void)map_put(&h->finished, str_of(c->job), h);
    }
    if (h->on_end) {
        h->on_end(h->arg, c);
    }
}

static void plan_end(struct container *c, usec_t delay) {
    struct clock *k = c->host->clock;
    k->ops->arm(k, &c->end, k->ops->mono(k) + delay);
}

/* What must never be: two sets of containers for one job at once, a second set for one try, another
 * run of what has succeeded. */
static bool is_double(struct fake_host *h, const struct attempt_run *run, uint32_t replica) {
    struct container *c;
    if (map_get(&h->finished, str_of(run->spec->id))) {
        return true;
    }
    list_each (c, &h->containers, link) {
        if (strcmp(c->job, run->spec->id) != 0) {
            continue;
        }
        if ((c->is_alive && c->attempt != run->attempt) || c->replica == replica) {
            return true;
        }
    }
    return false;
}

static void plan_exit(struct container *c, const struct script *s, bool is_actor) {
    struct exit_info *x = &c->planned;
    x->kind = EXIT_CODE;
    if (!is_actor) {
        return;
    }
    c->loses = s->lose;
    x->kind = s->kind;
    x->value = s->value;
    if (x->kind == EXIT_OOM) {
        x->mem_limit_bytes = x->mem_peak_bytes = c->mem_bytes;
    } else if (x->kind == EXIT_RUNTIME) {
        snprintf(x->why, sizeof(x->why), "exec: \"python3\": executable file not found in $PATH");
    }
    if (x->value != 0) {
        snprintf(x->stderr_tail, sizeof(x->stderr_tail),
                 "Traceback (most recent call last):\nRuntimeError: told to fail by a label\n");
    }
}

struct container *host_start(struct fake_host *h, const struct attempt_run *run, uint32_t replica,
                             const struct script *s) {
    struct container *c = xcalloc(1, sizeof(*c));
    h->nr_double += is_double(h, run, replica);
    c->host = h;
    snprintf(c->job, sizeof(c->job), "%s", run->spec->id);
    memcpy(c->nonce, run->nonce, sizeof(c->nonce));
    c->attempt = run->attempt;
    c->replica = replica;
    c->nr_replicas = run->nr_replicas;
    c->cpu_milli = run->replicas[replica].place.cpu_milli;
    c->mem_bytes = run->replicas[replica].place.mem_bytes;
    c->is_alive = true;
    c->ignore_term = s->ignore_term;
    c->started_at = h->clock->ops->wall(h->clock);
    c->end.fn = on_end;
    c->started_mono = h->clock->ops->mono(h->clock);
    plan_exit(c, s, replica == s->actor);
    if (replica == s->actor) {
        begin_reports(c, s);
    }
    list_push_tail(&h->containers, &c->link);
    h->nr_launched++;
    plan_end(c, s->run);
    return c;
}

void host_signal(struct container *c, int signo) {
    if (!c->is_alive || (signo == SIGTERM && c->ignore_term)) {
        return;
    }
    c->planned = (struct exit_info){.kind = EXIT_SIGNAL, .value = signo};
    c->loses = false;
    plan_end(c, DEATH_DELAY);
}

void host_remove(struct fake_host *h, const char *job, uint32_t attempt) {
    struct container *c, *tmp;
    list_each_safe (c, tmp, &h->containers, link) {
        if (c->attempt == attempt && strcmp(c->job, job) == 0) {
            forget(c);
        }
    }
}
