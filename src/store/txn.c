/* Builds the op list of a transaction. Everything is copied into the transaction's own arena, so
 * callers may give views of anything. Applying the list is the business of each store. */
#include "store/txn.h"

#include "store/row.h"

void store_txn_init(struct store_txn *t, void (*cb)(struct store_txn *, const struct err *),
                    void *arg) {
    *t = (struct store_txn){.cb = cb, .arg = arg};
    list_init(&t->link);
}

void store_txn_fini(struct store_txn *t) {
    CHECK(list_is_empty(&t->link)); /* else it is still being committed */
    arena_free(t->arena);
    t->arena = NULL;
    t->ops_head = t->ops_tail = NULL;
    t->nr_ops = 0;
}

static struct store_op *add(struct store_txn *t, enum store_op_type type) {
    CHECK(list_is_empty(&t->link)); /* a transaction in flight is not changed */
    if (!t->arena) {
        t->arena = arena_new(ARENA_NO_MAX);
    }
    struct store_op *op = arena_alloc(t->arena, sizeof(*op));
    op->type = type;
    if (t->ops_tail) {
        t->ops_tail->next = op;
    } else {
        t->ops_head = op;
    }
    t->ops_tail = op;
    t->nr_ops++;
    return op;
}

/* arena_str with one guarantee more: a present but empty value keeps a pointer, because NULL means
 * absent in key/value ops. */
static struct str keep(struct store_txn *t, struct str s) {
    if (!s.p) {
        return s;
    }
    return str_n(arena_strndup(t->arena, s.p, s.n), s.n);
}

void store_txn_insert(struct store_txn *t, const struct store_row *row) {
    CHECK(row->name.n > 0 && row->kind.n > 0);
    struct store_op *op = add(t, STORE_OP_INSERT);
    bool copied = store_row_copy(t->arena, row, &op->row);
    CHECK(copied); /* the arena has no maximum */
}

void store_txn_update(struct store_txn *t, struct str name, struct str state, struct str status,
                      usec_t update_time, bool is_live) {
    struct store_op *op = add(t, STORE_OP_UPDATE);
    op->row = (struct store_row){.name = keep(t, name),
                                 .state = keep(t, state),
                                 .status = keep(t, status),
                                 .update_time = update_time,
                                 .is_live = is_live};
}

void store_txn_replace(struct store_txn *t, const struct store_row *row) {
    CHECK(row->name.n > 0);
    struct store_op *op = add(t, STORE_OP_REPLACE);
    bool copied = store_row_copy(t->arena, row, &op->row);
    CHECK(copied); /* the arena has no maximum */
}

void store_txn_expect(struct store_txn *t, struct str name, usec_t update_time) {
    struct store_op *op = add(t, STORE_OP_EXPECT);
    op->row = (struct store_row){.name = keep(t, name), .update_time = update_time};
}

void store_txn_delete(struct store_txn *t, struct str name) {
    struct store_op *op = add(t, STORE_OP_DELETE);
    op->row.name = keep(t, name);
}

void store_txn_event(struct store_txn *t, const struct store_event *ev) {
    CHECK(ev->seq > 0);
    struct store_op *op = add(t, STORE_OP_EVENT);
    op->event = *ev;
    op->event.owner = keep(t, ev->owner);
    op->event.body = keep(t, ev->body);
}

static void add_kv(struct store_txn *t, enum store_op_type type, const char *space, struct str key,
                   struct str value) {
    struct store_op *op = add(t, type);
    op->kv.space = keep(t, str_of(space));
    op->kv.key = keep(t, key);
    op->kv.value = keep(t, value);
}

void store_txn_kv(struct store_txn *t, const char *space, struct str key, struct str value) {
    add_kv(t, STORE_OP_KV, space, key, value);
}

void store_txn_kv_expect(struct store_txn *t, const char *space, struct str key,
                         struct str expect) {
    add_kv(t, STORE_OP_KV_EXPECT, space, key, expect);
}

int store_err_exists(struct err *err, struct str name) {
    return err_set(err, ERR_ALREADY_EXISTS, "%.*s already exists", STR_ARG(name));
}

int store_err_missing(struct err *err, struct str name) {
    return err_set(err, ERR_NOT_FOUND, "%.*s not found", STR_ARG(name));
}

int store_err_stale(struct err *err, struct str name) {
    return err_set(err, ERR_ABORTED, "%.*s has been changed meanwhile; read it again and repeat",
                   STR_ARG(name));
}

int store_err_event_exists(struct err *err, const struct store_event *ev) {
    return err_set(err, ERR_ALREADY_EXISTS, "event %llu of %.*s already exists",
                   (unsigned long long)ev->seq, STR_ARG(ev->owner));
}

int store_err_expect(struct err *err, struct str space, struct str key) {
    return err_set(err, ERR_FAILED_PRECONDITION, "%.*s %.*s has changed meanwhile", STR_ARG(space),
                   STR_ARG(key));
}
