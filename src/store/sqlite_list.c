/* Lists. Two passes in one snapshot: the first walks an index in list order over the small columns,
 * asking the filter about each row until the page is full; the second reads the page's rows whole.
 * So specs are read for a page, not for everything the filter looks at.
 *
 * A parent with "-" is a merge of one such walk for each parent that exists: each is served by the
 * index, which a single query over all of them would not be. */
#include "store/sqlite_read.h"

#include "base/limits.h"
#include "base/vec.h"
#include "store/filter_int.h"
#include "store/filter_sql.h"
#include "store/sqlite_read_int.h"

/* Parameters: 1 kind, 2 parent, 3 first ordering value, 4 id, 5 and 6 the label that is started
 * from, 7 the list's number, then the other ordering values, then the filter's. */
#define FIRST_THEN_PARAM 8
#define FIRST_FILTER_PARAM (FIRST_THEN_PARAM + STORE_ORDER_MAX - 1)
/* A label that at most this many rows of the list bear is worth sorting them, or leaving another
 * index. */
#define RARE_MAX 100

/* Where a walk begins. */
enum start {
    FROM_LIST,         /* the list's own index, or what SQLite finds better */
    FROM_LABEL,        /* the label's rows in the order they were made: the page's, and no more */
    FROM_LABEL_SORTED, /* the label's rows, which are few, sorted */
};

struct walk {
    sqlite3_stmt *st;
    bool at_row;
    bool is_tired;        /* the row it stands on was refused, and enough were before it */
    struct store_pos pos; /* of the row it stands on; texts are views of the statement */
};

struct lister {
    struct db *db;
    const struct store_list *l;
    bool has_from;
    struct store_pos from;
    struct filter_sql sql;
    bool needs_labels, needs_message;
    uint64_t refused; /* rows that the filter was asked about in vain */
    enum start start;
    const struct filter *label; /* every match bears it: what is started from */
    uint64_t label_rows;        /* so many bear it; at most RARE_MAX + 1 were counted */
    struct arena *scratch;      /* labels of the row being looked at */
    VEC_OF(struct walk) walks;
};

static const char *const column_of[] = {
    [STORE_ORDER_CREATE_TIME] = "create_time",
    [STORE_ORDER_UPDATE_TIME] = "update_time",
    [STORE_ORDER_DISPLAY_NAME] = "display_name",
    [STORE_ORDER_NAME] = "name",
    [STORE_ORDER_STATE] = "state",
};

/* Parameter of the i-th ordering value; i past the last: of the id. */
static int param_of(const struct store_list *l, unsigned i) {
    return i == 0 ? 3 : i > l->nr_then ? 4 : FIRST_THEN_PARAM + (int)i - 1;
}

static struct store_order order_of(const struct lister *x, unsigned i, const char **ret_column) {
    const struct store_list *l = x->l;
    struct store_order o =
        i > l->nr_then ? (struct store_order){.descending = l->descending} : store_list_order(l, i);
    *ret_column = i > l->nr_then ? "id" : column_of[o.field];
    if (x->start == FROM_LABEL) { /* the words of the label's index */
        *ret_column = i > l->nr_then ? "first.resource" : "first.created";
    }
    return o;
}

/* Kinds of which there is an index of display names. */
static bool is_named(const struct store_list *l) {
    return str_eqc(l->kind, "model") || str_eqc(l->kind, "dataset");
}

/* "Comes after the position". With one field a row value, which an index serves whole; with more,
 * whose directions may differ, spelled out: (a > x OR (a = x AND (b < y OR ...))). */
static void build_after(const struct lister *x, struct buf *q) {
    const struct store_list *l = x->l;
    const char *column, *id;
    struct store_order o = order_of(x, 0, &column);
    if (!l->nr_then) {
        (void)order_of(x, 1, &id);
        (void)buf_printf(q, " AND (%s, %s) %s (?3, ?4)", column, id, o.descending ? "<" : ">");
        return;
    }
    (void)buf_printf(q, " AND %s %s ?3 AND ", column, o.descending ? "<=" : ">=");
    for (unsigned i = 0; i <= l->nr_then; i++) {
        o = order_of(x, i, &column);
        (void)buf_printf(q, "(%s %s ?%d OR (%s = ?%d AND ", column, o.descending ? "<" : ">",
                         param_of(l, i), column, param_of(l, i));
    }
    (void)buf_printf(q, "id %s ?4", l->descending ? "<" : ">");
    for (unsigned i = 0; i <= l->nr_then; i++) {
        (void)buf_puts(q, "))");
    }
}

/* The plus signs keep SQLite from the list's index when there is something better; kind and parent
 * are compared because lists may share a number. */
static const char *const from_where[] = {
    [FROM_LIST] = "resource WHERE kind = ?1 AND parent = ?2",
    [FROM_LABEL] = "label AS first CROSS JOIN resource ON resource.id = first.resource "
                   "WHERE first.key = ?5 AND first.value = ?6 AND first.list = ?7 "
                   "AND +kind = ?1 AND +parent = ?2",
    [FROM_LABEL_SORTED] = "resource WHERE id IN (SELECT resource FROM label WHERE key = ?5 "
                          "AND value = ?6 AND list = ?7) AND +kind = ?1 AND +parent = ?2",
};

static void build_query(const struct lister *x, struct buf *q) {
    const struct store_list *l = x->l;
    /* No maximum: the only part that grows is bounded by the filter's limits. */
    (void)buf_printf(q, "SELECT id, name, display_name, state, create_time, update_time%s FROM %s",
                     x->needs_message ? ", status, spec" : "", from_where[x->start]);
    if (is_named(l)) {
        /* The very words of the index resource_named: so SQLite sees that it may use it. */
        (void)buf_puts(q, " AND kind IN ('model', 'dataset')");
    }
    if (x->has_from) {
        build_after(x, q);
    }
    if (x->sql.where.n) {
        (void)buf_puts(q, " AND ");
        (void)buf_put_str(q, buf_str(&x->sql.where));
    }
    for (unsigned i = 0; i <= l->nr_then + 1; i++) {
        const char *column;
        struct store_order o = order_of(x, i, &column);
        (void)buf_printf(q, "%s%s %s", i ? ", " : " ORDER BY ", column,
                         o.descending ? "DESC" : "ASC");
    }
    if (x->sql.is_exact) {
        (void)buf_printf(q, " LIMIT %llu", (unsigned long long)l->page_size + 1);
    }
}

static int walk_open(struct lister *x, struct str query, struct str parent, struct err *err) {
    struct walk w = {0};
    int rc = sqlite3_prepare_v2(x->db->handle, query.p, (int)query.n, &w.st, NULL);
    if (rc != SQLITE_OK) {
        return db_error(x->db->handle, rc, err);
    }
    db_bind_text(w.st, 1, x->l->kind);
    db_bind_text(w.st, 2, parent);
    if (x->has_from) {
        for (unsigned i = 0; i <= x->l->nr_then; i++) {
            if (store_order_is_text(store_list_order(x->l, i).field)) {
                db_bind_text(w.st, param_of(x->l, i), x->from.v[i].text);
            } else {
                db_bind_u64(w.st, param_of(x->l, i), x->from.v[i].time);
            }
        }
        db_bind_u64(w.st, 4, x->from.id);
    }
    if (x->start != FROM_LIST) {
        db_bind_text(w.st, 5, x->label->key);
        db_bind_text(w.st, 6, x->label->text);
        db_bind_u64(w.st, 7, db_list_number(x->l->kind, parent));
    }
    for (size_t i = 0; i < x->sql.params.n; i++) {
        const struct filter_param *p = &x->sql.params.p[i];
        if (p->is_time) {
            db_bind_u64(w.st, FIRST_FILTER_PARAM + (int)i, p->time);
        } else {
            db_bind_text(w.st, FIRST_FILTER_PARAM + (int)i, p->text);
        }
    }
    vec_push(&x->walks, w);
    return 0;
}

/* To the next row that the filter takes. */
static int walk_next(struct lister *x, struct walk *w, struct err *err) {
    int rc;
    w->at_row = false;
    while ((rc = db_step(w->st, err)) > 0) {
        uint64_t id = db_column_u64(w->st, 0);
        struct store_row row = {.name = db_column(w->st, 1),
                                .display_name = db_column(w->st, 2),
                                .state = db_column(w->st, 3),
                                .create_time = db_column_u64(w->st, 4),
                                .update_time = db_column_u64(w->st, 5)};
        w->pos = store_row_pos(&row, id, x->l);
        w->at_row = true;
        if (!x->sql.is_exact) {
            arena_clear(x->scratch);
            row.kind = x->l->kind;
            row.status = x->needs_message ? db_column(w->st, 6) : STR("");
            row.spec = x->needs_message ? db_column(w->st, 7) : STR("");
            if (x->needs_labels && read_labels(x->db, id, x->scratch, &row, err) < 0) {
                return -1;
            }
            if (!filter_matches(x->l->filter, &row, x->scratch)) {
                w->is_tired = ++x->refused >= limits.max_list_scan;
                if (w->is_tired) {
                    return 0;
                }
                continue;
            }
        }
        return 0;
    }
    w->at_row = false;
    return rc;
}

/* RARE_MAX + 1 when there are more, or when they cannot be counted: only a faster way is lost. */
static uint64_t count_label(const struct lister *x, const struct filter *f) {
    bool is_pattern = store_parent_is_pattern(x->l->parent);
    sqlite3_stmt *st = db_stmt(x->db, is_pattern ? DB_COUNT_LABEL : DB_COUNT_LABEL_IN, NULL);
    if (!st) {
        return RARE_MAX + 1;
    }
    db_bind_text(st, 1, f->key);
    db_bind_text(st, 2, f->text);
    db_bind_u64(st, 3, RARE_MAX + 1);
    if (!is_pattern) {
        db_bind_u64(st, 4, db_list_number(x->l->kind, x->l->parent));
    }
    uint64_t n = db_step(st, NULL) > 0 ? db_column_u64(st, 0) : RARE_MAX + 1;
    sqlite3_reset(st);
    return n;
}

/* Looks at what every match satisfies: the rarest label among it, and whether there is another
 * index for it. */
static void look_for_indexes(struct lister *x, const struct filter *f, bool *ret_other) {
    if (f && f->type == FILTER_AND) {
        look_for_indexes(x, f->left, ret_other);
        look_for_indexes(x, f->right, ret_other);
    } else if (f && f->type == FILTER_COMPARE && f->op == OP_EQ) {
        if (f->field == FIELD_LABEL) {
            uint64_t n = count_label(x, f);
            if (!x->label || n < x->label_rows) {
                x->label = f;
                x->label_rows = n;
            }
        } else {
            *ret_other |= f->field == FIELD_STATE || f->field == FIELD_NAME ||
                          (f->field == FIELD_DISPLAY_NAME && is_named(x->l));
        }
    }
}

static enum start choose_start(struct lister *x) {
    bool has_other = false;
    look_for_indexes(x, x->l->filter, &has_other);
    if (!x->label || (has_other && x->label_rows > RARE_MAX)) {
        return FROM_LIST;
    }
    if (!x->l->nr_then && x->l->order == STORE_ORDER_CREATE_TIME) {
        return FROM_LABEL;
    }
    return x->label_rows <= RARE_MAX ? FROM_LABEL_SORTED : FROM_LIST;
}

/* A walk for each parent in the database that the pattern stands for. */
static int open_matching(struct lister *x, struct str query, struct err *err) {
    struct str prefix = store_parent_prefix(x->l->parent);
    auto_buf struct buf last = BUF_INIT(BUF_NO_MAX);
    (void)buf_put_str(&last, prefix); /* no maximum; a parent ending in the slash never matches */
    for (;;) {
        sqlite3_stmt *st = db_stmt(x->db, DB_NEXT_PARENT, err);
        if (!st) {
            return -1;
        }
        db_bind_text(st, 1, x->l->kind);
        db_bind_text(st, 2, buf_str(&last));
        int rc = db_step(st, err);
        if (rc < 0) {
            return -1;
        }
        if (rc == 0) {
            return 0;
        }
        struct str parent = arena_str(x->l->arena, db_column(st, 0)); /* bound until the end */
        sqlite3_reset(st);
        if (!parent.p) {
            return read_arena_full(err);
        }
        if (!str_starts(parent, prefix)) {
            return 0;
        }
        if (store_parent_matches(x->l->parent, parent) && walk_open(x, query, parent, err) < 0) {
            return -1;
        }
        buf_clear(&last);
        (void)buf_put_str(&last, parent);
    }
}

static int open_walks(struct lister *x, struct err *err) {
    auto_buf struct buf query = BUF_INIT(BUF_NO_MAX);
    build_query(x, &query);
    int rc = store_parent_is_pattern(x->l->parent)
                 ? open_matching(x, buf_str(&query), err)
                 : walk_open(x, buf_str(&query), x->l->parent, err);
    for (size_t i = 0; rc == 0 && i < x->walks.n; i++) {
        rc = walk_next(x, &x->walks.p[i], err);
    }
    return rc;
}

/* The walk that stands on the row that comes first; NULL at the end. A tired one stands on a row
 * that is not wanted: when it comes first, everything before it was seen, and the page ends. */
static struct walk *first_walk(struct lister *x) {
    struct walk *best = NULL;
    for (size_t i = 0; i < x->walks.n; i++) {
        struct walk *w = &x->walks.p[i];
        if (w->at_row && (!best || store_pos_cmp(&w->pos, &best->pos, x->l) < 0)) {
            best = w;
        }
    }
    return best;
}

static int row_by_id(struct db *db, uint64_t id, struct arena *a, struct store_row *ret,
                     struct err *err) {
    sqlite3_stmt *st = db_stmt(db, DB_ROW_BY_ID, err);
    if (!st) {
        return -1;
    }
    db_bind_u64(st, 1, id);
    int rc = db_step(st, err);
    CHECK(rc != 0); /* same snapshot */
    if (rc > 0) {
        rc = read_row_columns(db, st, a, ret, err);
    }
    sqlite3_reset(st);
    return rc;
}

/* Texts are views that the next step takes away. */
static bool keep_texts(const struct store_list *l, struct store_pos *pos) {
    for (unsigned i = 0; i <= l->nr_then; i++) {
        if (store_order_is_text(store_list_order(l, i).field)) {
            pos->v[i].text = arena_str(l->arena, pos->v[i].text);
            if (!pos->v[i].text.p) {
                return false;
            }
        }
    }
    return true;
}

static int collect(struct lister *x, const uint8_t *token_key, struct store_row **ret,
                   size_t *ret_nr, struct str *ret_token, struct err *err) {
    const struct store_list *l = x->l;
    VEC_OF(uint64_t) ids = {0};
    struct str token = STR("");
    struct walk *w;
    int rc = 0;
    while (rc == 0 && ids.n < l->page_size && (w = first_walk(x))) {
        struct store_pos pos = w->pos;
        if (w->is_tired) {
            token = token_make(token_key, l, &pos);
            rc = token.p ? 0 : read_arena_full(err);
            break;
        }
        vec_push(&ids, w->pos.id);
        if (!keep_texts(l, &pos)) {
            rc = read_arena_full(err);
            break;
        }
        rc = walk_next(x, w, err);
        if (rc == 0 && ids.n == l->page_size && first_walk(x)) {
            token = token_make(token_key, l, &pos);
            rc = token.p ? 0 : read_arena_full(err);
        }
    }
    struct store_row *rows = rc == 0 ? arena_calloc(l->arena, ids.n, sizeof(*rows)) : NULL;
    if (rc == 0 && !rows) {
        rc = read_arena_full(err);
    }
    for (size_t i = 0; rc == 0 && i < ids.n; i++) {
        rc = row_by_id(x->db, ids.p[i], l->arena, &rows[i], err);
    }
    if (rc == 0) {
        *ret = rows;
        *ret_nr = ids.n;
        *ret_token = token;
    }
    vec_fini(&ids);
    return rc;
}

int read_list(struct db *db, const uint8_t token_key[TOKEN_KEY_BYTES], const struct store_list *l,
              struct store_row **ret, size_t *ret_nr, struct str *ret_token, struct err *err) {
    CHECK(l->page_size > 0);
    struct lister x = {.db = db, .l = l, .has_from = l->page_token.n > 0};
    if ((x.has_from && token_open(token_key, l, &x.from, err) < 0) || read_begin(db, err) < 0) {
        return -1;
    }
    x.start = choose_start(&x);
    filter_sql_init(&x.sql, l->filter, FIRST_FILTER_PARAM,
                    x.start == FROM_LABEL ? "first.created" : NULL);
    x.needs_labels = filter_needs_labels(l->filter);
    x.needs_message = filter_needs_message(l->filter);
    x.scratch = arena_new(ARENA_NO_MAX);
    int rc = open_walks(&x, err);
    if (rc == 0) {
        rc = collect(&x, token_key, ret, ret_nr, ret_token, err);
    }
    for (size_t i = 0; i < x.walks.n; i++) {
        sqlite3_finalize(x.walks.p[i].st);
    }
    vec_fini(&x.walks);
    arena_free(x.scratch);
    filter_sql_fini(&x.sql);
    return read_end(db, rc);
}
