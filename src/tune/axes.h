/* The kernel's additive part: the mean over the features of a Matern 5/2 of each one alone, with
 * lengths of its own. What depends on one parameter at a time, however ruggedly, is learnt along
 * the axes in few trials; the product kernel would have to see it in all dimensions at once. */
#ifndef CUSP_TUNE_AXES_H
#define CUSP_TUNE_AXES_H

#include "tune/space.h"

#define AXES_LEN_MIN 0.01 /* shorter ones count as this: exponentials stay finite */

/* One number's places: u = sqrt(5) x / length and e^u, e^-u (around the middle), so that the
 * exponential of any difference is one product. */
struct axis {
    double *u, *up, *down; /* n */
};
double axis_scale(double inv_len); /* du / dx */
void axis_place(double inv_len, double x, double *ret_u, double *ret_up, double *ret_down);
/* k[i] += weight * M(|u[i] - u|) */
void axis_add(const struct axis *a, size_t n, double u, double up, double down, double weight,
              double *k);
/* The sum of g[i] M(|u[i] - u|), and (into ret_by_len) of g[i] dM / d ln length. */
double axis_weigh(const struct axis *a, size_t n, double u, double up, double down, const double *g,
                  double *ret_by_len);
/* The sum of g[i] dM / du. */
double axis_slope(const struct axis *a, size_t n, double u, double up, double down,
                  const double *g);
/* Of two categories that differ: M, and dM / d ln length. */
double axis_apart(double inv_len, double *ret_by_len);

#endif
