/* Two objectives, both larger is better: the front of what is not dominated, and how much area a
 * normally distributed newcomer is expected to add to it (exact expected hypervolume improvement;
 * Emmerich's strips, in logarithms: Ament et al., arXiv 2310.20708). */
#ifndef CUSP_TUNE_FRONT_H
#define CUSP_TUNE_FRONT_H

#include <stddef.h>

struct front {
    double *a, *b; /* nr points, a increasing, b decreasing */
    size_t nr;
    double reference[2]; /* area counts from here */
};

/* From n pairs; the reference lies a tenth of the front's extent below its worst. */
void front_init(struct front *f, const double *a, const double *b, size_t n);
void front_fini(struct front *f);
/* ln of the expected gain of a newcomer with these two means and deviations; its derivatives by
 * them into by_mean[2], by_sd[2]. Finite for any input. */
double front_log_gain(const struct front *f, const double mean[2], const double sd[2],
                      double by_mean[2], double by_sd[2]);

#endif
