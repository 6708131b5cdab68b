/* What the rows of models and versions hold beside their message (status; base/rec.h). Lives in an
 * arena; any thread.
 *
 * modelVersion: version, create, update (wall, usec), description, label (KEY=VALUE, repeats: the
 *     version's own), token, and the facts of ctl/model.h.
 * model: next, versions, alias (model_state.h), description, label (the model's own), default: the
 *     whole record of the default version, whose message is the row's spec.
 *
 * The label columns of both rows hold what clients see: the model's own labels and the version's
 * (of a model the default version's), the version's winning. */
#ifndef CUSP_CTL_MODEL_RECORD_H
#define CUSP_CTL_MODEL_RECORD_H

#include "ctl/model.h"
#include "ctl/model_state.h"

struct model_labels {
    const struct store_label *p;
    size_t n;
};

struct version_record {
    uint64_t version;
    usec_t create_time, update_time;
    struct str description, token;
    struct model_labels labels;
    struct rec facts; /* every other pair */
};
void version_record_encode(const struct version_record *v, struct buf *b);
int version_record_decode(struct arena *a, struct str status, struct version_record *ret,
                          struct err *err) MUST_CHECK;

struct model_record {
    struct model_state state;
    struct str description;
    struct model_labels labels;
    struct str default_status; /* a version_record, encoded */
};
void model_record_encode(const struct model_record *m, struct buf *b);
int model_record_decode(struct arena *a, struct str status, struct model_record *ret,
                        struct err *err) MUST_CHECK;

/* Both together, the second's winning; in the arena. */
struct model_labels model_labels_merge(struct arena *a, struct model_labels model,
                                       struct model_labels version);
struct model_labels model_labels_copy(struct arena *a, const struct store_label *p, size_t n);

#endif
