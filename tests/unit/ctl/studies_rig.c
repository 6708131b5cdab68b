#include "studies_rig.h"

#include "ctl/study_wish.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static const struct tune_param params[] = {
    {.type = TUNE_DOUBLE, .lo = 0, .hi = 1, .parent = -1},
    {.type = TUNE_INTEGER, .lo = 1, .hi = 9, .parent = -1},
};
static const struct tune_metric metric[] = {{.minimize = true}};
static const char *const metric_ids[] = {"loss"};

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
    steps_init(&f->steps);
    suggest_pool_init(&f->pool, &f->steps.runner);
    f->s = studies_new(&(struct studies_config){.clock = &f->rig.clock.base,
                                                .store = f->rig.store,
                                                .suggestions = &f->pool,
                                                .decode = decode});
}

void settle_store(struct fix *f) {
    mem_rig_settle(&f->rig, 50);
}

void settle(struct fix *f) {
    settle_store(f);
    while (steps_take(&f->steps)) {
        settle_store(f);
    }
}

int studies_setup(void **state) {
    struct fix *f = xcalloc(1, sizeof(*f));
    mem_rig_init(&f->rig);
    begin_life(f);
    *state = f;
    return 0;
}

int studies_teardown(void **state) {
    struct fix *f = *state;
    bool stopped = false;
    studies_stop(f->s, mem_rig_on_stopped, &stopped);
    settle(f);
    assert_true(stopped);
    studies_free(f->s);
    while (steps_take(&f->steps)) {
    }
    mem_rig_fini(&f->rig);
    free(f);
    return 0;
}

static bool flip(void *arg) {
    return rng_u64(arg) & 1;
}

void crash(struct fix *f) {
    f->rig.store = store_mem_crash(f->rig.store, flip, &f->rig.rng);
    studies_free(f->s);
    while (steps_take(&f->steps)) { /* ends unheard */
    }
    begin_life(f);
}

/* ---- making ---- */
static void on_created(struct study_create *c, const struct store_row *row, const struct err *err) {
    struct made *m = c->arg;
    m->answers++;
    m->code = err ? err->code : ERR_OK;
    if (row) {
        snprintf(m->name, sizeof(m->name), "%.*s", STR_ARG(row->name));
    }
}

struct made *make(struct fix *f, const char *id, const char *display, const char *spec) {
    struct made *m = arena_own(f->rig.a, sizeof(*m));
    m->c = (struct study_create){.parent = STR(PARENT),
                                 .id = str_of(id),
                                 .display_name = str_of(display),
                                 .spec = str_of(spec),
                                 .cb = on_created,
                                 .arg = m};
    study_create(f->s, &m->c);
    return m;
}

struct str study(struct fix *f, const char *id) {
    struct made *m = make(f, id, id, "x");
    settle(f);
    assert_int_equal(m->answers, 1);
    assert_int_equal(m->code, ERR_OK);
    return str_of(m->name);
}

/* ---- changing ---- */
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

struct told *tell(struct fix *f, struct str name, struct told in) {
    struct told *t = arena_own(f->rig.a, sizeof(*t));
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

struct told *ask(struct fix *f, struct str name, const char *client, size_t count) {
    return tell(f, name, (struct told){.what = ASK, .ask = {.client_id = client, .count = count}});
}

struct told *done(struct fix *f, struct told *t) {
    settle(f);
    assert_int_equal(t->answers, 1);
    return t;
}

char *now(struct fix *f, struct str name) {
    return done(f, tell(f, name, (struct told){.what = READ}))->dump;
}

struct told *must(struct fix *f, struct told *t) {
    assert_int_equal(done(f, t)->code, ERR_OK);
    return t;
}
