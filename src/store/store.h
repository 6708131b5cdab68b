/* CONTRACT. The store: what cusp knows, durably. Implementations: sqlite, mem (tests, simulator).
 *
 * Rows are resources of any kind (a new kind is not a new table), plus events, plus small key/value
 * spaces. Everything is asynchronous: the caller owns the request struct (usually embedded in its
 * own object); the callback runs exactly once, on the loop thread, never from within the call.
 * Commits are applied in the order they were given (group commit keeps that order). A read started
 * after a commit's callback sees that commit. */
#ifndef CUSP_STORE_STORE_H
#define CUSP_STORE_STORE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/list.h"
#include "base/time.h"

struct store {
    const struct store_ops *ops;
};

struct store_label {
    struct str key, value;
};

/* One resource row. On writes: views stay valid until store_txn's callback (copy into txn arena
 * with the store_txn_* helpers, which do it). On reads: views live in the request's arena. */
struct store_row {
    struct str name;   /* primary key: full canonical resource name */
    struct str kind;   /* "customJob", "operation", "bucket", ... */
    struct str parent; /* "projects/N/locations/L" */
    struct str display_name;
    struct str state; /* enum name as clients filter on it, "JOB_STATE_RUNNING"; may be empty */
    usec_t create_time, update_time;
    bool is_live;      /* not terminal: loaded at start */
    struct str spec;   /* what the user sent (packed message); never rewritten after create */
    struct str status; /* the mutable half (a rec) */
    struct store_label *labels;
    size_t nr_labels;
};

struct store_event {
    struct str owner; /* resource name */
    uint64_t seq;     /* from 1, per owner */
    uint32_t type, version;
    usec_t time;
    struct str body; /* a rec */
};

/* ---- transactions ---- */
struct store_txn {
    /* caller: */
    void (*cb)(struct store_txn *, const struct err *err); /* err NULL: durable */
    void *arg;
    /* store's: */
    struct arena *arena;
    struct store_op *ops_head, *ops_tail;
    size_t nr_ops;
    struct list link;
    struct err err;
    bool failed;
    usec_t given_at; /* monotonic */
};

void store_txn_init(struct store_txn *t, void (*cb)(struct store_txn *, const struct err *),
                    void *arg);
void store_txn_fini(struct store_txn *t); /* after the callback, or instead of committing */

/* Row must not exist yet, else the whole transaction fails with ALREADY_EXISTS. Copies. */
void store_txn_insert(struct store_txn *t, const struct store_row *row);
/* Replaces state, status, update_time, is_live of an existing row (NOT_FOUND fails the txn). */
void store_txn_update(struct store_txn *t, struct str name, struct str state, struct str status,
                      usec_t update_time, bool is_live);
/* Replaces display_name, state, status, spec, labels, update_time and is_live of an existing row of
 * that name (NOT_FOUND fails the txn); kind, parent, create_time, place among the rows, and events
 * stay: row's are not looked at. For resources that clients may edit. */
void store_txn_replace(struct store_txn *t, const struct store_row *row);
/* Fails the txn with ABORTED unless the row's update_time is this one (NOT_FOUND: no such row): who
 * edits what it has read gives the time it read, and a later one with the edit. */
void store_txn_expect(struct store_txn *t, struct str name, usec_t update_time);
/* Deletes the row, its labels and its events. Missing row: NOT_FOUND fails the txn. */
void store_txn_delete(struct store_txn *t, struct str name);
/* (owner, seq) unique, else ALREADY_EXISTS. The owner's row must exist, or be inserted earlier in
 * this transaction (NOT_FOUND fails the txn). */
void store_txn_event(struct store_txn *t, const struct store_event *ev);
/* Key/value: small facts of modules, e.g. space "object", key "BUCKET/NAME". value.p NULL deletes.
 */
void store_txn_kv(struct store_txn *t, const char *space, struct str key, struct str value);
/* Fails the txn with FAILED_PRECONDITION unless the current value equals expect (p NULL: absent).
 */
void store_txn_kv_expect(struct store_txn *t, const char *space, struct str key, struct str expect);

/* ---- reads ---- */
struct store_get {
    struct str name;     /* caller keeps it valid until cb */
    struct arena *arena; /* result lives here */
    void (*cb)(struct store_get *, const struct store_row *row,
               const struct err *err); /* row NULL: NOT_FOUND */
    void *arg;
    _Alignas(16) char priv[192]; /* the store's */
};

struct filter; /* store/filter.h: a parsed list filter */

enum store_order_field {
    STORE_ORDER_CREATE_TIME,
    STORE_ORDER_UPDATE_TIME,
    STORE_ORDER_DISPLAY_NAME,
    STORE_ORDER_NAME,
    STORE_ORDER_STATE
};
#define STORE_ORDER_MAX 4 /* fields of one order */
struct store_order {
    enum store_order_field field;
    bool descending;
};

struct store_list {
    struct str kind, parent;     /* parent may use "-" for any location: "projects/N/locations/-" */
    const struct filter *filter; /* NULL: all */
    enum store_order_field order;
    bool descending;
    struct store_order then[STORE_ORDER_MAX - 1]; /* among rows that are equal so far */
    unsigned nr_then;                             /* ties left over go by insertion */
    unsigned page_size;                           /* > 0 */
    struct str page_token;  /* empty: first page; opaque, signed by the store over
                               (kind,parent,filter,order) */
    struct str filter_text; /* as sent: bound into the token */
    struct arena *arena;
    /* rows newest first by default: caller sets order=CREATE_TIME, descending=true. next_token
     * empty at the end. A page may be short of page_size, even empty, and have a next_token:
     * limits.max_list_scan rows were looked at in vain. */
    void (*cb)(struct store_list *, const struct store_row *rows, size_t nr, struct str next_token,
               const struct err *err);
    void *arg;
    _Alignas(16) char priv[256];
};

struct store_kv_pair {
    struct str key, value;
};
struct store_kv_get {
    const char *space;
    struct str key;
    struct arena *arena;
    void (*cb)(struct store_kv_get *, struct str value,
               const struct err *err); /* value.p NULL: absent */
    void *arg;
    _Alignas(16) char priv[192];
};
struct store_kv_scan {
    const char *space;
    struct str prefix; /* keys starting with it, bytewise order */
    struct str after;  /* exclusive lower bound; empty: from the start */
    unsigned max;      /* > 0 */
    struct arena *arena;
    void (*cb)(struct store_kv_scan *, const struct store_kv_pair *p, size_t n,
               const struct err *err);
    void *arg;
    _Alignas(16) char priv[192];
};

/* Start-up: every live row of a kind with its events in order; then end. Rows and events are valid
 * only during the call. Runs before the listener opens, so it may be synchronous inside. */
struct store_load {
    struct str kind;
    void (*row)(struct store_load *, const struct store_row *row, const struct store_event *ev,
                size_t nr_ev);
    void (*end)(struct store_load *, const struct err *err);
    void *arg;
    _Alignas(16) char priv[192];
};
/* All events of one owner (cusp replay, tests). */
struct store_events {
    struct str owner;
    struct arena *arena;
    void (*cb)(struct store_events *, const struct store_event *ev, size_t n,
               const struct err *err);
    void *arg;
    _Alignas(16) char priv[192];
};

struct store_stats {
    uint64_t commits, batches, rows_cached, cache_hits, cache_misses;
    usec_t last_commit_latency;
};

struct store_ops {
    void (*commit)(struct store *, struct store_txn *);
    void (*get)(struct store *, struct store_get *);
    /* Row from memory if it is there right now (a cache of committed rows): no callback. NULL: use
     * get. The row is valid until control returns to the loop. */
    const struct store_row *(*peek)(struct store *, struct str name);
    void (*list)(struct store *, struct store_list *);
    void (*kv_get)(struct store *, struct store_kv_get *);
    void (*kv_scan)(struct store *, struct store_kv_scan *);
    void (*load_live)(struct store *, struct store_load *);
    void (*events)(struct store *, struct store_events *);
    void (*get_stats)(struct store *, struct store_stats *ret);
    /* Finishes what was given, closes, frees; then cb. */
    void (*close)(struct store *, void (*cb)(void *arg), void *arg);
};

struct loop;
/* path: the database file (made and migrated when needed). */
struct store *store_sqlite_open(struct loop *l, const char *path, struct err *err);
/* loop may be NULL for the simulator: then completions are delivered by store_mem_step. */
struct store *store_mem_new(struct loop *l);
/* Simulator: delivers one pending completion (commit order kept); false when there is none, or when
 * it was the store's close (s is gone then). */
bool store_mem_step(struct store *s);
/* Simulator: forgets everything not yet committed-and-delivered as a crash would: uncommitted
 * transactions vanish (their callbacks are never called), committed data stays. Returns a fresh
 * handle on the same data; the old one is dead. lose_unacked: pending commits are dropped or
 * applied per coin flip by the caller-supplied function. */
struct store *store_mem_crash(struct store *s, bool (*keep_pending)(void *arg), void *arg);

#endif
