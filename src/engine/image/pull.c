/* What a name means at another registry, and keeping what came of it. */
#include "base/fail.h"
#include "base/limits.h"
#include "engine/image/pull_int.h"

#include <sys/statvfs.h>

/* The manifest that `reference` means at a place, verified: bytes live in the plan's arena. */
static int get_manifest(struct pull_plan *p, size_t place, const char *reference,
                        const char *want_hex, struct remote_manifest *ret, struct str *ret_bytes,
                        char ret_hex[SHA256_HEX_LEN + 1], struct err *err) {
    auto_free char *path = xasprintf("manifests/%s", reference);
    auto_free char *what = xasprintf("manifest %s", reference);
    struct remote_req q = {.method = "GET",
                           .path = path,
                           .accept = remote_manifest_types,
                           .fd = -1,
                           .max = limits.image_max_manifest};
    const char *host = remote_place(p->session, place);
    char said[SHA256_HEX_LEN + 1];
    int rc = remote_get(p->session, place, &q, what, err);
    if (rc == 0) {
        hash_of(buf_str(&q.reply), ret_hex);
        bool is_said = digest_parse(str_of(q.digest), said);
        const char *want = want_hex != NULL ? want_hex : is_said ? said : ret_hex;
        if (strcmp(want, ret_hex) != 0) {
            rc = err_set(err, ERR_FAILED_PRECONDITION,
                         "registry %s sent a manifest of digest sha256:%s for sha256:%s; it was "
                         "not kept",
                         host, ret_hex, want);
        }
    }
    if (rc == 0) {
        *ret_bytes = arena_str(p->arena, buf_str(&q.reply));
        rc = remote_manifest_read(p->arena, str_of(q.content_type_got), *ret_bytes,
                                  image_native_arch(), ret, err);
        if (rc < 0) {
            (void)err_wrap(err, "%s", p->ref->text);
        }
    }
    buf_fini(&q.reply);
    return rc;
}

static int ask(struct pull_plan *p, size_t place, struct err *err) {
    const char *want = p->ref->hex[0] != '\0' ? p->ref->hex : NULL;
    if (get_manifest(p, place, p->ref->reference, want, &p->top, &p->top_bytes, p->top_hex, err) <
        0) {
        return -1;
    }
    p->place = place;
    if (!p->top.is_index) {
        p->image = p->top;
        p->image_bytes = p->top_bytes;
        memcpy(p->image_hex, p->top_hex, sizeof(p->image_hex));
        return 0;
    }
    const char *child = arena_printf(p->arena, "sha256:%s", p->top.child.hex);
    if (get_manifest(p, place, child, p->top.child.hex, &p->image, &p->image_bytes, p->image_hex,
                     err) < 0) {
        return -1;
    }
    return p->image.is_index ? err_set(err, ERR_INVALID_ARGUMENT,
                                       "%s: its index leads to another index", p->ref->text)
                             : 0;
}

/* Better no pull than one that fills the disk for everybody. */
static int check_room(struct pull_plan *p, struct err *err) {
    struct statvfs v;
    uint64_t missing = 0, size;
    for (size_t i = 0; i < p->nr_blobs; i++) {
        if (store_blob_size(p->store, p->blobs[i].what.hex, &size) < 0) {
            missing += p->blobs[i].what.size;
        }
    }
    if (fstatvfs(p->store->dir_fd, &v) == 0 && missing > (uint64_t)v.f_bavail * v.f_frsize) {
        return err_set(err, ERR_RESOURCE_EXHAUSTED,
                       "%s: %llu MB are to be fetched and the disk has %llu MB left: remove what "
                       "nobody needs with cusp images rm and cusp images prune",
                       p->ref->text, (unsigned long long)(missing >> 20),
                       (unsigned long long)(((uint64_t)v.f_bavail * v.f_frsize) >> 20));
    }
    return 0;
}

static bool is_current(struct pull_plan *p) {
    char hex[SHA256_HEX_LEN + 1];
    struct rec r;
    struct str shelf = str_of(p->ref->shelf);
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    (void)pthread_mutex_lock(&p->store->lock);
    bool same = manifest_find(p->store, shelf, str_of(p->ref->shelf_tag), hex, NULL) == 0 &&
                strcmp(hex, p->top_hex) == 0 &&
                manifest_rec(p->store, a, shelf, p->image_hex, &r, NULL) == 0;
    (void)pthread_mutex_unlock(&p->store->lock);
    return same;
}

int pull_plan(struct pull_plan *p, struct err *err) {
    size_t last = remote_main_place(p->session);
    int rc = -1;
    for (size_t i = 0; i <= last; i++) {
        rc = ask(p, i, err);
        if (rc == 0 || remote_is_cancelled(p->session)) {
            break;
        }
    }
    if (rc < 0) {
        return -1;
    }
    p->is_current = is_current(p);
    p->nr_blobs = p->image.nr_blobs;
    p->blobs = arena_calloc(p->arena, p->nr_blobs + 1, sizeof(*p->blobs));
    for (size_t i = 0; i < p->nr_blobs; i++) {
        p->blobs[i].what = p->image.blobs[i];
        hexset_add(&p->pin.blobs, str_of(p->blobs[i].what.hex));
    }
    hexset_add(&p->pin.blobs, str_of(p->image_hex));
    hexset_add(&p->pin.blobs, str_of(p->top_hex));
    registry_pin(p->store, &p->pin);
    return p->is_current ? 0 : check_room(p, err);
}

void pull_unplan(struct pull_plan *p) {
    registry_unpin(p->store, &p->pin);
}

static int put(struct pull_plan *p, const char *reference, const char *type, struct str bytes,
               struct err *err) {
    struct registry_manifest m;
    return registry_manifest_copy(p->store, p->arena, str_of(p->ref->shelf), str_of(reference),
                                  str_of(type), bytes, &m, err);
}

int pull_keep(struct pull_plan *p, struct err *err) {
    if (registry_mark_pulled(p->store, str_of(p->ref->shelf), err) < 0) {
        return -1;
    }
    if (p->top.is_index) { /* the entry first: an index on the shelf leads somewhere */
        const char *child = arena_printf(p->arena, "sha256:%s", p->image_hex);
        if (put(p, child, p->image.media_type, p->image_bytes, err) < 0) {
            return -1;
        }
    }
    if (FAIL_POINT("pull.keep.before_tag", err) < 0) {
        return -1;
    }
    return put(p, p->ref->shelf_tag, p->top.media_type, p->top_bytes, err);
}
