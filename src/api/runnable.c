#include "api/runnable.h"

#include "api/hold.h"
#include "api/names.h"
#include "api/svc.h"

#define NAME_SHOWN 300

static void fail_missing(struct call *c, const struct runnable_kind *k, struct str name) {
    struct err err;
    err_set(&err, ERR_NOT_FOUND, "The %s \"%.*s\" does not exist.", k->word,
            (int)(name.n > NAME_SHOWN ? NAME_SHOWN : name.n), name.p);
    call_fail(c, &err);
}

/* False: not a name of this kind, answered. */
static bool read_name(struct call *c, const char *name, const struct runnable_kind *k,
                      struct str *ret) {
    struct name_parts n;
    struct err err;
    if (name_parse_in(c->api->projects, c->arena, str_of(name), k->collection, "name", &n, &err)) {
        call_fail(c, &err);
        return false;
    }
    *ret = n.canonical;
    return true;
}

/* ---- get ---- */

struct held_get {
    struct call *call;
    const struct runnable_kind *kind;
    struct str name;
    struct store_get get;
    struct hold hold;
    bool was_held;
};

static void look(struct held_get *hg);

static void on_released(struct hold *w, enum hold_end end) {
    look(w->arg);
}

/* True when the answer waits for the end. */
static bool try_hold(struct held_get *hg) {
    struct call *c = hg->call;
    struct job_outlook o;
    if (hg->was_held || !hg->kind->outlook(c->api->ctl, hg->name, &o) || o.is_queued) {
        return false;
    }
    usec_t last = o.end_began ? o.end_began : o.start_time ? o.start_time : o.create_time;
    usec_t until = hold_get_until(c, last);
    hg->hold =
        (struct hold){.kind = HOLD_GET, .name = hg->name, .call = c, .fn = on_released, .arg = hg};
    hg->was_held = until && hold_begin(c->api->holds, &hg->hold, until);
    return hg->was_held;
}

static void reply_got(struct held_get *hg, const struct store_row *row) {
    if (!row->is_live || !try_hold(hg)) {
        hg->kind->reply(hg->call, row);
    }
}

static void on_got(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct held_get *hg = g->arg;
    if (err && err->code != ERR_NOT_FOUND) {
        call_fail(hg->call, err);
    } else if (err || !row) {
        fail_missing(hg->call, hg->kind, g->name);
    } else {
        reply_got(hg, row);
    }
}

static void look(struct held_get *hg) {
    struct store *st = hg->call->api->store;
    const struct store_row *row = st->ops->peek(st, hg->name);
    if (row) {
        reply_got(hg, row);
        return;
    }
    hg->get =
        (struct store_get){.name = hg->name, .arena = hg->call->arena, .cb = on_got, .arg = hg};
    st->ops->get(st, &hg->get);
}

void runnable_held_get(struct call *c, const char *name, const struct runnable_kind *k) {
    struct held_get *hg = arena_own(c->arena, sizeof(*hg));
    hg->call = c;
    hg->kind = k;
    if (read_name(c, name, k, &hg->name)) {
        look(hg);
    }
}

/* ---- cancel, delete ---- */

struct change {
    struct call *call;
    const struct runnable_kind *kind;
    const char *sent; /* the name */
    struct ctl_call ctl;
};

/* Hands the named one to ctl. */
static void change(struct call *c, const char *name, const struct runnable_kind *k,
                   void (*what)(struct ctl *, struct str name, struct ctl_call *),
                   void (*cb)(struct ctl_call *, const struct err *, const struct store_row *)) {
    struct change *ch = arena_own(c->arena, sizeof(*ch));
    struct str canonical;
    if (read_name(c, name, k, &canonical)) {
        *ch = (struct change){.call = c, .kind = k, .sent = name, .ctl = {.cb = cb, .arg = ch}};
        what(c->api->ctl, canonical, &ch->ctl);
    }
}

/* True: refused, and answered. */
static bool fail_change(const struct change *ch, const struct err *err) {
    if (err && err->code == ERR_NOT_FOUND) {
        fail_missing(ch->call, ch->kind, str_of(ch->sent));
    } else if (err) {
        call_fail(ch->call, err);
    }
    return err != NULL;
}

static void on_cancelled(struct ctl_call *cc, const struct err *err, const struct store_row *row) {
    struct change *ch = cc->arg;
    if (!fail_change(ch, err)) {
        Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
        call_reply(ch->call, &empty.base);
    }
}

void runnable_cancel(struct call *c, const char *name, const struct runnable_kind *k) {
    change(c, name, k, k->cancel, on_cancelled);
}

static void on_deleted(struct ctl_call *cc, const struct err *err, const struct store_row *row) {
    struct change *ch = cc->arg;
    if (fail_change(ch, err)) {
        return;
    }
    if (ch->kind->removed) {
        ch->kind->removed(ch->call);
    }
    svc_operation_reply_deleted(ch->call, str_of(ch->sent));
}

void runnable_delete(struct call *c, const char *name, const struct runnable_kind *k) {
    change(c, name, k, k->remove, on_deleted);
}
