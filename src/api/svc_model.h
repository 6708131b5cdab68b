/* What the files of ModelService share. */
#ifndef CUSP_API_SVC_MODEL_H
#define CUSP_API_SVC_MODEL_H

#include "api/model_message.h"
#include "api/names.h"
#include "api/svc.h"
#include "ctl/model.h"

#define MODEL_COLLECTION "models"

struct model_name {
    struct name_parts parts; /* canonical: with the version as written */
    struct str model;        /* "PARENT/models/M" */
    struct str resource;     /* "models/M" */
    struct str version;      /* as written; empty: none, or "-" */
};
/* "…/models/M[@VERSION]". */
int model_name_parse(struct call *c, const char *name, const char *field, struct model_name *ret,
                     struct err *err) MUST_CHECK;
/* Answers with the model (version_row NULL) or version that was found. */
void model_reply(struct call *c, const struct store_row *model, const struct store_row *version);

#endif
