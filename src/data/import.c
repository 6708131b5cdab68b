/* See import.h. */
#include "data/import.h"

#include "base/limits.h"
#include "data/csv.h"
#include "data/lines.h"

struct importer {
    struct items_writer *w;
    const struct import_source *source;
    const struct import_io *io;
    struct import_watch *watch;
    const char *uri;
    uint64_t bytes_before; /* of the files that are done */
    struct arena *a;       /* of one line */
};

static void note_failure(struct importer *m, uint64_t line, const struct err *why) {
    size_t n = atomic_load(&m->watch->nr_failures);
    atomic_fetch_add(&m->watch->failed, 1);
    if (n < IMPORT_FAILURES_MAX) {
        struct import_failure *f = &m->watch->failures[n];
        f->code = why->code;
        snprintf(f->text, sizeof(f->text), "%.300s, line %llu: %s", m->uri,
                 (unsigned long long)line, why->msg);
        atomic_store(&m->watch->nr_failures, n + 1);
    }
}

static bool is_cancelled(const struct importer *m) {
    return m->watch->cancel && atomic_load(m->watch->cancel);
}

/* What the request says of all items, behind what the line says of this one. */
static struct item_labels add_labels(struct arena *a, struct item_labels own,
                                     struct item_labels all) {
    if (!all.n) {
        return own;
    }
    struct store_label *p = arena_own_array(a, own.n + all.n, sizeof(*p));
    size_t n = 0;
    for (; n < own.n; n++) {
        p[n] = own.p[n];
    }
    for (size_t i = 0; i < all.n; i++) {
        bool is_there = false;
        for (size_t k = 0; k < own.n; k++) {
            is_there = is_there || str_eq(own.p[k].key, all.p[i].key);
        }
        if (!is_there) {
            p[n++] = all.p[i];
        }
    }
    return (struct item_labels){p, n};
}

static void dress(struct importer *m, struct data_item *item) {
    const struct import_source *s = m->source;
    const struct store_label set = {STR(ANNOTATION_SET_LABEL), s->set_name};
    struct data_annotation *list = (struct data_annotation *)item->annotations; /* in our arena */
    item->use = item->use ? item->use : s->use;
    item->labels = add_labels(m->a, item->labels, s->item_labels);
    for (size_t i = 0; i < item->nr_annotations; i++) {
        list[i].labels = add_labels(m->a, list[i].labels, s->annotation_labels);
        if (s->set_name.n) {
            list[i].labels = add_labels(m->a, list[i].labels, (struct item_labels){&set, 1});
        }
    }
}

/* -1: the import cannot go on. */
static int take_item(struct importer *m, uint64_t line, struct data_item *item, struct err *err) {
    struct err why = {0};
    if (!item->is_inline && m->io->check &&
        m->io->check(m->io->arg, item->text, &item->has_size, &item->size, &why)) {
        note_failure(m, line, &why);
        return 0;
    }
    dress(m, item);
    if (items_put(m->w, item, &why) == 0) {
        return 0;
    }
    if (why.code == ERR_RESOURCE_EXHAUSTED && why.sys == 0) { /* a limit, not the disk */
        note_failure(m, line, &why);
        return 0;
    }
    *err = why;
    return -1;
}

static int step_end(struct importer *m, uint64_t bytes, struct err *err) {
    atomic_fetch_add(&m->watch->lines, 1);
    atomic_store(&m->watch->bytes_done, m->bytes_before + bytes);
    return is_cancelled(m) ? err_set(err, ERR_CANCELLED, "The import was cancelled.") : 0;
}

static bool is_blank(struct str s) {
    return str_trim(s).n == 0;
}

static int import_lines(struct importer *m, struct lines *l, struct err *err) {
    struct str line;
    enum lines_step step;
    while ((step = lines_next(l, &line, err)) != LINES_END) {
        struct data_item item;
        struct err why;
        if (step == LINES_ERROR) {
            return err_wrap(err, "%.300s, after line %llu", m->uri,
                            (unsigned long long)lines_number(l));
        }
        if (step == LINES_LINE && is_blank(line)) {
            continue;
        }
        arena_clear(m->a);
        if (step == LINES_TOO_LONG) {
            err_set(&why, ERR_INVALID_ARGUMENT,
                    "the line is longer than max_import_line = %llu bytes",
                    (unsigned long long)limits.max_import_line);
            note_failure(m, lines_number(l), &why);
        } else if (item_line_parse(m->a, m->source->format, line, &item, &why)) {
            note_failure(m, lines_number(l), &why);
        } else if (take_item(m, lines_number(l), &item, err)) {
            return -1;
        }
        if (step_end(m, lines_bytes_read(l), err)) {
            return -1;
        }
    }
    return 0;
}

static int import_records(struct importer *m, struct csv_reader *r, struct err *err) {
    struct csv_record rec;
    int rc;
    while ((rc = csv_next(r, &rec, err)) > 0) {
        struct data_item item;
        struct err why;
        arena_clear(m->a);
        struct str *fields = csv_fields(&rec, m->a);
        if (item_fields_parse(m->a, m->source->format, fields, rec.columns, &item, &why)) {
            note_failure(m, rec.line, &why);
        } else if (take_item(m, rec.line, &item, err)) {
            return -1;
        }
        if (step_end(m, csv_bytes_read(r), err)) {
            return -1;
        }
    }
    return rc;
}

static bool is_csv(const char *uri) {
    struct str s = str_of(uri);
    return str_ends(s, STR(".csv")) || str_ends(s, STR(".csv.gz")) || str_ends(s, STR(".CSV"));
}

static int import_file(struct importer *m, struct err *err) {
    uint64_t size;
    int fd, rc;
    if (m->io->open(m->io->arg, m->uri, &fd, &size, err)) {
        return -1;
    }
    if (is_csv(m->uri)) {
        struct csv_reader *r = csv_open(fd, str_of(m->uri));
        rc = m->source->format->kind == ANNOTATION_IMAGE_CLASSIFICATION
                 ? import_records(m, r, err)
                 : err_set(err, ERR_INVALID_ARGUMENT,
                           "%.300s: CSV files are for image classification; %s takes lines of "
                           "JSON (.jsonl)",
                           m->uri, m->source->format->name);
        csv_close(r);
    } else {
        struct lines *l = lines_open(fd);
        rc = import_lines(m, l, err);
        lines_close(l);
    }
    m->bytes_before += size;
    atomic_store(&m->watch->bytes_done, m->bytes_before);
    return rc;
}

static int add_sizes(const struct import_source *sources, size_t nr, const struct import_io *io,
                     struct import_watch *watch, struct err *err) {
    for (size_t i = 0; i < nr; i++) {
        for (size_t k = 0; k < sources[i].nr_uris; k++) {
            uint64_t size;
            int fd;
            if (io->open(io->arg, sources[i].uris[k], &fd, &size, err)) {
                return -1;
            }
            mem_auto_close(&fd);
            atomic_fetch_add(&watch->bytes_total, size);
        }
    }
    return 0;
}

int import_run(struct items_writer *w, const struct import_source *sources, size_t nr,
               const struct import_io *io, struct import_watch *watch, struct err *err) {
    struct importer m = {.w = w, .io = io, .watch = watch};
    int rc = add_sizes(sources, nr, io, watch, err);
    m.a = arena_new(ARENA_NO_MAX);
    for (size_t i = 0; i < nr && rc == 0; i++) {
        m.source = &sources[i];
        for (size_t k = 0; k < sources[i].nr_uris && rc == 0; k++) {
            m.uri = sources[i].uris[k];
            rc = import_file(&m, err);
        }
    }
    arena_free(m.a);
    return rc;
}
