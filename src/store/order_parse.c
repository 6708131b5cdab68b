/* Parses orderBy; see filter.h. */
#include "store/filter.h"

static const struct {
    struct str snake, camel;
    enum store_order_field field;
} names[] = {
    {{"create_time", 11}, {"createTime", 10}, STORE_ORDER_CREATE_TIME},
    {{"update_time", 11}, {"updateTime", 10}, STORE_ORDER_UPDATE_TIME},
    {{"display_name", 12}, {"displayName", 11}, STORE_ORDER_DISPLAY_NAME},
    {{"name", 4}, {"name", 4}, STORE_ORDER_NAME},
    {{"state", 5}, {"state", 5}, STORE_ORDER_STATE},
};

static int bad(struct err *err, struct str text, const char *why) {
    size_t n = text.n < 128 ? text.n : 128;
    while (n < text.n && n > 0 && ((unsigned char)text.p[n] & 0xc0) == 0x80) {
        n--;
    }
    return err_field(err, ERR_INVALID_ARGUMENT, "order_by",
                     "Invalid order_by '%.*s': %s; expected up to %d of create_time, update_time, "
                     "display_name, name, state, separated by commas, each optionally followed by "
                     "asc or desc",
                     (int)n, text.p, why, STORE_ORDER_MAX);
}

int order_parse(struct str text, struct store_list *l, struct err *err) {
    struct store_order terms[STORE_ORDER_MAX];
    unsigned nr = 0;
    struct str rest = str_trim(text);
    if (rest.n == 0) {
        terms[nr++] = (struct store_order){STORE_ORDER_CREATE_TIME, true};
        rest.p = NULL;
    }
    while (rest.p) {
        struct str direction = str_trim(str_cut(&rest, ','));
        struct str name = str_cut(&direction, ' ');
        direction = str_trim(direction);
        size_t i = 0;
        while (i < NR_OF(names) && !str_eq(name, names[i].snake) && !str_eq(name, names[i].camel)) {
            i++;
        }
        if (i == NR_OF(names)) {
            return bad(err, text, name.n ? "unknown field" : "a field is missing");
        }
        bool is_desc = str_eq(direction, STR("desc"));
        if (direction.n && !is_desc && !str_eq(direction, STR("asc"))) {
            return bad(err, text, "unknown direction");
        }
        for (unsigned k = 0; k < nr; k++) {
            if (terms[k].field == names[i].field) {
                return bad(err, text, "a field stands there twice");
            }
        }
        if (nr == STORE_ORDER_MAX) {
            return bad(err, text, "too many fields");
        }
        terms[nr++] = (struct store_order){names[i].field, is_desc};
    }
    l->order = terms[0].field;
    l->descending = terms[0].descending;
    l->nr_then = nr - 1;
    memcpy(l->then, terms + 1, (nr - 1) * sizeof(*terms));
    return 0;
}
