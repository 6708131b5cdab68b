/* A Vizier study is made: its row, its display name, what it learns from earlier ones. */
#include "ctl/studies_int.h"

struct str study_name_key(struct arena *a, struct str parent, struct str display_name) {
    return str_of(arena_printf(a, "%.*s\x01%.*s", STR_ARG(parent), STR_ARG(display_name)));
}

static void on_created(struct store_txn *t, const struct err *err) {
    struct study_create *c = t->arg;
    struct studies *s = c->studies;
    struct arena *a = c->arena;
    struct err why;
    s->nr_in_flight--;
    if (err) {
        why = *err;
    }
    if (err && err->code == ERR_FAILED_PRECONDITION) {
        err_field(&why, ERR_ALREADY_EXISTS, "study.display_name",
                  "A Study with the display name \"%.*s\" already exists.",
                  (int)(c->display_name.n > 200 ? 200 : c->display_name.n), c->display_name.p);
    }
    store_txn_fini(&c->txn);
    c->cb(c, err ? NULL : &c->row, err ? &why : NULL); /* c may be gone */
    arena_free(a);
    if (s->is_stopping) {
        studies_soon(s);
    }
}

static void put_lessons(struct study_create *c, usec_t now) {
    for (size_t i = 0; i < c->nr_lessons; i++) {
        auto_buf struct buf body = BUF_INIT(BUF_NO_MAX);
        study_event_encode(
            &body, c->flat,
            &(struct study_event){.type = STUDY_EV_LEARNED, .lesson = &c->lessons[i]});
        store_txn_event(&c->txn, &(struct store_event){.owner = c->row.name,
                                                       .seq = i + 1,
                                                       .type = STUDY_EV_LEARNED,
                                                       .version = STUDY_EVENT_VERSION,
                                                       .time = now,
                                                       .body = buf_str(&body)});
    }
}

void study_create(struct studies *s, struct study_create *c) {
    struct arena *a = c->arena = arena_new(ARENA_NO_MAX);
    usec_t now = s->cfg.clock->ops->wall(s->cfg.clock);
    struct str key = study_name_key(a, c->parent, c->display_name);
    c->studies = s;
    c->row = (struct store_row){
        .name = str_of(arena_printf(a, "%.*s/studies/%.*s", STR_ARG(c->parent), STR_ARG(c->id))),
        .kind = STR(STUDY_KIND),
        .parent = arena_str(a, c->parent),
        .display_name = arena_str(a, c->display_name),
        .state = STR(STUDY_STATE_ACTIVE),
        .create_time = now,
        .update_time = now,
        .spec = arena_str(a, c->spec)};
    store_txn_init(&c->txn, on_created, c);
    store_txn_kv_expect(&c->txn, STUDY_NAME_SPACE, key, (struct str){0});
    store_txn_insert(&c->txn, &c->row);
    put_lessons(c, now);
    store_txn_kv(&c->txn, STUDY_NAME_SPACE, key, c->row.name);
    s->nr_in_flight++;
    s->cfg.store->ops->commit(s->cfg.store, &c->txn);
}
