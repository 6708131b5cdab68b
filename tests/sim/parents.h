/* What the simulated users know of one pipeline or tuning job, and what must hold of either. */
#ifndef CUSP_TESTS_PARENTS_H
#define CUSP_TESTS_PARENTS_H

#include "world.h"

struct sim_parent {
    char name[128], id[24];
    const char *noun; /* "pipeline" */
    size_t index;
    bool created, refused, deleted, delete_asked, cancel_asked, cancel_acked;
    char *status; /* the terminal record seen; never changes */
};

/* kind: of its rows. */
void sim_parent_init(struct world *w, struct sim_parent *p, const char *kind, const char *noun,
                     size_t index);
void sim_parent_fini(struct sim_parent *p);
/* A call about it was answered. */
void sim_parent_note(struct sim_parent *p, const struct sim_call *c, const struct err *err);
/* NULL: there is none. */
const struct store_row *sim_parent_row(struct world *w, const struct sim_parent *p);
/* What was told of it is so; what it ended as, it stays. NULL, or what is wrong. */
const char *sim_parent_check(struct world *w, struct sim_parent *p, bool is_terminal);
/* A complaint about one: "NOUN INDEX: ..". Valid until the next. */
const char *sim_complain(const struct sim_parent *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* All custom jobs there are, in the arena. Takes steps of the store. */
size_t sim_children(struct world *w, struct arena *a, const struct store_row **ret);

#endif
