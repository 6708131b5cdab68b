/* Stored rows of models as the messages that clients see. Pure; any thread. */
#ifndef CUSP_API_MODEL_MESSAGE_H
#define CUSP_API_MODEL_MESSAGE_H

#include "ctl/model_record.h"
#include "pb/aip.h"
#include "store/filter.h"

/* A model's row, read once for several of its versions. */
struct model_view {
    const struct store_row *row;
    struct model_record record;
};
int model_view_read(struct arena *a, const struct store_row *row, struct model_view *ret,
                    struct err *err) MUST_CHECK;

/* version NULL: the model as `models/M` shows it, its default version's facts and its own name.
 * Otherwise `models/M@V`. DATA_LOSS when what is stored does not read. */
int model_message(struct arena *a, const struct model_view *model, const struct store_row *version,
                  Aip__Model **ret, struct err *err) MUST_CHECK;

/* The packed message to be stored of one that a client sent: without what only the server says. */
bool model_message_pack(struct arena *a, const Aip__Model *m, struct str *ret);

/* Two parts, one of what is the model's and one of what is the version's: somebody who read one
 * version may still change the other, and aliases move without making either stale. */
struct str model_etag(struct arena *a, const struct model_view *model,
                      const struct version_record *v);
/* given: what the client sends back (api/etag.h); is_versions: which part counts. ABORTED. */
int model_etag_check(struct arena *a, struct str given, const struct model_view *model,
                     const struct version_record *v, bool is_versions, struct err *err) MUST_CHECK;

/* For filters. Models: base_model_name, and `model` when parent is given (PARENT of the list; may
 * hold "-"). Lives in the arena. */
const struct filter_schema *model_schema(struct arena *a, struct str parent);
/* Versions, from their own rows: what they say of the model itself is not filtered by. */
extern const struct filter_schema model_version_schema;

/* The artefact's folder as it is listed: "gs://B/dir/" (empty stays empty). In the arena. */
struct str model_artifact_folder(struct arena *a, struct str uri);

#endif
