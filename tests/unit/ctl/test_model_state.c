/* Versions and aliases: the rules one by one, then random changes beside a plain table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/limits.h"
#include "base/rng.h"
#include "ctl/model.h"
#include "ctl/model_state.h"

static uint64_t add(struct model_state *s, const char *a, const char *b) {
    struct str aliases[] = {str_of(a), str_of(b)};
    uint64_t v = 0;
    struct err err;
    assert_int_equal(model_state_add(s, aliases, (a != NULL) + (b != NULL), &v, &err), 0);
    return v;
}

static uint64_t at(struct model_state *s, const char *text) {
    return model_state_resolve(s, str_of(text));
}

static void test_words(void **state) {
    static const char *const ids[] = {"a", "_a", "iris-2_x", "abc123"};
    static const char *const bad_ids[] = {"", "1a", "-a", "A", "a.b", "a@b", "a/b", "\xc3\xa4"};
    static const char *const aliases[] = {"ab", "default", "prod-1", "aB9", "v2", "a--b"};
    static const char *const bad_aliases[] = {"",   "a",  "1",   "12",    "A1",
                                              "aB", "a-", "a_b", "-prod", "a b"};
    char id[65], alias[130];
    for (size_t i = 0; i < NR_OF(ids); i++) {
        assert_null(model_id_fault(str_of(ids[i])));
    }
    for (size_t i = 0; i < NR_OF(bad_ids); i++) {
        assert_non_null(model_id_fault(str_of(bad_ids[i])));
    }
    for (size_t i = 0; i < NR_OF(aliases); i++) {
        assert_null(model_alias_fault(str_of(aliases[i])));
    }
    for (size_t i = 0; i < NR_OF(bad_aliases); i++) {
        assert_non_null(model_alias_fault(str_of(bad_aliases[i])));
    }
    memset(id, 'a', sizeof(id));
    memset(alias, 'a', sizeof(alias));
    assert_null(model_id_fault(str_n(id, 63)));
    assert_non_null(model_id_fault(str_n(id, 64)));
    assert_null(model_alias_fault(str_n(alias, 128)));
    assert_non_null(model_alias_fault(str_n(alias, 129)));
}

static void test_the_first_version_gets_default_and_later_ones_only_when_they_ask(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct model_state s;
    model_state_init(&s, a);
    assert_int_equal(add(&s, "prod", NULL), 1);
    assert_int_equal(add(&s, "beta", NULL), 2);
    assert_int_equal(model_state_default(&s), 1);
    assert_int_equal(add(&s, "prod", "default"), 3);
    assert_int_equal(model_state_default(&s), 3);
    assert_int_equal(at(&s, "prod"), 3);
    assert_int_equal(at(&s, "beta"), 2);
    assert_int_equal(at(&s, ""), 3);
    assert_int_equal(at(&s, "-"), 3);
    assert_int_equal(at(&s, "2"), 2);
    assert_int_equal(at(&s, "4"), 0);
    assert_int_equal(at(&s, "02"), 0);
    assert_int_equal(at(&s, "18446744073709551616"), 0);
    assert_int_equal(at(&s, "nobody"), 0);
    size_t n;
    const struct str *list = model_state_aliases(&s, 3, &n);
    assert_int_equal(n, 2);
    assert_true(str_eqc(list[0], "default") && str_eqc(list[1], "prod"));
    (void)model_state_aliases(&s, 1, &n);
    assert_int_equal(n, 0);
}

static int merge(struct model_state *s, uint64_t v, const char *a, const char *b, struct err *err) {
    struct str changes[] = {str_of(a), str_of(b)};
    return model_state_merge(s, v, changes, (a != NULL) + (b != NULL), err);
}

static void test_merging(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct model_state s;
    struct err err;
    model_state_init(&s, a);
    add(&s, NULL, NULL);
    add(&s, "beta", NULL);
    assert_int_equal(merge(&s, 1, "prod", "beta", &err), 0);
    assert_int_equal(at(&s, "beta"), 1); /* moved */
    assert_int_equal(merge(&s, 2, "-prod", NULL, &err), 0);
    assert_int_equal(at(&s, "prod"), 1); /* not 2's to lose */
    assert_int_equal(merge(&s, 1, "-prod", "prod", &err), 0);
    assert_int_equal(at(&s, "prod"), 1); /* cancelled out */
    assert_int_equal(merge(&s, 2, "prod", "-prod", &err), 0);
    assert_int_equal(at(&s, "prod"), 1);
    assert_int_equal(merge(&s, 1, "-prod", "-beta", &err), 0);
    assert_int_equal(at(&s, "prod"), 0);
    assert_int_equal(merge(&s, 1, "-default", NULL, &err), -1);
    assert_int_equal(err.code, ERR_INVALID_ARGUMENT);
    assert_string_equal(err.field, "version_aliases");
    assert_int_equal(merge(&s, 2, "-default", NULL, &err), 0); /* it has not got it */
    assert_int_equal(merge(&s, 1, "-default", "default", &err), 0);
    assert_int_equal(merge(&s, 2, "default", NULL, &err), 0);
    assert_int_equal(model_state_default(&s), 2);
    assert_int_equal(merge(&s, 1, NULL, NULL, &err), -1);
    assert_int_equal(merge(&s, 1, "ok", "-X", &err), -1); /* and ok was not given */
    assert_int_equal(at(&s, "ok"), 0);
    assert_non_null(strstr(err.msg, "\"X\""));
}

static void test_deleting_passes_default_to_the_most_recent(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct model_state s;
    struct err err;
    model_state_init(&s, a);
    add(&s, NULL, NULL);
    add(&s, "default", "prod");
    add(&s, NULL, NULL);
    assert_int_equal(model_state_remove(&s, 2, &err), 0);
    assert_int_equal(model_state_default(&s), 3);
    assert_int_equal(at(&s, "prod"), 0);
    assert_int_equal(model_state_remove(&s, 3, &err), 0);
    assert_int_equal(model_state_default(&s), 1);
    assert_int_equal(model_state_remove(&s, 1, &err), -1);
    assert_int_equal(err.code, ERR_FAILED_PRECONDITION);
    assert_int_equal(add(&s, NULL, NULL), 4); /* 2 and 3 are not used again */
}

static void test_limits(void **state) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct limits before = limits;
    struct model_state s;
    struct err err;
    uint64_t v;
    limits.max_model_versions = 2;
    limits.max_model_aliases = 3;
    model_state_init(&s, a);
    add(&s, "aa", NULL);
    add(&s, NULL, NULL);
    assert_int_equal(model_state_add(&s, NULL, 0, &v, &err), -1);
    assert_int_equal(err.code, ERR_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(err.msg, "max_model_versions (2)"));
    assert_int_equal(merge(&s, 1, "bb", NULL, &err), 0);
    assert_int_equal(merge(&s, 1, "cc", NULL, &err), -1);
    assert_non_null(strstr(err.msg, "max_model_aliases (3)"));
    limits = before;
}

static void test_records_that_break_a_rule_do_not_read(void **state) {
    static const char *const bad[] = {
        "next=2\nversions=1-1\n",                                /* no default */
        "next=2\nversions=1-2\nalias=1 default\n",               /* 2 is not made yet */
        "next=3\nversions=2-1\nalias=2 default\n",               /* backwards */
        "next=9\nversions=3-4\nversions=1-1\nalias=3 default\n", /* not ascending */
        "next=9\nversions=1-2\nversions=3-4\nalias=3 default\n", /* one span written as two */
        "next=2\nversions=0-1\nalias=1 default\n",
        "next=2\nversions=1-1\nalias=2 default\n",
        "next=2\nversions=1-1\nalias=default\n",
        "next=2\nversions=x\nalias=1 default\n",
        "versions=1-1\nalias=1 default\n",
        "",
    };
    for (size_t i = 0; i < NR_OF(bad); i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        struct model_state s;
        struct rec r;
        struct err err;
        struct str text = str_of(arena_printf(a, "cusp-rec 1\n%s", bad[i]));
        assert_int_equal(rec_parse(a, text, &r, &err), 0);
        assert_int_equal(model_state_decode(&s, a, &r, &err), -1);
        assert_int_equal(err.code, ERR_DATA_LOSS);
    }
}

/* ---- random changes, told to a table too ---- */

#define VERSIONS 60u
static const char *const names[] = {"default", "prod", "beta", "gold", "v1", "blue"};
struct table {
    bool is_here[VERSIONS + 1];
    uint64_t bearer[NR_OF(names)], next;
};

static uint64_t table_latest(const struct table *t) {
    for (uint64_t v = t->next; v-- > 1;) {
        if (t->is_here[v]) {
            return v;
        }
    }
    return 0;
}

static uint64_t table_count(const struct table *t) {
    uint64_t n = 0;
    for (uint64_t v = 1; v < t->next; v++) {
        n += t->is_here[v];
    }
    return n;
}

static void compare(struct model_state *s, const struct table *t) {
    assert_int_equal(model_state_count(s), table_count(t));
    for (uint64_t v = 0; v <= VERSIONS; v++) {
        size_t n, expected = 0;
        assert_int_equal(model_state_has(s, v), v && t->is_here[v]);
        const struct str *list = model_state_aliases(s, v, &n);
        for (size_t i = 0; i < NR_OF(names); i++) {
            expected += t->bearer[i] == v && v;
        }
        assert_int_equal(n, v ? expected : 0);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(model_state_resolve(s, list[i]), v);
        }
    }
    for (size_t i = 0; i < NR_OF(names); i++) {
        assert_int_equal(model_state_resolve(s, str_of(names[i])), t->bearer[i]);
    }
    assert_true(t->bearer[0] != 0);
}

static void random_add(struct model_state *s, struct table *t, struct rng *rng) {
    struct str given[NR_OF(names)];
    size_t n = 0;
    uint64_t v;
    struct err err;
    for (size_t i = 0; i < NR_OF(names); i++) {
        if (rng_below(rng, 4) == 0) {
            given[n++] = str_of(names[i]);
            t->bearer[i] = t->next;
        }
    }
    assert_int_equal(model_state_add(s, given, n, &v, &err), 0);
    assert_int_equal(v, t->next);
    t->is_here[t->next++] = true;
    t->bearer[0] = t->bearer[0] ? t->bearer[0] : v;
}

static void random_merge(struct model_state *s, struct table *t, struct rng *rng, uint64_t v) {
    struct table after = *t;
    struct str changes[2 * NR_OF(names)];
    char taken[NR_OF(names)][16];
    size_t n = 0;
    struct err err;
    for (size_t i = 0; i < NR_OF(names); i++) {
        bool gives = rng_below(rng, 3) == 0, takes = rng_below(rng, 3) == 0;
        snprintf(taken[i], sizeof(taken[i]), "-%s", names[i]);
        if (gives) {
            changes[n++] = str_of(names[i]);
        }
        if (takes) {
            changes[n++] = str_of(taken[i]);
        }
        if (gives && !takes) {
            after.bearer[i] = v;
        } else if (takes && !gives && after.bearer[i] == v) {
            after.bearer[i] = 0;
        }
    }
    bool refused = n == 0 || !after.bearer[0];
    assert_int_equal(model_state_merge(s, v, changes, n, &err), refused ? -1 : 0);
    *t = refused ? *t : after;
}

static void random_remove(struct model_state *s, struct table *t, uint64_t v) {
    struct err err;
    bool is_last = table_count(t) == 1;
    assert_int_equal(model_state_remove(s, v, &err), is_last ? -1 : 0);
    if (is_last) {
        return;
    }
    t->is_here[v] = false;
    for (size_t i = 0; i < NR_OF(names); i++) {
        t->bearer[i] = t->bearer[i] == v ? 0 : t->bearer[i];
    }
    t->bearer[0] = t->bearer[0] ? t->bearer[0] : table_latest(t);
}

static void stored_and_read(struct model_state *s, struct arena *a) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    struct rec r;
    struct err err;
    rec_begin(&b);
    model_state_encode(s, &b);
    assert_int_equal(rec_parse(a, arena_str(a, buf_str(&b)), &r, &err), 0);
    assert_int_equal(model_state_decode(s, a, &r, &err), 0);
}

static void test_any_changes_leave_one_default_and_move_aliases(void **state) {
    for (uint64_t seed = 1; seed <= 200; seed++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        struct table t = {.next = 1};
        struct model_state s;
        struct rng rng;
        rng_seed(&rng, seed);
        model_state_init(&s, a);
        random_add(&s, &t, &rng);
        while (t.next <= VERSIONS) {
            uint64_t v = 1 + rng_below(&rng, t.next - 1), what = rng_below(&rng, 4);
            if (what == 0) {
                random_add(&s, &t, &rng);
            } else if (t.is_here[v] && what == 1) {
                random_remove(&s, &t, v);
            } else if (t.is_here[v]) {
                random_merge(&s, &t, &rng, v);
            }
            if (rng_below(&rng, 3) == 0) {
                stored_and_read(&s, a);
            }
            compare(&s, &t);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_the_first_version_gets_default_and_later_ones_only_when_they_ask),
        cmocka_unit_test(test_merging),
        cmocka_unit_test(test_deleting_passes_default_to_the_most_recent),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_records_that_break_a_rule_do_not_read),
        cmocka_unit_test(test_any_changes_leave_one_default_and_move_aliases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
