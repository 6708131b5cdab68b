/* Pulls on the loop: who waits for what, which step comes next on which lane, what is told while it
 * lasts. The steps themselves block and are in pull.c, pull_blob.c and push.c.
 *
 *   LOOK ("pull" lane): here already? then it is unpacked at most -> PLAN ("pull"): what the name
 *   means -> FETCH ("layers"): its blobs, some at once -> KEEP ("pull"): on the shelf, unpacked */
#include "base/limits.h"
#include "base/log.h"
#include "engine/image/pull_int.h"
#include "sys/lane.h"
#include "sys/loop.h"

#include <curl/curl.h>
#include <stdarg.h>

#define TICK ((usec_t)USEC_PER_SEC)
#define NOTE_EVERY (10 * (usec_t)USEC_PER_SEC) /* lines in a job's log while it lasts */

struct puller {
    struct puller_opts o;
    struct clock *clock;
    struct lane *pull, *layers;
    struct list pulls, pushes;
    struct timer tick;
    bool closing;
};

/* What is shown of something that moves. */
struct meter {
    usec_t began, noted_at;
    uint64_t last_done, per_second;
    usec_t last_at;
};

struct part {
    struct lane_work work;
    struct pull *pull;
    size_t nr;
    struct err err;
    int rc;
};

struct pull {
    struct list link, waiters;
    struct puller *owner;
    char *uri;
    enum pull_policy policy;
    struct arena *arena;
    struct remote_ref ref;
    struct pull_plan plan;
    struct lane_work work;
    enum { PULL_LOOK, PULL_PLAN, PULL_FETCH, PULL_KEEP } step;
    struct part *parts;
    size_t next_part, nr_flying;
    struct meter meter;
    bool abandoned, told_unpack;
    uint64_t to_fetch, had; /* bytes */
    usec_t unpack_at;
    struct unpack_progress unpack;
    /* lane: of the step */
    int rc;
    struct err err, missing; /* missing: why it is not here */
    bool go_out;
};

struct push {
    struct list link;
    struct puller *owner;
    struct push_wait *w; /* NULL: nobody listens any more */
    struct arena *arena;
    struct remote_ref ref;
    struct push_job job;
    struct meter meter;
    struct lane_work work;
    int rc;
    struct err err;
};

/* ---- telling */

static void put_bytes(struct buf *b, uint64_t n) {
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
    double v = (double)n;
    size_t u = 0;
    while (v >= 1000 && u + 1 < NR_OF(units)) {
        v /= 1000;
        u++;
    }
    (void)buf_printf(b, u == 0 || v >= 100 ? "%.0f %s" : "%.1f %s", v, units[u]);
}

void transfer_text(const struct transfer_state *t, const char *verb, const char *image,
                   struct buf *out) {
    (void)buf_printf(out, "%s %s: ", verb, image);
    switch (t->phase) {
    case TRANSFER_WAITING:
        (void)buf_puts(out, "waits for other images");
        return;
    case TRANSFER_ASKING:
        (void)buf_puts(out, "asking the registry");
        return;
    case TRANSFER_UNPACKING:
        (void)buf_printf(out, "unpacking, %llu of %llu layers", (unsigned long long)t->done,
                         (unsigned long long)t->total);
        return;
    case TRANSFER_MOVING:
        break;
    }
    put_bytes(out, t->done);
    (void)buf_puts(out, " of ");
    put_bytes(out, t->total);
    (void)buf_printf(out, " (%.0f %%), %llu of %llu layers",
                     t->total > 0 ? 100.0 * (double)t->done / (double)t->total : 100.0,
                     (unsigned long long)t->parts_done, (unsigned long long)t->parts);
    if (t->per_second > 0) {
        (void)buf_puts(out, ", ");
        put_bytes(out, t->per_second);
        (void)buf_puts(out, "/s");
    }
}

static void note(struct pull *p, const char *text) {
    struct pull_wait *w, *next;
    list_each_safe (w, next, &p->waiters, link) {
        if (w->note != NULL) {
            w->note(w, 200, text);
        }
    }
}

static void notef(struct pull *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void notef(struct pull *p, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    note(p, text);
}

static void measure(struct meter *m, usec_t now, uint64_t done) {
    if (now > m->last_at) {
        uint64_t rate =
            done > m->last_done ? (done - m->last_done) * USEC_PER_SEC / (now - m->last_at) : 0;
        m->per_second = m->per_second > 0 ? (3 * m->per_second + rate) / 4 : rate;
    }
    m->last_at = now;
    m->last_done = done;
}

static struct transfer_state pull_state(struct pull *p) {
    struct transfer_state t = {.phase = TRANSFER_ASKING, .per_second = p->meter.per_second};
    unsigned layers = atomic_load(&p->unpack.layers);
    if (layers > 0) {
        t.phase = TRANSFER_UNPACKING;
        t.done = atomic_load(&p->unpack.done);
        t.total = layers;
    } else if (p->step == PULL_FETCH) {
        t.phase = TRANSFER_MOVING;
        for (size_t i = 0; i < p->plan.nr_blobs; i++) {
            t.done += atomic_load(&p->plan.blobs[i].got);
            t.total += p->plan.blobs[i].what.size;
            t.parts_done += i > 0 && atomic_load(&p->plan.blobs[i].here) ? 1 : 0;
        }
        t.parts = p->plan.nr_blobs - 1; /* the config is no layer */
    }
    return t;
}

static void tell_unpack(struct pull *p, const struct transfer_state *t) {
    if (t->phase == TRANSFER_UNPACKING && !p->told_unpack) {
        p->told_unpack = true;
        p->unpack_at = time_mono();
        notef(p, "Unpacking image %s for its first use: %llu layer%s.", p->uri,
              (unsigned long long)t->total, t->total == 1 ? "" : "s");
    }
}

static void tick_pull(struct pull *p, usec_t now) {
    struct transfer_state t = pull_state(p);
    struct pull_wait *w, *next;
    if (t.phase == TRANSFER_MOVING) {
        measure(&p->meter, now, t.done);
        t.per_second = p->meter.per_second;
    }
    tell_unpack(p, &t);
    if (now - p->meter.noted_at >= NOTE_EVERY && t.phase >= TRANSFER_MOVING) {
        auto_buf struct buf b = BUF_INIT(2048);
        p->meter.noted_at = now;
        transfer_text(&t, t.phase == TRANSFER_MOVING ? "Pulling image" : "Image", p->uri, &b);
        notef(p, "%s.", buf_cstr(&b));
    }
    list_each_safe (w, next, &p->waiters, link) {
        if (w->progress != NULL) {
            w->progress(w, &t);
        }
    }
}

static void tick_push(struct push *p, usec_t now) {
    struct transfer_state t = {.phase = TRANSFER_ASKING,
                               .done = atomic_load(&p->job.sent),
                               .total = atomic_load(&p->job.total),
                               .parts_done = atomic_load(&p->job.parts_done),
                               .parts = atomic_load(&p->job.parts)};
    if (t.parts > 0) {
        t.phase = TRANSFER_MOVING;
        measure(&p->meter, now, t.done);
        t.per_second = p->meter.per_second;
    }
    if (p->w != NULL && p->w->progress != NULL) {
        p->w->progress(p->w, &t);
    }
}

static void arm(struct puller *o) {
    if (!o->closing && !(list_is_empty(&o->pulls) && list_is_empty(&o->pushes))) {
        o->clock->ops->arm(o->clock, &o->tick, o->clock->ops->mono(o->clock) + TICK);
    }
}

static void on_tick(struct timer *t) {
    struct puller *o = CONTAINER_OF(t, struct puller, tick);
    usec_t now = time_mono();
    struct pull *p, *next;
    struct push *q, *qnext;
    list_each_safe (p, next, &o->pulls, link) {
        tick_pull(p, now);
    }
    list_each_safe (q, qnext, &o->pushes, link) {
        tick_push(q, now);
    }
    arm(o);
}

/* ---- one pull */

static void step(struct pull *p, int which);

static void pull_over(struct pull *p, const struct err *why) {
    struct list waiters;
    list_init(&waiters);
    list_move_all(&p->waiters, &waiters);
    list_del(&p->link);
    while (!list_is_empty(&waiters)) {
        struct pull_wait *w = list_first(&waiters, struct pull_wait, link);
        list_del(&w->link);
        w->pull = NULL;
        w->done(w, why);
    }
    pull_unplan(&p->plan);
    remote_session_free(p->plan.session);
    arena_free(p->arena);
    free(p->uri);
    free(p);
}

/* The words for somebody whose image is neither here nor to be had. */
static void pull_failed(struct pull *p) {
    struct err why = p->err;
    if (p->go_out && why.code != ERR_CANCELLED) {
        log_warn("image not pulled", "image=%s error=\"%s\"", p->ref.text, why.msg);
        if (p->missing.code != ERR_OK) {
            (void)err_set(&why,
                          p->step == PULL_PLAN &&
                                  (why.code == ERR_UNAVAILABLE || why.code == ERR_DEADLINE_EXCEEDED)
                              ? ERR_NOT_FOUND
                              : why.code,
                          "%.400s; pulling it failed: %.600s", p->missing.msg, p->err.msg);
        }
    }
    pull_over(p, &why);
}

static void block_look(struct lane_work *w) {
    struct pull *p = CONTAINER_OF(w, struct pull, work);
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct image img;
    struct image_store *s = p->owner->o.images;
    enum store_source from = store_source(s, p->uri);
    bool may_go = p->policy != PULL_NEVER && from != STORE_OWN;
    if (may_go && from == STORE_COPY && p->policy == PULL_ALWAYS && p->ref.tag != NULL) {
        p->go_out = true;
        return;
    }
    p->rc = store_resolve(s, a, p->uri, &p->unpack, &img, &p->err);
    if (p->rc == 0 && from == STORE_COPY && p->ref.tag == NULL) {
        p->rc = registry_keep_digest(s, str_of(p->ref.shelf), p->ref.hex, &p->err);
    }
    if (p->rc < 0 && from == STORE_NONE && p->err.code == ERR_NOT_FOUND) {
        p->missing = p->err;
        if (may_go) {
            p->go_out = true;
            p->rc = 0;
        } else if (p->policy == PULL_NEVER) {
            (void)err_set(&p->err, ERR_NOT_FOUND, "%.700s (pulling is switched off: pull = never)",
                          p->missing.msg);
        }
    }
    if (p->go_out && p->plan.session == NULL) { /* the name leads to no registry */
        p->rc = -1;
        p->go_out = false;
        p->err = p->missing;
    }
}

static void block_plan(struct lane_work *w) {
    struct pull *p = CONTAINER_OF(w, struct pull, work);
    p->rc = pull_plan(&p->plan, &p->err);
}

/* What no honest image holds does not stay where the next job would find it. */
static void reject_bad(struct pull *p) {
    struct err ignored = {0};
    bool is_bad = p->err.code == ERR_INVALID_ARGUMENT ||
                  (p->err.code == ERR_RESOURCE_EXHAUSTED && p->err.sys == 0);
    if (is_bad) {
        pull_unplan(&p->plan);
        (void)registry_reject_copy(p->owner->o.images, str_of(p->ref.shelf), p->plan.top_hex,
                                   p->plan.image_hex, &ignored);
    }
}

static void block_keep(struct lane_work *w) {
    struct pull *p = CONTAINER_OF(w, struct pull, work);
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    struct image img;
    p->rc = p->plan.is_current ? 0 : pull_keep(&p->plan, &p->err);
    if (p->rc == 0) {
        p->rc = store_resolve(p->owner->o.images, a, p->uri, &p->unpack, &img, &p->err);
        if (p->rc < 0) {
            reject_bad(p);
        }
    }
}

static void block_part(struct lane_work *w) {
    struct part *part = CONTAINER_OF(w, struct part, work);
    part->rc = remote_is_cancelled(part->pull->plan.session)
                   ? err_set(&part->err, ERR_CANCELLED, "cancelled")
                   : pull_blob(&part->pull->plan, part->nr, &part->err);
}

static void fly(struct pull *p);

static void part_done(struct lane_work *w) {
    struct part *part = CONTAINER_OF(w, struct part, work);
    struct pull *p = part->pull;
    p->nr_flying--;
    if (w->cancelled) {
        part->rc = err_set(&part->err, ERR_CANCELLED, "the server is stopping");
    }
    if (part->rc < 0 && p->rc == 0) { /* the first to fail has the words */
        p->rc = -1;
        p->err = part->err;
        remote_cancel(p->plan.session);
    }
    fly(p);
}

static void fly(struct pull *p) {
    while (p->rc == 0 && p->next_part < p->plan.nr_blobs && p->nr_flying < limits.pull_max_layers) {
        struct part *part = &p->parts[p->next_part];
        part->pull = p;
        part->nr = p->next_part++;
        part->work = (struct lane_work){.run = block_part, .done = part_done};
        p->nr_flying++;
        lane_submit(p->owner->layers, &part->work);
    }
    if (p->nr_flying == 0) {
        if (p->rc < 0) {
            pull_failed(p);
        } else {
            step(p, PULL_KEEP);
        }
    }
}

static void begin_fetch(struct pull *p) {
    auto_buf struct buf b = BUF_INIT(1024);
    p->parts = arena_calloc(p->arena, p->plan.nr_blobs + 1, sizeof(*p->parts));
    put_bytes(&b, p->plan.image.size);
    notef(p, "Pulling image %s: digest sha256:%s, %zu layer%s, %s.", p->ref.text, p->plan.top_hex,
          p->plan.nr_blobs - 1, p->plan.nr_blobs == 2 ? "" : "s", buf_cstr(&b));
    p->meter.noted_at = p->meter.last_at = time_mono();
    fly(p);
}

static void pull_succeeded(struct pull *p) {
    usec_t now = time_mono();
    auto_buf struct buf b = BUF_INIT(1024);
    if (atomic_load(&p->unpack.layers) > 0) {
        struct transfer_state t = pull_state(p);
        tell_unpack(p, &t);
        notef(p, "Unpacked image %s in %.1f s.", p->uri,
              (double)(now - p->unpack_at) / USEC_PER_SEC);
    }
    if (p->go_out && !p->plan.is_current) {
        put_bytes(&b, p->plan.image.size);
        log_info("image pulled", "image=%s digest=sha256:%s bytes=%llu seconds=%.1f", p->ref.text,
                 p->plan.top_hex, (unsigned long long)p->plan.image.size,
                 (double)(now - p->meter.began) / USEC_PER_SEC);
        notef(p, "Image %s is here: %s in %.1f s.", p->ref.text, buf_cstr(&b),
              (double)(now - p->meter.began) / USEC_PER_SEC);
    } else if (p->go_out) {
        notef(p, "Image %s is here already, as sha256:%s.", p->ref.text, p->plan.top_hex);
    }
    pull_over(p, NULL);
}

static void step_done(struct lane_work *w) {
    struct pull *p = CONTAINER_OF(w, struct pull, work);
    if (w->cancelled || (p->abandoned && p->rc == 0 && p->step != PULL_KEEP)) {
        p->rc = err_set(&p->err, ERR_CANCELLED, "the pull was given up");
    }
    if (p->rc < 0) {
        pull_failed(p);
    } else if (p->step == PULL_LOOK && p->go_out) {
        notef(p, "Image %s: asking registry %s.", p->ref.text, p->ref.host);
        step(p, PULL_PLAN);
    } else if (p->step == PULL_PLAN && !p->plan.is_current) {
        p->step = PULL_FETCH;
        begin_fetch(p);
    } else if (p->step == PULL_PLAN) {
        step(p, PULL_KEEP);
    } else {
        pull_succeeded(p);
    }
}

static void step(struct pull *p, int which) {
    static void (*const blocks[])(struct lane_work *) = {
        [PULL_LOOK] = block_look, [PULL_PLAN] = block_plan, [PULL_KEEP] = block_keep};
    p->step = which;
    p->work = (struct lane_work){.run = blocks[which], .done = step_done};
    lane_submit(p->owner->pull, &p->work);
}

static struct pull *pull_new(struct puller *o, const char *uri, enum pull_policy policy) {
    struct pull *p = xcalloc(1, sizeof(*p));
    list_init(&p->waiters);
    list_push_tail(&o->pulls, &p->link);
    p->owner = o;
    p->uri = xstrdup(uri);
    p->policy = policy;
    p->arena = arena_new(ARENA_NO_MAX);
    p->meter.began = time_mono();
    atomic_init(&p->unpack.layers, 0);
    atomic_init(&p->unpack.done, 0);
    p->plan = (struct pull_plan){.store = o->o.images, .ref = &p->ref, .arena = p->arena};
    if (remote_ref_parse(p->arena, str_of(uri), &p->ref, NULL) == 0) {
        p->plan.session = remote_session_new(&o->o.remote, &p->ref, "pull");
    }
    arm(o);
    return p;
}

void puller_pull(struct puller *o, struct pull_wait *w) {
    struct pull *p;
    list_each (p, &o->pulls, link) {
        if (strcmp(p->uri, w->uri) == 0 && p->policy == w->policy && !p->abandoned) {
            break;
        }
    }
    bool is_new = &p->link == &o->pulls;
    if (is_new) {
        p = pull_new(o, w->uri, w->policy);
    }
    w->pull = p;
    list_push_tail(&p->waiters, &w->link);
    if (is_new) {
        step(p, PULL_LOOK);
    }
}

void puller_forget(struct puller *o, struct pull_wait *w) {
    struct pull *p = w->pull;
    (void)o;
    if (p == NULL) {
        return;
    }
    list_del(&w->link);
    w->pull = NULL;
    if (list_is_empty(&p->waiters)) {
        p->abandoned = true;
        if (p->plan.session != NULL) {
            remote_cancel(p->plan.session);
        }
    }
}

/* ---- one push */

static void block_push(struct lane_work *w) {
    struct push *p = CONTAINER_OF(w, struct push, work);
    p->rc = push_image(&p->job, &p->err);
}

static void push_done(struct lane_work *lw) {
    struct push *p = CONTAINER_OF(lw, struct push, work);
    struct push_wait *w = p->w;
    if (lw->cancelled) {
        p->rc = err_set(&p->err, ERR_CANCELLED, "the server is stopping");
    }
    list_del(&p->link);
    if (w != NULL) {
        w->push = NULL;
        if (p->rc == 0 && p->job.gave_child && w->note != NULL) {
            w->note(
                w, 200,
                "Of the image's index only the entry for this machine is here: that was pushed.");
        }
        w->done(w, p->rc == 0 ? p->job.digest : NULL, p->rc == 0 ? NULL : &p->err);
    }
    remote_session_free(p->job.session);
    arena_free(p->arena);
    free(p);
}

static void block_nothing(struct lane_work *w) {
    (void)w;
}

void puller_push(struct puller *o, struct push_wait *w) {
    struct push *p = xcalloc(1, sizeof(*p));
    p->owner = o;
    p->w = w;
    p->arena = arena_new(ARENA_NO_MAX);
    p->meter.began = p->meter.last_at = time_mono();
    w->push = p;
    list_push_tail(&o->pushes, &p->link);
    arm(o);
    p->work = (struct lane_work){.run = block_push, .done = push_done};
    p->rc = remote_ref_parse(p->arena, str_of(w->to), &p->ref, &p->err);
    if (p->rc == 0 && p->ref.tag == NULL) {
        p->rc = err_field(&p->err, ERR_INVALID_ARGUMENT, "to",
                          "an image is pushed to a tag, not to a digest: \"%.300s\"", w->to);
    }
    if (p->rc == 0) {
        p->job =
            (struct push_job){.store = o->o.images,
                              .ref = &p->ref,
                              .image = arena_strdup(p->arena, w->image),
                              .session = remote_session_new(&o->o.remote, &p->ref, "pull,push")};
    } else {
        p->work.run = block_nothing; /* told from the loop all the same */
    }
    lane_submit(o->pull, &p->work);
}

void puller_forget_push(struct puller *o, struct push_wait *w) {
    (void)o;
    if (w->push != NULL) {
        w->push->w = NULL;
        if (w->push->job.session != NULL) {
            remote_cancel(w->push->job.session);
        }
        w->push = NULL;
    }
}

/* ---- the whole */

static void curl_begin(void) {
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

struct puller *puller_new(const struct puller_opts *o) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, curl_begin);
    struct puller *p = xcalloc(1, sizeof(*p));
    p->o = *o;
    p->clock = loop_clock(o->loop);
    p->tick.fn = on_tick;
    list_init(&p->pulls);
    list_init(&p->pushes);
    p->pull =
        lane_new(o->loop, "pull", (unsigned)(limits.pull_max_images ? limits.pull_max_images : 1));
    p->layers = lane_new(o->loop, "layers",
                         (unsigned)(limits.pull_max_layers ? limits.pull_max_layers : 1));
    return p;
}

enum pull_policy puller_policy(const struct puller *p) {
    return p->o.policy;
}

void puller_free(struct puller *o) {
    struct pull *p;
    struct push *q;
    if (o == NULL) {
        return;
    }
    o->closing = true;
    o->clock->ops->disarm(o->clock, &o->tick);
    list_each (p, &o->pulls, link) {
        p->abandoned = true;
        if (p->plan.session != NULL) {
            remote_cancel(p->plan.session);
        }
    }
    list_each (q, &o->pushes, link) {
        if (q->job.session != NULL) {
            remote_cancel(q->job.session);
        }
    }
    /* A step that ends here submits no other: it is cancelled by then. Layers first, as the steps
     * of their pulls come after them. */
    lane_close(o->layers);
    lane_close(o->pull);
    free(o);
}
