/* Resource names as users write them -> the one form cusp stores: project by number
 * (reference 10 §2). Pure but for remembering project ids. */
#ifndef CUSP_API_NAMES_H
#define CUSP_API_NAMES_H

#include "api/projects.h"
#include "base/arena.h"
#include "base/err.h"

struct name_parts {
    struct str project; /* as written */
    uint64_t number;
    struct str location;
    struct str rest;      /* "customJobs/123", or empty for a parent */
    struct str canonical; /* in the arena: "projects/NUMBER/locations/LOC[/rest]" */
    struct str parent;    /* in the arena: "projects/NUMBER/locations/LOC" */
};

/* "projects/P/locations/L[/…]". INVALID_ARGUMENT names the field and the rule. */
int name_parse(struct projects *p, struct arena *a, struct str name, const char *field,
               struct name_parts *ret, struct err *err) MUST_CHECK;
/* "parent" of a request that makes something there: one location, so not "-". what: "a job needs
 * one", for the error. */
int name_parse_home(struct projects *p, struct arena *a, const char *name, const char *what,
                    struct name_parts *ret, struct err *err) MUST_CHECK;
/* As name_parse, and rest must be COLLECTION/ID with a non-empty id. */
int name_parse_in(struct projects *p, struct arena *a, struct str name, const char *collection,
                  const char *field, struct name_parts *ret, struct err *err) MUST_CHECK;
/* A resource's name as it is stored ("projects/NUMBER/locations/LOC/COLLECTION/ID"). */
struct stored_name {
    struct str name, location, id; /* copies in the arena, terminated */
    uint64_t number;
};
struct stored_name name_stored(struct arena *a, struct str name);

/* A project id (1-63 of a-z 0-9 - _, ":" and "." for domain-scoped ones) or number. */
bool name_is_project(struct str s);
/* True for a region id of the published list (reference 12 §3) or "global". */
bool location_is_known(struct str location);
/* The i-th of them, NULL past the end. */
const char *location_at(size_t i);

#endif
