/* Vizier studies over the memory store: one transaction at a time, replay, who is given what,
 * suggestions that come late, eviction, crashes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/limits.h"
#include "base/rng.h"
#include "ctl/study_ask.h"
#include "ctl/study_wish.h"
#include "vclock.h"

#define PARENT "projects/1/locations/us-central1"

static const struct tune_param params[] = {
    {.type = TUNE_DOUBLE, .lo = 0, .hi = 1, .parent = -1},
    {.type = TUNE_INTEGER, .lo = 1, .hi = 9, .parent = -1},
};
static const struct tune_metric metric[] = {{.minimize = true}};
static const char *const metric_ids[] = {"loss"};

/* Runs nothing until told to. */
struct steps {
    struct suggest_runner runner;
    struct suggest_work *work[8];
    unsigned nr;
};
static void submit(struct suggest_runner *r, struct suggest_work *w) {
    struct steps *st = (struct steps *)r;
    assert_true(st->nr < NR_OF(st->work));
    st->work[st->nr++] = w;
}
static bool step(struct steps *st) {
    if (!st->nr) {
        return false;
    }
    struct suggest_work *w = st->work[0];
    memmove(st->work, st->work + 1, --st->nr * sizeof(*st->work));
    w->run(w);
    w->done(w);
    return true;
}

struct fix {
    struct vclock clock;
    struct store *store;
    struct studies *s;
    struct steps steps;
    struct suggest_pool pool;
    struct arena *a;
    struct rng rng;
};

static int decode(void *arg, struct arena *a, const struct store_row *row, struct study_spec *ret,
                  const void **ret_parsed, struct err *err) {
    bool by_median = str_eqc(row->spec, "median"), is_convex = str_eqc(row->spec, "convex");
    if (str_eqc(row->spec, "unreadable")) {
        return err_set(err, ERR_DATA_LOSS, "unreadable");
    }
    *ret = (struct study_spec){.tune = {.params = params,
                                        .nr_params = 2,
                                        .metrics = metric,
                                        .nr_metrics = 1,
                                        .algorithm = TUNE_RANDOM,
                                        .seed = 7},
                               .metric_id = metric_ids,
                               .stopping = {.rule = is_convex   ? STUDY_STOP_CONVEX
                                                    : by_median ? STUDY_STOP_MEDIAN
                                                                : STUDY_STOP_NONE,
                                            .convex = {.max_t = 20, .min_t = -1},
                                            .update_all = is_convex,
                                            .rate_param = -1},
                               .rules = {.min_runtime = USEC_NEVER,
                                         .max_runtime = USEC_NEVER,
                                         .max_no_progress = USEC_NEVER}};
    *ret_parsed = params;
    return 0;
}

static void begin_life(struct fix *f) {
    f->steps = (struct steps){.runner.submit = submit};
    suggest_pool_init(&f->pool, &f->steps.runner);
    f->s = studies_new(&(struct studies_config){
        .clock = &f->clock.base, .store = f->store, .suggestions = &f->pool, .decode = decode});
}

static void settle_store(struct fix *f) {
    for (unsigned i = 0; i < 50; i++) {
        while (store_mem_step(f->store)) {
        }
        vclock_advance(&f->clock, 0);
    }
}

static void settle(struct fix *f) {
    settle_store(f);
    while (step(&f->steps)) {
        settle_store(f);
    }
}

static int setup(void **state) {
    struct fix *f = xcalloc(1, sizeof(*f));
    vclock_init(&f->clock);
    f->clock.wall_offset = 1000000;
    rng_seed(&f->rng, 7);
    f->store = store_mem_new(NULL);
    f->a = arena_new(ARENA_NO_MAX);
    begin_life(f);
    *state = f;
    return 0;
}

static void on_stopped(void *arg) {
    *(bool *)arg = true;
}

static int teardown(void **state) {
    struct fix *f = *state;
    bool stopped = false;
    studies_stop(f->s, on_stopped, &stopped);
    settle(f);
    assert_true(stopped);
    studies_free(f->s);
    while (step(&f->steps)) {
    }
    f->store->ops->close(f->store, NULL, NULL);
    assert_false(store_mem_step(f->store));
    arena_free(f->a);
    vclock_fini(&f->clock);
    free(f);
    return 0;
}

/* ---- making ---- */

struct made {
    struct study_create c;
    unsigned answers;
    enum err_code code;
    char name[160];
};

static void on_created(struct study_create *c, const struct store_row *row, const struct err *err) {
    struct made *m = c->arg;
    m->answers++;
    m->code = err ? err->code : ERR_OK;
    if (row) {
        snprintf(m->name, sizeof(m->name), "%.*s", STR_ARG(row->name));
    }
}

static struct made *make(struct fix *f, const char *id, const char *display, const char *spec) {
    struct made *m = arena_own(f->a, sizeof(*m));
    m->c = (struct study_create){.parent = STR(PARENT),
                                 .id = str_of(id),
                                 .display_name = str_of(display),
                                 .spec = str_of(spec),
                                 .cb = on_created,
                                 .arg = m};
    study_create(f->s, &m->c);
    return m;
}

static struct str study(struct fix *f, const char *id) {
    struct made *m = make(f, id, id, "x");
    settle(f);
    assert_int_equal(m->answers, 1);
    assert_int_equal(m->code, ERR_OK);
    return str_of(m->name);
}

/* ---- changing ---- */

enum what {
    ASK,
    TELL,
    END,
    END_AS_MEASURED,
    STOP,
    CHECK_STOP,
    DROP,
    ADD,
    REQUEST,
    SPOIL,
    READ,
    REMOVE
};
struct told {
    struct study_change c;
    struct fix *f;
    enum what what;
    uint64_t trial;
    double value;
    int64_t step;
    struct study_ask ask;
    struct study_given given[8];
    size_t nr;
    bool should_stop;
    unsigned answers, decisions;
    enum err_code code;
    char dump[16384];
};

static void dump(const struct study_view *v, char *out, size_t size) {
    struct buf b = BUF_INIT(BUF_NO_MAX);
    const struct study *s = v->study;
    buf_printf(&b, "%.*s", STR_ARG(v->row->state));
    for (const struct study_trial *t = study_trial_after(s, 0); t;
         t = study_trial_after(s, t->id)) {
        buf_printf(&b, "\n%llu %s %g,%g %s", (unsigned long long)t->id,
                   study_trial_state_name(t->state), t->setting[0], t->setting[1],
                   t->client_id ? t->client_id : "-");
        for (size_t i = 0; i < t->nr_measurements; i++) {
            struct study_measurement m = study_trial_measurement(s, t, i);
            buf_printf(&b, " %lld:%g", (long long)m.step, m.v[0].value);
        }
        if (t->has_final) {
            buf_printf(&b, " =%g", t->final.v[0].value);
        }
    }
    snprintf(out, size, "%.*s", STR_ARG(buf_str(&b)));
    buf_fini(&b);
}

static enum study_verdict decide(struct study_change *c, const struct study_view *v,
                                 struct study_batch *b, struct err *err) {
    struct told *t = c->arg;
    struct study_report *r = arena_own(b->arena, sizeof(*r));
    struct study_wish_end end = {.final = r, .nr_final = 1};
    double *setting = arena_own_array(b->arena, 2, sizeof(*setting));
    uint64_t id;
    int rc = 0;
    *r = (struct study_report){.value = t->value, .step = t->step};
    t->decisions++;
    assert_ptr_equal(v->parsed, params);
    switch (t->what) {
    case ASK:
        return study_ask(v, b, &t->ask, t->given, &t->nr, err);
    case TELL:
        rc = study_wish_measure(v, b, t->trial, r, 1, err);
        break;
    case END:
        rc = study_wish_complete(v, b, t->trial, &end, err);
        break;
    case END_AS_MEASURED:
        end.nr_final = 0;
        rc = study_wish_complete(v, b, t->trial, &end, err);
        break;
    case STOP:
        rc = study_wish_stop(v, b, t->trial, err);
        break;
    case CHECK_STOP:
        rc = study_wish_check(v, b, t->trial, &t->should_stop, err);
        break;
    case DROP:
        rc = study_wish_delete(v, b, t->trial, err);
        break;
    case ADD:
        setting[0] = t->value;
        setting[1] = 3;
        rc = study_wish_create(v, b, &(struct study_wish_trial){.setting = setting}, &id, err);
        t->trial = id;
        break;
    case REQUEST: /* only the second value, or none */
        setting[0] = NAN;
        setting[1] = t->value;
        rc = study_wish_create(
            v, b, &(struct study_wish_trial){.setting = setting, .is_open = true}, &id, err);
        t->trial = id;
        break;
    case SPOIL: /* a precondition that does not hold */
        store_txn_kv_expect(b->txn, "none", STR("none"), STR("none"));
        rc = study_wish_measure(v, b, t->trial, r, 1, err);
        break;
    case READ:
    case REMOVE:
        fail();
    }
    return rc ? STUDY_REFUSE : STUDY_SAVE;
}

static void on_changed(struct study_change *c, const struct study_view *v, const struct err *err) {
    struct told *t = c->arg;
    t->answers++;
    t->code = err ? err->code : ERR_OK;
    if (err) {
        assert_null(v);
    } else if (v) {
        dump(v, t->dump, sizeof(t->dump));
    }
}

static struct told *tell(struct fix *f, struct str name, struct told in) {
    struct told *t = arena_own(f->a, sizeof(*t));
    *t = in;
    t->f = f;
    t->c = (struct study_change){.name = name, .decide = decide, .cb = on_changed, .arg = t};
    if (in.what == READ) {
        study_read(f->s, &t->c);
    } else if (in.what == REMOVE) {
        study_remove(f->s, &t->c);
    } else {
        study_change(f->s, &t->c);
    }
    return t;
}

static struct told *ask(struct fix *f, struct str name, const char *client, size_t count) {
    return tell(f, name, (struct told){.what = ASK, .ask = {.client_id = client, .count = count}});
}

static struct told *done(struct fix *f, struct told *t) {
    settle(f);
    assert_int_equal(t->answers, 1);
    return t;
}

static char *now(struct fix *f, struct str name) {
    return done(f, tell(f, name, (struct told){.what = READ}))->dump;
}

static struct told *must(struct fix *f, struct told *t) {
    assert_int_equal(done(f, t)->code, ERR_OK);
    return t;
}

/* ---- */

static void test_display_names_are_unique(void **state) {
    struct fix *f = *state;
    struct made *first = make(f, "1", "lr", "x"), *second = make(f, "2", "lr", "x");
    settle(f);
    assert_int_equal(first->code, ERR_OK);
    assert_int_equal(second->code, ERR_ALREADY_EXISTS);
    assert_int_equal(done(f, tell(f, STR(PARENT "/studies/2"), (struct told){.what = READ}))->code,
                     ERR_NOT_FOUND);
    assert_string_equal(now(f, STR(PARENT "/studies/1")), "ACTIVE");
    must(f, tell(f, STR(PARENT "/studies/1"), (struct told){.what = REMOVE}));
    assert_int_equal(
        done(f, tell(f, STR(PARENT "/studies/1"), (struct told){.what = REMOVE}))->code,
        ERR_NOT_FOUND);
    second = make(f, "2", "lr", "x");
    settle(f);
    assert_int_equal(second->code, ERR_OK);
}

static void test_what_does_not_read_is_told_to_all(void **state) {
    struct fix *f = *state;
    make(f, "1", "lr", "unreadable");
    settle(f);
    struct told *a = tell(f, STR(PARENT "/studies/1"), (struct told){.what = READ});
    struct told *b = ask(f, STR(PARENT "/studies/1"), "a", 1);
    assert_int_equal(done(f, a)->code, ERR_DATA_LOSS);
    assert_int_equal(done(f, b)->code, ERR_DATA_LOSS);
}

static void test_nothing_is_believed_before_it_is_durable(void **state) {
    struct fix *f = *state;
    struct str s = study(f, "1");
    must(f, ask(f, s, "a", 1));
    struct told *one = tell(f, s, (struct told){.what = TELL, .trial = 1, .value = 5, .step = 1});
    struct told *two = tell(f, s, (struct told){.what = TELL, .trial = 1, .value = 4, .step = 2});
    struct study_view v;
    assert_int_equal(one->decisions, 1);
    assert_int_equal(two->decisions, 0); /* not while the first is on its way */
    assert_true(study_peek(f->s, s, &v));
    assert_int_equal(study_trial(v.study, 1)->nr_measurements, 0);
    done(f, one);
    assert_string_equal(strstr(one->dump, " a") + 2, " 1:5");
    assert_string_equal(strstr(done(f, two)->dump, " a") + 2, " 1:5 2:4");
    struct told *again =
        must(f, tell(f, s, (struct told){.what = TELL, .trial = 1, .value = 4, .step = 2}));
    assert_string_equal(again->dump, two->dump);
}

static void test_a_failed_commit_changes_nothing(void **state) {
    struct fix *f = *state;
    struct str s = study(f, "1");
    must(f, ask(f, s, "a", 1));
    struct told *bad = tell(f, s, (struct told){.what = SPOIL, .trial = 1, .value = 5, .step = 1});
    struct told *good = tell(f, s, (struct told){.what = TELL, .trial = 1, .value = 4, .step = 2});
    assert_int_equal(done(f, bad)->code, ERR_FAILED_PRECONDITION);
    assert_int_equal(done(f, good)->code, ERR_OK);
    assert_string_equal(strstr(good->dump, " a") + 2, " 2:4");
}

static void test_clients_are_given_their_own(void **state) {
    struct fix *f = *state;
    struct str s = study(f, "1");
    struct told *a = ask(f, s, "a", 1), *a2 = ask(f, s, "a", 1), *b = ask(f, s, "b", 2);
    assert_int_equal(done(f, a)->given[0].id, 1);
    assert_int_equal(done(f, a2)->given[0].id, 1); /* the same one again */
    done(f, b);
    assert_int_equal(b->nr, 2);
    assert_true(b->given[0].id == 2 && b->given[1].id == 3);
    must(f, tell(f, s, (struct told){.what = STOP, .trial = 2}));
    must(f, tell(f, s, (struct told){.what = ADD, .value = 0.5}));
    struct told *c = must(f, ask(f, s, "c", 1));
    assert_true(c->given[0].id == 4 && c->given[0].how == GIVEN_REQUESTED);
    b = must(f, ask(f, s, "b", 2));
    assert_true(b->given[0].id == 3 && b->given[1].id == 5);
    assert_int_equal(done(f, tell(f, s, (struct told){.what = END, .trial = 9}))->code,
                     ERR_NOT_FOUND);
    must(f, tell(f, s, (struct told){.what = END, .trial = 1, .value = 2}));
    assert_int_equal(must(f, ask(f, s, "a", 1))->given[0].id, 6);
}

static void test_contexts_take_what_fits(void **state) {
    struct fix *f = *state;
    struct str s = study(f, "1");
    static const double seven[] = {NAN, 7}, three[] = {NAN, 3};
    const study_context contexts[] = {seven, three, NULL};
    const struct study_ask q = {"a", contexts, 3};
    must(f, tell(f, s, (struct told){.what = ADD, .value = 0.5})); /* its second value is 3 */
    struct told *t = must(f, tell(f, s, (struct told){.what = ASK, .ask = q}));
    assert_int_equal(t->nr, 3);
    assert_int_equal(t->given[1].id, 1);
    struct told *again = must(f, tell(f, s, (struct told){.what = ASK, .ask = q}));
    struct study_view v;
    assert_true(study_peek(f->s, s, &v));
    assert_true(study_trial(v.study, t->given[0].id)->setting[1] == 7);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(again->given[i].id, t->given[i].id);
        assert_int_equal(again->given[i].how, GIVEN_ITS_OWN);
    }
}

/* What a requested trial leaves open is decided when it is handed out, once, and told to nobody
 * before that; it takes no part in the search until then. */
static void test_what_a_request_leaves_open_is_suggested(void **state) {
    struct fix *f = *state;
    struct str s = study(f, "1");
    static const double seven[] = {NAN, 7}, three[] = {NAN, 3};
    const study_context contexts[] = {seven, three};
    struct study_view v;
    must(f, tell(f, s, (struct told){.what = REQUEST, .value = 3}));
    must(f, tell(f, s, (struct told){.what = REQUEST, .value = NAN}));
    static const enum what refused[] = {TELL, END, STOP};
    for (size_t i = 0; i < NR_OF(refused); i++) {
        struct told *t = done(f, tell(f, s, (struct told){.what = refused[i], .trial = 1}));
        assert_int_equal(t->code, ERR_FAILED_PRECONDITION);
    }
    assert_false(must(f, tell(f, s, (struct told){.what = CHECK_STOP, .trial = 1}))->should_stop);
    assert_true(study_peek(f->s, s, &v));
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    size_t nr;
    (void)study_history(v.study, a, &nr);
    assert_int_equal(nr, 0);
    struct told *t = must(f, tell(f, s, (struct told){.what = ASK, .ask = {"a", contexts, 2}}));
    assert_int_equal(t->nr, 2);
    assert_int_equal(t->given[0].id, 2); /* fits both; the first trial only the second slot */
    assert_int_equal(t->given[1].id, 1);
    assert_true(study_peek(f->s, s, &v));
    double first = study_trial(v.study, 1)->setting[0],
           second = study_trial(v.study, 2)->setting[0];
    assert_true(first >= 0 && first <= 1 && second >= 0 && second <= 1 && first != second);
    assert_true(study_trial(v.study, 1)->setting[1] == 3);
    assert_true(study_trial(v.study, 2)->setting[1] == 7);
    assert_false(study_trial(v.study, 1)->is_open);
    (void)study_history(v.study, a, &nr);
    assert_int_equal(nr, 2);
    t = must(f, ask(f, s, "b", 1)); /* random search goes on behind them */
    assert_true(study_peek(f->s, s, &v));
    double third = study_trial(v.study, t->given[0].id)->setting[0];
    assert_true(third != first && third != second);
    must(f, tell(f, s, (struct told){.what = REQUEST, .value = 5}));
    must(f, tell(f, s, (struct told){.what = DROP, .trial = 4}));
    assert_int_equal(must(f, ask(f, s, "c", 1))->given[0].id, 5);
}

static void test_what_is_fixed_fixes_its_parents(void **state) {
    (void)state;
    static const double zero[] = {0}, one_two[] = {1, 2}, two[] = {2};
    /* 0 has children 1 (when 0), 2 (when 1 or 2), 3 (when 2); 4 is a child of 2. */
    static const struct tune_param p[] = {
        {.type = TUNE_CATEGORICAL, .nr_values = 3, .parent = -1},
        {.type = TUNE_DOUBLE, .hi = 1, .parent = 0, .when = zero, .nr_when = 1},
        {.type = TUNE_INTEGER, .lo = 1, .hi = 2, .parent = 0, .when = one_two, .nr_when = 2},
        {.type = TUNE_DOUBLE, .hi = 1, .parent = 0, .when = two, .nr_when = 1},
        {.type = TUNE_DOUBLE, .hi = 1, .parent = 2, .when = two, .nr_when = 1},
    };
    const struct tune_study s = {.params = p, .nr_params = 5};
    const size_t none = s.nr_params;
    double ret[5];
    /* The grandchild fixes both above it, the sibling which value that is. */
    const double both[] = {NAN, NAN, NAN, 0.25, 0.5}, grand[] = {NAN, NAN, NAN, NAN, 0.5};
    const double clash[] = {NAN, 0.5, NAN, 0.5, NAN}, closed[] = {0, NAN, NAN, NAN, 0.5};
    const double all[] = {1, NAN, 1, NAN, NAN}, some[] = {1, NAN, NAN, NAN, NAN};
    assert_int_equal(study_context_conflict(&s, both), none);
    assert_int_equal(study_context_conflict(&s, grand), none);
    assert_int_equal(study_context_conflict(&s, clash), 0);
    assert_int_equal(study_context_conflict(&s, closed), 0);
    double x[] = {0, 0.75, NAN, NAN, NAN};
    study_context_apply(&s, both, x);
    assert_true(x[0] == 2 && isnan(x[1]) && x[2] == 2 && x[3] == 0.25 && x[4] == 0.5);
    double y[] = {2, NAN, 1, 0.125, NAN}; /* what is there already and suits stays */
    study_context_apply(&s, grand, y);
    assert_true(y[0] == 2 && y[2] == 2 && y[3] == 0.125 && y[4] == 0.5);
    assert_true(study_context_is_open(&s, some) && study_context_is_open(&s, grand));
    assert_false(study_context_is_open(&s, all));
    assert_true(study_context_join(&s, some, NULL, ret) && ret[0] == 1);
    assert_false(study_context_join(&s, some, closed, ret)); /* two values */
    const double third[] = {NAN, NAN, NAN, 0.5, NAN};
    assert_false(study_context_join(&s, some, third, ret)); /* not active together */
    assert_true(study_context_join(&s, grand, third, ret) && ret[3] == 0.5 && ret[4] == 0.5);
    assert_true(study_context_has(&s, some, all) && study_context_has(&s, NULL, all));
    assert_false(study_context_has(&s, third, all));
}

static void test_a_context_opens_and_closes_what_depends_on_it(void **state) {
    (void)state;
    static const double first[] = {0}, second[] = {1};
    static const struct tune_param p[] = {
        {.type = TUNE_CATEGORICAL, .nr_values = 2, .parent = -1},
        {.type = TUNE_DOUBLE,
         .lo = 1,
         .hi = 100,
         .scale = TUNE_LOG,
         .parent = 0,
         .when = first,
         .nr_when = 1},
        {.type = TUNE_INTEGER, .lo = 1, .hi = 9, .parent = 0, .when = second, .nr_when = 1},
    };
    const struct tune_study s = {.params = p, .nr_params = 3};
    static const double context[] = {0, NAN, NAN};
    double setting[] = {1, NAN, 4};
    study_context_apply(&s, context, setting);
    assert_true(setting[0] == 0 && fabs(setting[1] - 10) < 1e-9 && isnan(setting[2]));
}

/* Who tells meanwhile makes a suggestion useless once; then everybody waits for the next. */
static void test_a_suggestion_comes_in_the_end(void **state) {
    struct fix *f = *state;
    struct str s = study(f, "1");
    must(f, ask(f, s, "a", 3));
    struct told *b = ask(f, s, "b", 1);
    if (!b->answers) {
        settle_store(f);
    }
    struct told *t;
    for (uint64_t i = 1; i <= 2 && !b->answers; i++) {
        t = tell(f, s, (struct told){.what = END, .trial = i, .value = 1});
        settle_store(f);
        assert_true(step(&f->steps)); /* of the study as it was */
        settle_store(f);
    }
    struct told *late = tell(f, s, (struct told){.what = END, .trial = 3, .value = 1});
    settle_store(f);
    assert_true(b->answers || !late->answers);
    settle(f);
    assert_int_equal(b->answers, 1);
    assert_int_equal(b->given[0].id, 4);
    assert_int_equal(late->answers, 1);
    assert_int_equal(late->code, ERR_OK);
    (void)t;
}

/* However many are asked for, it is one transaction; and none when there is no room for all. */
static void test_many_are_one_transaction(void **state) {
    struct fix *f = *state;
    struct str s = study(f, "1");
    struct studies_stats before, after;
    studies_get_stats(f->s, &before);
    struct told *t = must(f, ask(f, s, "a", 5));
    studies_get_stats(f->s, &after);
    assert_int_equal(t->nr, 5);
    assert_int_equal(after.changes, before.changes + 1);
    assert_true(after.asked > after.asked_ready);
    uint64_t was = limits.max_study_trials;
    limits.max_study_trials = 7;
    assert_int_equal(done(f, ask(f, s, "b", 3))->code, ERR_RESOURCE_EXHAUSTED);
    assert_int_equal(must(f, ask(f, s, "b", 2))->nr, 2);
    limits.max_study_trials = was;
}

/* Who does not want to wait any longer is not called, and what came of the waiting is not lost. */
static void test_who_waits_may_leave(void **state) {
    struct fix *f = *state;
    struct str s = study(f, "1");
    struct told *a = ask(f, s, "a", 1), *b = ask(f, s, "b", 1);
    settle_store(f);
    assert_true(study_withdraw(&a->c));
    assert_false(study_withdraw(&a->c));
    assert_int_equal(done(f, b)->given[0].id, 1);
    assert_int_equal(a->answers, 0);
    assert_false(study_withdraw(&b->c));
    assert_int_equal(must(f, ask(f, s, "a", 1))->given[0].id, 2);
}

static void test_who_waits_is_told_of_the_end(void **state) {
    struct fix *f = *state;
    struct str s = study(f, "1");
    struct told *waits = ask(f, s, "a", 1);
    settle_store(f);
    assert_int_equal(waits->answers, 0);
    struct told *gone = tell(f, s, (struct told){.what = REMOVE});
    assert_int_equal(done(f, gone)->code, ERR_OK);
    assert_int_equal(done(f, waits)->code, ERR_NOT_FOUND);
}

static void test_the_least_used_make_room(void **state) {
    struct fix *f = *state;
    struct studies_stats st;
    struct str names[5];
    uint64_t was = limits.max_studies_loaded;
    limits.max_studies_loaded = 2;
    for (unsigned i = 0; i < 5; i++) {
        names[i] = study(f, arena_printf(f->a, "%u", i + 1));
        must(f, ask(f, names[i], "a", 1));
    }
    studies_get_stats(f->s, &st);
    assert_int_equal(st.loaded, 2);
    assert_int_equal(st.evictions, 3);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(must(f, ask(f, names[i], "a", 1))->given[0].id, 1);
    }
    limits.max_studies_loaded = was;
}

static void test_early_stopping_by_rule(void **state) {
    struct fix *f = *state;
    make(f, "1", "m", "median");
    settle(f);
    struct str s = STR(PARENT "/studies/1");
    for (uint64_t i = 1; i <= 5; i++) {
        must(f, ask(f, s, "a", 1));
        for (int64_t k = 1; k <= 5; k++) {
            must(f, tell(f, s, (struct told){.what = TELL, .trial = i, .value = 5, .step = k}));
        }
        assert_false(
            must(f, tell(f, s, (struct told){.what = CHECK_STOP, .trial = i}))->should_stop);
        must(f, tell(f, s, (struct told){.what = END, .trial = i, .value = 5, .step = 5}));
    }
    must(f, ask(f, s, "a", 1));
    for (int64_t k = 1; k <= 5; k++) {
        must(f, tell(f, s, (struct told){.what = TELL, .trial = 6, .value = 50, .step = k}));
    }
    struct told *t = must(f, tell(f, s, (struct told){.what = CHECK_STOP, .trial = 6}));
    assert_true(t->should_stop);
    assert_non_null(strstr(t->dump, "6 STOPPING"));
    assert_true(must(f, tell(f, s, (struct told){.what = CHECK_STOP, .trial = 6}))->should_stop);
}

/* ---- crashes ---- */

static bool flip(void *arg) {
    return rng_u64(arg) & 1;
}

static void crash(struct fix *f) {
    f->store = store_mem_crash(f->store, flip, &f->rng);
    studies_free(f->s);
    while (step(&f->steps)) { /* ends unheard */
    }
    begin_life(f);
}

static uint64_t below(struct fix *f, uint64_t n) {
    return rng_u64(&f->rng) % n;
}

/* update_all_stopped_trials: what was predicted follows what is learnt, in a transaction of its
 * own, and a restart finds it so. */
static double final_of(struct fix *f, struct str s, uint64_t trial) {
    struct study_view v;
    (void)now(f, s);
    assert_true(study_peek(f->s, s, &v));
    return study_trial(v.study, trial)->final.v[0].value;
}

static uint64_t curve(struct fix *f, struct str s, double level, int64_t steps) {
    uint64_t id = must(f, ask(f, s, "a", 1))->given[0].id;
    for (int64_t k = 1; k <= steps; k++) {
        must(f, tell(f, s,
                     (struct told){
                         .what = TELL, .trial = id, .value = level + 1.0 / (double)k, .step = k}));
    }
    return id;
}

static void test_predictions_are_made_anew(void **state) {
    struct fix *f = *state;
    make(f, "1", "c", "convex");
    settle(f);
    struct str s = STR(PARENT "/studies/1");
    for (int i = 0; i < 8; i++) {
        uint64_t id = curve(f, s, 0.1 * i, 20);
        must(f, tell(f, s, (struct told){.what = END, .trial = id, .value = 0.1 * i, .step = 20}));
    }
    uint64_t poor = curve(f, s, 5, 12);
    assert_true(must(f, tell(f, s, (struct told){.what = CHECK_STOP, .trial = poor}))->should_stop);
    must(f, tell(f, s, (struct told){.what = END_AS_MEASURED, .trial = poor}));
    double first = final_of(f, s, poor);
    assert_true(first > 4 && first < 5.2);
    for (int i = 0; i < 8; i++) { /* with another slope */
        uint64_t id = curve(f, s, 0.9 + 0.15 * i, 19);
        must(f, tell(f, s,
                     (struct told){.what = END, .trial = id, .value = 0.3 + 0.05 * i, .step = 19}));
    }
    double then = final_of(f, s, poor);
    assert_true(then != first);
    crash(f);
    assert_true(final_of(f, s, poor) == then);
}

/* What was answered is so afterwards, a trial has one client for ever, and replay is what was. */
static void test_a_crash_loses_nothing_that_was_answered(void **state) {
    static const char *const clients[] = {"a", "b", "c"};
    struct fix *f = *state;
    struct str s = study(f, "1");
    const char *owner[400] = {0};
    double told[400] = {0};
    for (unsigned life = 0; life < 40; life++) {
        struct told *t[12];
        size_t n = 0, steps = below(f, 60);
        for (size_t i = 0; i < NR_OF(t); i++) {
            uint64_t trial = 1 + below(f, 3 * life + 4);
            switch (below(f, 5)) {
            case 4:
                t[n++] = tell(f, s,
                              (struct told){.what = REQUEST,
                                            .value = below(f, 2) ? NAN : 1 + (double)below(f, 9)});
                break;
            case 0:
                t[n++] = ask(f, s, clients[below(f, 3)], 1 + below(f, 2));
                break;
            case 1:
                t[n++] = tell(f, s,
                              (struct told){.what = TELL,
                                            .trial = trial,
                                            .value = 100.0 * life + (double)i,
                                            .step = (int64_t)(100 * life + i)});
                break;
            case 2:
                t[n++] = tell(
                    f, s,
                    (struct told){.what = END, .trial = trial, .value = (double)trial, .step = 1});
                break;
            default:
                t[n++] =
                    tell(f, s, (struct told){.what = below(f, 6) ? STOP : DROP, .trial = trial});
            }
            for (size_t k = below(f, 4); k > 0; k--) {
                (void)store_mem_step(f->store);
                vclock_advance(&f->clock, 1);
            }
        }
        for (size_t i = 0; i < steps; i++) {
            (void)store_mem_step(f->store);
            vclock_advance(&f->clock, 1);
            if (below(f, 3) == 0) {
                (void)step(&f->steps);
            }
        }
        for (size_t i = 0; i < n; i++) {
            assert_true(t[i]->answers <= 1);
            for (size_t k = 0; t[i]->what == ASK && t[i]->answers && !t[i]->code && k < t[i]->nr;
                 k++) {
                uint64_t id = t[i]->given[k].id;
                assert_true(!owner[id] || strcmp(owner[id], t[i]->ask.client_id) == 0);
                owner[id] = t[i]->ask.client_id;
            }
            if (t[i]->what == TELL && t[i]->answers && !t[i]->code) {
                told[t[i]->trial] = t[i]->value;
            }
        }
        crash(f);
        char *first = now(f, s);
        struct study_view v;
        assert_true(study_peek(f->s, s, &v));
        for (uint64_t id = 1; id < NR_OF(owner); id++) {
            const struct study_trial *tr = study_trial(v.study, id);
            bool found = !tr || !told[id];
            for (size_t i = 0; tr && i < tr->nr_measurements; i++) {
                found |= study_trial_measurement(v.study, tr, i).v[0].value == told[id];
            }
            assert_true(found);
            assert_true(!tr || !owner[id] || strcmp(tr->client_id, owner[id]) == 0);
        }
        crash(f);
        assert_string_equal(now(f, s), first);
    }
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_display_names_are_unique),
        T(test_what_does_not_read_is_told_to_all),
        T(test_nothing_is_believed_before_it_is_durable),
        T(test_a_failed_commit_changes_nothing),
        T(test_clients_are_given_their_own),
        T(test_contexts_take_what_fits),
        T(test_what_a_request_leaves_open_is_suggested),
        T(test_what_is_fixed_fixes_its_parents),
        T(test_a_context_opens_and_closes_what_depends_on_it),
        T(test_a_suggestion_comes_in_the_end),
        T(test_many_are_one_transaction),
        T(test_who_waits_may_leave),
        T(test_who_waits_is_told_of_the_end),
        T(test_the_least_used_make_room),
        T(test_early_stopping_by_rule),
        T(test_predictions_are_made_anew),
        T(test_a_crash_loses_nothing_that_was_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
