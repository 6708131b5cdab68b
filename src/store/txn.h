/* What a transaction is made of: the op list both stores walk when they apply it. Private to store.
 */
#ifndef CUSP_STORE_TXN_H
#define CUSP_STORE_TXN_H

#include "store/store.h"

enum store_op_type {
    STORE_OP_INSERT = 1, /* row */
    STORE_OP_UPDATE,     /* row: name, state, status, update_time, is_live */
    STORE_OP_REPLACE,    /* row: all but kind, parent, create_time */
    STORE_OP_EXPECT,     /* row: name, update_time */
    STORE_OP_DELETE,     /* row: name */
    STORE_OP_EVENT,      /* event */
    STORE_OP_KV,         /* kv; value.p NULL: delete */
    STORE_OP_KV_EXPECT,  /* kv; value.p NULL: must be absent */
};

/* Everything below lives in the transaction's arena, so an op may be read on any thread as long as
 * the transaction is in flight. */
struct store_op {
    struct store_op *next;
    enum store_op_type type;
    union {
        struct store_row row;
        struct store_event event;
        struct {
            struct str space, key, value;
        } kv;
    };
};

/* The errors of failed preconditions, worded once for every store. Each returns -1. */
int store_err_exists(struct err *err, struct str name);
int store_err_missing(struct err *err, struct str name);
int store_err_event_exists(struct err *err, const struct store_event *ev);
int store_err_stale(struct err *err, struct str name);
int store_err_expect(struct err *err, struct str space, struct str key);

#endif
