#include "ctl/study_context.h"

#include <math.h>

#define SAME 1e-10 /* of values (StudySpec: discrete ones are at least that far apart) */

/* The parameter is active when its parent has this value. */
static bool allows(const struct tune_param *p, double parents) {
    for (size_t k = 0; k < p->nr_when; k++) {
        if (fabs(p->when[k] - parents) <= SAME) {
            return true; /* NAN, a parent that is not active, is near nothing */
        }
    }
    return false;
}

static bool is_active(const struct tune_study *s, size_t j, const double *setting) {
    const struct tune_param *p = &s->params[j];
    return p->parent < 0 || allows(p, setting[p->parent]);
}

static double middle(const struct tune_param *p) {
    if (p->has_default) {
        return p->default_value;
    }
    if (p->type == TUNE_CATEGORICAL) {
        return 0;
    }
    if (p->type == TUNE_DISCRETE) {
        return p->values[p->nr_values / 2];
    }
    double x = p->scale == TUNE_LOG           ? sqrt(p->lo) * sqrt(p->hi)
               : p->scale == TUNE_REVERSE_LOG ? p->lo + p->hi - sqrt(p->lo) * sqrt(p->hi)
                                              : p->lo + (p->hi - p->lo) / 2;
    x = p->type == TUNE_INTEGER ? nearbyint(x) : x;
    return fmin(fmax(x, p->lo), p->hi);
}

/* ---- what a fixed value asks of its parents ---- */

/* All fixed children of the parameter are active when it has this value. */
static bool suits_children(const struct tune_study *s, size_t parent, const double *fixed,
                           double value) {
    for (size_t j = parent + 1; j < s->nr_params; j++) {
        if (s->params[j].parent == (int)parent && !isnan(fixed[j]) &&
            !allows(&s->params[j], value)) {
            return false;
        }
    }
    return true;
}

/* The first value with which they are; NAN: none. */
static double value_for_children(const struct tune_study *s, size_t parent, const double *fixed) {
    size_t j = parent + 1;
    while (s->params[j].parent != (int)parent || isnan(fixed[j])) {
        j++;
    }
    for (size_t k = 0; k < s->params[j].nr_when; k++) {
        if (suits_children(s, parent, fixed, s->params[j].when[k])) {
            return s->params[j].when[k];
        }
    }
    return NAN;
}

/* Fixes the parents of what is fixed, where preferred (NULL: nothing is) has no value that will do.
 * Returns the parameter that cannot be so, or nr_params. Parents come before their children, so
 * from the last to the first everything below a parameter is known when it is looked at. */
static size_t fix_parents(const struct tune_study *s, double *fixed, const double *preferred) {
    bool *has_fixed = xcalloc(s->nr_params + 1, sizeof(*has_fixed)); /* children */
    size_t wrong = s->nr_params;
    for (size_t j = s->nr_params; j-- > 0 && wrong == s->nr_params;) {
        if (has_fixed[j] && isnan(fixed[j])) {
            fixed[j] = preferred && suits_children(s, j, fixed, preferred[j])
                           ? preferred[j]
                           : value_for_children(s, j, fixed);
        } else if (has_fixed[j] && !suits_children(s, j, fixed, fixed[j])) {
            fixed[j] = NAN;
        }
        if (has_fixed[j] && isnan(fixed[j])) {
            wrong = j;
        } else if (!isnan(fixed[j]) && s->params[j].parent >= 0) {
            has_fixed[s->params[j].parent] = true;
        }
    }
    free(has_fixed);
    return wrong;
}

static double *copy_of(const struct tune_study *s, study_context context) {
    double *fixed = xcalloc(s->nr_params + 1, sizeof(*fixed));
    if (s->nr_params) {
        memcpy(fixed, context, s->nr_params * sizeof(*fixed));
    }
    return fixed;
}

size_t study_context_conflict(const struct tune_study *s, study_context context) {
    auto_free double *fixed = copy_of(s, context);
    return fix_parents(s, fixed, NULL);
}

/* ---- contexts and settings ---- */

bool study_context_is_open(const struct tune_study *s, study_context context) {
    for (size_t j = 0; j < s->nr_params; j++) {
        if (isnan(context[j]) && is_active(s, j, context)) {
            return true; /* below a parent that is open nothing counts; the parent does */
        }
    }
    return false;
}

bool study_context_has(const struct tune_study *s, study_context context, const double *setting) {
    for (size_t j = 0; context && j < s->nr_params; j++) {
        if (!isnan(context[j]) && !(fabs(context[j] - setting[j]) <= SAME)) {
            return false;
        }
    }
    return true;
}

bool study_context_join(const struct tune_study *s, study_context a, study_context b, double *ret) {
    for (size_t j = 0; j < s->nr_params; j++) {
        double x = a ? a[j] : NAN, y = b ? b[j] : NAN;
        if (!isnan(x) && !isnan(y) && !(fabs(x - y) <= SAME)) {
            return false;
        }
        ret[j] = isnan(x) ? y : x;
    }
    return study_context_conflict(s, ret) == s->nr_params;
}

void study_context_apply(const struct tune_study *s, study_context context, double *setting) {
    auto_free double *fixed = copy_of(s, context);
    (void)fix_parents(s, fixed, setting);
    for (size_t j = 0; j < s->nr_params; j++) { /* parents come first */
        if (!isnan(fixed[j])) {
            setting[j] = fixed[j];
        }
        if (!is_active(s, j, setting)) {
            setting[j] = NAN;
        } else if (isnan(setting[j])) {
            setting[j] = middle(&s->params[j]);
        }
    }
}
