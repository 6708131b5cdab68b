/* CONTRACT. The model registry: what makes a version, which aliases it bears, what is refused.
 * Knows no messages: a version's message is bytes, everything the registry must understand of it is
 * given beside. Loop thread only; one transaction a change; every callback once, on the loop, never
 * from within the call. Rules: reference 07 §3 and §5, 05 §5.
 *
 * Rows (docs/internals/models.md):
 *     kind "model"         PARENT/models/M     what `models/M` answers: spec of the default version
 *     kind "modelVersion"  PARENT/models/M@V   parent PARENT/models/M
 * Changes of one model wait for each other; those of different models do not. */
#ifndef CUSP_CTL_MODEL_H
#define CUSP_CTL_MODEL_H

#include "base/rng.h"
#include "base/time.h"
#include "store/store.h"

struct models;

#define MODEL_KIND "model"
#define MODEL_VERSION_KIND "modelVersion"
#define MODEL_DEFAULT "default" /* the alias that exactly one version of every model has */

struct models *models_new(struct clock *clock, struct rng *rng, struct store *store);
/* What was asked for is finished first, what is asked for now is refused UNAVAILABLE; then cb. */
void models_stop(struct models *m, void (*cb)(void *arg), void *arg);
/* After models_stop, or as a crash would: what was asked for is forgotten. NULL is fine. */
void models_free(struct models *m);

/* ---- words (pure; any thread) ---- */

/* NULL, or what is wrong with it, as the end of a sentence that begins with the id or alias. */
const char *model_id_fault(struct str id);       /* [a-z_][a-z0-9_-]{0,62} */
const char *model_alias_fault(struct str alias); /* [a-z][a-zA-Z0-9-]{0,126}[a-z0-9] */
/* "…/models/M@V" -> "…/models/M" and "V" (.p NULL without '@'; may be empty). */
struct str model_name_cut(struct str name, struct str *ret_version);

/* ---- upload: a new model, or a new version of one ---- */

struct model_uploaded {
    struct str name;         /* "PARENT/models/M" */
    struct str version_name; /* "PARENT/models/M@V" */
    uint64_t version;
    bool is_again;             /* it was made by an earlier call with the same token */
    const struct str *aliases; /* of this version, default among them if it is the one */
    size_t nr_aliases;
};

/* Owned by the caller; views stay valid until cb. */
struct model_upload {
    /* in */
    struct str parent;       /* "projects/N/locations/L" */
    struct str model_id;     /* empty: parent_model's, or one of ours */
    uint64_t own_id;         /* that one, when it must be known before (models_new_id); else 0 */
    struct str parent_model; /* canonical, without version: a new version of it. Empty: a new model
                              */
    struct str spec;         /* the packed Model as the user sent it; kept verbatim */
    struct str display_name, description; /* of a new model; a new version leaves the model's */
    struct str version_description;
    const struct store_label *labels; /* a new model's own; else the version's own */
    size_t nr_labels;
    const struct str *aliases; /* of the version; the first one of a model also gets default */
    size_t nr_aliases;
    /* What else is known of the version, as lines for its record (base/rec.h, without the heading):
     * see MODEL_FACT_*. Unknown keys are kept. May be empty. */
    struct str facts;
    struct str seal;  /* the files of the artefact, one a line (api/seal.h); empty: none */
    struct str token; /* what this upload is done for, e.g. a pipeline's name: a version made for
                         the same token is answered again, and none is made. Empty: no such thing */
    /* Adds what must become true together with the version. Called at most once, not when is_again;
     * the strings of the second argument are valid during the call. May be NULL. */
    void (*join)(void *arg, struct store_txn *t, const struct model_uploaded *u);
    void *join_arg;
    /* err NULL: durable, with all that join added. ALREADY_EXISTS (model_id), NOT_FOUND
     * (parent_model), INVALID_ARGUMENT, FAILED_PRECONDITION, RESOURCE_EXHAUSTED (limits, full disk:
     * may be tried again). */
    void (*cb)(struct model_upload *, const struct model_uploaded *u, const struct err *err);
    void *arg;
};
void model_upload(struct models *m, struct model_upload *u);
/* A new unused model id, decimal. */
uint64_t models_new_id(struct models *m);

/* What can be refused before there is anything to upload: ids, aliases, the parent model's
 * existence and place, whether the id is free. Looks at parent, model_id, parent_model and aliases
 * of u. Errors name the fields model_id, parent_model and version_aliases; the message's own rules
 * are api/model_check.h's. */
struct model_upload_check {
    const struct model_upload *u;
    void (*cb)(struct model_upload_check *, const struct err *err); /* NULL: would be taken now */
    void *arg;
};
void model_upload_check(struct models *m, struct model_upload_check *c);

/* ---- looking ---- */

struct model_state;
struct model_found {
    const struct store_row *model;
    const struct store_row *version_row; /* NULL unless a version was named or wanted */
    uint64_t version;                    /* the one named, else the default one */
    const struct model_state *state;
};
/* Owned by the caller; what is found lives in the arena. */
struct model_get {
    struct str name;    /* "PARENT/models/M" */
    struct str version; /* an id, an alias, "-" or empty: the model itself */
    bool want_version;  /* the version's own row even when none is named */
    struct arena *arena;
    /* NOT_FOUND names the model or the version. */
    void (*cb)(struct model_get *, const struct model_found *f, const struct err *err);
    void *arg;
    struct models *models; /* ours */
    struct model_found found;
    struct store_row row;
    struct store_get get;
};
void model_get(struct models *m, struct model_get *g);
/* What the rows of a model say about its versions; DATA_LOSS when that does not read. The result
 * lives in the arena. */
int model_row_state(struct arena *a, const struct store_row *row, const struct model_state **ret,
                    struct err *err) MUST_CHECK;

/* Which versions were made by, or of, this resource: rows of the key/value space, keys
 * "RESOURCE\x01PARENT/models/M@V". */
#define MODEL_LINEAGE_SPACE "lineage"
/* Key PARENT/models/M@V: the files of the sealed artefact (api/seal.h). */
#define MODEL_SEAL_SPACE "modelSeal"

/* ---- changing ---- */

enum model_change_type {
    MODEL_MERGE_ALIASES,
    MODEL_UPDATE,         /* display_name, description, labels of the model */
    MODEL_UPDATE_VERSION, /* description, labels of the version */
    MODEL_DELETE_VERSION,
    MODEL_DELETE,
    MODEL_ATTACH, /* nothing but what join adds */
};
/* Owned by the caller; views stay valid until cb. */
struct model_change {
    enum model_change_type type;
    struct str name, version; /* as in model_get */
    const struct str *aliases;
    size_t nr_aliases;
    bool sets_display_name, sets_description, sets_labels;
    struct str display_name, description;
    const struct store_label *labels;
    size_t nr_labels;
    /* May refuse the change after a look at what is there, e.g. by its etag; version NULL where the
     * whole model is meant. May be NULL. */
    int (*guard)(void *arg, const struct store_row *model, const struct store_row *version,
                 struct err *err);
    /* Adds to the transaction; f is the model and version as they will be (after deletes: as they
     * were), valid during the call. May be NULL. */
    void (*join)(void *arg, struct store_txn *t, const struct model_found *f);
    /* f: as it is from now on, valid during the call; NULL after deletes. */
    void (*cb)(struct model_change *, const struct model_found *f, const struct err *err);
    void *arg; /* of all three */
};
void model_change(struct models *m, struct model_change *c);

/* Rows that go with their version; parent PARENT/models/M, label MODEL_VERSION_LABEL: its id. */
#define MODEL_EVALUATION_KIND "modelEvaluation"
#define MODEL_SLICE_KIND "modelEvaluationSlice"
#define MODEL_VERSION_LABEL "version"

/* ---- facts ---- */

/* Keys of `facts` that the registry and the API know. Those marked * are indexed: they lead back to
 * the version (model_used_by). */
#define MODEL_FACT_PIPELINE "pipeline"         /* * "projects/N/locations/L/trainingPipelines/P" */
#define MODEL_FACT_JOB "job"                   /* * ".../customJobs/J" */
#define MODEL_FACT_DATASET "dataset"           /* * ".../datasets/D" */
#define MODEL_FACT_SOURCE "copied_from"        /* * ".../models/M@V" */
#define MODEL_FACT_ANNOTATIONS "annotations"   /* schema URI of the annotations used */
#define MODEL_FACT_IMAGE "image"               /* of the training container, as given */
#define MODEL_FACT_IMAGE_DIGEST "image_digest" /* "sha256:…" */
#define MODEL_FACT_PACKAGE "package"           /* repeats: "gs://…/x.tar.gz sha256:…" */
/* Data items (dataStats); decimal. */
#define MODEL_FACT_TRAINING_ITEMS "training_items"
#define MODEL_FACT_VALIDATION_ITEMS "validation_items"
#define MODEL_FACT_TEST_ITEMS "test_items"
#endif
