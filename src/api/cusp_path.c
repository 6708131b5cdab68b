/* Paths and queries of /cusp/v1. */
#include "api/cusp_path.h"

bool cusp_path_match(struct xch *x, const char *verb, struct str *ret_name) {
    return cusp_path_match_as(x, "GET", verb, ret_name);
}

bool cusp_path_match_as(struct xch *x, const char *method, const char *verb, struct str *ret_name) {
    const struct xch_head *h = xch_head(x);
    struct str name;
    if (!str_eqc(h->method, method) || !str_starts(h->path, STR("/cusp/v1/"))) {
        return false;
    }
    if (!enc_unpercent(xch_arena(x), str_sub(h->path, 9, h->path.n), false, &name) ||
        !str_ends(name, str_of(verb))) {
        return false;
    }
    *ret_name = str_sub(name, 0, name.n - strlen(verb));
    return true;
}

struct str cusp_query_get(struct xch *x, const char *name) {
    struct str rest = xch_head(x)->query;
    while (rest.p) {
        struct str value = str_cut(&rest, '&');
        struct str key = str_cut(&value, '=');
        struct str out;
        if (str_eqc(key, name) && value.p && enc_unpercent(xch_arena(x), value, true, &out)) {
            return out;
        }
    }
    return (struct str){NULL, 0};
}
