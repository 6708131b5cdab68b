/* google.longrunning.Operations over stored operation rows (reference 10 §7). Operations here are
 * finished when they are born; the rows exist so that a client that polls finds them. */
#include "api/svc.h"

#include "api/names.h"
#include "base/limits.h"
#include "base/log.h"
#include "pb/wkt.h"
#include "store/filter.h"

#define KIND "operation"
#define PAGE_SIZE_DEFAULT 100

/* Canonical name of an operation: nested and short forms are the same operation. */
static int operation_name(struct call *c, struct str name, struct str *ret, struct err *err) {
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
    *ret = str_of(arena_printf(c->arena, "%.*s/operations/%.*s", STR_ARG(n.parent), STR_ARG(id)));
    return 0;
}

struct op_call {
    struct call *call;
    struct store_get get;
    struct store_list list;
    struct store_txn txn;
    Google__Longrunning__Operation *op;
    struct str name;
};

static void fail_missing(struct call *c, struct str name) {
    struct err err;
    err_set(&err, ERR_NOT_FOUND, "The Operation \"%.*s\" does not exist.",
            (int)(name.n > 300 ? 300 : name.n), name.p);
    call_fail(c, &err);
}

static void on_got(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct op_call *oc = g->arg;
    struct call *c = oc->call;
    ProtobufCMessage *msg;
    struct err e;
    if (err && err->code != ERR_NOT_FOUND) {
        call_fail(c, err);
    } else if (err || !row) {
        fail_missing(c, oc->name);
    } else if (pb_unpack(c->arena, &google__longrunning__operation__descriptor, row->spec, &msg,
                         &e)) {
        call_fail(c, &e);
    } else {
        call_reply(c, msg);
    }
}

static void get_by_name(struct call *c, const char *name) {
    struct op_call *oc = arena_own(c->arena, sizeof(*oc));
    struct err err;
    oc->call = c;
    oc->name = str_of(name);
    if (operation_name(c, oc->name, &oc->get.name, &err)) {
        call_fail(c, &err);
        return;
    }
    oc->get.arena = c->arena;
    oc->get.cb = on_got;
    oc->get.arg = oc;
    c->api->store->ops->get(c->api->store, &oc->get);
}

void svc_operations_get(struct call *c) {
    get_by_name(c, ((Google__Longrunning__GetOperationRequest *)c->req)->name);
}

/* Every operation is finished already, so waiting is reading. */
void svc_operations_wait(struct call *c) {
    get_by_name(c, ((Google__Longrunning__WaitOperationRequest *)c->req)->name);
}

static void on_listed(struct store_list *l, const struct store_row *rows, size_t nr,
                      struct str next_token, const struct err *err) {
    struct op_call *oc = l->arg;
    struct call *c = oc->call;
    struct err e;
    if (err) {
        call_fail(c, err);
        return;
    }
    Google__Longrunning__ListOperationsResponse *resp = arena_own(c->arena, sizeof(*resp));
    google__longrunning__list_operations_response__init(resp);
    resp->operations = arena_own_array(c->arena, nr + 1, sizeof(*resp->operations));
    for (size_t i = 0; i < nr; i++) {
        ProtobufCMessage *msg;
        if (pb_unpack(c->arena, &google__longrunning__operation__descriptor, rows[i].spec, &msg,
                      &e)) {
            call_fail(c, &e);
            return;
        }
        resp->operations[resp->n_operations++] = (Google__Longrunning__Operation *)msg;
    }
    if (next_token.n) {
        resp->next_page_token = arena_strndup(c->arena, next_token.p, next_token.n);
    }
    call_reply(c, &resp->base);
}

static ProtobufCMessage *decode(struct arena *a, const struct store_row *row) {
    ProtobufCMessage *m;
    return pb_unpack(a, &google__longrunning__operation__descriptor, row->spec, &m, NULL) ? NULL
                                                                                          : m;
}

static const struct filter_schema operation_schema = {&google__longrunning__operation__descriptor,
                                                      decode};

void svc_operations_list(struct call *c) {
    Google__Longrunning__ListOperationsRequest *req =
        (Google__Longrunning__ListOperationsRequest *)c->req;
    struct op_call *oc = arena_own(c->arena, sizeof(*oc));
    struct name_parts n;
    struct err err;
    if (name_parse(c->api->projects, c->arena, str_of(req->name), "name", &n, &err)) {
        call_fail(c, &err);
        return;
    }
    if (req->page_size < 0) {
        err_field(&err, ERR_INVALID_ARGUMENT, "page_size", "Page size %d is negative.",
                  req->page_size);
        call_fail(c, &err);
        return;
    }
    unsigned size = req->page_size ? (unsigned)req->page_size : PAGE_SIZE_DEFAULT;
    oc->call = c;
    oc->list = (struct store_list){
        .kind = STR(KIND),
        .parent = n.parent,
        .order = STORE_ORDER_CREATE_TIME,
        .descending = true,
        .page_size = size > limits.max_page_size ? (unsigned)limits.max_page_size : size,
        .page_token = str_of(req->page_token),
        .filter_text = str_of(req->filter),
        .arena = c->arena,
        .cb = on_listed,
        .arg = oc,
    };
    const struct filter *filter = NULL;
    if (req->filter[0] &&
        filter_parse(c->arena, oc->list.filter_text, &operation_schema, &filter, &err)) {
        call_fail(c, &err);
        return;
    }
    oc->list.filter = filter;
    c->api->store->ops->list(c->api->store, &oc->list);
}

static void reply_empty(struct call *c) {
    Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
    call_reply(c, &empty.base);
}

static void on_cancel_looked(struct store_get *g, const struct store_row *row,
                             const struct err *err) {
    struct op_call *oc = g->arg;
    if (err && err->code != ERR_NOT_FOUND) {
        call_fail(oc->call, err);
    } else if (err || !row) {
        fail_missing(oc->call, oc->name);
    } else {
        reply_empty(oc->call); /* finished already: nothing to cancel */
    }
}

void svc_operations_cancel(struct call *c) {
    struct op_call *oc = arena_own(c->arena, sizeof(*oc));
    struct err err;
    oc->call = c;
    oc->name = str_of(((Google__Longrunning__CancelOperationRequest *)c->req)->name);
    if (operation_name(c, oc->name, &oc->get.name, &err)) {
        call_fail(c, &err);
        return;
    }
    oc->get.arena = c->arena;
    oc->get.cb = on_cancel_looked;
    oc->get.arg = oc;
    c->api->store->ops->get(c->api->store, &oc->get);
}

static void on_removed(struct store_txn *t, const struct err *err) {
    struct op_call *oc = t->arg;
    struct err copy;
    if (err) {
        copy = *err;
    }
    store_txn_fini(&oc->txn);
    if (err && copy.code == ERR_NOT_FOUND) {
        fail_missing(oc->call, oc->name);
    } else if (err) {
        call_fail(oc->call, &copy);
    } else {
        reply_empty(oc->call);
    }
}

void svc_operations_delete(struct call *c) {
    struct op_call *oc = arena_own(c->arena, sizeof(*oc));
    struct str name;
    struct err err;
    oc->call = c;
    oc->name = str_of(((Google__Longrunning__DeleteOperationRequest *)c->req)->name);
    if (operation_name(c, oc->name, &name, &err)) {
        call_fail(c, &err);
        return;
    }
    store_txn_init(&oc->txn, on_removed, oc);
    store_txn_delete(&oc->txn, name);
    c->api->store->ops->commit(c->api->store, &oc->txn);
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
    call_reply(oc->call, &oc->op->base);
}

void svc_operation_reply_deleted(struct call *c, struct str name) {
    struct op_call *oc = arena_own(c->arena, sizeof(*oc));
    struct name_parts n;
    struct err err;
    usec_t now = c->api->clock->ops->wall(c->api->clock);
    if (name_parse(c->api->projects, c->arena, name, "name", &n, &err)) {
        call_fail(c, &err);
        return;
    }
    Aip__GenericOperationMetadata generic = AIP__GENERIC_OPERATION_METADATA__INIT;
    generic.create_time = generic.update_time = wkt_timestamp(c->arena, now);
    Aip__DeleteOperationMetadata meta = AIP__DELETE_OPERATION_METADATA__INIT;
    meta.generic_metadata = &generic;
    Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;

    Google__Longrunning__Operation *op = arena_own(c->arena, sizeof(*op));
    google__longrunning__operation__init(op);
    op->name = arena_printf(c->arena, "%.*s/operations/%llu", STR_ARG(n.parent),
                            (unsigned long long)rng_resource_id(c->api->rng));
    op->metadata = wkt_any(c->arena, &meta.base);
    op->done = true;
    op->result_case = GOOGLE__LONGRUNNING__OPERATION__RESULT_RESPONSE;
    op->response = wkt_any(c->arena, &empty.base);

    struct buf packed = BUF_INIT(65536);
    (void)pb_pack(&op->base, &packed);
    oc->call = c;
    oc->op = op;
    store_txn_init(&oc->txn, on_stored, oc);
    store_txn_insert(&oc->txn, &(struct store_row){.name = str_of(op->name),
                                                   .kind = STR(KIND),
                                                   .parent = n.parent,
                                                   .create_time = now,
                                                   .update_time = now,
                                                   .spec = buf_str(&packed)});
    buf_fini(&packed);
    c->api->store->ops->commit(c->api->store, &oc->txn);
}
