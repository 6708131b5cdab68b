/* What the files of VizierService share. */
#ifndef CUSP_API_SVC_VIZIER_H
#define CUSP_API_SVC_VIZIER_H

#include "api/names.h"
#include "api/svc.h"
#include "api/vizier_message.h"

/* Measurements in one answer, of all trials together; what is more is left out evenly. */
#define VIZIER_MEASUREMENTS_SHOWN 100000u

struct vizier_name {
    struct name_parts parts;
    struct str study;    /* "PARENT/studies/S" */
    struct str resource; /* "studies/S", or "studies/S/trials/T" */
    uint64_t trial;      /* 0: a study */
};
/* "PARENT/studies/S". */
int vizier_study_parse(struct call *c, const char *name, const char *field, struct vizier_name *ret,
                       struct err *err) MUST_CHECK;
/* "PARENT/studies/S/trials/T"; NOT_FOUND for a T that no trial can have. */
int vizier_trial_parse(struct call *c, const char *name, const char *field, struct vizier_name *ret,
                       struct err *err) MUST_CHECK;

#endif
