/* See svc_dataset_search.h. */
#include "api/svc_dataset_search.h"

#include "api/dataset_message.h"
#include "base/limits.h"

enum term_kind {
    TERM_ITEM_ID,
    TERM_LABELED,
    TERM_HAS_SPEC,
    TERM_SAVED_QUERY,
    TERM_SPEC,
    TERM_OTHER
};

struct term {
    enum term_kind kind;
    bool negated; /* != */
    uint64_t number;
    bool truth;
    struct str text;              /* of a saved query: its id; of another: the filter */
    const struct filter *filter;  /* TERM_OTHER */
    enum annotation_kind of_kind; /* TERM_SAVED_QUERY, resolved */
    struct str set;
};

struct terms {
    struct term *p;
    size_t n;
};

struct item_search {
    struct terms item;
    struct terms *any; /* of annotations: one is enough */
    size_t nr_any;
};

/* ---- reading ---- */

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n';
}

/* The next term of a conjunction: up to AND at the outermost level, or between terms that only
 * stand beside each other nothing is cut (the filter's own grammar joins them). */
static struct str next_term(struct str *rest) {
    int depth = 0;
    char quote = 0;
    struct str s = *rest;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (quote) {
            i += c == '\\';
            quote = c == quote ? 0 : quote;
        } else if (c == '"' || c == '\'') {
            quote = c;
        } else if (c == '(' || c == ')') {
            depth += c == '(' ? 1 : -1;
        } else if (depth == 0 && i > 0 && is_space(s.p[i - 1]) && i + 4 <= s.n &&
                   memcmp(s.p + i, "AND", 3) == 0 && is_space(s.p[i + 3])) {
            *rest = str_sub(s, i + 4, s.n);
            return str_trim(str_sub(s, 0, i));
        }
    }
    *rest = (struct str){0};
    return str_trim(s);
}

static struct str unquote(struct str s) {
    s = str_trim(s);
    bool is_quoted = s.n >= 2 && (s.p[0] == '"' || s.p[0] == '\'') && s.p[s.n - 1] == s.p[0];
    return is_quoted ? str_sub(s, 1, s.n - 2) : s;
}

/* "NAME = VALUE", "NAME != VALUE". */
static bool comparison(struct str s, const char *snake, const char *camel, bool *ret_negated,
                       struct str *ret_value) {
    ptrdiff_t at = str_chr(s, '=');
    if (at <= 0) {
        return false;
    }
    *ret_negated = s.p[at - 1] == '!';
    struct str name = str_trim(str_sub(s, 0, (size_t)at - (*ret_negated ? 1 : 0)));
    *ret_value = unquote(str_sub(s, (size_t)at + 1, s.n));
    return (str_eqc(name, snake) || str_eqc(name, camel)) && ret_value->n > 0;
}

static bool function(struct str s, const char *name, struct str *ret_arg) {
    struct str rest = s;
    if (!str_ends(s, STR(")"))) {
        return false;
    }
    struct str before = str_trim(str_cut(&rest, '('));
    if (!rest.p || !str_eqc(before, name)) {
        return false;
    }
    *ret_arg = unquote(str_sub(rest, 0, rest.n - 1));
    return true;
}

static int bad_number(const char *field, struct str s, struct err *err) {
    return err_field(err, ERR_INVALID_ARGUMENT, field, "\"%.*s\" is not an id",
                     (int)(s.n > 60 ? 60 : s.n), s.p);
}

static int read_term(struct str s, bool is_item, const char *field, struct arena *a, struct term *t,
                     struct err *err) {
    struct str v;
    *t = (struct term){.kind = TERM_OTHER};
    if (is_item && comparison(s, "data_item_id", "dataItemId", &t->negated, &v)) {
        t->kind = TERM_ITEM_ID;
    } else if (is_item && comparison(s, "labeled", "labeled", &t->negated, &v)) {
        t->kind = TERM_LABELED;
        t->truth = str_eqc(v, "true") != t->negated;
        return str_eqc(v, "true") || str_eqc(v, "false")
                   ? 0
                   : err_field(err, ERR_INVALID_ARGUMENT, field, "labeled is true or false");
    } else if (is_item && function(s, "has_annotation", &v)) {
        t->kind = TERM_HAS_SPEC;
    } else if (!is_item && comparison(s, "saved_query_id", "savedQueryId", &t->negated, &v)) {
        t->kind = TERM_SAVED_QUERY;
        t->text = arena_str(a, v);
        return 0;
    } else if (!is_item &&
               comparison(s, "annotation_spec_id", "annotationSpecId", &t->negated, &v)) {
        t->kind = TERM_SPEC;
    } else {
        if (filter_parse(a, s, is_item ? &item_schema : &annotation_schema, &t->filter, err)) {
            snprintf(err->field, sizeof(err->field), "%s", field);
            return -1;
        }
        return 0;
    }
    return str_to_u64(v, &t->number) ? 0 : bad_number(field, v, err);
}

static int read_terms(struct str text, bool is_item, const char *field, struct arena *a,
                      struct terms *ret, struct err *err) {
    size_t most = limits.max_filter_terms;
    if (text.n > limits.max_filter_bytes) {
        limits_hit(&limits.max_filter_bytes);
        return err_field(err, ERR_INVALID_ARGUMENT, field,
                         "The filter has %zu bytes; at most %llu are allowed (max_filter_bytes)",
                         text.n, (unsigned long long)limits.max_filter_bytes);
    }
    ret->p = arena_own_array(a, most, sizeof(*ret->p));
    ret->n = 0;
    text = str_trim(text);
    while (text.n) {
        if (ret->n == most) {
            limits_hit(&limits.max_filter_terms);
            return err_field(err, ERR_INVALID_ARGUMENT, field,
                             "The filter has more than %zu terms (max_filter_terms)", most);
        }
        if (read_term(next_term(&text), is_item, field, a, &ret->p[ret->n++], err)) {
            return -1;
        }
    }
    return 0;
}

/* "projects/../savedQueries/5" or "5" as a filter of its own. */
static void add_saved_query(struct item_search *s, struct arena *a, struct str name) {
    struct terms *t = &s->any[s->nr_any++];
    ptrdiff_t at = str_find(name, STR("/savedQueries/"));
    t->p = arena_own(a, sizeof(*t->p));
    t->p->kind = TERM_SAVED_QUERY;
    t->p->text = at < 0 ? name : str_sub(name, (size_t)at + 14, name.n);
    t->n = 1;
}

int item_search_parse(struct arena *a, const Aip__SearchDataItemsRequest *req,
                      struct item_search **ret, struct err *err) {
    struct item_search *s = arena_own(a, sizeof(*s));
    if (req->n_annotation_filters > limits.max_filter_terms) {
        limits_hit(&limits.max_filter_terms);
        return err_field(err, ERR_INVALID_ARGUMENT, "annotation_filters",
                         "At most %llu filters may be given (max_filter_terms)",
                         (unsigned long long)limits.max_filter_terms);
    }
    s->any = arena_own_array(a, req->n_annotation_filters + 2, sizeof(*s->any));
    if (read_terms(str_of(req->data_item_filter), true, "data_item_filter", a, &s->item, err)) {
        return -1;
    }
    for (size_t i = 0; i < req->n_annotation_filters; i++) {
        if (read_terms(str_of(req->annotation_filters[i]), false, "annotation_filters", a,
                       &s->any[s->nr_any++], err)) {
            return -1;
        }
    }
    if (req->annotations_filter[0] &&
        read_terms(str_of(req->annotations_filter), false, "annotations_filter", a,
                   &s->any[s->nr_any++], err)) {
        return -1;
    }
    if (req->saved_query[0]) {
        add_saved_query(s, a, str_of(req->saved_query));
    }
    *ret = s;
    return 0;
}

int item_search_resolve(struct item_search *s, struct arena *a, const struct store_row *row,
                        struct err *err) {
    Aip__Dataset *ds;
    if (dataset_message(a, row, &ds, err)) {
        return -1;
    }
    for (size_t i = 0; i < s->nr_any; i++) {
        for (size_t k = 0; k < s->any[i].n; k++) {
            struct term *t = &s->any[i].p[k];
            if (t->kind == TERM_SAVED_QUERY &&
                !dataset_saved_query(ds, t->text, &t->of_kind, &t->set)) {
                return err_set(err, ERR_NOT_FOUND, "The dataset has no SavedQuery \"%.*s\".",
                               (int)(t->text.n > 60 ? 60 : t->text.n), t->text.p);
            }
        }
    }
    return 0;
}

/* ---- deciding ---- */

static bool is_of_set(const struct data_annotation *n, const struct term *t) {
    bool has = false;
    for (size_t i = 0; i < n->labels.n; i++) {
        has = has || (str_eqc(n->labels.p[i].key, ANNOTATION_SET_LABEL) &&
                      str_eq(n->labels.p[i].value, t->set));
    }
    return has && n->kind == t->of_kind;
}

static bool annotation_term(const struct term *t, struct str dataset, const struct data_item *item,
                            const struct data_annotation *n) {
    auto_arena struct arena *scratch = NULL;
    switch (t->kind) {
    case TERM_SAVED_QUERY:
        return is_of_set(n, t) != t->negated;
    case TERM_SPEC:
        return (n->spec_id == t->number) != t->negated;
    case TERM_OTHER:
        scratch = arena_new(ARENA_NO_MAX);
        return annotation_matches(t->filter, dataset, item->id, n, scratch);
    case TERM_ITEM_ID:
    case TERM_LABELED:
    case TERM_HAS_SPEC:
        break;
    }
    return false;
}

bool item_search_takes(struct item_search *s, struct str dataset, const struct data_item *item,
                       const struct data_annotation *n) {
    for (size_t i = 0; i < s->nr_any; i++) {
        bool all = true;
        for (size_t k = 0; k < s->any[i].n && all; k++) {
            all = annotation_term(&s->any[i].p[k], dataset, item, n);
        }
        if (all) {
            return true;
        }
    }
    return s->nr_any == 0;
}

static bool item_term(struct item_search *s, const struct term *t, struct str dataset,
                      const struct data_item *item) {
    auto_arena struct arena *scratch = NULL;
    switch (t->kind) {
    case TERM_ITEM_ID:
        return (item->id == t->number) != t->negated;
    case TERM_OTHER:
        scratch = arena_new(ARENA_NO_MAX);
        return item_matches(t->filter, dataset, item, scratch);
    case TERM_LABELED:
    case TERM_HAS_SPEC:
        break;
    case TERM_SAVED_QUERY:
    case TERM_SPEC:
        return false;
    }
    bool has = false;
    for (size_t i = 0; i < item->nr_annotations && !has; i++) {
        has = (t->kind == TERM_LABELED || item->annotations[i].spec_id == t->number) &&
              item_search_takes(s, dataset, item, &item->annotations[i]);
    }
    return t->kind == TERM_LABELED ? has == t->truth : has;
}

bool item_search_passes(struct item_search *s, struct str dataset, const struct data_item *item) {
    for (size_t i = 0; i < s->item.n; i++) {
        if (!item_term(s, &s->item.p[i], dataset, item)) {
            return false;
        }
    }
    return true;
}
