/* The registry's own state, shared by model.c, model_upload.c and model_change.c. */
#ifndef CUSP_CTL_MODEL_INT_H
#define CUSP_CTL_MODEL_INT_H

#include "base/map.h"
#include "ctl/model_record.h"

struct models {
    struct clock *clock;
    struct rng *rng;
    struct store *store;
    struct map locks; /* name -> struct model_lock: models being changed */
    struct list done; /* struct model_op, to be answered by `soon` */
    struct timer soon;
    struct list ops;  /* struct model_op, all of them */
    usec_t last_time; /* of the newest row: wall clocks may stand still */
    bool is_stopping;
    void (*stop_cb)(void *arg);
    void *stop_arg;
};

/* One call being worked on: embedded at the beginning of the upload's and the change's own. */
struct model_op {
    struct models *m;
    struct arena *arena; /* its own */
    struct list all;
    struct list link; /* in a lock's waiters, or in models.done */
    struct str name;  /* of the model that it changes */
    bool holds_lock, has_txn, failed;
    void (*locked)(struct model_op *);  /* the model is ours */
    void (*deliver)(struct model_op *); /* calls the user's cb; op.err when op.failed */
    void (*forget)(struct model_op *);  /* frees what is not the arena's; may be NULL */
    struct err err;
    struct store_txn txn;
};

void *model_op_new(struct models *m, size_t size, void (*deliver)(struct model_op *));
/* True, and the end was arranged, when nothing new is taken on. */
bool model_op_refused(struct model_op *op);
/* locked is called later, when nobody else changes the model. */
void model_op_lock(struct model_op *op, void (*locked)(struct model_op *));
/* The answer is due; err NULL: success. Lets go of the model. */
void model_op_finish(struct model_op *op, const struct err *err);
/* Now, and later than anything stored before. */
usec_t models_now(struct models *m, usec_t before);

#define MODEL_TOKEN_SPACE "modelToken" /* token of an upload -> the version's name */

/* Facts whose value is a resource's name: kept in MODEL_LINEAGE_SPACE under that name as well. */
bool model_fact_is_indexed(struct str key);
struct str model_lineage_key(struct arena *a, struct str resource, struct str version_name);
char *model_version_name(struct arena *a, struct str model, uint64_t version);
int model_fail_missing(struct err *err, struct str name, struct str version);
/* The row of a model or version after a change. */
void model_row_finish(struct arena *a, struct store_row *row, const struct model_record *m,
                      const struct version_record *v);

#endif
