/* See svc_dataset_order.h. A place is bytes that compare as the items do: of each field eight bytes
 * of a time, or a text and a zero, all inverted for "desc"; then the item's seq. */
#include "api/svc_dataset_order.h"

#include "api/dataset_message.h"

#define FIELDS_MAX 3u
#define FIELD "order_by_annotation"
#define HAS_ONE '\1'
#define HAS_NONE '\2'

enum order_field { BY_CREATE_TIME, BY_UPDATE_TIME, BY_DISPLAY_NAME };

struct placed {
    struct buf place;
    uint64_t id;
};

struct item_order {
    struct {
        enum order_field by;
        bool descending;
    } fields[FIELDS_MAX];
    size_t nr_fields;
    struct str query; /* its id */
    enum annotation_kind kind;
    struct str set;
    /* A page, and one more that says whether there is another. */
    struct placed *best;
    size_t nr, page;
    struct str behind;
    struct buf place, one; /* scratch */
};

/* ---- what is asked for ---- */

static bool field_of(struct str name, enum order_field *ret) {
    static const struct {
        const char *snake, *camel;
        enum order_field by;
    } known[] = {{"create_time", "createTime", BY_CREATE_TIME},
                 {"update_time", "updateTime", BY_UPDATE_TIME},
                 {"display_name", "displayName", BY_DISPLAY_NAME}};
    for (size_t i = 0; i < NR_OF(known); i++) {
        if (str_eqc(name, known[i].snake) || str_eqc(name, known[i].camel)) {
            *ret = known[i].by;
            return true;
        }
    }
    return false;
}

static int read_field(struct item_order *o, struct str text, struct err *err) {
    struct str rest = str_trim(text);
    struct str name = str_cut(&rest, ' '), way = str_trim(rest);
    bool is_desc = str_eqc(way, "desc");
    if (o->nr_fields == FIELDS_MAX || (way.n && !is_desc && !str_eqc(way, "asc")) ||
        !field_of(name, &o->fields[o->nr_fields].by)) {
        return err_field(err, ERR_INVALID_ARGUMENT, FIELD ".order_by",
                         "\"%.*s\" is no order of annotations: up to %u of create_time, "
                         "update_time and display_name are, each with \" desc\" or without.",
                         (int)(text.n < 100 ? text.n : 100), text.p, FIELDS_MAX);
    }
    o->fields[o->nr_fields++].descending = is_desc;
    return 0;
}

int item_order_parse(struct arena *a, const Aip__SearchDataItemsRequest__OrderByAnnotation *asked,
                     struct item_order **ret, struct err *err) {
    struct item_order *o = arena_own(a, sizeof(*o));
    struct str rest = str_of(asked->order_by), query = str_of(asked->saved_query);
    ptrdiff_t at = str_find(query, STR("/savedQueries/"));
    if (!query.n) {
        return err_field(err, ERR_INVALID_ARGUMENT, FIELD ".saved_query",
                         "Required field is not set: whose annotations say the order.");
    }
    o->query = arena_str(a, at < 0 ? query : str_sub(query, (size_t)at + 14, query.n));
    if (!str_trim(rest).n) {
        rest = STR("create_time");
    }
    while (rest.n) {
        if (read_field(o, str_cut(&rest, ','), err)) {
            return -1;
        }
    }
    *ret = o;
    return 0;
}

int item_order_resolve(struct item_order *o, struct arena *a, const struct store_row *row,
                       struct err *err) {
    Aip__Dataset *ds;
    if (dataset_message(a, row, &ds, err)) {
        return -1;
    }
    if (!dataset_saved_query(ds, o->query, &o->kind, &o->set)) {
        return err_field(err, ERR_NOT_FOUND, FIELD ".saved_query",
                         "The dataset has no SavedQuery \"%.*s\".",
                         (int)(o->query.n < 60 ? o->query.n : 60), o->query.p);
    }
    return 0;
}

/* ---- places ---- */

static void put_number(struct buf *b, uint64_t v) {
    for (int shift = 56; shift >= 0; shift -= 8) {
        buf_putc(b, (char)(v >> shift));
    }
}

static void put_field(struct buf *b, const struct data_annotation *n, enum order_field by,
                      bool descending) {
    size_t from = b->n;
    if (by == BY_DISPLAY_NAME) {
        buf_put_str(b, n->display_name);
        buf_putc(b, 0);
    } else {
        put_number(b, by == BY_CREATE_TIME ? n->create_time : n->update_time);
    }
    for (size_t i = from; descending && i < b->n; i++) {
        b->p[i] = (char)~b->p[i];
    }
}

static bool is_of_query(const struct item_order *o, const struct data_annotation *n) {
    for (size_t i = 0; i < n->labels.n; i++) {
        if (str_eqc(n->labels.p[i].key, ANNOTATION_SET_LABEL) &&
            str_eq(n->labels.p[i].value, o->set)) {
            return n->kind == o->kind;
        }
    }
    return false;
}

static int compare(struct str a, struct str b) {
    int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return c ? c : a.n < b.n ? -1 : a.n > b.n;
}

static void place_of(struct item_order *o, const struct data_item *item) {
    bool has = false;
    for (size_t i = 0; i < item->nr_annotations; i++) {
        const struct data_annotation *n = &item->annotations[i];
        if (!is_of_query(o, n)) {
            continue;
        }
        buf_clear(&o->one);
        buf_putc(&o->one, HAS_ONE);
        for (size_t k = 0; k < o->nr_fields; k++) {
            put_field(&o->one, n, o->fields[k].by, o->fields[k].descending);
        }
        if (!has || compare(buf_str(&o->one), buf_str(&o->place)) < 0) {
            buf_clear(&o->place);
            buf_put_str(&o->place, buf_str(&o->one));
        }
        has = true;
    }
    if (!has) {
        buf_clear(&o->place);
        buf_putc(&o->place, HAS_NONE);
    }
    put_number(&o->place, item->seq);
}

/* ---- a page ---- */

void item_order_begin(struct item_order *o, struct arena *a, unsigned page, struct str behind) {
    o->page = page;
    o->best = arena_own_array(a, page + 2, sizeof(*o->best));
    o->behind = behind;
    o->place = o->one = BUF_INIT(BUF_NO_MAX);
    for (size_t i = 0; i < page + 2; i++) {
        o->best[i].place = BUF_INIT(BUF_NO_MAX);
    }
}

void item_order_offer(struct item_order *o, const struct data_item *item) {
    place_of(o, item);
    struct str place = buf_str(&o->place);
    size_t at = o->nr;
    if (o->behind.n && compare(place, o->behind) <= 0) {
        return;
    }
    while (at > 0 && compare(place, buf_str(&o->best[at - 1].place)) < 0) {
        at--;
    }
    if (at > o->page) {
        return; /* the page is full of better ones, and there is one more already */
    }
    struct placed spare = o->best[o->nr];
    memmove(&o->best[at + 1], &o->best[at], (o->nr - at) * sizeof(*o->best));
    buf_clear(&spare.place);
    buf_put_str(&spare.place, place);
    spare.id = item->id;
    o->best[at] = spare;
    o->nr += o->nr <= o->page;
}

size_t item_order_count(const struct item_order *o) {
    return o->nr < o->page ? o->nr : o->page;
}

uint64_t item_order_id(const struct item_order *o, size_t i) {
    return o->best[i].id;
}

struct str item_order_next(const struct item_order *o) {
    return o->nr > o->page ? buf_str(&o->best[o->page - 1].place) : STR("");
}

void item_order_end(struct item_order *o) {
    for (size_t i = 0; i < o->page + 2; i++) {
        buf_fini(&o->best[i].place);
    }
    buf_fini(&o->place);
    buf_fini(&o->one);
}
