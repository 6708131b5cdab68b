/* Names of objects, and lists of them. */
#include "cli/gsuri.h"

#include "base/enc.h"

int uri_parse(const char *text, struct uri *ret, struct err *err) {
    struct str rest = str_of(text);
    if (!str_starts(rest, STR("gs://")) || rest.n == 5) {
        return err_set(err, ERR_INVALID_ARGUMENT, "\"%s\" is not gs://BUCKET/NAME", text);
    }
    rest = str_sub(rest, 5, rest.n);
    struct str bucket = str_cut(&rest, '/');
    *ret = (struct uri){http_escape(bucket), http_escape(rest), str_dup(rest)};
    return 0;
}

void uri_fini(struct uri *u) {
    free(u->bucket);
    free(u->name);
    free(u->raw_name);
}

bool uri_is_gs(const char *s) {
    return strncmp(s, "gs://", 5) == 0;
}

const char *path_base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *uri_target(const char *dst, const char *name) {
    bool slash = dst[strlen(dst) - 1] == '/', bucket = uri_is_gs(dst) && !strchr(dst + 5, '/');
    return slash || bucket ? xasprintf("%s%s%s", dst, slash ? "" : "/", name) : xstrdup(dst);
}

void object_facts_of(const json_t *obj, struct object_facts *ret) {
    const char *crc = json_string_value(json_object_get(obj, "crc32c"));
    const char *updated = json_string_value(json_object_get(obj, "updated"));
    auto_buf struct buf b = BUF_INIT(16);
    *ret = (struct object_facts){0};
    (void)str_to_u64(str_of(json_string_value(json_object_get(obj, "size"))), &ret->size);
    (void)str_to_u64(str_of(json_string_value(json_object_get(obj, "generation"))),
                     &ret->generation);
    (void)time_parse_rfc3339(str_of(updated), &ret->updated, NULL);
    if (crc && enc_unbase64(str_of(crc), &b) && b.n == 4) {
        const unsigned char *p = (const unsigned char *)b.p;
        ret->has_crc = true;
        ret->crc = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    }
}

int object_look(const struct cli *c, const struct uri *u, struct object_facts *ret,
                struct err *err) {
    auto_free char *path = xasprintf("/storage/v1/b/%s/o/%s", u->bucket, u->name);
    json_t *j;
    if (http_json(c, "GET", path, NULL, &j, err)) {
        return -1;
    }
    object_facts_of(j, ret);
    json_decref(j);
    return 0;
}

int objects_each(const struct cli *c, const struct uri *u, bool recursive,
                 int (*fn)(void *arg, const char *name, json_t *obj, struct err *err), void *arg,
                 struct err *err) {
    auto_free char *token = xstrdup("");
    do {
        json_t *j, *o;
        size_t i;
        int rc = 0;
        auto_free char *path =
            xasprintf("/storage/v1/b/%s/o?prefix=%s%s%s%s", u->bucket, u->name,
                      recursive ? "" : "&delimiter=%2F", *token ? "&pageToken=" : "", token);
        if (http_json(c, "GET", path, NULL, &j, err)) {
            return -1;
        }
        json_array_foreach(json_object_get(j, "prefixes"), i, o) {
            rc = rc ? rc : fn(arg, json_string_value(o), NULL, err);
        }
        json_array_foreach(json_object_get(j, "items"), i, o) {
            rc = rc ? rc : fn(arg, json_string_value(json_object_get(o, "name")), o, err);
        }
        const char *next = json_string_value(json_object_get(j, "nextPageToken"));
        free(token);
        token = http_escape(str_of(next ? next : ""));
        json_decref(j);
        if (rc) {
            return rc;
        }
    } while (*token);
    return 0;
}

bool name_is_below(const char *name, const char *folder) {
    size_t n = strlen(folder);
    return !n || strcmp(name, folder) == 0 ||
           (strncmp(name, folder, n) == 0 && (folder[n - 1] == '/' || name[n] == '/'));
}

bool name_is_inside(const char *relative) {
    struct str rest = str_of(relative);
    while (rest.p) {
        struct str part = str_cut(&rest, '/');
        if (!part.n || str_eqc(part, ".") || str_eqc(part, "..")) {
            return false;
        }
    }
    return true;
}
