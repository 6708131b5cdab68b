#include "asks.h"

#include "ctl/study_ask.h"
#include "ctl/study_wish.h"

#include <math.h>

#define STUDIES 3
#define CLIENTS 4
#define TRIALS_MAX 200 /* that are looked after; no life comes near */
#define AT_ONCE 3

enum errand { MAKE, ASK, TELL, END, STOP, CHECK_STOP, ADD, DROP, LOOK, NR_ERRANDS };
static const char *const words[] = {"make",  "ask", "tell", "end", "stop",
                                    "check", "add", "drop", "look"};
static const char *const client_ids[CLIENTS] = {"ann", "bob", "cem", "dot"};

/* What was answered of one trial. */
struct known {
    const char *client; /* NULL: nobody has been given it */
    double setting[2];
    double told; /* the value of its last step that was acknowledged */
    int64_t step;
    bool is_given, has_told, has_ended, is_dropped, drop_asked;
    enum study_trial_state end;
};

struct sim_study {
    char name[128], id[8];
    bool is_made, is_asked_for;
    struct known known[TRIALS_MAX + 1]; /* by id */
    int64_t steps;                      /* told so far, of all trials: each has its own */
    bool is_dirty;                      /* something was answered since it was looked at */
};

/* One call of a client. Goes with a crash: nobody is called back then. */
struct errand_call {
    struct list link;
    struct asks *s;
    struct sim_study *of;
    enum errand what;
    struct study_create create;
    struct study_change change;
    struct study_ask ask;
    struct study_given given[AT_ONCE];
    size_t nr;
    uint64_t trial;
    double value;
    int64_t step;
    enum study_trial_state end;
};

struct asks {
    struct world *w;
    struct rng rng;
    struct studies *studies;
    struct list calls;
    struct sim_study of[STUDIES];
    char wrong[200];
};

static const char *const metric_ids[] = {"loss"};

/* One of each algorithm; the grid is small enough to be used up. */
static int decode(void *arg, struct arena *a, const struct store_row *row, struct study_spec *ret,
                  const void **ret_parsed, struct err *err) {
    enum tune_algorithm algorithm = (enum tune_algorithm)(row->spec.p[0] - '0');
    struct tune_param *p = arena_calloc(a, 2, sizeof(*p));
    struct tune_metric *m = arena_alloc(a, sizeof(*m));
    p[0] = (struct tune_param){.type = algorithm == TUNE_GRID ? TUNE_INTEGER : TUNE_DOUBLE,
                               .lo = 0,
                               .hi = 5,
                               .parent = -1};
    p[1] = (struct tune_param){.type = TUNE_INTEGER, .lo = 0, .hi = 3, .parent = -1};
    m->minimize = true;
    *ret = (struct study_spec){.tune = {.params = p,
                                        .nr_params = 2,
                                        .metrics = m,
                                        .nr_metrics = 1,
                                        .algorithm = algorithm,
                                        .seed = str_hash(row->name)},
                               .metric_id = metric_ids,
                               .stopping = {.rule = STUDY_STOP_MEDIAN, .rate_param = -1},
                               .rules = {.max_runtime = USEC_NEVER, .max_no_progress = USEC_NEVER}};
    *ret_parsed = ret;
    return 0;
}

/* ---- life ---- */

static void drop_calls(struct asks *s) {
    while (!list_is_empty(&s->calls)) {
        struct errand_call *c = list_first(&s->calls, struct errand_call, link);
        list_del(&c->link);
        if (c->what == MAKE) { /* what study_create had under way */
            store_txn_fini(&c->create.txn);
            arena_free(c->create.arena);
        }
        free(c);
    }
}

/* After the store has crashed, before anything that was being computed ends unheard. */
static void crash(void *arg) {
    struct asks *s = arg;
    studies_free(s->studies);
    s->studies = NULL;
    drop_calls(s);
}

struct asks *asks_new(struct world *w, uint64_t seed) {
    struct asks *s = xcalloc(1, sizeof(*s));
    s->w = w;
    rng_seed(&s->rng, seed ^ 0xa5c5a5c5a5c5a5c5u);
    list_init(&s->calls);
    for (size_t i = 0; i < STUDIES; i++) {
        snprintf(s->of[i].id, sizeof(s->of[i].id), "%zu", i + 1);
        snprintf(s->of[i].name, sizeof(s->of[i].name), "%s/studies/%zu", WORLD_PARENT, i + 1);
    }
    w->on_crash = crash;
    w->on_crash_arg = s;
    return s;
}

void asks_boot(struct asks *s) {
    s->studies = studies_new(&(struct studies_config){.clock = &s->w->clock.base,
                                                      .store = &s->w->shim,
                                                      .suggestions = &s->w->suggestions,
                                                      .decode = decode});
}

void asks_free(struct asks *s) {
    free(s);
}

/* ---- what is answered ---- */

static void complain(struct asks *s, const struct sim_study *of, uint64_t trial, const char *what) {
    if (!s->wrong[0]) {
        snprintf(s->wrong, sizeof(s->wrong), "study %s, trial %llu: %s", of->id,
                 (unsigned long long)trial, what);
    }
}

static void note_given(struct errand_call *c, const struct study_view *v) {
    struct asks *s = c->s;
    for (size_t i = 0; i < c->nr; i++) {
        uint64_t id = c->given[i].id;
        const struct study_trial *t = study_trial(v->study, id);
        struct known *k = &c->of->known[id];
        if (!t || t->state != STUDY_TRIAL_ACTIVE) {
            complain(s, c->of, id, "was given and is not there, or not active");
            return;
        }
        if (k->client && strcmp(k->client, c->ask.client_id) != 0) {
            complain(s, c->of, id, "was handed to two clients");
        }
        if (k->has_ended) {
            complain(s, c->of, id, "was given after it had ended");
        }
        k->client = c->ask.client_id;
        if (!k->is_given) {
            memcpy(k->setting, t->setting, sizeof(k->setting));
        }
        k->is_given = true;
        for (size_t j = 0; j < i; j++) {
            if (c->given[j].id == id) {
                complain(s, c->of, id, "was given twice in one answer");
            }
        }
    }
    if (c->nr < c->ask.count && !study_is_stopped(v->study, NULL)) {
        complain(s, c->of, 0, "gave fewer than asked for and goes on");
    }
}

static void note(struct errand_call *c, const struct study_view *v) {
    struct known *k = &c->of->known[c->trial];
    const struct study_trial *t;
    c->of->is_dirty = true;
    switch (c->what) {
    case ASK:
        note_given(c, v);
        break;
    case TELL:
        k->told = c->value;
        k->step = c->step;
        k->has_told = true;
        break;
    case END:
        t = study_trial(v->study, c->trial);
        k->has_ended = true;
        k->end = t ? t->state : STUDY_TRIAL_UNSPECIFIED;
        break;
    case DROP:
        k->is_dropped = true;
        break;
    case MAKE:
    case STOP:
    case CHECK_STOP:
    case ADD:
    case LOOK:
    case NR_ERRANDS:
        break;
    }
}

static void end_call(struct errand_call *c, const struct err *err) {
    if (c->s->w->trace) {
        printf("        answer to %s of study %s trial %llu: %s\n", words[c->what], c->of->id,
               (unsigned long long)c->trial, err ? err->msg : "ok");
    }
    list_del(&c->link);
    free(c);
}

static void on_changed(struct study_change *ch, const struct study_view *v, const struct err *err) {
    struct errand_call *c = ch->arg;
    if (!err) {
        note(c, v);
    }
    end_call(c, err);
}

static void on_made(struct study_create *cr, const struct store_row *row, const struct err *err) {
    struct errand_call *c = cr->arg;
    c->of->is_made |= !err || err->code == ERR_ALREADY_EXISTS; /* a crash took the answer */
    c->of->is_asked_for = false;
    end_call(c, err);
}

static enum study_verdict decide(struct study_change *ch, const struct study_view *v,
                                 struct study_batch *b, struct err *err) {
    struct errand_call *c = ch->arg;
    struct study_report *r = arena_own(b->arena, sizeof(*r));
    struct study_wish_end end = {.final = r, .nr_final = c->end == STUDY_TRIAL_SUCCEEDED};
    double *setting = arena_own_array(b->arena, 2, sizeof(*setting));
    bool should_stop;
    int rc = 0;
    *r = (struct study_report){.value = c->value, .step = c->step, .at = (usec_t)c->step};
    end.is_infeasible = c->end == STUDY_TRIAL_INFEASIBLE;
    switch (c->what) {
    case ASK:
        store_txn_kv(b->txn, "asked", STR("by"), str_of(c->ask.client_id)); /* the operation */
        return study_ask(v, b, &c->ask, c->given, &c->nr, err);
    case TELL:
        rc = study_wish_measure(v, b, c->trial, r, 1, err);
        break;
    case END:
        rc = study_wish_complete(v, b, c->trial, &end, err);
        break;
    case STOP:
        rc = study_wish_stop(v, b, c->trial, err);
        break;
    case CHECK_STOP:
        rc = study_wish_check(v, b, c->trial, &should_stop, err);
        break;
    case ADD:
        setting[0] = floor(c->value) < 5 ? floor(c->value) : 5;
        setting[1] = 2;
        rc =
            study_wish_create(v, b, &(struct study_wish_trial){.setting = setting}, &c->trial, err);
        break;
    case DROP:
        rc = study_wish_delete(v, b, c->trial, err);
        break;
    case MAKE:
    case LOOK:
    case NR_ERRANDS:
        CHECK(!"decides nothing");
    }
    return rc ? STUDY_REFUSE : STUDY_SAVE;
}

/* ---- what clients do ---- */

static struct errand_call *new_call(struct asks *s, struct sim_study *of, enum errand what) {
    struct errand_call *c = xcalloc(1, sizeof(*c));
    c->s = s;
    c->of = of;
    c->what = what;
    c->change = (struct study_change){
        .name = str_of(of->name), .decide = decide, .cb = on_changed, .arg = c};
    list_push_tail(&s->calls, &c->link);
    return c;
}

static void make(struct asks *s, struct sim_study *of) {
    static const char *const specs[STUDIES] = {"0", "1", "2"};
    struct errand_call *c = new_call(s, of, MAKE);
    of->is_asked_for = true;
    c->create = (struct study_create){.parent = STR(WORLD_PARENT),
                                      .id = str_of(of->id),
                                      .display_name = str_of(of->id),
                                      .spec = str_of(specs[of - s->of]),
                                      .cb = on_made,
                                      .arg = c};
    study_create(s->studies, &c->create);
}

/* A trial that somebody knows of; 0: none. */
static uint64_t any_trial(struct asks *s, const struct sim_study *of) {
    uint64_t found = 0, n = 0;
    for (uint64_t id = 1; id <= TRIALS_MAX; id++) {
        const struct known *k = &of->known[id];
        if (k->is_given && !k->drop_asked && (!k->has_ended || rng_below(&s->rng, 8) == 0) &&
            rng_below(&s->rng, ++n) == 0) {
            found = id;
        }
    }
    return found;
}

static bool leaves(struct asks *s) {
    struct errand_call *c;
    list_each (c, &s->calls, link) {
        if (c->what == ASK && study_withdraw(&c->change)) {
            list_del(&c->link);
            free(c);
            return true;
        }
    }
    return false;
}

static void begin(struct asks *s, struct sim_study *of, enum errand what) {
    uint64_t trial = any_trial(s, of);
    if (what != ASK && what != ADD && what != LOOK && !trial) {
        what = ASK;
    }
    struct errand_call *c = new_call(s, of, what);
    if (what == ASK) {
        c->ask = (struct study_ask){.client_id = client_ids[rng_below(&s->rng, CLIENTS)],
                                    .count = 1 + (size_t)rng_below(&s->rng, AT_ONCE)};
    } else {
        c->trial = what == ADD || what == LOOK ? 0 : trial;
        c->value = (double)rng_below(&s->rng, 1000) / 100;
        c->step = ++of->steps;
        c->end = rng_below(&s->rng, 4) == 0   ? STUDY_TRIAL_INFEASIBLE
                 : rng_below(&s->rng, 2) == 0 ? STUDY_TRIAL_SUCCEEDED
                                              : STUDY_TRIAL_UNSPECIFIED;
        of->known[c->trial].drop_asked |= what == DROP;
    }
    if (s->w->trace) {
        printf("%s study %s trial %llu, client %s, %zu\n", words[what], of->id,
               (unsigned long long)c->trial, c->ask.client_id ? c->ask.client_id : "-",
               c->ask.count);
    }
    if (what == LOOK) {
        study_read(s->studies, &c->change);
    } else {
        study_change(s->studies, &c->change);
    }
}

void asks_act(struct asks *s) {
    static const enum errand often[] = {ASK, ASK, ASK,  TELL,       TELL,       TELL, END,  END,
                                        END, END, STOP, CHECK_STOP, CHECK_STOP, ADD,  DROP, LOOK};
    struct sim_study *of = &s->of[rng_below(&s->rng, STUDIES)];
    if (rng_below(&s->rng, 4)) {
        return;
    }
    if (!of->is_made) {
        if (!of->is_asked_for) {
            make(s, of);
        }
    } else if (rng_below(&s->rng, 10) || !leaves(s)) {
        begin(s, of, often[rng_below(&s->rng, NR_OF(often))]);
    }
}

/* ---- what must be so ---- */

static bool was_measured(const struct study *s, const struct study_trial *t,
                         const struct known *k) {
    for (size_t i = 0; i < t->nr_measurements; i++) {
        struct study_measurement m = study_trial_measurement(s, t, i);
        if (m.step == k->step && m.v[0].is_set && m.v[0].value == k->told) {
            return true;
        }
    }
    return false;
}

static void check_trial(struct asks *s, const struct sim_study *of, const struct study *study,
                        uint64_t id) {
    const struct known *k = &of->known[id];
    const struct study_trial *t = study_trial(study, id);
    if (!t) {
        if (!k->drop_asked) {
            complain(s, of, id, "was given and is gone");
        }
        return;
    }
    if (k->is_dropped) {
        complain(s, of, id, "was deleted and is there");
    } else if (!t->client_id || strcmp(t->client_id, k->client) != 0) {
        complain(s, of, id, "is another client's");
    } else if (memcmp(t->setting, k->setting, sizeof(k->setting)) != 0) {
        complain(s, of, id, "has another setting");
    } else if (k->has_told && !was_measured(study, t, k)) {
        complain(s, of, id, "a measurement is lost");
    } else if (k->has_ended && t->state != k->end) {
        complain(s, of, id, "has ended otherwise");
    }
}

const char *asks_invariant(struct asks *s) {
    struct study_view v;
    for (size_t i = 0; i < STUDIES && s->studies; i++) {
        struct sim_study *of = &s->of[i];
        if (of->is_dirty && study_peek(s->studies, str_of(of->name), &v)) {
            for (uint64_t id = 1; id <= TRIALS_MAX; id++) {
                if (of->known[id].is_given) {
                    check_trial(s, of, v.study, id);
                }
            }
            of->is_dirty = false;
        }
    }
    return s->wrong[0] ? s->wrong : NULL;
}

static void dump(struct buf *b, const struct study *s) {
    for (const struct study_trial *t = study_trial_after(s, 0); t;
         t = study_trial_after(s, t->id)) {
        buf_printf(b, "%llu %s %.17g %.17g %s", (unsigned long long)t->id,
                   study_trial_state_name(t->state), t->setting[0], t->setting[1],
                   t->client_id ? t->client_id : "-");
        for (size_t i = 0; i < t->nr_measurements; i++) {
            struct study_measurement m = study_trial_measurement(s, t, i);
            buf_printf(b, " %lld:%.17g", (long long)m.step, m.v[0].value);
        }
        buf_printf(b, "%s\n", t->has_final ? " final" : "");
    }
}

/* The events of a study, applied anew. */
static struct study *replay(struct asks *s, const struct sim_study *of) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    const struct store_row *row = s->w->store->ops->peek(s->w->store, str_of(of->name));
    struct store_event *ev;
    size_t n = world_events_of(s->w, of->name, a, &ev);
    struct study_spec spec;
    const void *parsed;
    struct err err;
    CHECK(row && decode(NULL, a, row, &spec, &parsed, &err) == 0);
    struct study *study = study_new(&spec, row->create_time);
    for (size_t i = 0; i < n; i++) {
        struct study_event e;
        if (ev[i].seq != i + 1 || study_event_decode(a, &spec, &ev[i], &e, &err) ||
            study_apply(study, &e, &err)) {
            complain(s, of, i, "its events do not fit together");
            break;
        }
    }
    return study;
}

const char *asks_final(struct asks *s) {
    if (!list_is_empty(&s->calls)) {
        return "a client of a study was never answered";
    }
    for (size_t i = 0; i < STUDIES; i++) {
        auto_buf struct buf is = BUF_INIT(BUF_NO_MAX), was = BUF_INIT(BUF_NO_MAX);
        struct sim_study *of = &s->of[i];
        struct study_view v;
        if (!of->is_made) {
            continue;
        }
        struct study *again = replay(s, of);
        dump(&is, again);
        if (study_peek(s->studies, str_of(of->name), &v)) {
            dump(&was, v.study);
            if (!str_eq(buf_str(&is), buf_str(&was))) {
                complain(s, of, 0, "what is in memory is not what the store has");
            }
        }
        for (uint64_t id = 1; id <= TRIALS_MAX; id++) {
            if (of->known[id].is_given) {
                check_trial(s, of, again, id);
            }
        }
        study_free(again);
    }
    return s->wrong[0] ? s->wrong : NULL;
}
