#include "data/export_tabular.h"

#include "base/arena.h"
#include "base/limits.h"
#include "data/csv.h"

#include <unistd.h>

#define LOOK_EVERY 1024 /* rows between two looks at what the loop wants */
#define SHOWN_VALUE 60  /* bytes of a value that an error shows */
#define SHOWN_COLUMNS 20

/* One pass over all files. */
struct pass {
    struct export_tabular *e;
    struct split *split;
    int (*row)(struct pass *p, struct str key, const struct csv_record *rec, struct err *err);
    struct csv_reader *csv;
    const char *uri;
    uint64_t done; /* bytes of the files before */
    struct buf scratch;
    bool has_odd; /* the first row that was left out: */
    uint64_t odd_line;
    const char *odd_uri;
    char odd_value[SHOWN_VALUE + 1];
};

struct table {
    struct arena *arena;
    struct str header, *names; /* header: with its line break */
    size_t columns, key;
};

int export_check_cancel(const struct export_watch *w, struct err *err) {
    return atomic_load_explicit(&w->cancel, memory_order_relaxed)
               ? err_set(err, ERR_CANCELLED, "The export was cancelled.")
               : 0;
}

/* ---- headers ---- */

static int by_name(const void *a, const void *b) {
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static bool are_same(const struct str *a, const struct str *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!str_eq(a[i], b[i])) {
            return false;
        }
    }
    return true;
}

static int key_missing(const struct export_tabular *e, const struct table *t, struct err *err) {
    auto_buf struct buf names = BUF_INIT(400);
    for (size_t i = 0; i < t->columns && i < SHOWN_COLUMNS; i++) {
        (void)buf_printf(&names, "%s%.*s", i ? ", " : "",
                         t->names[i].n > SHOWN_VALUE ? SHOWN_VALUE : (int)t->names[i].n,
                         t->names[i].p);
    }
    return err_field(err, ERR_INVALID_ARGUMENT, e->key_field,
                     "Column \"%.100s\" does not exist. The header of %.300s has %zu column%s: "
                     "%s%s",
                     e->key, e->uris[0], t->columns, t->columns == 1 ? "" : "s", buf_cstr(&names),
                     t->columns > SHOWN_COLUMNS || names.full ? ", ..." : "");
}

static int take_header(struct export_tabular *e, struct table *t, const struct csv_record *rec,
                       struct err *err) {
    char *line = arena_alloc(t->arena, rec->text.n + 2);
    memcpy(line, rec->text.p, rec->text.n);
    line[rec->text.n] = '\n';
    t->header = str_n(line, rec->text.n + 1);
    struct csv_record own = *rec;
    own.text.p = line;
    t->names = csv_fields(&own, t->arena);
    t->columns = rec->columns;
    for (t->key = 0; e->key && t->key < t->columns; t->key++) {
        if (str_eqc(t->names[t->key], e->key)) {
            return 0;
        }
    }
    return e->key ? key_missing(e, t, err) : 0;
}

/* The first line of another file: 1 when it repeats the header. */
static int compare_header(const struct table *t, const struct csv_reader *csv,
                          const struct csv_record *rec, struct err *err) {
    if (rec->columns != t->columns) {
        return 0; /* a row like any other, and refused like one */
    }
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct str *names = csv_fields(rec, a);
    if (are_same(names, t->names, t->columns)) {
        return 1;
    }
    struct str *ours = arena_memdup(a, t->names, t->columns * sizeof(*ours));
    qsort(ours, t->columns, sizeof(*ours), by_name);
    qsort(names, t->columns, sizeof(*names), by_name);
    if (are_same(names, ours, t->columns)) {
        return csv_fail(csv, rec->line, err,
                        "the header has the columns in another order than the first file");
    }
    return 0;
}

/* ---- a pass ---- */

static int ragged(const struct pass *p, const struct table *t, const struct csv_record *rec,
                  struct err *err) {
    return csv_fail(p->csv, rec->line, err, "the row has %zu column%s where the header has %zu",
                    rec->columns, rec->columns == 1 ? "" : "s", t->columns);
}

static int walk_file(struct pass *p, struct table *t, struct err *err) {
    struct csv_record rec;
    struct str key = STR("");
    struct export_tabular *e = p->e;
    bool is_first = p->uri == e->uris[0];
    int got = csv_next(p->csv, &rec, err);
    int same = got > 0 ? compare_header(t, p->csv, &rec, err) : got;
    if (got < 0 || same < 0) {
        return -1;
    }
    if (!same && is_first) {
        return err_set(err, ERR_ABORTED, "%.300s changed while it was being exported.", p->uri);
    }
    if (same) {
        got = csv_next(p->csv, &rec, err);
    }
    for (unsigned n = 1; got > 0; got = csv_next(p->csv, &rec, err), n++) {
        if (rec.columns != t->columns) {
            return ragged(p, t, &rec, err);
        }
        if (e->key) {
            (void)csv_field(&rec, t->key, &p->scratch, &key);
        }
        if (p->row(p, key, &rec, err) < 0) {
            return -1;
        }
        if (n % LOOK_EVERY == 0) {
            if (export_check_cancel(e->watch, err) < 0) {
                return -1;
            }
            atomic_store_explicit(&e->watch->done, p->done + csv_bytes_read(p->csv),
                                  memory_order_relaxed);
        }
    }
    return got;
}

static int walk(struct pass *p, struct table *t, struct err *err) {
    for (size_t i = 0; i < p->e->nr_uris; i++) {
        int fd;
        uint64_t size;
        p->uri = p->e->uris[i];
        if (export_check_cancel(p->e->watch, err) < 0 ||
            p->e->io->open(p->e->io->arg, p->uri, &fd, &size, err) < 0) {
            return -1;
        }
        p->csv = csv_open(fd, str_of(p->uri));
        split_source(p->split, str_of(p->uri));
        int r = walk_file(p, t, err);
        p->done += csv_bytes_read(p->csv);
        csv_close(take(&p->csv));
        if (r < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- rows ---- */

static int see_row(struct pass *p, struct str key, const struct csv_record *rec, struct err *err) {
    (void)split_see(p->split, key);
    return 0;
}

static int put_row(struct pass *p, struct str key, const struct csv_record *rec, struct err *err) {
    enum split_set set = split_row(p->split, key);
    p->e->rows++;
    if (set != SPLIT_NONE) {
        return shards_put(&p->e->sets[set], rec->text, err);
    }
    p->e->ignored++;
    if (!p->has_odd) {
        p->has_odd = true;
        p->odd_line = rec->line;
        p->odd_uri = p->uri;
        snprintf(p->odd_value, sizeof(p->odd_value), "%.*s",
                 key.n > SHOWN_VALUE ? SHOWN_VALUE : (int)key.n, key.p);
    }
    return 0;
}

static int check_any(const struct pass *p, struct err *err) {
    const struct export_tabular *e = p->e;
    if (e->rows > e->ignored) {
        return 0;
    }
    if (e->rows == 0) {
        return err_set(err, ERR_INVALID_ARGUMENT, "There are no rows below the header of %.300s%s.",
                       e->uris[0], e->nr_uris > 1 ? " and in the files after it" : "");
    }
    return err_field(err, ERR_INVALID_ARGUMENT, e->key_field,
                     "Column \"%.100s\" puts none of the %llu rows into a set: its values must be "
                     "%s. The first other one is \"%s\" (%.300s, line %llu).",
                     e->key, (unsigned long long)e->rows,
                     e->kind == SPLIT_BY_PREDEFINED ? "\"training\", \"validation\" or \"test\""
                                                    : "times like \"1985-04-12T23:20:50.52Z\"",
                     p->odd_value, p->odd_uri, (unsigned long long)p->odd_line);
}

static int count_bytes(struct export_tabular *e, struct err *err) {
    uint64_t total = 0;
    for (size_t i = 0; i < e->nr_uris; i++) {
        int fd;
        uint64_t size;
        if (export_check_cancel(e->watch, err) < 0 ||
            e->io->open(e->io->arg, e->uris[i], &fd, &size, err) < 0) {
            return -1;
        }
        close(fd);
        total += size;
    }
    atomic_store(&e->watch->total, total * (split_needs_pass(e->kind) ? 2 : 1));
    return 0;
}

/* The sets' writers need the header, which the first line that is read gives. */
static int peek_header(struct export_tabular *e, struct table *t, struct err *err) {
    int fd;
    uint64_t size;
    struct csv_record rec;
    if (e->io->open(e->io->arg, e->uris[0], &fd, &size, err) < 0) {
        return -1;
    }
    struct csv_reader *csv = csv_open(fd, str_of(e->uris[0]));
    int got = csv_next(csv, &rec, err);
    got = got > 0    ? take_header(e, t, &rec, err)
          : got == 0 ? err_set(err, ERR_INVALID_ARGUMENT,
                               "%.300s is empty; its first line must be the header.", e->uris[0])
                     : -1;
    csv_close(csv);
    return got;
}

static int run_passes(struct export_tabular *e, struct pass *p, struct table *t, struct err *err) {
    for (int i = 0; i < SPLIT_NR; i++) {
        shards_init(&e->sets[i], &e->io->place, e->shard_bytes, t->header);
    }
    if (split_needs_pass(e->kind)) {
        p->row = see_row;
        if (walk(p, t, err) < 0) {
            return -1;
        }
        if (split_prepare(p->split, err) < 0) {
            if (err && err->code == ERR_INVALID_ARGUMENT) {
                struct err why = *err;
                return err_field(err, why.code, e->key_field, "Column \"%.100s\": %.600s", e->key,
                                 why.msg);
            }
            return -1;
        }
    }
    p->row = put_row;
    if (walk(p, t, err) < 0 || check_any(p, err) < 0) {
        return -1;
    }
    for (int i = 0; i < SPLIT_NR; i++) {
        if (export_check_cancel(e->watch, err) < 0 || shards_finish(&e->sets[i], err) < 0) {
            return -1;
        }
    }
    atomic_store(&e->watch->done, atomic_load(&e->watch->total));
    return 0;
}

int export_tabular_run(struct export_tabular *e, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX); /* bounded by max_csv_record */
    auto_close int times = -1;
    struct table t = {.arena = a};
    CHECK(e->nr_uris > 0 && e->kind != SPLIT_BY_FILTER);
    if (count_bytes(e, err) < 0 || peek_header(e, &t, err) < 0 ||
        (e->kind == SPLIT_BY_TIMESTAMP && e->io->scratch(e->io->arg, &times, err) < 0)) {
        return -1;
    }
    struct pass p = {.e = e,
                     .split = split_new(e->kind, &e->fractions, e->seed, times),
                     .scratch = BUF_INIT(limits.max_csv_record + 1)};
    int r = run_passes(e, &p, &t, err);
    split_free(p.split);
    buf_fini(&p.scratch);
    return r;
}

void export_tabular_fini(struct export_tabular *e) {
    for (int i = 0; i < SPLIT_NR; i++) {
        if (e->sets[i].place) {
            shards_fini(&e->sets[i]);
            e->sets[i].place = NULL;
        }
    }
}
