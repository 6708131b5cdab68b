/* Reading sets of items. See items.h for what they are, docs/internals/datasets.md for the file. */
#include "base/enc.h"
#include "data/items_int.h"

#include <errno.h>
#include <openssl/sha.h>
#include <unistd.h>

#define READER_SETUP "PRAGMA cache_size = -4096; PRAGMA mmap_size = 0; PRAGMA temp_store = FILE"

/* ---- what reading and writing share ---- */

int items_db_error(sqlite3 *db, int rc, struct err *err) {
    int sys = db ? sqlite3_system_errno(db) : 0;
    const char *text = db ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
    int first = rc & 0xff;
    if (first == SQLITE_FULL || (first == SQLITE_IOERR && (sys == ENOSPC || sys == EDQUOT))) {
        err_set(err, ERR_RESOURCE_EXHAUSTED,
                "the disk that holds the datasets is full: nothing was changed; free some space "
                "and try again");
        if (err) {
            err->sys = ENOSPC;
        }
        return -1;
    }
    if (first == SQLITE_CORRUPT || first == SQLITE_NOTADB) {
        return err_set(err, ERR_DATA_LOSS, "the dataset's file of items is damaged: %s", text);
    }
    if (first == SQLITE_CANTOPEN) {
        return err_set(err, ERR_NOT_FOUND, "the dataset's file of items cannot be opened: %s",
                       text);
    }
    if (first == SQLITE_IOERR) {
        return err_set(err, ERR_UNAVAILABLE,
                       "the dataset's file of items could not be read or written: %s", text);
    }
    return err_set(err, ERR_INTERNAL, "items: %s", text);
}

int items_exec(sqlite3 *db, const char *sql, struct err *err) {
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : items_db_error(db, rc, err);
}

sqlite3_stmt *items_prepare(sqlite3 *db, const char *sql, struct err *err) {
    sqlite3_stmt *st;
    int rc = sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &st, NULL);
    if (rc != SQLITE_OK) {
        items_db_error(db, rc, err);
        return NULL;
    }
    return st;
}

struct str items_text(sqlite3_stmt *st, int column) {
    const void *p = sqlite3_column_blob(st, column); /* before the size: it may convert */
    return str_n(p ? p : "", (size_t)sqlite3_column_bytes(st, column));
}

void labels_encode(struct buf *b, const struct item_labels *l) {
    for (size_t i = 0; i < l->n; i++) {
        buf_put_str(b, l->p[i].key);
        buf_putc(b, 0);
        buf_put_str(b, l->p[i].value);
        buf_putc(b, 0);
    }
}

struct item_labels labels_decode(struct arena *a, struct str blob) {
    size_t n = 0;
    for (size_t i = 0; i < blob.n; i++) {
        n += blob.p[i] == 0;
    }
    if (n < 2) {
        return (struct item_labels){0};
    }
    struct store_label *p = arena_own_array(a, n / 2, sizeof(*p));
    for (size_t i = 0; i < n / 2; i++) {
        p[i].key = str_cut(&blob, 0);
        p[i].value = str_cut(&blob, 0);
    }
    return (struct item_labels){p, n / 2};
}

/* Enough of SHA-256 that nobody makes two things meet by accident; what meets all the same is told
 * apart by its text (items_write.c). */
static uint64_t id_of(const void *p, size_t n) {
    unsigned char digest[SHA256_DIGEST_LENGTH];
    uint64_t v;
    SHA256(p, n, digest);
    memcpy(&v, digest, sizeof(v));
    v = __builtin_bswap64(v) >> 1;
    return v ? v : 1;
}

uint64_t item_id_of(bool is_inline, struct str text) {
    if (!is_inline) {
        return id_of(text.p, text.n);
    }
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    buf_puts(&b, "text:"); /* not a gs:// URI: a text that looks like one is another item */
    buf_put_str(&b, text);
    return id_of(b.p, b.n);
}

uint64_t spec_id_of(struct str display_name) {
    return id_of(display_name.p, display_name.n);
}

uint64_t annotation_id_of(uint64_t item, const struct data_annotation *n, struct str labels) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    enc_varint(&b, item);
    enc_varint(&b, n->kind);
    enc_varint(&b, n->spec_id);
    enc_varint(&b, n->body.n);
    buf_put_str(&b, n->body);
    buf_put_str(&b, labels);
    return id_of(b.p, b.n);
}

void item_read(sqlite3_stmt *st, struct arena *a, struct data_item *ret) {
    *ret = (struct data_item){
        .seq = (uint64_t)sqlite3_column_int64(st, 0),
        .id = (uint64_t)sqlite3_column_int64(st, 1),
        .media = (enum item_media)sqlite3_column_int(st, 2),
        .is_inline = sqlite3_column_int(st, 3) != 0,
        .use = (enum ml_use)sqlite3_column_int(st, 4),
        .create_time = (usec_t)sqlite3_column_int64(st, 5),
        .update_time = (usec_t)sqlite3_column_int64(st, 6),
        .text = items_text(st, 7),
        .mime = items_text(st, 8),
        .labels = labels_decode(a, items_text(st, 9)),
    };
}

void annotation_read(sqlite3_stmt *st, struct arena *a, struct data_annotation *ret) {
    *ret = (struct data_annotation){
        .id = (uint64_t)sqlite3_column_int64(st, 0),
        .kind = (enum annotation_kind)sqlite3_column_int(st, 1),
        .is_single = sqlite3_column_int(st, 2) != 0,
        .spec_id = (uint64_t)sqlite3_column_int64(st, 3),
        .create_time = (usec_t)sqlite3_column_int64(st, 4),
        .update_time = (usec_t)sqlite3_column_int64(st, 5),
        .body = arena_str(a, items_text(st, 6)),
        .labels = labels_decode(a, arena_str(a, items_text(st, 7))),
        .display_name = arena_str(a, items_text(st, 8)),
    };
}

int items_read_counts(sqlite3 *db, struct item_counts *ret, struct err *err) {
    sqlite3_stmt *st = items_prepare(db, "SELECT key, value FROM fact", err);
    int rc = SQLITE_DONE;
    if (!st) {
        return -1;
    }
    *ret = (struct item_counts){0};
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct str key = items_text(st, 0);
        uint64_t v = (uint64_t)sqlite3_column_int64(st, 1);
        if (str_eqc(key, "items")) {
            ret->items = v;
        } else if (str_eqc(key, "annotations")) {
            ret->annotations = v;
        } else if (str_eqc(key, "specs")) {
            ret->specs = v;
        }
        for (unsigned i = 1; i < ML_USE_NR; i++) {
            if (str_eqc(key, ml_use_name((enum ml_use)i))) {
                ret->of_use[i] = v;
            }
        }
    }
    if (rc != SQLITE_DONE) {
        items_db_error(db, rc, err);
    }
    sqlite3_finalize(st);
    ret->of_use[ML_USE_NONE] = ret->items - ret->of_use[ML_USE_TRAINING] -
                               ret->of_use[ML_USE_VALIDATION] - ret->of_use[ML_USE_TEST];
    return rc == SQLITE_DONE ? 0 : -1;
}

/* ---- open ---- */

static int check_file(sqlite3 *db, const char *path, struct err *err) {
    sqlite3_stmt *st = items_prepare(db,
                                     "SELECT application_id, user_version FROM "
                                     "pragma_application_id, pragma_user_version",
                                     err);
    if (!st) {
        return -1;
    }
    int rc = sqlite3_step(st);
    int64_t app = sqlite3_column_int64(st, 0), version = sqlite3_column_int64(st, 1);
    if (rc != SQLITE_ROW) {
        items_db_error(db, rc, err);
    }
    sqlite3_finalize(st);
    if (rc != SQLITE_ROW) {
        return -1;
    }
    if (app != ITEMS_APPLICATION_ID || version < 1 || version > ITEMS_VERSION) {
        return err_set(err, ERR_DATA_LOSS, "%s is not a file of items that this cusp can read",
                       path);
    }
    return 0;
}

struct items *items_open(const char *path, struct err *err) {
    struct items *it = xcalloc(1, sizeof(*it));
    if (!path || !path[0]) {
        return it;
    }
    /* Never changed by anybody: no locks, no look for a journal. */
    auto_buf struct buf uri = BUF_INIT(BUF_NO_MAX);
    buf_puts(&uri, "file:");
    enc_percent(&uri, str_of(path), "/");
    buf_puts(&uri, "?immutable=1");
    int rc = sqlite3_open_v2(buf_cstr(&uri), &it->db,
                             SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE |
                                 SQLITE_OPEN_URI,
                             NULL);
    if (rc != SQLITE_OK) {
        items_db_error(it->db, rc, err);
    }
    if (rc != SQLITE_OK || items_exec(it->db, READER_SETUP, err) || check_file(it->db, path, err)) {
        items_close(it);
        return NULL;
    }
    return it;
}

void items_close(struct items *it) {
    if (it) {
        sqlite3_close_v2(it->db);
        free(it);
    }
}

int items_get_counts(struct items *it, struct item_counts *ret, struct err *err) {
    if (!it->db) {
        *ret = (struct item_counts){0};
        return 0;
    }
    return items_read_counts(it->db, ret, err);
}

/* ---- scan ---- */

struct item_cursor {
    struct items *it;
    struct item_query q;
    sqlite3_stmt *items, *annotations;
    struct arena *a, *scratch;
    struct data_item now;
    struct data_annotation *list;
    size_t cap;
    uint64_t refused, stopped_at;
};

struct item_cursor *items_scan(struct items *it, const struct item_query *q, struct err *err) {
    struct item_cursor *c = xcalloc(1, sizeof(*c));
    c->it = it;
    c->q = *q;
    c->a = arena_new(ARENA_NO_MAX);
    c->scratch = arena_new(ARENA_NO_MAX);
    if (!it->db) {
        return c;
    }
    c->items = items_prepare(
        it->db,
        q->descending ? "SELECT " ITEM_COLUMNS " FROM item WHERE seq < ?1 ORDER BY seq DESC"
                      : "SELECT " ITEM_COLUMNS " FROM item WHERE seq > ?1 ORDER BY seq",
        err);
    c->annotations = c->items ? items_prepare(it->db, ANNOTATIONS_OF, err) : NULL;
    if (!c->annotations) {
        item_cursor_free(c);
        return NULL;
    }
    uint64_t after = q->after ? q->after : q->descending ? INT64_MAX : 0;
    sqlite3_bind_int64(c->items, 1, (int64_t)after);
    return c;
}

static bool is_of_set(const struct data_annotation *n, struct str set) {
    for (size_t i = 0; i < n->labels.n; i++) {
        if (str_eqc(n->labels.p[i].key, ANNOTATION_SET_LABEL)) {
            return str_eq(n->labels.p[i].value, set);
        }
    }
    return false;
}

static bool annotation_passes(struct item_cursor *c, const struct data_annotation *n) {
    return (!c->q.kind || n->kind == c->q.kind) &&
           (!c->q.set_name.n || is_of_set(n, c->q.set_name)) &&
           annotation_matches(c->q.annotations, c->q.dataset, c->now.id, n, c->scratch);
}

static int read_annotations(struct item_cursor *c, struct err *err) {
    int rc;
    size_t n = 0;
    sqlite3_bind_int64(c->annotations, 1, (int64_t)c->now.seq);
    while ((rc = sqlite3_step(c->annotations)) == SQLITE_ROW) {
        if (n == c->cap) {
            c->cap = c->cap ? 2 * c->cap : 8;
            c->list = xrealloc_array(c->list, c->cap, sizeof(*c->list));
        }
        annotation_read(c->annotations, c->a, &c->list[n]);
        n += annotation_passes(c, &c->list[n]);
    }
    sqlite3_reset(c->annotations);
    if (rc != SQLITE_DONE) {
        return items_db_error(c->it->db, rc, err);
    }
    c->now.annotations = c->list;
    c->now.nr_annotations = n;
    return 0;
}

int items_next(struct item_cursor *c, const struct data_item **ret, struct err *err) {
    int rc = SQLITE_DONE;
    while (c->items && !c->stopped_at && (rc = sqlite3_step(c->items)) == SQLITE_ROW) {
        arena_clear(c->a);
        item_read(c->items, c->a, &c->now);
        bool passes = item_matches(c->q.items, c->q.dataset, &c->now, c->scratch);
        if (passes && !c->q.without_annotations && read_annotations(c, err)) {
            return -1;
        }
        if (passes && (!c->q.only_annotated || c->now.nr_annotations)) {
            *ret = &c->now;
            return 0;
        }
        if (++c->refused == c->q.max_scan) {
            c->stopped_at = c->now.seq;
        }
        rc = SQLITE_DONE;
    }
    if (rc != SQLITE_DONE) {
        return items_db_error(c->it->db, rc, err);
    }
    *ret = NULL;
    return 0;
}

uint64_t item_cursor_stopped_at(const struct item_cursor *c) {
    return c->stopped_at;
}

void item_cursor_free(struct item_cursor *c) {
    if (c) {
        sqlite3_finalize(c->items);
        sqlite3_finalize(c->annotations);
        arena_free(c->a);
        arena_free(c->scratch);
        free(c->list);
        free(c);
    }
}

/* ---- single reads ---- */

static int no_item(uint64_t id, struct err *err) {
    return err_set(err, ERR_NOT_FOUND, "The dataset has no DataItem \"%llu\".",
                   (unsigned long long)id);
}

static int get_annotations(struct items *it, uint64_t seq, struct arena *a, struct data_item *item,
                           struct err *err) {
    sqlite3_stmt *st = items_prepare(it->db, ANNOTATIONS_OF, err);
    int rc;
    size_t n = 0, cap = 0;
    struct data_annotation *list = NULL;
    if (!st) {
        return -1;
    }
    sqlite3_bind_int64(st, 1, (int64_t)seq);
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        if (n == cap) {
            cap = cap ? 2 * cap : 8;
            struct data_annotation *more = arena_own_array(a, cap, sizeof(*more));
            for (size_t i = 0; i < n; i++) {
                more[i] = list[i];
            }
            list = more;
        }
        annotation_read(st, a, &list[n++]);
    }
    if (rc != SQLITE_DONE) {
        items_db_error(it->db, rc, err);
    }
    sqlite3_finalize(st);
    item->annotations = list;
    item->nr_annotations = n;
    return rc == SQLITE_DONE ? 0 : -1;
}

int items_get(struct items *it, uint64_t id, struct arena *a, const struct data_item **ret,
              struct err *err) {
    if (!it->db) {
        return no_item(id, err);
    }
    sqlite3_stmt *st =
        items_prepare(it->db, "SELECT " ITEM_COLUMNS " FROM item WHERE id = ?1", err);
    if (!st) {
        return -1;
    }
    sqlite3_bind_int64(st, 1, (int64_t)id);
    int rc = sqlite3_step(st);
    struct data_item *item = arena_own(a, sizeof(*item));
    if (rc == SQLITE_ROW) {
        item_read(st, a, item);
        item->text = arena_str(a, item->text);
        item->mime = arena_str(a, item->mime);
        item->labels = labels_decode(a, arena_str(a, items_text(st, 9)));
    } else if (rc == SQLITE_DONE) {
        no_item(id, err);
    } else {
        items_db_error(it->db, rc, err);
    }
    sqlite3_finalize(st);
    if (rc != SQLITE_ROW || get_annotations(it, item->seq, a, item, err)) {
        return -1;
    }
    *ret = item;
    return 0;
}

static void spec_read(sqlite3_stmt *st, struct arena *a, struct data_spec *ret) {
    ret->id = (uint64_t)sqlite3_column_int64(st, 0);
    ret->display_name = arena_str(a, items_text(st, 1));
    ret->create_time = (usec_t)sqlite3_column_int64(st, 2);
}

int items_specs(struct items *it, uint64_t after, unsigned max, struct arena *a,
                const struct data_spec **ret, size_t *ret_nr, struct err *err) {
    struct data_spec *list = arena_own_array(a, max, sizeof(*list));
    size_t n = 0;
    int rc = SQLITE_DONE;
    if (it->db) {
        sqlite3_stmt *st = items_prepare(
            it->db, "SELECT id, name, created FROM spec WHERE id > ?1 ORDER BY id LIMIT ?2", err);
        if (!st) {
            return -1;
        }
        sqlite3_bind_int64(st, 1, (int64_t)after);
        sqlite3_bind_int64(st, 2, max);
        while (n < max && (rc = sqlite3_step(st)) == SQLITE_ROW) {
            spec_read(st, a, &list[n++]);
        }
        if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
            items_db_error(it->db, rc, err);
        }
        sqlite3_finalize(st);
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        return -1;
    }
    *ret = list;
    *ret_nr = n;
    return 0;
}

int items_get_spec(struct items *it, uint64_t id, struct arena *a, const struct data_spec **ret,
                   struct err *err) {
    const struct data_spec *list;
    size_t n;
    if (id == 0 || items_specs(it, id - 1, 1, a, &list, &n, err)) {
        return id ? -1 : err_set(err, ERR_NOT_FOUND, "AnnotationSpec ids are not 0.");
    }
    if (n == 0 || list[0].id != id) {
        return err_set(err, ERR_NOT_FOUND, "The dataset has no AnnotationSpec \"%llu\".",
                       (unsigned long long)id);
    }
    *ret = list;
    return 0;
}
