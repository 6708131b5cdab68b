/* Objects by their gs:// URI, for lanes' threads that read files from end to end. */
#include "blob/blob_int.h"

#include "base/vec.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define PAGE 1000u

struct uri {
    struct str bucket, name;
};

static int uri_parse(const char *gs_uri, struct uri *ret, struct err *err) {
    struct str rest = str_of(gs_uri);
    if (!str_starts(rest, STR("gs://"))) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "\"%.300s\" is not a Cloud Storage URI such as gs://BUCKET/PATH", gs_uri);
    }
    rest = str_sub(rest, 5, rest.n);
    ret->bucket = str_cut(&rest, '/');
    ret->name = rest;
    if (blob_check_bucket_name(ret->bucket, err) || blob_check_object_name(ret->name, err)) {
        return err_wrap(err, "\"%.300s\" is not a Cloud Storage URI such as gs://BUCKET/PATH",
                        gs_uri);
    }
    return 0;
}

static int missing(const char *gs_uri, struct err *err) {
    return err_set(err, ERR_NOT_FOUND, "There is no object %.700s.", gs_uri);
}

/* The bucket's directory; NOT_FOUND names the URI. */
static int open_bucket(struct blob *b, const struct uri *u, const char *gs_uri, struct err *err) {
    int fd = bucket_open_fd(b, u->bucket, err);
    return fd < 0 ? err_wrap(err, "%.300s", gs_uri) : fd;
}

int blob_stat_uri(struct blob *b, const char *gs_uri, uint64_t *ret_size, struct err *err) {
    auto_buf struct buf raw = BUF_INIT(BLOB_RAW_MAX);
    struct uri u;
    struct stat st;
    if (uri_parse(gs_uri, &u, err)) {
        return -1;
    }
    auto_close int dir = open_bucket(b, &u, gs_uri, err);
    if (dir < 0) {
        return -1;
    }
    int e = place_find(dir, u.name, &raw, &st);
    if (e < 0) {
        return e == -ENOENT ? missing(gs_uri, err) : err_sys(err, -e, "look at %.300s", gs_uri);
    }
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

bool blob_uri_is_ours(struct blob *b, const char *gs_uri) {
    struct uri u;
    if (uri_parse(gs_uri, &u, NULL)) {
        return false;
    }
    int fd = bucket_open_fd(b, u.bucket, NULL);
    if (fd < 0) {
        return false;
    }
    close(fd);
    return true;
}

/* The part of a pattern that every name begins with. */
static struct str fixed_part(struct str pattern) {
    size_t n = 0;
    while (n < pattern.n && !strchr("*?[{\\", pattern.p[n])) {
        n++;
    }
    return str_sub(pattern, 0, n);
}

static int expand(int dir, const struct uri *u, const char *gs_uri, size_t max, struct arena *a,
                  const char ***ret, size_t *ret_nr, struct err *err) {
    VEC_OF(const char *) found = {0};
    struct walk_opts o = {.prefix = fixed_part(u->name), .glob = u->name, .max = PAGE};
    struct walk_result page = {.more = true};
    int rc = 0;
    while (rc == 0 && page.more) {
        rc = walk_list(dir, &o, a, &page, err);
        for (size_t i = 0; rc == 0 && i < page.n; i++) {
            o.after = page.items[i].name;
            if (found.n == max) {
                rc = err_set(err, ERR_INVALID_ARGUMENT,
                             "\"%.300s\" stands for more than %zu objects", gs_uri, max);
                break;
            }
            vec_push(&found, (const char *)arena_printf(a, "gs://%.*s/%.*s", STR_ARG(u->bucket),
                                                        STR_ARG(page.items[i].name)));
        }
        page.more = page.more && page.n > 0;
    }
    if (rc == 0 && found.n == 0) {
        rc = err_set(err, ERR_NOT_FOUND, "No object matches %.700s.", gs_uri);
    }
    if (rc == 0) {
        *ret = arena_memdup(a, found.p, found.n * sizeof(*found.p));
        *ret_nr = found.n;
    }
    vec_fini(&found);
    return rc;
}

int blob_expand_uri(struct blob *b, const char *gs_uri, size_t max, struct arena *a,
                    const char ***ret, size_t *ret_nr, struct err *err) {
    struct uri u;
    uint64_t size;
    if (uri_parse(gs_uri, &u, err)) {
        return -1;
    }
    if (str_chr(u.name, '*') < 0) {
        if (blob_stat_uri(b, gs_uri, &size, err)) {
            return -1;
        }
        const char **one = arena_own(a, sizeof(*one));
        *one = arena_strdup(a, gs_uri);
        *ret = one;
        *ret_nr = 1;
        return 0;
    }
    auto_close int dir = open_bucket(b, &u, gs_uri, err);
    return dir < 0 ? -1 : expand(dir, &u, gs_uri, max, a, ret, ret_nr, err);
}
