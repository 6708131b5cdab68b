#include "data/export_items.h"

#include "base/limits.h"
#include "data/item_line.h"

#define LOOK_EVERY 256 /* items between two looks at what the loop wants */

/* The set of an item; SPLIT_NONE: no filter matches it. */
static enum split_set set_of(struct export_items *e, const struct data_item *item) {
    if (e->kind == SPLIT_BY_FILTER) {
        for (enum split_set s = SPLIT_TRAINING; s < SPLIT_NR; s++) {
            if (!e->filters[s].is_none &&
                item_matches(e->filters[s].filter, e->dataset, item, e->scratch)) {
                return s;
            }
        }
        return SPLIT_NONE;
    }
    if (e->keeps_use && item->use != ML_USE_NONE) {
        return (enum split_set)(item->use - ML_USE_TRAINING);
    }
    return split_at(e->split, item->seq - 1);
}

static enum ml_use use_of(enum split_set s) {
    return s == SPLIT_NONE ? ML_USE_NONE : (enum ml_use)(s + ML_USE_TRAINING);
}

static void prepare(struct export_items *e) {
    if (!e->scratch) {
        e->scratch = arena_new(ARENA_NO_MAX);
    }
    if (!e->split && e->kind == SPLIT_BY_FRACTION) {
        e->split = split_new(SPLIT_BY_FRACTION, &e->fractions, e->seed, -1);
        split_source(e->split, STR("items")); /* where an item stands among all, never which file */
    }
}

static struct item_query query_of(const struct export_items *e) {
    return (struct item_query){.dataset = e->dataset,
                               .annotations = e->annotations,
                               .kind = e->annotation_kind,
                               .set_name = e->set_name,
                               .only_annotated = true};
}

/* ---- writing ---- */

static int put_item(struct export_items *e, struct shards *to, const struct data_item *item,
                    enum ml_use use, struct buf *line, struct err *err) {
    buf_clear(line);
    item_line_write(line, item, use);
    if (line->full || !line->n) {
        return err_set(err, ERR_RESOURCE_EXHAUSTED,
                       "Data item %llu is larger than max_csv_record (%llu bytes) as a line.",
                       (unsigned long long)item->id, (unsigned long long)limits.max_csv_record);
    }
    e->items++;
    to->annotations += item->nr_annotations;
    return shards_put(to, str_n(line->p, line->n - 1), err);
}

/* One walk over the items that q lets through. folder: NULL for the three sets. */
static int walk(struct export_items *e, struct items *it, const struct item_query *q,
                struct shards *folder, struct err *err) {
    auto_buf struct buf line = BUF_INIT(limits.max_csv_record);
    struct item_cursor *c = items_scan(it, q, err);
    const struct data_item *item;
    uint64_t began = atomic_load(&e->watch->done);
    int r = c ? 0 : -1;
    for (uint64_t n = 1; r == 0; n++) {
        r = items_next(c, &item, err);
        if (r < 0 || !item) {
            break;
        }
        enum split_set set = !e->is_plain || e->has_split ? set_of(e, item) : SPLIT_NONE;
        if (!folder) {
            e->ignored += set == SPLIT_NONE;
            r = set == SPLIT_NONE ? 0 : put_item(e, &e->sets[set], item, use_of(set), &line, err);
        } else if (!e->has_split) {
            r = put_item(e, folder, item, item->use, &line, err);
        } else if (set != SPLIT_NONE) {
            r = put_item(e, folder, item, use_of(set), &line, err);
        }
        if (n % LOOK_EVERY == 0) {
            atomic_store_explicit(&e->watch->done, began + n, memory_order_relaxed);
            r = r < 0 ? r : export_check_cancel(e->watch, err);
        }
    }
    item_cursor_free(c);
    return r;
}

static void begin_set(struct export_items *e, struct shards *s) {
    shards_init(s, &e->io->place, e->shard_bytes, STR(""));
}

static int run_sets(struct export_items *e, struct items *it, struct err *err) {
    struct item_query q = query_of(e);
    for (int i = 0; i < SPLIT_NR; i++) {
        begin_set(e, &e->sets[i]);
    }
    if (walk(e, it, &q, NULL, err) < 0) {
        return -1;
    }
    if (e->items + e->ignored == 0) {
        return err_field(err, ERR_INVALID_ARGUMENT, e->selection_field,
                         "No data item of the dataset has an annotation %s.", e->selection);
    }
    for (int i = 0; i < SPLIT_NR; i++) {
        struct export_filter *f = &e->filters[i];
        if (e->kind == SPLIT_BY_FILTER && !f->is_none && !e->sets[i].records) {
            return err_field(err, ERR_INVALID_ARGUMENT, f->field,
                             "The filter \"%.300s\" matches none of the %llu data items that no "
                             "filter before it takes. A set that is to stay empty has the filter "
                             "\"-\".",
                             f->text, (unsigned long long)(e->items + e->ignored));
        }
        if (export_check_cancel(e->watch, err) < 0 || shards_finish(&e->sets[i], err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Items of several schemas are in several folders, each with the annotations of its own. */
static int run_folders(struct export_items *e, struct items *it, struct err *err) {
    for (unsigned k = 0; k < ANNOTATION_KIND_NR; k++) {
        struct item_query q = query_of(e);
        if (e->annotation_kind && k != e->annotation_kind) {
            continue;
        }
        q.kind = (enum annotation_kind)k;
        begin_set(e, &e->sets[k]);
        if (k == ANNOTATION_NONE) {
            continue; /* all kinds would pass: see below */
        }
        if (walk(e, it, &q, &e->sets[k], err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* What has no annotation at all is not lost: a folder of its own. */
static int run_unannotated(struct export_items *e, struct items *it, struct err *err) {
    auto_buf struct buf line = BUF_INIT(limits.max_csv_record);
    struct item_query q = {.dataset = e->dataset};
    struct item_cursor *c = items_scan(it, &q, err);
    const struct data_item *item;
    int r = c ? 0 : -1;
    for (uint64_t n = 1; r == 0; n++) {
        r = items_next(c, &item, err);
        if (r < 0 || !item) {
            break;
        }
        enum split_set set = e->has_split ? set_of(e, item) : SPLIT_NONE;
        if (!item->nr_annotations && (!e->has_split || set != SPLIT_NONE)) {
            r = put_item(e, &e->sets[ANNOTATION_NONE], item, e->has_split ? use_of(set) : item->use,
                         &line, err);
        }
        if (n % LOOK_EVERY == 0 && r == 0) {
            r = export_check_cancel(e->watch, err);
        }
    }
    item_cursor_free(c);
    return r;
}

static int run_plain(struct export_items *e, struct items *it, struct err *err) {
    bool selects = e->annotation_kind || e->annotations || e->set_name.n;
    if (run_folders(e, it, err) < 0 || (!selects && run_unannotated(e, it, err) < 0)) {
        return -1;
    }
    for (int k = 0; k < ANNOTATION_KIND_NR; k++) {
        if (e->sets[k].records && shards_finish(&e->sets[k], err) < 0) {
            return -1;
        }
    }
    return 0;
}

int export_items_run(struct export_items *e, struct err *err) {
    struct item_counts counts;
    struct items *it = items_open(e->path, err);
    if (!it) {
        return -1;
    }
    prepare(e);
    int r = items_get_counts(it, &counts, err);
    if (r == 0 && !counts.items) {
        r = err_set(err, ERR_INVALID_ARGUMENT, "The dataset has no data items; import some first.");
    }
    if (r == 0) {
        atomic_store(&e->watch->total, counts.items);
        r = e->is_plain ? run_plain(e, it, err) : run_sets(e, it, err);
    }
    items_close(it);
    if (r == 0) {
        atomic_store(&e->watch->done, counts.items);
    }
    return r;
}

/* ---- the sets as labels ---- */

int export_items_persist(struct export_items *e, const char *from, const char *to, usec_t now,
                         struct item_counts *ret, struct err *err) {
    struct item_query q = query_of(e);
    const struct data_item *item;
    prepare(e);
    struct items *it = items_open(from, err);
    if (!it) {
        return -1;
    }
    struct item_cursor *c = items_scan(it, &q, err);
    struct items_writer *w = c ? items_write_begin(from, to, now, err) : NULL;
    int r = w ? 0 : -1;
    for (uint64_t n = 1; r == 0; n++) {
        r = items_next(c, &item, err);
        if (r < 0 || !item) {
            break;
        }
        enum split_set set = set_of(e, item);
        if (set != SPLIT_NONE && use_of(set) != item->use) {
            r = items_set_use(w, item->seq, use_of(set), err);
        }
        if (n % LOOK_EVERY == 0 && r == 0) {
            r = export_check_cancel(e->watch, err);
        }
    }
    item_cursor_free(c);
    items_close(it);
    if (r == 0) {
        return items_write_finish(w, ret, err);
    }
    items_write_drop(w);
    return r;
}

void export_items_fini(struct export_items *e) {
    for (size_t i = 0; i < NR_OF(e->sets); i++) {
        if (e->sets[i].place) {
            shards_fini(&e->sets[i]);
            e->sets[i].place = NULL;
        }
    }
    split_free(take(&e->split));
    arena_free(take(&e->scratch));
}
