/* Parameters <-> features. A feature is a number in [0,1] (DOUBLE, INTEGER, DISCRETE, through their
 * scale) or the index of a category; parameters with one possible value have none. All features of
 * a configuration have a value: those of inactive parameters are imputed (reference 30 §2.1,
 * §2.11). A feature vector is "snapped" when it is exactly the image of a setting. */
#ifndef CUSP_TUNE_SPACE_H
#define CUSP_TUNE_SPACE_H

#include "base/rng.h"
#include "tune/tuner.h"

struct feature {
    size_t param;
    bool is_category;
    size_t nr_values; /* feasible values; 0: a continuum, or a table would be too large */
    double *images;   /* of numeric features with nr_values: increasing */
    double at_rest;   /* while inactive */
};

struct space {
    struct tune_param *params; /* own copies */
    size_t nr_params;
    struct feature *features;
    size_t d;            /* features */
    size_t nr_numeric;   /* they come first */
    int *feature_of;     /* by parameter, -1: constant */
    bool is_conditional; /* some parameter has a parent */
    double size;         /* number of settings; INFINITY for a continuum */
};

int space_init(struct space *s, const struct tune_study *study, struct err *err);
void space_fini(struct space *s);

/* One parameter's scale, both ways; decode clamps and rounds to a feasible value. */
double space_encode_one(const struct tune_param *p, double value);
double space_decode_one(const struct tune_param *p, double u);

void space_encode(const struct space *s, const double *setting, double *x);
void space_decode(const struct space *s, const double *x, double *setting);
/* To the nearest feasible configuration, inactive features imputed. */
void space_snap(const struct space *s, double *x);
double space_snap_one(const struct space *s, size_t j, double u);
/* Which features are active in a configuration; active: d flags. */
void space_active(const struct space *s, const double *x, bool *active);
/* Defaults where there are, else the middle; first categories. */
void space_centre(const struct space *s, double *x);
void space_random(const struct space *s, struct rng *r, double *x);
/* Point i of a scrambled low-discrepancy sequence; `shift` (d numbers in [0,1)) scrambles. */
void space_spread(const struct space *s, uint64_t i, const double *shift, double *x);
/* Setting number i of the grid in declared order, last parameter fastest, inactive parameters
 * standing still; false past the end. Every parameter is finite. */
bool space_grid(const struct space *s, uint64_t i, double *setting);

#endif
