/* Severity of captured lines, tracebacks, insertIds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "logs/entry.h"
#include "pb/pb.h"

static int severity_of(const char *line, enum seg_stream stream, bool strict) {
    struct recognised r;
    recognise_line(str_of(line), stream, strict, &r);
    return r.severity;
}

static void test_severities(void **state) {
    static const struct {
        const char *line;
        int severity;
    } cases[] = {
        {"epoch 1 loss 0.42", 200},
        {"", 200},
        {"WARNING:root:low memory", 400},
        {"ERROR:trainer.task:no such file", 500},
        {"DEBUG:urllib3.connectionpool:GET /", 100},
        {"CRITICAL:x:y", 600},
        {"INFO: started", 200},
        {"[ERROR] it failed", 500},
        {"[warning] lower case in brackets", 400},
        {"2024-05-01 10:00:00,123 - trainer - WARNING - slow", 400},
        {"2024-05-01 10:00:00,123 ERROR trainer: it failed", 500},
        {"2024-05-01T10:00:00Z | DEBUG | a:b:1 - text", 100},
        {"[2024-05-01 10:00:00,123] [WARNING] [engine.py:12] text", 400},
        {"W0501 10:00:00.123456 140 trainer.py:12] slow", 400},
        {"E20240501 10:00:00.123456 140 file.cc:12] bad", 500},
        {"F0501 10:00:00.123456     1 file.cc:1] dead", 600},
        {"I0501 10:00:00.123456     1 file.cc:1] ERROR is only a word here", 200},
        {"2024-05-01 10:00:00.123456: W tensorflow/core/x.cc:12] text", 400},
        {"2024-05-01 10:00:00.123456: I tensorflow/core/x.cc:12] text", 200},
        {"/a/b.py:12: UserWarning: old", 400},
        {"Error in the middle of prose", 200},
        {"there was an ERROR later", 200},
        {"ERRORS: 0", 200},
        {"loss=0.5 Warning: not at the head", 200},
        {"500 samples read", 200},
        {"WARNING", 400},
    };
    for (size_t i = 0; i < NR_OF(cases); i++) {
        if (severity_of(cases[i].line, SEG_STDERR, false) != cases[i].severity) {
            fail_msg("\"%s\": %d", cases[i].line, severity_of(cases[i].line, SEG_STDERR, false));
        }
        assert_int_equal(severity_of(cases[i].line, SEG_STDOUT, false), cases[i].severity);
        assert_int_equal(severity_of(cases[i].line, SEG_STDOUT, true), 200);
        assert_int_equal(severity_of(cases[i].line, SEG_STDERR, true), 500);
    }
}

static void test_progress_bars_keep_their_last_state(void **state) {
    static const char *const bars[] = {"\r 10%|#\r 50%|##\r100%|###", "10%\r100%|###\r",
                                       "100%|###"};
    struct recognised r;
    for (size_t i = 0; i < NR_OF(bars); i++) {
        recognise_line(str_of(bars[i]), SEG_STDERR, false, &r);
        assert_true(str_eqc(r.text, "100%|###"));
    }
    recognise_line(str_of("a\rb"), SEG_STDERR, true, &r);
    assert_true(str_eqc(r.text, "a\rb"));
}

/* Lines "o:text" and "e:text" of a replica, a millisecond apart. */
static void gather_lines(struct gather *g, const char *const *lines, size_t n) {
    for (size_t i = 0; i < n; i++) {
        struct seg_frame f = {.seq = i,
                              .time = 1000000 + i * 1000,
                              .stream = lines[i][0] == 'o' ? SEG_STDOUT : SEG_STDERR,
                              .payload = str_of(lines[i] + 2)};
        gather_add(g, &f);
    }
}

static void test_a_traceback_is_one_entry(void **state) {
    static const char *const lines[] = {
        "e:before",
        "e:Traceback (most recent call last):",
        "o:from the other stream",
        "e:  File \"a.py\", line 1, in <module>",
        "e:    f()",
        "e:ValueError: no",
        "e:",
        "e:During handling of the above exception, another exception occurred:",
        "e:",
        "e:Traceback (most recent call last):",
        "e:  File \"a.py\", line 3, in <module>",
        "e:KeyError: 'x'",
        "e:after",
        "e:Traceback (most recent call last):", /* two that have nothing to do with each other */
        "e:  f()",
        "e:ValueError: first",
        "e:Traceback (most recent call last):",
        "e:  f()",
        "e:ValueError: second",
        "e:done",
    };
    struct arena *a = arena_new(1 << 20);
    struct gather g;
    gather_init(&g, a, false);
    gather_lines(&g, lines, NR_OF(lines));
    assert_int_equal(gather_settled(&g), g.items.n);
    gather_end(&g);
    assert_int_equal(g.items.n, 7);
    assert_true(g.items.p[1].is_trace);
    assert_int_equal(g.items.p[1].severity, 500);
    assert_int_equal(g.items.p[1].frames, 10);
    assert_true(str_starts(g.items.p[1].text, STR("Traceback (most")));
    assert_true(str_ends(g.items.p[1].text, STR("KeyError: 'x'")));
    assert_true(str_eqc(g.items.p[2].text, "from the other stream"));
    assert_true(str_eqc(g.items.p[3].text, "after"));
    assert_true(str_ends(g.items.p[4].text, STR("ValueError: first")));
    assert_true(g.items.p[5].is_trace && g.items.p[5].frames == 3);
    gather_fini(&g);

    gather_init(&g, a, true); /* Vertex: a line is an entry */
    gather_lines(&g, lines, NR_OF(lines));
    assert_int_equal(g.items.n, NR_OF(lines));
    gather_fini(&g);
    arena_free(a);
}

static void test_traces_of_other_languages(void **state) {
    static const char *const java[] = {"e:Exception in thread \"main\" java.lang.Error: x",
                                       "e:\tat a.B.c(B.java:1)", "e:Caused by: java.io.IOException",
                                       "e:\t... 3 more", "e:next"};
    static const char *const go[] = {
        "e:panic: boom",       "e:",    "e:goroutine 1 [running]:", "e:main.main()",
        "e:\t/a/b.go:3 +0x1d", "e:next"};
    static const char *const rank[] = {
        "e:[rank0]: Traceback (most recent call last):", "e:[rank0]:   File \"a.py\", line 1",
        "e:[rank0]: RuntimeError: x", "e:next"};
    static const char *const syntax[] = {"e:  File \"task.py\", line 12", "e:    print((1)",
                                         "e:         ^", "e:SyntaxError: '(' was never closed",
                                         "e:next"};
    struct {
        const char *const *lines;
        size_t n;
    } all[] = {{java, NR_OF(java)}, {go, NR_OF(go)}, {rank, NR_OF(rank)}, {syntax, NR_OF(syntax)}};
    struct arena *a = arena_new(1 << 20);
    for (size_t i = 0; i < NR_OF(all); i++) {
        struct gather g;
        gather_init(&g, a, false);
        gather_lines(&g, all[i].lines, all[i].n);
        gather_end(&g);
        assert_int_equal(g.items.n, 2);
        assert_int_equal(g.items.p[0].severity, 500);
        assert_true(str_eqc(g.items.p[1].text, "next"));
        gather_fini(&g);
    }
    struct trace_state t;
    assert_false(trace_opens(&t, STR("  File \"task.py\", line 12, in main")));
    assert_false(trace_opens(&t, STR("  File \"task.py\", line ")));
    assert_false(trace_opens(&t, STR("  File \", line 1x")));
    arena_free(a);
}

static void test_a_trace_that_never_ends_is_cut(void **state) {
    struct arena *a = arena_new(64 << 20);
    struct gather g;
    gather_init(&g, a, false);
    for (uint64_t i = 0; i < 2 * GATHER_FRAMES; i++) {
        struct seg_frame f = {.seq = i,
                              .time = 1,
                              .stream = SEG_STDERR,
                              .payload =
                                  i ? STR("  File x") : STR("Traceback (most recent call last):")};
        gather_add(&g, &f);
    }
    assert_int_equal(gather_settled(&g), g.items.n);
    assert_int_equal(g.items.p[0].frames, GATHER_FRAMES);
    gather_fini(&g);
    arena_free(a);
}

static void test_insert_ids(void **state) {
    static const struct {
        const char *task;
        uint32_t attempt;
        uint64_t seq;
    } rising[] = {{"service", 0, 9},        {"packages", 1, 0},           {"workerpool0-1", 1, 9},
                  {"workerpool0-1", 1, 10}, {"workerpool0-1", 1, 100000}, {"workerpool0-10", 1, 0},
                  {"workerpool1-0", 1, 0},  {"workerpool0-0", 2, 0}};
    char before[40] = "", id[40], other[40];
    for (size_t i = 0; i < NR_OF(rising); i++) {
        entry_insert_id(id, STR("77"), rising[i].task, rising[i].attempt, rising[i].seq);
        entry_insert_id(other, STR("78"), rising[i].task, rising[i].attempt, rising[i].seq);
        assert_int_equal(strlen(id), 30);
        assert_true(strcmp(before, id) < 0);
        assert_string_not_equal(id, other);
        memcpy(before, id, sizeof(id));
    }
}

static Google__Logging__V2__LogEntry *entry_of(struct arena *a, const char *text) {
    struct entry_origin o = {
        .project = STR("demo"), .job_id = STR("77"), .task = "workerpool0-0", .attempt = 1};
    struct recognised r;
    recognise_line(str_of(text), SEG_STDOUT, false, &r);
    struct captured c = {.seq = 5,
                         .time = 1714557600123456,
                         .read = 1714557600123456,
                         .frames = 1,
                         .stream = SEG_STDOUT,
                         .severity = r.severity,
                         .is_object = r.is_object,
                         .text = r.text};
    Google__Logging__V2__LogEntry *e = entry_make(a, &o, &c);
    assert_non_null(e);
    return e;
}

static void test_entries(void **state) {
    struct arena *a = arena_new(1 << 20);
    Google__Logging__V2__LogEntry *e = entry_of(a, "plain");
    struct pb_json_opts opts = {.compact = true, .fixed_times = true};
    auto_buf struct buf b = BUF_INIT(1 << 16);
    assert_int_equal(pb_to_json(&e->base, &opts, &b, NULL), 0);
    assert_true(strstr(buf_cstr(&b), "\"timestamp\":\"2024-05-01T10:00:00.123456000Z\""));
    assert_true(strstr(buf_cstr(&b), "\"logName\":\"projects/demo/logs/workerpool0-0\""));
    assert_true(strstr(buf_cstr(&b), "\"textPayload\":\"plain\""));
    assert_true(strstr(buf_cstr(&b), "\"job_id\":\"77\""));

    static const struct {
        const char *line;
        int severity;
        size_t fields;
    } json[] = {
        {"{\"severity\":\"warning\",\"message\":\"m\",\"step\":3}", 400, 2},
        {"{\"severity\":500,\"message\":\"m\"}", 500, 1},
        {"{\"level\":\"error\",\"msg\":\"m\"}", 500, 3}, /* message is added */
        {"{\"levelname\":\"DEBUG\",\"message\":\"m\"}", 100, 2},
        {"{\"level\":40,\"message\":\"m\"}", 500, 2},
        {"{\"a\":1}", 200, 1},
    };
    for (size_t i = 0; i < NR_OF(json); i++) {
        e = entry_of(a, json[i].line);
        assert_int_equal(e->payload_case, GOOGLE__LOGGING__V2__LOG_ENTRY__PAYLOAD_JSON_PAYLOAD);
        assert_int_equal(e->severity, json[i].severity);
        assert_int_equal(e->json_payload->n_fields, json[i].fields);
    }
    e = entry_of(a, "{not json}");
    assert_string_equal(e->text_payload, "{not json}");
    e = entry_of(a, "bad \xff byte");
    assert_string_equal(e->text_payload, "bad \xef\xbf\xbd byte");
    arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_severities),
        cmocka_unit_test(test_progress_bars_keep_their_last_state),
        cmocka_unit_test(test_a_traceback_is_one_entry),
        cmocka_unit_test(test_traces_of_other_languages),
        cmocka_unit_test(test_a_trace_that_never_ends_is_cut),
        cmocka_unit_test(test_insert_ids),
        cmocka_unit_test(test_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
