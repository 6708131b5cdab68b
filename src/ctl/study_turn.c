/* Whose turn it is with a Vizier study: one change at a time is decided, saved, believed. */
#include "base/fail.h"
#include "base/log.h"
#include "ctl/studies_int.h"

void study_batch_add(struct study_batch *b, const struct study_event *ev) {
    if (b->nr == b->cap) {
        b->cap = b->cap ? b->cap * 2 : 4;
        b->events = xrealloc_array(b->events, b->cap, sizeof(*b->events));
    }
    b->events[b->nr] = *ev;
    b->events[b->nr].time = b->now;
    b->events[b->nr].seq = b->of->seq + b->nr + 1;
    b->nr++;
}

static void on_ready(void *arg) {
    struct loaded_study *l = arg;
    l->look_again = true;
    if (!list_is_empty(&l->asking)) {
        list_first(&l->asking, struct study_change, link)->was_told = true;
    }
    loaded_pump(l);
}

enum suggest_answer study_batch_suggest(struct study_batch *b, size_t count, const double **ret,
                                        size_t *ret_nr) {
    struct loaded_study *l = b->of;
    if (!l->suggester) {
        l->suggester = suggester_new(l->s->cfg.suggestions, on_ready, l);
    }
    enum suggest_answer answer = suggester_take_some(l->suggester, l->study, count, ret, ret_nr);
    l->s->stats.asked++;
    l->s->stats.asked_ready += answer != SUGGEST_LATER;
    return answer;
}

static void believe(struct loaded_study *l) {
    struct err err;
    for (size_t i = 0; i < l->batch.nr; i++) {
        if (study_apply(l->study, &l->batch.events[i], &err)) {
            log_error("study", "name=%s error=\"%s\"", l->name, err.msg);
            l->is_stale = true;
        }
        if (l->batch.events[i].type == STUDY_EV_STOPPED) {
            l->row.state = STR(STUDY_STATE_COMPLETED);
        }
        l->owes_finals |= l->batch.events[i].type == STUDY_EV_TRIAL_ENDED;
    }
    l->seq += l->batch.nr;
    l->s->stats.changes++;
}

static void on_saved(struct store_txn *t, const struct err *err) {
    struct loaded_study *l = t->arg;
    struct study_change *c = l->saving;
    struct err why;
    (void)FAIL_POINT("study.save.after_commit", NULL);
    l->s->nr_in_flight--;
    l->saving = NULL;
    l->saving_arena = NULL;
    l->look_again = true;
    if (err) {
        why = *err;
        l->is_stale = true;
        loaded_settle(l, c, &why);
    } else {
        l->s->stats.commit_time += studies_mono(l->s) - c->since;
        believe(l);
        loaded_settle(l, c, NULL);
    }
    store_txn_fini(&l->txn);
    if (!err && c->removes) {
        loaded_fail_missing(l);
        loaded_bury(l);
    }
    if (l->s->is_stopping) {
        studies_soon(l->s);
    }
    loaded_deliver(c); /* before anything else is decided: it sees what it did */
}

static void save(struct loaded_study *l, struct study_change *c) {
    struct study_batch *b = &l->batch;
    for (size_t i = 0; i < b->nr; i++) {
        auto_buf struct buf body = BUF_INIT(BUF_NO_MAX);
        const struct study_event *ev = &b->events[i];
        study_event_encode(&body, study_spec(l->study), ev);
        store_txn_event(&l->txn, &(struct store_event){.owner = l->row.name,
                                                       .seq = ev->seq,
                                                       .type = ev->type,
                                                       .version = STUDY_EVENT_VERSION,
                                                       .time = ev->time,
                                                       .body = buf_str(&body)});
        if (ev->type == STUDY_EV_STOPPED) {
            store_txn_update(&l->txn, l->row.name, STR(STUDY_STATE_COMPLETED), STR(""), ev->time,
                             false);
        }
    }
    usec_t now = studies_mono(l->s);
    l->s->stats.decide_time += now - c->since;
    c->since = now;
    l->saving = c;
    l->saving_arena = c->arena;
    l->s->nr_in_flight++;
    (void)FAIL_POINT("study.save.before_commit", NULL);
    l->s->cfg.store->ops->commit(l->s->cfg.store, &l->txn);
}

static void begin_batch(struct loaded_study *l, struct study_change *c) {
    struct clock *clock = l->s->cfg.clock;
    c->arena = arena_new(ARENA_NO_MAX);
    store_txn_init(&l->txn, on_saved, l);
    l->batch.arena = c->arena;
    l->batch.now = clock->ops->wall(clock);
    l->batch.txn = &l->txn;
    l->batch.of = l;
    l->batch.nr = 0;
}

static void drop_batch(struct loaded_study *l, struct study_change *c) {
    store_txn_fini(&l->txn);
    arena_free(c->arena);
    c->arena = NULL;
}

static void remove_study(struct loaded_study *l, struct study_change *c) {
    begin_batch(l, c);
    store_txn_delete(&l->txn, l->row.name);
    store_txn_kv(&l->txn, STUDY_NAME_SPACE,
                 study_name_key(c->arena, l->row.parent, l->row.display_name), (struct str){0});
    save(l, c);
}

/* Of one that is in no list. */
static void decide(struct loaded_study *l, struct study_change *c) {
    struct study_view v = loaded_view(l);
    struct err err;
    if (c->removes) {
        remove_study(l, c);
        return;
    }
    if (!c->decide) {
        loaded_finish(l, c, NULL);
        return;
    }
    begin_batch(l, c);
    switch (c->decide(c, &v, &l->batch, &err)) {
    case STUDY_REFUSE:
        drop_batch(l, c);
        loaded_finish(l, c, &err);
        break;
    case STUDY_LATER:
        drop_batch(l, c);
        l->look_again = false;
        c->waits = true;
        if (c->was_told) { /* it was computed, and the study is another already */
            l->hold = true;
            list_push_head(&l->asking, &c->link);
        } else {
            list_push_tail(&l->asking, &c->link);
        }
        break;
    case STUDY_SAVE:
        if (l->batch.nr || l->txn.nr_ops) {
            save(l, c);
        } else {
            store_txn_fini(&l->txn);
            loaded_finish(l, c, NULL);
        }
        break;
    }
}

/* With what is known now. The same predictions again are no events. */
static enum study_verdict predict_anew(struct study_change *c, const struct study_view *v,
                                       struct study_batch *b, struct err *err) {
    size_t n;
    const struct study_event *ev = study_replaced_finals(v->study, b->arena, &n);
    for (size_t i = 0; i < n; i++) {
        study_batch_add(b, &ev[i]);
    }
    return STUDY_SAVE;
}

/* A commit that failed: the study is read again, and they are owed again. */
static void on_predicted(struct study_change *c, const struct study_view *v,
                         const struct err *err) {
    CONTAINER_OF(c, struct loaded_study, finals)->is_predicting = false;
}

/* Before anything else is decided: a suggestion should know of them. */
static void queue_finals(struct loaded_study *l) {
    const struct study_stopping *stopping = &study_spec(l->study)->stopping;
    if (stopping->rule != STUDY_STOP_CONVEX || !stopping->update_all) {
        l->owes_finals = false;
    } else if (l->owes_finals && !l->is_predicting) {
        l->owes_finals = false;
        l->is_predicting = true;
        l->finals = (struct study_change){
            .decide = predict_anew, .cb = on_predicted, .of = l, .since = studies_mono(l->s)};
        list_push_head(&l->queue, &l->finals.link);
    }
}

/* Whose turn it is; NULL: nobody's. */
static struct study_change *next_change(struct loaded_study *l) {
    struct study_change *c = NULL;
    l->hold &= !list_is_empty(&l->asking);
    if (!list_is_empty(&l->asking) && l->look_again) {
        c = list_first(&l->asking, struct study_change, link);
    } else if (!list_is_empty(&l->queue) && !l->hold) {
        c = list_first(&l->queue, struct study_change, link);
    }
    if (c) {
        list_del(&c->link);
        c->waits = false;
    }
    return c;
}

static bool may_decide(const struct loaded_study *l) {
    return l->study && !l->is_stale && !l->saving && !l->load_arena && !l->is_gone;
}

void loaded_pump(struct loaded_study *l) {
    struct study_change *c;
    if (l->is_pumping || l->is_gone) {
        return;
    }
    if (l->s->is_stopping) {
        loaded_fail_stopping(l);
        studies_soon(l->s);
        return;
    }
    if (l->is_stale && !l->saving && !l->nr_done) {
        loaded_unload(l);
    }
    if (!l->study && !l->load_arena && !(list_is_empty(&l->queue) && list_is_empty(&l->asking))) {
        l->look_again = true;
        loaded_load(l);
    }
    l->is_pumping = true;
    while (may_decide(l)) {
        queue_finals(l);
        if (!(c = next_change(l))) {
            break;
        }
        decide(l, c);
    }
    l->is_pumping = false;
    if (may_decide(l) && l->suggester && !study_is_stopped(l->study, NULL)) {
        suggester_prepare(l->suggester, l->study);
    }
}
