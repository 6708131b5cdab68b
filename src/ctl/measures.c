#include "ctl/measures.h"

#include "base/limits.h"

#include <math.h>

static char mark;

void measures_init(struct measures *m) {
    *m = (struct measures){0};
    map_init(&m->known);
}

void measures_fini(struct measures *m) {
    for (size_t i = 0; i < m->tags.n; i++) {
        free(m->tags.p[i]);
    }
    vec_fini(&m->tags);
    vec_fini(&m->all);
    vec_fini(&m->held);
    map_fini(&m->known);
}

const char *measures_tag(const struct measures *m, const struct measure *x) {
    return m->tags.p[x->tag];
}

/* -1: it is new. */
static int find_tag(const struct measures *m, const char *tag) {
    for (size_t i = 0; i < m->tags.n; i++) {
        if (strcmp(m->tags.p[i], tag) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static uint32_t add_tag(struct measures *m, const char *tag) {
    int at = find_tag(m, tag);
    if (at < 0) {
        at = (int)m->tags.n;
        vec_push(&m->tags, xstrdup(tag));
        vec_push(&m->held, (struct measures_held){0});
    }
    return (uint32_t)at;
}

struct key {
    usec_t timestamp;
    int64_t step;
    uint32_t tag, attempt;
};

static bool is_known(const struct measures *m, uint32_t attempt, const struct metric_report *r,
                     uint32_t tag) {
    struct key k = {r->timestamp, r->step, tag, attempt};
    return map_get(&m->known, str_n((const char *)&k, sizeof(k))) != NULL;
}

static void hold(struct measures_held *h, const struct metric_report *r) {
    bool is_number = !isnan(r->value);
    if (!h->has) {
        *h = (struct measures_held){true, *r, *r, *r};
    }
    h->last = *r;
    if (is_number && !(r->value >= h->min.value)) {
        h->min = *r;
    }
    if (is_number && !(r->value <= h->max.value)) {
        h->max = *r;
    }
}

static void pick(const struct measures *m, uint32_t attempt, uint32_t tag,
                 const struct metric_report *r, struct metric_vec *ret) {
    struct metric_report x = *r;
    x.tag = m->tags.p[tag];
    if (!is_known(m, attempt, &x, tag)) {
        vec_push(ret, x);
    }
}

/* In the order they were reported. */
static void pick_held(struct measures *m, uint32_t attempt, struct metric_vec *ret) {
    for (uint32_t t = 0; t < m->held.n; t++) {
        struct measures_held *h = &m->held.p[t];
        if (!h->has) {
            continue;
        }
        const struct metric_report *a = &h->min, *b = &h->max;
        if (b->timestamp < a->timestamp || (b->timestamp == a->timestamp && b->step < a->step)) {
            a = &h->max;
            b = &h->min;
        }
        pick(m, attempt, t, a, ret);
        pick(m, attempt, t, b, ret);
        pick(m, attempt, t, &h->last, ret);
        h->has = false;
    }
}

void measures_pick(struct measures *m, uint32_t attempt, const struct metric_report *r, size_t n,
                   bool flush, struct metric_vec *ret) {
    for (size_t i = 0; i < n; i++) {
        int at = find_tag(m, r[i].tag);
        if (at < 0 && m->tags.n >= limits.max_trial_tags) {
            limits_hit(&limits.max_trial_tags);
            continue;
        }
        uint32_t tag = at < 0 ? add_tag(m, r[i].tag) : (uint32_t)at;
        if (is_known(m, attempt, &r[i], tag)) {
            continue;
        }
        m->nr_seen++;
        if (m->all.n + ret->n < limits.max_trial_reports) {
            pick(m, attempt, tag, &r[i], ret);
            continue;
        }
        limits_hit(&limits.max_trial_reports);
        hold(&m->held.p[tag], &r[i]);
        if (m->nr_seen >= m->next_keep) {
            pick_held(m, attempt, ret);
            m->next_keep = m->nr_seen + m->nr_seen / 100;
        }
    }
    if (flush) {
        pick_held(m, attempt, ret);
    }
}

void measures_apply(struct measures *m, uint64_t seq, uint32_t attempt,
                    const struct metric_report *r, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t tag = add_tag(m, r[i].tag);
        struct key k = {r[i].timestamp, r[i].step, tag, attempt};
        if (map_put(&m->known, str_n((const char *)&k, sizeof(k)), &mark)) {
            continue; /* twice in one event */
        }
        vec_push(&m->all, ((struct measure){.tag = tag,
                                            .value = r[i].value,
                                            .step = r[i].step,
                                            .timestamp = r[i].timestamp,
                                            .attempt = attempt,
                                            .seq = seq}));
        m->nr_seen = m->all.n > m->nr_seen ? m->all.n : m->nr_seen;
    }
}
