#include "parents.h"

#include <stdarg.h>

void sim_parent_init(struct world *w, struct sim_parent *p, const char *kind, const char *noun,
                     size_t index) {
    p->noun = noun;
    p->index = index;
    snprintf(p->id, sizeof(p->id), "%llu", (unsigned long long)ctl_new_id(w->ctl));
    snprintf(p->name, sizeof(p->name), WORLD_PARENT "/%ss/%s", kind, p->id);
}

void sim_parent_fini(struct sim_parent *p) {
    free(p->status);
}

void sim_parent_note(struct sim_parent *p, const struct sim_call *c, const struct err *err) {
    if (c->kind == SIM_CREATE) {
        p->created = !err;
        p->refused = err != NULL;
    } else if (c->kind == SIM_CANCEL) {
        p->cancel_acked = p->cancel_acked || !err;
    } else if (c->kind == SIM_DELETE) {
        p->deleted = p->deleted || !err;
    }
}

const struct store_row *sim_parent_row(struct world *w, const struct sim_parent *p) {
    return w->store->ops->peek(w->store, str_of(p->name));
}

const char *sim_complain(const struct sim_parent *p, const char *fmt, ...) {
    static char complaint[512];
    int at = snprintf(complaint, sizeof(complaint), "%s %zu: ", p->noun, p->index);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(complaint + at, sizeof(complaint) - (size_t)at, fmt, ap);
    va_end(ap);
    return complaint;
}

const char *sim_parent_check(struct world *w, struct sim_parent *p, bool is_terminal) {
    const struct store_row *row = sim_parent_row(w, p);
    if (!row) {
        return p->created && !p->delete_asked ? sim_complain(p, "acknowledged and gone") : NULL;
    }
    if (p->deleted || p->refused) {
        return sim_complain(p, "%s and there all the same", p->deleted ? "deleted" : "refused");
    }
    if (row->is_live == is_terminal) {
        return sim_complain(p, "state and liveness disagree");
    }
    if (row->is_live ? p->status != NULL : p->status && !str_eqc(row->status, p->status)) {
        return sim_complain(p, "a second outcome");
    }
    if (!row->is_live && !p->status) {
        p->status = str_dup(row->status);
    }
    return NULL;
}

struct children {
    struct store_list list;
    bool done;
    const struct store_row *rows;
    size_t nr;
};

static void on_children(struct store_list *l, const struct store_row *rows, size_t nr,
                        struct str next_token, const struct err *err) {
    struct children *c = l->arg;
    CHECK(!err && !next_token.n);
    c->done = true;
    c->rows = rows;
    c->nr = nr;
}

size_t sim_children(struct world *w, struct arena *a, const struct store_row **ret) {
    struct children c = {.list = {.kind = STR("customJob"),
                                  .parent = STR(WORLD_PARENT),
                                  .page_size = 10000,
                                  .arena = a,
                                  .cb = on_children,
                                  .arg = &c}};
    w->store->ops->list(w->store, &c.list);
    while (!c.done && store_mem_step(w->store)) {
    }
    CHECK(c.done);
    *ret = c.rows;
    return c.nr;
}
