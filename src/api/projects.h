/* Project ids seen so far, by number. Answers use the number (reference 10 §2); containers and
 * GetProject want the id back. Memory is a cache of the store's kv space "project". Loop thread. */
#ifndef CUSP_API_PROJECTS_H
#define CUSP_API_PROJECTS_H

#include "base/arena.h"
#include "base/time.h"
#include "store/store.h"

struct projects;

struct projects *projects_new(struct store *st, struct clock *clock);
/* Loads what is known, then cb. */
void projects_load(struct projects *p, void (*cb)(void *arg, const struct err *err), void *arg);
void projects_free(struct projects *p);
/* Number of an id (or of a number as text); a new id is remembered, durable soon. */
uint64_t projects_number(struct projects *p, struct str id_or_number);
/* The id last seen for a number, or the number as text; in the arena, NULL when that is full. */
char *projects_id(const struct projects *p, struct arena *a, uint64_t number);
/* When the id of this number was first seen (wall); 0 when that is not known. */
usec_t projects_since(const struct projects *p, uint64_t number);

#endif
