/* See rig_sqlite.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "rig_sqlite.h"
#include "sys/loop.h"

#include <unistd.h>

const char *rig_sqlite_path(const struct rig *r) {
    static char path[128];
    snprintf(path, sizeof(path), "%s/cusp.db", r->dir);
    return path;
}

void rig_sqlite_start(struct rig *r) {
    struct err err = {0};
    r->loop = loop_new();
    r->s = store_sqlite_open(r->loop, rig_sqlite_path(r), &err);
    if (!r->s) {
        fail_msg("%s", err.msg);
    }
}

static void on_closed(void *arg) {
    ((struct rig *)arg)->closed = true;
}

void rig_sqlite_stop(struct rig *r) {
    r->closed = false;
    r->s->ops->close(r->s, on_closed, r);
    assert_false(r->closed);
    while (!r->closed) {
        loop_turn(r->loop);
    }
    loop_free(r->loop);
}

void rig_sqlite_remove(const struct rig *r) {
    static const char *const ends[] = {"", "-wal", "-shm"};
    char path[160];
    for (size_t i = 0; i < NR_OF(ends); i++) {
        snprintf(path, sizeof(path), "%s%s", rig_sqlite_path(r), ends[i]);
        unlink(path);
    }
    rmdir(r->dir);
}

static void open_fresh(struct rig *r) {
    snprintf(r->dir, sizeof(r->dir), "/tmp/cusp-store-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    rig_sqlite_start(r);
}

static void turn(struct rig *r) {
    loop_turn(r->loop);
}

static void again(struct rig *r) {
    rig_sqlite_stop(r);
    rig_sqlite_start(r);
}

static void close_and_remove(struct rig *r) {
    rig_sqlite_stop(r);
    rig_sqlite_remove(r);
}

const struct rig_kind rig_sqlite = {"sqlite", open_fresh, turn, again, close_and_remove};
