/* A Vizier study is read: its row, then its events. */
#include "base/log.h"
#include "ctl/studies_int.h"

static void load_failed(struct loaded_study *l, const struct err *err) {
    if (!err || err->code == ERR_NOT_FOUND) {
        loaded_fail_missing(l);
    } else {
        loaded_fail(l, err);
    }
    loaded_bury(l);
    if (loaded_is_idle(l)) {
        loaded_destroy(l);
    }
}

static int replay(struct loaded_study *l, const struct store_event *ev, size_t n, struct err *err) {
    for (size_t i = 0; i < n; i++) {
        auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
        struct study_event e;
        if (study_event_decode(a, study_spec(l->study), &ev[i], &e, err) ||
            study_apply(l->study, &e, err)) {
            return err_wrap(err, "read %s", l->name);
        }
        l->seq = ev[i].seq;
    }
    return 0;
}

static void on_events(struct store_events *e, const struct store_event *ev, size_t n,
                      const struct err *err) {
    struct loaded_study *l = e->arg;
    struct study_spec spec = {0};
    struct err why;
    l->s->nr_in_flight--;
    l->seq = 0;
    if (!err && l->s->cfg.decode(l->s->cfg.arg, l->arena, &l->row, &spec, &l->parsed, &why) == 0) {
        l->study = study_new(&spec, l->row.create_time);
        if (replay(l, ev, n, &why) == 0) {
            arena_free(l->load_arena);
            l->load_arena = NULL;
            l->s->stats.loads++;
            l->owes_finals = true; /* the last life may have ended before it */
            loaded_pump(l);
            return;
        }
    }
    if (!err) {
        log_error("study unreadable", "name=%s error=\"%s\"", l->name, why.msg);
    }
    arena_free(l->load_arena);
    l->load_arena = NULL;
    loaded_unload(l);
    load_failed(l, err ? err : &why);
}

static void on_row(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct loaded_study *l = g->arg;
    struct studies *s = l->s;
    if (err || !row || !str_eqc(row->kind, STUDY_KIND)) {
        s->nr_in_flight--;
        arena_free(l->load_arena);
        l->load_arena = NULL;
        load_failed(l, row ? NULL : err);
        if (s->is_stopping) {
            studies_soon(s);
        }
        return;
    }
    l->arena = arena_new(ARENA_NO_MAX);
    l->row = (struct store_row){.name = str_of(l->name),
                                .kind = STR(STUDY_KIND),
                                .parent = arena_str(l->arena, row->parent),
                                .display_name = arena_str(l->arena, row->display_name),
                                .state = arena_str(l->arena, row->state),
                                .create_time = row->create_time,
                                .update_time = row->update_time,
                                .spec = arena_str(l->arena, row->spec)};
    l->events = (struct store_events){
        .owner = l->row.name, .arena = l->load_arena, .cb = on_events, .arg = l};
    s->cfg.store->ops->events(s->cfg.store, &l->events);
}

void loaded_load(struct loaded_study *l) {
    l->load_arena = arena_new(ARENA_NO_MAX);
    l->get =
        (struct store_get){.name = str_of(l->name), .arena = l->load_arena, .cb = on_row, .arg = l};
    l->s->nr_in_flight++;
    l->s->cfg.store->ops->get(l->s->cfg.store, &l->get);
}
