/* See model_record.h. */
#include "ctl/model_record.h"

static void put_labels(struct buf *b, struct model_labels l) {
    auto_buf struct buf line = BUF_INIT(BUF_NO_MAX);
    for (size_t i = 0; i < l.n; i++) {
        buf_clear(&line);
        buf_put_str(&line, l.p[i].key);
        buf_putc(&line, '=');
        buf_put_str(&line, l.p[i].value);
        rec_put(b, "label", buf_str(&line));
    }
}

static struct model_labels get_labels(struct arena *a, const struct rec *r) {
    struct str text;
    size_t it = 0, n = 0;
    while (rec_next(r, "label", &it, &text)) {
        n++;
    }
    struct store_label *p = arena_own_array(a, n + 1, sizeof(*p));
    it = n = 0;
    while (rec_next(r, "label", &it, &text)) {
        struct str value = text;
        struct str key = str_cut(&value, '='); /* a key has no '=' */
        p[n++] = (struct store_label){key, value};
    }
    return (struct model_labels){p, n};
}

struct model_labels model_labels_copy(struct arena *a, const struct store_label *p, size_t n) {
    struct store_label *out = arena_own_array(a, n + 1, sizeof(*out));
    for (size_t i = 0; i < n; i++) {
        out[i] = (struct store_label){arena_str(a, p[i].key), arena_str(a, p[i].value)};
    }
    return (struct model_labels){out, n};
}

struct model_labels model_labels_merge(struct arena *a, struct model_labels model,
                                       struct model_labels version) {
    struct store_label *out = arena_own_array(a, model.n + version.n + 1, sizeof(*out));
    size_t n = model.n;
    for (size_t i = 0; i < model.n; i++) {
        out[i] = model.p[i];
    }
    for (size_t i = 0; i < version.n; i++) {
        size_t at = 0;
        while (at < model.n && !str_eq(out[at].key, version.p[i].key)) {
            at++;
        }
        out[at < model.n ? at : n++] = version.p[i];
    }
    return (struct model_labels){out, n};
}

/* ---- versions ---- */

static const char *const own_keys[] = {"version",     "create", "update",
                                       "description", "token",  "label"};

static bool is_own(struct str key) {
    for (size_t i = 0; i < NR_OF(own_keys); i++) {
        if (str_eqc(key, own_keys[i])) {
            return true;
        }
    }
    return false;
}

void version_record_encode(const struct version_record *v, struct buf *b) {
    rec_begin(b);
    rec_put_u64(b, "version", v->version);
    rec_put_u64(b, "create", v->create_time);
    rec_put_u64(b, "update", v->update_time);
    if (v->description.n) {
        rec_put(b, "description", v->description);
    }
    if (v->token.n) {
        rec_put(b, "token", v->token);
    }
    put_labels(b, v->labels);
    for (size_t i = 0; i < v->facts.n; i++) {
        auto_free char *key = str_dup(v->facts.p[i].key);
        rec_put(b, key, v->facts.p[i].value);
    }
}

int version_record_decode(struct arena *a, struct str status, struct version_record *ret,
                          struct err *err) {
    struct rec r;
    if (rec_parse(a, status, &r, err)) {
        return -1;
    }
    struct version_record v = {.version = rec_get_u64(&r, "version", 0),
                               .create_time = rec_get_u64(&r, "create", 0),
                               .update_time = rec_get_u64(&r, "update", 0),
                               .description = rec_get(&r, "description"),
                               .token = rec_get(&r, "token"),
                               .labels = get_labels(a, &r)};
    v.facts.p = arena_own_array(a, r.n + 1, sizeof(*v.facts.p));
    for (size_t i = 0; i < r.n; i++) {
        if (!is_own(r.p[i].key)) {
            v.facts.p[v.facts.n++] = r.p[i];
        }
    }
    if (!v.version) {
        return err_set(err, ERR_DATA_LOSS, "the record of a model version does not read");
    }
    *ret = v;
    return 0;
}

/* ---- models ---- */

void model_record_encode(const struct model_record *m, struct buf *b) {
    rec_begin(b);
    model_state_encode(&m->state, b);
    if (m->description.n) {
        rec_put(b, "description", m->description);
    }
    put_labels(b, m->labels);
    rec_put(b, "default", m->default_status);
}

int model_record_decode(struct arena *a, struct str status, struct model_record *ret,
                        struct err *err) {
    struct rec r;
    struct model_record m = {0};
    if (rec_parse(a, status, &r, err) || model_state_decode(&m.state, a, &r, err)) {
        return -1;
    }
    m.description = rec_get(&r, "description");
    m.labels = get_labels(a, &r);
    m.default_status = rec_get(&r, "default");
    *ret = m;
    return 0;
}

int model_row_state(struct arena *a, const struct store_row *row, const struct model_state **ret,
                    struct err *err) {
    struct rec r;
    struct model_state *s = arena_own(a, sizeof(*s));
    if (rec_parse(a, row->status, &r, err) || model_state_decode(s, a, &r, err)) {
        return err_wrap(err, "read %.*s", STR_ARG(row->name));
    }
    *ret = s;
    return 0;
}
