/* Reading tar streams: a layer into layers/HEX under its digest, an image archive into plain files,
 * and the question which of the two a file is.
 *
 * A layer is read once: file -> (hash of the bytes as stored) -> decompression -> (hash of the tar,
 * the diff id) -> entries. It is unpacked into tmp/, flushed with one syncfs, and gets its name by
 * rename when both digests are right; so layers/HEX is complete and true or absent, and whoever
 * loses a race for the same layer throws its copy away. */
#include "base/fail.h"
#include "base/limits.h"
#include "engine/image/image_int.h"
#include "sys/files.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define IO_BYTES (256u * 1024u)

/* The file as stored, then what its compression hides. Two libarchive readers: the outer only
 * decompresses, so that the bytes of the tar can be counted and hashed on their way to the inner.
 */
struct source {
    int fd;
    struct hash *blob_hash, *diff_hash; /* NULL: nobody asks */
    struct archive *outer, *inner;
    uint64_t tar_bytes;
    struct err why; /* what a callback found; libarchive has only strings */
    char file_buf[IO_BYTES], tar_buf[IO_BYTES];
};

static la_ssize_t read_file(struct archive *ar, void *arg, const void **ret) {
    struct source *s = arg;
    ssize_t n;
    do {
        n = read(s->fd, s->file_buf, sizeof(s->file_buf));
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        (void)err_sys(&s->why, errno, "read the archive");
        archive_set_error(ar, EIO, "read failed");
        return -1;
    }
    if (s->blob_hash != NULL) {
        hash_add(s->blob_hash, s->file_buf, (size_t)n);
    }
    *ret = s->file_buf;
    return n;
}

static la_ssize_t read_tar(struct archive *ar, void *arg, const void **ret) {
    struct source *s = arg;
    la_ssize_t n = archive_read_data(s->outer, s->tar_buf, sizeof(s->tar_buf));
    if (n < 0) {
        const char *why = archive_error_string(s->outer);
        if (s->why.code == ERR_OK) {
            (void)err_set(&s->why, ERR_INVALID_ARGUMENT, "cannot decompress the archive: %s",
                          why != NULL ? why : "it is damaged");
        }
        archive_set_error(ar, EIO, "decompression failed");
        return -1;
    }
    s->tar_bytes += (uint64_t)n;
    if (s->tar_bytes > limits.image_max_bytes) {
        limits_hit(&limits.image_max_bytes);
        (void)err_set(&s->why, ERR_RESOURCE_EXHAUSTED,
                      "the archive is longer than %llu bytes (limit image_max_bytes)",
                      (unsigned long long)limits.image_max_bytes);
        archive_set_error(ar, EFBIG, "too long");
        return -1;
    }
    if (s->diff_hash != NULL) {
        hash_add(s->diff_hash, s->tar_buf, (size_t)n);
    }
    *ret = s->tar_buf;
    return n;
}

static void source_close(struct source **p) {
    struct source *s = *p;
    if (s == NULL) {
        return;
    }
    (void)archive_read_free(s->inner);
    (void)archive_read_free(s->outer);
    hash_free(s->blob_hash);
    hash_free(s->diff_hash);
    free(s);
}

static int source_failed(struct source *s, struct archive *ar, const char *doing, struct err *err) {
    if (s->why.code != ERR_OK) {
        if (err != NULL) {
            *err = s->why;
        }
        return -1;
    }
    const char *why = archive_error_string(ar);
    return err_set(err, ERR_INVALID_ARGUMENT, "%s: %s", doing, why != NULL ? why : "it is damaged");
}

static struct source *source_open(int fd, bool hash_blob, bool hash_diff, struct err *err) {
    struct source *s = xcalloc(1, sizeof(*s));
    s->fd = fd;
    s->blob_hash = hash_blob ? hash_new() : NULL;
    s->diff_hash = hash_diff ? hash_new() : NULL;
    s->outer = archive_read_new();
    s->inner = archive_read_new();
    CHECK(s->outer != NULL && s->inner != NULL);
    /* A chosen few, so that no file can make libarchive start an outside program. */
    (void)archive_read_support_filter_gzip(s->outer);
    (void)archive_read_support_filter_zstd(s->outer);
    (void)archive_read_support_filter_xz(s->outer);
    (void)archive_read_support_filter_bzip2(s->outer);
    (void)archive_read_support_format_raw(s->outer);
    (void)archive_read_support_format_tar(s->inner);
    /* Names are bytes here as everywhere on disk; no locale may decide what a file is called. */
    (void)archive_read_set_options(s->inner, "hdrcharset=BINARY");
    struct archive_entry *e;
    if (archive_read_open(s->outer, s, NULL, read_file, NULL) != ARCHIVE_OK ||
        archive_read_next_header(s->outer, &e) != ARCHIVE_OK) {
        (void)source_failed(s, s->outer, "cannot read the archive", err);
        source_close(&s);
        return NULL;
    }
    if (archive_read_open(s->inner, s, NULL, read_tar, NULL) != ARCHIVE_OK) {
        (void)source_failed(s, s->inner, "this is no tar archive", err);
        source_close(&s);
        return NULL;
    }
    return s;
}

/* 1: *ret_e is the next entry; 0: the end; -1: *err. */
static int source_next(struct source *s, struct archive_entry **ret_e, struct err *err) {
    int rc = archive_read_next_header(s->inner, ret_e);
    if (rc == ARCHIVE_EOF) {
        return 0;
    }
    if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN) {
        return source_failed(s, s->inner, "cannot read the archive as tar", err);
    }
    return 1;
}

/* The digests cover everything, also what follows the last entry. */
static int source_drain(struct source *s, struct err *err) {
    const void *p;
    la_ssize_t n;
    while ((n = read_tar(s->inner, s, &p)) > 0) {
    }
    if (n < 0) {
        return source_failed(s, s->inner, "cannot read the archive to its end", err);
    }
    while ((n = read_file(s->outer, s, &p)) > 0) {
    }
    return n < 0 ? source_failed(s, s->outer, "cannot read the archive to its end", err) : 0;
}

static int unpack_all(struct source *s, struct unpack *u, struct err *err) {
    struct archive_entry *e;
    int rc;
    while ((rc = source_next(s, &e, err)) > 0) {
        if (unpack_entry(u, s->inner, e, err) < 0) {
            if (s->why.code != ERR_OK && err != NULL) {
                *err = s->why; /* the cause below libarchive's "decompression failed" */
            }
            return -1;
        }
    }
    if (rc < 0 || source_drain(s, err) < 0) {
        return -1;
    }
    return unpack_finish(u, err);
}

static bool is_archive_name(struct str path) {
    static const char *const fixed[] = {
        "blobs", "blobs/sha256", "oci-layout", "index.json", "manifest.json", "repositories", ""};
    for (size_t i = 0; i < NR_OF(fixed); i++) {
        if (str_eqc(path, fixed[i])) {
            return true;
        }
    }
    if (str_starts(path, STR("blobs/sha256/"))) {
        return true;
    }
    /* docker save, the older way: HEX.json, HEX/, HEX/layer.tar, HEX/VERSION, HEX/json, HEX.tar */
    return path.n >= SHA256_HEX_LEN && hex_is_sha256(str_sub(path, 0, SHA256_HEX_LEN)) &&
           (path.n == SHA256_HEX_LEN || path.p[SHA256_HEX_LEN] == '/' ||
            path.p[SHA256_HEX_LEN] == '.');
}

int archive_sniff(int fd, enum archive_kind *ret, struct err *err) {
    __attribute__((cleanup(source_close))) struct source *s = source_open(fd, false, false, err);
    if (s == NULL) {
        return -1;
    }
    struct archive_entry *e;
    bool has_index = false;
    uint64_t n = 0;
    int rc;
    while ((rc = source_next(s, &e, err)) > 0) {
        const char *raw = archive_entry_pathname(e);
        auto_buf struct buf clean = BUF_INIT(8192);
        if (raw == NULL || unpack_clean_path(raw, &clean, err) < 0) {
            return raw == NULL ? err_set(err, ERR_INVALID_ARGUMENT, "an entry has no name") : -1;
        }
        if (!is_archive_name(str_of(buf_cstr(&clean))) || ++n > limits.image_max_entries) {
            *ret = ARCHIVE_ROOTFS;
            break;
        }
        has_index = has_index || strcmp(buf_cstr(&clean), "index.json") == 0 ||
                    strcmp(buf_cstr(&clean), "manifest.json") == 0;
    }
    if (rc < 0) {
        return -1;
    }
    if (rc == 0) {
        if (!has_index) {
            return err_set(err, ERR_INVALID_ARGUMENT,
                           "the archive holds neither a root file system nor an image");
        }
        *ret = ARCHIVE_IMAGE;
    }
    return lseek(fd, 0, SEEK_SET) < 0 ? err_sys(err, errno, "rewind the archive") : 0;
}

int archive_spill(int fd, int dir_fd, struct err *err) {
    __attribute__((cleanup(source_close))) struct source *s = source_open(fd, false, false, err);
    if (s == NULL) {
        return -1;
    }
    struct unpack u;
    unpack_init(&u, dir_fd);
    int rc = unpack_all(s, &u, err);
    unpack_fini(&u);
    return rc;
}

static char *layer_path(struct arena *a, const char *hex) {
    return arena_printf(a, "layers/%s", hex);
}

bool layer_exists(struct image_store *s, const char *hex) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    return faccessat(s->dir_fd, layer_path(a, hex), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The size stands in a file beside the layer, written before the layer gets its name. */
uint64_t layer_size(struct image_store *s, const char *hex) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf b = BUF_INIT(64);
    uint64_t n = 0;
    if (file_read(s->dir_fd, arena_printf(a, "layers/%s.size", hex), &b, NULL) < 0 ||
        !str_to_u64(str_trim(buf_str(&b)), &n)) {
        return 0;
    }
    return n;
}

/* tmp directory -> layers/HEX. Somebody may have been faster: then theirs is as good. */
static int layer_name(struct image_store *s, const char *tmp, const char *hex, uint64_t bytes,
                      struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    const char *path = layer_path(a, hex);
    char text[32];
    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
    int rc = 0;
    (void)pthread_mutex_lock(&s->lock);
    if (!layer_exists(s, hex)) {
        rc = file_write_atomic(s->dir_fd, arena_printf(a, "layers/%s.size", hex), str_of(text),
                               0644, FILE_SYNC, err);
        if (rc == 0 && (rc = FAIL_POINT("image.layer.before_rename", err)) == 0 &&
            renameat(s->dir_fd, tmp, s->dir_fd, path) < 0) {
            rc = err_sys(err, errno, "name layer %.12s", hex);
        }
        if (rc == 0) {
            rc = file_fsync_dir(s->dir_fd, "layers", err);
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

static int check_digest(const char *what, struct hash *h, const char *want, char *ret_hex,
                        struct err *err) {
    hash_hex(h, ret_hex);
    if (want != NULL && strcmp(ret_hex, want) != 0) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "%s has digest sha256:%s, the manifest says sha256:%s", what, ret_hex, want);
    }
    return 0;
}

static int layer_unpack(struct image_store *s, int fd, const struct layer_want *want, bool is_base,
                        const char *tmp, char ret_hex[SHA256_HEX_LEN + 1], struct err *err) {
    __attribute__((cleanup(source_close))) struct source *src =
        source_open(fd, want->blob_hex != NULL, true, err);
    if (src == NULL) {
        return -1;
    }
    auto_close int root = openat(s->dir_fd, tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) {
        return err_sys(err, errno, "open the layer's directory");
    }
    /* The container's "/" when the archive does not name it: enterable by every user. */
    if (fchmod(root, 0755) < 0) {
        return err_sys(err, errno, "set the mode of the layer's directory");
    }
    struct unpack u;
    unpack_init(&u, root);
    u.is_base = is_base;
    u.keep_meta = true;
    char hex[SHA256_HEX_LEN + 1], blob[SHA256_HEX_LEN + 1];
    int rc = unpack_all(src, &u, err);
    if (rc == 0 && u.entries == 0 && is_base) {
        rc = err_set(err, ERR_INVALID_ARGUMENT, "the archive is empty");
    }
    if (rc == 0 && want->blob_hex != NULL) {
        rc = check_digest("a layer", src->blob_hash, want->blob_hex, blob, err);
    }
    if (rc == 0) {
        rc = check_digest("a layer's content", src->diff_hash, want->diff_hex, hex, err);
    }
    if (rc == 0 && !layer_exists(s, hex) && syncfs(root) < 0) {
        rc = err_sys(err, errno, "flush the layer");
    }
    if (rc == 0) {
        rc = layer_name(s, tmp, hex, u.bytes, err);
    }
    if (rc == 0) {
        memcpy(ret_hex, hex, sizeof(hex));
    }
    unpack_fini(&u);
    return rc;
}

/* Diff id without unpacking. Reading a file costs a tenth of writing its tree, and importing what
 * is here already (the same recipe again) is common. */
static int layer_digest(int fd, char ret_hex[SHA256_HEX_LEN + 1], struct err *err) {
    __attribute__((cleanup(source_close))) struct source *src = source_open(fd, false, true, err);
    if (src == NULL || source_drain(src, err) < 0) {
        return -1;
    }
    hash_hex(src->diff_hash, ret_hex);
    return lseek(fd, 0, SEEK_SET) < 0 ? err_sys(err, errno, "rewind the archive") : 0;
}

int layer_import(struct image_store *s, int fd, const struct layer_want *want, bool is_base,
                 char ret_hex[SHA256_HEX_LEN + 1], struct err *err) {
    char known[SHA256_HEX_LEN + 1];
    if (want->diff_hex != NULL) {
        memcpy(known, want->diff_hex, sizeof(known));
    } else if (layer_digest(fd, known, err) < 0) {
        return -1;
    }
    if (layer_exists(s, known)) {
        memcpy(ret_hex, known, sizeof(known)); /* was checked when it came */
        return 0;
    }
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    char *tmp = store_tmp_dir(s, a, err);
    if (tmp == NULL) {
        return -1;
    }
    int rc = layer_unpack(s, fd, want, is_base, tmp, ret_hex, err);
    store_drop_tmp(s, tmp);
    return rc;
}
