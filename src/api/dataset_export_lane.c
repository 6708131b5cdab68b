/* The part of an export that a lane does: from what the plan says to files aside. */
#include "api/dataset_export_int.h"

#include "base/fail.h"
#include "base/limits.h"
#include "data/shard.h"

static int open_source(void *arg, const char *uri, int *ret_fd, uint64_t *ret_size,
                       struct err *err) {
    struct dataset_export_work *w = arg;
    return blob_object_open(w->x->blob, uri, ret_fd, ret_size, err);
}

static int make_scratch(void *arg, int *ret_fd, struct err *err) {
    struct dataset_export_work *w = arg;
    char id[BLOB_TEMP_ID];
    if (blob_temp_make(w->x->blob, id, ret_fd, err)) {
        return -1;
    }
    blob_temp_drop(w->x->blob, id);
    return 0;
}

static int make_shard(void *arg, char ret_id[SHARD_ID_SIZE], int *ret_fd, struct err *err) {
    struct dataset_export_work *w = arg;
    _Static_assert(SHARD_ID_SIZE == BLOB_TEMP_ID, "ids of files aside");
    return blob_temp_make(w->x->blob, ret_id, ret_fd, err);
}

static void drop_shard(void *arg, const char *id) {
    struct dataset_export_work *w = arg;
    blob_temp_drop(w->x->blob, id);
}

/* Lane: the set's shards are ours from now on, under the names they will have. */
static void take_shards(struct dataset_export_work *w, struct shards *s, const char *folder,
                        const char *set) {
    for (size_t i = 0; i < s->done.n; i++) {
        auto_buf struct buf name = BUF_INIT(BUF_NO_MAX);
        buf_puts(&name, folder);
        shard_name(&name, set, i, s->done.n, w->e->format);
        vec_push(&w->files,
                 ((struct export_file){arena_strdup(w->arena, buf_cstr(&name)), s->done.p[i]}));
    }
    shards_release(s);
}

/* Lane: says what the lines of a folder are. */
static int write_schema(struct dataset_export_work *w, const char *folder, enum annotation_kind k,
                        struct err *err) {
    auto_buf struct buf text = BUF_INIT(BUF_NO_MAX);
    struct shards s;
    buf_printf(&text,
               "# One JSON object a line in data-*.jsonl.\ntitle: %s\n"
               "annotationSchemaUri: %s\n",
               annotation_schema_title(k), annotation_schema_uri(k));
    shards_init(&s, &w->io.place, UINT64_MAX, buf_str(&text));
    int r = shards_finish(&s, err);
    if (r == 0) {
        vec_push(&w->files,
                 ((struct export_file){arena_printf(w->arena, "%s" EXPORT_SCHEMA_FILE, folder),
                                       s.done.p[0]}));
        shards_release(&s);
    }
    shards_fini(&s);
    return r;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The files of the table: what wildcards match now; in the order of their names, each once. */
static int find_sources(struct dataset_export_work *w, struct err *err) {
    const struct export_plan *p = &w->plan;
    VEC_OF(const char *) all = {0};
    int r = 0;
    for (size_t i = 0; r == 0 && i < p->nr_sources; i++) {
        const char **found;
        size_t nr;
        r = blob_expand_uri(w->x->blob, p->sources[i], limits.max_export_sources, w->arena, &found,
                            &nr, err);
        for (size_t k = 0; r == 0 && k < nr; k++) {
            vec_push(&all, found[k]);
        }
        if (r == 0 && nr == 0) {
            r = err_set(err, ERR_NOT_FOUND, "No object matches %.400s, which the dataset names.",
                        p->sources[i]);
        }
    }
    if (r == 0 && all.n > limits.max_export_sources) {
        limits_hit(&limits.max_export_sources);
        r = err_set(err, ERR_RESOURCE_EXHAUSTED,
                    "The dataset's table has %zu files; at most %llu are exported "
                    "(max_export_sources).",
                    all.n, (unsigned long long)limits.max_export_sources);
    }
    if (r == 0) {
        const char **uris = arena_own_array(w->arena, all.n, sizeof(*uris));
        qsort(all.p, all.n, sizeof(*all.p), by_name);
        w->table.uris = uris;
        for (size_t i = 0; i < all.n; i++) {
            if (i == 0 || strcmp(all.p[i - 1], all.p[i]) != 0) {
                uris[w->table.nr_uris++] = all.p[i];
            }
        }
    }
    vec_fini(&all);
    return r;
}

static int run_table(struct dataset_export_work *w, struct err *err) {
    struct dataset_export *e = w->e;
    if (find_sources(w, err) || export_tabular_run(&w->table, err)) {
        return -1;
    }
    for (int i = 0; i < SPLIT_NR; i++) {
        e->items[i] = w->table.sets[i].records;
        take_shards(w, &w->table.sets[i], "", split_set_name((enum split_set)i));
    }
    e->ignored = w->table.ignored;
    return 0;
}

static int run_items(struct dataset_export_work *w, struct err *err) {
    struct dataset_export *e = w->e;
    if (export_items_run(&w->items, err)) {
        return -1;
    }
    e->ignored = w->items.ignored;
    for (int i = 0; !w->items.is_plain && i < SPLIT_NR; i++) {
        e->items[i] = w->items.sets[i].records;
        e->annotations[i] = w->items.sets[i].annotations;
        take_shards(w, &w->items.sets[i], "", split_set_name((enum split_set)i));
    }
    for (int k = 0; w->items.is_plain && k < ANNOTATION_KIND_NR; k++) {
        struct shards *s = &w->items.sets[k];
        const char *title = k ? annotation_schema_title((enum annotation_kind)k) : "unannotated";
        const char *folder = arena_printf(w->arena, "%s/", title);
        e->items[0] += s->records;
        e->annotations[0] += s->annotations;
        if (s->records && k && write_schema(w, folder, (enum annotation_kind)k, err)) {
            return -1;
        }
        take_shards(w, s, folder, EXPORT_PLAIN_SET);
    }
    return 0;
}

int export_work_run(struct dataset_export_work *w, struct err *err) {
    return FAIL_POINT("api.export.begin", err) < 0 ||
                   (w->plan.is_table ? run_table(w, err) : run_items(w, err)) < 0 ||
                   FAIL_POINT("api.export.written", err) < 0
               ? -1
               : 0;
}

void export_work_discard(struct dataset_export_work *w) {
    for (; w->adopted < w->files.n; w->adopted++) {
        blob_temp_drop(w->x->blob, w->files.p[w->adopted].shard.id);
    }
    export_tabular_fini(&w->table);
    export_items_fini(&w->items);
}

void export_work_prepare(struct dataset_export_work *w) {
    const struct export_plan *p = &w->plan;
    struct dataset_export *e = w->e;
    uint64_t seed = str_hash(p->row->name);
    w->io = (struct export_io){.open = open_source,
                               .scratch = make_scratch,
                               .arg = w,
                               .place = {.make = make_shard, .drop = drop_shard, .arg = w}};
    if (p->is_table) {
        w->table = (struct export_tabular){.kind = p->kind,
                                           .fractions = p->fractions,
                                           .key = p->key,
                                           .key_field = p->key_field ? p->key_field : "",
                                           .seed = seed,
                                           .shard_bytes = limits.export_shard_bytes,
                                           .io = &w->io,
                                           .watch = &w->watch};
    } else {
        w->view = dataset_view_take(w->x->api->datasets, p->row);
        w->items = (struct export_items){.path = dataset_view_path(w->view),
                                         .dataset = p->row->name,
                                         .is_plain = e->use == DATASET_EXPORT_PLAIN,
                                         .annotations = p->annotations,
                                         .annotation_kind = p->annotation_kind,
                                         .set_name = p->set_name,
                                         .selection = p->selection,
                                         .selection_field = p->selection_field,
                                         .has_split = p->has_split,
                                         .kind = p->kind,
                                         .fractions = p->fractions,
                                         .keeps_use = p->keeps_use,
                                         .seed = seed,
                                         .shard_bytes = limits.export_shard_bytes,
                                         .io = &w->io,
                                         .watch = &w->watch};
        memcpy(w->items.filters, p->filters, sizeof(p->filters));
    }
}
