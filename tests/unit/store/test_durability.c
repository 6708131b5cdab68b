/* Faults of the SQLite store: kill -9 around a commit, a full disk, foreign and newer databases,
 * databases of every released version. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "rig_sqlite.h"
#include "base/fail.h"
#include "store/migrate.h"
#include "sys/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

static void make_dir(struct rig *r) {
    *r = (struct rig){.kind = &rig_sqlite};
    snprintf(r->dir, sizeof(r->dir), "/tmp/cusp-store-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
}

/* ---- kill -9 ---- */

struct writer {
    struct rig *r;
    struct store_txn t;
    uint64_t next;
    int acks; /* pipe: the number of each acknowledged row */
};

static void write_next(struct writer *w);

static void on_written(struct store_txn *t, const struct err *err) {
    struct writer *w = t->arg;
    store_txn_fini(t);
    if (!err && write(w->acks, &w->next, sizeof(w->next)) != sizeof(w->next)) {
        _exit(3);
    }
    w->next++;
    write_next(w);
}

static void write_next(struct writer *w) {
    struct arena *a = arena_new(ARENA_NO_MAX);
    struct store_row row = rig_row(a, w->next, w->next);
    struct store_event ev = {.owner = row.name, .seq = 1, .type = 1, .body = STR("made")};
    store_txn_init(&w->t, on_written, w);
    store_txn_insert(&w->t, &row);
    store_txn_event(&w->t, &ev);
    store_txn_kv(&w->t, "last", STR("row"), row.name);
    w->r->s->ops->commit(w->r->s, &w->t);
    arena_free(a);
}

static _Noreturn void child(struct rig *r, const char *failpoints, int acks) {
    setenv("CUSP_FAILPOINTS", failpoints, 1);
    rig_sqlite_start(r);
    struct writer w = {.r = r, .acks = acks};
    write_next(&w);
    for (int turns = 0; turns < 2000; turns++) {
        loop_turn(r->loop);
    }
    _exit(2); /* the fail point never fired */
}

__attribute__((unused)) /* without fail points */ static void
check_after_kill(const char *failpoints, bool last_may_be_there) {
    struct rig r;
    int fds[2];
    make_dir(&r);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        child(&r, failpoints, fds[1]);
    }
    close(fds[1]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

    rig_sqlite_start(&r);
    struct arena *a = arena_new(ARENA_NO_MAX);
    uint64_t id, nr = 0;
    struct store_row got, row;
    while (read(fds[0], &id, sizeof(id)) == sizeof(id)) {
        assert_int_equal(id, nr++);
        row = rig_row(a, id, id);
        assert_int_equal(rig_get(&r, row.name.p, a, &got).code, 0);
        assert_int_equal(rig_events(&r, row.name.p, a).n, 1);
    }
    close(fds[0]);
    assert_int_equal(nr, 4); /* the points are armed for the fifth commit */
    row = rig_row(a, nr, nr);
    bool is_there = rig_get(&r, row.name.p, a, &got).code == 0;
    assert_int_equal(is_there, last_may_be_there);
    assert_int_equal(rig_events(&r, row.name.p, a).n, is_there); /* all of it or nothing */
    row = rig_row(a, nr - !is_there, 0);
    assert_true(str_eq(rig_kv(&r, "last", "row", a), row.name));
    arena_free(a);
    rig_sqlite_stop(&r);
    rig_sqlite_remove(&r);
}

static void test_kill_at_every_point_of_a_commit_loses_nothing_acknowledged(void **state) {
#ifdef CUSP_FAILPOINTS
    check_after_kill("store.commit.before_begin=abort@5", false);
    check_after_kill("store.commit.before_commit=abort@5", false);
    check_after_kill("store.commit.after_commit=abort@5", true);
#else
    print_message("SKIPPED: needs -Dfailpoints=true\n");
    skip();
#endif
}

#ifdef CUSP_FAILPOINTS
/* Fail points are read once a process, so each case runs in a child. */
static void in_child(const char *failpoints, void (*fn)(struct rig *)) {
    struct rig r;
    make_dir(&r);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        setenv("CUSP_FAILPOINTS", failpoints, 1);
        rig_sqlite_start(&r);
        fn(&r);
        rig_sqlite_stop(&r);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    rig_sqlite_remove(&r);
}

#define EXPECT(cond)                                                                               \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                             \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static struct err insert(struct rig *r, struct arena *a, uint64_t id) {
    struct store_row row = rig_row(a, id, id);
    struct store_txn t;
    store_txn_init(&t, NULL, NULL);
    store_txn_insert(&t, &row);
    return rig_commit(r, &t);
}

static void second_commit_fails(struct rig *r) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct store_row got, row = rig_row(a, 2, 2);
    EXPECT(insert(r, a, 1).code == 0);
    struct err err = insert(r, a, 2);
    EXPECT(err.code == ERR_RESOURCE_EXHAUSTED && err.sys == ENOSPC);
    EXPECT(rig_get(r, row.name.p, a, &got).code == ERR_NOT_FOUND);
    EXPECT(insert(r, a, 2).code == 0); /* usable at once */
    EXPECT(rig_get(r, row.name.p, a, &got).code == 0);
}

static void every_commit_works(struct rig *r) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    for (uint64_t i = 0; i < 5; i++) {
        EXPECT(insert(r, a, i).code == 0);
    }
}
#endif

static void test_failing_commit_changes_nothing_and_the_next_one_works(void **state) {
#ifdef CUSP_FAILPOINTS
    in_child("store.commit.before_begin=errno:ENOSPC@2", second_commit_fails);
    in_child("store.commit.before_commit=errno:ENOSPC@2", second_commit_fails);
    in_child("store.commit.after_commit=errno:EIO", every_commit_works);
#else
    print_message("SKIPPED: needs -Dfailpoints=true\n");
    skip();
#endif
}

/* ---- a real full disk ---- */

static struct err insert_big(struct rig *r, struct arena *a, uint64_t id) {
    static char bytes[200000];
    struct store_row row = rig_row(a, id, id);
    row.spec = str_n(bytes, sizeof(bytes));
    struct store_txn t;
    store_txn_init(&t, NULL, NULL);
    store_txn_insert(&t, &row);
    return rig_commit(r, &t);
}

static void test_full_disk_refuses_writes_serves_reads_and_recovers(void **state) {
    struct rig r;
    make_dir(&r);
    if (mount("cusp-test", r.dir, "tmpfs", 0, "size=3m") < 0) {
        print_message("SKIPPED: cannot mount a tmpfs (%s)\n", strerror(errno));
        rmdir(r.dir);
        skip();
    }
    char ballast[96];
    snprintf(ballast, sizeof(ballast), "%s/ballast", r.dir);
    int fd = open(ballast, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(posix_fallocate(fd, 0, 1 << 20), 0);
    close(fd);
    rig_sqlite_start(&r);
    struct arena *a = arena_new(ARENA_NO_MAX);
    struct store_row got, row;
    struct err err = {0};
    uint64_t nr = 0;
    while ((err = insert_big(&r, a, nr)).code == 0) {
        nr++;
        assert_true(nr < 100);
    }
    assert_true(nr > 0);
    assert_int_equal(err.code, ERR_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(err.msg, "full"));
    assert_int_equal(insert_big(&r, a, nr).code, ERR_RESOURCE_EXHAUSTED);
    row = rig_row(a, 0, 0);
    assert_int_equal(rig_get(&r, row.name.p, a, &got).code, 0);
    struct store_list l = {.kind = row.kind, .parent = row.parent, .page_size = 100, .arena = a};
    assert_int_equal(rig_list(&r, &l).nr, nr);
    row = rig_row(a, nr, 0);
    assert_int_equal(rig_get(&r, row.name.p, a, &got).code, ERR_NOT_FOUND);
    unlink(ballast);
    assert_int_equal(insert_big(&r, a, nr).code, 0);
    assert_int_equal(rig_get(&r, row.name.p, a, &got).code, 0);
    rig_sqlite_stop(&r);
    rig_sqlite_start(&r);
    assert_int_equal(rig_list(&r, &l).nr, nr + 1);
    rig_sqlite_stop(&r);
    arena_free(a);
    assert_int_equal(umount(r.dir), 0);
    rmdir(r.dir);
}

/* ---- versions ---- */

static void run_sql(const struct rig *r, const char *sql) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(rig_sqlite_path(r), &db), SQLITE_OK);
    char *msg = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &msg) != SQLITE_OK) {
        fail_msg("%s", msg);
    }
    sqlite3_close(db);
}

static void refused(const char *sql, const char *why) {
    struct rig r;
    struct err err = {0};
    make_dir(&r);
    run_sql(&r, sql);
    r.loop = loop_new();
    assert_null(store_sqlite_open(r.loop, rig_sqlite_path(&r), &err));
    assert_int_equal(err.code, ERR_FAILED_PRECONDITION);
    if (!strstr(err.msg, why)) {
        fail_msg("%s", err.msg);
    }
    loop_free(r.loop);
    rig_sqlite_remove(&r);
}

static void test_newer_and_foreign_databases_are_refused(void **state) {
    refused("PRAGMA application_id = 1668641648; PRAGMA user_version = 99; CREATE TABLE t (x)",
            "newer");
    refused("CREATE TABLE bookmarks (url TEXT)", "not a cusp database");
}

static void test_databases_of_every_released_version_open(void **state) {
    for (int version = 1; version <= STORE_SCHEMA_VERSION; version++) {
        struct rig r;
        char path[512];
        make_dir(&r);
        snprintf(path, sizeof(path), "%s/schema-%d.sql", TEST_DATA_DIR, version);
        FILE *f = fopen(path, "re");
        if (!f) {
            fail_msg("no dump of version %d: %s", version, path);
        }
        auto_buf struct buf sql = BUF_INIT(1 << 20);
        char chunk[4096];
        for (size_t n; (n = fread(chunk, 1, sizeof(chunk), f));) {
            assert_int_equal(buf_put(&sql, chunk, n), 0);
        }
        fclose(f);
        run_sql(&r, buf_cstr(&sql));
        rig_sqlite_start(&r);
        struct arena *a = arena_new(ARENA_NO_MAX);
        struct store_row got;
        const char *name = "projects/1/locations/us-central1/customJobs/7";
        assert_int_equal(rig_get(&r, name, a, &got).code, 0);
        assert_true(str_eq(got.display_name, STR("job 7")));
        assert_true(str_eq(got.spec, STR("spec\0bytes")));
        assert_int_equal(got.nr_labels, 2);
        assert_int_equal(rig_events(&r, name, a).n, 2);
        assert_true(str_eq(rig_kv(&r, "object", "b/x", a), STR("v")));
        struct store_row row = rig_row(a, 8, 8);
        struct store_txn t;
        store_txn_init(&t, NULL, NULL);
        store_txn_insert(&t, &row);
        assert_int_equal(rig_commit(&r, &t).code, 0);
        arena_free(a);
        rig_sqlite_stop(&r);
        rig_sqlite_remove(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill_at_every_point_of_a_commit_loses_nothing_acknowledged),
        cmocka_unit_test(test_failing_commit_changes_nothing_and_the_next_one_works),
        cmocka_unit_test(test_full_disk_refuses_writes_serves_reads_and_recovers),
        cmocka_unit_test(test_newer_and_foreign_databases_are_refused),
        cmocka_unit_test(test_databases_of_every_released_version_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
