/* Unit tests of the stored forms: status records and events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "ctl/events.h"

static void test_status_comes_back_as_it_went(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf b = BUF_INIT(8192);
    struct job_status in = {.state = JOB_STATE_FAILED,
                            .create_time = 1,
                            .start_time = 2,
                            .end_time = 3,
                            .update_time = 4,
                            .error_code = 3,
                            .error_msg = "two\nlines \\ and more",
                            .attempt = 2,
                            .t_image = 9,
                            .pending_reason = "why"};
    struct job_status out;
    struct err err;
    job_status_encode(&b, &in);
    assert_int_equal(job_status_decode(a, buf_str(&b), &out, &err), 0);
    assert_int_equal(out.state, in.state);
    assert_int_equal(out.end_time, 3);
    assert_int_equal(out.t_image, 9);
    assert_int_equal(out.t_run, 0);
    assert_int_equal(out.attempt, 2);
    assert_int_equal(out.error_code, 3);
    assert_string_equal(out.error_msg, in.error_msg);
    assert_string_equal(out.pending_reason, "why");
}

static void test_status_with_an_unknown_state_is_refused(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct job_status out;
    struct err err;
    assert_int_equal(job_status_decode(a, STR("cusp-rec 1\nstate=JOB_STATE_ODD\n"), &out, &err),
                     -1);
    assert_int_equal(err.code, ERR_DATA_LOSS);
    assert_int_equal(job_status_decode(a, STR("cusp-rec 1\nstate=JOB_STATE_QUE"), &out, &err), -1);
}

static void test_every_state_and_type_has_a_name(void **state) {
    for (int s = 0; s <= JOB_STATE_PARTIALLY_SUCCEEDED; s++) {
        assert_memory_equal(job_state_name((enum job_state)s), "JOB_STATE_", 10);
    }
    for (uint32_t t = 1; t < EV_TYPE_NR; t++) {
        assert_string_not_equal(event_type_name(t), "UNKNOWN");
    }
    assert_string_equal(event_type_name(EV_TYPE_NR), "UNKNOWN");
}

static struct event through(struct arena *a, const struct event *in) {
    auto_buf struct buf b = BUF_INIT(1 << 20);
    struct event out;
    struct err err = {0};
    event_encode(&b, in);
    struct store_event row = {.seq = 7,
                              .type = in->type,
                              .version = EVENT_VERSION,
                              .time = 8,
                              .body = arena_str(a, buf_str(&b))};
    assert_int_equal(event_decode(a, &row, &out, &err), 0);
    assert_int_equal(out.type, in->type);
    assert_int_equal(out.seq, 7);
    assert_int_equal(out.time, 8);
    assert_int_equal(out.attempt, in->attempt);
    return out;
}

static void test_placements_keep_their_devices(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct placement p[2] = {
        {.node = "here", .cpu_milli = 500, .mem_bytes = 7, .devices = {3, 1}, .nr_devices = 2},
        {.node = "here", .cpu_milli = 250, .mem_bytes = 8, .clamped = true}};
    struct event out = through(
        a, &(struct event){.type = EV_ATTEMPT_PLACED, .attempt = 2, .places = p, .nr_places = 2});
    assert_int_equal(out.nr_places, 2);
    assert_memory_equal(out.places, p, sizeof(p));
}

static void test_exits_keep_everything_that_explains_them(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct exit_info x = {.kind = EXIT_OOM,
                          .value = 137,
                          .mem_limit_bytes = 5,
                          .mem_peak_bytes = 4,
                          .started_at = 1,
                          .ended_at = 2};
    snprintf(x.stderr_tail, sizeof(x.stderr_tail), "a\nb\\c\n");
    snprintf(x.why, sizeof(x.why), "because");
    struct event out =
        through(a, &(struct event){.type = EV_REPLICA_EXITED, .replica = 3, .exit = &x});
    assert_int_equal(out.replica, 3);
    assert_memory_equal(out.exit, &x, sizeof(x));
}

static void test_the_small_events_come_back(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct event out = through(
        a, &(struct event){.type = EV_LAUNCH_INTENT, .nonce = "00112233445566778899aabbccddeeff"});
    assert_string_equal(out.nonce, "00112233445566778899aabbccddeeff");
    out = through(a, &(struct event){
                         .type = EV_RETRY, .policy = 4, .not_before = 99, .code = 13, .msg = "m"});
    assert_int_equal(out.not_before, 99);
    assert_int_equal(out.policy, 4);
    out = through(
        a, &(struct event){
               .type = EV_JOB_DONE, .state = JOB_STATE_CANCELLED, .code = 1, .msg = "CANCELED"});
    assert_int_equal(out.state, JOB_STATE_CANCELLED);
    assert_string_equal(out.msg, "CANCELED");
    out = through(a, &(struct event){.type = EV_DEADLINE, .deadline = DEADLINE_WAIT});
    assert_int_equal(out.deadline, DEADLINE_WAIT);
    out = through(a, &(struct event){.type = EV_ATTEMPT_STEP, .step = STAGE_PACKAGES, .took = 5});
    assert_int_equal(out.step, STAGE_PACKAGES);
    assert_int_equal(out.took, 5);
}

static void test_what_staging_found_comes_back(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    const struct staged_input in[] = {{INPUT_IMAGE, "example.com/train:1", "sha256:aa"},
                                      {INPUT_PACKAGE, "gs://b/my trainer.tar.gz", "sha256:bb"}};
    struct event out = through(
        a, &(struct event){.type = EV_ATTEMPT_STAGED, .attempt = 3, .inputs = in, .nr_inputs = 2});
    assert_int_equal(out.nr_inputs, 2);
    assert_int_equal(out.inputs[0].kind, INPUT_IMAGE);
    assert_string_equal(out.inputs[0].uri, "example.com/train:1");
    assert_string_equal(out.inputs[0].digest, "sha256:aa");
    assert_int_equal(out.inputs[1].kind, INPUT_PACKAGE);
    assert_string_equal(out.inputs[1].uri, "gs://b/my trainer.tar.gz");
    assert_string_equal(out.inputs[1].digest, "sha256:bb");
    /* Logs of earlier versions say nothing. */
    assert_int_equal(through(a, &(struct event){.type = EV_ATTEMPT_STAGED}).nr_inputs, 0);
}

static void refuse(uint32_t type, uint32_t version, const char *body) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct store_event row = {.seq = 1, .type = type, .version = version, .body = str_of(body)};
    struct event out;
    struct err err = {0};
    assert_int_equal(event_decode(a, &row, &out, &err), -1);
    assert_int_equal(err.code, ERR_DATA_LOSS);
}

static void test_events_of_the_future_and_torn_events_are_refused(void **state) {
    refuse(EV_TYPE_NR, 1, "cusp-rec 1\n");
    refuse(EV_JOB_CREATED, 2, "cusp-rec 1\n");
    refuse(EV_REPLICA_EXITED, 1, "cusp-rec 1\nkind=odd\n");
    refuse(EV_LAUNCH_INTENT, 1, "cusp-rec 1\nnonce=short\n");
    refuse(EV_ATTEMPT_PLACED, 1, "cusp-rec 1\n");
    refuse(EV_ATTEMPT_PLACED, 1, "cusp-rec 1\nnode=n\ndevices=1,x\n");
    refuse(EV_JOB_DONE, 1, "cusp-rec 1\nstate=JOB_STATE_RUNNING\n");
    refuse(EV_JOB_CREATED, 1, "cusp-rec 1\natt");
    refuse(EV_ATTEMPT_STAGED, 1, "cusp-rec 1\nimage=example.com/train:1\n");
    refuse(EV_ATTEMPT_STAGED, 1, "cusp-rec 1\npackage=gs://b/x \n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_comes_back_as_it_went),
        cmocka_unit_test(test_status_with_an_unknown_state_is_refused),
        cmocka_unit_test(test_every_state_and_type_has_a_name),
        cmocka_unit_test(test_placements_keep_their_devices),
        cmocka_unit_test(test_exits_keep_everything_that_explains_them),
        cmocka_unit_test(test_the_small_events_come_back),
        cmocka_unit_test(test_what_staging_found_comes_back),
        cmocka_unit_test(test_events_of_the_future_and_torn_events_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
