/* The durable store: SQLite behind the asynchronous interface.
 *
 * One writer lane owns the read-write connection. Commits gather in `pending` during a turn of the
 * loop and while a batch is being written; then all of them are written as one batch with one
 * fsync. Two reader lanes own a read-only connection each; a read goes to the shorter queue. Rows
 * that were committed (and whose callback has been delivered) are kept in a cache, so that peek and
 * most gets need no thread at all.
 *
 * Everything in struct sq belongs to the loop thread, except what is marked as the writer's: that
 * is touched by a lane only while `is_writing`, and by the loop thread only while not. */
#include "base/fail.h"
#include "store/cache.h"
#include "store/migrate.h"
#include "store/sqlite_read.h"
#include "store/sqlite_write.h"
#include "store/txn.h"
#include "store/wal_check.h"
#include "sys/lane.h"
#include "sys/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <unistd.h>

#define NR_READERS 2
#define CACHE_BYTES (4u << 20)
/* Bounds the time the first of a batch waits for the last. */
#define BATCH_MAX 1024
/* Pages in the log (4 KiB each) past which it is copied back: when there is nothing else to do, and
 * when there always is. */
#define CHECKPOINT_IDLE 512
#define CHECKPOINT_BUSY 4096

struct reader {
    struct lane *lane;
    struct db db;
    unsigned depth;
};

struct sq {
    struct store base; /* first */
    struct loop *loop;
    char *path;
    uint8_t token_key[TOKEN_KEY_BYTES];

    struct lane *writer;
    struct lane_work write_work, checkpoint_work;
    bool is_writing;     /* write_work or checkpoint_work is with the lane */
    struct list pending; /* transactions given, not yet in a batch */
    struct list batch;   /* the writer's while is_writing */
    struct db db;        /* the writer's */
    int wal_pages;       /* the writer's */
    struct loop_task begin_task;

    struct reader readers[NR_READERS];
    struct list ready; /* reads answered from the cache, and loads: rq.link */
    struct loop_task ready_task;
    unsigned nr_reads; /* given and not yet called back, of every sort */

    struct cache *cache;
    struct store_stats stats;
    struct loop_task end_task;
    bool is_closing;
    void (*close_cb)(void *);
    void *close_arg;
};

/* What a read keeps in its request's priv. */
struct rq {
    struct lane_work work;
    struct list link; /* sq.ready */
    struct sq *s;
    void *req;
    int (*run)(struct rq *, struct db *, struct err *); /* reader's thread; fills p, nr, text */
    void (*finish)(struct rq *, const struct err *);    /* loop thread: calls back */
    struct err *err;                                    /* NULL: fine; owned */
    void *p;
    struct str text;
    uint32_t nr;
    uint8_t reader;
    uint64_t commits_seen; /* delivered when the read was given */
};
_Static_assert(sizeof(struct rq) <= sizeof(((struct store_get *)0)->priv), "fits every request");
_Static_assert(sizeof(struct rq) <= sizeof(((struct store_list *)0)->priv), "fits every request");
_Static_assert(sizeof(struct rq) <= sizeof(((struct store_kv_get *)0)->priv), "fits every request");
_Static_assert(sizeof(struct rq) <= sizeof(((struct store_load *)0)->priv), "fits every request");

static struct sq *sq_of(struct store *s) {
    return CONTAINER_OF(s, struct sq, base);
}

static void end_if_idle(struct sq *s) {
    if (s->is_closing && !s->is_writing && s->nr_reads == 0 && list_is_empty(&s->pending)) {
        loop_post(s->loop, &s->end_task);
    }
}

/* ---- commits ---- */

static void run_batch(struct lane_work *w) {
    struct sq *s = CONTAINER_OF(w, struct sq, write_work);
    write_batch(&s->db, &s->batch);
    if (FAIL_POINT("store.commit.after_commit", NULL) < 0) {
        s->wal_pages = 0; /* as if the checkpoint that may follow had failed: no harm */
    }
}

static void run_checkpoint(struct lane_work *w) {
    struct sq *s = CONTAINER_OF(w, struct sq, checkpoint_work);
    /* Passive: readers are not waited for. What fails now is done by a later one. */
    int left = 0, done = 0;
    (void)sqlite3_wal_checkpoint_v2(s->db.handle, NULL, SQLITE_CHECKPOINT_PASSIVE, &left, &done);
    s->wal_pages = 0;
}

static void begin_batch(struct sq *s) {
    if (s->is_writing) {
        return;
    }
    bool busy = !list_is_empty(&s->pending);
    if (s->wal_pages >= (busy ? CHECKPOINT_BUSY : CHECKPOINT_IDLE)) {
        s->is_writing = true;
        lane_submit(s->writer, &s->checkpoint_work);
        return;
    }
    for (unsigned n = 0; n < BATCH_MAX && !list_is_empty(&s->pending); n++) {
        struct list *t = s->pending.next;
        list_del(t);
        list_push_tail(&s->batch, t);
    }
    if (!list_is_empty(&s->batch)) {
        s->is_writing = true;
        lane_submit(s->writer, &s->write_work);
    }
}

static void begin_task(struct loop_task *t) {
    begin_batch(CONTAINER_OF(t, struct sq, begin_task));
}

static void remember(struct sq *s, const struct store_txn *t) {
    for (const struct store_op *op = t->ops_head; op; op = op->next) {
        switch (op->type) {
        case STORE_OP_INSERT:
            cache_put(s->cache, &op->row);
            break;
        case STORE_OP_UPDATE:
            cache_update(s->cache, &op->row);
            break;
        case STORE_OP_REPLACE:
            cache_replace(s->cache, &op->row);
            break;
        case STORE_OP_DELETE:
            cache_del(s->cache, op->row.name);
            break;
        case STORE_OP_EVENT:
        case STORE_OP_EXPECT:
        case STORE_OP_KV:
        case STORE_OP_KV_EXPECT:
            break;
        }
    }
}

static void batch_done(struct lane_work *w) {
    struct sq *s = CONTAINER_OF(w, struct sq, write_work);
    usec_t now = time_mono();
    s->stats.batches++;
    while (!list_is_empty(&s->batch)) {
        struct store_txn *t = list_first(&s->batch, struct store_txn, link);
        list_del(&t->link);
        s->stats.commits++;
        s->stats.last_commit_latency = now - t->given_at;
        if (!t->failed) {
            remember(s, t);
        }
        t->cb(t, t->failed ? &t->err : NULL);
    }
    /* After the callbacks: what they committed shares the next batch. */
    s->is_writing = false;
    begin_batch(s);
    end_if_idle(s);
}

static void checkpoint_done(struct lane_work *w) {
    struct sq *s = CONTAINER_OF(w, struct sq, checkpoint_work);
    s->is_writing = false;
    begin_batch(s);
    end_if_idle(s);
}

static int on_wal(void *arg, sqlite3 *handle, const char *name, int pages) {
    ((struct sq *)arg)->wal_pages = pages; /* on the writer's thread */
    return SQLITE_OK;
}

static void sq_commit(struct store *base, struct store_txn *t) {
    struct sq *s = sq_of(base);
    CHECK(!s->is_closing && list_is_empty(&t->link));
    t->given_at = time_mono();
    list_push_tail(&s->pending, &t->link);
    loop_post(s->loop, &s->begin_task);
}

/* ---- reads ---- */

static void finish_read(struct rq *q) {
    struct sq *s = q->s;
    struct err *err = q->err;
    q->finish(q, err); /* the request may be gone now */
    free(err);
    s->nr_reads--;
    end_if_idle(s);
}

static void run_read(struct lane_work *w) {
    struct rq *q = CONTAINER_OF(w, struct rq, work);
    struct err err = {0};
    if (q->run(q, &q->s->readers[q->reader].db, &err) < 0) {
        q->err = xmalloc(sizeof(err));
        *q->err = err;
    }
}

static void read_done(struct lane_work *w) {
    struct rq *q = CONTAINER_OF(w, struct rq, work);
    q->s->readers[q->reader].depth--;
    finish_read(q);
}

static struct rq *rq_init(struct store *base, void *priv, void *req,
                          int (*run)(struct rq *, struct db *, struct err *),
                          void (*finish)(struct rq *, const struct err *)) {
    struct sq *s = sq_of(base);
    struct rq *q = priv;
    CHECK(!s->is_closing);
    *q = (struct rq){.work = {.run = run_read, .done = read_done},
                     .s = s,
                     .req = req,
                     .run = run,
                     .finish = finish,
                     .commits_seen = s->stats.commits};
    s->nr_reads++;
    return q;
}

static void rq_submit(struct rq *q) {
    struct sq *s = q->s;
    for (uint8_t i = 1; i < NR_READERS; i++) {
        if (s->readers[i].depth < s->readers[q->reader].depth) {
            q->reader = i;
        }
    }
    s->readers[q->reader].depth++;
    lane_submit(s->readers[q->reader].lane, &q->work);
}

static void rq_ready(struct rq *q) {
    list_push_tail(&q->s->ready, &q->link);
    loop_post(q->s->loop, &q->s->ready_task);
}

static int run_get(struct rq *q, struct db *db, struct err *err) {
    struct store_get *g = q->req;
    struct store_row *row = NULL;
    int rc = read_row(db, g->name, g->arena, &row, err);
    q->p = row;
    return rc;
}

static void finish_get(struct rq *q, const struct err *err) {
    struct store_get *g = q->req;
    /* Nothing was delivered since the read was given, so it cannot be older than the cache. */
    if (!err && q->commits_seen == q->s->stats.commits) {
        cache_put(q->s->cache, q->p);
    }
    g->cb(g, q->p, err);
}

static void finish_get_cached(struct rq *q, const struct err *err) {
    struct store_get *g = q->req;
    g->cb(g, q->p, err);
}

static void sq_get(struct store *base, struct store_get *g) {
    struct sq *s = sq_of(base);
    const struct store_row *row = cache_get(s->cache, g->name);
    if (!row) {
        s->stats.cache_misses++;
        rq_submit(rq_init(base, g->priv, g, run_get, finish_get));
        return;
    }
    s->stats.cache_hits++;
    struct rq *q = rq_init(base, g->priv, g, NULL, finish_get_cached);
    struct store_row *copy = arena_alloc(g->arena, sizeof(*copy));
    if (copy && store_row_copy(g->arena, row, copy)) {
        q->p = copy;
    } else {
        q->err = xcalloc(1, sizeof(*q->err));
        err_set(q->err, ERR_RESOURCE_EXHAUSTED, "the row does not fit the request's memory");
    }
    rq_ready(q);
}

static const struct store_row *sq_peek(struct store *base, struct str name) {
    struct sq *s = sq_of(base);
    const struct store_row *row = cache_get(s->cache, name);
    if (row) {
        s->stats.cache_hits++;
    } else {
        s->stats.cache_misses++;
    }
    return row;
}

static int run_list(struct rq *q, struct db *db, struct err *err) {
    struct store_list *l = q->req;
    struct store_row *rows = NULL;
    size_t nr = 0;
    q->text = STR("");
    int rc = read_list(db, q->s->token_key, l, &rows, &nr, &q->text, err);
    q->p = rows;
    q->nr = (uint32_t)nr;
    return rc;
}

static void finish_list(struct rq *q, const struct err *err) {
    struct store_list *l = q->req;
    l->cb(l, q->p, q->nr, q->text, err);
}

static void sq_list(struct store *base, struct store_list *l) {
    rq_submit(rq_init(base, l->priv, l, run_list, finish_list));
}

static int run_kv_get(struct rq *q, struct db *db, struct err *err) {
    return read_kv(db, q->req, &q->text, err);
}

static void finish_kv_get(struct rq *q, const struct err *err) {
    struct store_kv_get *g = q->req;
    g->cb(g, q->text, err);
}

static void sq_kv_get(struct store *base, struct store_kv_get *g) {
    rq_submit(rq_init(base, g->priv, g, run_kv_get, finish_kv_get));
}

static int run_kv_scan(struct rq *q, struct db *db, struct err *err) {
    struct store_kv_pair *p = NULL;
    size_t nr = 0;
    int rc = read_kv_scan(db, q->req, &p, &nr, err);
    q->p = p;
    q->nr = (uint32_t)nr;
    return rc;
}

static void finish_kv_scan(struct rq *q, const struct err *err) {
    struct store_kv_scan *k = q->req;
    k->cb(k, q->p, q->nr, err);
}

static void sq_kv_scan(struct store *base, struct store_kv_scan *k) {
    rq_submit(rq_init(base, k->priv, k, run_kv_scan, finish_kv_scan));
}

static int run_events(struct rq *q, struct db *db, struct err *err) {
    struct store_event *p = NULL;
    size_t nr = 0;
    int rc = read_events(db, q->req, &p, &nr, err);
    q->p = p;
    q->nr = (uint32_t)nr;
    return rc;
}

static void finish_events(struct rq *q, const struct err *err) {
    struct store_events *e = q->req;
    e->cb(e, q->p, q->nr, err);
}

static void sq_events(struct store *base, struct store_events *e) {
    rq_submit(rq_init(base, e->priv, e, run_events, finish_events));
}

/* Start-up, before there is anything else to do: on the loop thread, which the callbacks need, with
 * a connection of its own. */
static void finish_load(struct rq *q, const struct err *none) {
    struct store_load *l = q->req;
    struct err err = {0};
    struct db db;
    int rc = db_open(&db, q->s->path, DB_READER, &err);
    if (rc == 0) {
        rc = read_live(&db, l, &err);
        db_close(&db);
    }
    l->end(l, rc < 0 ? &err : NULL);
}

static void sq_load_live(struct store *base, struct store_load *l) {
    rq_ready(rq_init(base, l->priv, l, NULL, finish_load));
}

static void ready_task(struct loop_task *t) {
    struct sq *s = CONTAINER_OF(t, struct sq, ready_task);
    while (!list_is_empty(&s->ready)) {
        struct rq *q = list_first(&s->ready, struct rq, link);
        list_del(&q->link);
        finish_read(q);
    }
}

static void sq_get_stats(struct store *base, struct store_stats *ret) {
    struct sq *s = sq_of(base);
    *ret = s->stats;
    ret->rows_cached = cache_count(s->cache);
}

/* ---- life ---- */

static void sq_free(struct sq *s) {
    lane_close(s->writer);
    for (size_t i = 0; i < NR_READERS; i++) {
        lane_close(s->readers[i].lane);
        db_close(&s->readers[i].db);
    }
    db_close(&s->db); /* last: copies the log back and removes it */
    loop_unpost(s->loop, &s->begin_task);
    loop_unpost(s->loop, &s->ready_task);
    loop_unpost(s->loop, &s->end_task);
    cache_free(s->cache);
    free(s->path);
    free(s);
}

static void end_task(struct loop_task *t) {
    struct sq *s = CONTAINER_OF(t, struct sq, end_task);
    void (*cb)(void *) = s->close_cb;
    void *arg = s->close_arg;
    sq_free(s);
    if (cb) {
        cb(arg);
    }
}

static void sq_close(struct store *base, void (*cb)(void *), void *arg) {
    struct sq *s = sq_of(base);
    CHECK(!s->is_closing);
    s->is_closing = true;
    s->close_cb = cb;
    s->close_arg = arg;
    end_if_idle(s);
}

static const struct store_ops sq_ops = {
    .commit = sq_commit,
    .get = sq_get,
    .peek = sq_peek,
    .list = sq_list,
    .kv_get = sq_kv_get,
    .kv_scan = sq_kv_scan,
    .load_live = sq_load_live,
    .events = sq_events,
    .get_stats = sq_get_stats,
    .close = sq_close,
};

/* SQLite syncs the file, and the directory for its log; a new database file's name is ours to sync.
 */
static int sync_directory(const char *path, struct err *err) {
    auto_free char *copy = xstrdup(path);
    auto_close int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0) {
        return err_sys(err, errno, "sync the directory of %s", path);
    }
    return 0;
}

/* SQLite falls back silently where the file system cannot share memory; readers would then block
 * the writer, and the other way round. */
static int check_wal(struct db *db, const char *path, struct err *err) {
    sqlite3_stmt *st = db_stmt(db, DB_JOURNAL_MODE, err);
    if (!st || db_step(st, err) < 0) {
        return -1;
    }
    bool is_wal = str_eq(db_column(st, 0), STR("wal"));
    sqlite3_reset(st);
    return is_wal
               ? 0
               : err_set(err, ERR_FAILED_PRECONDITION,
                         "the file system of %s cannot hold the database (no shared memory files); "
                         "use a local disk",
                         path);
}

static int open_all(struct sq *s, struct err *err) {
    if (wal_check_report(s->path, err) < 0 || db_open(&s->db, s->path, DB_WRITER, err) < 0 ||
        check_wal(&s->db, s->path, err) < 0) {
        return -1;
    }
    sqlite3_wal_hook(s->db.handle, on_wal, s);
    if (migrate_run(s->db.handle, err) < 0 || read_token_key(&s->db, s->token_key, err) < 0) {
        return err_wrap(err, "open %s", s->path);
    }
    for (size_t i = 0; i < NR_READERS; i++) {
        if (db_open(&s->readers[i].db, s->path, DB_READER, err) < 0) {
            return -1;
        }
    }
    return sync_directory(s->path, err);
}

struct store *store_sqlite_open(struct loop *l, const char *path, struct err *err) {
    struct sq *s = xcalloc(1, sizeof(*s));
    s->base.ops = &sq_ops;
    s->loop = l;
    s->path = xstrdup(path);
    s->write_work = (struct lane_work){.run = run_batch, .done = batch_done};
    s->checkpoint_work = (struct lane_work){.run = run_checkpoint, .done = checkpoint_done};
    list_init(&s->pending);
    list_init(&s->batch);
    list_init(&s->ready);
    loop_task_init(&s->begin_task, begin_task);
    loop_task_init(&s->ready_task, ready_task);
    loop_task_init(&s->end_task, end_task);
    s->cache = cache_new(CACHE_BYTES);
    if (open_all(s, err) < 0) {
        sq_free(s);
        return NULL;
    }
    static const char *const names[NR_READERS] = {"store-read-0", "store-read-1"};
    s->writer = lane_new(l, "store-write", 1);
    for (size_t i = 0; i < NR_READERS; i++) {
        s->readers[i].lane = lane_new(l, names[i], 1);
    }
    return &s->base;
}
