/* Errands: what operations that take time have to do (uploads and exports of models, imports into
 * datasets and exports of them, suggestions that are not ready). Each is an operation, and a row
 * that says what is asked for (key/value space "errand", key: the operation), so that a new life of
 * the server goes on where nothing had been promised yet: from the beginning. Loop thread.
 *
 * A kind of errand is a struct errand_type, listed in errand.c; its own state comes behind struct
 * errand. What it does must be repeatable, and what it makes visible goes into the transaction that
 * ends it (errand_join), or is the same when it is made again. */
#ifndef CUSP_API_ERRAND_H
#define CUSP_API_ERRAND_H

#include "api/call.h"
#include "api/operations.h"
#include "base/list.h"
#include "base/rec.h"

struct errands;
struct errand;

struct errand_type {
    const char *name;     /* in the row */
    const char *metadata; /* "UploadModelOperationMetadata": what it is recognised by */
    const ProtobufCMessageDescriptor *request;
    size_t size; /* of the struct that begins with a struct errand */
    void (*run)(struct errand *);
    /* Client or server want it to stop: ends soon, by errand_end (which knows of either). Also
     * called before run, which then looks at errand_must_stop itself or ends by itself. */
    void (*stop)(struct errand *);
    void (*forget)(struct errand *); /* frees what is not the arena's; may be NULL */
};

struct errand {
    const struct errand_type *type;
    struct errands *all;
    struct api *api;
    struct arena *a; /* as old as the errand */
    struct operation *op;
    ProtobufCMessage *request; /* as sent */
    struct str parent;         /* "projects/N/locations/L" */
    struct rec facts;          /* as given to errand_begin */
    bool is_beta;              /* as asked for; only until the call is answered */
    bool is_cancelled;         /* by the client */
    bool is_running;           /* run was called */
    bool is_ending;            /* errand_join was called */
    usec_t told;               /* mono; when progress was last told */
    /* ours */
    struct list link;
    struct call *call;
    struct store_txn txn;
    struct store_kv_get kv;
    struct err end;
    bool has_end;
};

struct errands *errands_new(struct api *api);
/* operations_start's adopt; arg is the struct errands. One that was begun more often than
 * limits.max_errand_tries ends with ABORTED: it may be what the server dies of. */
bool errands_adopt(void *arg, struct operation *op, const Google__Longrunning__Operation *msg);
/* Those under way are left for the next life; cb when nothing runs any more. */
void errands_stop(struct errands *all, void (*cb)(void *arg), void *arg);
void errands_free(struct errands *all); /* after errands_stop; NULL is fine */
/* The next one of a type after `after` (NULL: the first); NULL at the end. */
struct errand *errands_next(struct errands *all, const struct errand_type *type,
                            const struct errand *after);

/* Makes the errand durable, answers the call with its operation and runs it; or fails the call.
 * about: parent, resource, is_nested, metadata. facts: lines for its record, without a heading. */
void errand_begin(struct call *c, const struct errand_type *type,
                  const struct operation_about *about, struct str facts);
/* Its end as part of t, which is about to be committed; then errand_joined in t's callback. */
void errand_join(struct errand *e, struct store_txn *t, const ProtobufCMessage *metadata,
                 const ProtobufCMessage *response);
/* err NULL: durable, and the errand is gone. Else it ends with that error. */
void errand_joined(struct errand *e, const struct err *err);
/* The end, if the server is not stopping, and the errand is gone soon. err NULL: response. */
void errand_end(struct errand *e, const ProtobufCMessage *metadata,
                const ProtobufCMessage *response, const struct err *err);
/* True when work should not go on: call errand_end, with any error. */
bool errand_must_stop(const struct errand *e);
/* At most once a second. */
void errand_progress(struct errand *e, const ProtobufCMessage *metadata);

extern const struct errand_type model_upload_errand, model_export_errand;
extern const struct errand_type dataset_import_errand, dataset_export_errand;
extern const struct errand_type suggest_errand;

#endif
