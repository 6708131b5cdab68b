/* image_import: what is this file, and then the plain case, a root file system. */
#include "base/limits.h"
#include "engine/image/image_int.h"
#include "engine/image/shelve.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static void hash_list(struct buf *b, const char *key, const char *const *v) {
    for (size_t i = 0; v != NULL && v[i] != NULL; i++) {
        rec_puts(b, key, v[i]);
    }
}

/* Digest of a plain import: what it holds and how it runs, not when it came, so that the same
 * import twice is the same image. */
static void rootfs_digest(const char *diff, const struct image_config *c, const char **env,
                          char ret_hex[SHA256_HEX_LEN + 1]) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    rec_begin(&b);
    rec_puts(&b, "layer", diff);
    hash_list(&b, "entrypoint", c->entrypoint);
    hash_list(&b, "cmd", c->cmd);
    hash_list(&b, "env", env);
    rec_puts(&b, "workdir", c->workdir);
    rec_puts(&b, "user", c->user);
    hash_of(buf_str(&b), ret_hex);
}

const char **image_env_with_path(struct arena *a, const char *const *env) {
    size_t n = 0;
    bool has_path = false;
    for (; env != NULL && env[n] != NULL; n++) {
        has_path = has_path || strncmp(env[n], "PATH=", 5) == 0;
    }
    const char **ret = arena_calloc(a, n + 2, sizeof(*ret));
    size_t k = 0;
    if (!has_path) {
        ret[k++] = DEFAULT_PATH;
    }
    for (size_t i = 0; i < n; i++) {
        ret[k++] = env[i];
    }
    return ret;
}

static int import_rootfs(struct image_store *s, int fd, bool is_ours, const char *name,
                         const struct image_config *c, char ret_hex[SHA256_HEX_LEN + 1],
                         struct err *err) {
    char diff[SHA256_HEX_LEN + 1];
    if (layer_import(s, fd, &(struct layer_want){0}, true, diff, err) < 0) {
        return -1;
    }
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    const char **env = image_env_with_path(a, c->env);
    struct image_record r = {
        .kind = "rootfs",
        .layers = &(struct str){diff, SHA256_HEX_LEN},
        .nr_layers = 1,
        .entrypoint = c->entrypoint,
        .cmd = c->cmd,
        .env = env,
        .workdir = c->workdir,
        .user = c->user,
        .created = time_wall(),
    };
    rootfs_digest(diff, c, env, r.hex);
    auto_buf struct buf config = BUF_INIT(BUF_NO_MAX);
    shelve_make_config(&r, &config);
    const struct shelve in = {.name = name,
                              .config = buf_str(&config),
                              .dir_fd = -1,
                              .fd = fd,
                              .nr_layers = 1,
                              .is_ours = is_ours};
    if (shelve_image(s, &in, err) < 0 || store_publish(s, &r, name, err) < 0) {
        return -1;
    }
    memcpy(ret_hex, r.hex, sizeof(r.hex));
    return 0;
}

static int import_archive(struct image_store *s, int fd, const char *name,
                          char ret_hex[SHA256_HEX_LEN + 1], char **ret_name, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    char *tmp = store_tmp_dir(s, a, err);
    if (tmp == NULL) {
        return -1;
    }
    auto_close int dir = openat(s->dir_fd, tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = dir >= 0 ? archive_spill(fd, dir, err) : err_sys(err, errno, "open a work directory");
    if (rc == 0) {
        rc = import_layout(s, dir, true, name, ret_hex, ret_name, err);
    }
    store_drop_tmp(s, tmp);
    return rc;
}

static int import_fd(struct image_store *s, int fd, bool is_ours, const char *name,
                     const struct image_config *c, char ret_hex[SHA256_HEX_LEN + 1],
                     char **ret_name, struct err *err) {
    struct stat st;
    if (fstat(fd, &st) < 0) {
        return err_sys(err, errno, "look at the file");
    }
    if (S_ISDIR(st.st_mode)) {
        if (!layout_is_image(fd)) {
            return err_set(err, ERR_INVALID_ARGUMENT,
                           "the directory is no OCI layout (it has no index.json)");
        }
        return import_layout(s, fd, false, name, ret_hex, ret_name, err);
    }
    if (!S_ISREG(st.st_mode)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "this is neither a file nor a directory");
    }
    enum archive_kind kind;
    if (archive_sniff(fd, &kind, err) < 0) {
        return -1;
    }
    if (kind == ARCHIVE_IMAGE) {
        return import_archive(s, fd, name, ret_hex, ret_name, err);
    }
    if (name == NULL) {
        return err_field(err, ERR_INVALID_ARGUMENT, "name",
                         "a root file system archive carries no name: give one");
    }
    *ret_name = xstrdup(name);
    return import_rootfs(s, fd, is_ours, name, c, ret_hex, err);
}

static int check_config(const struct image_config *c, struct err *err) {
    for (size_t i = 0; c->env != NULL && c->env[i] != NULL; i++) {
        if (c->env[i][0] == '=' || strchr(c->env[i], '=') == NULL) {
            return err_field(err, ERR_INVALID_ARGUMENT, "env", "\"%s\" is not NAME=value",
                             c->env[i]);
        }
    }
    if (c->workdir != NULL && c->workdir[0] != '/') {
        return err_field(err, ERR_INVALID_ARGUMENT, "workdir", "\"%s\" is not an absolute path",
                         c->workdir);
    }
    return 0;
}

int image_import_with(struct image_store *s, const char *path, const char *name,
                      const struct image_config *config, struct image *ret, struct arena *a,
                      struct err *err) {
    static const struct image_config none = {0};
    const struct image_config *c = config != NULL ? config : &none;
    if (name != NULL && image_name_check(str_of(name), err) < 0) {
        return -1;
    }
    if (check_config(c, err) < 0) {
        return -1;
    }
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return err_sys(err, errno, "open \"%s\"", path);
    }
    char hex[SHA256_HEX_LEN + 1];
    auto_free char *as = NULL;
    store_import_begin(s);
    /* An upload's spool file is gone with its request, and nobody writes to it any more. */
    auto_free char *tmp = xasprintf("%s/tmp/", s->dir);
    int rc = import_fd(s, fd, strncmp(path, tmp, strlen(tmp)) == 0, name, c, hex, &as, err);
    store_import_end(s);
    if (rc < 0) {
        return -1;
    }
    return store_load(s, a, hex, image_name_canonical(a, str_of(as)), ret, err);
}

int image_import(struct image_store *s, const char *path, const char *name, struct image *ret,
                 struct arena *a, struct err *err) {
    return image_import_with(s, path, name, NULL, ret, a, err);
}
