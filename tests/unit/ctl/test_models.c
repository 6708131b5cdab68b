/* The registry over the memory store: what one transaction holds, who waits for whom, crashes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "ctl/model.h"
#include "ctl/model_record.h"
#include "mem_rig.h"

#define PARENT "projects/1/locations/us-central1"
#define IRIS PARENT "/models/iris"

struct fix {
    struct mem_rig rig;
    struct models *m;
};

static void settle(struct fix *f) {
    mem_rig_settle(&f->rig, 200);
}

static void begin_life(struct fix *f) {
    f->m = models_new(&f->rig.clock.base, &f->rig.rng, f->rig.store);
}

static int setup(void **state) {
    struct fix *f = xcalloc(1, sizeof(*f));
    mem_rig_init(&f->rig);
    begin_life(f);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fix *f = *state;
    bool stopped = false;
    models_stop(f->m, mem_rig_on_stopped, &stopped);
    settle(f);
    assert_true(stopped);
    models_free(f->m);
    mem_rig_fini(&f->rig);
    free(f);
    return 0;
}

/* ---- doing and looking ---- */

struct told {
    struct model_upload u;
    struct str aliases[4];
    unsigned answers, joined;
    uint64_t version;
    bool is_again;
    char name[200];
    enum err_code code;
    char field[64];
};

static void on_uploaded(struct model_upload *u, const struct model_uploaded *up,
                        const struct err *err) {
    struct told *t = u->arg;
    t->answers++;
    t->code = err ? err->code : ERR_OK;
    snprintf(t->field, sizeof(t->field), "%.60s", err ? err->field : "");
    if (up) {
        t->version = up->version;
        t->is_again = up->is_again;
        snprintf(t->name, sizeof(t->name), "%.*s", STR_ARG(up->version_name));
    }
}

static void join(void *arg, struct store_txn *txn, const struct model_uploaded *u) {
    struct told *t = arg;
    t->joined++;
    store_txn_kv(txn, "joined", u->version_name, STR("yes"));
}

static struct told *upload(struct fix *f, const char *id, const char *parent, const char *spec,
                           const char *alias, const char *token) {
    struct told *t = arena_own(f->rig.a, sizeof(*t));
    t->aliases[0] = str_of(alias);
    t->u = (struct model_upload){.parent = STR(PARENT),
                                 .model_id = str_of(id),
                                 .parent_model = str_of(parent),
                                 .spec = str_of(spec),
                                 .display_name = STR("Iris"),
                                 .aliases = t->aliases,
                                 .nr_aliases = alias ? 1 : 0,
                                 .facts = STR("pipeline=" PARENT "/trainingPipelines/5\n"),
                                 .seal = STR("3 0a0b0c0d 7 model.pkl\n"),
                                 .token = str_of(token),
                                 .join = join,
                                 .join_arg = t,
                                 .cb = on_uploaded,
                                 .arg = t};
    model_upload(f->m, &t->u);
    assert_int_equal(t->answers, 0); /* never from within the call */
    return t;
}

struct seen {
    struct model_get g;
    bool ok;
    uint64_t version;
    char spec[64], display_name[64];
    enum err_code code;
    struct model_record record;
    struct str label;
};

static void on_seen(struct model_get *g, const struct model_found *found, const struct err *err) {
    struct seen *s = g->arg;
    s->ok = !err;
    s->code = err ? err->code : ERR_OK;
    if (found) {
        const struct store_row *row = found->version_row ? found->version_row : found->model;
        s->version = found->version;
        snprintf(s->spec, sizeof(s->spec), "%.*s", STR_ARG(row->spec));
        snprintf(s->display_name, sizeof(s->display_name), "%.*s",
                 STR_ARG(found->model->display_name));
        s->label = row->nr_labels ? row->labels[0].value : STR("");
        assert_int_equal(model_record_decode(g->arena, found->model->status, &s->record, NULL), 0);
    }
}

static struct seen *look(struct fix *f, const char *version) {
    struct seen *s = arena_own(f->rig.a, sizeof(*s));
    s->g = (struct model_get){
        .name = STR(IRIS), .version = str_of(version), .arena = f->rig.a, .cb = on_seen, .arg = s};
    model_get(f->m, &s->g);
    settle(f);
    return s;
}

struct changed {
    struct model_change c;
    struct str aliases[2];
    unsigned answers;
    bool has_found;
    uint64_t version;
    enum err_code code;
};

static void on_changed(struct model_change *c, const struct model_found *found,
                       const struct err *err) {
    struct changed *ch = c->arg;
    ch->answers++;
    ch->has_found = found;
    ch->version = found ? found->version : 0;
    ch->code = err ? err->code : ERR_OK;
}

static struct changed *change(struct fix *f, enum model_change_type type, const char *version,
                              const char *alias) {
    struct changed *ch = arena_own(f->rig.a, sizeof(*ch));
    ch->aliases[0] = str_of(alias);
    ch->c = (struct model_change){.type = type,
                                  .name = STR(IRIS),
                                  .version = str_of(version),
                                  .aliases = ch->aliases,
                                  .nr_aliases = alias ? 1 : 0,
                                  .cb = on_changed,
                                  .arg = ch};
    return ch;
}

static struct changed *changed(struct fix *f, enum model_change_type type, const char *version,
                               const char *alias) {
    struct changed *ch = change(f, type, version, alias);
    model_change(f->m, &ch->c);
    settle(f);
    assert_int_equal(ch->answers, 1);
    return ch;
}

static void on_kv(struct store_kv_scan *s, const struct store_kv_pair *p, size_t n,
                  const struct err *err) {
    assert_null(err);
    *(size_t *)s->arg = n;
}

static size_t nr_kv(struct fix *f, const char *space) {
    size_t n = 0;
    struct store_kv_scan s = {
        .space = space, .max = 100, .arena = f->rig.a, .cb = on_kv, .arg = &n};
    f->rig.store->ops->kv_scan(f->rig.store, &s);
    settle(f);
    return n;
}

/* ---- tests ---- */

static void test_a_version_and_all_that_goes_with_it(void **state) {
    struct fix *f = *state;
    struct told *t = upload(f, "iris", NULL, "one", NULL, "pipeline-5");
    settle(f);
    assert_int_equal(t->answers, 1);
    assert_int_equal(t->code, ERR_OK);
    assert_string_equal(t->name, IRIS "@1");
    assert_int_equal(t->joined, 1);
    assert_int_equal(nr_kv(f, "joined"), 1);
    assert_int_equal(nr_kv(f, MODEL_LINEAGE_SPACE), 1);
    assert_int_equal(nr_kv(f, MODEL_SEAL_SPACE), 1);
    assert_string_equal(look(f, "")->spec, "one");
    assert_string_equal(look(f, "default")->spec, "one");
    assert_int_equal(look(f, "2")->code, ERR_NOT_FOUND);
}

static void test_names_that_are_taken_or_missing(void **state) {
    struct fix *f = *state;
    upload(f, "iris", NULL, "one", NULL, NULL);
    struct told *twice = upload(f, "iris", NULL, "two", NULL, NULL);
    struct told *orphan = upload(f, NULL, PARENT "/models/nobody", "x", NULL, NULL);
    struct told *abroad =
        upload(f, NULL, "projects/1/locations/europe-west4/models/iris", "x", NULL, NULL);
    struct told *both = upload(f, "x", IRIS, "x", NULL, NULL);
    struct told *bad = upload(f, "9x", NULL, "x", NULL, NULL);
    struct told *alias = upload(f, NULL, IRIS, "x", "X", NULL);
    settle(f);
    assert_int_equal(twice->code, ERR_ALREADY_EXISTS);
    assert_string_equal(twice->field, "model_id");
    assert_int_equal(orphan->code, ERR_NOT_FOUND);
    assert_string_equal(orphan->field, "parent_model");
    assert_int_equal(abroad->code, ERR_INVALID_ARGUMENT);
    assert_string_equal(abroad->field, "parent_model");
    assert_int_equal(both->code, ERR_INVALID_ARGUMENT);
    assert_int_equal(bad->code, ERR_INVALID_ARGUMENT);
    assert_int_equal(alias->code, ERR_INVALID_ARGUMENT);
    assert_int_equal(twice->joined + orphan->joined + abroad->joined + alias->joined, 0);
    assert_int_equal(look(f, "")->version, 1);
}

static void test_uploads_to_one_parent_wait_for_each_other(void **state) {
    struct fix *f = *state;
    struct told *t[10];
    bool seen[12] = {0};
    upload(f, "iris", NULL, "zero", NULL, NULL);
    for (size_t i = 0; i < NR_OF(t); i++) {
        t[i] = upload(f, NULL, IRIS, arena_printf(f->rig.a, "spec %zu", i), "prod", NULL);
    }
    struct changed *merge = change(f, MODEL_MERGE_ALIASES, "1", "default");
    model_change(f->m, &merge->c);
    settle(f);
    for (size_t i = 0; i < NR_OF(t); i++) {
        assert_int_equal(t[i]->code, ERR_OK);
        assert_false(seen[t[i]->version]);
        seen[t[i]->version] = true;
        assert_in_range(t[i]->version, 2, 11);
        assert_string_equal(look(f, arena_printf(f->rig.a, "%u", (unsigned)t[i]->version))->spec,
                            arena_printf(f->rig.a, "spec %zu", i));
    }
    assert_int_equal(merge->code, ERR_OK);
    assert_int_equal(look(f, "")->version, 1);
    assert_int_equal(look(f, "prod")->version, 11);
}

static void test_a_token_makes_one_version(void **state) {
    struct fix *f = *state;
    struct told *one = upload(f, NULL, NULL, "one", NULL, "pipeline-5");
    struct told *two = upload(f, NULL, NULL, "one", NULL, "pipeline-5"); /* at the same time */
    settle(f);
    struct told *three = upload(f, NULL, NULL, "one", NULL, "pipeline-5");
    settle(f);
    assert_int_equal(one->code, ERR_OK);
    assert_int_equal(two->code, ERR_OK);
    assert_int_equal(three->code, ERR_OK);
    assert_true(one->is_again + two->is_again == 1 && three->is_again);
    assert_string_equal(one->name, two->name);
    assert_string_equal(one->name, three->name);
    assert_int_equal(nr_kv(f, "joined"), 1);
}

static void test_the_models_row_follows_its_default_version(void **state) {
    struct fix *f = *state;
    upload(f, "iris", NULL, "one", NULL, NULL);
    upload(f, NULL, IRIS, "two", NULL, NULL);
    upload(f, NULL, IRIS, "three", "default", NULL);
    settle(f);
    assert_string_equal(look(f, "")->spec, "three");
    assert_int_equal(changed(f, MODEL_MERGE_ALIASES, "2", "default")->code, ERR_OK);
    assert_string_equal(look(f, "")->spec, "two");
    assert_int_equal(changed(f, MODEL_DELETE_VERSION, "default", NULL)->code, ERR_OK);
    assert_string_equal(look(f, "")->spec, "three");
    assert_int_equal(look(f, "2")->code, ERR_NOT_FOUND);
    assert_int_equal(changed(f, MODEL_DELETE_VERSION, "3", NULL)->code, ERR_OK);
    assert_string_equal(look(f, "")->spec, "one");
    assert_int_equal(changed(f, MODEL_DELETE_VERSION, "1", NULL)->code, ERR_FAILED_PRECONDITION);
    assert_int_equal(changed(f, MODEL_DELETE_VERSION, "7", NULL)->code, ERR_NOT_FOUND);
}

static void test_labels_of_model_and_version_are_shown_together(void **state) {
    struct fix *f = *state;
    struct store_label red = {STR("team"), STR("red")}, blue = {STR("team"), STR("blue")};
    upload(f, "iris", NULL, "one", NULL, NULL);
    upload(f, NULL, IRIS, "two", NULL, NULL);
    settle(f);
    struct changed *ch = change(f, MODEL_UPDATE, "", NULL);
    ch->c.sets_labels = ch->c.sets_display_name = true;
    ch->c.labels = &red;
    ch->c.nr_labels = 1;
    ch->c.display_name = STR("Flowers");
    model_change(f->m, &ch->c);
    settle(f);
    assert_true(ch->has_found);
    assert_true(str_eqc(look(f, "")->label, "red"));
    assert_true(str_eqc(look(f, "2")->label, "red"));
    assert_string_equal(look(f, "2")->display_name, "Flowers");
    ch = change(f, MODEL_UPDATE_VERSION, "2", NULL);
    ch->c.sets_labels = ch->c.sets_description = true;
    ch->c.labels = &blue;
    ch->c.nr_labels = 1;
    ch->c.description = STR("second");
    model_change(f->m, &ch->c);
    settle(f);
    assert_int_equal(ch->version, 2);
    assert_true(str_eqc(look(f, "2")->label, "blue"));
    assert_true(str_eqc(look(f, "")->label, "red"));
    changed(f, MODEL_MERGE_ALIASES, "2", "default");
    assert_true(str_eqc(look(f, "")->label, "blue"));
}

static void test_deleting_leaves_nothing(void **state) {
    struct fix *f = *state;
    upload(f, "iris", NULL, "one", NULL, "t1");
    settle(f);
    for (unsigned i = 0; i < 1200; i++) { /* more than a page of them */
        upload(f, NULL, IRIS, "more", NULL, NULL);
        settle(f);
    }
    assert_int_equal(look(f, "1201")->code, ERR_OK);
    assert_int_equal(changed(f, MODEL_DELETE, "", NULL)->code, ERR_OK);
    assert_int_equal(look(f, "")->code, ERR_NOT_FOUND);
    assert_int_equal(nr_kv(f, MODEL_LINEAGE_SPACE), 0);
    assert_int_equal(nr_kv(f, MODEL_SEAL_SPACE), 0);
    assert_int_equal(nr_kv(f, "modelToken"), 0);
    assert_int_equal(changed(f, MODEL_DELETE, "", NULL)->code, ERR_NOT_FOUND);
    struct told *again = upload(f, "iris", NULL, "new", NULL, "t1");
    settle(f);
    assert_int_equal(again->version, 1);
}

static void on_checked(struct model_upload_check *c, const struct err *err) {
    *(enum err_code *)c->arg = err ? err->code : ERR_OK;
}

static enum err_code check(struct fix *f, const char *id, const char *parent, const char *alias) {
    enum err_code code = ERR_UNKNOWN;
    struct str a = str_of(alias);
    struct model_upload u = {.parent = STR(PARENT),
                             .model_id = str_of(id),
                             .parent_model = str_of(parent),
                             .aliases = &a,
                             .nr_aliases = alias ? 1 : 0};
    struct model_upload_check c = {.u = &u, .cb = on_checked, .arg = &code};
    model_upload_check(f->m, &c);
    settle(f);
    return code;
}

static void test_looking_ahead(void **state) {
    struct fix *f = *state;
    upload(f, "iris", NULL, "one", NULL, NULL);
    settle(f);
    assert_int_equal(check(f, "other", NULL, "prod"), ERR_OK);
    assert_int_equal(check(f, NULL, NULL, NULL), ERR_OK);
    assert_int_equal(check(f, NULL, IRIS, "prod"), ERR_OK);
    assert_int_equal(check(f, "iris", NULL, NULL), ERR_ALREADY_EXISTS);
    assert_int_equal(check(f, NULL, PARENT "/models/nobody", NULL), ERR_NOT_FOUND);
    assert_int_equal(check(f, "x", NULL, "Prod"), ERR_INVALID_ARGUMENT);
}

static bool coin(void *arg) {
    return rng_below(arg, 2);
}

/* A crash at any step: the version is there with all that goes with it, or nothing is. */
static void test_crashes_leave_all_or_nothing(void **state) {
    for (unsigned steps = 0; steps < 14; steps++) {
        for (uint64_t seed = 1; seed < 5; seed++) {
            struct fix *f;
            struct rng rng;
            rng_seed(&rng, seed);
            setup((void **)&f);
            upload(f, "iris", NULL, "one", NULL, NULL);
            settle(f);
            struct told *t = upload(f, NULL, IRIS, "two", "default", "tok");
            for (unsigned i = 0; i < steps; i++) {
                vclock_advance(&f->rig.clock, 0);
                (void)store_mem_step(f->rig.store);
            }
            unsigned answered = t->answers;
            f->rig.store = store_mem_crash(f->rig.store, coin, &rng);
            models_free(f->m);
            begin_life(f);
            struct seen *s = look(f, "");
            bool is_there = strcmp(s->spec, "two") == 0;
            assert_true(is_there || !answered);
            assert_int_equal(look(f, "2")->code, is_there ? ERR_OK : ERR_NOT_FOUND);
            assert_int_equal(nr_kv(f, "joined"), is_there ? 2 : 1);
            assert_int_equal(nr_kv(f, MODEL_SEAL_SPACE), is_there ? 2 : 1);
            struct told *again = upload(f, NULL, IRIS, "two", "default", "tok");
            settle(f);
            assert_int_equal(again->version, 2);
            assert_int_equal(again->is_again, is_there);
            teardown((void **)&f);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_version_and_all_that_goes_with_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names_that_are_taken_or_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_uploads_to_one_parent_wait_for_each_other, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_token_makes_one_version, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_models_row_follows_its_default_version, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_labels_of_model_and_version_are_shown_together, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_deleting_leaves_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_looking_ahead, setup, teardown),
        cmocka_unit_test(test_crashes_leave_all_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
