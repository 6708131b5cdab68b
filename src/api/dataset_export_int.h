/* Private to dataset_export*.c: what an export is to do, and removing what one has done. */
#ifndef CUSP_API_DATASET_EXPORT_INT_H
#define CUSP_API_DATASET_EXPORT_INT_H

#include "api/dataset_export.h"

#include "api/dataset_message.h"
#include "api/datasets.h"
#include "base/vec.h"
#include "blob/blob.h"
#include "data/export_items.h"
#include "data/export_tabular.h"
#include "sys/lane.h"

struct dataset_exports {
    struct api *api;
    struct loop *loop;
    struct blob *blob;
    struct lane *lane;
    struct list works;
    size_t running;
    struct dataset_exports_stats stats; /* but for running */
    bool stopping;
    struct loop_task stop_task;
    void (*stop_cb)(void *arg);
    void *stop_arg;
};

/* A dataset's row and a config, understood. Everything in one arena, views of config's texts. */
struct export_plan {
    const struct store_row *row; /* a copy */
    enum dataset_type type;
    bool is_table;
    const char **sources; /* tables: URIs, maybe with wildcards */
    size_t nr_sources;
    bool has_split;
    enum split_kind kind;
    struct split_fractions fractions;
    const char *key, *key_field; /* tables; NULL: none */
    bool keeps_use;              /* items */
    struct export_filter filters[SPLIT_NR];
    const struct filter *annotations;
    enum annotation_kind annotation_kind;
    struct str set_name;
    const char *selection, *selection_field;
    bool persists;
    const char *bucket, *folder; /* "PREFIX/dataset-.../", with its last slash */
    const char *directory;       /* "gs://BUCKET/FOLDER" */
};

/* Fills *p; what is wrong with the request is added to vs. -1: NOT_FOUND, FAILED_PRECONDITION,
 * DATA_LOSS. row lives in the arena. */
int export_plan_make(struct arena *a, const struct store_row *row,
                     const struct dataset_export_check *c, struct export_plan *p,
                     struct err *err) MUST_CHECK;
/* What can be said before the dataset's row is read; its canonical name in *ret_name. False: it has
 * none that could be looked for. */
bool export_plan_check_early(const struct dataset_export_check *c, struct str *ret_name);

/* ---- dataset_export_wipe.c: the folder of an export in its bucket ---- */

/* Removes what exports have left in a folder: objects with names of shards, and schema.yaml. */
struct export_wipe {
    /* in; views must outlive it */
    struct blob *blob;
    const char *bucket, *folder;
    void (*cb)(struct export_wipe *, const struct err *err); /* once, never from within */
    void *arg;
    /* the file's */
    struct blob_req list, del;
    size_t at;
    char *page;
};
void export_wipe_start(struct export_wipe *w);

struct export_file {
    const char *name; /* below the folder */
    struct shard shard;
};

struct dataset_export_work {
    struct dataset_exports *x;
    struct dataset_export *e;
    struct list link;
    struct arena *arena;
    bool is_over, cancelled, noted, failed;
    struct err err;
    struct violations vs;
    struct dataset_export_check check;
    struct export_plan plan;
    struct dataset_view *view;
    struct lane_work lane;
    struct timer timer;
    struct export_io io;
    struct export_watch watch;
    struct export_tabular table;
    struct export_items items;
    VEC_OF(struct export_file) files; /* aside, from `adopted` on */
    size_t adopted;
    struct export_wipe wipe;
    struct blob_adopt adopt;
    struct dataset_edit edit;
    bool is_editing;
    struct store_txn txn;
};

/* ---- dataset_export_lane.c */
/* Loop: what the lane will need. */
void export_work_prepare(struct dataset_export_work *w);
/* Lane: removes what is aside and has not become an object. */
void export_work_discard(struct dataset_export_work *w);
/* Lane: writes everything aside and lists it in w->files; fills what e says of the result. */
int export_work_run(struct dataset_export_work *w, struct err *err) MUST_CHECK;

#define EXPORT_NOTE_SPACE "exporting" /* key "BUCKET/FOLDER" while a folder is not complete */
#define EXPORT_SCHEMA_FILE "schema.yaml"
#define EXPORT_PLAIN_SET "data" /* of shards that are no set's */

#endif
