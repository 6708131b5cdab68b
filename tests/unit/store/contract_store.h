/* One suite for every store. A kind says how to open one, how to let it work, and how to open the
 * same data again. */
#ifndef CUSP_TESTS_CONTRACT_STORE_H
#define CUSP_TESTS_CONTRACT_STORE_H

#include "store/store.h"

struct rig {
    const struct rig_kind *kind;
    struct store *s;
    struct loop *loop; /* NULL for the stepped memory store */
    char dir[64];
    bool closed;
};

struct rig_kind {
    const char *name;
    void (*open)(struct rig *); /* fresh data */
    void (*turn)(
        struct rig *); /* lets at least one completion happen; fails the test when none can */
    void (*again)(struct rig *); /* ends this handle, opens a new one on the same data */
    void (*close)(struct rig *);
};

int contract_run(const struct rig_kind *kind);

/* Blocking wrappers around the asynchronous calls. Results live in the arena given. */
struct err rig_commit(struct rig *r,
                      struct store_txn *t); /* code 0: durable; the txn is finished */
struct err rig_get(struct rig *r, const char *name, struct arena *a, struct store_row *ret);
struct rig_page {
    const struct store_row *rows;
    size_t nr;
    struct str next;
    struct err err;
};
/* Uses every field of l but cb and arg. */
struct rig_page rig_list(struct rig *r, struct store_list *l);
struct str rig_kv(struct rig *r, const char *space, const char *key, struct arena *a);
struct rig_events {
    const struct store_event *p;
    size_t n;
};
struct rig_events rig_events(struct rig *r, const char *owner, struct arena *a);
/* A job row with sensible fields; id ends up in the name. */
struct store_row rig_row(struct arena *a, uint64_t id, usec_t create_time);

#endif
