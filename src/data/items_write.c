/* Writing sets of items: a new file that nobody sees before it is whole and durable, so there is no
 * journal and nothing to roll back. See items.h. */
#include "base/fail.h"
#include "base/limits.h"
#include "data/items_int.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* The cache holds the index of ids, which grows in no order. */
#define WRITER_SETUP                                                                               \
    "PRAGMA page_size = 8192; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"                \
    "PRAGMA locking_mode = EXCLUSIVE; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -32768;"     \
    "PRAGMA mmap_size = 0"

#define SCHEMA                                                                                     \
    "PRAGMA application_id = 1668641641; PRAGMA user_version = 2;"                                 \
    "CREATE TABLE item ("                                                                          \
    "  seq INTEGER PRIMARY KEY, id INTEGER NOT NULL UNIQUE, media INTEGER NOT NULL,"               \
    "  inline INTEGER NOT NULL, use INTEGER NOT NULL, created INTEGER NOT NULL,"                   \
    "  updated INTEGER NOT NULL, text TEXT NOT NULL, mime TEXT, labels BLOB,"                      \
    "  size INTEGER, crc INTEGER);"                                                                \
    "CREATE INDEX item_content ON item(size, crc) WHERE size IS NOT NULL;"                         \
    "CREATE TABLE annotation ("                                                                    \
    "  item INTEGER NOT NULL, n INTEGER NOT NULL, id INTEGER NOT NULL, kind INTEGER NOT NULL,"     \
    "  single INTEGER NOT NULL, spec INTEGER NOT NULL, created INTEGER NOT NULL,"                  \
    "  updated INTEGER NOT NULL, body TEXT NOT NULL, labels BLOB,"                                 \
    "  PRIMARY KEY (item, n)) WITHOUT ROWID;"                                                      \
    "CREATE TABLE spec (id INTEGER PRIMARY KEY, name TEXT NOT NULL, created INTEGER NOT NULL);"    \
    "CREATE TABLE fact (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
_Static_assert(ITEMS_APPLICATION_ID == 1668641641 && ITEMS_VERSION == 2, "as in SCHEMA");

#define FROM_VERSION_1                                                                             \
    "ALTER TABLE item ADD COLUMN size INTEGER; ALTER TABLE item ADD COLUMN crc INTEGER;"           \
    "CREATE INDEX item_content ON item(size, crc) WHERE size IS NOT NULL;"                         \
    "PRAGMA user_version = 2"

enum stmt {
    PUT_ITEM,
    PUT_ANNOTATION,
    PUT_SPEC,
    GET_BY_ID,
    GET_BY_SEQ,
    SAY_SIZE,
    GET_SPEC,
    LAST_ANNOTATION,
    HAS_ANNOTATION,
    CHANGE_ITEM,
    SET_USE,
    GET_USE,
    PUT_FACT,
    STMT_NR
};
static const char *const texts[STMT_NR] = {
    [PUT_ITEM] = "INSERT INTO item (id, media, inline, use, created, updated, text, mime, labels) "
                 "VALUES (?1,?2,?3,?4,?5,?5,?6,?7,?8) ON CONFLICT (id) DO NOTHING",
    [PUT_ANNOTATION] = "INSERT INTO annotation (item, n, id, kind, single, spec, created, updated, "
                       "body, labels) VALUES (?1,?2,?3,?4,?5,?6,?7,?7,?8,?9)",
    [PUT_SPEC] = "INSERT INTO spec (id, name, created) VALUES (?1,?2,?3) "
                 "ON CONFLICT (id) DO NOTHING",
    [GET_BY_ID] = "SELECT " ITEM_COLUMNS " FROM item WHERE id = ?1",
    [GET_BY_SEQ] = "SELECT " ITEM_COLUMNS " FROM item WHERE seq = ?1",
    [SAY_SIZE] = "UPDATE item SET size = ?2, crc = NULL WHERE seq = ?1 AND size IS NOT ?2",
    [GET_SPEC] = "SELECT name FROM spec WHERE id = ?1",
    [LAST_ANNOTATION] = "SELECT max(n) FROM annotation WHERE item = ?1",
    [HAS_ANNOTATION] = "SELECT 1 FROM annotation WHERE item = ?1 AND id = ?2",
    [CHANGE_ITEM] = "UPDATE item SET use = ?2, labels = ?3, updated = ?4 WHERE seq = ?1",
    [SET_USE] = "UPDATE item SET use = ?2, updated = ?3 WHERE seq = ?1",
    [GET_USE] = "SELECT use FROM item WHERE seq = ?1",
    [PUT_FACT] = "INSERT OR REPLACE INTO fact (key, value) VALUES (?1, ?2)",
};

#define SPECS_KNOWN 256 /* ids met last: most files have few labels */

struct items_writer {
    sqlite3 *db;
    sqlite3_stmt *st[STMT_NR];
    char *path;
    usec_t now;
    struct item_counts counts;
    struct item_merge_stats stats;
    struct arena *a;              /* of one item */
    struct item_matcher *matcher; /* NULL: bytes are not looked at */
    struct buf labels, item_labels;
    struct {
        uint64_t id;
        struct str name; /* owned */
    } known[SPECS_KNOWN];
};

/* ---- begin ---- */

static int copy_bytes(int from, int to, struct err *err) {
    if (ioctl(to, FICLONE, from) == 0) {
        return 0;
    }
    for (;;) {
        ssize_t n = copy_file_range(from, NULL, to, NULL, 1u << 30, 0);
        if (n == 0) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            return err_sys(err, errno, "copy the dataset's items");
        }
    }
}

static int copy_file(const char *from, const char *path, struct err *err) {
    auto_close int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0) {
        return err_sys(err, errno, "open %s", from);
    }
    auto_close int out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    return out < 0 ? err_sys(err, errno, "make %s", path) : copy_bytes(in, out, err);
}

/* A file that an older cusp wrote; the copy is ours. */
static int upgrade(sqlite3 *db, struct err *err) {
    sqlite3_stmt *st = items_prepare(db, "PRAGMA user_version", err);
    if (!st) {
        return -1;
    }
    bool is_old = sqlite3_step(st) == SQLITE_ROW && sqlite3_column_int(st, 0) == 1;
    sqlite3_finalize(st);
    return is_old ? items_exec(db, FROM_VERSION_1, err) : 0;
}

static int begin(struct items_writer *w, const char *from, struct err *err) {
    bool is_new = !from || !from[0];
    if (unlink(w->path) && errno != ENOENT) {
        return err_sys(err, errno, "remove %s", w->path);
    }
    if ((!is_new && copy_file(from, w->path, err)) || FAIL_POINT("data.items.begin", err)) {
        return -1;
    }
    int rc = sqlite3_open_v2(w->path, &w->db,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                                 SQLITE_OPEN_PRIVATECACHE,
                             NULL);
    if (rc != SQLITE_OK) {
        return items_db_error(w->db, rc, err);
    }
    if (items_exec(w->db, WRITER_SETUP, err) || (is_new && items_exec(w->db, SCHEMA, err)) ||
        (!is_new && upgrade(w->db, err))) {
        return -1;
    }
    for (int i = 0; i < STMT_NR; i++) {
        w->st[i] = items_prepare(w->db, texts[i], err);
        if (!w->st[i]) {
            return -1;
        }
    }
    return items_read_counts(w->db, &w->counts, err) || items_exec(w->db, "BEGIN", err) ? -1 : 0;
}

struct items_writer *items_write_begin(const char *from, const char *to, usec_t now,
                                       struct err *err) {
    struct items_writer *w = xcalloc(1, sizeof(*w));
    w->path = xstrdup(to);
    w->now = now;
    w->a = arena_new(ARENA_NO_MAX);
    w->labels = w->item_labels = BUF_INIT(BUF_NO_MAX);
    if (begin(w, from, err)) {
        items_write_drop(w);
        return NULL;
    }
    return w;
}

int items_write_contents(struct items_writer *w, const struct item_contents *c, struct err *err) {
    w->matcher = item_matcher_new(w->db, c, err);
    return w->matcher ? 0 : -1;
}

static void close_db(struct items_writer *w) {
    item_matcher_free(take(&w->matcher));
    for (int i = 0; i < STMT_NR; i++) {
        sqlite3_finalize(w->st[i]);
        w->st[i] = NULL;
    }
    sqlite3_close_v2(w->db);
    w->db = NULL;
}

static void writer_free(struct items_writer *w) {
    close_db(w);
    for (size_t i = 0; i < SPECS_KNOWN; i++) {
        free((char *)w->known[i].name.p);
    }
    buf_fini(&w->labels);
    buf_fini(&w->item_labels);
    arena_free(w->a);
    free(w->path);
    free(w);
}

void items_write_drop(struct items_writer *w) {
    if (w) {
        close_db(w);
        (void)unlink(w->path); /* what stays is swept at the next start */
        writer_free(w);
    }
}

/* ---- put ---- */

/* Runs a statement that gives no rows. */
static int run(struct items_writer *w, enum stmt which, struct err *err) {
    int rc = sqlite3_step(w->st[which]);
    sqlite3_reset(w->st[which]);
    return rc == SQLITE_DONE ? 0 : items_db_error(w->db, rc, err);
}

static void bind_text(sqlite3_stmt *st, int at, struct str s) {
    sqlite3_bind_text(st, at, s.p ? s.p : "", (int)s.n, SQLITE_STATIC);
}

static void bind_blob_or_null(sqlite3_stmt *st, int at, struct str s) {
    if (s.n) {
        sqlite3_bind_blob(st, at, s.p, (int)s.n, SQLITE_STATIC);
    } else {
        sqlite3_bind_null(st, at);
    }
}

static int hit(const uint64_t *limit, const char *name, const char *what, struct err *err) {
    limits_hit(limit);
    return err_set(err, ERR_RESOURCE_EXHAUSTED, "%s: the limit %s is %llu.", what, name,
                   (unsigned long long)*limit);
}

/* The id of a label; specs that were not there are made. Another name of the same id moves on. */
static int spec_of(struct items_writer *w, struct str name, uint64_t *ret, struct err *err) {
    uint64_t id = spec_id_of(name);
    size_t slot = (size_t)(id % SPECS_KNOWN);
    if (w->known[slot].name.p && str_eq(w->known[slot].name, name)) {
        *ret = w->known[slot].id;
        return 0;
    }
    for (;; id = id == INT64_MAX ? 1 : id + 1) {
        sqlite3_stmt *st = w->st[GET_SPEC];
        sqlite3_bind_int64(st, 1, (int64_t)id);
        int rc = sqlite3_step(st);
        bool is_same = rc == SQLITE_ROW && str_eq(items_text(st, 0), name);
        sqlite3_reset(st);
        if (rc == SQLITE_DONE) {
            if (w->counts.specs >= limits.max_annotation_specs) {
                return hit(&limits.max_annotation_specs, "max_annotation_specs",
                           "Too many different labels in one dataset", err);
            }
            sqlite3_bind_int64(w->st[PUT_SPEC], 1, (int64_t)id);
            bind_text(w->st[PUT_SPEC], 2, name);
            sqlite3_bind_int64(w->st[PUT_SPEC], 3, (int64_t)w->now);
            if (run(w, PUT_SPEC, err)) {
                return -1;
            }
            w->counts.specs++;
            is_same = true;
        } else if (rc != SQLITE_ROW) {
            return items_db_error(w->db, rc, err);
        }
        if (is_same) {
            break;
        }
    }
    free((char *)w->known[slot].name.p);
    w->known[slot].name = str_n(str_dup(name), name.n);
    w->known[slot].id = *ret = id;
    return 0;
}

static int put_annotation(struct items_writer *w, uint64_t item_id, uint64_t seq, uint64_t n,
                          uint64_t spec_id, const struct data_annotation *in, bool is_merge,
                          bool *ret_is_new, struct err *err) {
    struct data_annotation an = *in;
    an.spec_id = spec_id;
    buf_clear(&w->labels);
    labels_encode(&w->labels, &in->labels);
    an.id = annotation_id_of(item_id, &an, buf_str(&w->labels));
    *ret_is_new = true;
    if (is_merge) {
        sqlite3_bind_int64(w->st[HAS_ANNOTATION], 1, (int64_t)seq);
        sqlite3_bind_int64(w->st[HAS_ANNOTATION], 2, (int64_t)an.id);
        int rc = sqlite3_step(w->st[HAS_ANNOTATION]);
        sqlite3_reset(w->st[HAS_ANNOTATION]);
        if (rc != SQLITE_DONE) {
            *ret_is_new = false;
            w->stats.annotations_merged += rc == SQLITE_ROW;
            return rc == SQLITE_ROW ? 0 : items_db_error(w->db, rc, err);
        }
    }
    sqlite3_stmt *st = w->st[PUT_ANNOTATION];
    sqlite3_bind_int64(st, 1, (int64_t)seq);
    sqlite3_bind_int64(st, 2, (int64_t)n);
    sqlite3_bind_int64(st, 3, (int64_t)an.id);
    sqlite3_bind_int(st, 4, (int)an.kind);
    sqlite3_bind_int(st, 5, an.is_single);
    sqlite3_bind_int64(st, 6, (int64_t)an.spec_id);
    sqlite3_bind_int64(st, 7, (int64_t)w->now);
    bind_text(st, 8, an.body);
    bind_blob_or_null(st, 9, buf_str(&w->labels));
    if (run(w, PUT_ANNOTATION, err)) {
        return -1;
    }
    w->counts.annotations++;
    w->stats.annotations_new++;
    return 0;
}

/* The later says what a label is. */
static struct item_labels join_labels(struct arena *a, struct item_labels old,
                                      struct item_labels add, bool *ret_changed) {
    struct store_label *p = arena_own_array(a, old.n + add.n + 1, sizeof(*p));
    size_t n = 0;
    for (; n < old.n; n++) {
        p[n] = old.p[n];
    }
    for (size_t i = 0; i < add.n; i++) {
        size_t at = 0;
        while (at < n && !str_eq(p[at].key, add.p[i].key)) {
            at++;
        }
        *ret_changed = *ret_changed || at == n || !str_eq(p[at].value, add.p[i].value);
        p[at] = add.p[i];
        n += at == n;
    }
    return (struct item_labels){p, n};
}

static void count_use(struct items_writer *w, enum ml_use from, enum ml_use to) {
    w->counts.of_use[from]--;
    w->counts.of_use[to]++;
}

/* The item of this id or seq; in the arena. 1: there is one, 0: none, -1. */
static int get_item(struct items_writer *w, enum stmt by, uint64_t key, struct data_item *ret,
                    struct err *err) {
    sqlite3_stmt *st = w->st[by];
    sqlite3_bind_int64(st, 1, (int64_t)key);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        item_read(st, w->a, ret);
        ret->labels = labels_decode(w->a, arena_str(w->a, items_text(st, 9)));
        ret->text = arena_str(w->a, ret->text);
        ret->mime = STR("");
    }
    sqlite3_reset(st);
    return rc == SQLITE_ROW ? 1 : rc == SQLITE_DONE ? 0 : items_db_error(w->db, rc, err);
}

static bool is_named_alike(const struct data_item *a, const struct data_item *b) {
    return a->is_inline == b->is_inline && str_eq(a->text, b->text);
}

/* Its object may have got other bytes since the last import. */
static int say_size(struct items_writer *w, uint64_t seq, uint64_t size, struct err *err) {
    sqlite3_bind_int64(w->st[SAY_SIZE], 1, (int64_t)seq);
    sqlite3_bind_int64(w->st[SAY_SIZE], 2, (int64_t)size);
    return run(w, SAY_SIZE, err);
}

static int merge(struct items_writer *w, const struct data_item *at, const struct data_item *in,
                 struct err *err) {
    const struct data_item old = *at;
    bool changed = false;
    struct item_labels all = join_labels(w->a, old.labels, in->labels, &changed);
    if (all.n > limits.max_item_labels) {
        return hit(&limits.max_item_labels, "max_item_labels", "Too many labels on one item", err);
    }
    enum ml_use use = in->use ? in->use : old.use;
    w->stats.items_merged++;
    if (!changed && use == old.use) {
        return 0;
    }
    count_use(w, old.use, use);
    buf_clear(&w->item_labels);
    labels_encode(&w->item_labels, &all);
    sqlite3_stmt *st = w->st[CHANGE_ITEM];
    sqlite3_bind_int64(st, 1, (int64_t)old.seq);
    sqlite3_bind_int(st, 2, (int)use);
    bind_blob_or_null(st, 3, buf_str(&w->item_labels));
    sqlite3_bind_int64(st, 4, (int64_t)w->now);
    return run(w, CHANGE_ITEM, err);
}

static int put_row(struct items_writer *w, uint64_t id, const struct data_item *in, bool *ret_new,
                   struct err *err) {
    sqlite3_stmt *st = w->st[PUT_ITEM];
    sqlite3_bind_int64(st, 1, (int64_t)id);
    sqlite3_bind_int(st, 2, (int)in->media);
    sqlite3_bind_int(st, 3, in->is_inline);
    sqlite3_bind_int(st, 4, (int)in->use);
    sqlite3_bind_int64(st, 5, (int64_t)w->now);
    bind_text(st, 6, in->text);
    bind_blob_or_null(st, 7, in->mime);
    bind_blob_or_null(st, 8, buf_str(&w->item_labels));
    if (run(w, PUT_ITEM, err)) {
        return -1;
    }
    *ret_new = sqlite3_changes(w->db) == 1;
    return 0;
}

/* Where the annotations of an item that was there already go on. */
static int next_place(struct items_writer *w, uint64_t seq, uint64_t *ret, struct err *err) {
    sqlite3_bind_int64(w->st[LAST_ANNOTATION], 1, (int64_t)seq);
    int rc = sqlite3_step(w->st[LAST_ANNOTATION]);
    *ret = rc == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(w->st[LAST_ANNOTATION], 0) + 1 : 0;
    sqlite3_reset(w->st[LAST_ANNOTATION]);
    return rc == SQLITE_ROW ? 0 : items_db_error(w->db, rc, err);
}

/* The item that `in` is another name of, or NULL: it has to be made. */
static int find_bytes(struct items_writer *w, uint64_t id, const struct data_item *in,
                      struct data_item *old, bool *ret_found, int64_t *ret_crc, struct err *err) {
    uint64_t seq = 0;
    *ret_found = false;
    *ret_crc = ITEM_CRC_UNASKED;
    if (!w->matcher || !item_has_bytes(in)) {
        return 0;
    }
    int rc = get_item(w, GET_BY_ID, id, old, err);
    if (rc > 0 && is_named_alike(old, in)) {
        return 0;
    }
    if (rc < 0 || item_matcher_find(w->matcher, in, &seq, ret_crc, err)) {
        return -1;
    }
    if (seq) {
        rc = get_item(w, GET_BY_SEQ, seq, old, err);
        *ret_found = rc > 0;
    }
    return rc < 0 ? -1 : 0;
}

/* *ret_at: the item as it is now, by its id and seq. */
static int put_item(struct items_writer *w, const struct data_item *in, struct data_item *ret_at,
                    bool *ret_is_new, struct err *err) {
    uint64_t id = item_id_of(in->is_inline, in->text);
    int64_t crc;
    bool found;
    *ret_is_new = false;
    if (find_bytes(w, id, in, ret_at, &found, &crc, err)) {
        return -1;
    }
    if (found) {
        return merge(w, ret_at, in, err);
    }
    for (;; id = id == INT64_MAX ? 1 : id + 1) { /* another name of the same id: move on */
        buf_clear(&w->item_labels);
        labels_encode(&w->item_labels, &in->labels);
        if (put_row(w, id, in, ret_is_new, err)) {
            return -1;
        }
        if (*ret_is_new) {
            break;
        }
        if (get_item(w, GET_BY_ID, id, ret_at, err) < 0) {
            return -1;
        }
        if (is_named_alike(ret_at, in)) {
            return merge(w, ret_at, in, err) ||
                           (w->matcher && in->has_size && say_size(w, ret_at->seq, in->size, err))
                       ? -1
                       : 0;
        }
    }
    ret_at->id = id;
    ret_at->seq = (uint64_t)sqlite3_last_insert_rowid(w->db);
    w->counts.items++;
    w->counts.of_use[in->use]++;
    w->stats.items_new++;
    return w->matcher && item_has_bytes(in)
               ? item_matcher_note(w->matcher, ret_at->seq, in, crc, err)
               : 0;
}

int items_put(struct items_writer *w, const struct data_item *in, struct err *err) {
    struct data_item at = {0};
    uint64_t n = 1;
    bool is_new = false;
    arena_clear(w->a);
    if (in->labels.n > limits.max_item_labels) {
        return hit(&limits.max_item_labels, "max_item_labels", "Too many labels on one item", err);
    }
    if (w->counts.items >= limits.max_dataset_items) {
        return hit(&limits.max_dataset_items, "max_dataset_items", "Too many items in one dataset",
                   err);
    }
    /* First what may be refused: an item is there with all that its line says, or not. */
    uint64_t *specs = arena_own_array(w->a, in->nr_annotations + 1, sizeof(*specs));
    for (size_t i = 0; i < in->nr_annotations; i++) {
        struct str name = in->annotations[i].display_name;
        if (name.n && spec_of(w, name, &specs[i], err)) {
            return -1;
        }
    }
    if (put_item(w, in, &at, &is_new, err)) {
        return -1;
    }
    if (!is_new && in->nr_annotations && next_place(w, at.seq, &n, err)) {
        return -1;
    }
    if (n - 1 + in->nr_annotations > limits.max_item_annotations) {
        return hit(&limits.max_item_annotations, "max_item_annotations",
                   "Too many annotations on one item", err);
    }
    for (size_t i = 0; i < in->nr_annotations; i++) {
        bool added;
        if (put_annotation(w, at.id, at.seq, n, specs[i], &in->annotations[i], !is_new || i > 0,
                           &added, err)) {
            return -1;
        }
        n += added;
    }
    return 0;
}

int items_set_use(struct items_writer *w, uint64_t seq, enum ml_use use, struct err *err) {
    sqlite3_bind_int64(w->st[GET_USE], 1, (int64_t)seq);
    int rc = sqlite3_step(w->st[GET_USE]);
    enum ml_use old = (enum ml_use)sqlite3_column_int(w->st[GET_USE], 0);
    sqlite3_reset(w->st[GET_USE]);
    if (rc == SQLITE_DONE) {
        return err_set(err, ERR_NOT_FOUND, "no item has the place %llu", (unsigned long long)seq);
    }
    if (rc != SQLITE_ROW) {
        return items_db_error(w->db, rc, err);
    }
    if (old == use) {
        return 0;
    }
    count_use(w, old, use);
    sqlite3_bind_int64(w->st[SET_USE], 1, (int64_t)seq);
    sqlite3_bind_int(w->st[SET_USE], 2, (int)use);
    sqlite3_bind_int64(w->st[SET_USE], 3, (int64_t)w->now);
    return run(w, SET_USE, err);
}

/* ---- finish ---- */

static int put_fact(struct items_writer *w, const char *key, uint64_t v, struct err *err) {
    bind_text(w->st[PUT_FACT], 1, str_of(key));
    sqlite3_bind_int64(w->st[PUT_FACT], 2, (int64_t)v);
    return run(w, PUT_FACT, err);
}

static int put_facts(struct items_writer *w, struct err *err) {
    for (unsigned i = 1; i < ML_USE_NR; i++) {
        if (put_fact(w, ml_use_name((enum ml_use)i), w->counts.of_use[i], err)) {
            return -1;
        }
    }
    return put_fact(w, "items", w->counts.items, err) ||
                   put_fact(w, "annotations", w->counts.annotations, err) ||
                   put_fact(w, "specs", w->counts.specs, err)
               ? -1
               : 0;
}

static int make_durable(const char *path, struct err *err) {
    auto_free char *dir = xstrdup(path);
    auto_close int fd = open(path, O_RDWR | O_CLOEXEC);
    *strrchr(dir, '/') = 0;
    if (fd < 0 || FAIL_POINT("data.items.before_sync", err)) {
        return fd < 0 ? err_sys(err, errno, "open %s", path) : -1;
    }
    if (fsync(fd)) {
        return err_sys(err, errno, "sync %s", path);
    }
    return file_fsync_dir(AT_FDCWD, dir, err);
}

int items_write_finish(struct items_writer *w, struct item_counts *ret, struct err *err) {
    if (put_facts(w, err) || FAIL_POINT("data.items.before_commit", err) ||
        items_exec(w->db, "COMMIT", err)) {
        items_write_drop(w);
        return -1;
    }
    close_db(w);
    if (make_durable(w->path, err)) {
        items_write_drop(w);
        return -1;
    }
    *ret = w->counts;
    writer_free(w);
    return 0;
}

void items_write_stats(const struct items_writer *w, struct item_merge_stats *ret) {
    *ret = w->stats;
}
