/* CONTRACT. Training pipelines: data are exported, a custom job trains on them, or a tuning job
 * whose best trial counts; the artefacts become a version of a model. ctl decides the order,
 * remembers it, and has others do the work: what an export or a model is it does not know. Loop
 * thread.
 *
 *   NEW ─► EXPORTING ─► CHILD_DUE ─► FOLLOWING ─► UPLOADING ─► DONE
 *    └─────────────────────┘             └────────────────────► (nothing to upload)
 *
 * Every fact is saved first and applied when durable; a pipeline has at most one transaction with
 * the store. Two of its facts are saved in the transaction of what they tell of: CHILD_CREATED in
 * the one that makes the job, a successful DONE in the one that makes the model's version. So there
 * is one job and one version, whenever the server dies. */
#ifndef CUSP_CTL_PIPELINE_H
#define CUSP_CTL_PIPELINE_H

#include "ctl/tuning.h"

#define PIPELINE_KIND "trainingPipeline"

/* PipelineState values as on the wire (reference 05 §2). */
enum pipeline_state {
    PIPELINE_STATE_UNSPECIFIED = 0,
    PIPELINE_STATE_QUEUED = 1,
    PIPELINE_STATE_PENDING = 2,
    PIPELINE_STATE_RUNNING = 3,
    PIPELINE_STATE_SUCCEEDED = 4,
    PIPELINE_STATE_FAILED = 5,
    PIPELINE_STATE_CANCELLING = 6,
    PIPELINE_STATE_CANCELLED = 7,
    PIPELINE_STATE_PAUSED = 8
};
const char *pipeline_state_name(enum pipeline_state s); /* "PIPELINE_STATE_RUNNING" */
bool pipeline_state_is_terminal(enum pipeline_state s);

enum pipeline_phase {
    PIPELINE_NEW = 0,
    PIPELINE_EXPORTING, /* waits for the export's end */
    PIPELINE_CHILD_DUE, /* for the transaction that makes the job */
    PIPELINE_FOLLOWING, /* for the job's end */
    PIPELINE_UPLOADING, /* for the seal, then for the transaction that makes the version */
    PIPELINE_DONE
};

/* The sets of a split, in the order that users are told. */
enum pipeline_set { SET_TRAINING, SET_VALIDATION, SET_TEST, SET_NR };

/* What an export came to: what jobs are told of it. format NULL: nothing was exported. */
struct pipeline_data {
    const char *format;      /* AIP_DATA_FORMAT */
    const char *dataset;     /* its full name */
    const char *uri[SET_NR]; /* AIP_TRAINING_DATA_URI, ... */
    uint64_t items[SET_NR];
};

/* The version that an upload made. */
struct pipeline_model {
    const char *name;    /* "projects/N/locations/L/models/M"; NULL: none */
    const char *version; /* "1" */
    const char *aliases; /* separated by commas; may be empty or NULL */
};

/* All that is known of a pipeline but what its user sent; as it is stored in store_row.status. */
struct pipeline_status {
    enum pipeline_phase phase;
    enum pipeline_state state;
    usec_t create_time, start_time, end_time, update_time; /* wall; 0 = not yet */
    usec_t export_end, child_end;                          /* wall; 0 = not reached */
    int error_code;                                        /* google.rpc code, 0 none */
    const char *error_msg;
    const char *child; /* full name of its job, custom or tuning; NULL: not made yet */
    /* A tuning job that succeeded: its best trial, and that one's job. 0, NULL: none (yet). */
    uint64_t best_trial;
    const char *best_job;
    bool cancel_requested;
    struct pipeline_data data;
    struct pipeline_model model;
};
void pipeline_status_encode(struct buf *b, const struct pipeline_status *s);
int pipeline_status_decode(struct arena *a, struct str rec, struct pipeline_status *ret,
                           struct err *err) MUST_CHECK;

/* ---- what ctl has done by others ---- */

struct pipeline_spec {
    struct str name, parent, id;
    uint64_t project_number;
    bool has_input;     /* data are to be exported first */
    bool has_upload;    /* its artefacts become a model */
    bool is_tuned;      /* its child is a tuning job */
    const void *parsed; /* the API's */
};

/* One piece of work that takes time. ctl's object; valid until its callback, and for seal + upload
 * until dropped. */
struct pipeline_work {
    const struct pipeline_spec *spec;
    const struct pipeline_status *status; /* as it is durable; changes only between works */
    /* Once, on the loop thread, never from within the call that began it. */
    void (*cb)(struct pipeline_work *, const struct err *err);
    /* An export's result, set before cb; copied in it. */
    struct pipeline_data data;
    struct pipeline_model made; /* an upload's, set before cb */
    /* An upload calls this for each transaction that it gives to the store, after its own ops: the
     * pipeline's end goes in the same one. The views are copied. */
    void (*join)(struct pipeline_work *, struct store_txn *t, const struct pipeline_model *made);
    void *priv; /* the worker's */
};

struct pipeline_ops {
    /* Reads a stored row; everything in the arena. */
    int (*decode)(void *arg, struct arena *a, const struct store_row *row,
                  struct pipeline_spec *ret, struct err *err);
    /* The job that trains, all but its id; data is NULL when nothing was exported. In the arena. */
    int (*child)(void *arg, struct arena *a, const struct pipeline_spec *spec,
                 const struct pipeline_data *data, struct job_create *ret, struct err *err);
    /* The same for one that is tuned (then `child` is not called). May be NULL: none are. */
    int (*tuning)(void *arg, struct arena *a, const struct pipeline_spec *spec,
                  const struct pipeline_data *data, struct tuning_create *ret, struct err *err);
    /* Writes the data's sets. Begun again after a crash: the same pipeline exports to the same
     * place. Errors end the pipeline. */
    void (*export_data)(void *arg, struct pipeline_work *w);
    /* Looks at what the job left behind. Errors end the pipeline. */
    void (*seal)(void *arg, struct pipeline_work *w);
    /* Makes the version that was sealed and joins the pipeline's end to its transaction.
     * RESOURCE_EXHAUSTED, ABORTED and UNAVAILABLE: tried again later, beginning with the seal;
     * other errors end the pipeline. */
    void (*upload)(void *arg, struct pipeline_work *w);
    /* Stops an export or a seal; its callback comes all the same. */
    void (*cancel)(void *arg, struct pipeline_work *w);
    /* The worker's part of an upload is over (also without one after its seal). w->priv is freed.
     */
    void (*drop)(void *arg, struct pipeline_work *w);
};

/* ---- calls; as those of jobs (ctl.h) ---- */

struct pipeline_create {
    struct str parent, id; /* ctl_new_id */
    struct str display_name;
    struct str spec; /* message bytes, kept verbatim */
    const struct store_label *labels;
    size_t nr_labels;
};
/* row in cb: the created row. A refusal of ops.decode is returned as the error. */
void ctl_pipeline_create(struct ctl *c, const struct pipeline_create *in, struct ctl_call *call);
/* NOT_FOUND when there is none; one that has ended: success, nothing changes. */
void ctl_pipeline_cancel(struct ctl *c, struct str name, struct ctl_call *call);
/* FAILED_PRECONDITION unless it has ended. Its job, model and data stay. */
void ctl_pipeline_delete(struct ctl *c, struct str name, struct ctl_call *call);

/* How near its end a live pipeline is; false when not live. As ctl_job_outlook. */
bool ctl_pipeline_outlook(struct ctl *c, struct str name, struct job_outlook *ret);

/* Event types (append only), stored in store_event.type beside those of jobs. */
enum pipeline_event_type {
    PIPELINE_EV_CREATED = 101,
    PIPELINE_EV_EXPORTED,
    PIPELINE_EV_CHILD_CREATED,
    PIPELINE_EV_CHILD_RUNNING,
    PIPELINE_EV_CHILD_DONE,
    PIPELINE_EV_CANCEL_REQUESTED,
    PIPELINE_EV_DONE,
    PIPELINE_EV_END
};

#endif
