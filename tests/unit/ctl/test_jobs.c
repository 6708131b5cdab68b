/* Stories of single jobs in a simulated world: what users see of failures, stops and restarts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "world.h"

#define ENOUGH 20000

static int boot(void **state) {
    struct world *w = xcalloc(1, sizeof(*w));
    world_init(w, 1, 4000);
    w->keep_log = true;
    world_boot(w);
    world_settle(w, ENOUGH);
    *state = w;
    return 0;
}

static int down(void **state) {
    world_fini(*state);
    free(*state);
    return 0;
}

static void reboot(struct world *w, int keep_pending) {
    world_crash(w, keep_pending);
    world_boot(w);
}

/* Steps until the job's stored state is this one. */
static void until(struct world *w, size_t job, enum job_state s) {
    for (int i = 0; world_state(w, job) != s; i++) {
        assert_true(i < ENOUGH && world_step(w));
    }
}

static void until_phase(struct world *w, size_t job, enum phase p) {
    for (int i = 0;; i++) {
        struct job *j = ctl_find(w->ctl, str_of(w->jobs.p[job].name));
        if (j && job_is_born(j) && j->attempt->sm.state == p) {
            return;
        }
        if (i == ENOUGH || !world_step(w)) {
            fail_msg("phase %d was never seen", (int)p);
        }
    }
}

static struct job_status finish(struct world *w, size_t job, struct arena *a) {
    struct job_status s;
    assert_true(world_settle(w, ENOUGH) < ENOUGH);
    const char *wrong = world_final(w);
    if (wrong) {
        fail_msg("%s", wrong);
    }
    world_status(w, job, a, &s);
    return s;
}

static struct job_status run(struct world *w, const struct wish *wish, struct arena *a) {
    return finish(w, world_create(w, wish), a);
}

static void test_a_job_goes_from_create_to_succeeded(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct world *w = *state;
    struct job_status s = run(w, &(struct wish){0}, a);
    assert_int_equal(s.state, JOB_STATE_SUCCEEDED);
    assert_true(s.create_time <= s.start_time && s.start_time < s.end_time);
    assert_true(s.t_queued && s.t_start && s.t_run && s.t_collect);
    static const char *const lines[] = {"Waiting for job to be provisioned.",
                                        "Vertex AI is provisioning",
                                        "Vertex AI is setting up",
                                        "Waiting for training program to start.",
                                        "Job is preparing.",
                                        "Job is running.",
                                        "Task completed. Exit code (0)",
                                        "Tearing down training program.",
                                        "Finished tearing down training program.",
                                        "Job completed successfully.",
                                        "(end)"};
    const char *at = buf_cstr(&w->log);
    for (size_t i = 0; i < NR_OF(lines); i++) {
        at = strstr(at, lines[i]);
        assert_non_null(at);
    }
}

static void test_a_failing_exit_is_explained_and_logged(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct world *w = *state;
    struct wish wish = {0};
    wish_label(&wish, "cusp-test-exit", 1);
    struct job_status s = run(w, &wish, a);
    assert_int_equal(s.state, JOB_STATE_FAILED);
    assert_int_equal(s.error_code, ERR_INVALID_ARGUMENT);
    assert_int_equal(s.attempt, 1);
    assert_true(str_starts(str_of(s.error_msg),
                           STR("The replica workerpool0-0 exited with a non-zero status of 1. "
                               "Termination reason: Error. \nTraceback")));
    assert_non_null(strstr(s.error_msg, "\n\nTo find out more about why your job exited"));
    assert_non_null(strstr(buf_cstr(&w->log), " 500 The replica workerpool0-0 exited"));
}

static void test_an_abort_is_tried_four_times_in_all(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct wish wish = {0};
    wish_label(&wish, "cusp-test-exit", 134);
    struct job_status s = run(*state, &wish, a);
    assert_int_equal(s.state, JOB_STATE_FAILED);
    assert_int_equal(s.attempt, 1 + RETRY_MAX_CRASH);
}

static void test_a_retry_that_works_succeeds(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct wish wish = {0};
    wish_label(&wish, "cusp-test-lose", 1);
    wish_label(&wish, "cusp-test-until-attempt", 2);
    struct job_status s = run(*state, &wish, a);
    assert_int_equal(s.state, JOB_STATE_SUCCEEDED);
    assert_int_equal(s.attempt, 3);
}

static void test_disable_retries_means_one_attempt(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct wish wish = {.disable_retries = true};
    wish_label(&wish, "cusp-test-lose", 1);
    struct job_status s = run(*state, &wish, a);
    assert_int_equal(s.state, JOB_STATE_FAILED);
    assert_int_equal(s.error_code, ERR_INTERNAL);
    assert_int_equal(s.attempt, 1);
}

static void test_an_image_that_does_not_exist_fails_without_running(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct wish wish = {0};
    wish_label_text(&wish, "cusp-test-fail", "stage");
    struct job_status s = run(*state, &wish, a);
    assert_int_equal(s.state, JOB_STATE_FAILED);
    assert_int_equal(s.error_code, ERR_NOT_FOUND);
    assert_int_equal(s.start_time, 0);
    assert_true(str_starts(str_of(s.error_msg), STR("image \"fake\" was told to fail")));
}

static void test_timeout_stops_the_job_and_names_the_limit(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct wish wish = {.timeout = 2 * USEC_PER_SEC};
    wish_label(&wish, "cusp-test-run-ms", 3600 * 1000);
    struct job_status s = run(*state, &wish, a);
    assert_int_equal(s.state, JOB_STATE_FAILED);
    assert_int_equal(s.error_code, ERR_DEADLINE_EXCEEDED);
    assert_non_null(strstr(s.error_msg, "timeout of 2s"));
}

static void test_cancel_asks_then_kills_after_the_grace_time(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct world *w = *state;
    struct wish wish = {0};
    wish_label(&wish, "cusp-test-run-ms", 3600 * 1000);
    wish_label(&wish, "cusp-test-ignore-term", 1);
    size_t j = world_create(w, &wish);
    until(w, j, JOB_STATE_RUNNING);
    usec_t asked = w->clock.now;
    world_cancel(w, j);
    until(w, j, JOB_STATE_CANCELLING);
    struct job_status s = finish(w, j, a);
    assert_int_equal(s.state, JOB_STATE_CANCELLED);
    assert_int_equal(s.error_code, ERR_CANCELLED);
    assert_string_equal(s.error_msg, "CANCELED");
    assert_true(w->clock.now - asked >= 30 * (usec_t)USEC_PER_SEC);
}

static void test_cancelling_a_finished_job_changes_nothing(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct world *w = *state;
    struct job_status s = run(w, &(struct wish){0}, a);
    world_cancel(w, 0);
    world_settle(w, ENOUGH);
    assert_true(w->answered && !w->last_err.code);
    assert_int_equal(finish(w, 0, a).end_time, s.end_time);
}

static void test_a_live_job_cannot_be_deleted_a_finished_one_can_once(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct world *w = *state;
    struct wish wish = {0};
    wish_label(&wish, "cusp-test-run-ms", 1000);
    size_t j = world_create(w, &wish);
    until(w, j, JOB_STATE_RUNNING);
    world_delete(w, j);
    for (int i = 0; !w->answered && i < ENOUGH; i++) {
        world_step(w);
    }
    assert_int_equal(w->last_err.code, ERR_FAILED_PRECONDITION);
    finish(w, j, a);
    world_delete(w, j);
    world_settle(w, ENOUGH);
    assert_int_equal(w->last_err.code, 0);
    assert_null(world_row(w, j));
    world_delete(w, j);
    world_settle(w, ENOUGH);
    assert_int_equal(w->last_err.code, ERR_NOT_FOUND);
}

static void test_a_second_job_waits_and_says_for_what(void **state) {
    struct world *w = *state;
    auto_buf struct buf why = BUF_INIT(1024);
    unsigned position = 0;
    struct wish wish = {.cpu_milli = 3000};
    wish_label(&wish, "cusp-test-run-ms", 60000);
    size_t first = world_create(w, &wish);
    until(w, first, JOB_STATE_RUNNING);
    size_t second = world_create(w, &wish), third = world_create(w, &wish);
    until(w, third, JOB_STATE_QUEUED);
    assert_int_equal(world_state(w, second), JOB_STATE_QUEUED);
    assert_true(ctl_job_explain(w->ctl, str_of(w->jobs.p[third].name), &why, &position));
    assert_string_equal(buf_cstr(&why), "needs 3 vCPU, 1 of 4 are free; behind 1 job");
    assert_int_equal(position, 2);
}

static void test_the_next_job_is_staged_while_it_waits(void **state) {
    struct world *w = *state;
    struct wish wish = {.cpu_milli = 4000};
    wish_label(&wish, "cusp-test-run-ms", 5000);
    wish_label(&wish, "cusp-test-stage-ms", 1000);
    size_t first = world_create(w, &wish), second = world_create(w, &wish);
    until(w, first, JOB_STATE_SUCCEEDED);
    usec_t at = w->clock.now;
    until(w, second, JOB_STATE_RUNNING);
    assert_true(w->clock.now - at < 100 * USEC_PER_MSEC);
}

static void test_hold_starts_nothing_but_accepts(void **state) {
    struct world *w = *state;
    w->cfg.hold = true;
    reboot(w, 1);
    world_settle(w, ENOUGH);
    size_t j = world_create(w, &(struct wish){0});
    world_settle(w, ENOUGH);
    assert_true(w->jobs.p[j].created);
    assert_int_equal(world_state(w, j), JOB_STATE_QUEUED);
}

static void test_a_full_disk_refuses_the_create_and_nothing_is_left(void **state) {
    struct world *w = *state;
    w->disk_full = true;
    size_t j = world_create(w, &(struct wish){0});
    world_settle(w, ENOUGH);
    assert_int_equal(w->last_err.code, ERR_RESOURCE_EXHAUSTED);
    assert_null(world_row(w, j));
    assert_int_equal(w->ctl->nr_jobs, 0);
    assert_int_equal(w->fatals, 0);
}

static void test_a_full_disk_delays_the_outcome_until_there_is_room(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct world *w = *state;
    struct wish wish = {0};
    wish_label(&wish, "cusp-test-run-ms", 500);
    size_t j = world_create(w, &wish);
    until(w, j, JOB_STATE_RUNNING);
    w->disk_full = true;
    usec_t from = w->clock.now;
    while (w->clock.now - from < 60 * (usec_t)USEC_PER_SEC) {
        assert_true(world_step(w));
    }
    assert_int_equal(world_state(w, j), JOB_STATE_RUNNING);
    w->disk_full = false;
    assert_int_equal(finish(w, j, a).state, JOB_STATE_SUCCEEDED);
    assert_int_equal(w->fatals, 0);
}

static void test_a_broken_store_stops_the_server_once(void **state) {
    struct world *w = *state;
    w->broken_disk = true;
    world_create(w, &(struct wish){0});
    world_settle(w, ENOUGH);
    assert_int_equal(w->fatals, 1);
    world_create(w, &(struct wish){0});
    world_settle(w, ENOUGH);
    assert_int_equal(w->last_err.code, ERR_UNAVAILABLE);
}

/* The server dies in every phase; pending commits are lost or kept. */
static void test_a_crash_in_any_phase_leads_to_one_outcome(void **state) {
    /* WAITING and STAGING pass within one step here: the host is free, the fake stages at once. */
    static const enum phase phases[] = {PHASE_PLACED,   PHASE_STARTING,   PHASE_RUNNING,
                                        PHASE_STOPPING, PHASE_COLLECTING, PHASE_DONE};
    for (size_t i = 0; i < NR_OF(phases); i++) {
        for (int keep = 0; keep < 2; keep++) {
            auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
            struct world w;
            struct wish wish = {.workers = 1};
            world_init(&w, i, 4000);
            world_boot(&w);
            world_settle(&w, ENOUGH);
            wish_label(&wish, "cusp-test-run-ms", 1000);
            wish_label(&wish, "cusp-test-stage-ms", 10);
            size_t j = world_create(&w, &wish);
            until_phase(&w, j, phases[i]);
            reboot(&w, keep);
            struct job_status s = finish(&w, j, a);
            assert_int_equal(s.state, JOB_STATE_SUCCEEDED);
            /* Half a gang that was launched is not completed but begun again. */
            assert_true(s.attempt == 1 || (phases[i] == PHASE_STARTING && s.attempt == 2));
            world_fini(&w);
        }
    }
}

static void test_a_job_that_ended_while_the_server_was_down_succeeded(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct world *w = *state;
    struct engine_fake_census n;
    struct wish wish = {0};
    wish_label(&wish, "cusp-test-run-ms", 1000);
    size_t j = world_create(w, &wish);
    until(w, j, JOB_STATE_RUNNING);
    world_crash(w, 1);
    vclock_advance(&w->clock, 10 * (usec_t)USEC_PER_SEC);
    engine_fake_count(w->engine, &n);
    assert_int_equal(n.nr_alive, 0);
    world_boot(w);
    struct job_status s = finish(w, j, a);
    assert_int_equal(s.state, JOB_STATE_SUCCEEDED);
    engine_fake_count(w->engine, &n);
    assert_int_equal(n.nr_launched, 1);
}

static void test_a_record_that_cannot_be_read_is_set_aside_and_can_be_deleted(void **state) {
    struct world *w = *state;
    struct wish wish = {0};
    wish_label(&wish, "cusp-test-run-ms", 60000);
    size_t j = world_create(w, &wish);
    until(w, j, JOB_STATE_RUNNING);
    w->cfg.decode_spec = world_decode_nothing;
    reboot(w, 1);
    world_settle(w, ENOUGH);
    assert_true(w->is_up);
    assert_true(ctl_attempt_is_live(w->ctl, w->jobs.p[j].id, 1)); /* what it has is not swept */
    world_cancel(w, j);
    world_settle(w, ENOUGH);
    assert_int_equal(w->last_err.code, ERR_FAILED_PRECONDITION);
    world_delete(w, j);
    world_settle(w, ENOUGH);
    assert_int_equal(w->last_err.code, 0);
    assert_false(ctl_attempt_is_live(w->ctl, w->jobs.p[j].id, 1));
}

static void on_stopped(void *arg) {
    *(bool *)arg = true;
}

static void test_stop_saves_what_is_pending_and_leaves_the_job_running(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct world *w = *state;
    struct engine_fake_census n;
    bool stopped = false;
    struct wish wish = {0};
    wish_label(&wish, "cusp-test-run-ms", 60000);
    size_t j = world_create(w, &wish);
    until(w, j, JOB_STATE_RUNNING);
    ctl_stop(w->ctl, on_stopped, &stopped);
    assert_false(stopped);
    for (int i = 0; !stopped && i < ENOUGH; i++) {
        world_step(w);
    }
    assert_true(stopped);
    engine_fake_count(w->engine, &n);
    assert_int_equal(n.nr_alive, 1);
    reboot(w, 0);
    assert_int_equal(finish(w, j, a).state, JOB_STATE_SUCCEEDED);
}

#define STORY(f) cmocka_unit_test_setup_teardown(f, boot, down)

int main(void) {
    const struct CMUnitTest tests[] = {
        STORY(test_a_job_goes_from_create_to_succeeded),
        STORY(test_a_failing_exit_is_explained_and_logged),
        STORY(test_an_abort_is_tried_four_times_in_all),
        STORY(test_a_retry_that_works_succeeds),
        STORY(test_disable_retries_means_one_attempt),
        STORY(test_an_image_that_does_not_exist_fails_without_running),
        STORY(test_timeout_stops_the_job_and_names_the_limit),
        STORY(test_cancel_asks_then_kills_after_the_grace_time),
        STORY(test_cancelling_a_finished_job_changes_nothing),
        STORY(test_a_live_job_cannot_be_deleted_a_finished_one_can_once),
        STORY(test_a_second_job_waits_and_says_for_what),
        STORY(test_the_next_job_is_staged_while_it_waits),
        STORY(test_hold_starts_nothing_but_accepts),
        STORY(test_a_full_disk_refuses_the_create_and_nothing_is_left),
        STORY(test_a_full_disk_delays_the_outcome_until_there_is_room),
        STORY(test_a_broken_store_stops_the_server_once),
        cmocka_unit_test(test_a_crash_in_any_phase_leads_to_one_outcome),
        STORY(test_a_job_that_ended_while_the_server_was_down_succeeded),
        STORY(test_a_record_that_cannot_be_read_is_set_aside_and_can_be_deleted),
        STORY(test_stop_saves_what_is_pending_and_leaves_the_job_running),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
