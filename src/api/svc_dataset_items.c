/* DatasetService: data items, annotations and their specs, read from the dataset's file of items on
 * a lane while its state is held (api/datasets.h). */
#include "api/svc_dataset.h"

#include "api/read_mask.h"
#include "api/svc_dataset_order.h"
#include "api/svc_dataset_search.h"
#include "base/enc.h"
#include "base/limits.h"
#include "data/item_message.h"

#define PAGE_SIZE_DEFAULT 100
#define TOKEN_VERSION 1
#define TOKEN_OF_ORDER 2 /* by annotations: the place is bytes */
#define TOKEN_MAX 4096

/* One read. What the lane needs lies in the call's arena, which is its while the read runs. */
struct reading {
    struct call *call;
    struct dataset_fetch fetch;
    struct dataset_name name;
    struct dataset_view *view;
    struct lane_work work;
    int (*run)(struct reading *, struct items *, struct err *); /* sets resp */
    struct err err;
    bool failed;
    const struct pb_mask *mask;
    unsigned page_size;
    uint64_t bound; /* what a token is for */
    struct item_query query;
    uint64_t id, sub_id;
    struct item_search *search; /* NULL: a plain list */
    struct item_order *order;   /* NULL: that of import */
    struct str behind;          /* the place in it that a token says; "": the first page */
    unsigned annotations_limit;
    ProtobufCMessage *resp;
};

/* ---- the way there and back ---- */

static void on_lane(struct lane_work *w) {
    struct reading *r = CONTAINER_OF(w, struct reading, work);
    struct items *it = items_open(dataset_view_path(r->view), &r->err);
    r->failed = !it || r->run(r, it, &r->err) != 0;
    items_close(it);
}

static void on_read(struct lane_work *w) {
    struct reading *r = CONTAINER_OF(w, struct reading, work);
    dataset_view_release(r->view);
    if (w->cancelled) {
        err_set(&r->err, ERR_UNAVAILABLE, "the server is closing");
    }
    if (w->cancelled || r->failed) {
        call_fail(r->call, &r->err);
    } else {
        call_reply(r->call, r->resp);
    }
}

static void on_dataset(struct dataset_fetch *f, const struct store_row *row) {
    struct reading *r = f->arg;
    struct datasets *d = r->call->api->datasets;
    struct err err;
    if ((r->search && item_search_resolve(r->search, r->call->arena, row, &err)) ||
        (r->order && item_order_resolve(r->order, r->call->arena, row, &err))) {
        call_fail(r->call, &err);
        return;
    }
    r->view = dataset_view_take(d, row);
    r->work = (struct lane_work){.run = on_lane, .done = on_read};
    lane_submit(datasets_lane(d), &r->work);
}

static void begin(struct reading *r) {
    r->fetch = (struct dataset_fetch){
        .call = r->call, .what = "Dataset", .name = r->name.dataset, .then = on_dataset, .arg = r};
    r->query.dataset = r->name.dataset;
    dataset_fetch(&r->fetch);
}

/* ---- page tokens: a place in the order, good for one list only ---- */

static uint64_t list_of(struct reading *r, const char *what, const char *filter,
                        const char *order) {
    return str_hash(
        str_of(arena_printf(r->call->arena, "%s\n%.*s\n%.*s\n%s\n%s", what,
                            STR_ARG(r->name.dataset), STR_ARG(r->name.id), filter, order)));
}

static char *token_make(struct reading *r, uint64_t place) {
    auto_buf struct buf bytes = BUF_INIT(64), text = BUF_INIT(128);
    buf_putc(&bytes, TOKEN_VERSION);
    enc_varint(&bytes, r->bound);
    enc_varint(&bytes, place);
    enc_base64url(&text, bytes.p, bytes.n);
    return arena_strdup(r->call->arena, buf_cstr(&text));
}

static int bad_token(struct err *err) {
    return err_field(err, ERR_INVALID_ARGUMENT, "page_token",
                     "The page token is not one of this list: it belongs to the same parent, "
                     "filter and order.");
}

static char *order_token_make(struct reading *r, struct str place) {
    auto_buf struct buf bytes = BUF_INIT(BUF_NO_MAX), text = BUF_INIT(BUF_NO_MAX);
    buf_putc(&bytes, TOKEN_OF_ORDER);
    enc_varint(&bytes, r->bound);
    buf_put_str(&bytes, place);
    enc_base64url(&text, bytes.p, bytes.n);
    return arena_strdup(r->call->arena, buf_cstr(&text));
}

static int order_token_read(struct reading *r, const char *token, struct err *err) {
    auto_buf struct buf bytes = BUF_INIT(TOKEN_MAX);
    uint64_t bound;
    if (!token[0]) {
        return 0;
    }
    if (strlen(token) > TOKEN_MAX || !enc_unbase64(str_of(token), &bytes) || bytes.n < 2 ||
        bytes.p[0] != TOKEN_OF_ORDER) {
        return bad_token(err);
    }
    struct str s = str_sub(buf_str(&bytes), 1, bytes.n);
    if (!enc_unvarint(&s, &bound) || bound != r->bound || !s.n) {
        return bad_token(err);
    }
    r->behind = arena_str(r->call->arena, s);
    return 0;
}

static int token_read(struct reading *r, const char *token, uint64_t *ret, struct err *err) {
    auto_buf struct buf bytes = BUF_INIT(128);
    uint64_t bound, place;
    if (!token[0]) {
        return 0;
    }
    bool is_fine = strlen(token) < 100 && enc_unbase64(str_of(token), &bytes) && bytes.n > 1 &&
                   bytes.p[0] == TOKEN_VERSION;
    struct str s = is_fine ? str_sub(buf_str(&bytes), 1, bytes.n) : STR("");
    if (!is_fine || !enc_unvarint(&s, &bound) || !enc_unvarint(&s, &place) || s.n ||
        bound != r->bound || place > INT64_MAX) {
        return bad_token(err);
    }
    *ret = place;
    return 0;
}

static int parse_order(const char *field, const char *order, bool *ret_descending,
                       struct err *err) {
    struct str s = str_trim(str_of(order));
    if (!s.n || str_eqc(s, "create_time") || str_eqc(s, "createTime") ||
        str_eqc(s, "create_time asc")) {
        *ret_descending = false;
    } else if (str_eqc(s, "create_time desc") || str_eqc(s, "createTime desc")) {
        *ret_descending = true;
    } else {
        return err_field(err, ERR_INVALID_ARGUMENT, field,
                         "\"%.100s\" is no order of items: create_time and create_time desc are.",
                         order);
    }
    return 0;
}

static bool parse_id(struct str s, uint64_t *ret) {
    return str_to_u64(s, ret) && *ret > 0 && *ret <= INT64_MAX;
}

/* ---- data items ---- */

static int list_items(struct reading *r, struct items *it, struct err *err) {
    struct arena *a = r->call->arena;
    Aip__ListDataItemsResponse *resp = arena_own(a, sizeof(*resp));
    aip__list_data_items_response__init(resp);
    resp->data_items = arena_own_array(a, r->page_size, sizeof(*resp->data_items));
    struct item_cursor *c = items_scan(it, &r->query, err);
    const struct data_item *item = NULL;
    uint64_t last = 0;
    int rc = c ? 0 : -1;
    while (rc == 0) {
        rc = items_next(c, &item, err);
        if (rc || !item || resp->n_data_items == r->page_size) {
            break;
        }
        last = item->seq;
        Aip__DataItem *m = data_item_message(a, r->name.dataset, item);
        if (!m) {
            rc =
                err_set(err, ERR_RESOURCE_EXHAUSTED, "The page is too large: ask for fewer items.");
            break;
        }
        pb_mask_apply(r->mask, &m->base);
        resp->data_items[resp->n_data_items++] = m;
    }
    uint64_t next = rc ? 0 : item ? last : item_cursor_stopped_at(c);
    if (next) {
        resp->next_page_token = token_make(r, next);
    }
    item_cursor_free(c);
    r->resp = &resp->base;
    return rc;
}

void svc_dataset_items(struct call *c) {
    Aip__ListDataItemsRequest *req = (Aip__ListDataItemsRequest *)c->req;
    struct reading *r = arena_own(c->arena, sizeof(*r));
    struct err err;
    r->call = c;
    r->run = list_items;
    r->query.without_annotations = true;
    r->query.max_scan = limits.max_list_scan;
    r->page_size =
        dataset_page_size(c, req->page_size, PAGE_SIZE_DEFAULT, (unsigned)limits.max_page_size);
    if (!r->page_size) {
        return;
    }
    if (dataset_name_parse(c, req->parent, "parent", NULL, NULL, &r->name, &err) ||
        parse_order("order_by", req->order_by, &r->query.descending, &err) ||
        filter_parse(c->arena, str_of(req->filter), &item_schema, &r->query.items, &err) ||
        read_mask_parse(c->arena, req->read_mask, &aip__data_item__descriptor, &r->mask, &err)) {
        call_fail(c, &err);
        return;
    }
    r->bound = list_of(r, "items", req->filter, req->order_by);
    if (token_read(r, req->page_token, &r->query.after, &err)) {
        call_fail(c, &err);
        return;
    }
    begin(r);
}

/* ---- search ---- */

static Aip__DataItemView *view_of(struct reading *r, const struct data_item *item) {
    struct arena *a = r->call->arena;
    Aip__DataItemView *v = arena_own(a, sizeof(*v));
    aip__data_item_view__init(v);
    v->data_item = data_item_message(a, r->name.dataset, item);
    v->annotations = arena_own_array(a, item->nr_annotations + 1, sizeof(*v->annotations));
    for (size_t i = 0; v->data_item && i < item->nr_annotations; i++) {
        if (!item_search_takes(r->search, r->name.dataset, item, &item->annotations[i])) {
            continue;
        }
        if (v->n_annotations == r->annotations_limit) {
            v->has_truncated_annotations = true;
            break;
        }
        Aip__Annotation *n =
            data_annotation_message(a, r->name.dataset, item->id, &item->annotations[i]);
        if (!n) {
            return NULL;
        }
        v->annotations[v->n_annotations++] = n;
    }
    return v->data_item ? v : NULL;
}

static int search_items(struct reading *r, struct items *it, struct err *err) {
    struct arena *a = r->call->arena;
    Aip__SearchDataItemsResponse *resp = arena_own(a, sizeof(*resp));
    aip__search_data_items_response__init(resp);
    resp->data_item_views = arena_own_array(a, r->page_size, sizeof(*resp->data_item_views));
    struct item_cursor *c = items_scan(it, &r->query, err);
    const struct data_item *item = NULL;
    uint64_t last = 0, looked = 0;
    bool is_full = false;
    int rc = c ? 0 : -1;
    while (rc == 0 && !is_full) {
        rc = items_next(c, &item, err);
        if (rc || !item) {
            break;
        }
        bool passes = item_search_passes(r->search, r->name.dataset, item);
        is_full =
            passes ? resp->n_data_item_views == r->page_size : ++looked >= limits.max_list_scan;
        last = passes && is_full ? last : item->seq;
        if (passes && !is_full) {
            Aip__DataItemView *v = view_of(r, item);
            rc = v ? 0
                   : err_set(err, ERR_RESOURCE_EXHAUSTED,
                             "The page is too large: ask for fewer items.");
            if (v) {
                pb_mask_apply(r->mask, &v->base);
                resp->data_item_views[resp->n_data_item_views++] = v;
            }
        }
    }
    if (rc == 0 && is_full) {
        resp->next_page_token = token_make(r, last);
    }
    item_cursor_free(c);
    r->resp = &resp->base;
    return rc;
}

/* Everything is looked at, then the page's items are read again with what belongs to them. */
static int rank_items(struct reading *r, struct items *it, struct err *err) {
    const struct data_item *item = NULL;
    struct item_cursor *c = items_scan(it, &r->query, err);
    int rc = c ? 0 : -1;
    while (rc == 0) {
        rc = items_next(c, &item, err);
        if (rc || !item) {
            break;
        }
        if (item_search_passes(r->search, r->name.dataset, item)) {
            item_order_offer(r->order, item);
        }
    }
    item_cursor_free(c);
    return rc;
}

static int show_ranked(struct reading *r, struct items *it, Aip__SearchDataItemsResponse *resp,
                       struct err *err) {
    struct arena *a = r->call->arena;
    const struct data_item *item;
    size_t n = item_order_count(r->order);
    resp->data_item_views = arena_own_array(a, n + 1, sizeof(*resp->data_item_views));
    for (size_t i = 0; i < n; i++) {
        if (items_get(it, item_order_id(r->order, i), a, &item, err)) {
            return -1;
        }
        Aip__DataItemView *v = view_of(r, item);
        if (!v) {
            return err_set(err, ERR_RESOURCE_EXHAUSTED,
                           "The page is too large: ask for fewer items.");
        }
        pb_mask_apply(r->mask, &v->base);
        resp->data_item_views[resp->n_data_item_views++] = v;
    }
    if (item_order_next(r->order).n) {
        resp->next_page_token = order_token_make(r, item_order_next(r->order));
    }
    return 0;
}

static int search_ordered(struct reading *r, struct items *it, struct err *err) {
    Aip__SearchDataItemsResponse *resp = arena_own(r->call->arena, sizeof(*resp));
    aip__search_data_items_response__init(resp);
    item_order_begin(r->order, r->call->arena, r->page_size, r->behind);
    int rc = rank_items(r, it, err) || show_ranked(r, it, resp, err) ? -1 : 0;
    item_order_end(r->order);
    r->resp = &resp->base;
    return rc;
}

static int read_order(struct reading *r, const Aip__SearchDataItemsRequest *req,
                      const char **ret_text, struct err *err) {
    struct arena *a = r->call->arena;
    const Aip__SearchDataItemsRequest__OrderByAnnotation *by = req->order_by_annotation;
    if (req->order_case != AIP__SEARCH_DATA_ITEMS_REQUEST__ORDER_ORDER_BY_ANNOTATION) {
        bool is_new = req->order_case == AIP__SEARCH_DATA_ITEMS_REQUEST__ORDER_ORDER_BY_DATA_ITEM;
        *ret_text = is_new ? req->order_by_data_item : req->order_by;
        return parse_order("order_by_data_item", *ret_text, &r->query.descending, err);
    }
    r->run = search_ordered;
    *ret_text = arena_printf(a, "%s by annotation %s", by->order_by, by->saved_query);
    return item_order_parse(a, by, &r->order, err);
}

static int read_search(struct reading *r, const Aip__SearchDataItemsRequest *req, struct err *err) {
    struct call *c = r->call;
    const char *order;
    auto_buf struct buf all = BUF_INIT(limits.max_filter_bytes * 4);
    if (req->data_labeling_job[0]) {
        return err_field(err, ERR_INVALID_ARGUMENT, "data_labeling_job",
                         "There are no data labeling jobs.");
    }
    if (req->annotations_limit < 0 || req->annotations_limit > 1000) {
        return err_field(err, ERR_INVALID_ARGUMENT, "annotations_limit",
                         "%d is out of range: 1 to 1000, 0 for 1000.", req->annotations_limit);
    }
    r->annotations_limit = req->annotations_limit ? (unsigned)req->annotations_limit : 1000;
    if (dataset_name_parse(c, req->dataset, "dataset", NULL, NULL, &r->name, err) ||
        read_order(r, req, &order, err) ||
        read_mask_parse(c->arena, req->field_mask, &aip__data_item_view__descriptor, &r->mask,
                        err) ||
        item_search_parse(c->arena, req, &r->search, err)) {
        return -1;
    }
    buf_printf(&all, "%s\n%s\n%s", req->data_item_filter, req->annotations_filter,
               req->saved_query);
    for (size_t i = 0; i < req->n_annotation_filters; i++) {
        buf_printf(&all, "\n%s", req->annotation_filters[i]);
    }
    r->bound = list_of(r, "search", buf_cstr(&all), order);
    return r->order ? order_token_read(r, req->page_token, err)
                    : token_read(r, req->page_token, &r->query.after, err);
}

void svc_dataset_search(struct call *c) {
    Aip__SearchDataItemsRequest *req = (Aip__SearchDataItemsRequest *)c->req;
    struct reading *r = arena_own(c->arena, sizeof(*r));
    struct err err;
    r->call = c;
    r->run = search_items;
    r->page_size = dataset_page_size(c, req->page_size, 100, 100);
    if (!r->page_size) {
        return;
    }
    if (read_search(r, req, &err)) {
        call_fail(c, &err);
        return;
    }
    begin(r);
}

/* ---- annotations ---- */

static int list_annotations(struct reading *r, struct items *it, struct err *err) {
    struct arena *a = r->call->arena;
    auto_arena struct arena *scratch = arena_new(ARENA_NO_MAX);
    const struct data_item *item;
    Aip__ListAnnotationsResponse *resp = arena_own(a, sizeof(*resp));
    aip__list_annotations_response__init(resp);
    resp->annotations = arena_own_array(a, r->page_size, sizeof(*resp->annotations));
    if (items_get(it, r->id, a, &item, err)) {
        return -1;
    }
    size_t i = r->query.after < item->nr_annotations ? r->query.after : item->nr_annotations;
    for (; i < item->nr_annotations && resp->n_annotations < r->page_size; i++) {
        const struct data_annotation *n = &item->annotations[i];
        if (!annotation_matches(r->query.annotations, r->name.dataset, item->id, n, scratch)) {
            continue;
        }
        Aip__Annotation *m = data_annotation_message(a, r->name.dataset, item->id, n);
        if (!m) {
            return err_set(err, ERR_RESOURCE_EXHAUSTED,
                           "The page is too large: ask for fewer annotations.");
        }
        pb_mask_apply(r->mask, &m->base);
        resp->annotations[resp->n_annotations++] = m;
    }
    if (i < item->nr_annotations) {
        resp->next_page_token = token_make(r, i);
    }
    r->resp = &resp->base;
    return 0;
}

void svc_dataset_annotations(struct call *c) {
    Aip__ListAnnotationsRequest *req = (Aip__ListAnnotationsRequest *)c->req;
    struct reading *r = arena_own(c->arena, sizeof(*r));
    bool descending;
    struct err err;
    r->call = c;
    r->run = list_annotations;
    r->page_size =
        dataset_page_size(c, req->page_size, PAGE_SIZE_DEFAULT, (unsigned)limits.max_page_size);
    if (!r->page_size) {
        return;
    }
    if (dataset_name_parse(c, req->parent, "parent", "dataItems", NULL, &r->name, &err) ||
        parse_order("order_by", req->order_by, &descending, &err) ||
        filter_parse(c->arena, str_of(req->filter), &annotation_schema, &r->query.annotations,
                     &err) ||
        read_mask_parse(c->arena, req->read_mask, &aip__annotation__descriptor, &r->mask, &err)) {
        call_fail(c, &err);
        return;
    }
    if (descending || !parse_id(r->name.id, &r->id)) {
        if (descending) {
            err_field(&err, ERR_INVALID_ARGUMENT, "order_by",
                      "Annotations of one item come in the order they were imported.");
            call_fail(c, &err);
        } else {
            dataset_fail_missing(c, "DataItem", str_of(req->parent));
        }
        return;
    }
    r->bound = list_of(r, "annotations", req->filter, req->order_by);
    if (token_read(r, req->page_token, &r->query.after, &err)) {
        call_fail(c, &err);
        return;
    }
    begin(r);
}

static int get_spec(struct reading *r, struct items *it, struct err *err) {
    const struct data_spec *spec;
    if (items_get_spec(it, r->id, r->call->arena, &spec, err)) {
        return -1;
    }
    Aip__AnnotationSpec *m = data_spec_message(r->call->arena, r->name.dataset, spec);
    if (!m) {
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "The request is too large.");
    }
    pb_mask_apply(r->mask, &m->base);
    r->resp = &m->base;
    return 0;
}

void svc_dataset_spec(struct call *c) {
    Aip__GetAnnotationSpecRequest *req = (Aip__GetAnnotationSpecRequest *)c->req;
    struct reading *r = arena_own(c->arena, sizeof(*r));
    struct err err;
    r->call = c;
    r->run = get_spec;
    if (dataset_name_parse(c, req->name, "name", "annotationSpecs", NULL, &r->name, &err) ||
        read_mask_parse(c->arena, req->read_mask, &aip__annotation_spec__descriptor, &r->mask,
                        &err)) {
        call_fail(c, &err);
    } else if (!parse_id(r->name.id, &r->id)) {
        dataset_fail_missing(c, "AnnotationSpec", str_of(req->name));
    } else {
        begin(r);
    }
}
