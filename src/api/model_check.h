/* What may be uploaded as a model: the rules that field tables cannot say (reference 07 §2, §4, §6;
 * 05 §5). Shared by UploadModel and by pipelines (modelToUpload). Pure; any thread. */
#ifndef CUSP_API_MODEL_CHECK_H
#define CUSP_API_MODEL_CHECK_H

#include "pb/aip.h"
#include "pb/violations.h"

/* Adds every violation found, their fields below prefix ("model", "model_to_upload").
 * is_pipelines: the artefact comes from the job when artifact_uri is not set, and there must be a
 * container that serves it. */
void model_check(const Aip__Model *m, const char *prefix, bool is_pipelines, struct violations *vs);
/* The fields of an update, and of uploads: one each. */
void model_check_description(const char *field, struct str text, struct violations *vs);
void model_check_aliases(const char *field, size_t n, char *const *aliases, struct violations *vs);

#endif
