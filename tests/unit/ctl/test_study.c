/* The core of studies: facts, measurements within their bound, what is best, what should stop. */
#include "ctl/study.h"

#include "base/limits.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct tune_param params[] = {
    {.type = TUNE_DOUBLE, .lo = 0, .hi = 1, .parent = -1},
    {.type = TUNE_CATEGORICAL, .nr_values = 2, .parent = -1},
};
static const struct tune_metric one[] = {{.minimize = true}};
static const struct tune_metric two[] = {{.minimize = true}, {.minimize = false}};
static const char *const ids[] = {"loss", "accuracy"};

static struct study_spec spec_of(size_t nr_metrics) {
    return (struct study_spec){.tune = {.params = params,
                                        .nr_params = 2,
                                        .metrics = nr_metrics == 1 ? one : two,
                                        .nr_metrics = nr_metrics,
                                        .seed = 1},
                               .metric_id = ids,
                               .stopping = {.rate_param = -1},
                               .rules = {.max_runtime = USEC_NEVER, .max_no_progress = USEC_NEVER}};
}

/* Every event takes the road through its stored form. */
static int live(struct study *s, const struct study_event *in, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf b = BUF_INIT(1 << 24);
    struct study_event ev;
    study_event_encode(&b, study_spec(s), in);
    struct store_event stored = {.type = in->type,
                                 .version = STUDY_EVENT_VERSION,
                                 .seq = in->seq,
                                 .time = in->time,
                                 .body = buf_str(&b)};
    if (study_event_decode(a, study_spec(s), &stored, &ev, err) != 0) {
        return -1;
    }
    return study_apply(s, &ev, err);
}

static void must(struct study *s, struct study_event ev) {
    struct err err;
    if (live(s, &ev, &err) != 0) {
        fail_msg("%s", err.msg);
    }
}

static void must_not(struct study *s, struct study_event ev) {
    struct err err;
    assert_int_equal(live(s, &ev, &err), -1);
    assert_int_equal(err.code, ERR_DATA_LOSS);
}

static uint64_t new_trial(struct study *s, double x, usec_t now) {
    double setting[] = {x, 1};
    struct study_new_trial t = {
        .setting = setting, .state = STUDY_TRIAL_ACTIVE, .client_id = "c\n1"};
    uint64_t id = study_next_id(s);
    must(s, (struct study_event){.type = STUDY_EV_TRIALS_CREATED,
                                 .time = now,
                                 .trial = id,
                                 .trials = &t,
                                 .nr_trials = 1});
    return id;
}

static void report(struct study *s, uint64_t id, uint32_t metric, double v, int64_t step,
                   usec_t at) {
    struct study_report r = {metric, v, step, at, 0};
    must(s, (struct study_event){
                .type = STUDY_EV_MEASURED, .trial = id, .reports = &r, .nr_reports = 1});
}

static void end_with(struct study *s, uint64_t id, const double *v, usec_t now) {
    struct study_report r[2] = {{0, v[0], 1, 5, 0}, {1, 0, 1, 5, 0}};
    size_t n = study_spec(s)->tune.nr_metrics;
    if (n == 2) {
        r[1].value = v[1];
    }
    must(s, (struct study_event){.type = STUDY_EV_TRIAL_ENDED,
                                 .time = now,
                                 .trial = id,
                                 .state = STUDY_TRIAL_SUCCEEDED,
                                 .has_final = true,
                                 .reports = r,
                                 .nr_reports = n});
}

static void test_reports_are_measurements(void **state) {
    (void)state;
    struct study_spec spec = spec_of(2);
    struct study *s = study_new(&spec, 0);
    uint64_t id = new_trial(s, 0.25, 1000);
    const struct study_trial *t = study_trial(s, id);
    assert_string_equal(t->client_id, "c\n1");
    report(s, id, 0, 0.5, 1, 1100);
    report(s, id, 1, 0.9, 1, 1150); /* joins */
    report(s, id, 0, 0.4, 1, 1200); /* does not */
    report(s, id, 0, 0.5, 1, 1100); /* said again after a restart */
    report(s, id, 1, 0.9, 1, 1150);
    report(s, id, 0, 0.3, 0, 400); /* the clock was set back: an earlier step, no time at all */
    assert_int_equal(t->nr_measurements, 3);
    assert_int_equal(t->nr_reported, 4);
    struct study_measurement m = study_trial_measurement(s, t, 0);
    assert_int_equal(m.step, 0);
    assert_int_equal(m.elapsed, 0);
    assert_false(m.v[1].is_set);
    m = study_trial_measurement(s, t, 1);
    assert_int_equal(m.elapsed, 100);
    assert_true(m.v[1].is_set && m.v[1].value == 0.9 && m.v[0].value == 0.5);
    /* The last one lacks the accuracy: it comes from before. */
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf why = BUF_INIT(1000);
    assert_true(study_final(s, t, a, &m, &why));
    assert_true(m.step == 1 && m.elapsed == 200 && m.v[0].value == 0.4 && m.v[1].value == 0.9);
    study_free(s);
}

/* A job that began anew: what it reports again counts, what it resumed from stays, whatever comes
 * twice and in whichever order; and the replay is the same. */
static void test_attempts_do_not_mix(void **state) {
    (void)state;
    struct study_spec spec = spec_of(1);
    spec.selection = STUDY_BEST;
    const struct study_report first[] = {
        {0, 5, 1, 1100, 0}, {0, 0.1, 2, 1200, 0}, {0, 4, 3, 1300, 0}, {0, 3, 9, 1900, 0}};
    const struct study_report resumed[] = {{0, 2, 3, 2300, 1}, {0, 1.5, 4, 2400, 1}};
    const struct study_report anew[] = {{0, 7, 1, 3100, 2}, {0, 6, 2, 1200, 2}};
    struct study_report all[8];
    memcpy(all, first, sizeof(first));
    memcpy(all + 4, resumed, sizeof(resumed));
    memcpy(all + 6, anew, sizeof(anew));
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf why = BUF_INIT(1000);
    struct study_measurement m;
    struct study *s = study_new(&spec, 0);
    uint64_t id = new_trial(s, 0.25, 1000);
    const struct study_trial *t = study_trial(s, id);
    struct study_event ev = {
        .type = STUDY_EV_MEASURED, .trial = id, .reports = first, .nr_reports = 4};
    must(s, ev);
    ev.reports = resumed;
    ev.nr_reports = 2;
    must(s, ev);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(t->nr_measurements, 4); /* steps 1 and 2 of the first, 3 and 4 */
        assert_int_equal(t->nr_redone, 2);
        assert_true(study_final(s, t, a, &m, &why) && m.v[0].value == 0.1);
        ev.reports = all;
        ev.nr_reports = 6;
        must(s, ev); /* all once more, as at the trial's end */
    }
    ev.reports = anew;
    ev.nr_reports = 2;
    must(s, ev);
    ev.reports = all;
    ev.nr_reports = 8;
    for (int again = 0; again < 2; again++) {
        assert_int_equal(t->nr_measurements, 2);
        assert_true(study_final(s, t, a, &m, &why) && m.v[0].value == 6);
        must(s, ev);
    }
    uint64_t other = new_trial(s, 0.5, 1000);
    ev.trial = other; /* all at once, the latest first */
    for (size_t i = 8; i-- > 0;) {
        ev.reports = &all[i];
        ev.nr_reports = 1;
        must(s, ev);
    }
    t = study_trial(s, other);
    assert_int_equal(t->nr_measurements, 2);
    assert_true(study_final(s, t, a, &m, &why) && m.v[0].value == 6 && m.step == 2);
    study_free(s);
}

static void test_what_is_not_finite(void **state) {
    (void)state;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf why = BUF_INIT(1000);
    struct study_spec spec = spec_of(1);
    struct study_measurement m;
    struct study *s = study_new(&spec, 0);
    uint64_t id = new_trial(s, 0.25, 0);
    assert_false(study_final(s, study_trial(s, id), a, &m, &why));
    assert_string_equal(buf_cstr(&why), "it never reported the metric loss");
    report(s, id, 0, 0.5, 1, 1);
    report(s, id, 0, NAN, 2, 2);
    report(s, id, 0, -INFINITY, 3, 3);
    buf_clear(&why);
    assert_false(study_final(s, study_trial(s, id), a, &m, &why));
    assert_string_equal(buf_cstr(&why), "its loss is -Infinity, which is not a finite number");
    study_free(s);

    spec.selection = STUDY_BEST;
    s = study_new(&spec, 0);
    id = new_trial(s, 0.25, 0);
    report(s, id, 0, 0.7, 1, 1);
    report(s, id, 0, 0.5, 2, 2);
    report(s, id, 0, NAN, 3, 3);
    assert_true(study_final(s, study_trial(s, id), a, &m, &why));
    assert_true(m.step == 2 && m.v[0].value == 0.5);
    /* Ended with NaN all the same: the tuner is told of a failure. */
    double bad = NAN;
    end_with(s, id, &bad, 9);
    size_t n;
    assert_int_equal(study_history(s, a, &n)[0].state, TUNE_FAILED);
    assert_null(study_best(s));
    study_free(s);
}

static void test_measurements_are_bounded(void **state) {
    (void)state;
    struct study_spec spec = spec_of(1);
    struct study *s = study_new(&spec, 0);
    uint64_t id = new_trial(s, 0.25, 0);
    const struct study_trial *t = study_trial(s, id);
    size_t most = limits.max_trial_measurements;
    for (size_t i = 0; i < 20 * most; i++) {
        report(s, id, 0, i == 777 ? -5 : 1 + (double)i, (int64_t)i, i + 1);
        assert_true(t->nr_measurements <= most);
    }
    assert_int_equal(t->nr_reported, 20 * most);
    assert_int_equal(t->nr_reported - t->nr_dropped, t->nr_measurements);
    bool has_best = false;
    for (size_t i = 0; i < t->nr_measurements; i++) {
        struct study_measurement m = study_trial_measurement(s, t, i);
        has_best |= m.v[0].value == -5;
        assert_true(i == 0 || m.step > study_trial_measurement(s, t, i - 1).step);
    }
    assert_true(has_best);
    assert_int_equal(study_trial_measurement(s, t, 0).step, 0);
    assert_int_equal(study_trial_measurement(s, t, t->nr_measurements - 1).step, 20 * most - 1);
    /* Re-reading what was thinned away brings nothing back. */
    size_t before = t->nr_measurements;
    report(s, id, 0, 2, 1, 2);
    report(s, id, 0, 4, 3, 4);
    assert_int_equal(t->nr_measurements, before);
    study_free(s);
}

static void test_best_and_optimal(void **state) {
    (void)state;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct study_spec spec = spec_of(2);
    struct study *s = study_new(&spec, 0);
    static const double y[][2] = {{1, 1}, {2, 2}, {2, 1}, {1, 1}, {0.5, 0}, {3, 2}};
    for (size_t i = 0; i < NR_OF(y); i++) {
        end_with(s, new_trial(s, 0.1, 1), y[i], 2 + i);
    }
    size_t n;
    const uint64_t *best = study_optimal(s, a, &n);
    assert_int_equal(n, 4);
    assert_true(best[0] == 1 && best[1] == 2 && best[2] == 4 && best[3] == 5);
    assert_int_equal(study_best(s)->id, 5);
    must(s, (struct study_event){.type = STUDY_EV_TRIAL_DELETED, .trial = 5});
    assert_int_equal(study_best(s)->id, 1);
    assert_null(study_trial(s, 5));
    assert_int_equal(study_trial_after(s, 4)->id, 6);
    assert_int_equal(study_next_id(s), 7);
    assert_int_equal(study_serial(s), 6);
    const struct tune_trial *h = study_history(s, a, &n);
    assert_int_equal(n, 5);
    assert_true(h[4].state == TUNE_DONE && h[4].metrics[0] == 3 && h[4].setting[1] == 1);
    study_free(s);
}

static void test_facts_that_do_not_fit(void **state) {
    (void)state;
    struct study_spec spec = spec_of(1);
    struct study *s = study_new(&spec, 0);
    double y = 1, setting[] = {0.5, NAN};
    uint64_t id = new_trial(s, 0.5, 10);
    struct study_new_trial t = {.setting = setting, .state = STUDY_TRIAL_REQUESTED};
    must_not(s, (struct study_event){
                    .type = STUDY_EV_TRIALS_CREATED, .trial = 7, .trials = &t, .nr_trials = 1});
    must_not(s, (struct study_event){.type = STUDY_EV_TRIAL_STARTED, .trial = id});
    must_not(s, (struct study_event){.type = STUDY_EV_TRIAL_STOPPING, .trial = 9});
    must_not(s, (struct study_event){
                    .type = STUDY_EV_TRIAL_ENDED, .trial = id, .state = STUDY_TRIAL_SUCCEEDED});
    must_not(s, (struct study_event){.type = STUDY_EV_FINAL_REPLACED, .trial = id});
    end_with(s, id, &y, 3); /* the clock went back */
    assert_int_equal(study_trial(s, id)->end_time, 10);
    must_not(s, (struct study_event){
                    .type = STUDY_EV_TRIAL_ENDED, .trial = id, .state = STUDY_TRIAL_INFEASIBLE});
    must_not(s, (struct study_event){.type = STUDY_EV_TRIAL_STOPPING, .trial = id});
    struct study_report r = {0, 1, 1, 1, 0};
    must_not(s, (struct study_event){
                    .type = STUDY_EV_MEASURED, .trial = id, .reports = &r, .nr_reports = 1});
    assert_int_equal(study_counts(s).succeeded, 1);
    assert_int_equal(study_counts(s).total, 1);

    /* An inactive parameter survives the record. */
    must(s, (struct study_event){
                .type = STUDY_EV_TRIALS_CREATED, .trial = 2, .trials = &t, .nr_trials = 1});
    assert_true(isnan(study_trial(s, 2)->setting[1]));
    must(s,
         (struct study_event){.type = STUDY_EV_TRIAL_STARTED, .trial = 2, .time = 77, .job = "j"});
    assert_string_equal(study_trial(s, 2)->job, "j");
    assert_int_equal(study_trial(s, 2)->start_time, 77);

    /* So does that a trial is open; it is started with all its values, others are not. */
    const double some[] = {NAN, 2}, whole[] = {0.25, 2};
    struct study_new_trial open = {
        .setting = some, .state = STUDY_TRIAL_REQUESTED, .is_open = true};
    must(s, (struct study_event){
                .type = STUDY_EV_TRIALS_CREATED, .trial = 3, .trials = &open, .nr_trials = 1});
    assert_true(study_trial(s, 3)->is_open && !study_trial(s, 2)->is_open);
    must_not(s, (struct study_event){.type = STUDY_EV_TRIAL_STARTED, .trial = 3});
    must_not(s, (struct study_event){.type = STUDY_EV_TRIAL_STOPPING, .trial = 3});
    must(s, (struct study_event){.type = STUDY_EV_TRIAL_STARTED, .trial = 3, .setting = whole});
    assert_true(study_trial(s, 3)->setting[0] == 0.25 && !study_trial(s, 3)->is_open);
    open.state = STUDY_TRIAL_ACTIVE;
    must_not(s, (struct study_event){
                    .type = STUDY_EV_TRIALS_CREATED, .trial = 4, .trials = &open, .nr_trials = 1});
    open = t;
    must(s, (struct study_event){
                .type = STUDY_EV_TRIALS_CREATED, .trial = 4, .trials = &open, .nr_trials = 1});
    must_not(s, (struct study_event){.type = STUDY_EV_TRIAL_STARTED, .trial = 4, .setting = whole});
    must(s, (struct study_event){.type = STUDY_EV_STOPPED, .reason = "asked"});
    must_not(s, (struct study_event){.type = STUDY_EV_STOPPED});
    study_free(s);
}

static void test_bad_records(void **state) {
    (void)state;
    static const struct {
        uint32_t type;
        const char *body;
    } bad[] = {
        {STUDY_EV_TRIALS_CREATED, "trial=1\n"},
        {STUDY_EV_TRIALS_CREATED, "trial=1\nnew=ACTIVE 0 1\n"},
        {STUDY_EV_TRIALS_CREATED, "trial=1\nnew=ACTIVE 0 1 2 3\n"},
        {STUDY_EV_TRIALS_CREATED, "trial=1\nnew=SUCCEEDED 0 1 2\n"},
        {STUDY_EV_TRIALS_CREATED, "trial=1\nnew=ACTIVE 0 1 x\n"},
        {STUDY_EV_MEASURED, "trial=1\n"},
        {STUDY_EV_MEASURED, "trial=1\nr=1 0 0 0\n"},
        {STUDY_EV_MEASURED, "trial=1\nr=0 0 -1 0\n"},
        {STUDY_EV_MEASURED, "trial=1\nr=0 0 0\n"},
        {STUDY_EV_MEASURED, "trial=1\nr=0 0 0 1 x\n"},
        {STUDY_EV_MEASURED, "trial=1\nr=0 0 0 1 2 3\n"},
        {STUDY_EV_TRIAL_ENDED, "trial=1\nstate=ACTIVE\n"},
        {STUDY_EV_TRIAL_ENDED, "trial=1\n"},
        {STUDY_EV_TRIAL_STARTED, "trial=1\nsetting=x 1\n"},
        {STUDY_EV_TRIAL_STARTED, "trial=1\nsetting=x 1 2 3\n"},
        {STUDY_EV_TRIAL_STARTED, "trial=1\nsetting=1 2\n"},
        {STUDY_EV_LEARNED, "l=x 1 2 3\n"},
        {STUDY_EV_LEARNED, "from=a\nl=x 1 2\n"},
        {STUDY_EV_LEARNED, "from=a\nl=x 1 2 3 4\n"},
        {STUDY_EV_LEARNED, "from=a\nl=1 2 3\n"},
        {STUDY_EV_END, ""},
    };
    struct study_spec spec = spec_of(1);
    for (size_t i = 0; i < NR_OF(bad); i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        struct study_event ev;
        struct err err;
        struct store_event in = {.type = bad[i].type,
                                 .version = STUDY_EVENT_VERSION,
                                 .body = str_of(arena_printf(a, "cusp-rec 1\n%s", bad[i].body))};
        if (study_event_decode(a, &spec, &in, &ev, &err) == 0) {
            fail_msg("was read: %s", bad[i].body);
        }
        assert_int_equal(err.code, ERR_DATA_LOSS);
    }
}

static void test_lessons_come_first(void **state) {
    (void)state;
    static const double x[] = {NAN, -0.5}, y[] = {1e-300};
    const struct tune_trial t[] = {{TUNE_DONE, x, y}, {TUNE_DONE, x, y}};
    const struct study_event learned = {.type = STUDY_EV_LEARNED,
                                        .lesson = &(struct study_lesson){"a\nb", t, 2}};
    struct study_spec spec = spec_of(1);
    struct study *s = study_new(&spec, 0);
    uint64_t was = study_version(s);
    size_t nr;
    must(s, learned);
    const struct study_lesson *l = study_lessons(s, &nr);
    assert_int_equal(nr, 1);
    assert_string_equal(l->from, "a\nb");
    assert_int_equal(l->nr, 2);
    assert_true(isnan(l->trials[1].setting[0]) && l->trials[1].setting[1] == -0.5);
    assert_true(l->trials[1].metrics[0] == 1e-300);
    assert_true(study_version(s) != was);
    for (size_t i = 1; i < STUDY_LESSONS; i++) {
        must(s, learned);
    }
    must_not(s, learned); /* one too many */
    study_free(s);
    s = study_new(&spec, 0);
    new_trial(s, 0.5, 1);
    must_not(s, learned); /* too late */
    study_free(s);
}

static void curve(struct study *s, uint64_t id, double level, int steps) {
    for (int i = 1; i <= steps; i++) {
        report(s, id, 0, level + 1.0 / i, i, (usec_t)i * 1000000);
    }
}

static void test_stopping(void **state) {
    (void)state;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct study_measurement m;
    bool has;
    struct study_spec spec = spec_of(1);
    spec.stopping.rule = STUDY_STOP_MEDIAN;
    struct study *s = study_new(&spec, 0);
    for (int i = 0; i < 6; i++) {
        double y = 0.1 * i;
        uint64_t id = new_trial(s, 0.1, 1);
        curve(s, id, y, 10);
        end_with(s, id, &y, 20000000);
    }
    uint64_t good = new_trial(s, 0.2, 1), poor = new_trial(s, 0.3, 1), lost = new_trial(s, 0.4, 1);
    curve(s, good, 0, 5);
    curve(s, poor, 3, 5);
    assert_false(study_should_stop(s, study_trial(s, lost), a, &m, &has));
    report(s, lost, 0, NAN, 1, 5);
    assert_false(study_should_stop(s, study_trial(s, good), a, &m, &has));
    assert_true(study_should_stop(s, study_trial(s, poor), a, &m, &has));
    assert_true(study_should_stop(s, study_trial(s, lost), a, &m, &has));
    assert_false(has);
    study_free(s);

    spec.stopping.rule = STUDY_STOP_CONVEX;
    spec.stopping.convex = (struct convex_rule){.max_t = 20, .min_t = -1};
    s = study_new(&spec, 0);
    for (int i = 0; i < 8; i++) {
        double y = 0.1 * i;
        uint64_t id = new_trial(s, 0.1, 1);
        curve(s, id, y, 20);
        end_with(s, id, &y, 20000000);
    }
    poor = new_trial(s, 0.3, 1);
    curve(s, poor, 5, 12);
    assert_true(study_should_stop(s, study_trial(s, poor), a, &m, &has));
    assert_true(has);
    assert_int_equal(m.step, 20);
    assert_true(m.v[0].value > 4 && m.v[0].value < 5.2); /* in the metric's own direction */
    must(s, (struct study_event){.type = STUDY_EV_TRIAL_STOPPING, .trial = poor, .by_rule = true});
    struct study_measurement again;
    assert_true(study_predict(s, study_trial(s, poor), a, &again)); /* also when it is stopping */
    assert_int_equal(again.step, 20);
    assert_true(again.v[0].value == m.v[0].value);
    study_free(s);
}

/* Predictions of stopped trials follow what completed ones teach. */
static void test_predictions_made_anew(void **state) {
    (void)state;
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct study_spec spec = spec_of(1);
    spec.stopping.rule = STUDY_STOP_CONVEX;
    spec.stopping.convex = (struct convex_rule){.max_t = 20, .min_t = -1};
    spec.stopping.update_all = true;
    struct study *s = study_new(&spec, 0);
    struct study_measurement m;
    size_t n;
    for (int i = 0; i < 8; i++) {
        double y = 0.1 * i;
        uint64_t id = new_trial(s, 0.1, 1);
        curve(s, id, y, 20);
        end_with(s, id, &y, 20000000);
    }
    uint64_t poor = new_trial(s, 0.3, 1);
    curve(s, poor, 5, 12);
    must(s, (struct study_event){.type = STUDY_EV_TRIAL_STOPPING, .trial = poor, .by_rule = true});
    assert_true(study_predict(s, study_trial(s, poor), a, &m));
    struct study_event end = {.type = STUDY_EV_TRIAL_ENDED,
                              .trial = poor,
                              .state = STUDY_TRIAL_SUCCEEDED,
                              .has_final = true,
                              .is_predicted = true};
    end.reports = study_reports_of(s, &m, a, &end.nr_reports);
    must(s, end);
    (void)study_replaced_finals(s, a, &n);
    assert_int_equal(n, 0);       /* nothing was learnt since */
    for (int i = 0; i < 8; i++) { /* those with another slope */
        double y = 0.3 + 0.05 * i;
        uint64_t id = new_trial(s, 0.1, 1);
        curve(s, id, 3 * y, 19);
        end_with(s, id, &y, 20000000);
    }
    const struct study_event *ev = study_replaced_finals(s, a, &n);
    assert_int_equal(n, 1);
    assert_int_equal(ev->trial, poor);
    double before = study_trial(s, poor)->final.v[0].value;
    must(s, *ev);
    assert_true(study_trial(s, poor)->is_predicted);
    assert_true(study_trial(s, poor)->final.v[0].value != before);
    (void)study_replaced_finals(s, a, &n);
    assert_int_equal(n, 0);
    study_free(s);
}

/* All trials looked at. */
static uint64_t best_by_looking(const struct study *s) {
    const struct study_trial *t = NULL, *best = NULL;
    while ((t = study_trial_after(s, t ? t->id : 0))) {
        if (t->state == STUDY_TRIAL_SUCCEEDED && t->has_final && isfinite(t->final.v[0].value) &&
            (!best || t->final.v[0].value < best->final.v[0].value)) {
            best = t;
        }
    }
    return best ? best->id : 0;
}

/* The best is known without looking: whatever ended, was replaced, or went. */
static void test_the_standing(void **state) {
    (void)state;
    struct study_spec spec = spec_of(1);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct study *s = study_new(&spec, 0);
        uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15);
        for (int i = 0; i < 200; i++) {
            x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
            unsigned what = (unsigned)(x >> 60);
            uint64_t any = 1 + (x >> 33) % (study_next_id(s) - (i > 0));
            double y = (double)((x >> 40) % 16);
            const struct study_trial *t = study_trial(s, any);
            if (what < 10 || !t) {
                end_with(s, new_trial(s, 0.1, 1), &y, 2 + (usec_t)i);
            } else if (what < 14 && t->has_final) {
                struct study_report r = {.value = y, .step = 1};
                must(s, (struct study_event){.type = STUDY_EV_FINAL_REPLACED,
                                             .trial = any,
                                             .reports = &r,
                                             .nr_reports = 1});
            } else {
                must(s, (struct study_event){.type = STUDY_EV_TRIAL_DELETED, .trial = any});
            }
            const struct study_trial *best = study_best(s);
            assert_int_equal(best ? best->id : 0, best_by_looking(s));
        }
        study_free(s);
    }
}

static void test_over(void **state) {
    (void)state;
    struct study_spec spec = spec_of(1);
    spec.rules.max_trials_no_progress = 2;
    struct study *s = study_new(&spec, 100);
    static const double y[] = {3, 1, 2, 2};
    for (size_t i = 0; i < NR_OF(y); i++) {
        assert_null(study_over(s, 50)); /* before it began: the clock was set back */
        end_with(s, new_trial(s, 0.1, 1), &y[i], 2);
    }
    assert_string_equal(study_over(s, 200), "study_stopping_config.max_num_trials_no_progress");
    study_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reports_are_measurements),
        cmocka_unit_test(test_attempts_do_not_mix),
        cmocka_unit_test(test_what_is_not_finite),
        cmocka_unit_test(test_measurements_are_bounded),
        cmocka_unit_test(test_best_and_optimal),
        cmocka_unit_test(test_the_standing),
        cmocka_unit_test(test_predictions_made_anew),
        cmocka_unit_test(test_facts_that_do_not_fit),
        cmocka_unit_test(test_bad_records),
        cmocka_unit_test(test_lessons_come_first),
        cmocka_unit_test(test_stopping),
        cmocka_unit_test(test_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
