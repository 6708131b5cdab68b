/* Metric values -> labels for the model: outliers below the median cannot flatten it, and the rest
 * is made to look normal (reference 30 §2.3). In place; larger is better before and after. */
#ifndef CUSP_TUNE_WARP_H
#define CUSP_TUNE_WARP_H

#include <stddef.h>

/* y: n finite values. Afterwards mean 0 and variance 1; all 0 when they are all equal. */
void warp_labels(double *y, size_t n);
/* Inverse of the normal distribution function, 0 < p < 1; relative error < 1e-9. */
double warp_normal_quantile(double p);

#endif
