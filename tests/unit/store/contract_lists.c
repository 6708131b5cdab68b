/* Lists: pages, orders, tokens, filters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "contract_int.h"
#include "base/limits.h"
#include "store/filter.h"

static struct store_list list_of(struct fix *f, unsigned page_size) {
    return (struct store_list){.kind = STR("customJob"),
                               .parent = STR("projects/1/locations/us-central1"),
                               .order = STORE_ORDER_CREATE_TIME,
                               .descending = true,
                               .page_size = page_size,
                               .arena = f->a};
}

static void test_list_pages_newest_first_and_stays_stable_under_inserts(void **state) {
    struct fix *f = *state;
    for (uint64_t i = 1; i <= 7; i++) {
        insert_row(f, i, 100 + i / 2); /* pairs share a create time */
    }
    struct store_list l = list_of(f, 3);
    struct rig_page p = rig_list(&f->rig, &l);
    assert_int_equal(p.err.code, 0);
    assert_int_equal(p.nr, 3);
    assert_str(p.rows[0].display_name, STR("job 7"));
    assert_str(p.rows[2].display_name, STR("job 5"));
    assert_true(p.next.n > 0);
    assert_str(p.rows[0].spec, STR("spec\0bytes"));
    assert_int_equal(p.rows[0].nr_labels, 2);
    insert_row(f, 8, 500); /* newer than all: not on later pages */
    insert_row(f, 9, 102); /* a tie with 5 and 4: already passed, ties go by insertion */
    l.page_token = p.next;
    p = rig_list(&f->rig, &l);
    assert_int_equal(p.nr, 3);
    assert_str(p.rows[0].display_name, STR("job 4"));
    assert_str(p.rows[2].display_name, STR("job 2"));
    l.page_token = p.next;
    p = rig_list(&f->rig, &l);
    assert_int_equal(p.nr, 1);
    assert_str(p.rows[0].display_name, STR("job 1"));
    assert_int_equal(p.next.n, 0);
}

static void test_exactly_full_last_page_has_no_token(void **state) {
    struct fix *f = *state;
    for (uint64_t i = 1; i <= 4; i++) {
        insert_row(f, i, i);
    }
    struct store_list l = list_of(f, 4);
    struct rig_page p = rig_list(&f->rig, &l);
    assert_int_equal(p.nr, 4);
    assert_int_equal(p.next.n, 0);
    l = list_of(f, 4);
    l.kind = STR("other");
    p = rig_list(&f->rig, &l);
    assert_int_equal(p.nr, 0);
    assert_int_equal(p.err.code, 0);
}

static void test_dash_location_lists_all_locations_of_the_project(void **state) {
    struct fix *f = *state;
    static const char *parents[] = {"projects/1/locations/a", "projects/1/locations/b",
                                    "projects/2/locations/a", "projects/1/locations/a/datasets/d",
                                    "projects/1/locations/",  "projects/1/locations/zz"};
    for (uint64_t i = 0; i < 18; i++) {
        struct store_row row = rig_row(f->a, i, 1000 - i);
        row.parent = str_of(parents[i % NR_OF(parents)]);
        struct store_txn t;
        store_txn_init(&t, NULL, NULL);
        store_txn_insert(&t, &row);
        assert_int_equal(rig_commit(&f->rig, &t).code, 0);
    }
    struct store_list l = list_of(f, 2);
    l.parent = STR("projects/1/locations/-");
    struct str seen[18];
    size_t nr = 0;
    do {
        struct rig_page p = rig_list(&f->rig, &l);
        assert_int_equal(p.err.code, 0);
        for (size_t i = 0; i < p.nr; i++) {
            seen[nr++] = p.rows[i].display_name;
        }
        l.page_token = p.next;
    } while (l.page_token.n);
    static const char *want[] = {"job 0",  "job 1",  "job 5",  "job 6", "job 7",
                                 "job 11", "job 12", "job 13", "job 17"};
    assert_int_equal(nr, NR_OF(want));
    for (size_t i = 0; i < nr; i++) {
        assert_str(seen[i], str_of(want[i]));
    }
}

static void test_every_order_pages_through_all_rows_once(void **state) {
    struct fix *f = *state;
    for (uint64_t i = 1; i <= 11; i++) {
        insert_row(f, i, i * 7 % 5); /* many ties */
    }
    for (int order = STORE_ORDER_CREATE_TIME; order <= STORE_ORDER_STATE; order++) {
        for (int desc = 0; desc < 2; desc++) {
            struct store_list l = list_of(f, 2);
            l.order = (enum store_order_field)order;
            l.descending = desc;
            if (order % 2) {
                l.nr_then = 2;
                l.then[0] = (struct store_order){STORE_ORDER_CREATE_TIME, !desc};
                l.then[1] = (struct store_order){STORE_ORDER_UPDATE_TIME, desc};
            }
            unsigned seen = 0;
            struct str last = {0};
            size_t nr = 0;
            do {
                struct rig_page p = rig_list(&f->rig, &l);
                assert_int_equal(p.err.code, 0);
                for (size_t i = 0; i < p.nr; i++, nr++) {
                    uint64_t id;
                    assert_true(str_to_u64(str_sub(p.rows[i].display_name, 4, 10), &id));
                    seen |= 1u << id;
                    if (order == STORE_ORDER_NAME && last.p) {
                        assert_true((str_cmp(p.rows[i].name, last) < 0) == desc);
                    }
                    last = p.rows[i].name;
                }
                l.page_token = p.next;
            } while (l.page_token.n);
            assert_int_equal(nr, 11);
            assert_int_equal(seen, 0xffe);
        }
    }
}

static void test_page_token_of_another_list_is_refused(void **state) {
    struct fix *f = *state;
    for (uint64_t i = 1; i <= 4; i++) {
        insert_row(f, i, i);
    }
    struct store_list l = list_of(f, 2);
    struct str token = rig_list(&f->rig, &l).next;
    assert_true(token.n > 0);
    struct store_list wrong[6];
    for (size_t i = 0; i < NR_OF(wrong); i++) {
        wrong[i] = list_of(f, 2);
        wrong[i].page_token = token;
    }
    wrong[0].kind = STR("operation");
    wrong[1].parent = STR("projects/1/locations/-");
    wrong[2].filter_text = STR("state=X");
    wrong[3].descending = false;
    wrong[4].order = STORE_ORDER_UPDATE_TIME;
    wrong[5].nr_then = 1;
    for (size_t i = 0; i < NR_OF(wrong); i++) {
        struct rig_page p = rig_list(&f->rig, &wrong[i]);
        assert_int_equal(p.err.code, ERR_INVALID_ARGUMENT);
        assert_string_equal(p.err.field, "page_token");
    }
    l.page_token = STR("not base64 !");
    assert_int_equal(rig_list(&f->rig, &l).err.code, ERR_INVALID_ARGUMENT);
    f->rig.kind->again(&f->rig); /* tokens outlive the server */
    l.page_token = token;
    assert_int_equal(rig_list(&f->rig, &l).nr, 2);
}

static void test_list_filters(void **state) {
    struct fix *f = *state;
    for (uint64_t i = 1; i <= 6; i++) {
        insert_row(f, i, i * USEC_PER_SEC);
    }
    struct store_list l = list_of(f, 10);
    l.filter_text = STR("labels.team=red AND create_time >= \"1970-01-01T00:00:03Z\" "
                        "-display_name=\"job 5\" labels:\"a key\" state:JOB_*");
    assert_int_equal(filter_parse(f->a, l.filter_text, NULL, &l.filter, NULL), 0);
    struct rig_page p = rig_list(&f->rig, &l);
    assert_int_equal(p.nr, 3);
    assert_str(p.rows[0].display_name, STR("job 6"));
    assert_str(p.rows[1].display_name, STR("job 4"));
    assert_str(p.rows[2].display_name, STR("job 3"));
}

static size_t nr_matching(struct fix *f, struct buf *filter) {
    struct store_list l = list_of(f, 10);
    l.filter_text = buf_str(filter);
    assert_int_equal(filter_parse(f->a, l.filter_text, NULL, &l.filter, NULL), 0);
    struct rig_page p = rig_list(&f->rig, &l);
    if (p.err.code) {
        fail_msg("%s: %s", buf_cstr(filter), p.err.msg);
    }
    return p.nr;
}

/* As wide and as deep as the parser lets through. */
static void test_the_largest_filters_are_answered(void **state) {
    struct fix *f = *state;
    for (uint64_t i = 1; i <= 6; i++) {
        insert_row(f, i, i * USEC_PER_SEC);
    }
    for (int labels = 0; labels < 2; labels++) {
        auto_buf struct buf wide = BUF_INIT(BUF_NO_MAX), deep = BUF_INIT(BUF_NO_MAX);
        const char *field = labels ? "labels.team" : "display_name";
        for (unsigned i = 1; i < limits.max_filter_terms; i++) {
            buf_printf(&wide, "%s=no%u", field, i);
            buf_puts(&wide, " OR ");
        }
        buf_puts(&wide, "display_name=\"job 3\"");
        assert_int_equal(nr_matching(f, &wide), 1);
        /* NOT (no OR NOT (no OR ... (the one))): an even number of NOTs is none. */
        for (unsigned i = 0; i < limits.max_filter_depth; i++) {
            buf_puts(&deep, "NOT (");
            buf_printf(&deep, "%s=no%u", field, i);
            buf_puts(&deep, " OR ");
        }
        buf_puts(&deep, "display_name=\"job 3\"");
        for (unsigned i = 0; i < limits.max_filter_depth; i++) {
            buf_putc(&deep, ')');
        }
        assert_int_equal(nr_matching(f, &deep), limits.max_filter_depth % 2 ? 5 : 1);
    }
}

/* A filter that hardly anything passes does not look at the whole collection for one page. */
static void test_page_ends_short_after_many_refused_rows(void **state) {
    struct fix *f = *state;
    uint64_t was = limits.max_list_scan;
    for (uint64_t i = 1; i <= 40; i++) {
        insert_row(f, i, i);
    }
    struct store_row elsewhere = rig_row(f->a, 1000, 15);
    elsewhere.name = STR("projects/1/locations/europe-west4/customJobs/1000");
    elsewhere.parent = STR("projects/1/locations/europe-west4");
    elsewhere.display_name = STR("far job 33");
    struct store_txn t;
    store_txn_init(&t, NULL, NULL);
    store_txn_insert(&t, &elsewhere);
    assert_int_equal(rig_commit(&f->rig, &t).code, 0);
    struct store_list l = list_of(f, 2);
    l.parent = STR("projects/1/locations/-");
    l.filter_text = STR("display_name:*3*3*"); /* jobs 33 and far 33 */
    assert_int_equal(filter_parse(f->a, l.filter_text, NULL, &l.filter, NULL), 0);
    limits.max_list_scan = 7;
    size_t nr = 0, pages = 0;
    do {
        struct rig_page p = rig_list(&f->rig, &l);
        assert_int_equal(p.err.code, 0);
        nr += p.nr;
        pages++;
        l.page_token = p.next;
    } while (l.page_token.n);
    limits.max_list_scan = was;
    assert_int_equal(nr, 2);
    assert_in_range(pages, 5, 8);
}

/* What is inserted or deleted between two pages moves nothing else. */
static void test_pages_stay_stable_under_inserts_and_deletes(void **state) {
    struct fix *f = *state;
    for (uint64_t i = 1; i <= 9; i++) {
        insert_row(f, i, 5); /* all tied */
    }
    struct store_list l = list_of(f, 3);
    assert_int_equal(order_parse(STR("state, create_time desc"), &l, NULL), 0);
    struct rig_page p = rig_list(&f->rig, &l);
    assert_int_equal(p.nr, 3);
    struct store_txn t;
    store_txn_init(&t, NULL, NULL);
    store_txn_delete(&t, p.rows[2].name); /* the row that the token stands on */
    assert_int_equal(rig_commit(&f->rig, &t).code, 0);
    insert_row(f, 20, 9); /* newer: belongs before the token */
    l.page_token = p.next;
    p = rig_list(&f->rig, &l);
    assert_int_equal(p.nr, 3);
    for (size_t i = 0; i < 3; i++) {
        auto_free char *want = xasprintf("job %zu", i + 4);
        assert_str(p.rows[i].display_name, str_of(want));
    }
}

static void test_answer_larger_than_the_arena_is_an_error(void **state) {
    struct fix *f = *state;
    for (uint64_t i = 1; i <= 4; i++) {
        insert_row(f, i, i);
    }
    struct store_list l = list_of(f, 4);
    l.arena = arena_new(600);
    struct rig_page p = rig_list(&f->rig, &l);
    assert_int_equal(p.err.code, ERR_RESOURCE_EXHAUSTED);
    arena_free(l.arena);
}

int contract_lists(const struct rig_kind *k) {
    const struct CMUnitTest tests[] = {
        T(test_list_pages_newest_first_and_stays_stable_under_inserts),
        T(test_exactly_full_last_page_has_no_token),
        T(test_dash_location_lists_all_locations_of_the_project),
        T(test_every_order_pages_through_all_rows_once),
        T(test_page_token_of_another_list_is_refused),
        T(test_list_filters),
        T(test_the_largest_filters_are_answered),
        T(test_page_ends_short_after_many_refused_rows),
        T(test_pages_stay_stable_under_inserts_and_deletes),
        T(test_answer_larger_than_the_arena_is_an_error),
    };
    return cmocka_run_group_tests_name(k->name, tests, NULL, NULL);
}
