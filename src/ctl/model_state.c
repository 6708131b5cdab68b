/* See model_state.h. */
#include "ctl/model_state.h"

#include "base/limits.h"
#include "ctl/model.h"

/* ---- words ---- */

static bool is_lower(char c) {
    return c >= 'a' && c <= 'z';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

const char *model_id_fault(struct str id) {
    if (id.n == 0 || id.n > 63) {
        return "must have 1 to 63 characters.";
    }
    if (is_digit(id.p[0]) || id.p[0] == '-') {
        return "must not begin with a digit or a hyphen.";
    }
    for (size_t i = 0; i < id.n; i++) {
        if (!is_lower(id.p[i]) && !is_digit(id.p[i]) && id.p[i] != '_' && id.p[i] != '-') {
            return "may hold only lowercase letters, digits, underscores and hyphens "
                   "([a-z0-9_-]).";
        }
    }
    return NULL;
}

const char *model_alias_fault(struct str alias) {
    if (alias.n < 2 || alias.n > 128) {
        return "must have 2 to 128 characters.";
    }
    if (!is_lower(alias.p[0])) {
        return "must begin with a lowercase letter.";
    }
    for (size_t i = 0; i < alias.n; i++) {
        char c = alias.p[i];
        if (!is_lower(c) && !is_digit(c) && !(c >= 'A' && c <= 'Z') && c != '-') {
            return "may hold only letters, digits and hyphens.";
        }
    }
    char last = alias.p[alias.n - 1];
    return is_lower(last) || is_digit(last) ? NULL : "must end with a lowercase letter or a digit.";
}

struct str model_name_cut(struct str name, struct str *ret_version) {
    struct str version = name;
    name = str_cut(&version, '@');
    *ret_version = version;
    return name;
}

/* ---- reading and writing ---- */

void model_state_init(struct model_state *s, struct arena *a) {
    *s = (struct model_state){.arena = a, .next = 1};
}

static void push_span(struct model_state *s, size_t at, struct model_span span) {
    if (s->nr_spans == s->cap_spans) {
        size_t cap = s->cap_spans ? s->cap_spans * 2 : 4;
        struct model_span *p = arena_own_array(s->arena, cap, sizeof(*p));
        if (s->nr_spans) {
            memcpy(p, s->spans, s->nr_spans * sizeof(*p));
        }
        s->spans = p;
        s->cap_spans = cap;
    }
    memmove(s->spans + at + 1, s->spans + at, (s->nr_spans - at) * sizeof(*s->spans));
    s->spans[at] = span;
    s->nr_spans++;
}

static void drop_span(struct model_state *s, size_t at) {
    memmove(s->spans + at, s->spans + at + 1, (s->nr_spans - at - 1) * sizeof(*s->spans));
    s->nr_spans--;
}

static void push_alias(struct model_state *s, struct str name, uint64_t version) {
    if (s->nr_aliases == s->cap_aliases) {
        size_t cap = s->cap_aliases ? s->cap_aliases * 2 : 4;
        struct model_alias *p = arena_own_array(s->arena, cap, sizeof(*p));
        if (s->nr_aliases) {
            memcpy(p, s->aliases, s->nr_aliases * sizeof(*p));
        }
        s->aliases = p;
        s->cap_aliases = cap;
    }
    s->aliases[s->nr_aliases++] = (struct model_alias){arena_str(s->arena, name), version};
}

void model_state_encode(const struct model_state *s, struct buf *b) {
    auto_buf struct buf line = BUF_INIT(BUF_NO_MAX);
    rec_put_u64(b, "next", s->next);
    for (size_t i = 0; i < s->nr_spans; i++) {
        buf_clear(&line);
        buf_put_u64(&line, s->spans[i].first);
        buf_putc(&line, '-');
        buf_put_u64(&line, s->spans[i].last);
        rec_put(b, "versions", buf_str(&line));
    }
    for (size_t i = 0; i < s->nr_aliases; i++) {
        buf_clear(&line);
        buf_put_u64(&line, s->aliases[i].version);
        buf_putc(&line, ' ');
        buf_put_str(&line, s->aliases[i].name);
        rec_put(b, "alias", buf_str(&line));
    }
}

static bool decode_span(struct model_state *s, struct str text) {
    struct model_span span;
    struct str last = text;
    struct str first = str_cut(&last, '-');
    uint64_t before = s->nr_spans ? s->spans[s->nr_spans - 1].last : 0;
    if (!str_to_u64(first, &span.first) || !str_to_u64(last, &span.last) ||
        span.first > span.last || span.last >= s->next || span.first == 0 ||
        (s->nr_spans && span.first <= before + 1)) {
        return false;
    }
    push_span(s, s->nr_spans, span);
    return true;
}

static bool decode_alias(struct model_state *s, struct str text) {
    uint64_t version;
    struct str name = text;
    if (!str_to_u64(str_cut(&name, ' '), &version) || !name.n || !model_state_has(s, version)) {
        return false;
    }
    push_alias(s, name, version);
    return true;
}

int model_state_decode(struct model_state *s, struct arena *a, const struct rec *r,
                       struct err *err) {
    struct str text;
    size_t it = 0;
    bool ok = true;
    model_state_init(s, a);
    s->next = rec_get_u64(r, "next", 0);
    while (ok && rec_next(r, "versions", &it, &text)) {
        ok = decode_span(s, text);
    }
    it = 0;
    while (ok && rec_next(r, "alias", &it, &text)) {
        ok = decode_alias(s, text);
    }
    if (!ok || !s->next || !s->nr_spans || !model_state_default(s)) {
        return err_set(err, ERR_DATA_LOSS, "the record of the model's versions does not read");
    }
    return 0;
}

/* ---- looking ---- */

bool model_state_has(const struct model_state *s, uint64_t version) {
    for (size_t i = 0; i < s->nr_spans; i++) {
        if (version >= s->spans[i].first && version <= s->spans[i].last) {
            return true;
        }
    }
    return false;
}

uint64_t model_state_count(const struct model_state *s) {
    uint64_t n = 0;
    for (size_t i = 0; i < s->nr_spans; i++) {
        n += s->spans[i].last - s->spans[i].first + 1;
    }
    return n;
}

static struct model_alias *find(const struct model_state *s, struct str name) {
    for (size_t i = 0; i < s->nr_aliases; i++) {
        if (str_eq(s->aliases[i].name, name)) {
            return &s->aliases[i];
        }
    }
    return NULL;
}

uint64_t model_state_default(const struct model_state *s) {
    const struct model_alias *a = find(s, STR(MODEL_DEFAULT));
    return a ? a->version : 0;
}

uint64_t model_state_resolve(const struct model_state *s, struct str text) {
    uint64_t version;
    if (!text.n || str_eq(text, STR("-"))) {
        return model_state_default(s);
    }
    if (is_digit(text.p[0])) {
        return text.p[0] != '0' && str_to_u64(text, &version) && model_state_has(s, version)
                   ? version
                   : 0;
    }
    const struct model_alias *a = find(s, text);
    return a ? a->version : 0;
}

const struct str *model_state_aliases(const struct model_state *s, uint64_t version,
                                      size_t *ret_nr) {
    struct str *list = arena_own_array(s->arena, s->nr_aliases + 1, sizeof(*list));
    size_t n = 0;
    if (model_state_default(s) == version) {
        list[n++] = STR(MODEL_DEFAULT);
    }
    for (size_t i = 0; i < s->nr_aliases; i++) {
        if (s->aliases[i].version == version && !str_eq(s->aliases[i].name, STR(MODEL_DEFAULT))) {
            list[n++] = s->aliases[i].name;
        }
    }
    *ret_nr = n;
    return list;
}

/* ---- changing ---- */

static int check_alias(struct str alias, struct err *err) {
    const char *fault = model_alias_fault(alias);
    return fault ? err_field(err, ERR_INVALID_ARGUMENT, "version_aliases",
                             "Version alias \"%.*s\" %s", (int)(alias.n < 140 ? alias.n : 140),
                             alias.p ? alias.p : "", fault)
                 : 0;
}

static int check_room(const struct model_state *s, size_t more, struct err *err) {
    if (s->nr_aliases + more > limits.max_model_aliases) {
        limits_hit(&limits.max_model_aliases);
        return err_field(err, ERR_RESOURCE_EXHAUSTED, "version_aliases",
                         "A model may have at most max_model_aliases (%llu) aliases.",
                         (unsigned long long)limits.max_model_aliases);
    }
    return 0;
}

static void give(struct model_state *s, struct str alias, uint64_t version) {
    struct model_alias *a = find(s, alias);
    if (a) {
        a->version = version;
    } else {
        push_alias(s, alias, version);
    }
}

int model_state_add(struct model_state *s, const struct str *aliases, size_t n,
                    uint64_t *ret_version, struct err *err) {
    for (size_t i = 0; i < n; i++) {
        if (check_alias(aliases[i], err)) {
            return -1;
        }
    }
    if (model_state_count(s) >= limits.max_model_versions) {
        limits_hit(&limits.max_model_versions);
        return err_set(err, ERR_RESOURCE_EXHAUSTED,
                       "A model may have at most max_model_versions (%llu) versions; delete some.",
                       (unsigned long long)limits.max_model_versions);
    }
    if (check_room(s, n + 1, err)) {
        return -1;
    }
    uint64_t v = s->next++;
    if (s->nr_spans && s->spans[s->nr_spans - 1].last + 1 == v) {
        s->spans[s->nr_spans - 1].last = v;
    } else {
        push_span(s, s->nr_spans, (struct model_span){v, v});
    }
    if (!model_state_default(s)) {
        give(s, STR(MODEL_DEFAULT), v);
    }
    for (size_t i = 0; i < n; i++) {
        give(s, aliases[i], v);
    }
    *ret_version = v;
    return 0;
}

/* Is the same alias both given and taken? */
static bool is_cancelled_out(const struct str *changes, size_t n, struct str change) {
    bool takes = change.n && change.p[0] == '-';
    struct str alias = takes ? str_sub(change, 1, change.n) : change;
    for (size_t i = 0; i < n; i++) {
        struct str other = changes[i];
        bool other_takes = other.n && other.p[0] == '-';
        if (takes != other_takes &&
            str_eq(alias, other_takes ? str_sub(other, 1, other.n) : other)) {
            return true;
        }
    }
    return false;
}

static void take_away(struct model_state *s, struct str alias, uint64_t version) {
    for (size_t i = 0; i < s->nr_aliases; i++) {
        if (s->aliases[i].version == version && str_eq(s->aliases[i].name, alias)) {
            memmove(s->aliases + i, s->aliases + i + 1,
                    (s->nr_aliases - i - 1) * sizeof(*s->aliases));
            s->nr_aliases--;
            return;
        }
    }
}

int model_state_merge(struct model_state *s, uint64_t version, const struct str *changes, size_t n,
                      struct err *err) {
    if (n == 0) {
        return err_field(err, ERR_INVALID_ARGUMENT, "version_aliases",
                         "Required field is not set.");
    }
    if (check_room(s, n, err)) { /* before the pairwise looks below */
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        bool takes = changes[i].n && changes[i].p[0] == '-';
        struct str alias = takes ? str_sub(changes[i], 1, changes[i].n) : changes[i];
        if (check_alias(alias, err)) {
            return -1;
        }
        if (takes && str_eq(alias, STR(MODEL_DEFAULT)) && model_state_default(s) == version &&
            !is_cancelled_out(changes, n, changes[i])) {
            return err_field(err, ERR_INVALID_ARGUMENT, "version_aliases",
                             "The alias \"default\" cannot be removed: one version of a model "
                             "always has it. Give it to another version instead.");
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (is_cancelled_out(changes, n, changes[i])) {
            continue;
        }
        if (changes[i].p[0] == '-') {
            take_away(s, str_sub(changes[i], 1, changes[i].n), version);
        } else {
            give(s, changes[i], version);
        }
    }
    return 0;
}

static void remove_from_spans(struct model_state *s, uint64_t v) {
    for (size_t i = 0; i < s->nr_spans; i++) {
        struct model_span *p = &s->spans[i];
        if (v < p->first || v > p->last) {
            continue;
        }
        struct model_span after = {v + 1, p->last};
        if (p->first == p->last) {
            drop_span(s, i);
        } else if (v == p->first) {
            p->first++;
        } else {
            p->last = v - 1;
            if (after.first <= after.last) {
                push_span(s, i + 1, after);
            }
        }
        return;
    }
}

int model_state_remove(struct model_state *s, uint64_t version, struct err *err) {
    CHECK(model_state_has(s, version));
    if (model_state_count(s) == 1) {
        return err_set(err, ERR_FAILED_PRECONDITION,
                       "Version %llu is the only version of the model and cannot be deleted; "
                       "delete the model instead.",
                       (unsigned long long)version);
    }
    bool was_default = model_state_default(s) == version;
    remove_from_spans(s, version);
    for (size_t i = s->nr_aliases; i-- > 0;) {
        if (s->aliases[i].version == version) {
            memmove(s->aliases + i, s->aliases + i + 1,
                    (s->nr_aliases - i - 1) * sizeof(*s->aliases));
            s->nr_aliases--;
        }
    }
    if (was_default) {
        give(s, STR(MODEL_DEFAULT), s->spans[s->nr_spans - 1].last);
    }
    return 0;
}
