/* Which category is due. A confident model never returns to a branch it has tried once: where
 * nothing has been seen it believes what it likes, and a bound that trusts it never comes back. So
 * every category has a claim to a few trials, one with parameters of its own to more. */
#ifndef CUSP_TUNE_NEGLECT_H
#define CUSP_TUNE_NEGLECT_H

#include "tune/space.h"

/* Fills pins (d numbers): the values of the category whose claim is least met and of the parents
 * that wake it, NAN for features that are free. False, and all free: none is short of its claim.
 * known: nr rows, everything tried or running. */
bool neglect_find(const struct space *s, const double *known, size_t nr, double *pins);

#endif
