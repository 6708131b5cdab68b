/* Long-running operations: born with a resource's change, told about, finished, kept for a while,
 * swept. Any kind of resource uses these; google.longrunning.Operations (svc_operations.c) shows
 * them. Loop thread.
 *
 * An operation that is finished when it is born is one row, written with what it reports:
 *     op = operation_insert_done(ops, txn, &about, response);  commit;  reply op
 * One that takes time is begun in the transaction that makes its cause durable:
 *     op = operation_begin(ops, txn, &about);  commit;
 *     in the callback: operation_committed(op) or operation_drop(op)
 *     operation_progress(op, metadata) any number of times; then once operation_finish(op, ...)
 *
 * After a crash: an operation that was running is handed to `adopt`; if nobody takes it, it is
 * finished with ABORTED, since what it did died with the server. A finish that does not fit on a
 * full disk is kept and tried again: clients see the operation running meanwhile. */
#ifndef CUSP_API_OPERATIONS_H
#define CUSP_API_OPERATIONS_H

#include "api/api.h"
#include "pb/aip.h"
#include "store/filter.h"

struct operations;
struct operation; /* one that runs */

struct operations *operations_new(struct clock *clock, struct rng *rng, struct store *store,
                                  struct holds *holds);
/* adopt (may be NULL): takes over what an earlier life of the server left running; false: it is
 * lost. Then cb, once. Before any other call. */
void operations_start(struct operations *o,
                      bool (*adopt)(void *arg, struct operation *op,
                                    const Google__Longrunning__Operation *msg),
                      void *adopt_arg, void (*cb)(void *arg, const struct err *err), void *arg);
/* Nothing more is swept or written; cb when nothing is in flight to the store. */
void operations_stop(struct operations *o, void (*cb)(void *arg), void *arg);
void operations_free(struct operations *o); /* after operations_stop; NULL is fine */

/* What an operation is about. All views and messages are copied. */
struct operation_about {
    struct str parent; /* "projects/N/locations/L" */
    struct str
        resource;   /* "datasets/9": lists under that name show it; empty: only the location's */
    bool is_nested; /* its own name is PARENT/RESOURCE/operations/ID, not PARENT/operations/ID */
    bool is_beta;   /* caused by a v1beta1 call: its types say so where no version is asked for */
    /* Of a type whose generic_metadata this fills in (creation, last change); NULL: none. */
    const ProtobufCMessage *metadata;
    /* The client asks that it stop: best effort. NULL: nothing can be done. */
    void (*cancel)(struct operation *op, void *arg);
    void *arg;
};

/* Adds a finished operation to the transaction; the message lives in the arena. response NULL:
 * google.protobuf.Empty. */
Google__Longrunning__Operation *operation_insert_done(struct operations *o, struct store_txn *t,
                                                      struct arena *a,
                                                      const struct operation_about *about,
                                                      const ProtobufCMessage *response);

struct operation *operation_begin(struct operations *o, struct store_txn *t,
                                  const struct operation_about *about);
void operation_committed(struct operation *op); /* the transaction is durable */
void operation_drop(struct operation *op);      /* it was refused; op is gone */
/* As it would be read now. */
Google__Longrunning__Operation *operation_message(const struct operation *op, struct arena *a);
struct str operation_name(const struct operation *op);
/* For adopted ones. */
void operation_set_cancel(struct operation *op, void (*cancel)(struct operation *, void *),
                          void *arg);
void operation_progress(struct operation *op, const ProtobufCMessage *metadata);
/* With a response or an error, not both; metadata NULL: as it was. op is not to be used after. */
void operation_finish(struct operation *op, const ProtobufCMessage *metadata,
                      const ProtobufCMessage *response, const struct err *error);
/* The same as part of the transaction that makes true what it reports: one fact, one commit. Then,
 * in the transaction's callback, operation_ended when it is durable (op is gone), operation_resumed
 * when it was refused (op runs as before). Nothing else may be done with op in between; a cancel
 * that comes then calls nobody. */
void operation_finish_in(struct operation *op, struct store_txn *t,
                         const ProtobufCMessage *metadata, const ProtobufCMessage *response,
                         const struct err *error);
void operation_ended(struct operation *op);
void operation_resumed(struct operation *op);

/* ---- for svc_operations.c ---- */
#define OPERATION_KIND "operation"
/* Label that every operation's row has: its resource. */
#define OPERATION_ABOUT "about"

int operation_decode(struct arena *a, const struct store_row *row,
                     Google__Longrunning__Operation **ret, bool *ret_beta,
                     struct err *err) MUST_CHECK;
extern const struct filter_schema operation_schema;
/* False: it has ended, and whoever waited was told; or there is none. */
bool operations_is_running(const struct operations *o, struct str name);
/* True when one of this name runs; its hook was called. */
bool operations_cancel(struct operations *o, struct str name);

/* A client deletes the row of this one: what runs goes on, and its end is told to nobody. false:
 * the deletion was refused. */
void operations_set_gone(struct operations *o, struct str name, bool is_gone);

struct operations_stats {
    uint64_t running, finished_total, swept_total;
};
void operations_get_stats(const struct operations *o, struct operations_stats *ret);

#endif
