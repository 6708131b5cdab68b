/* See mem_db.h. Lists sort what they find: this store is for tests and simulation, where clarity is
 * worth more than an index. */
#include "store/mem_db.h"

#include "base/limits.h"
#include "base/map.h"
#include "base/vec.h"
#include "store/filter.h"
#include "store/txn.h"

struct mem_row {
    uint64_t id;         /* insertion number */
    struct arena *fixed; /* everything but state and status */
    struct store_row row;
    char *state, *status;              /* what row.state and row.status look at */
    VEC_OF(struct store_event) events; /* by seq; owner looks at row.name, bodies are owned */
};

struct kv {
    char *value;
    size_t n;
};

struct mem_db {
    struct map rows; /* name -> mem_row */
    struct map kvs;  /* space NUL key -> kv */
    uint64_t last_id;
    uint8_t token_key[TOKEN_KEY_BYTES];
};

/* How to take one op back. */
struct undo {
    const struct store_op *op;
    struct mem_row *row; /* insert, delete, update, replace, event */
    struct kv *kv;       /* the value before; NULL: there was none */
    char *state, *status;
    struct store_row was; /* update, replace: sizes, times, liveness */
    struct arena *fixed;  /* replace: of the row before */
};

static void row_free(struct mem_row *r) {
    for (size_t i = 0; i < r->events.n; i++) {
        free((char *)r->events.p[i].body.p);
    }
    vec_fini(&r->events);
    free(r->state);
    free(r->status);
    arena_free(r->fixed);
    free(r);
}

static void kv_free(struct kv *kv) {
    if (kv) {
        free(kv->value);
        free(kv);
    }
}

struct mem_db *mem_db_new(const uint8_t token_key[TOKEN_KEY_BYTES]) {
    struct mem_db *db = xcalloc(1, sizeof(*db));
    map_init(&db->rows);
    map_init(&db->kvs);
    memcpy(db->token_key, token_key, TOKEN_KEY_BYTES);
    return db;
}

void mem_db_free(struct mem_db *db) {
    const struct map_slot *slot;
    for (size_t it = 0; (slot = map_next(&db->rows, &it));) {
        row_free(slot->value);
    }
    for (size_t it = 0; (slot = map_next(&db->kvs, &it));) {
        kv_free(slot->value);
    }
    map_fini(&db->rows);
    map_fini(&db->kvs);
    free(db);
}

/* ---- applying ---- */

static int apply_insert(struct mem_db *db, struct undo *u, struct err *err) {
    const struct store_row *src = &u->op->row;
    if (map_get(&db->rows, src->name)) {
        return store_err_exists(err, src->name);
    }
    struct mem_row *r = xcalloc(1, sizeof(*r));
    r->id = ++db->last_id;
    r->fixed = arena_new(ARENA_NO_MAX);
    struct store_row fixed = *src;
    fixed.state = fixed.status = STR("");
    bool copied = store_row_copy(r->fixed, &fixed, &r->row);
    CHECK(copied);
    r->state = str_dup(src->state);
    r->status = str_dup(src->status);
    r->row.state = str_n(r->state, src->state.n);
    r->row.status = str_n(r->status, src->status.n);
    map_put(&db->rows, src->name, r);
    u->row = r;
    return 0;
}

static int apply_update(struct mem_db *db, struct undo *u, struct err *err) {
    const struct store_row *src = &u->op->row;
    struct mem_row *r = map_get(&db->rows, src->name);
    if (!r) {
        return store_err_missing(err, src->name);
    }
    u->row = r;
    u->was = r->row;
    u->state = r->state;
    u->status = r->status;
    r->state = str_dup(src->state);
    r->status = str_dup(src->status);
    r->row.state = str_n(r->state, src->state.n);
    r->row.status = str_n(r->status, src->status.n);
    r->row.update_time = src->update_time;
    r->row.is_live = src->is_live;
    return 0;
}

/* A new name is another copy of the same text; the events' owner looks at it. */
static void point_events(struct mem_row *r) {
    for (size_t i = 0; i < r->events.n; i++) {
        r->events.p[i].owner = r->row.name;
    }
}

static int apply_replace(struct mem_db *db, struct undo *u, struct err *err) {
    const struct store_row *src = &u->op->row;
    struct mem_row *r = map_get(&db->rows, src->name);
    if (!r) {
        return store_err_missing(err, src->name);
    }
    u->row = r;
    u->was = r->row;
    u->fixed = r->fixed;
    u->state = r->state;
    u->status = r->status;
    struct store_row now = *src;
    now.kind = r->row.kind;
    now.parent = r->row.parent;
    now.create_time = r->row.create_time;
    now.state = now.status = STR("");
    r->fixed = arena_new(ARENA_NO_MAX);
    bool copied = store_row_copy(r->fixed, &now, &r->row);
    CHECK(copied);
    r->state = str_dup(src->state);
    r->status = str_dup(src->status);
    r->row.state = str_n(r->state, src->state.n);
    r->row.status = str_n(r->status, src->status.n);
    point_events(r);
    return 0;
}

static int apply_expect(struct mem_db *db, const struct undo *u, struct err *err) {
    const struct mem_row *r = map_get(&db->rows, u->op->row.name);
    if (!r) {
        return store_err_missing(err, u->op->row.name);
    }
    return r->row.update_time == u->op->row.update_time ? 0 : store_err_stale(err, u->op->row.name);
}

static int apply_delete(struct mem_db *db, struct undo *u, struct err *err) {
    u->row = map_del(&db->rows, u->op->row.name);
    return u->row ? 0 : store_err_missing(err, u->op->row.name);
}

static size_t event_index(const struct mem_row *r, uint64_t seq) {
    size_t i = r->events.n; /* appends are the rule: look from the end */
    while (i > 0 && r->events.p[i - 1].seq >= seq) {
        i--;
    }
    return i;
}

static int apply_event(struct mem_db *db, struct undo *u, struct err *err) {
    const struct store_event *src = &u->op->event;
    struct mem_row *r = map_get(&db->rows, src->owner);
    if (!r) {
        return store_err_missing(err, src->owner);
    }
    size_t at = event_index(r, src->seq);
    if (at < r->events.n && r->events.p[at].seq == src->seq) {
        return store_err_event_exists(err, src);
    }
    struct store_event ev = *src;
    ev.owner = r->row.name;
    ev.body = str_n(str_dup(src->body), src->body.n);
    vec_push(&r->events, ev);
    for (size_t i = r->events.n - 1; i > at; i--) {
        r->events.p[i] = r->events.p[i - 1];
    }
    r->events.p[at] = ev;
    u->row = r;
    return 0;
}

static void kv_path(struct buf *b, struct str space, struct str key) {
    (void)buf_put_str(b, space); /* no maximum */
    (void)buf_putc(b, 0);
    (void)buf_put_str(b, key);
}

static struct kv *kv_set(struct mem_db *db, struct str path, struct kv *kv) {
    return kv ? map_put(&db->kvs, path, kv) : map_del(&db->kvs, path);
}

static int apply_kv(struct mem_db *db, struct undo *u, struct err *err) {
    auto_buf struct buf path = BUF_INIT(BUF_NO_MAX);
    kv_path(&path, u->op->kv.space, u->op->kv.key);
    struct str value = u->op->kv.value;
    if (u->op->type == STORE_OP_KV_EXPECT) {
        const struct kv *now = map_get(&db->kvs, buf_str(&path));
        bool same = now ? value.p && str_eq(value, str_n(now->value, now->n)) : !value.p;
        return same ? 0 : store_err_expect(err, u->op->kv.space, u->op->kv.key);
    }
    struct kv *kv = NULL;
    if (value.p) {
        kv = xmalloc(sizeof(*kv));
        *kv = (struct kv){str_dup(value), value.n};
    }
    u->kv = kv_set(db, buf_str(&path), kv);
    return 0;
}

static int apply_one(struct mem_db *db, struct undo *u, struct err *err) {
    switch (u->op->type) {
    case STORE_OP_INSERT:
        return apply_insert(db, u, err);
    case STORE_OP_UPDATE:
        return apply_update(db, u, err);
    case STORE_OP_REPLACE:
        return apply_replace(db, u, err);
    case STORE_OP_EXPECT:
        return apply_expect(db, u, err);
    case STORE_OP_DELETE:
        return apply_delete(db, u, err);
    case STORE_OP_EVENT:
        return apply_event(db, u, err);
    case STORE_OP_KV:
    case STORE_OP_KV_EXPECT:
        return apply_kv(db, u, err);
    }
    CHECK(false);
    return -1;
}

static void undo_one(struct mem_db *db, struct undo *u) {
    switch (u->op->type) {
    case STORE_OP_INSERT:
        map_del(&db->rows, u->op->row.name);
        row_free(u->row);
        break;
    case STORE_OP_REPLACE:
        arena_free(u->row->fixed);
        u->row->fixed = u->fixed;
        free(u->row->state);
        free(u->row->status);
        u->row->row = u->was;
        u->row->state = u->state;
        u->row->status = u->status;
        point_events(u->row);
        break;
    case STORE_OP_UPDATE:
        free(u->row->state);
        free(u->row->status);
        u->row->row = u->was;
        u->row->state = u->state;
        u->row->status = u->status;
        break;
    case STORE_OP_DELETE:
        map_put(&db->rows, u->op->row.name, u->row);
        break;
    case STORE_OP_EVENT: {
        size_t at = event_index(u->row, u->op->event.seq);
        free((char *)u->row->events.p[at].body.p);
        vec_remove(&u->row->events, at);
        break;
    }
    case STORE_OP_KV: {
        auto_buf struct buf path = BUF_INIT(BUF_NO_MAX);
        kv_path(&path, u->op->kv.space, u->op->kv.key);
        kv_free(kv_set(db, buf_str(&path), u->kv));
        break;
    }
    case STORE_OP_KV_EXPECT:
    case STORE_OP_EXPECT:
        break;
    }
}

static void keep_one(struct undo *u) {
    free(u->state);
    free(u->status);
    arena_free(u->fixed);
    if (u->op->type == STORE_OP_DELETE) {
        row_free(u->row);
    }
    kv_free(u->kv);
}

int mem_db_apply(struct mem_db *db, const struct store_txn *t, struct err *err) {
    VEC_OF(struct undo) done = {0};
    int rc = 0;
    for (const struct store_op *op = t->ops_head; op && rc == 0; op = op->next) {
        struct undo u = {.op = op};
        rc = apply_one(db, &u, err);
        if (rc == 0) {
            vec_push(&done, u);
        }
    }
    if (rc == 0) {
        for (size_t i = 0; i < done.n; i++) {
            keep_one(&done.p[i]);
        }
    } else {
        for (size_t i = done.n; i-- > 0;) {
            undo_one(db, &done.p[i]);
        }
    }
    vec_fini(&done);
    return rc;
}

/* ---- reading ---- */

static int arena_full(struct err *err) {
    return err_set(err, ERR_RESOURCE_EXHAUSTED, "the answer does not fit the request's memory");
}

const struct store_row *mem_db_row(const struct mem_db *db, struct str name) {
    const struct mem_row *r = map_get(&db->rows, name);
    return r ? &r->row : NULL;
}

struct hit {
    const struct mem_row *r;
    struct store_pos pos;
    const struct store_list *l;
};

static int hit_cmp(const void *pa, const void *pb) {
    const struct hit *a = pa, *b = pb;
    return store_pos_cmp(&a->pos, &b->pos, a->l);
}

struct hits {
    VEC_OF(struct hit) v;
};

/* Everything of the list's kind and parent that comes after `from`, in order. */
static void list_candidates(const struct mem_db *db, const struct store_list *l,
                            const struct store_pos *from, struct hits *ret) {
    const struct map_slot *slot;
    for (size_t it = 0; (slot = map_next(&db->rows, &it));) {
        const struct mem_row *r = slot->value;
        if (!str_eq(r->row.kind, l->kind) || !store_parent_matches(l->parent, r->row.parent)) {
            continue;
        }
        struct hit h = {r, store_row_pos(&r->row, r->id, l), l};
        if (!from || store_pos_cmp(&h.pos, from, l) > 0) {
            vec_push(&ret->v, h);
        }
    }
    if (ret->v.n) {
        qsort(ret->v.p, ret->v.n, sizeof(*ret->v.p), hit_cmp);
    }
}

int mem_db_list(const struct mem_db *db, const struct store_list *l, struct store_row **ret_rows,
                size_t *ret_nr, struct str *ret_token, struct err *err) {
    CHECK(l->page_size > 0);
    struct store_pos from;
    if (l->page_token.n && token_open(db->token_key, l, &from, err) < 0) {
        return -1;
    }
    struct hits hits = {0};
    list_candidates(db, l, l->page_token.n ? &from : NULL, &hits);
    struct store_row *rows = arena_calloc(l->arena, l->page_size, sizeof(*rows));
    auto_arena struct arena *scratch = arena_new(ARENA_NO_MAX);
    const struct store_pos *last = NULL, *end = NULL; /* end: of the page, and there is more */
    size_t n = 0;
    uint64_t refused = 0;
    bool ok = rows;
    for (size_t i = 0; ok && !end && i < hits.v.n; i++) {
        arena_clear(scratch);
        if (!filter_matches(l->filter, &hits.v.p[i].r->row, scratch)) {
            end = ++refused >= limits.max_list_scan ? &hits.v.p[i].pos : NULL;
        } else if (n == l->page_size) {
            end = last;
        } else {
            ok = store_row_copy(l->arena, &hits.v.p[i].r->row, &rows[n++]);
            last = &hits.v.p[i].pos;
        }
    }
    struct str token = end ? token_make(db->token_key, l, end) : STR("");
    ok = ok && token.p;
    vec_fini(&hits.v);
    if (!ok) {
        return arena_full(err);
    }
    *ret_rows = rows;
    *ret_nr = n;
    *ret_token = token;
    return 0;
}

int mem_db_kv_get(const struct mem_db *db, const struct store_kv_get *g, struct str *ret,
                  struct err *err) {
    auto_buf struct buf path = BUF_INIT(BUF_NO_MAX);
    kv_path(&path, str_of(g->space), g->key);
    const struct kv *kv = map_get(&db->kvs, buf_str(&path));
    if (!kv) {
        *ret = (struct str){0};
        return 0;
    }
    struct str v = arena_str(g->arena, str_n(kv->value, kv->n));
    if (!v.p) {
        return arena_full(err);
    }
    *ret = v;
    return 0;
}

static int pair_cmp(const void *pa, const void *pb) {
    const struct store_kv_pair *a = pa, *b = pb;
    return str_cmp(a->key, b->key);
}

int mem_db_kv_scan(const struct mem_db *db, const struct store_kv_scan *s,
                   struct store_kv_pair **ret, size_t *ret_nr, struct err *err) {
    CHECK(s->max > 0);
    struct str space = str_of(s->space);
    VEC_OF(struct store_kv_pair) found = {0};
    const struct map_slot *slot;
    for (size_t it = 0; (slot = map_next(&db->kvs, &it));) {
        struct str rest = str_n(slot->key, slot->key_n);
        if (!str_eq(str_cut(&rest, 0), space) || !str_starts(rest, s->prefix) ||
            (s->after.n && str_cmp(rest, s->after) <= 0)) {
            continue;
        }
        const struct kv *kv = slot->value;
        vec_push(&found, ((struct store_kv_pair){rest, str_n(kv->value, kv->n)}));
    }
    if (found.n) {
        qsort(found.p, found.n, sizeof(*found.p), pair_cmp);
    }
    size_t n = found.n < s->max ? found.n : s->max;
    struct store_kv_pair *out = arena_calloc(s->arena, n, sizeof(*out));
    bool ok = out;
    for (size_t i = 0; ok && i < n; i++) {
        out[i].key = arena_str(s->arena, found.p[i].key);
        out[i].value = arena_str(s->arena, found.p[i].value);
        ok = out[i].key.p && out[i].value.p;
    }
    vec_fini(&found);
    if (!ok) {
        return arena_full(err);
    }
    *ret = out;
    *ret_nr = n;
    return 0;
}

int mem_db_events(const struct mem_db *db, const struct store_events *e, struct store_event **ret,
                  size_t *ret_nr, struct err *err) {
    const struct mem_row *r = map_get(&db->rows, e->owner);
    size_t n = r ? r->events.n : 0;
    struct store_event *out = arena_calloc(e->arena, n, sizeof(*out));
    bool ok = out;
    for (size_t i = 0; ok && i < n; i++) {
        out[i] = r->events.p[i];
        out[i].owner = arena_str(e->arena, r->row.name);
        out[i].body = arena_str(e->arena, r->events.p[i].body);
        ok = out[i].owner.p && out[i].body.p;
    }
    if (!ok) {
        return arena_full(err);
    }
    *ret = out;
    *ret_nr = n;
    return 0;
}

void mem_db_load(const struct mem_db *db, struct store_load *l) {
    const struct store_list by_age = {0}; /* positions without times: by insertion */
    VEC_OF(struct hit) hits = {0};
    const struct map_slot *slot;
    for (size_t it = 0; (slot = map_next(&db->rows, &it));) {
        const struct mem_row *r = slot->value;
        if (r->row.is_live && str_eq(r->row.kind, l->kind)) {
            struct hit h = {r, {.id = r->id}, &by_age};
            vec_push(&hits, h);
        }
    }
    if (hits.n) {
        qsort(hits.p, hits.n, sizeof(*hits.p), hit_cmp);
    }
    for (size_t i = 0; i < hits.n; i++) {
        const struct mem_row *r = hits.p[i].r;
        l->row(l, &r->row, r->events.p, r->events.n);
    }
    vec_fini(&hits);
}
