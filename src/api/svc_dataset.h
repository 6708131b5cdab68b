/* Private to svc_dataset*.c: what the handlers of DatasetService share. Loop thread. */
#ifndef CUSP_API_SVC_DATASET_H
#define CUSP_API_SVC_DATASET_H

#include "api/dataset_message.h"
#include "api/datasets.h"
#include "api/listing.h"
#include "api/names.h"
#include "api/operations.h"
#include "api/svc.h"
#include "pb/pb.h"
#include "pb/pbmask.h"
#include "pb/rpc.h"

/* "projects/P/locations/L/datasets/D[/COLLECTION/ID[/COLLECTION/ID]]", names in canonical form. */
struct dataset_name {
    struct name_parts parts;
    struct str dataset;    /* ".../datasets/D", in the arena */
    struct str dataset_id; /* "D" */
    struct str id, sub_id; /* of the collections below; empty */
};
/* below, sub: the collections that must follow, NULL for none. INVALID_ARGUMENT names the field and
 * the pattern. */
int dataset_name_parse(struct call *c, const char *name, const char *field, const char *below,
                       const char *sub, struct dataset_name *ret, struct err *err) MUST_CHECK;
/* "The Dataset "..." does not exist." what: "Dataset". */
void dataset_fail_missing(struct call *c, const char *what, struct str name);

/* A row of the store -> the handler's next step; a missing one is answered here. */
struct dataset_fetch {
    struct call *call;
    const char *what; /* "Dataset" */
    struct str name;
    void (*then)(struct dataset_fetch *, const struct store_row *row);
    void *arg;
    struct store_get get;
};
void dataset_fetch(struct dataset_fetch *f);

/* The same within the dataset's turn; then: ends with dataset_change_end, or dataset_change_commit
 * after which `done` runs (err already answered, turn given back, when it is not called). */
struct dataset_change {
    struct call *call;
    struct str dataset; /* whose turn */
    const char *what;   /* of the row that is read */
    struct str name;
    void (*then)(struct dataset_change *, const struct store_row *row);
    void (*done)(struct dataset_change *);
    void (*refused)(struct dataset_change *); /* the commit was; the answer is sent. May be NULL */
    void *arg;
    struct dataset_turn turn;
    struct store_get get;
    struct store_txn txn; /* init'ed when `then` is called */
    struct operation *op; /* begun in the transaction: dropped or committed with it */
};
void dataset_change(struct dataset_change *ch);
void dataset_change_commit(struct dataset_change *ch);
void dataset_change_end(struct dataset_change *ch);
/* Time of a change of this row: now, and later than the last one. */
usec_t dataset_change_time(struct call *c, const struct store_row *row);

/* 0 when it is negative (answered); `most` caps it. */
unsigned dataset_page_size(struct call *c, int32_t size, unsigned otherwise, unsigned most);

/* A finished operation in the change's transaction; *ret is answered by svc_operation_reply. */
Google__Longrunning__Operation *dataset_done_op(struct call *c, struct store_txn *t,
                                                struct str parent, struct str resource,
                                                bool is_nested, const ProtobufCMessage *metadata,
                                                const ProtobufCMessage *response);
/* Is `path` of an update mask one of the allowed ones (snake_case; either spelling)? Otherwise adds
 * a violation. "*" stands for all of them. Returns the paths to apply. */
char **dataset_mask_paths(struct call *c, const Google__Protobuf__FieldMask *m,
                          const char *const *allowed, size_t nr, size_t *ret_nr,
                          struct violations *vs);

/* GET /cusp/v1/DATASET:WORD, {"WORD": [...]}: the dataset's errands of a type that are under way,
 * each written by put. False: another path. */
struct errand;
struct errand_type;
bool dataset_errands_reply(struct api *api, struct xch *x, const char *word,
                           const struct errand_type *type,
                           void (*put)(struct jw *w, const struct errand *e));

#endif
