/* Unit tests of what is known of a pipeline: which facts fit which phase, what they lead to, and
 * that a status is what its events make of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/rng.h"
#include "ctl/pipeline_int.h"

#define CHILD "projects/1/locations/l/customJobs/7"
#define MODEL "projects/1/locations/l/models/9"

static const struct pipeline_spec whole = {.has_input = true, .has_upload = true};
static const struct pipeline_spec bare = {0};

static struct pipeline_event event_of(enum pipeline_event_type type, usec_t time) {
    struct pipeline_event ev = {.type = type, .time = time};
    ev.child = CHILD;
    ev.started_at = time - 1;
    ev.child_state = JOB_STATE_SUCCEEDED;
    ev.state = PIPELINE_STATE_SUCCEEDED;
    ev.data = (struct pipeline_data){.format = "csv",
                                     .dataset = "projects/1/locations/l/datasets/3",
                                     .uri = {"gs://b/training-*.csv", "v", "t"},
                                     .items = {80, 10, 10}};
    if (type == PIPELINE_EV_DONE) {
        ev.model = (struct pipeline_model){.name = MODEL, .version = "1", .aliases = "default"};
    }
    return ev;
}

static void apply(struct pipeline_status *s, const struct pipeline_spec *spec,
                  enum pipeline_event_type type, usec_t time) {
    struct pipeline_event ev = event_of(type, time);
    struct err err;
    assert_int_equal(pipeline_apply(s, spec, &ev, &err), 0);
}

/* Up to a phase, by the way that has everything in it. */
static struct pipeline_status in_phase(enum pipeline_phase phase) {
    static const enum pipeline_event_type way[] = {PIPELINE_EV_CREATED, PIPELINE_EV_EXPORTED,
                                                   PIPELINE_EV_CHILD_CREATED,
                                                   PIPELINE_EV_CHILD_DONE, PIPELINE_EV_DONE};
    struct pipeline_status s = {0};
    for (size_t i = 0; s.phase != phase; i++) {
        assert_true(i < NR_OF(way));
        apply(&s, &whole, way[i], 10 * (i + 1));
    }
    return s;
}

static void test_a_life_with_everything(void **state) {
    struct pipeline_status s = {0};
    apply(&s, &whole, PIPELINE_EV_CREATED, 10);
    assert_int_equal(s.phase, PIPELINE_EXPORTING);
    assert_int_equal(s.state, PIPELINE_STATE_PENDING);
    apply(&s, &whole, PIPELINE_EV_EXPORTED, 20);
    assert_int_equal(s.export_end, 20);
    apply(&s, &whole, PIPELINE_EV_CHILD_CREATED, 30);
    assert_string_equal(s.child, CHILD);
    assert_int_equal(s.state, PIPELINE_STATE_PENDING);
    apply(&s, &whole, PIPELINE_EV_CHILD_RUNNING, 40);
    assert_int_equal(s.state, PIPELINE_STATE_RUNNING);
    assert_int_equal(s.start_time, 39);
    apply(&s, &whole, PIPELINE_EV_CHILD_DONE, 50);
    assert_int_equal(s.phase, PIPELINE_UPLOADING);
    assert_int_equal(s.state, PIPELINE_STATE_RUNNING); /* the upload is part of it */
    assert_int_equal(s.start_time, 39);
    assert_int_equal(s.end_time, 0);
    apply(&s, &whole, PIPELINE_EV_DONE, 60);
    assert_int_equal(s.state, PIPELINE_STATE_SUCCEEDED);
    assert_int_equal(s.end_time, 60);
    assert_int_equal(s.child_end, 50);
    assert_string_equal(s.model.name, MODEL);
}

static void test_a_life_with_nothing_but_a_job(void **state) {
    struct pipeline_status s = {0};
    apply(&s, &bare, PIPELINE_EV_CREATED, 10);
    assert_int_equal(s.phase, PIPELINE_CHILD_DUE);
    apply(&s, &bare, PIPELINE_EV_CHILD_CREATED, 20);
    apply(&s, &bare, PIPELINE_EV_CHILD_DONE, 30); /* it ran between two looks */
    assert_int_equal(s.state, PIPELINE_STATE_SUCCEEDED);
    assert_int_equal(s.start_time, 29);
    assert_null(s.model.name);
}

static void test_the_job_s_end_is_the_pipeline_s(void **state) {
    static const struct {
        enum job_state child;
        int code;
        bool cancelled;
        enum pipeline_state state;
        int want;
    } ends[] = {
        {JOB_STATE_FAILED, 3, false, PIPELINE_STATE_FAILED, 3},
        {JOB_STATE_FAILED, 0, false, PIPELINE_STATE_FAILED, ERR_INTERNAL},
        {JOB_STATE_CANCELLED, 1, false, PIPELINE_STATE_CANCELLED, 1},
        {JOB_STATE_EXPIRED, 4, true, PIPELINE_STATE_FAILED, 4},
        /* Granted although the job made it: the user was told so, and gets no model. */
        {JOB_STATE_SUCCEEDED, 0, true, PIPELINE_STATE_CANCELLED, 1},
    };
    for (size_t i = 0; i < NR_OF(ends); i++) {
        struct pipeline_status s = in_phase(PIPELINE_FOLLOWING);
        struct err err;
        if (ends[i].cancelled) {
            apply(&s, &whole, PIPELINE_EV_CANCEL_REQUESTED, 45);
            assert_int_equal(s.state, PIPELINE_STATE_CANCELLING);
        }
        struct pipeline_event ev = event_of(PIPELINE_EV_CHILD_DONE, 50);
        ev.child_state = ends[i].child;
        ev.code = ends[i].code;
        ev.msg = "why";
        assert_int_equal(pipeline_apply(&s, &whole, &ev, &err), 0);
        assert_int_equal(s.phase, PIPELINE_DONE);
        assert_int_equal(s.state, ends[i].state);
        assert_int_equal(s.error_code, ends[i].want);
    }
}

static void test_what_does_not_fit_changes_nothing(void **state) {
    static const unsigned fitting[] = {
        /* bits: 1 << (type - CREATED) */
        [PIPELINE_NEW] = 1u << 0,
        [PIPELINE_EXPORTING] = 1u << 1 | 1u << 5,
        [PIPELINE_CHILD_DUE] = 1u << 2 | 1u << 5,
        [PIPELINE_FOLLOWING] = 1u << 3 | 1u << 4 | 1u << 5,
        [PIPELINE_UPLOADING] = 1u << 5 | 1u << 6,
        [PIPELINE_DONE] = 0,
    };
    for (enum pipeline_phase p = PIPELINE_NEW; p <= PIPELINE_DONE; p++) {
        for (uint32_t t = PIPELINE_EV_CREATED; t < PIPELINE_EV_END; t++) {
            struct pipeline_status s = in_phase(p), before = s;
            struct pipeline_event ev = event_of((enum pipeline_event_type)t, 100);
            struct err err = {0};
            int rc = pipeline_apply(&s, &whole, &ev, &err);
            assert_int_equal(rc == 0, (fitting[p] >> (t - PIPELINE_EV_CREATED)) & 1);
            if (rc) {
                assert_int_equal(err.code, ERR_DATA_LOSS);
                assert_memory_equal(&s, &before, sizeof(s));
            }
        }
    }
}

static struct pipeline_event through(struct arena *a, const struct pipeline_event *in) {
    auto_buf struct buf b = BUF_INIT(1 << 20);
    struct pipeline_event out;
    struct err err;
    pipeline_event_encode(&b, in);
    struct store_event row = {.seq = in->seq,
                              .type = in->type,
                              .version = PIPELINE_EVENT_VERSION,
                              .time = in->time,
                              .body = arena_str(a, buf_str(&b))};
    assert_int_equal(pipeline_event_decode(a, &row, &out, &err), 0);
    return out;
}

static void assert_same_record(const struct pipeline_status *x, const struct pipeline_status *y) {
    auto_buf struct buf a = BUF_INIT(1 << 20), b = BUF_INIT(1 << 20);
    pipeline_status_encode(&a, x);
    pipeline_status_encode(&b, y);
    assert_string_equal(buf_cstr(&a), buf_cstr(&b));
}

/* Random lives, each event through its stored form, the status through its own: pipeline_apply
 * checks the invariant after every one. */
static void test_a_status_is_what_its_events_make_of_it(void **state) {
    struct rng rng;
    rng_seed(&rng, 5);
    unsigned ended = 0, refused = 0;
    for (unsigned life = 0; life < 2000; life++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        struct pipeline_spec spec = {.has_input = rng_below(&rng, 2),
                                     .has_upload = rng_below(&rng, 2)};
        struct pipeline_status s = {0}, again;
        struct err err;
        for (uint64_t k = 1; k < 30 && s.phase != PIPELINE_DONE; k++) {
            uint32_t type = PIPELINE_EV_CREATED + (uint32_t)rng_below(&rng, 7);
            struct pipeline_event ev = event_of((enum pipeline_event_type)type, 100 * k);
            ev.seq = k;
            if (rng_below(&rng, 3) == 0) {
                ev.child_state = JOB_STATE_FAILED;
                ev.state = PIPELINE_STATE_FAILED;
                ev.code = ERR_NOT_FOUND;
                ev.msg = "two\nlines";
                ev.model = (struct pipeline_model){0};
            }
            if (type == PIPELINE_EV_DONE && !spec.has_upload &&
                ev.state == PIPELINE_STATE_SUCCEEDED) {
                continue; /* the job's own end says that */
            }
            ev = through(a, &ev);
            refused += pipeline_apply(&s, &spec, &ev, &err) != 0;
        }
        if (s.phase == PIPELINE_NEW) {
            continue;
        }
        auto_buf struct buf b = BUF_INIT(1 << 20);
        pipeline_status_encode(&b, &s);
        assert_int_equal(pipeline_status_decode(a, buf_str(&b), &again, &err), 0);
        assert_same_record(&s, &again);
        ended += s.phase == PIPELINE_DONE;
    }
    assert_true(ended > 500 && refused > 500);
}

static void refuse(uint32_t type, uint32_t version, const char *body) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct store_event row = {.seq = 1, .type = type, .version = version, .body = str_of(body)};
    struct pipeline_event out;
    struct err err = {0};
    assert_int_equal(pipeline_event_decode(a, &row, &out, &err), -1);
    assert_int_equal(err.code, ERR_DATA_LOSS);
}

static void test_torn_records_are_refused(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct pipeline_status s;
    struct err err;
    refuse(PIPELINE_EV_END, 1, "cusp-rec 1\n");
    refuse(PIPELINE_EV_CREATED - 1, 1, "cusp-rec 1\n");
    refuse(PIPELINE_EV_CREATED, 2, "cusp-rec 1\n");
    refuse(PIPELINE_EV_EXPORTED, 1, "cusp-rec 1\ndataset=d\n");
    refuse(PIPELINE_EV_CHILD_CREATED, 1, "cusp-rec 1\n");
    refuse(PIPELINE_EV_CHILD_DONE, 1, "cusp-rec 1\nstate=JOB_STATE_RUNNING\n");
    refuse(PIPELINE_EV_DONE, 1, "cusp-rec 1\nstate=PIPELINE_STATE_RUNNING\n");
    refuse(PIPELINE_EV_DONE, 1, "cusp-rec 1\nsta");
    assert_int_equal(pipeline_status_decode(
                         a, STR("cusp-rec 1\nstate=PIPELINE_STATE_ODD\nphase=done\n"), &s, &err),
                     -1);
    assert_int_equal(err.code, ERR_DATA_LOSS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_life_with_everything),
        cmocka_unit_test(test_a_life_with_nothing_but_a_job),
        cmocka_unit_test(test_the_job_s_end_is_the_pipeline_s),
        cmocka_unit_test(test_what_does_not_fit_changes_nothing),
        cmocka_unit_test(test_a_status_is_what_its_events_make_of_it),
        cmocka_unit_test(test_torn_records_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
