/* From the name in a job to an image: references, the registry's shelf, copies of other registries,
 * aliases; unpacked when it is not yet. */
#include "engine/image/registry_int.h"
#include "engine/image/remote.h"

bool store_lookup(struct image_store *s, struct arena *a, struct str uri, struct image_ref *ret) {
    char hex[SHA256_HEX_LEN + 1];
    struct str name = uri;
    bool by_digest = false;
    const char *at = uri.n > 0 ? memrchr(uri.p, '@', uri.n) : NULL;
    if (at != NULL) {
        size_t i = (size_t)(at - uri.p);
        by_digest = digest_parse(str_sub(uri, i + 1, uri.n), hex);
        name = str_sub(uri, 0, i);
    } else {
        by_digest = digest_parse(uri, hex);
    }
    const char *canonical = image_name_canonical(a, name);
    for (size_t i = 0; i < s->refs.n; i++) {
        struct image_ref *r = &s->refs.p[i];
        if (by_digest ? strcmp(r->hex, hex) == 0 : strcmp(r->name, canonical) == 0) {
            *ret = *r;
            ret->name = arena_strdup(a, r->name);
            return true;
        }
    }
    return false;
}

static bool lookup_alias(struct image_store *s, struct arena *a, struct str uri,
                         struct image_ref *ret, const char **ret_missing, const char **ret_recipe) {
    for (size_t i = s->aliases.n; i-- > 0;) {
        const struct image_alias *alias = &s->aliases.p[i];
        if (alias_matches(str_of(alias->pattern), uri)) {
            if (store_lookup(s, a, str_of(alias->local), ret)) {
                return true;
            }
            *ret_missing = arena_strdup(a, alias->local);
            return false; /* the configured answer, even if the built-in table had another */
        }
    }
    const char *local;
    for (size_t i = 0; (local = alias_builtin(a, uri, i, ret_recipe)) != NULL; i++) {
        *ret_missing = local;
        if (store_lookup(s, a, str_of(local), ret)) {
            return true;
        }
    }
    return false;
}

/* Where a name leads. hex: of an image, which a pushed one may have yet to become. */
static bool find(struct image_store *s, struct arena *a, const char *uri, struct image_ref *ret,
                 bool *ret_is_ours, const char **ret_missing, const char **ret_recipe,
                 struct err *why) {
    struct str u = str_of(uri);
    bool ignored;
    if (registry_find(s, a, u, true, ret->hex, ret_is_ours, why)) {
        ret->name = arena_strdup(a, uri);
        return true;
    }
    if (store_lookup(s, a, u, ret)) {
        return true;
    }
    ret->name = arena_strdup(a, uri);
    if (!*ret_is_ours && registry_find_foreign(s, a, u, ret->hex, NULL, why)) {
        return true;
    }
    return lookup_alias(s, a, u, ret, ret_missing, ret_recipe) ||
           (ret->name = arena_strdup(a, uri),
            registry_find(s, a, u, false, ret->hex, &ignored, why));
}

/* As what an image would be pushed here to be found by this name: all of a name without a
 * registry's host, what follows the host of one of Google's; else nothing. */
static struct str pushed_path(const char *uri) {
    struct str path = str_of(uri), host = str_cut(&path, '/');
    bool has_host = path.p && (str_chr(host, '.') >= 0 || str_chr(host, ':') >= 0 ||
                               str_eqc(host, "localhost"));
    struct registry_name n;
    path = !has_host ? str_of(uri) : remote_is_google(host) ? path : STR("");
    return path.n && registry_parse_name(path, &n) && !n.host.p && !n.hex[0] ? path : STR("");
}

static int not_here(struct image_store *s, const char *uri, bool is_ours, const char *missing,
                    const char *recipe, const struct err *why, struct err *err) {
    if (why->code != ERR_OK) {
        return err_set(err, why->code, "%s", why->msg);
    }
    if (is_ours) {
        return err_set(err, ERR_NOT_FOUND,
                       "image \"%.300s\" has not been pushed to this server; push it with: "
                       "docker push %.300s",
                       uri, uri);
    }
    if (recipe != NULL) {
        return err_set(
            err, ERR_NOT_FOUND,
            "image \"%.300s\" is not on this machine; build it with: cusp images build %s", uri,
            recipe);
    }
    unsigned own_port = registry_other_port(s, str_of(uri));
    struct str path = pushed_path(uri);
    char push[400] = "";
    if (own_port != 0) { /* the server had another port when this was written, or it is a slip */
        snprintf(push, sizeof(push),
                 " (its name leads to another port here: what was pushed to this server is called "
                 "localhost:%u/...)",
                 own_port);
    } else if (path.n && s->own_port != 0) {
        snprintf(push, sizeof(push), ", or push it: docker push localhost:%u/%.*s", s->own_port,
                 STR_ARG(str_sub(path, 0, 300)));
    }
    return err_set(err, ERR_NOT_FOUND,
                   "image \"%.300s\" is not on this machine; import it with: "
                   "cusp images import FILE --name=%.300s%s",
                   uri, missing != NULL ? missing : uri, push);
}

int store_unpack(struct image_store *s, const char *hex, struct unpack_progress *progress,
                 struct err *err) {
    int rc = 0;
    (void)pthread_mutex_lock(&s->unpack_lock);
    if (!store_has_record(s, hex)) {
        store_import_begin(s);
        rc = import_stored(s, hex, progress, err);
        store_import_end(s);
    }
    (void)pthread_mutex_unlock(&s->unpack_lock);
    return rc;
}

static int resolve(struct image_store *s, struct arena *a, const char *uri, bool may_unpack,
                   struct unpack_progress *progress, struct image *ret, struct err *err) {
    struct image_ref ref = {0};
    const char *missing = NULL, *recipe = NULL;
    struct err why = {0};
    bool is_ours = false;
    int rc = 0;
    (void)pthread_mutex_lock(&s->lock);
    bool found = find(s, a, uri, &ref, &is_ours, &missing, &recipe, &why);
    bool here = found && store_has_record(s, ref.hex);
    if (here) {
        rc = store_load(s, a, ref.hex, ref.name, ret, err);
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (here) {
        return rc;
    }
    if (!found) {
        return not_here(s, uri, is_ours, missing, recipe, &why, err);
    }
    if (!may_unpack) {
        return err_set(err, ERR_FAILED_PRECONDITION, "image \"%.300s\" is not unpacked yet", uri);
    }
    if (store_unpack(s, ref.hex, progress, err) < 0) {
        return err_wrap(err, "image \"%.300s\"", uri);
    }
    (void)pthread_mutex_lock(&s->lock);
    rc = store_load(s, a, ref.hex, ref.name, ret, err);
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

int image_resolve(struct image_store *s, struct arena *a, const char *uri, struct image *ret,
                  struct err *err) {
    return resolve(s, a, uri, true, NULL, ret, err);
}

int store_resolve(struct image_store *s, struct arena *a, const char *uri,
                  struct unpack_progress *progress, struct image *ret, struct err *err) {
    return resolve(s, a, uri, true, progress, ret, err);
}

int image_find(struct image_store *s, struct arena *a, const char *uri, struct image *ret,
               struct err *err) {
    return resolve(s, a, uri, false, NULL, ret, err);
}

enum store_source store_source(struct image_store *s, const char *uri) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    const char *missing = NULL, *recipe = NULL;
    char hex[SHA256_HEX_LEN + 1];
    struct image_ref ref = {0};
    struct err why = {0};
    struct str repo;
    bool is_ours = false;
    (void)pthread_mutex_lock(&s->lock);
    bool found = find(s, a, uri, &ref, &is_ours, &missing, &recipe, &why);
    bool copy = found && !is_ours && !store_lookup(s, a, str_of(uri), &ref) &&
                registry_find_foreign(s, a, str_of(uri), hex, &repo, NULL) &&
                registry_is_pulled(s, repo);
    (void)pthread_mutex_unlock(&s->lock);
    return copy ? STORE_COPY : found || is_ours || why.code != ERR_OK ? STORE_OWN : STORE_NONE;
}
