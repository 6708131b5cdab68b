/* See suggest.h. */
#include "ctl/suggest.h"

#include "base/limits.h"

struct suggester {
    struct suggest_pool *pool;
    void (*ready)(void *arg);
    void *arg;
    struct list link; /* pool.warm, while there is a tuner */
    struct tuner *tuner;

    /* The last answer. */
    bool has_answer, is_none;
    uint64_t version;
    double *setting; /* owned */

    /* The one computation. Its arena has the history; nothing here is looked at meanwhile. */
    struct suggest_work work;
    bool is_busy, is_awaited, is_freed;
    bool is_late; /* the study is another already: somebody wanted that one's */
    struct arena *arena;
    const struct tune_trial *history;
    size_t nr_history, nr_params, found;
    uint64_t serial, computing;
    double *next; /* in arena */
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
    free(s->setting);
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

static void run(struct suggest_work *w) {
    struct suggester *s = CONTAINER_OF(w, struct suggester, work);
    s->found =
        s->tuner ? tuner_suggest(s->tuner, s->history, s->nr_history, s->serial, 1, s->next) : 0;
}

static void take_over(struct suggester *s) {
    s->has_answer = true;
    s->is_none = s->found == 0;
    s->version = s->computing;
    s->setting = xrealloc_array(s->setting, s->nr_params + 1, sizeof(*s->setting));
    memcpy(s->setting, s->next, s->nr_params * sizeof(*s->setting));
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

static void begin(struct suggester *s, const struct study *study) {
    warm_up(s, study);
    s->arena = arena_new(ARENA_NO_MAX);
    s->history = study_history(study, s->arena, &s->nr_history);
    s->serial = study_serial(study);
    s->computing = study_version(study);
    s->nr_params = study_spec(study)->tune.nr_params;
    s->next = arena_own_array(s->arena, s->nr_params + 1, sizeof(*s->next));
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

static bool is_current(const struct suggester *s, const struct study *study) {
    return s->has_answer && s->version == study_version(study);
}

enum suggest_answer suggester_take(struct suggester *s, const struct study *study,
                                   const double **ret) {
    if (!is_current(s, study)) {
        if (!s->is_busy) {
            begin(s, study);
        }
        if (s->is_busy) {
            s->is_awaited = true;
            return SUGGEST_LATER;
        }
    }
    *ret = s->setting;
    return s->is_none ? SUGGEST_NONE : SUGGEST_READY;
}

void suggester_prepare(struct suggester *s, const struct study *study) {
    if (s->is_busy) {
        s->is_late = s->computing != study_version(study);
    } else if (s->pool->runner && !is_current(s, study)) {
        begin(s, study);
    }
}
