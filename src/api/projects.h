/* Project ids seen so far, by number. Answers use the number (reference 10 §2); containers and
 * GetProject want the id back. Memory is a cache of the store's kv space "project". Loop thread. */
#ifndef CUSP_API_PROJECTS_H
#define CUSP_API_PROJECTS_H

#include "store/store.h"

struct projects;

struct projects *projects_new(struct store *st);
/* Loads what is known, then cb. */
void projects_load(struct projects *p, void (*cb)(void *arg, const struct err *err), void *arg);
void projects_free(struct projects *p);
/* Number of an id (or of a number as text); a new id is remembered, durable soon. */
uint64_t projects_number(struct projects *p, struct str id_or_number);
/* The id last seen for a number, or the number as text. Valid until projects_free. */
const char *projects_id(struct projects *p, uint64_t number);

#endif
