#include "api/listing.h"

#include "api/names.h"
#include "api/read_mask.h"
#include "base/limits.h"
#include "base/log.h"
#include "pb/pb.h"

int listing_page_size(int32_t asked, unsigned otherwise, unsigned most, unsigned *ret,
                      struct err *err) {
    if (asked < 0) {
        return err_field(err, ERR_INVALID_ARGUMENT, "page_size",
                         "Page size %d is negative; leave it out or give 1 to %u.", asked, most);
    }
    unsigned n = asked ? (unsigned)asked : otherwise;
    *ret = n > most ? most : n;
    return 0;
}

/* ---- the response, by its descriptor ---- */

/* The response's one repeated message field. */
static const ProtobufCFieldDescriptor *page_field(const ProtobufCMessageDescriptor *d) {
    for (unsigned i = 0; i < d->n_fields; i++) {
        if (d->fields[i].label == PROTOBUF_C_LABEL_REPEATED &&
            d->fields[i].type == PROTOBUF_C_TYPE_MESSAGE) {
            return &d->fields[i];
        }
    }
    return NULL;
}

static ProtobufCMessage *response(struct arena *a, const ProtobufCMessageDescriptor *d,
                                  ProtobufCMessage **page, size_t nr, struct str token) {
    const ProtobufCFieldDescriptor *f = page_field(d);
    const ProtobufCFieldDescriptor *t =
        protobuf_c_message_descriptor_get_field_by_name(d, "next_page_token");
    ProtobufCMessage *resp = pb_new(a, d);
    if (!resp || !f || !t) {
        return NULL;
    }
    *(size_t *)((char *)resp + f->quantifier_offset) = nr;
    *(ProtobufCMessage ***)((char *)resp + f->offset) = page;
    if (token.n) {
        *(char **)((char *)resp + t->offset) = arena_strndup(a, token.p, token.n);
    }
    return resp;
}

static void on_listed(struct store_list *l, const struct store_row *rows, size_t nr,
                      struct str next_token, const struct err *err) {
    struct listing *li = l->arg;
    struct call *c = li->call;
    size_t n = 0;
    struct err e;
    if (err) {
        call_fail(c, err);
        return;
    }
    ProtobufCMessage **page = arena_own_array(c->arena, nr + 1, sizeof(*page));
    for (size_t i = 0; i < nr; i++) {
        if (li->kind->message(li, &rows[i], &page[n], &e)) {
            log_error("left out of a list", "kind=%s name=%.*s error=\"%s\"", li->kind->word,
                      STR_ARG(rows[i].name), e.msg);
            continue;
        }
        pb_mask_apply(li->mask, page[n++]);
    }
    ProtobufCMessage *resp = response(c->arena, li->kind->response, page, n, next_token);
    if (resp) {
        call_reply(c, resp);
    } else {
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "The page does not fit into one answer.");
        call_fail(c, &e);
    }
}

/* ---- the request ---- */

int listing_read(struct listing *li, const struct listing_asked *q, struct err *err) {
    const struct filter_schema *schema = li->kind->schema ? li->kind->schema : li->schema;
    struct arena *a = li->call->arena;
    if (listing_page_size(q->page_size, LISTING_PAGE_SIZE_DEFAULT, (unsigned)limits.max_page_size,
                          &li->list.page_size, err) ||
        read_mask_parse(a, q->read_mask, li->kind->resource, &li->mask, err) ||
        filter_parse(a, str_of(q->filter), schema, &li->list.filter, err)) {
        return -1;
    }
    li->list.filter_text = str_of(q->filter);
    li->list.page_token = str_of(q->page_token);
    li->list.arena = a;
    li->list.cb = on_listed;
    li->list.arg = li;
    return order_parse(q->order_by, &li->list, err);
}

void listing_start(struct listing *li) {
    struct store *st = li->call->api->store;
    st->ops->list(st, &li->list);
}

void listing_run(struct listing *li, const struct listing_asked *q) {
    struct err err;
    if (listing_read(li, q, &err)) {
        call_fail(li->call, &err);
    } else {
        listing_start(li);
    }
}

void listing_below(struct call *c, const char *parent, struct str kind,
                   const struct listing_kind *k, const struct listing_asked *q) {
    struct listing *li = arena_own(c->arena, sizeof(*li));
    struct name_parts n;
    struct err err;
    if (name_parse(c->api->projects, c->arena, str_of(parent), "parent", &n, &err)) {
        call_fail(c, &err);
        return;
    }
    if (n.rest.n) {
        err_field(&err, ERR_INVALID_ARGUMENT, "parent",
                  "Invalid parent \"%.200s\": expected projects/PROJECT/locations/LOCATION",
                  parent);
        call_fail(c, &err);
        return;
    }
    *li = (struct listing){.call = c, .kind = k, .list = {.kind = kind, .parent = n.parent}};
    listing_run(li, q);
}
