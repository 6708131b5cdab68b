/* The simulator: a seed is a life. Random submits, cancels, deletes, failures, lost replicas, full
 * disks and crashes; invariants after every step; in the end everything must have come to an end.
 *
 *   sim [--seeds N] [--from N]     runs N seeds, prints the first that fails
 *   sim --seed N [--trace]         replays one */
#include "asks.h"
#include "pipes.h"
#include "tunes.h"

static const char *const endings[] = {"cusp-test-exit", "cusp-test-signal", "cusp-test-oom",
                                      "cusp-test-runtime-error", "cusp-test-lose"};
static const unsigned exits[] = {1, 2, 6, 127, 134, 137, 139, 255};
static const unsigned fail_codes[] = {ERR_NOT_FOUND, ERR_UNAVAILABLE, ERR_INTERNAL,
                                      ERR_INVALID_ARGUMENT};

static void random_mischief(struct world *w, struct wish *wish) {
    if (rng_below(&w->rng, 5) == 0) {
        wish_label_text(wish, "cusp-test-fail", rng_below(&w->rng, 2) ? "stage" : "launch");
        wish_label(wish, "cusp-test-fail-code", fail_codes[rng_below(&w->rng, NR_OF(fail_codes))]);
    } else {
        size_t e = (size_t)rng_below(&w->rng, NR_OF(endings));
        uint64_t value = 1;
        if (e == 0) {
            value = exits[rng_below(&w->rng, NR_OF(exits))];
        } else if (e == 1) {
            value = rng_below(&w->rng, 2) ? 9 : 11;
        }
        wish_label(wish, endings[e], value);
        if (wish->workers && rng_below(&w->rng, 2)) {
            wish_label(wish, "cusp-test-replica", 1 + rng_below(&w->rng, wish->workers));
        }
    }
    if (rng_below(&w->rng, 2)) {
        wish_label(wish, "cusp-test-until-attempt", 1 + rng_below(&w->rng, 3));
    }
}

static struct wish random_wish(struct world *w) {
    struct wish wish = {0};
    wish.cpu_milli = (uint32_t)(500 + 500 * rng_below(&w->rng, 12)); /* up to 6: some are clamped */
    wish.workers = rng_below(&w->rng, 3) ? 0 : (uint32_t)rng_below(&w->rng, 4);
    wish.disable_retries = rng_below(&w->rng, 6) == 0;
    if (rng_below(&w->rng, 6) == 0) {
        wish.timeout = (1 + rng_below(&w->rng, 300)) * USEC_PER_MSEC;
    }
    if (rng_below(&w->rng, 8) == 0) {
        wish.strategy = rng_below(&w->rng, 2) ? STRATEGY_SPOT : STRATEGY_FLEX_START;
        wish.max_wait = (1 + rng_below(&w->rng, 500)) * USEC_PER_MSEC;
    }
    wish_label(&wish, "cusp-test-run-ms",
               rng_below(&w->rng, 4) ? rng_below(&w->rng, 100) : rng_below(&w->rng, 60000));
    if (rng_below(&w->rng, 2)) {
        wish_label(&wish, "cusp-test-stage-ms", rng_below(&w->rng, 50));
    }
    if (rng_below(&w->rng, 2)) {
        random_mischief(w, &wish);
    } else if (rng_below(&w->rng, 4) == 0) {
        wish_label(&wish, "cusp-test-ignore-term", 1);
    }
    return wish;
}

static void trace_wish(const struct wish *wish) {
    printf(" workers=%u cpu=%u timeout=%llu", wish->workers, wish->cpu_milli,
           (unsigned long long)wish->timeout);
    for (unsigned k = 0; k < wish->nr_labels; k++) {
        printf(" %s=%s", wish->labels[k].key, wish->labels[k].value);
    }
    printf("\n");
}

static void random_create(struct world *w) {
    struct wish wish = random_wish(w);
    size_t i = world_create(w, &wish);
    if (w->trace) {
        printf("create %zu:", i);
        trace_wish(&wish);
    }
}

static enum pipe_mischief random_end(struct world *w) {
    return rng_below(&w->rng, 6) ? PIPE_WORKS : rng_below(&w->rng, 2) ? PIPE_FAILS : PIPE_PASSES;
}

static struct tune_wish random_tune(struct world *w);

static void random_create_pipe(struct world *w) {
    struct pipe_wish wish = {.has_input = rng_below(&w->rng, 2),
                             .has_upload = rng_below(&w->rng, 3) != 0,
                             .export_ends = random_end(w),
                             .seal_ends = random_end(w),
                             .upload_ends = random_end(w),
                             .work_ms = (uint32_t)rng_below(&w->rng, 30)};
    wish.child = random_wish(w);
    wish.is_tuned = rng_below(&w->rng, 3) == 0;
    if (wish.is_tuned) {
        wish.tune = random_tune(w);
    }
    size_t i = world_create_pipe(w, &wish);
    if (w->trace) {
        printf("pipeline %zu: input %d upload %d:", i, wish.has_input, wish.has_upload);
        trace_wish(&wish.child);
    }
}

static void random_pipe_action(struct world *w) {
    size_t any = w->pipes.n ? (size_t)rng_below(&w->rng, w->pipes.n) : 0;
    unsigned what = (unsigned)rng_below(&w->rng, 8);
    if (what < 5 || !w->pipes.n) {
        random_create_pipe(w);
        return;
    }
    if (w->trace) {
        printf("%s pipeline %zu\n", what < 7 ? "cancel" : "delete", any);
    }
    if (what < 7) {
        world_cancel_pipe(w, any);
    } else {
        world_delete_pipe(w, any);
    }
}

static struct tune_wish random_tune(struct world *w) {
    static const char *const as[] = {"nothing", "nan", "inf", "other"};
    struct tune_wish wish = {.max_trials = 1 + (uint32_t)rng_below(&w->rng, 10),
                             .parallel = 1 + (uint32_t)rng_below(&w->rng, 4),
                             .seed = rng_u64(&w->rng),
                             .algorithm = (enum tune_algorithm)rng_below(&w->rng, 3)};
    wish.max_failed = rng_below(&w->rng, 3) ? 0 : 1 + (uint32_t)rng_below(&w->rng, wish.max_trials);
    wish.stop_rule =
        rng_below(&w->rng, 3) ? STUDY_STOP_NONE : (enum study_stop_rule)rng_below(&w->rng, 4);
    wish_label(&wish.child, "cusp-test-run-ms", rng_below(&w->rng, 100));
    wish_label_text(&wish.child, "cusp-test-metric", "loss");
    wish_label(&wish.child, "cusp-test-metric-steps", 1 + rng_below(&w->rng, 5));
    if (rng_below(&w->rng, 2) == 0) {
        char trials[16];
        snprintf(trials, sizeof(trials), "%u_%u_%u", 1 + (unsigned)rng_below(&w->rng, 5),
                 1 + (unsigned)rng_below(&w->rng, 5), 1 + (unsigned)rng_below(&w->rng, 9));
        if (rng_below(&w->rng, 4)) {
            wish_label_text(&wish.child, "cusp-test-trials", trials);
        }
        if (rng_below(&w->rng, 2)) {
            wish_label_text(&wish.child, "cusp-test-metric-as", as[rng_below(&w->rng, NR_OF(as))]);
        } else {
            random_mischief(w, &wish.child);
        }
    }
    return wish;
}

static void random_create_tune(struct world *w) {
    struct tune_wish wish = random_tune(w);
    size_t i = world_create_tune(w, &wish);
    if (w->trace) {
        printf("tuning job %zu: %u trials, %u at a time:", i, wish.max_trials, wish.parallel);
        trace_wish(&wish.child);
    }
}

static void random_tune_action(struct world *w) {
    size_t any = w->tunes.n ? (size_t)rng_below(&w->rng, w->tunes.n) : 0;
    unsigned what = (unsigned)rng_below(&w->rng, 14);
    if (what < 5 || !w->tunes.n) {
        random_create_tune(w);
        return;
    }
    if (w->trace) {
        printf("tuning job %zu: action %u\n", any, what);
    }
    if (what == 5) {
        world_cancel_tune(w, any);
    } else if (what == 6) {
        world_delete_tune(w, any);
    } else if (what < 9) {
        world_edit_tune(w, any,
                        &(struct tuning_edit){.max_trials = (uint32_t)rng_below(&w->rng, 14),
                                              .parallel = (uint32_t)rng_below(&w->rng, 5),
                                              .set_max_failed = rng_below(&w->rng, 3) == 0,
                                              .max_failed = (uint32_t)rng_below(&w->rng, 4)});
    } else {
        static const int kinds[] = {SIM_ADD, SIM_ADD, SIM_RERUN, SIM_STOP, SIM_STOP};
        world_trial_tune(w, any, kinds[what - 9], 1 + rng_below(&w->rng, 6));
    }
}

static void random_action(struct world *w) {
    size_t any = w->jobs.n ? (size_t)rng_below(&w->rng, w->jobs.n) : 0;
    switch (rng_below(&w->rng, 8)) {
    case 0:
    case 1:
    case 2:
    case 3:
        random_create(w);
        break;
    case 4:
    case 5:
        if (w->jobs.n) {
            if (w->trace) {
                printf("cancel %zu\n", any);
            }
            world_cancel(w, any);
        }
        break;
    case 6:
        if (w->jobs.n) {
            if (w->trace) {
                printf("delete %zu\n", any);
            }
            world_delete(w, any);
        }
        break;
    default:
        w->disk_full = !w->disk_full && rng_below(&w->rng, 2);
        if (w->trace) {
            printf("disk is %s\n", w->disk_full ? "full" : "fine");
        }
        break;
    }
}

/* Somebody sets it; by hours or days, forwards or back. */
static void random_clock(struct world *w) {
    usec_t jump = (1 + rng_below(&w->rng, 100)) * (rng_below(&w->rng, 2) ? 1 : 3600) * USEC_PER_SEC;
    w->clock.wall_offset += rng_below(&w->rng, 2) ? jump : 0 - jump;
    if (w->trace) {
        printf("the wall clock is %llu\n",
               (unsigned long long)(w->clock.now + w->clock.wall_offset));
    }
}

static const char *live(struct world *w, struct asks *asks, unsigned steps, unsigned max_jobs) {
    const char *wrong;
    for (unsigned i = 0; i < steps; i++) {
        asks_act(asks);
        if (rng_below(&w->rng, 40) == 0) {
            if (w->trace) {
                printf("[%llu] crash\n", (unsigned long long)w->clock.now);
            }
            world_crash(w, 2);
            world_boot(w);
            asks_boot(asks);
        } else if (rng_below(&w->rng, 50) == 0) {
            random_clock(w);
        } else if (rng_below(&w->rng, 6) == 0 && w->jobs.n + w->pipes.n + w->tunes.n < max_jobs) {
            unsigned what = (unsigned)rng_below(&w->rng, 3);
            if (what == 0) {
                random_action(w);
            } else if (what == 1) {
                random_pipe_action(w);
            } else {
                random_tune_action(w);
            }
        } else {
            world_step(w);
        }
        if ((wrong = world_invariant(w)) != NULL || (wrong = asks_invariant(asks)) != NULL) {
            return wrong;
        }
    }
    return NULL;
}

static void dump(struct world *w) {
    const struct job *j;
    const struct pipeline *p;
    list_each (p, &w->ctl->pipelines.live, base.link) {
        printf("live: pipeline %s %s phase %d, seq %llu, busy %d, work %d, child %s\n",
               p->spec.id.p, pipeline_state_name(p->status.state), (int)p->status.phase,
               (unsigned long long)p->base.seq, p->base.busy, (int)p->working,
               p->status.child ? p->status.child : "-");
    }
    const struct tuning *t;
    list_each (t, &w->ctl->tunings.live, base.link) {
        printf(
            "live: tuning job %s %s, seq %llu, busy %d, %u trials, %zu run, ending %d, inbox %d\n",
            t->spec.id.p, job_state_name(t->status.state), (unsigned long long)t->base.seq,
            t->base.busy, t->status.nr_trials, t->nr_runs, t->status.ending,
            !list_is_empty(&t->base.inbox));
    }
    list_each (j, &w->ctl->jobs, link) {
        printf("live: %s %s, attempt %u %s, engine side %d, seq %llu durable %llu, holds %d\n",
               j->spec->id, job_state_name(j->status.state), j->attempt->nr,
               sm_name(&j->attempt->sm), (int)j->attempt->side, (unsigned long long)j->seq,
               (unsigned long long)j->durable, j->hold && j->hold->cpu);
    }
    printf("started %d, attaching %u, now %llu\n", w->ctl->is_started, w->ctl->nr_attaching,
           (unsigned long long)w->clock.now);
}

/* No more trouble: everything must come to an end by itself. */
static const char *end(struct world *w, struct asks *asks) {
    const char *wrong;
    w->disk_full = false;
    for (unsigned i = 0; i < 20000; i++) {
        if (!world_step(w)) {
            wrong = w->fatals ? "the server gave up" : world_final(w);
            return wrong ? wrong : asks_final(asks);
        }
        if ((wrong = world_invariant(w)) != NULL || (wrong = asks_invariant(asks)) != NULL) {
            return wrong;
        }
    }
    return "it goes on for ever";
}

static bool run_seed(uint64_t seed, bool trace) {
    struct world w;
    world_init(&w, seed, 4000);
    w.trace = trace;
    w.cfg.max_running = rng_below(&w.rng, 4) ? 0 : 4;
    struct asks *asks = asks_new(&w, seed);
    world_boot(&w);
    asks_boot(asks);
    const char *wrong =
        live(&w, asks, 100 + (unsigned)rng_below(&w.rng, 300), 4 + (unsigned)rng_below(&w.rng, 10));
    wrong = wrong ? wrong : end(&w, asks);
    if (wrong) {
        dump(&w);
        printf("seed %llu: %s\nreplay with: sim --seed %llu --trace\n", (unsigned long long)seed,
               wrong, (unsigned long long)seed);
    }
    world_fini(&w);
    asks_free(asks);
    return !wrong;
}

static uint64_t current_seed;

static void on_check_failed(void) {
    printf("seed %llu: a CHECK failed\nreplay with: sim --seed %llu --trace\n",
           (unsigned long long)current_seed, (unsigned long long)current_seed);
    fflush(stdout);
}

int main(int argc, char **argv) {
    uint64_t seeds = 1000, from = 1;
    bool trace = false;
    for (int i = 1; i < argc; i++) {
        uint64_t *to = strcmp(argv[i], "--seeds") == 0                                    ? &seeds
                       : strcmp(argv[i], "--from") == 0 || strcmp(argv[i], "--seed") == 0 ? &from
                                                                                          : NULL;
        if (strcmp(argv[i], "--trace") == 0) {
            trace = true;
        } else if (!to || i + 1 == argc || !str_to_u64(str_of(argv[i + 1]), to)) {
            fprintf(stderr, "usage: sim [--seeds N] [--from N] | --seed N [--trace]\n");
            return 2;
        } else {
            seeds = strcmp(argv[i], "--seed") == 0 ? 1 : seeds;
            i++;
        }
    }
    check_set_dump(on_check_failed);
    for (uint64_t s = from; s < from + seeds; s++) {
        current_seed = s;
        if (!run_seed(s, trace)) {
            return 1;
        }
    }
    printf("%llu seeds passed\n", (unsigned long long)seeds);
    return 0;
}
