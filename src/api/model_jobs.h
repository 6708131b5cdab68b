/* Uploads and exports of models while they run: each is an operation, and a row that says what is
 * to be done (key/value space "modelJob", key: the operation), so that a new life of the server
 * takes them up where nothing had been promised yet: from the beginning. Loop thread.
 *
 * A kind of job is a struct model_job_type; its own state comes behind struct model_job. */
#ifndef CUSP_API_MODEL_JOBS_H
#define CUSP_API_MODEL_JOBS_H

#include "api/call.h"
#include "api/operations.h"
#include "base/list.h"
#include "base/rec.h"

struct model_jobs;
struct model_job;

struct model_job_type {
    const char *name;     /* in the row */
    const char *metadata; /* "UploadModelOperationMetadata": what it is recognised by */
    const ProtobufCMessageDescriptor *request;
    size_t size; /* of the struct that begins with a struct model_job */
    void (*run)(struct model_job *);
    /* Client or server want it to stop: ends soon, by model_job_end (which knows of either). */
    void (*stop)(struct model_job *);
    void (*forget)(struct model_job *); /* frees what is not the arena's; may be NULL */
};

struct model_job {
    const struct model_job_type *type;
    struct model_jobs *jobs;
    struct api *api;
    struct arena *a; /* as old as the job */
    struct operation *op;
    ProtobufCMessage *request; /* as sent */
    struct str parent;         /* "projects/N/locations/L" */
    struct rec facts;          /* as given to model_job_begin */
    bool is_cancelled;         /* by the client */
    bool is_ending;            /* model_job_join was called */
    usec_t told;               /* mono; when progress was last told */
    /* ours */
    struct list link;
    struct call *call;
    struct store_txn txn;
    struct store_kv_get kv;
    struct err end;
    bool has_end;
};

struct model_jobs *model_jobs_new(struct api *api);
/* operations_start's adopt; arg is the struct model_jobs. */
bool model_jobs_adopt(void *arg, struct operation *op, const Google__Longrunning__Operation *msg);
/* Jobs under way are left for the next life; cb when nothing runs any more. */
void model_jobs_stop(struct model_jobs *j, void (*cb)(void *arg), void *arg);
void model_jobs_free(struct model_jobs *j); /* after model_jobs_stop; NULL is fine */

/* Makes the job durable, answers the call with its operation and runs it; or fails the call. about:
 * parent, resource, is_nested, metadata. facts: lines for its record, without a heading. */
void model_job_begin(struct call *c, const struct model_job_type *type,
                     const struct operation_about *about, struct str facts);
/* Its end as part of t, which is about to be committed; then model_job_joined in t's callback. */
void model_job_join(struct model_job *job, struct store_txn *t, const ProtobufCMessage *metadata,
                    const ProtobufCMessage *response);
/* err NULL: durable, and the job is gone. Else it ends with that error. */
void model_job_joined(struct model_job *job, const struct err *err);
/* The end, if the server is not stopping, and the job is gone soon. err NULL: response. */
void model_job_end(struct model_job *job, const ProtobufCMessage *metadata,
                   const ProtobufCMessage *response, const struct err *err);
/* True when work should not go on: call model_job_end, with any error. */
bool model_job_must_stop(const struct model_job *job);
/* At most once a second. */
void model_job_progress(struct model_job *job, const ProtobufCMessage *metadata);

extern const struct model_job_type model_upload_job, model_export_job;

#endif
