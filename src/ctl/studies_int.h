/* What the files of ctl/studies share. */
#ifndef CUSP_CTL_STUDIES_INT_H
#define CUSP_CTL_STUDIES_INT_H

#include "base/map.h"
#include "ctl/studies.h"

struct loaded_study {
    struct studies *s;
    struct list link; /* studies.loaded, the one used last at the tail; or .buried */
    char *name;       /* owned */
    struct arena *arena;
    struct store_row row; /* in arena; its state is kept up to date */
    struct study *study;  /* NULL: to be loaded */
    const void *parsed;
    uint64_t seq;       /* of the last event */
    struct list queue;  /* struct study_change: not decided */
    struct list asking; /* of these, those that wait for a suggestion */
    bool look_again;    /* there may be one */
    bool hold;          /* one came too late: nothing else changes until one fits */
    size_t nr_done;     /* answers that are due */
    bool is_stale;      /* a commit failed: what the store has is read again */
    bool is_gone;       /* not in the map; freed when nothing refers to it */
    bool is_pumping;
    struct suggester *suggester; /* NULL: nobody has asked yet */
    /* update_all_stopped_trials: predicted finals are to be made anew, by a change of our own. */
    bool owes_finals, is_predicting;
    struct study_change finals;
    /* With the store. */
    struct arena *load_arena; /* NULL: is not being loaded */
    struct store_get get;
    struct store_events events;
    struct study_change *saving; /* NULL: nothing */
    struct arena *saving_arena;
    struct study_batch batch;
    struct store_txn txn;
};

struct studies {
    struct studies_config cfg;
    struct map by_name;
    struct list loaded, buried;
    struct list done; /* struct study_change, to be answered by `soon` */
    struct timer soon;
    size_t nr_in_flight; /* calls of the store */
    bool is_stopping;
    void (*stop_cb)(void *arg);
    void *stop_arg;
    struct studies_stats stats;
};

usec_t studies_mono(const struct studies *s);
void studies_soon(struct studies *s); /* what is due is delivered in the next turn */

/* ---- studies.c: one that is in memory ---- */

struct study_view loaded_view(struct loaded_study *l);
void loaded_unload(struct loaded_study *l); /* what was read is forgotten */
/* Nobody waits for anything of it. */
bool loaded_is_idle(const struct loaded_study *l);
void loaded_destroy(struct loaded_study *l);
void loaded_bury(struct loaded_study *l); /* out of the map; destroyed when it is idle */

/* ---- studies.c: answers ---- */

/* It is due: err is copied, NULL is success. settle: who calls delivers it. */
void loaded_settle(struct loaded_study *l, struct study_change *c, const struct err *err);
void loaded_finish(struct loaded_study *l, struct study_change *c, const struct err *err);
void loaded_deliver(struct study_change *c);
/* All that wait. */
void loaded_fail(struct loaded_study *l, const struct err *err);
void loaded_fail_missing(struct loaded_study *l);
void loaded_fail_stopping(struct loaded_study *l);

/* ---- study_load.c ---- */

void loaded_load(struct loaded_study *l); /* then loaded_pump, or everybody is told why not */

/* ---- study_turn.c ---- */

/* Decides what can be decided now; again whenever something has come. */
void loaded_pump(struct loaded_study *l);

#endif
