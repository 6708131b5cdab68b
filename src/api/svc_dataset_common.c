/* See svc_dataset.h. */
#include "api/svc_dataset.h"

#include "api/cusp_path.h"
#include "api/errand.h"
#include "base/limits.h"

/* ---- names ---- */

static int bad_name(const char *name, const char *field, const char *below, const char *sub,
                    struct err *err) {
    return err_field(err, ERR_INVALID_ARGUMENT, field,
                     "Invalid resource name \"%.200s\": expected "
                     "projects/PROJECT/locations/LOCATION/datasets/ID%s%s%s%s%s%s",
                     name, below ? "/" : "", below ? below : "", below ? "/ID" : "", sub ? "/" : "",
                     sub ? sub : "", sub ? "/ID" : "");
}

/* Takes "COLLECTION/ID" off the front. */
static bool take_step(struct str *rest, const char *collection, struct str *ret_id) {
    struct str in = str_cut(rest, '/');
    *ret_id = str_cut(rest, '/');
    return str_eqc(in, collection) && ret_id->n > 0;
}

int dataset_name_parse(struct call *c, const char *name, const char *field, const char *below,
                       const char *sub, struct dataset_name *ret, struct err *err) {
    struct dataset_name n = {.id = {0}};
    if (name_parse(c->api->projects, c->arena, str_of(name), field, &n.parts, err)) {
        return -1;
    }
    struct str rest = n.parts.rest;
    if (!take_step(&rest, "datasets", &n.dataset_id) ||
        (below && !take_step(&rest, below, &n.id)) || (sub && !take_step(&rest, sub, &n.sub_id)) ||
        rest.n || str_eqc(n.parts.location, "-")) {
        return bad_name(name, field, below, sub, err);
    }
    n.dataset = str_of(arena_printf(c->arena, "%.*s/datasets/%.*s", STR_ARG(n.parts.parent),
                                    STR_ARG(n.dataset_id)));
    *ret = n;
    return 0;
}

void dataset_fail_missing(struct call *c, const char *what, struct str name) {
    struct err err;
    err_set(&err, ERR_NOT_FOUND, "The %s \"%.*s\" does not exist.", what,
            (int)(name.n > 300 ? 300 : name.n), name.p);
    call_fail(c, &err);
}

/* ---- one row ---- */

static void on_fetched(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct dataset_fetch *f = g->arg;
    if (err && err->code != ERR_NOT_FOUND) {
        call_fail(f->call, err);
    } else if (!row) {
        dataset_fail_missing(f->call, f->what, f->name);
    } else {
        f->then(f, row);
    }
}

void dataset_fetch(struct dataset_fetch *f) {
    struct store *st = f->call->api->store;
    const struct store_row *row = st->ops->peek(st, f->name);
    if (row) {
        f->then(f, row);
        return;
    }
    f->get =
        (struct store_get){.name = f->name, .arena = f->call->arena, .cb = on_fetched, .arg = f};
    st->ops->get(st, &f->get);
}

/* ---- changes ---- */

void dataset_change_end(struct dataset_change *ch) {
    store_txn_fini(&ch->txn);
    dataset_turn_release(ch->call->api->datasets, &ch->turn);
}

static void on_committed(struct store_txn *t, const struct err *err) {
    struct dataset_change *ch = t->arg;
    struct err copy;
    if (err) {
        copy = *err;
    }
    if (ch->op) {
        (err ? operation_drop : operation_committed)(ch->op);
    }
    dataset_change_end(ch);
    if (!err) {
        ch->done(ch);
        return;
    }
    if (ch->refused) {
        ch->refused(ch);
    }
    call_fail(ch->call, &copy);
}

void dataset_change_commit(struct dataset_change *ch) {
    ch->call->api->store->ops->commit(ch->call->api->store, &ch->txn);
}

static void on_change_row(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct dataset_change *ch = g->arg;
    store_txn_init(&ch->txn, on_committed, ch);
    if (err && err->code != ERR_NOT_FOUND) {
        dataset_change_end(ch);
        call_fail(ch->call, err);
    } else if (!row) {
        dataset_change_end(ch);
        dataset_fail_missing(ch->call, ch->what, ch->name);
    } else {
        ch->then(ch, row);
    }
}

static void on_turn(struct dataset_turn *t) {
    struct dataset_change *ch = CONTAINER_OF(t, struct dataset_change, turn);
    struct store *st = ch->call->api->store;
    ch->get = (struct store_get){
        .name = ch->name, .arena = ch->call->arena, .cb = on_change_row, .arg = ch};
    st->ops->get(st, &ch->get);
}

void dataset_change(struct dataset_change *ch) {
    ch->turn.fn = on_turn;
    dataset_turn_take(ch->call->api->datasets, &ch->turn, ch->dataset);
}

usec_t dataset_change_time(struct call *c, const struct store_row *row) {
    usec_t now = c->api->clock->ops->wall(c->api->clock);
    return now > row->update_time ? now : row->update_time + 1;
}

/* ---- lists ---- */

unsigned dataset_page_size(struct call *c, int32_t size, unsigned otherwise, unsigned most) {
    struct err err;
    unsigned n = 0;
    if (listing_page_size(size, otherwise, most, &n, &err)) {
        call_fail(c, &err);
    }
    return n;
}

/* ---- operations, masks ---- */

Google__Longrunning__Operation *dataset_done_op(struct call *c, struct store_txn *t,
                                                struct str parent, struct str resource,
                                                bool is_nested, const ProtobufCMessage *metadata,
                                                const ProtobufCMessage *response) {
    return operation_insert_done(c->api->operations, t, c->arena,
                                 &(struct operation_about){.parent = parent,
                                                           .resource = resource,
                                                           .is_nested = is_nested,
                                                           .is_beta = c->rpc->is_beta,
                                                           .metadata = metadata},
                                 response);
}

/* Of one spelling: "displayName" and "display_name" are the same. */
static bool same_path(struct str a, const char *b) {
    size_t k = 0;
    for (size_t i = 0; i < a.n; i++, k++) {
        char x = a.p[i];
        if (x >= 'A' && x <= 'Z') {
            if (b[k] != '_') {
                return false;
            }
            k++;
            x = (char)(x - 'A' + 'a');
        }
        if (b[k] != x) {
            return false;
        }
    }
    return b[k] == 0;
}

char **dataset_mask_paths(struct call *c, const Google__Protobuf__FieldMask *m,
                          const char *const *allowed, size_t nr, size_t *ret_nr,
                          struct violations *vs) {
    size_t n_paths = m ? m->n_paths : 0, n = 0;
    char **paths = arena_own_array(c->arena, n_paths + nr + 1, sizeof(*paths));
    auto_buf struct buf list = BUF_INIT(1024);
    for (size_t i = 0; i < nr; i++) {
        buf_printf(&list, "%s%s", i ? ", " : "", allowed[i]);
    }
    if (!n_paths) {
        violations_add(vs, "update_mask", "Required field is not set: one or more of %s.",
                       buf_cstr(&list));
    }
    for (size_t i = 0; i < n_paths; i++) {
        struct str path = str_of(m->paths[i]);
        bool is_known = str_eqc(path, "*") || str_eqc(path, "etag");
        for (size_t k = 0; k < nr; k++) {
            if (str_eqc(path, "*") || same_path(path, allowed[k])) {
                paths[n++] = (char *)allowed[k];
                is_known = true;
            }
        }
        if (!is_known) {
            violations_add(vs, "update_mask", "\"%.100s\" cannot be changed; %s can.", path.p,
                           buf_cstr(&list));
        }
    }
    *ret_nr = n;
    return paths;
}

bool dataset_errands_reply(struct api *api, struct xch *x, const char *word,
                           const struct errand_type *type,
                           void (*put)(struct jw *w, const struct errand *e)) {
    auto_buf struct buf b = BUF_INIT(1 << 20);
    const struct errand *e = NULL;
    struct name_parts n;
    struct str name;
    struct err err;
    struct jw w;
    char suffix[32];
    snprintf(suffix, sizeof(suffix), ":%s", word);
    if (!cusp_path_match(x, suffix, &name)) {
        return false;
    }
    if (name_parse_in(api->projects, xch_arena(x), name, "datasets", "name", &n, &err)) {
        reply_error(x, &err);
        return true;
    }
    jw_init(&w, &b, 2);
    jw_object(&w);
    jw_key(&w, word);
    jw_array(&w);
    while ((e = errands_next(api->errands, type, e))) {
        if (e->is_running && str_eq(rec_get(&e->facts, "dataset"), n.canonical)) {
            put(&w, e);
        }
    }
    jw_end_array(&w);
    jw_end_object(&w);
    reply_json(x, 200, buf_str(&b));
    return true;
}
