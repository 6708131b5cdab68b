/* Seedable random numbers (xoshiro256**) and the ids made from them. Decision code is given one, so
 * that a simulation with the same seed takes the same road. Not for secrets: see rng_secret. */
#ifndef CUSP_BASE_RNG_H
#define CUSP_BASE_RNG_H

#include "base/check.h"

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
void rng_seed_system(struct rng *r); /* from getrandom */
uint64_t rng_u64(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n); /* uniform in [0, n), n > 0 */
double rng_unit(struct rng *r);                /* [0, 1) */
/* 19-digit decimal id that fits a signed 64-bit number and never begins with 0 (reference 10 §2).
 */
uint64_t rng_resource_id(struct rng *r);
/* Fills p from the system's generator: tokens, keys, nonces. Aborts when there is none. */
void rng_secret(void *p, size_t n);

#endif
