/* See suggest.h. */
#include "ctl/suggest.h"

#include "base/fail.h"
#include "base/limits.h"

/* Who asks for many at once may well ask for other numbers, or never again. */
#define AHEAD_MAX 8

struct suggester {
    struct suggest_pool *pool;
    void (*ready)(void *arg);
    void *arg;
    struct list link; /* pool.warm, while there is a tuner */
    struct tuner *tuner;
    bool is_taught; /* the tuner knows the lessons */

    /* The last answer. */
    bool has_answer;
    uint64_t version;
    double *settings; /* owned: nr, of those that were asked for; fewer: there are no more */
    size_t nr, asked_for;
    size_t wanted; /* at once, by who asked last */

    /* The one computation. Its arena has the history; nothing here is looked at meanwhile. */
    struct suggest_work work;
    bool is_busy, is_awaited, is_freed;
    bool is_late; /* the study is another already: somebody wanted that one's */
    struct arena *arena;
    const struct tune_trial *history;
    const struct study_lesson *lessons; /* to be taught; in arena */
    size_t nr_lessons;
    size_t nr_history, nr_params, count, found;
    uint64_t serial, computing;
    double *next; /* in arena: count */
};

void suggest_pool_init(struct suggest_pool *p, struct suggest_runner *runner) {
    *p = (struct suggest_pool){.runner = runner};
    list_init(&p->warm);
}

struct suggester *suggester_new(struct suggest_pool *p, void (*ready)(void *arg), void *arg) {
    struct suggester *s = xcalloc(1, sizeof(*s));
    s->pool = p;
    s->ready = ready;
    s->arg = arg;
    s->wanted = 1;
    list_init(&s->link);
    return s;
}

static void forget(struct suggester *s) {
    if (s->tuner) {
        tuner_free(s->tuner);
        s->tuner = NULL;
        list_del(&s->link);
        list_init(&s->link);
        s->pool->nr_warm--;
    }
}

static void destroy(struct suggester *s) {
    forget(s);
    arena_free(s->arena);
    free(s->settings);
    free(s);
}

void suggester_free(struct suggester *s) {
    if (s && s->is_busy) {
        s->is_freed = true;
    } else if (s) {
        destroy(s);
    }
}

/* The latest used goes last; who is first and idle forgets when there are too many. */
static void warm_up(struct suggester *s, const struct study *study) {
    struct suggest_pool *p = s->pool;
    if (s->tuner) {
        list_del(&s->link);
    } else {
        struct err err;
        s->tuner = tuner_new(&study_spec(study)->tune, &err);
        if (!s->tuner) {
            return; /* a study that was accepted can be searched; else nothing is suggested */
        }
        s->is_taught = false;
        p->nr_warm++;
    }
    list_push_tail(&p->warm, &s->link);
    struct list *i = p->warm.next;
    while (p->nr_warm > limits.max_tuners && i != &p->warm) {
        struct suggester *other = CONTAINER_OF(i, struct suggester, link);
        i = i->next;
        if (other != s && !other->is_busy) {
            forget(other);
        }
    }
}

/* The study may be gone before its lessons are taught. */
static void copy_lessons(struct suggester *s, const struct study *study) {
    const struct tune_study *tune = &study_spec(study)->tune;
    const struct study_lesson *from = study_lessons(study, &s->nr_lessons);
    struct study_lesson *to = arena_own_array(s->arena, s->nr_lessons + 1, sizeof(*to));
    for (size_t i = 0; i < s->nr_lessons; i++) {
        struct tune_trial *t = arena_own_array(s->arena, from[i].nr + 1, sizeof(*t));
        for (size_t k = 0; k < from[i].nr; k++) {
            const struct tune_trial *f = &from[i].trials[k];
            t[k] = (struct tune_trial){
                TUNE_DONE, arena_memdup(s->arena, f->setting, tune->nr_params * sizeof(double)),
                arena_memdup(s->arena, f->metrics, tune->nr_metrics * sizeof(double))};
        }
        to[i] = (struct study_lesson){NULL, t, from[i].nr};
    }
    s->lessons = to;
}

static void run(struct suggest_work *w) {
    struct suggester *s = CONTAINER_OF(w, struct suggester, work);
    (void)FAIL_POINT("suggest.compute", NULL);
    for (size_t i = 0; s->tuner && i < s->nr_lessons; i++) {
        tuner_learn(s->tuner, s->lessons[i].trials, s->lessons[i].nr);
    }
    s->found =
        s->tuner ? tuner_suggest(s->tuner, s->history, s->nr_history, s->serial, s->count, s->next)
                 : 0;
}

static void take_over(struct suggester *s) {
    s->has_answer = true;
    s->nr = s->found;
    s->asked_for = s->count;
    s->version = s->computing;
    s->settings = xrealloc_array(s->settings, s->nr * s->nr_params + 1, sizeof(*s->settings));
    memcpy(s->settings, s->next, s->nr * s->nr_params * sizeof(*s->settings));
    arena_free(s->arena);
    s->arena = NULL;
}

static void done(struct suggest_work *w) {
    struct suggester *s = CONTAINER_OF(w, struct suggester, work);
    s->is_busy = false;
    if (s->is_freed) {
        destroy(s);
        return;
    }
    take_over(s);
    if (s->is_awaited || s->is_late) {
        s->is_awaited = s->is_late = false;
        s->ready(s->arg);
    }
}

static void begin(struct suggester *s, const struct study *study, size_t count) {
    warm_up(s, study);
    s->arena = arena_new(ARENA_NO_MAX);
    s->history = study_history(study, s->arena, &s->nr_history);
    s->serial = study_serial(study);
    s->computing = study_version(study);
    s->nr_params = study_spec(study)->tune.nr_params;
    s->count = count;
    s->next = arena_own_array(s->arena, s->count * s->nr_params + 1, sizeof(*s->next));
    s->nr_lessons = 0;
    if (!s->is_taught) {
        copy_lessons(s, study);
        s->is_taught = s->tuner;
    }
    s->work.run = run;
    s->work.done = done;
    if (s->pool->runner) {
        s->is_busy = true;
        s->pool->runner->submit(s->pool->runner, &s->work);
    } else {
        run(&s->work);
        take_over(s);
    }
}

static bool is_current(const struct suggester *s, const struct study *study, size_t count) {
    return s->has_answer && s->version == study_version(study) && s->asked_for >= count;
}

enum suggest_answer suggester_take_some(struct suggester *s, const struct study *study,
                                        size_t count, const double **ret, size_t *ret_nr) {
    s->wanted = count;
    if (!is_current(s, study, count)) {
        if (!s->is_busy) {
            begin(s, study, count);
        }
        if (s->is_busy) {
            s->is_awaited = true;
            return SUGGEST_LATER;
        }
    }
    *ret = s->settings;
    *ret_nr = s->nr < count ? s->nr : count;
    return s->nr ? SUGGEST_READY : SUGGEST_NONE;
}

enum suggest_answer suggester_take(struct suggester *s, const struct study *study,
                                   const double **ret) {
    size_t nr;
    return suggester_take_some(s, study, 1, ret, &nr);
}

/* Who was given many tells of each, and asks again after the last: until then one is enough. */
static size_t count_ahead(const struct suggester *s, const struct study *study) {
    return study_counts(study).active ? 1 : s->wanted < AHEAD_MAX ? s->wanted : AHEAD_MAX;
}

void suggester_prepare(struct suggester *s, const struct study *study) {
    size_t count = count_ahead(s, study);
    if (s->is_busy) {
        s->is_late = s->computing != study_version(study);
    } else if (s->pool->runner && !is_current(s, study, count)) {
        begin(s, study, count);
    }
}
