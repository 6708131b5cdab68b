/* Which versions a model has and which aliases they bear: the pure part of the registry (reference
 * 07 §3). Invariants, from the first version on: there is a version; exactly one bears "default";
 * an alias is borne by one version; ids count up and are never given twice. Lives in an arena; any
 * thread. */
#ifndef CUSP_CTL_MODEL_STATE_H
#define CUSP_CTL_MODEL_STATE_H

#include "base/rec.h"

struct model_alias {
    struct str name;
    uint64_t version;
};
struct model_span { /* both included */
    uint64_t first, last;
};
struct model_state {
    struct arena *arena;
    uint64_t next;            /* id of the next version, from 1 */
    struct model_span *spans; /* ids that exist, ascending, apart by more than one */
    size_t nr_spans, cap_spans;
    struct model_alias *aliases; /* in the order they came */
    size_t nr_aliases, cap_aliases;
};

/* No versions yet. */
void model_state_init(struct model_state *s, struct arena *a);
/* Lines for a record; DATA_LOSS when they do not read or break an invariant. */
void model_state_encode(const struct model_state *s, struct buf *b);
int model_state_decode(struct model_state *s, struct arena *a, const struct rec *r,
                       struct err *err) MUST_CHECK;

bool model_state_has(const struct model_state *s, uint64_t version);
uint64_t model_state_count(const struct model_state *s);
uint64_t model_state_default(const struct model_state *s);
/* A version id or an alias; empty and "-" are the default version. 0: no such. */
uint64_t model_state_resolve(const struct model_state *s, struct str text);
/* The aliases of one version, default first; an array in the arena. */
const struct str *model_state_aliases(const struct model_state *s, uint64_t version,
                                      size_t *ret_nr);

/* A new version with these aliases, moved from those that bore them; the first one gets default,
 * whatever is given. INVALID_ARGUMENT names the alias; RESOURCE_EXHAUSTED past max_model_versions
 * or max_model_aliases. */
int model_state_add(struct model_state *s, const struct str *aliases, size_t n,
                    uint64_t *ret_version, struct err *err) MUST_CHECK;
/* "prod" moves the alias here, "-prod" takes it away if it is here; both together do nothing.
 * INVALID_ARGUMENT when default would be borne by nobody. */
int model_state_merge(struct model_state *s, uint64_t version, const struct str *changes, size_t n,
                      struct err *err) MUST_CHECK;
/* default goes to the most recent one that is left. FAILED_PRECONDITION for the last one. */
int model_state_remove(struct model_state *s, uint64_t version, struct err *err) MUST_CHECK;

#endif
