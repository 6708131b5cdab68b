/* The fake host: containers that live on when the server dies. Knows nothing of attempt_runs;
 * whoever wants to hear of an end sets on_end. */
#ifndef CUSP_ENGINE_FAKE_HOST_H
#define CUSP_ENGINE_FAKE_HOST_H

#include "base/list.h"
#include "base/map.h"
#include "engine/engine.h"
#include "engine/fake/script.h"

struct fake_host;

struct container {
    struct list link;
    struct fake_host *host;
    char job[32], nonce[33];
    uint32_t attempt, replica, nr_replicas;
    uint32_t cpu_milli;
    uint64_t mem_bytes;
    bool is_alive, is_lost;  /* !is_alive && !is_lost: exit is recorded */
    bool ignore_term, loses; /* loses: will vanish without a record */
    struct exit_info planned, exit;
    usec_t started_at, started_mono; /* wall; the host's own clock */
    struct timer end;
    /* What it reports as a trial, step by step; script: also what is to come. */
    struct script script;
    char metric[METRIC_TAG_MAX + 1]; /* "": nothing */
    uint32_t nr_reported;
    struct timer report;
};

struct fake_host {
    struct clock *clock;
    uint32_t cpu_milli;
    uint64_t mem_bytes;
    struct list containers;
    struct map finished; /* jobs of one replica that ended well: they must not run again */
    uint64_t nr_launched;
    uint32_t nr_double;
    /* The living server's engine, or NULL. */
    void (*on_end)(void *arg, struct container *);
    void (*on_report)(void *arg, struct container *,
                      const struct metric_report *); /* may be NULL */
    void *arg;
};

struct fake_host *host_new(const struct engine_fake_opts *o);
void host_free(struct fake_host *h);
struct container *host_find(struct fake_host *h, const char *job, uint32_t attempt,
                            uint32_t replica);
struct container *host_start(struct fake_host *h, const struct attempt_run *run, uint32_t replica,
                             const struct script *s);
/* What it reported in step k (1 to nr_reported); the tag is the container's. */
struct metric_report host_report(const struct container *c, uint32_t k);
void host_signal(struct container *c, int signo);
/* Kills and forgets all containers of the attempt. */
void host_remove(struct fake_host *h, const char *job, uint32_t attempt);

#endif
