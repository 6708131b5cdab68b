/* A tuning job's object and the facts of its life, shared by the files of ctl that move it. */
#ifndef CUSP_CTL_TUNING_INT_H
#define CUSP_CTL_TUNING_INT_H

#include "ctl/ctl_int.h"
#include "ctl/study.h"
#include "ctl/tuning.h"

#define TUNING_EVENT_VERSION 1u

/* One flat struct for all types: which fields a type carries is written next to them in tuning.h.
 */
struct tuning_event {
    enum tuning_event_type type;
    uint64_t trial;
    const char *job;
    enum job_state state;
    int code;
    const char *msg;
};

/* ---- tuning_events.c: the stored form ---- */
void tuning_event_encode(struct buf *b, const struct tuning_event *ev);
int tuning_event_decode(struct arena *a, const struct store_event *in, struct tuning_event *ret,
                        struct err *err) MUST_CHECK;
const char *tuning_event_name(uint32_t type); /* NULL: none of ours */

/* ---- facts: a tuning job's own, or its study's ---- */

struct tuning_fact {
    struct list link;
    struct arena *arena; /* owns the fact and all it points at */
    uint64_t seq;
    usec_t time; /* wall */
    uint32_t type;
    struct str body; /* encoded */
    struct tuning_event own;
    struct study_event study; /* when type is one of STUDY_EV_* */
    bool is_believed;         /* the study knows it already: measurements, from the job's log */
    bool is_of_wish;          /* goes when it is refused */
    struct call_op *op;       /* the wish it grants; answered with it. NULL none */
};
static inline bool tuning_fact_is_of_study(const struct tuning_fact *f) {
    return f->type >= STUDY_EV_TRIALS_CREATED && f->type < STUDY_EV_END;
}

/* ---- tuning_facts.c: pure ---- */
/* What a fact does to the status; the study's part is study_apply's. msg is not copied. */
void tuning_note(struct tuning_status *s, const struct tuning_fact *f);
/* Reference 04 §6: do so many failures end the job? nr_ended counts the one that failed last. */
bool tuning_has_failed(const struct tuning_status *s);
static inline bool tuning_is_over(const struct tuning_status *s) {
    return job_state_is_terminal(s->state);
}
static inline uint32_t tuning_nr_ended(const struct tuning_status *s) {
    return s->nr_succeeded + s->nr_infeasible;
}

/* ---- the object ---- */

/* A trial that has a job which has not ended, or whose end is not taken over. */
struct tuning_run {
    struct list link; /* tuning.runs, then tuning.zombies */
    struct tuning *tuning;
    uint64_t trial;
    char *job_name;     /* owned */
    struct job *job;    /* watched; NULL: not looked at, or gone */
    bool looked;        /* its row was asked for, or it is watched */
    bool is_fresh;      /* measured something since it was last judged */
    size_t taken;       /* first so many of the job's measures are in the study */
    struct map foreign; /* names it reported that are no metric's */
    /* The job's end, and what it measured, when it is not in memory any more. */
    bool has_end, told_done;
    struct job_status end, stored;
    struct measures *measures; /* owned */
    struct arena *arena;
    bool cancelling, called; /* its cancel was asked for in this life; it is not answered */
    struct ctl_call call;
    bool reading; /* get or events are with the store */
    struct store_get get;
    struct store_events events;
    struct arena *get_arena;
    bool is_zombie;
};

/* What a user asks of a live tuning job; saved, or refused, at the next opportunity. */
struct tuning_wish {
    struct list link; /* tuning.wishes */
    struct call_op *op;
    enum { WISH_CANCEL, WISH_EDIT, WISH_ADD, WISH_RERUN, WISH_STOP } kind;
    struct tuning_edit edit;
    struct tuning_add *add;
    double *setting; /* owned */
    uint64_t trial;
};

struct tuning {
    struct parent base;
    struct tuning_spec spec;     /* in arena */
    struct tuning_status status; /* durable; error_msg in arena */
    struct study *study;         /* durable */
    struct list wishes;          /* struct tuning_wish */

    /* The one transaction: ours, or a child's creation. */
    struct tuning_status next; /* what holds when it is durable */
    struct list in_flight;     /* struct tuning_fact: what is in it */
    struct list granting;      /* struct tuning_fact of wishes, while a transaction is made */
    /* A trial's job that is being created. */
    struct study_event making; /* type 0: the trial exists */
    struct study_new_trial making_new;
    uint64_t making_trial;
    double *making_setting;

    size_t nr_runs;
    uint64_t first_open;         /* no trial before it is open */
    struct list runs;            /* struct tuning_run, whose trials have not ended */
    struct list zombies;         /* those that are still called back */
    struct map said;             /* names of metrics that nobody asked for, told once */
    struct suggester *suggester; /* NULL: nothing was asked of it yet */
    bool is_exhausted;           /* there is nothing left to suggest */
    bool has_ended;              /* a trial, since predictions were last made anew */
};
static inline struct tuning *tuning_of(const struct parent *p) {
    return CONTAINER_OF(p, struct tuning, base);
}

/* tuning_post.c: the door through which facts enter, and their way to the store */
struct tuning *tuning_new(struct ctl *c, struct arena *a, const struct tuning_spec *spec,
                          usec_t created);
void tuning_free(struct tuning *t);
/* A fact found out (time 0: now), saved by the next pump. is_believed: the study has it already. */
void tuning_queue(struct tuning *t, struct tuning_event ev);
void tuning_queue_study(struct tuning *t, struct study_event ev, bool is_believed);
struct tuning_fact *tuning_fact_own(struct tuning *t, struct tuning_event ev);
struct tuning_fact *tuning_fact_study(struct tuning *t, struct study_event ev);
void tuning_wish(struct tuning *t, struct tuning_wish *w);
/* Puts a trial's creation (NULL: it exists) and its job's name into the transaction that makes the
 * job. */
void tuning_join(struct tuning *t, struct store_txn *txn, struct study_event *created,
                 const struct tuning_event *job);
void tuning_joined(struct tuning *t, bool is_durable);
/* For struct parent_kind. */
bool tuning_is_urgent(const struct parent *p);
bool tuning_gather(struct parent *p, struct store_txn *txn);
void tuning_saved(struct parent *p);
void tuning_refused(struct parent *p, const struct err *err);
/* From a stored event; NULL with *err. The fact is the caller's. */
struct tuning_fact *tuning_fact_read(struct tuning *t, const struct store_event *in,
                                     struct err *err);
void tuning_fact_free(struct tuning_fact *f);
/* Status and study, of what is durable. -1: it does not fit. */
int tuning_apply(struct tuning *t, const struct tuning_fact *f, struct err *err) MUST_CHECK;

/* tuning_act.c: what is due */
void tuning_act(struct parent *p);
usec_t tuning_next_due(struct parent *p);
void tuning_child_joins(struct parent *p, struct str child, struct store_txn *txn);
void tuning_child_made(struct parent *p, const struct err *err, const struct store_row *row);

/* tuning_run.c: trials' jobs, followed */
struct tuning_run *tuning_run_new(struct tuning *t, uint64_t trial, const char *job_name);
void tuning_run_free(struct tuning_run *r);
struct tuning_run *tuning_run_of(struct tuning *t, uint64_t trial); /* NULL: none */
void tuning_run_look(struct tuning_run *r);
/* Posts what is new about it. Nothing is on the way to the store. */
void tuning_run_advance(struct tuning_run *r);
void tuning_run_cancel(struct tuning_run *r);
/* Its trial's end is durable. */
void tuning_run_end(struct tuning_run *r);

/* tuning_wish.c */
/* Grants (facts appended to t->granting, next changed), or answers the wish. */
void tuning_consider(struct tuning *t, struct tuning_wish *w, struct tuning_status *next);
/* A trial made by hand is told of its job when it begins; one that is stopped before, then. */
struct study_event tuning_named(const struct tuning_run *r);
void tuning_wish_free(struct tuning_wish *w);

/* tuning_words.c: lines of the service log, once each, when what they tell of is durable */
void tuning_narrate(struct tuning *t, const struct tuning_fact *f);
/* nr of what an earlier attempt of the trial's job measured was done again, by some of r. */
void tuning_narrate_redone(struct tuning *t, uint64_t trial, const struct study_report *r,
                           size_t nr_reports, uint64_t nr);
void tuning_narrate_measure(struct tuning *t, uint64_t trial, const struct study_report *r);
void tuning_say(struct tuning *t, usec_t when, int severity, const char *text);

/* tuning_call.c */
/* Facts of the object from stored events. */
int tuning_replay(struct tuning *t, const struct store_event *ev, size_t nr,
                  struct err *err) MUST_CHECK;
extern const struct parent_kind tuning_kind;
/* tuning_read.c: the server is gone before it was answered */
void tuning_read_abandon(struct tuning_read *r);
void tuning_reads_fini(struct ctl *c);
struct tuning *tuning_find(struct ctl *c, struct str name);

#endif
