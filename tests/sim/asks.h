/* Vizier studies in the simulated world: clients that ask, try, tell, change their minds, crash
 * with the server and ask again. On top of a world, with dice of its own. */
#ifndef CUSP_TESTS_ASKS_H
#define CUSP_TESTS_ASKS_H

#include "world.h"

struct asks;
struct asks *asks_new(struct world *w, uint64_t seed); /* after world_init */
void asks_free(struct asks *s);                        /* after world_fini */
/* With world_boot; world_crash takes it down by itself. */
void asks_boot(struct asks *s);
/* One client does something, now and then. */
void asks_act(struct asks *s);
/* What was told is so: a trial keeps its client and its setting, no measurement is lost, what ended
 * stays ended. NULL, or what is wrong. */
const char *asks_invariant(struct asks *s);
/* Everybody was answered, and what the store has is what is in memory. */
const char *asks_final(struct asks *s);

#endif
