/* The memory store: mem_db behind the asynchronous interface. Everything asked for waits in one
 * queue and is done in order, one completion at a time: by a task on the loop, or by store_mem_step
 * when there is no loop (simulation). A commit changes data at the moment its callback is about to
 * run, so neither peek nor a read can see what was not acknowledged. */
#include "store/mem_db.h"

#include "base/rng.h"
#include "sys/loop.h"

enum want_type {
    WANT_COMMIT,
    WANT_GET,
    WANT_LIST,
    WANT_KV_GET,
    WANT_KV_SCAN,
    WANT_LOAD,
    WANT_EVENTS,
    WANT_CLOSE
};

struct want {
    struct list link;
    enum want_type type;
    void *req; /* the caller's struct */
    usec_t given_at;
    void (*close_cb)(void *arg);
    void *close_arg;
};

struct mem_store {
    struct store base; /* first */
    struct loop *loop; /* NULL: simulation */
    struct loop_task task;
    struct list wants;     /* in the order given */
    struct list in_flight; /* transactions among them */
    struct mem_db *db;
    struct store_stats stats;
    bool is_closing;
};

static struct mem_store *mem_of(struct store *s) {
    return CONTAINER_OF(s, struct mem_store, base);
}

static struct want *want_add(struct store *s, enum want_type type, void *req) {
    struct mem_store *m = mem_of(s);
    CHECK(!m->is_closing);
    struct want *w = xcalloc(1, sizeof(*w));
    w->type = type;
    w->req = req;
    w->given_at = m->loop ? time_mono() : 0;
    list_push_tail(&m->wants, &w->link);
    if (m->loop) {
        loop_post(m->loop, &m->task);
    }
    return w;
}

static void mem_commit(struct store *s, struct store_txn *t) {
    CHECK(list_is_empty(&t->link));
    want_add(s, WANT_COMMIT, t);
    /* Being in a list marks the transaction as in flight (txn.c checks it). */
    list_push_tail(&mem_of(s)->in_flight, &t->link);
}

static void mem_get(struct store *s, struct store_get *g) {
    want_add(s, WANT_GET, g);
}

static void mem_list(struct store *s, struct store_list *l) {
    want_add(s, WANT_LIST, l);
}

static void mem_kv_get(struct store *s, struct store_kv_get *g) {
    want_add(s, WANT_KV_GET, g);
}

static void mem_kv_scan(struct store *s, struct store_kv_scan *k) {
    want_add(s, WANT_KV_SCAN, k);
}

static void mem_load(struct store *s, struct store_load *l) {
    want_add(s, WANT_LOAD, l);
}

static void mem_events(struct store *s, struct store_events *e) {
    want_add(s, WANT_EVENTS, e);
}

static const struct store_row *mem_peek(struct store *s, struct str name) {
    struct mem_store *m = mem_of(s);
    const struct store_row *row = mem_db_row(m->db, name);
    if (row) {
        m->stats.cache_hits++;
    } else {
        m->stats.cache_misses++;
    }
    return row;
}

static void mem_get_stats(struct store *s, struct store_stats *ret) {
    *ret = mem_of(s)->stats;
}

static void mem_close(struct store *s, void (*cb)(void *), void *arg) {
    struct want *w = want_add(s, WANT_CLOSE, NULL);
    w->close_cb = cb;
    w->close_arg = arg;
    mem_of(s)->is_closing = true;
}

static void do_commit(struct mem_store *m, struct store_txn *t, usec_t given_at) {
    err_clear(&t->err);
    t->failed = mem_db_apply(m->db, t, &t->err) < 0;
    m->stats.commits++;
    m->stats.batches++;
    m->stats.last_commit_latency = m->loop ? time_mono() - given_at : 0;
    t->cb(t, t->failed ? &t->err : NULL);
}

static void do_get(struct mem_store *m, struct store_get *g) {
    struct err err = {0};
    const struct store_row *row = mem_db_row(m->db, g->name);
    struct store_row copy;
    if (!row) {
        err_set(&err, ERR_NOT_FOUND, "%.*s not found", STR_ARG(g->name));
    } else if (!store_row_copy(g->arena, row, &copy)) {
        err_set(&err, ERR_RESOURCE_EXHAUSTED, "the row does not fit the request's memory");
    }
    g->cb(g, err.code ? NULL : &copy, err.code ? &err : NULL);
}

static void do_list(struct mem_store *m, struct store_list *l) {
    struct err err = {0};
    struct store_row *rows = NULL;
    size_t nr = 0;
    struct str token = STR("");
    int rc = mem_db_list(m->db, l, &rows, &nr, &token, &err);
    l->cb(l, rows, nr, token, rc < 0 ? &err : NULL);
}

static void do_kv_get(struct mem_store *m, struct store_kv_get *g) {
    struct err err = {0};
    struct str value = {0};
    int rc = mem_db_kv_get(m->db, g, &value, &err);
    g->cb(g, value, rc < 0 ? &err : NULL);
}

static void do_kv_scan(struct mem_store *m, struct store_kv_scan *k) {
    struct err err = {0};
    struct store_kv_pair *pairs = NULL;
    size_t nr = 0;
    int rc = mem_db_kv_scan(m->db, k, &pairs, &nr, &err);
    k->cb(k, pairs, nr, rc < 0 ? &err : NULL);
}

static void do_events(struct mem_store *m, struct store_events *e) {
    struct err err = {0};
    struct store_event *events = NULL;
    size_t nr = 0;
    int rc = mem_db_events(m->db, e, &events, &nr, &err);
    e->cb(e, events, nr, rc < 0 ? &err : NULL);
}

static void mem_free(struct mem_store *m) {
    if (m->loop) {
        loop_unpost(m->loop, &m->task);
    }
    free(m);
}

/* Takes one request off the queue and completes it. After the callback m may be gone. False when
 * the queue was empty or the store was closed. */
static bool step(struct mem_store *m) {
    if (list_is_empty(&m->wants)) {
        return false;
    }
    struct want w = *list_first(&m->wants, struct want, link);
    struct want *node = list_first(&m->wants, struct want, link);
    if (w.type == WANT_COMMIT) {
        list_del(&((struct store_txn *)w.req)->link);
    }
    list_del(&node->link);
    free(node);
    switch (w.type) {
    case WANT_COMMIT:
        do_commit(m, w.req, w.given_at);
        return true;
    case WANT_GET:
        do_get(m, w.req);
        return true;
    case WANT_LIST:
        do_list(m, w.req);
        return true;
    case WANT_KV_GET:
        do_kv_get(m, w.req);
        return true;
    case WANT_KV_SCAN:
        do_kv_scan(m, w.req);
        return true;
    case WANT_LOAD: {
        struct store_load *l = w.req;
        mem_db_load(m->db, l);
        l->end(l, NULL);
        return true;
    }
    case WANT_EVENTS:
        do_events(m, w.req);
        return true;
    case WANT_CLOSE:
        mem_db_free(m->db);
        mem_free(m);
        if (w.close_cb) {
            w.close_cb(w.close_arg);
        }
        return false;
    }
    return false;
}

/* One completion a turn of the task, then again: a callback may close the store. */
static void run_task(struct loop_task *t) {
    struct mem_store *m = CONTAINER_OF(t, struct mem_store, task);
    if (m->wants.next != m->wants.prev) {
        loop_post(m->loop, &m->task); /* more than one is waiting */
    }
    step(m);
}

static const struct store_ops mem_ops = {
    .commit = mem_commit,
    .get = mem_get,
    .peek = mem_peek,
    .list = mem_list,
    .kv_get = mem_kv_get,
    .kv_scan = mem_kv_scan,
    .load_live = mem_load,
    .events = mem_events,
    .get_stats = mem_get_stats,
    .close = mem_close,
};

static struct mem_store *make(struct loop *l, struct mem_db *db) {
    struct mem_store *m = xcalloc(1, sizeof(*m));
    m->base.ops = &mem_ops;
    m->loop = l;
    m->db = db;
    list_init(&m->wants);
    list_init(&m->in_flight);
    loop_task_init(&m->task, run_task);
    return m;
}

struct store *store_mem_new(struct loop *l) {
    /* A simulation must take the same road for the same seed, so its tokens are signed with zeros.
     */
    uint8_t key[TOKEN_KEY_BYTES] = {0};
    if (l) {
        rng_secret(key, sizeof(key));
    }
    return &make(l, mem_db_new(key))->base;
}

bool store_mem_step(struct store *s) {
    CHECK(!mem_of(s)->loop);
    return step(mem_of(s));
}

struct store *store_mem_crash(struct store *s, bool (*keep_pending)(void *), void *arg) {
    struct mem_store *m = mem_of(s);
    CHECK(!m->loop && !m->is_closing);
    /* Commits are durable in order, so what survives of the pending ones is a prefix. */
    bool keep = true;
    while (!list_is_empty(&m->wants)) {
        struct want *w = list_first(&m->wants, struct want, link);
        if (w->type == WANT_COMMIT) {
            struct store_txn *t = w->req;
            list_del(&t->link);
            keep = keep && keep_pending && keep_pending(arg);
            if (keep) {
                (void)mem_db_apply(m->db, t, NULL); /* a refused one leaves no trace, as ever */
            }
        }
        list_del(&w->link);
        free(w);
    }
    struct mem_store *again = make(NULL, m->db);
    mem_free(m);
    return &again->base;
}
