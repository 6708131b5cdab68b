/* What an export that was interrupted has left in its folder, and the notes of such exports. */
#include "api/dataset_export_int.h"

#include "base/log.h"
#include "data/shard.h"

#define PAGE 1000
#define NOTES_MAX 10000 /* exports under way are bounded by max_exports */

static struct str leaf_of(struct str name) {
    const char *slash = memrchr(name.p, '/', name.n);
    return slash ? str_sub(name, (size_t)(slash + 1 - name.p), name.n) : name;
}

/* ---- removing ---- */

static void wipe_page(struct export_wipe *w);

static void wipe_end(struct export_wipe *w, const struct err *err) {
    struct err why = err ? *err : (struct err){0};
    blob_req_fini(&w->list);
    free(take(&w->page));
    w->cb(w, err ? &why : NULL);
}

static void wipe_next(struct export_wipe *w);

static void on_deleted(struct blob_req *r, const struct err *err) {
    struct export_wipe *w = r->arg;
    struct err why = err ? *err : (struct err){0};
    blob_req_fini(r);
    if (err && why.code != ERR_NOT_FOUND) {
        wipe_end(w, &why);
    } else {
        wipe_next(w);
    }
}

static void wipe_next(struct export_wipe *w) {
    while (w->at < w->list.nr_items) {
        struct str name = w->list.items[w->at++].meta->name, leaf = leaf_of(name);
        if (!shard_name_is(leaf, EXPORT_PLAIN_SET) && !str_eqc(leaf, EXPORT_SCHEMA_FILE)) {
            continue;
        }
        blob_req_init_object(&w->del, str_of(w->bucket), name, on_deleted, w);
        blob_object_delete(w->blob, &w->del);
        return;
    }
    if (!w->list.next_page.n) {
        wipe_end(w, NULL);
        return;
    }
    free(w->page);
    w->page = str_dup(w->list.next_page);
    blob_req_fini(&w->list);
    wipe_page(w);
}

static void on_page(struct blob_req *r, const struct err *err) {
    struct export_wipe *w = r->arg;
    if (err && err->code == ERR_NOT_FOUND) { /* no bucket, nothing in it */
        wipe_end(w, NULL);
    } else if (err) {
        wipe_end(w, err);
    } else {
        w->at = 0;
        wipe_next(w);
    }
}

static void wipe_page(struct export_wipe *w) {
    blob_req_init(&w->list);
    w->list.bucket = str_of(w->bucket);
    w->list.prefix = str_of(w->folder);
    w->list.page_token = w->page ? str_of(w->page) : STR("");
    w->list.max = PAGE;
    w->list.cb = on_page;
    w->list.arg = w;
    blob_object_list(w->blob, &w->list);
}

void export_wipe_start(struct export_wipe *w) {
    w->page = NULL;
    wipe_page(w);
}

/* ---- after a crash ---- */

struct recovery {
    struct dataset_exports *x;
    struct arena *arena;
    struct store_kv_scan scan;
    struct export_wipe wipe;
    VEC_OF(struct store_kv_pair) notes;
    size_t at;
    struct store_txn txn;
    struct loop_task task;
    void (*cb)(void *arg);
    void *arg;
};

static void recover_next(struct recovery *r);

static void recover_end(struct recovery *r) {
    void (*cb)(void *arg) = r->cb;
    void *arg = r->arg;
    vec_fini(&r->notes);
    arena_free(r->arena);
    free(r);
    cb(arg);
}

static void on_note_gone(struct store_txn *t, const struct err *err) {
    struct recovery *r = t->arg;
    store_txn_fini(t);
    if (err) {
        log_warn("note of an export stays", "error=\"%s\"", err->msg);
    }
    recover_next(r);
}

static void on_recovered(struct export_wipe *w, const struct err *err) {
    struct recovery *r = w->arg;
    struct store *st = r->x->api->store;
    if (err) {
        log_warn("interrupted export not removed", "folder=gs://%s/%s error=\"%s\"", w->bucket,
                 w->folder, err->msg);
        recover_next(r);
        return;
    }
    log_info("interrupted export removed", "folder=gs://%s/%s", w->bucket, w->folder);
    store_txn_init(&r->txn, on_note_gone, r);
    store_txn_kv(&r->txn, EXPORT_NOTE_SPACE, r->notes.p[r->at - 1].key, (struct str){0});
    st->ops->commit(st, &r->txn);
}

static void recover_next(struct recovery *r) {
    while (r->at < r->notes.n) {
        const struct store_kv_pair *n = &r->notes.p[r->at++];
        struct rec rec;
        if (rec_parse(r->arena, n->value, &rec, NULL) || !rec_get(&rec, "folder").n) {
            continue; /* not ours to understand */
        }
        r->wipe = (struct export_wipe){.blob = r->x->blob,
                                       .bucket = rec_get_cstr(&rec, "bucket"),
                                       .folder = rec_get_cstr(&rec, "folder"),
                                       .cb = on_recovered,
                                       .arg = r};
        export_wipe_start(&r->wipe);
        return;
    }
    recover_end(r);
}

static void on_notes(struct store_kv_scan *s, const struct store_kv_pair *p, size_t n,
                     const struct err *err) {
    struct recovery *r = s->arg;
    for (size_t i = 0; !err && i < n; i++) {
        vec_push(&r->notes, p[i]);
    }
    recover_next(r);
}

void dataset_exports_recover(struct dataset_exports *x, void (*cb)(void *arg), void *arg) {
    struct recovery *r = xcalloc(1, sizeof(*r));
    r->x = x;
    r->arena = arena_new(ARENA_NO_MAX);
    r->cb = cb;
    r->arg = arg;
    r->scan = (struct store_kv_scan){
        .space = EXPORT_NOTE_SPACE, .max = NOTES_MAX, .arena = r->arena, .cb = on_notes, .arg = r};
    x->api->store->ops->kv_scan(x->api->store, &r->scan);
}
