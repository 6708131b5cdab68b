/* Names of repositories, tags and digests: what the distribution specification allows, and how a
 * name in a job's imageUri is taken apart. Pure. */
#include "engine/image/registry_int.h"

#define REPO_MAX 255 /* also the longest file name: a repository is one directory */
#define TAG_MAX 128

static bool is_alnum(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)* */
static bool component_is_good(struct str c) {
    size_t i = 0;
    if (c.n == 0 || !is_alnum(c.p[0]) || !is_alnum(c.p[c.n - 1])) {
        return false;
    }
    while (i < c.n) {
        if (is_alnum(c.p[i])) {
            i++;
            continue;
        }
        char sep = c.p[i];
        size_t run = 0;
        while (i < c.n && c.p[i] == sep) {
            i++;
            run++;
        }
        bool good = sep == '-' || (sep == '.' && run == 1) || (sep == '_' && run <= 2);
        if (!good || i >= c.n || !is_alnum(c.p[i])) {
            return false;
        }
    }
    return true;
}

int registry_check_repo(struct str repo, struct err *err) {
    struct str rest = repo;
    bool good = repo.n > 0 && repo.n <= REPO_MAX;
    while (good && rest.p != NULL) {
        good = component_is_good(str_cut(&rest, '/'));
    }
    if (!good) {
        return err_field(err, ERR_INVALID_ARGUMENT, "NAME_INVALID",
                         "repository name \"%.*s\" is not made of lower-case components like "
                         "project/repo/image of at most %d bytes together",
                         (int)(repo.n > REPO_MAX ? REPO_MAX : repo.n), repo.p ? repo.p : "",
                         REPO_MAX);
    }
    return 0;
}

static bool tag_is_good(struct str tag) {
    for (size_t i = 0; i < tag.n; i++) {
        char c = tag.p[i];
        bool word = is_alnum(c) || (c >= 'A' && c <= 'Z') || c == '_';
        if (!word && (i == 0 || (c != '.' && c != '-'))) {
            return false;
        }
    }
    return tag.n > 0 && tag.n <= TAG_MAX;
}

int registry_check_tag(struct str tag, struct err *err) {
    if (!tag_is_good(tag)) {
        return err_field(err, ERR_INVALID_ARGUMENT, "TAG_INVALID",
                         "tag \"%.*s\" is not 1 to %d letters, digits, '_', '.' and '-', the first "
                         "a letter, digit or '_'",
                         (int)(tag.n > TAG_MAX ? TAG_MAX : tag.n), tag.p ? tag.p : "", TAG_MAX);
    }
    return 0;
}

int registry_check_digest(struct str digest, char ret_hex[REGISTRY_HEX + 1], struct err *err) {
    if (!digest_parse(digest, ret_hex)) {
        return err_field(err, ERR_INVALID_ARGUMENT, "DIGEST_INVALID",
                         "digest \"%.*s\" is not sha256: and 64 lower-case hexadecimal digits",
                         (int)(digest.n > 200 ? 200 : digest.n), digest.p ? digest.p : "");
    }
    return 0;
}

bool registry_parse_name(struct str name, struct registry_name *ret) {
    struct registry_name r = {.tag = STR("latest")};
    const char *at = name.n > 0 ? memrchr(name.p, '@', name.n) : NULL;
    bool by_digest = at != NULL;
    if (by_digest) {
        size_t i = (size_t)(at - name.p);
        if (!digest_parse(str_sub(name, i + 1, name.n), r.hex)) {
            return false;
        }
        name = str_sub(name, 0, i);
    }
    ptrdiff_t slash = str_chr(name, '/');
    if (slash > 0) {
        struct str first = str_sub(name, 0, (size_t)slash);
        if (str_chr(first, '.') >= 0 || str_chr(first, ':') >= 0 || str_eqc(first, "localhost")) {
            r.host = first;
            name = str_sub(name, (size_t)slash + 1, name.n);
        }
    }
    const char *colon = name.n > 0 ? memrchr(name.p, ':', name.n) : NULL;
    if (colon != NULL) {
        size_t i = (size_t)(colon - name.p);
        r.tag = str_sub(name, i + 1, name.n);
        name = str_sub(name, 0, i);
    }
    r.repo = name;
    if (registry_check_repo(r.repo, NULL) < 0 || !tag_is_good(r.tag)) {
        return false;
    }
    if (by_digest) {
        r.tag = (struct str){0}; /* the digest decides, as docker does it */
    }
    *ret = r;
    return true;
}
