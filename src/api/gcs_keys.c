/* HMAC keys (projects.hmacKeys): made, listed, switched off and deleted by clients, and what signed
 * URLs are checked with. A row of key space "hmackey" each, by access id. */
#include "api/gcs_int.h"

#include "base/jw.h"
#include "base/limits.h"
#include "base/rec.h"
#include "base/rng.h"
#include "base/enc.h"

#include <jansson.h>

#define SPACE "hmackey"
#define KEYS_MAX 1000 /* looked at by one list */

/* ---- rows ---- */

static void found(struct store_kv_get *g, struct str value, const struct err *err) {
    struct gcs_hmac_key *k = g->arg;
    struct rec r;
    struct err e;
    if (err || !value.p) {
        err_set(&e, ERR_NOT_FOUND, "Access ID not found in project.");
        k->cb(k, err ? err : &e);
        return;
    }
    if (rec_parse(g->arena, value, &r, &e) < 0) {
        k->cb(k, &e);
        return;
    }
    k->project = rec_get(&r, "project");
    k->email = rec_get(&r, "email");
    k->secret = rec_get(&r, "secret");
    k->state = rec_get(&r, "state");
    k->created = rec_get_u64(&r, "created", 0);
    k->updated = rec_get_u64(&r, "updated", 0);
    k->cb(k, NULL);
}

void gcs_hmac_find(struct api_gcs *g, struct arena *a, struct gcs_hmac_key *k) {
    k->kv = (struct store_kv_get){
        .space = SPACE, .key = k->access_id, .arena = a, .cb = found, .arg = k};
    g->store->ops->kv_get(g->store, &k->kv);
}

static void encode(struct buf *b, const struct gcs_hmac_key *k) {
    rec_begin(b);
    rec_put(b, "project", k->project);
    rec_put(b, "email", k->email);
    rec_put(b, "secret", k->secret);
    rec_put(b, "state", k->state);
    rec_put_u64(b, "created", k->created);
    rec_put_u64(b, "updated", k->updated);
}

/* ---- answers ---- */

static void put_str(struct jw *w, const char *key, struct str v) {
    jw_key(w, key);
    jw_str(w, v);
}

static void put_metadata(struct jw *w, const struct gcs_hmac_key *k) {
    auto_buf struct buf t = BUF_INIT(64), id = BUF_INIT(BUF_NO_MAX);
    jw_object(w);
    jw_kv(w, "kind", "storage#hmacKeyMetadata");
    buf_printf(&id, "%.*s/%.*s", STR_ARG(k->project), STR_ARG(k->access_id));
    put_str(w, "id", buf_str(&id));
    put_str(w, "accessId", k->access_id);
    put_str(w, "projectId", k->project);
    put_str(w, "serviceAccountEmail", k->email);
    put_str(w, "state", k->state);
    time_format_rfc3339(&t, k->created);
    put_str(w, "timeCreated", buf_str(&t));
    buf_clear(&t);
    time_format_rfc3339(&t, k->updated);
    put_str(w, "updated", buf_str(&t));
    buf_clear(&t);
    buf_printf(&t, "%llx", (unsigned long long)k->updated);
    put_str(w, "etag", buf_str(&t));
    jw_end_object(w);
}

struct key_call {
    struct gcs_call *c;
    struct gcs_hmac_key key;
    struct store_txn txn;
    struct store_kv_scan scan;
    struct str body;
    bool is_new, is_delete, is_put;
};

static void reply(struct key_call *q) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    struct jw w;
    jw_init(&w, &b, 0);
    if (q->is_new) {
        jw_object(&w);
        jw_kv(&w, "kind", "storage#hmacKey");
        jw_key(&w, "metadata");
    }
    put_metadata(&w, &q->key);
    if (q->is_new) {
        put_str(&w, "secret", q->key.secret);
        jw_end_object(&w);
    }
    gcs_reply_json(q->c->x, 200, &b);
    gcs_call_free(q->c);
}

static void saved(struct store_txn *t, const struct err *err) {
    struct key_call *q = t->arg;
    struct err e = err ? *err : (struct err){0};
    store_txn_fini(t);
    if (e.code) {
        gcs_fail(q->c, &e);
    } else if (q->is_delete) {
        gcs_reply_empty(q->c->x, 204);
        gcs_call_free(q->c);
    } else {
        reply(q);
    }
}

static void save(struct key_call *q) {
    struct store *st = q->c->g->store;
    auto_buf struct buf row = BUF_INIT(BUF_NO_MAX);
    encode(&row, &q->key);
    store_txn_init(&q->txn, saved, q);
    store_txn_kv(&q->txn, SPACE, q->key.access_id, q->is_delete ? (struct str){0} : buf_str(&row));
    st->ops->commit(st, &q->txn);
}

static void create(struct key_call *q) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    struct gcs_call *c = q->c;
    uint8_t random[64];
    auto_buf struct buf id = BUF_INIT(128), secret = BUF_INIT(128);
    struct err err;
    if (!c->q.account.n || c->q.account.n > 320) {
        err_field(&err, ERR_INVALID_ARGUMENT, "serviceAccountEmail",
                  "Required parameter: serviceAccountEmail");
        gcs_fail(c, &err);
        return;
    }
    rng_secret(random, sizeof(random));
    buf_puts(&id, "GOOG1E");
    for (int i = 0; i < 34; i++) {
        buf_putc(&id, letters[random[i] % 32]);
    }
    rng_secret(random, sizeof(random));
    enc_base64(&secret, random, 30);
    q->is_new = true;
    q->key.access_id = arena_str(c->a, buf_str(&id));
    q->key.secret = arena_str(c->a, buf_str(&secret));
    q->key.email = c->q.account;
    q->key.state = STR("ACTIVE");
    q->key.created = q->key.updated = time_wall();
    save(q);
}

static void put_body(struct xch *x, void *arg, struct str body, const struct err *why) {
    struct key_call *q = arg;
    json_t *j;
    struct err err;
    if (why) {
        gcs_fail(q->c, why);
        return;
    }
    if (gcs_load_json(body, &j, &err) < 0) {
        gcs_fail(q->c, &err);
        return;
    }
    const char *state = json_string_value(json_object_get(j, "state"));
    bool ok = state && (strcmp(state, "ACTIVE") == 0 || strcmp(state, "INACTIVE") == 0);
    q->key.state = ok && state[0] == 'A' ? STR("ACTIVE") : STR("INACTIVE");
    json_decref(j);
    if (!ok) {
        err_field(&err, ERR_INVALID_ARGUMENT, "state",
                  "Invalid value for state: ACTIVE or INACTIVE is expected");
        gcs_fail(q->c, &err);
        return;
    }
    q->key.updated = time_wall();
    save(q);
}

static void one_found(struct gcs_hmac_key *k, const struct err *err) {
    struct key_call *q = k->arg;
    struct err e;
    if (err) {
        gcs_fail(q->c, err);
    } else if (q->is_put) {
        xch_collect_plain(q->c->x, limits.max_object_metadata, put_body, q);
    } else if (!q->is_delete) {
        reply(q);
    } else if (str_eqc(k->state, "ACTIVE")) {
        err_field(&e, ERR_INVALID_ARGUMENT, "state", "Cannot delete keys in 'ACTIVE' state.");
        gcs_fail(q->c, &e);
    } else {
        save(q);
    }
}

static void listed(struct store_kv_scan *s, const struct store_kv_pair *p, size_t n,
                   const struct err *err) {
    struct key_call *q = s->arg;
    struct gcs_call *c = q->c;
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    struct jw w;
    if (err) {
        gcs_fail(c, err);
        return;
    }
    jw_init(&w, &b, 0);
    jw_object(&w);
    jw_kv(&w, "kind", "storage#hmacKeysMetadata");
    jw_key(&w, "items");
    jw_array(&w);
    for (size_t i = 0; i < n; i++) {
        struct rec r;
        if (rec_parse(c->a, p[i].value, &r, NULL) < 0 ||
            !str_eq(rec_get(&r, "project"), q->key.project) ||
            (c->q.account.n && !str_eq(rec_get(&r, "email"), c->q.account))) {
            continue;
        }
        struct gcs_hmac_key k = {.access_id = p[i].key,
                                 .project = q->key.project,
                                 .email = rec_get(&r, "email"),
                                 .state = rec_get(&r, "state"),
                                 .created = rec_get_u64(&r, "created", 0),
                                 .updated = rec_get_u64(&r, "updated", 0)};
        put_metadata(&w, &k);
    }
    jw_end_array(&w);
    jw_end_object(&w);
    gcs_reply_json(c->x, 200, &b);
    gcs_call_free(c);
}

void gcs_hmac_keys(struct gcs_call *c, struct str method, struct str project, struct str id) {
    struct key_call *q = arena_own(c->a, sizeof(*q));
    q->c = c;
    q->key.project = project;
    q->is_delete = str_eqc(method, "DELETE");
    q->is_put = str_eqc(method, "PUT");
    if (id.n && (q->is_delete || q->is_put || str_eqc(method, "GET"))) {
        q->key.access_id = id;
        q->key.cb = one_found;
        q->key.arg = q;
        gcs_hmac_find(c->g, c->a, &q->key);
    } else if (!id.n && str_eqc(method, "POST")) {
        create(q);
    } else if (!id.n && str_eqc(method, "GET")) {
        q->scan = (struct store_kv_scan){
            .space = SPACE, .max = KEYS_MAX, .arena = c->a, .cb = listed, .arg = q};
        c->g->store->ops->kv_scan(c->g->store, &q->scan);
    } else {
        gcs_not_built(c);
    }
}
