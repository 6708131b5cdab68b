/* CONTRACT. Vizier studies: who owns a study that no job runs. Its clients ask for settings, try
 * them, and tell; a study here is loaded when somebody asks for it and forgotten when too many are
 * (limits.max_studies_loaded, the one used least recently first). What a study is, and what its
 * trials mean, is ctl/study.h's. Loop thread only.
 *
 * A study is a row of kind "study" and the events of its trials. Every fact is durable before it is
 * believed, and one transaction of a study is under way at a time: a change is decided while
 * nothing of its study is on the way to the store, saved, applied, answered, in the order in which
 * changes were asked for. Callbacks run once, on the loop, never from within the call. */
#ifndef CUSP_CTL_STUDIES_H
#define CUSP_CTL_STUDIES_H

#include "ctl/study.h"
#include "ctl/suggest.h"

struct studies;

#define STUDY_KIND "study"
/* States of rows, as on the wire. */
#define STUDY_STATE_ACTIVE "ACTIVE"
#define STUDY_STATE_COMPLETED "COMPLETED"
/* Display names are unique below a parent: PARENT \x01 DISPLAY NAME -> the study's name. */
#define STUDY_NAME_SPACE "studyName"
struct str study_name_key(struct arena *a, struct str parent, struct str display_name);

struct studies_config {
    struct clock *clock;
    struct store *store;
    struct suggest_pool *suggestions; /* outlives us, and every computation */
    /* Reads a stored row; everything in the arena. parsed: the API's. */
    int (*decode)(void *arg, struct arena *a, const struct store_row *row, struct study_spec *ret,
                  const void **ret_parsed, struct err *err);
    void *arg;
};
struct studies *studies_new(const struct studies_config *cfg);
/* What is on the way to the store is finished; what waits, and what is asked from now on, is
 * refused UNAVAILABLE; then cb. */
void studies_stop(struct studies *s, void (*cb)(void *arg), void *arg);
/* After studies_stop, or as a crash would: nobody is called back. NULL is fine. */
void studies_free(struct studies *s);

struct studies_stats {
    size_t loaded;
    uint64_t loads, evictions, changes; /* changes: saved */
    uint64_t asked, asked_ready;        /* suggestions wanted; of these, already computed */
    /* Of changes saved: from when they were asked for until they were given to the store; until
     * they were durable. */
    usec_t decide_time, commit_time;
};
void studies_get_stats(const struct studies *s, struct studies_stats *ret);

/* ---- making ---- */

/* Owned by the caller; views stay valid until cb. */
struct study_create {
    struct str parent, id; /* id: new and unused */
    struct str display_name;
    struct str spec; /* message bytes, kept verbatim */
    /* What it learns from earlier ones, as decode reads the spec; valid until cb. */
    const struct study_spec *flat; /* may be NULL without lessons */
    const struct study_lesson *lessons;
    size_t nr_lessons;
    /* ALREADY_EXISTS: the parent has a study of this display name. */
    void (*cb)(struct study_create *, const struct store_row *row, const struct err *err);
    void *arg;
    /* ours: */
    struct studies *studies;
    struct arena *arena;
    struct store_row row;
    struct store_txn txn;
};
void study_create(struct studies *s, struct study_create *c);

/* ---- looking ---- */

/* Valid until control returns to the loop. */
struct study_view {
    struct str name;
    const struct store_row *row; /* as it was loaded; state: as it is */
    struct study *study;         /* changed by nobody but us */
    const void *parsed;          /* decode's */
};
/* From memory; false: not there now, use study_read. */
bool study_peek(struct studies *s, struct str name, struct study_view *ret);

struct study_batch;
enum study_verdict {
    STUDY_SAVE,   /* what the batch has, if anything */
    STUDY_REFUSE, /* with *err */
    STUDY_LATER,  /* nothing is saved; decided again when there may be a suggestion */
};

/* One that reads (decide NULL) or changes. Owned by the caller until cb. */
struct study_change {
    struct str name; /* valid until cb */
    /* Called while nothing of the study is on its way, possibly from within study_change, and again
     * after STUDY_LATER. Adds to the batch what is to become true. */
    enum study_verdict (*decide)(struct study_change *, const struct study_view *,
                                 struct study_batch *, struct err *);
    /* As it is with the change. NOT_FOUND when there is no such study. view NULL: with an err, and
     * after study_remove. */
    void (*cb)(struct study_change *, const struct study_view *, const struct err *err);
    void *arg;
    /* ours: */
    struct list link;
    struct loaded_study *of;
    bool removes, was_told, failed, waits;
    usec_t since; /* mono: asked for; then: with the store */
    struct err err;
    struct arena *arena; /* the batch's */
};
void study_change(struct studies *s, struct study_change *c);
void study_read(struct studies *s, struct study_change *c);
/* True: it waited for a suggestion (STUDY_LATER), does so no longer, and is the caller's again: no
 * cb. Else nothing happens. */
bool study_withdraw(struct study_change *c);
/* The study, its trials and its display name go. */
void study_remove(struct studies *s, struct study_change *c);

/* ---- what a decision becomes ---- */

struct study_batch {
    struct arena *arena;   /* lives until cb */
    usec_t now;            /* wall: the time of what is added */
    struct store_txn *txn; /* what must become true together with the events */
    /* ours: */
    struct loaded_study *of;
    struct study_event *events;
    size_t nr, cap;
};
/* Copied shallowly: what it points at lives in the batch's arena, the study, or longer. seq and
 * time are filled in. */
void study_batch_add(struct study_batch *b, const struct study_event *ev);
/* The settings the study would try next, up to count of them (suggester_take_some); LATER: return
 * STUDY_LATER, or refuse. */
enum suggest_answer study_batch_suggest(struct study_batch *b, size_t count, const double **ret,
                                        size_t *ret_nr);

#endif
