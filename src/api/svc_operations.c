/* google.longrunning.Operations over stored operation rows (reference 10 §7); their life is
 * operations.c's. An operation has one short name, PARENT/operations/ID, under which it is stored;
 * a nested one, PARENT/COLLECTION/ID/operations/ID, is understood as well. */
#include "api/svc.h"

#include "api/hold.h"
#include "api/names.h"
#include "api/operations.h"
#include "base/limits.h"
#include "base/log.h"
#include "pb/rpc.h"
#include "pb/wkt.h"
#include "store/filter.h"

#define PAGE_SIZE_DEFAULT 100
/* Of a client's own deadline, for the answer to arrive. */
#define WAIT_MARGIN (500 * (usec_t)USEC_PER_MSEC)

struct op_name {
    struct str row;      /* short and canonical: what the store knows it by */
    struct str resource; /* "datasets/9" of a nested name, else empty */
};

static int operation_name_parse(struct call *c, struct str name, struct op_name *ret,
                                struct err *err) {
    struct name_parts n;
    struct str id = {0};
    if (name_parse(c->api->projects, c->arena, name, "name", &n, err)) {
        return -1;
    }
    ptrdiff_t at = str_find(n.rest, STR("operations/"));
    if (at == 0 || (at > 0 && n.rest.p[at - 1] == '/')) {
        id = str_sub(n.rest, (size_t)at + sizeof("operations/") - 1, n.rest.n);
    }
    if (!id.n || str_chr(id, '/') >= 0) {
        return err_field(err, ERR_INVALID_ARGUMENT, "name",
                         "Invalid operation name \"%.*s\": expected "
                         "projects/PROJECT/locations/LOCATION/operations/ID",
                         (int)(name.n > 200 ? 200 : name.n), name.p);
    }
    ret->row =
        str_of(arena_printf(c->arena, "%.*s/operations/%.*s", STR_ARG(n.parent), STR_ARG(id)));
    ret->resource = at > 0 ? str_sub(n.rest, 0, (size_t)at - 1) : STR("");
    return 0;
}

struct op_call {
    struct call *call;
    struct str asked; /* the name as it was sent */
    struct op_name name;
    struct store_get get;
    struct store_list list;
    struct store_txn txn;
    Google__Longrunning__Operation *op;
    /* What to do with the row. */
    void (*then)(struct op_call *, const struct store_row *);
    struct hold hold;
    usec_t wait_until; /* mono; 0: WaitOperation was not asked for */
    bool was_held, looked_again, is_beta;
};

/* ---- answers ---- */

static void fail_missing(struct op_call *oc) {
    struct err err;
    struct str name = oc->asked;
    err_set(&err, ERR_NOT_FOUND, "The Operation \"%.*s\" does not exist.",
            (int)(name.n > 300 ? 300 : name.n), name.p);
    call_fail(oc->call, &err);
}

static void reply_empty(struct call *c) {
    Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
    call_reply(c, &empty.base);
}

/* JSON is written with the version's names anyway; packed messages carry them as they are. */
static void rename_type(struct arena *a, Google__Protobuf__Any *any) {
    static const char v1[] = "type.googleapis.com/google.cloud.aiplatform.v1.";
    struct str url = str_of(any ? any->type_url : NULL);
    if (str_starts(url, str_n(v1, sizeof(v1) - 1))) {
        any->type_url = arena_printf(a, "type.googleapis.com/google.cloud.aiplatform.v1beta1.%s",
                                     any->type_url + sizeof(v1) - 1);
    }
}

/* Does this client speak v1beta1? Where it does not say, what caused the operation decides. */
static bool speaks_beta(const struct call *c, bool is_beta) {
    if (!c->route) {
        return c->rpc->is_beta || is_beta;
    }
    bool names_version = !str_starts(xch_head(c->xch)->path, STR("/ui/"));
    return names_version ? c->json.version == PB_V1BETA1 : is_beta;
}

static void dress(struct call *c, Google__Longrunning__Operation *op, bool is_beta) {
    if (!c->route && speaks_beta(c, is_beta)) {
        rename_type(c->arena, op->metadata);
        if (op->result_case == GOOGLE__LONGRUNNING__OPERATION__RESULT_RESPONSE) {
            rename_type(c->arena, op->response);
        }
    }
}

void svc_operation_reply(struct call *c, Google__Longrunning__Operation *op, bool is_beta) {
    if (c->route) {
        c->json.version = speaks_beta(c, is_beta) ? PB_V1BETA1 : PB_V1;
    }
    dress(c, op, is_beta);
    call_reply(c, &op->base);
}

/* ---- looking one up ---- */

/* A nested name must be the operation's own resource, if it has one. */
static bool is_of(const struct store_row *row, struct str resource) {
    for (size_t i = 0; i < row->nr_labels && resource.n; i++) {
        if (str_eq(row->labels[i].key, STR(OPERATION_ABOUT))) {
            return str_eq(row->labels[i].value, resource);
        }
    }
    return true;
}

static void on_got(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct op_call *oc = g->arg;
    if (err && err->code != ERR_NOT_FOUND) {
        call_fail(oc->call, err);
    } else if (err || !row || !is_of(row, oc->name.resource)) {
        fail_missing(oc);
    } else {
        oc->then(oc, row);
    }
}

static void look(struct op_call *oc) {
    struct store *st = oc->call->api->store;
    oc->get =
        (struct store_get){.name = oc->name.row, .arena = oc->call->arena, .cb = on_got, .arg = oc};
    st->ops->get(st, &oc->get);
}

static struct op_call *begin(struct call *c, const char *name,
                             void (*then)(struct op_call *, const struct store_row *)) {
    struct op_call *oc = arena_own(c->arena, sizeof(*oc));
    struct err err;
    oc->call = c;
    oc->asked = str_of(name);
    oc->then = then;
    if (operation_name_parse(c, oc->asked, &oc->name, &err)) {
        call_fail(c, &err);
        return NULL;
    }
    return oc;
}

/* ---- get, wait ---- */

static void on_released(struct hold *w, enum hold_end end) {
    look(w->arg);
}

static bool try_hold(struct op_call *oc, const struct store_row *row) {
    struct call *c = oc->call;
    bool is_wait = oc->wait_until != 0;
    usec_t until = is_wait ? oc->wait_until : hold_get_until(c, row->create_time);
    if (oc->was_held || !until || !c->api->holds) {
        return false;
    }
    if (!operations_is_running(c->api->operations, oc->name.row)) {
        /* The row was read before the end was stored, and heard of after it: nobody would let it
         * go. Once, for the row may be one that nothing runs for. */
        bool again = !oc->looked_again;
        oc->looked_again = true;
        if (again) {
            look(oc);
        }
        return again;
    }
    oc->hold = (struct hold){.kind = is_wait ? HOLD_WAIT : HOLD_GET,
                             .name = oc->name.row,
                             .call = c,
                             .fn = on_released,
                             .arg = oc};
    oc->was_held = hold_begin(c->api->holds, &oc->hold, until);
    return oc->was_held;
}

static void reply_or_hold(struct op_call *oc, const struct store_row *row) {
    Google__Longrunning__Operation *op;
    struct err err;
    bool is_beta;
    if (operation_decode(oc->call->arena, row, &op, &is_beta, &err)) {
        call_fail(oc->call, &err);
    } else if (op->done || !try_hold(oc, row)) {
        svc_operation_reply(oc->call, op, is_beta);
    }
}

void svc_operations_get(struct call *c) {
    struct op_call *oc =
        begin(c, ((Google__Longrunning__GetOperationRequest *)c->req)->name, reply_or_hold);
    if (oc) {
        look(oc);
    }
}

/* Until the client's timeout, its deadline or our maximum, whichever comes first. What is not done
 * by then is answered as it is. */
void svc_operations_wait(struct call *c) {
    Google__Longrunning__WaitOperationRequest *req =
        (Google__Longrunning__WaitOperationRequest *)c->req;
    struct op_call *oc = begin(c, req->name, reply_or_hold);
    if (!oc) {
        return;
    }
    usec_t mono = c->api->clock->ops->mono(c->api->clock);
    usec_t wait = limits.max_operation_wait_s * USEC_PER_SEC;
    if (req->timeout && wkt_duration_usec(req->timeout) < wait) {
        wait = wkt_duration_usec(req->timeout);
    }
    oc->wait_until = mono + wait;
    if (c->deadline != USEC_NEVER && oc->wait_until + WAIT_MARGIN > c->deadline) {
        oc->wait_until = c->deadline > mono + WAIT_MARGIN ? c->deadline - WAIT_MARGIN : mono;
    }
    look(oc);
}

/* ---- list ---- */

static void on_listed(struct store_list *l, const struct store_row *rows, size_t nr,
                      struct str next_token, const struct err *err) {
    struct op_call *oc = l->arg;
    struct call *c = oc->call;
    struct err e;
    bool is_beta;
    if (err) {
        call_fail(c, err);
        return;
    }
    Google__Longrunning__ListOperationsResponse *resp = arena_own(c->arena, sizeof(*resp));
    google__longrunning__list_operations_response__init(resp);
    resp->operations = arena_own_array(c->arena, nr + 1, sizeof(*resp->operations));
    for (size_t i = 0; i < nr; i++) {
        Google__Longrunning__Operation *op;
        if (operation_decode(c->arena, &rows[i], &op, &is_beta, &e)) {
            log_error("operation left out of a list", "error=\"%s\"", e.msg);
            continue;
        }
        dress(c, op, is_beta);
        resp->operations[resp->n_operations++] = op;
    }
    if (next_token.n) {
        resp->next_page_token = arena_strndup(c->arena, next_token.p, next_token.n);
    }
    call_reply(c, &resp->base);
}

void svc_operations_list(struct call *c) {
    Google__Longrunning__ListOperationsRequest *req =
        (Google__Longrunning__ListOperationsRequest *)c->req;
    struct op_call *oc = arena_own(c->arena, sizeof(*oc));
    struct name_parts n;
    struct err err;
    const struct filter *filter = NULL;
    if (name_parse(c->api->projects, c->arena, str_of(req->name), "name", &n, &err)) {
        call_fail(c, &err);
        return;
    }
    if (req->page_size < 0) {
        err_field(&err, ERR_INVALID_ARGUMENT, "page_size",
                  "Page size %d is negative; leave it out or give 1 to %llu.", req->page_size,
                  (unsigned long long)limits.max_page_size);
        call_fail(c, &err);
        return;
    }
    if (filter_parse(c->arena, str_of(req->filter), &operation_schema, &filter, &err)) {
        call_fail(c, &err);
        return;
    }
    unsigned size = req->page_size ? (unsigned)req->page_size : PAGE_SIZE_DEFAULT;
    oc->call = c;
    oc->list = (struct store_list){
        .kind = STR(OPERATION_KIND),
        .parent = n.parent,
        .filter = filter,
        .order = STORE_ORDER_CREATE_TIME,
        .descending = true,
        .page_size = size > limits.max_page_size ? (unsigned)limits.max_page_size : size,
        .page_token = str_of(req->page_token),
        .filter_text = str_of(req->filter),
        .arena = c->arena,
        .cb = on_listed,
        .arg = oc,
    };
    if (n.rest.n) { /* of one resource; the token is bound to that too */
        oc->list.filter =
            filter_and(c->arena, filter_label(c->arena, STR(OPERATION_ABOUT), n.rest), filter);
        oc->list.filter_text =
            str_of(arena_printf(c->arena, "%.*s\n%s", STR_ARG(n.rest), req->filter));
    }
    c->api->store->ops->list(c->api->store, &oc->list);
}

/* ---- cancel, delete ---- */

/* Best effort, and nothing to do for what is finished already. */
static void cancel_it(struct op_call *oc, const struct store_row *row) {
    (void)operations_cancel(oc->call->api->operations, oc->name.row);
    reply_empty(oc->call);
}

void svc_operations_cancel(struct call *c) {
    struct op_call *oc =
        begin(c, ((Google__Longrunning__CancelOperationRequest *)c->req)->name, cancel_it);
    if (oc) {
        look(oc);
    }
}

static void on_removed(struct store_txn *t, const struct err *err) {
    struct op_call *oc = t->arg;
    struct err copy;
    if (err) {
        copy = *err;
    }
    store_txn_fini(&oc->txn);
    if (err) {
        operations_set_gone(oc->call->api->operations, oc->name.row, false);
    }
    if (err && copy.code == ERR_NOT_FOUND) {
        fail_missing(oc);
    } else if (err) {
        call_fail(oc->call, &copy);
    } else {
        reply_empty(oc->call);
    }
}

/* The client is no longer interested; what runs goes on. */
static void delete_it(struct op_call *oc, const struct store_row *row) {
    struct store *st = oc->call->api->store;
    operations_set_gone(oc->call->api->operations, oc->name.row, true);
    store_txn_init(&oc->txn, on_removed, oc);
    store_txn_delete(&oc->txn, oc->name.row);
    st->ops->commit(st, &oc->txn);
}

void svc_operations_delete(struct call *c) {
    struct op_call *oc =
        begin(c, ((Google__Longrunning__DeleteOperationRequest *)c->req)->name, delete_it);
    if (oc) {
        look(oc);
    }
}

/* ---- finished delete operations ---- */

/* What the operation tells has happened, stored or not: with a full disk only a later look at the
 * operation finds nothing, and no client looks again at what was done when it was answered. */
static void on_stored(struct store_txn *t, const struct err *err) {
    struct op_call *oc = t->arg;
    if (err) {
        log_warn("operation not stored", "name=%s error=\"%s\"", oc->op->name, err->msg);
    }
    store_txn_fini(&oc->txn);
    svc_operation_reply(oc->call, oc->op, oc->is_beta);
}

void svc_operation_reply_deleted(struct call *c, struct str name) {
    struct op_call *oc = arena_own(c->arena, sizeof(*oc));
    struct name_parts n;
    struct err err;
    if (name_parse(c->api->projects, c->arena, name, "name", &n, &err)) {
        call_fail(c, &err);
        return;
    }
    Aip__DeleteOperationMetadata meta = AIP__DELETE_OPERATION_METADATA__INIT;
    oc->call = c;
    oc->is_beta = c->rpc->is_beta;
    store_txn_init(&oc->txn, on_stored, oc);
    oc->op = operation_insert_done(
        c->api->operations, &oc->txn, c->arena,
        &(struct operation_about){
            .parent = n.parent, .resource = n.rest, .is_beta = oc->is_beta, .metadata = &meta.base},
        NULL);
    c->api->store->ops->commit(c->api->store, &oc->txn);
}
