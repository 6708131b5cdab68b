/* What the fake engine reports of tuning trials: what was scripted, before the exit, and again
 * after a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/vec.h"
#include "engine/engine.h"
#include "vclock.h"

#include <math.h>

struct seen {
    char tag[METRIC_TAG_MAX + 1];
    struct metric_report r;
};

struct stage {
    struct vclock clock;
    struct engine *engine;
    struct attempt_run run;
    struct replica_run replicas[2];
    struct pool_spec pool;
    struct job_spec spec;
    struct env_var labels[8];
    VEC_OF(struct seen) seen;
    unsigned nr_started, nr_exited;
    uint32_t reporter;
    bool staged, released;
};

static struct stage *stage_of(struct attempt_run *run) {
    return run->owner;
}

static void on_step(struct attempt_run *run, enum stage_step step, usec_t took) {}

static void on_staged(struct attempt_run *run) {
    stage_of(run)->staged = true;
}

static void on_started(struct attempt_run *run, uint32_t replica, const struct start_info *info) {
    stage_of(run)->nr_started++;
}

static void on_measured(struct attempt_run *run, uint32_t replica, const struct metric_report *r,
                        size_t n) {
    struct stage *s = stage_of(run);
    assert_int_equal(s->nr_exited, 0);
    s->reporter = replica;
    for (size_t i = 0; i < n; i++) {
        struct seen one = {.r = r[i]};
        snprintf(one.tag, sizeof(one.tag), "%s", r[i].tag);
        vec_push(&s->seen, one);
    }
}

static void on_exited(struct attempt_run *run, uint32_t replica, const struct exit_info *x) {
    stage_of(run)->nr_exited++;
}

static void on_released(struct attempt_run *run) {
    stage_of(run)->released = true;
}

static const struct engine_sink sink = {.step = on_step,
                                        .staged = on_staged,
                                        .replica_started = on_started,
                                        .measured = on_measured,
                                        .replica_exited = on_exited,
                                        .released = on_released};

static const char *no_args[] = {NULL};

static int up(void **state) {
    struct stage *s = xcalloc(1, sizeof(*s));
    vclock_init(&s->clock);
    s->engine = engine_fake_new(&(struct engine_fake_opts){&s->clock.base, 4000, 1u << 30});
    s->pool = (struct pool_spec){.replica_count = 1, .args = no_args};
    s->spec = (struct job_spec){
        .id = "1", .pools = &s->pool, .nr_pools = 1, .labels = s->labels, .trial_id = "3"};
    s->run = (struct attempt_run){.spec = &s->spec,
                                  .attempt = 1,
                                  .replicas = s->replicas,
                                  .nr_replicas = 1,
                                  .sink = &sink,
                                  .owner = s};
    *state = s;
    return 0;
}

static int down(void **state) {
    struct stage *s = *state;
    s->engine->ops->close(s->engine);
    vec_fini(&s->seen);
    vclock_fini(&s->clock);
    free(s);
    return 0;
}

static void label(struct stage *s, const char *key, const char *value) {
    s->labels[s->spec.nr_labels++] = (struct env_var){key, value};
}

static void launch(struct stage *s) {
    struct err err;
    assert_int_equal(s->engine->ops->stage(s->engine, &s->run, &err), 0);
    while (!s->staged) {
        assert_true(vclock_fire_next(&s->clock));
    }
    assert_int_equal(s->engine->ops->launch(s->engine, &s->run, &err), 0);
    while (!s->nr_started) {
        assert_true(vclock_fire_next(&s->clock));
    }
}

static void finish(struct stage *s) {
    while (s->nr_exited < s->run.nr_replicas) {
        assert_true(vclock_fire_next(&s->clock));
    }
    s->engine->ops->release(s->engine, &s->run);
    while (!s->released) {
        assert_true(vclock_fire_next(&s->clock));
    }
}

static void test_steps_come_down_to_the_sum_over_the_arguments(void **state) {
    struct stage *s = *state;
    const char *args[] = {"train", "--lr=0.25", "--units=3", "--opt=adam", "--verbose", NULL};
    s->pool.args = args;
    label(s, "cusp-test-metric", "loss");
    label(s, "cusp-test-metric-steps", "4");
    launch(s);
    finish(s);
    double last = 0.0625 + 6.25 + 0.01; /* "adam" counts as 0.4 */
    assert_int_equal(s->seen.n, 4);
    for (size_t i = 0; i < 4; i++) {
        const struct seen *m = &s->seen.p[i];
        assert_string_equal(m->tag, "loss");
        assert_int_equal(m->r.step, i + 1);
        assert_true(fabs(m->r.value - (last + (3 - (double)i) / 4)) < 1e-9);
        assert_true(i == 0 || m->r.timestamp > m[-1].r.timestamp);
    }
}

static void test_what_is_no_trial_reports_nothing(void **state) {
    struct stage *s = *state;
    s->spec.trial_id = NULL;
    label(s, "cusp-test-metric", "loss");
    launch(s);
    finish(s);
    assert_int_equal(s->seen.n, 0);
}

static void finish_as(struct stage *s, const char *as, const char *trials) {
    label(s, "cusp-test-metric", "loss");
    label(s, "cusp-test-metric-as", as);
    if (trials) {
        label(s, "cusp-test-trials", trials);
    }
    launch(s);
    finish(s);
}

static void test_a_trial_may_report_nothing(void **state) {
    struct stage *s = *state;
    finish_as(s, "nothing", NULL);
    assert_int_equal(s->seen.n, 0);
}

static void test_a_trial_may_report_nan(void **state) {
    struct stage *s = *state;
    finish_as(s, "nan", "1_3");
    assert_int_equal(s->seen.n, 3);
    assert_true(isnan(s->seen.p[2].r.value));
}

static void test_a_trial_may_report_infinity(void **state) {
    struct stage *s = *state;
    finish_as(s, "inf", NULL);
    assert_true(isinf(s->seen.p[0].r.value));
}

static void test_a_trial_may_report_another_name(void **state) {
    struct stage *s = *state;
    finish_as(s, "other", NULL);
    assert_string_equal(s->seen.p[0].tag, "loss-other");
}

static void test_mischief_may_be_meant_for_other_trials(void **state) {
    struct stage *s = *state;
    finish_as(s, "other", "13_4");
    assert_string_equal(s->seen.p[0].tag, "loss");
}

static void test_the_acting_replica_reports(void **state) {
    struct stage *s = *state;
    s->pool.replica_count = s->run.nr_replicas = 2;
    label(s, "cusp-test-metric", "loss");
    label(s, "cusp-test-replica", "1");
    launch(s);
    while (s->seen.n < 1) {
        assert_true(vclock_fire_next(&s->clock));
    }
    assert_int_equal(s->reporter, 1);
    s->nr_exited = 0;
    s->engine->ops->release(s->engine, &s->run);
    while (!s->released) {
        assert_true(vclock_fire_next(&s->clock));
    }
}

/* The second engine knows nothing of what the first one passed on: everything comes again, with the
 * same times. */
static void test_after_a_restart_reports_come_again(void **state) {
    struct stage *s = *state;
    struct err err;
    label(s, "cusp-test-metric", "loss");
    label(s, "cusp-test-run-ms", "1000");
    launch(s);
    while (s->seen.n < 2) {
        assert_true(vclock_fire_next(&s->clock));
    }
    usec_t first = s->seen.p[0].r.timestamp;
    s->engine = engine_fake_survivor(s->engine);
    s->run.priv = NULL;
    s->seen.n = 0;
    vclock_advance(&s->clock, 400 * USEC_PER_MSEC); /* the third comes while nobody looks */
    assert_int_equal(s->engine->ops->reattach(s->engine, &s->run, &err), 0);
    finish(s);
    assert_int_equal(s->seen.n, 3);
    assert_int_equal(s->seen.p[0].r.timestamp, first);
    assert_int_equal(s->seen.p[2].r.step, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_steps_come_down_to_the_sum_over_the_arguments, up,
                                        down),
        cmocka_unit_test_setup_teardown(test_what_is_no_trial_reports_nothing, up, down),
        cmocka_unit_test_setup_teardown(test_a_trial_may_report_nothing, up, down),
        cmocka_unit_test_setup_teardown(test_a_trial_may_report_nan, up, down),
        cmocka_unit_test_setup_teardown(test_a_trial_may_report_infinity, up, down),
        cmocka_unit_test_setup_teardown(test_a_trial_may_report_another_name, up, down),
        cmocka_unit_test_setup_teardown(test_mischief_may_be_meant_for_other_trials, up, down),
        cmocka_unit_test_setup_teardown(test_the_acting_replica_reports, up, down),
        cmocka_unit_test_setup_teardown(test_after_a_restart_reports_come_again, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
