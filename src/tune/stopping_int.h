/* What the stopping rules share. Private to tune. */
#ifndef CUSP_TUNE_STOPPING_INT_H
#define CUSP_TUNE_STOPPING_INT_H

#include "tune/stopping.h"

#define STOP_MIN_COMPLETED 5

double median_of(double *v, size_t n); /* sorts v; n > 0 */
double best_final(const struct curve *all, size_t nr);

#endif
