/* List filters and orderBy as a table: what they mean on one row, and where mistakes are seen. Page
 * tokens: every changed byte is noticed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/limits.h"
#include "base/vec.h"
#include "store/filter.h"
#include "store/token.h"

static struct store_label labels[] = {
    {{"team", 4}, {"red", 3}}, {{"a key", 5}, {"x y", 3}}, {{"n", 1}, {"-5", 2}}};

static const struct store_row row = {
    .name = {"projects/1/locations/l/customJobs/7", 35},
    .display_name = {"resnet nightly", 14},
    .state = {"JOB_STATE_RUNNING", 17},
    .create_time = 1714557600000000, /* 2024-05-01T10:00:00Z */
    .update_time = 1714557600500000,
    .labels = labels,
    .nr_labels = 3,
};

static void test_meaning(void **state) {
    static const struct {
        const char *text;
        bool matches;
    } table[] = {
        {"", true},
        {"  \t", true},
        {"state=JOB_STATE_RUNNING", true},
        {"state = \"JOB_STATE_RUNNING\"", true},
        {"state='JOB_STATE_QUEUED'", false},
        {"state!=JOB_STATE_QUEUED", true},
        {"state:*RUNNING", true},
        {"display_name=\"resnet nightly\"", true},
        {"displayName=\"resnet nightly\"", true},
        {"display_name=\"resnet*\"", false}, /* = is literal, ':' knows patterns */
        {"display_name:\"resnet*\"", true},
        {"display_name:*night*", true},
        {"display_name:\"*x*\"", false},
        {"display_name:resnet", false},
        {"display_name:*", true},
        {"display_name>a", true},
        {"display_name<=\"resnet nightly\"", true},
        {"name=\"projects/1/locations/l/customJobs/7\"", true},
        {"name:*/7", true},
        {"create_time=\"2024-05-01T10:00:00Z\"", true},
        {"create_time=2024-05-01T12:00:00+02:00", true},
        {"createTime>2024-05-01T09:59:59.999999Z", true},
        {"create_time<\"2024-05-01T10:00:00Z\"", false},
        {"create_time<=\"2024-05-01T10:00:00Z\"", true},
        {"create_time!=\"2024-05-01T10:00:00Z\"", false},
        {"update_time>=\"2024-05-01T10:00:00.5Z\"", true},
        {"updateTime>\"2024-05-01T10:00:00.5Z\"", false},
        {"labels.team=red", true},
        {"labels.team:re*", true},
        {"labels.team:*", true},
        {"labels.nobody:*", false},
        {"labels:team", true},
        {"labels:nobody", false},
        {"labels:\"a key\"", true},
        {"labels.\"a key\"=\"x y\"", true},
        {"labels.'a key':*y", true},
        {"labels.n=-5", true},
        {"labels.team!=blue", true},
        {"labels.nobody!=blue", true},
        {"labels.nobody=\"\"", false},
        {"labels.nobody<zzz", false},
        {"labels.team=RED", false},
        {"display_name=\"a\\\"b\"", false},
        {"NOT state=JOB_STATE_QUEUED", true},
        {"-state=JOB_STATE_QUEUED", true},
        {"NOT (state=JOB_STATE_RUNNING)", false},
        {"-(state=JOB_STATE_RUNNING AND labels.team=blue)", true},
        {"labels.team=red AND state=JOB_STATE_RUNNING", true},
        {"labels.team=red state=JOB_STATE_QUEUED", false},
        {"labels.team=blue OR state=JOB_STATE_RUNNING", true},
        /* OR binds tighter: false AND (false OR true), (true OR false) AND false */
        {"labels.team=blue AND labels.team=blue OR labels.team=red", false},
        {"labels.team=red OR labels.team=blue AND labels.team=blue", false},
        {"labels.team=red OR labels.team=blue labels.n=-5", true},
        {"(labels.team=red OR labels.team=blue)(labels.n=-5)", true},
        {"labels.team=blue OR (labels.team=red AND labels.n=-5)", true},
        {"((((state=JOB_STATE_RUNNING))))", true},
    };
    for (size_t i = 0; i < NR_OF(table); i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        const struct filter *f;
        struct err err = {0};
        if (filter_parse(a, str_of(table[i].text), &f, &err) < 0) {
            fail_msg("%s: %s", table[i].text, err.msg);
        }
        if (filter_matches(f, &row) != table[i].matches) {
            fail_msg("%s should be %d", table[i].text, table[i].matches);
        }
    }
}

static void test_mistakes_name_their_place(void **state) {
    static const struct {
        const char *text, *says;
    } table[] = {
        {"state", "expected a comparison (= != < <= > >= :) at position 6"},
        {"colour=red", "unknown field 'colour' at position 1"},
        {"state=X AND", "expected a field name at position 12"},
        {"state=X OR", "expected a field name at position 11"},
        {"AND state=X", "expected a field name 'AND' at position 1"},
        {"NOT", "expected a field name at position 4"},
        {"state=", "expected a value at position 7"},
        {"state=AND", "expected a value at position 7"},
        {"state=\"X", "string without its closing quote at position 7"},
        {"state=\"X\\\"", "string without its closing quote at position 7"},
        {"(state=X", "parenthesis never closed at position 1"},
        {"state=X)", "unexpected ')' at position 8"},
        {"()", "expected a field name at position 2"},
        {"state<X", "state can only be compared with = != and : at position 6"},
        {"create_time>yesterday", "expected an RFC 3339 time, not 'yesterday' at position 13"},
        {"create_time:*", "':' cannot be used with a time at position 13"},
        {"labels=red", "labels takes ':' and a key (or write labels.KEY = VALUE) at position 7"},
        {"labels.=red", "expected a label key at position 8"},
        {"labels.\"\"=red", "expected a label key at position 8"},
        {"labels:\"\"", "expected a label key at position 8"},
        {"state=X, labels.a=b", "expected a field name at position 8"},
        {"--state=X", "expected a field name at position 2"},
        {"\"quoted\"", "expected a field name at position 1"},
    };
    for (size_t i = 0; i < NR_OF(table); i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        const struct filter *f;
        struct err err = {0};
        assert_int_equal(filter_parse(a, str_of(table[i].text), &f, &err), -1);
        assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
        assert_string_equal(err.field, "filter");
        assert_true(str_starts(str_of(err.msg), STR("Invalid filter: ")));
        if (strcmp(err.msg + strlen("Invalid filter: "), table[i].says) != 0) {
            fail_msg("%s: says '%s'", table[i].text, err.msg);
        }
    }
}

static int parse_repeated(const char *open, const char *inner, const char *close, size_t n,
                          struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    const struct filter *f;
    for (size_t i = 0; i < n; i++) {
        buf_puts(&b, open);
    }
    buf_puts(&b, inner);
    for (size_t i = 0; i < n; i++) {
        buf_puts(&b, close);
    }
    return filter_parse(a, buf_str(&b), &f, err);
}

static void test_limits_hold_at_n_and_n_plus_1(void **state) {
    struct err err = {0};
    size_t n = limits.max_filter_depth;
    assert_int_equal(parse_repeated("(", "state=X", ")", n, &err), 0);
    assert_int_equal(parse_repeated("(", "state=X", ")", n + 1, &err), -1);
    assert_non_null(strstr(err.msg, "max_filter_depth = 32"));
    n = limits.max_filter_terms;
    assert_int_equal(parse_repeated("state=X ", "", "", n, &err), 0);
    assert_int_equal(parse_repeated("state=X ", "", "", n + 1, &err), -1);
    assert_non_null(strstr(err.msg, "max_filter_terms"));
    n = limits.max_filter_bytes - strlen("state=X");
    assert_int_equal(parse_repeated(" ", "state=X", "", n, &err), 0);
    assert_int_equal(parse_repeated(" ", "state=X", "", n + 1, &err), -1);
    assert_non_null(strstr(err.msg, "max_filter_bytes"));
}

static void test_order_by(void **state) {
    static const struct {
        const char *text;
        int field; /* -1: refused */
        bool descending;
    } table[] = {
        {"", STORE_ORDER_CREATE_TIME, true},
        {"create_time desc", STORE_ORDER_CREATE_TIME, true},
        {"create_time", STORE_ORDER_CREATE_TIME, false},
        {" createTime  asc ", STORE_ORDER_CREATE_TIME, false},
        {"updateTime desc", STORE_ORDER_UPDATE_TIME, true},
        {"display_name", STORE_ORDER_DISPLAY_NAME, false},
        {"name desc", STORE_ORDER_NAME, true},
        {"state", -1, false},
        {"colour", -1, false},
        {"name down", -1, false},
        {"name desc, create_time", -1, false},
    };
    for (size_t i = 0; i < NR_OF(table); i++) {
        enum store_order_field field = 0;
        bool descending = false;
        struct err err = {0};
        int rc = order_parse(str_of(table[i].text), &field, &descending, &err);
        assert_int_equal(rc, table[i].field < 0 ? -1 : 0);
        if (rc == 0) {
            assert_int_equal(field, table[i].field);
            assert_int_equal(descending, table[i].descending);
        } else {
            assert_string_equal(err.field, "order_by");
        }
    }
}

static void test_token_round_trip_and_every_changed_byte_is_noticed(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    uint8_t key[TOKEN_KEY_BYTES] = {1, 2, 3}, other_key[TOKEN_KEY_BYTES] = {1, 2, 4};
    for (int order = STORE_ORDER_CREATE_TIME; order <= STORE_ORDER_NAME; order++) {
        struct store_list l = {.kind = STR("customJob"),
                               .parent = STR("p"),
                               .filter_text = STR("f"),
                               .order = (enum store_order_field)order,
                               .arena = a};
        struct store_pos pos = store_row_pos(&row, 42, l.order), back;
        struct str token = token_make(key, &l, &pos);
        l.page_token = token;
        assert_int_equal(token_open(key, &l, &back, NULL), 0);
        assert_int_equal(store_pos_cmp(&pos, &back, l.order), 0);
        assert_int_equal(token_open(other_key, &l, &back, NULL), -1);
        for (size_t i = 0; i < token.n; i++) {
            char *bad = arena_strndup(a, token.p, token.n);
            bad[i] = bad[i] == 'A' ? 'Q' : 'A'; /* changes bits that count in any place */
            l.page_token = str_n(bad, token.n);
            assert_int_equal(token_open(key, &l, &back, NULL), -1);
            l.page_token = str_n(token.p, i);
            assert_int_equal(i ? token_open(key, &l, &back, NULL) : -1, -1);
        }
        /* Moving a byte from one bound part to the next must not sign the same. */
        l.page_token = token;
        l.parent = STR("pf");
        l.filter_text = STR("");
        assert_int_equal(token_open(key, &l, &back, NULL), -1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_meaning),
        cmocka_unit_test(test_mistakes_name_their_place),
        cmocka_unit_test(test_limits_hold_at_n_and_n_plus_1),
        cmocka_unit_test(test_order_by),
        cmocka_unit_test(test_token_round_trip_and_every_changed_byte_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
