/* What the files that check a StudySpec share. */
#ifndef CUSP_API_SPEC_STUDY_INT_H
#define CUSP_API_SPEC_STUDY_INT_H

#include "api/spec_study.h"

/* A parameter that was looked at, and the condition it stands below. */
struct study_seen {
    const Aip__StudySpec__ParameterSpec *p;
    const Aip__StudySpec__ParameterSpec__ConditionalParameterSpec *when; /* NULL: none */
    const struct study_seen *up;
};

struct study_check {
    struct violations *vs;
    const Aip__StudySpec *spec;
    struct study_seen *seen; /* in their order; max_study_parameters */
    size_t nr_params;        /* looked at so far; may be more than that */
    bool is_grid;
};

/* A path below another; cut where it is too long for a sentence. */
struct study_path {
    char text[320];
};
struct study_path study_below(const char *path, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Once the parameters were looked at. */
void study_check_stopping(struct study_check *c, const char *prefix);

#endif
