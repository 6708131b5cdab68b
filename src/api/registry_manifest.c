/* Manifests, and what can be asked about them: tags, repositories, referrers. */
#include "api/registry_int.h"
#include "base/jw.h"
#include "base/limits.h"
#include "base/log.h"

#define LIST_MAX ((size_t)64 << 20)

/* ---- what was pushed becomes layers, beside the answers */

struct unpack {
    struct lane_work work;
    struct image_store *store;
    char *repo;
    char hex[REGISTRY_HEX + 1];
    struct err err;
};

static void unpack_run(struct lane_work *w) {
    struct unpack *u = CONTAINER_OF(w, struct unpack, work);
    if (registry_unpack(u->store, str_of(u->repo), u->hex, &u->err) < 0) {
        return;
    }
}

/* Not an error of the push: the job that names the image hears it. */
static void unpack_done(struct lane_work *w) {
    struct unpack *u = CONTAINER_OF(w, struct unpack, work);
    if (u->err.code != ERR_OK) {
        log_warn("pushed image not unpacked", "repository=%s digest=sha256:%.12s error=\"%s\"",
                 u->repo, u->hex, u->err.msg);
    } else if (!w->cancelled) {
        log_info("pushed image unpacked", "repository=%s digest=sha256:%.12s", u->repo, u->hex);
    }
    free(u->repo);
    free(u);
}

static void unpack_soon(struct reg_call *c) {
    struct unpack *u = xcalloc(1, sizeof(*u));
    u->store = c->g->store;
    u->repo = str_dup(c->repo);
    memcpy(u->hex, c->m.hex, sizeof(u->hex));
    u->work = (struct lane_work){.run = unpack_run, .done = unpack_done};
    lane_submit(c->g->unpack, &u->work);
}

/* ---- PUT */

static void block_put(struct reg_call *c) {
    if (registry_manifest_put(c->g->store, c->a, c->repo, c->reference, c->media_type, c->body,
                              &c->m, &c->err) < 0) {
        return; /* c->err says it */
    }
}

static void done_put(struct reg_call *c) {
    if (c->err.code != ERR_OK) {
        reg_fail(c);
        return;
    }
    if (c->m.is_image) {
        unpack_soon(c);
    }
    reg_header(c, "location", "/v2/%.*s/manifests/sha256:%s", STR_ARG(c->repo), c->m.hex);
    reg_header(c, "docker-content-digest", "sha256:%s", c->m.hex);
    if (c->m.subject[0] != '\0') {
        reg_header(c, "oci-subject", "sha256:%s", c->m.subject);
    }
    reg_reply(c, 201, STR(""));
}

static void on_body(struct xch *x, void *arg, struct str body, const struct err *err) {
    struct reg_call *c = arg;
    if (err != NULL) {
        c->err = *err;
        if (err->code == ERR_RESOURCE_EXHAUSTED) {
            limits_hit(&limits.image_max_manifest);
            (void)err_field(&c->err, ERR_RESOURCE_EXHAUSTED, "MANIFEST_INVALID",
                            "the manifest has more than %llu bytes (limit image_max_manifest)",
                            (unsigned long long)limits.image_max_manifest);
        }
        reg_fail(c);
        return;
    }
    c->body = body; /* lives as long as the exchange, which we hold */
    reg_submit(c, block_put, done_put);
}

/* ---- GET, HEAD, DELETE */

static void block_get(struct reg_call *c) {
    if (registry_manifest_get(c->g->store, c->a, c->repo, c->reference, !c->is_head, &c->m,
                              &c->err) < 0) {
        return;
    }
}

static void done_get(struct reg_call *c) {
    if (c->err.code != ERR_OK) {
        reg_fail(c);
        return;
    }
    reg_header(c, "content-type", "%s", c->m.media_type);
    reg_header(c, "docker-content-digest", "sha256:%s", c->m.hex);
    reg_header(c, "etag", "\"sha256:%s\"", c->m.hex);
    if (c->is_head) {
        xch_start(c->x, 200, c->h, c->nr_h, (int64_t)c->m.size);
        xch_end(c->x);
        reg_free(c);
    } else {
        reg_reply(c, 200, c->m.bytes);
    }
}

static void block_delete(struct reg_call *c) {
    if (registry_manifest_delete(c->g->store, c->repo, c->reference, &c->err) < 0) {
        return;
    }
}

static void done_delete(struct reg_call *c) {
    if (c->err.code != ERR_OK) {
        reg_fail(c);
    } else {
        reg_reply(c, 202, STR(""));
    }
}

void reg_manifest(struct reg_call *c) {
    if (str_eqc(c->method, "PUT")) {
        c->media_type = arena_str(c->a, xch_header(c->x, "content-type"));
        xch_collect_body(c->x, limits.image_max_manifest, on_body, c);
    } else if (str_eqc(c->method, "GET") || c->is_head) {
        reg_submit(c, block_get, done_get);
    } else if (str_eqc(c->method, "DELETE")) {
        reg_submit(c, block_delete, done_delete);
    } else {
        reg_no_method(c, "GET, HEAD, PUT, DELETE");
    }
}

/* ---- lists */

static bool take_page(struct reg_call *c) {
    struct str n;
    if (!reg_query(c, "n", &n) || !reg_query(c, "last", &c->last_name)) {
        return false;
    }
    c->has_n = n.p != NULL;
    c->n = limits.max_page_size;
    if (c->has_n && !str_to_u64(n, &c->n)) {
        (void)err_field(&c->err, ERR_INVALID_ARGUMENT, "PAGINATION_NUMBER_INVALID",
                        "n=%.*s is not a number", STR_ARG(str_sub(n, 0, 32)));
        return false;
    }
    c->n = c->n < limits.max_page_size ? c->n : limits.max_page_size;
    return true;
}

static void reply_names(struct reg_call *c, const char *key, const char *path) {
    auto_buf struct buf b = BUF_INIT(LIST_MAX);
    struct jw w;
    if (c->err.code != ERR_OK) {
        reg_fail(c);
        return;
    }
    jw_init(&w, &b, 0);
    jw_object(&w);
    if (c->repo.p != NULL) {
        jw_key(&w, "name");
        jw_str(&w, c->repo);
    }
    jw_key(&w, key);
    jw_array(&w);
    for (size_t i = 0; i < c->page.n; i++) {
        jw_cstr(&w, c->page.names[i]);
    }
    jw_end_array(&w);
    jw_end_object(&w);
    if (c->page.has_more && c->page.n > 0) { /* n=0 asks for nothing, not for a loop */
        reg_header(c, "link", "<%s?n=%llu&last=%s>; rel=\"next\"", path, (unsigned long long)c->n,
                   c->page.names[c->page.n - 1]);
    }
    reg_header(c, "content-type", "application/json");
    reg_reply(c, 200, buf_str(&b));
}

static void block_tags(struct reg_call *c) {
    if (registry_tags(c->g->store, c->a, c->repo, c->last_name, c->n, &c->page, &c->err) < 0) {
        return;
    }
}

static void done_tags(struct reg_call *c) {
    reply_names(c, "tags", arena_printf(c->a, "/v2/%.*s/tags/list", STR_ARG(c->repo)));
}

void reg_tags(struct reg_call *c) {
    if (!str_eqc(c->method, "GET") && !c->is_head) {
        reg_no_method(c, "GET, HEAD");
    } else if (!take_page(c)) {
        reg_fail(c);
    } else {
        reg_submit(c, block_tags, done_tags);
    }
}

static void block_catalog(struct reg_call *c) {
    if (registry_catalog(c->g->store, c->a, c->last_name, c->n, &c->page, &c->err) < 0) {
        return;
    }
}

static void done_catalog(struct reg_call *c) {
    reply_names(c, "repositories", "/v2/_catalog");
}

void reg_catalog(struct reg_call *c) {
    if (!str_eqc(c->method, "GET") && !c->is_head) {
        reg_no_method(c, "GET, HEAD");
    } else if (!take_page(c)) {
        reg_fail(c);
    } else {
        reg_submit(c, block_catalog, done_catalog);
    }
}

/* ---- referrers */

static void block_referrers(struct reg_call *c) {
    if (registry_referrers(c->g->store, c->a, c->repo, c->hex, c->from, &c->json, &c->err) < 0) {
        return;
    }
}

static void done_referrers(struct reg_call *c) {
    if (c->err.code != ERR_OK) {
        reg_fail(c);
        return;
    }
    if (c->from.p != NULL) {
        reg_header(c, "oci-filters-applied", "artifactType");
    }
    reg_header(c, "content-type", "application/vnd.oci.image.index.v1+json");
    reg_reply(c, 200, c->json);
}

void reg_referrers(struct reg_call *c) {
    if (!str_eqc(c->method, "GET") && !c->is_head) {
        reg_no_method(c, "GET, HEAD");
    } else if (registry_check_digest(c->reference, c->hex, &c->err) < 0 ||
               !reg_query(c, "artifactType", &c->from)) {
        reg_fail(c);
    } else {
        reg_submit(c, block_referrers, done_referrers);
    }
}
