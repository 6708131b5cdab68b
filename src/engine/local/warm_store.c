/* Memory images on disk: see warm.h. Everything here is on the lane; directories appear whole, by
 * rename. A container's upper directory is a stranger's: opened without following links. */
#include "engine/local/local_int.h"

#include "base/enc.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/rng.h"
#include "engine/bundle/rundir.h"
#include "engine/local/rundirs.h"
#include "engine/local/warm.h"
#include "sys/files.h"
#include "warm/files.h"
#include "warm/image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define TMP_AGE 3600  /* seconds after which a half-made directory is nobody's */
#define JUST_USED 120 /* seconds between being staged and being mounted, generously */
#define CONF_MAX (1u << 20)

bool warm_is_built(void) {
    return warm_thaw.n > 0 && warm_freeze.n > 0;
}

/* -- our programs ----------------------------------------------------------------------------- */

static const struct {
    const char *name;
    const struct warm_file *file;
    mode_t mode;
} tools[] = {{"thaw", &warm_thaw, 0755},
             {"freeze.so", &warm_freeze, 0755},
             {"sitecustomize.py", &warm_site, 0644}};

void warm_tools_id(char ret_hex[17]) {
    struct utsname u;
    uint32_t cpu[8] = {0};
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    CHECK(ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1);
    for (size_t i = 0; i < NR_OF(tools); i++) {
        CHECK(EVP_DigestUpdate(ctx, tools[i].file->p, tools[i].file->n) == 1);
    }
    if (uname(&u) == 0) {
        CHECK(EVP_DigestUpdate(ctx, u.release, strlen(u.release)) == 1 &&
              EVP_DigestUpdate(ctx, u.version, strlen(u.version)) == 1);
    }
#if defined(__x86_64__)
    uint32_t unused;
    (void)__get_cpuid(1, &cpu[0], &unused, &cpu[1], &cpu[2]); /* ebx: of the core it runs on */
    (void)__get_cpuid_count(7, 0, &unused, &cpu[3], &cpu[4], &cpu[5]);
#endif
    CHECK(EVP_DigestUpdate(ctx, cpu, sizeof(cpu)) == 1);
    unsigned char raw[EVP_MAX_MD_SIZE];
    CHECK(EVP_DigestFinal_ex(ctx, raw, NULL) == 1);
    EVP_MD_CTX_free(ctx);
    auto_buf struct buf hex = BUF_INIT(17);
    enc_hex(&hex, raw, 8);
    (void)snprintf(ret_hex, 17, "%s", buf_cstr(&hex));
}

static char *temp_dir(struct local *eng) {
    uint64_t r;
    rng_secret(&r, sizeof(r));
    return xasprintf("%s/.tmp-%016" PRIx64, eng->warm_root, r);
}

/* Directories that containers of any user see. */
static int make_dirs(const char *top, struct err *err) {
    auto_free char *dir = xasprintf("%s/fs" WARM_DIR, top);
    return file_mkdirs(AT_FDCWD, dir, 0755, err);
}

static int write_tools(const char *top, struct err *err) {
    if (make_dirs(top, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < NR_OF(tools); i++) {
        auto_free char *path = xasprintf("%s/fs" WARM_DIR "/%s", top, tools[i].name);
        auto_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, tools[i].mode);
        if (fd < 0 || fchmod(fd, tools[i].mode) < 0) {
            return err_sys(err, errno, "create %s", path);
        }
        const struct warm_file *f = tools[i].file;
        if (file_write_all(fd, str_n((const char *)f->p, f->n), err) < 0 || fdatasync(fd) < 0) {
            return err_wrap(err, "write %s", path);
        }
    }
    return 0;
}

/* tmp becomes name; whoever was first wins. */
static int settle(const char *tmp, const char *name, struct err *err) {
    if (rename(tmp, name) == 0) {
        return 0;
    }
    int e = errno;
    (void)!file_remove_tree(AT_FDCWD, tmp, NULL);
    return e == EEXIST || e == ENOTEMPTY ? 0 : err_sys(err, e, "make %s", name);
}

int warm_tools_layer(struct local *eng, const char **ret, struct err *err) {
    *ret = eng->warm_tools;
    if (access(eng->warm_tools, F_OK) == 0) {
        return 0;
    }
    auto_free char *tmp = temp_dir(eng);
    auto_free char *top = xstrndup(eng->warm_tools, strlen(eng->warm_tools) - strlen("/fs"));
    if (write_tools(tmp, err) < 0) {
        (void)!file_remove_tree(AT_FDCWD, tmp, NULL);
        return -1;
    }
    return settle(tmp, top, err);
}

/* -- what a container made -------------------------------------------------------------------- */

/* A regular file of that directory and nothing else; the descriptor or -1. */
static int open_made(int dir, const char *name, struct stat *ret) {
    auto_close int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, ret) < 0 || !S_ISREG(ret->st_mode)) {
        return -1;
    }
    return take_fd(&fd);
}

static int open_made_dir(const char *upper) {
    static const char *const parts[] = {".cusp", "warm"};
    auto_close int fd = open(upper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    for (size_t i = 0; i < NR_OF(parts) && fd >= 0; i++) {
        int next = openat(fd, parts[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        close(take_fd(&fd));
        fd = next;
    }
    return take_fd(&fd);
}

static int move_image(int from, const char *tmp, struct err *err) {
    struct stat st;
    auto_close int fd = open_made(from, "image", &st);
    if (fd < 0) {
        return err_set(err, ERR_NOT_FOUND, "no memory image was written");
    }
    if ((uint64_t)st.st_size > limits.warm_image_bytes) {
        limits_hit(&limits.warm_image_bytes);
        return err_set(err, ERR_RESOURCE_EXHAUSTED,
                       "its memory has %lld bytes, more than warm_image_bytes = %" PRIu64,
                       (long long)st.st_size, limits.warm_image_bytes);
    }
    auto_free char *to = xasprintf("%s/fs" WARM_IMAGE, tmp);
    auto_free char *used = xasprintf("%s/used", tmp);
    if (fchown(fd, 0, 0) < 0 || fchmod(fd, 0444) < 0 || fdatasync(fd) < 0 ||
        renameat(from, "image", AT_FDCWD, to) < 0) {
        return err_sys(err, errno, "keep the memory image");
    }
    struct stat now; /* that very file, not one that took its name in between */
    if (lstat(to, &now) < 0 || now.st_ino != st.st_ino || now.st_dev != st.st_dev) {
        return err_set(err, ERR_ABORTED, "the memory image changed while it was taken");
    }
    return file_write_atomic(AT_FDCWD, used, STR(""), 0644, FILE_NO_SYNC, err);
}

int warm_keep(struct local *eng, const char *upper, const char *key, struct err *err) {
    auto_free char *tmp = temp_dir(eng);
    auto_free char *final = xasprintf("%s/%s", eng->warm_root, key);
    auto_close int from = open_made_dir(upper);
    if (from < 0) {
        return err_set(err, ERR_NOT_FOUND, "no memory image was written");
    }
    auto_free char *shared = xasprintf("%s/fs" WARM_DIR, tmp);
    if (make_dirs(tmp, err) < 0 || move_image(from, tmp, err) < 0 ||
        chmod(shared, 01777) < 0 /* thaw leaves a file there, in the container's own layer */) {
        (void)!file_remove_tree(AT_FDCWD, tmp, NULL);
        return -1;
    }
    return settle(tmp, final, err);
}

void warm_read_left(const char *upper, const char *name, char *ret, size_t size) {
    struct stat st;
    auto_close int from = open_made_dir(upper);
    auto_close int fd = from < 0 ? -1 : open_made(from, name, &st);
    ssize_t n = fd < 0 ? 0 : read(fd, ret, size - 1);
    ret[n > 0 ? n : 0] = 0;
    for (char *c = ret; *c != 0; c++) { /* one line of the log */
        *c = (unsigned char)*c < ' ' || *c == 127 ? ' ' : *c;
    }
}

void warm_note_why(struct local *eng, const char *key, const char *why) {
    auto_free char *path = xasprintf("%s/%s.why", eng->warm_root, key);
    (void)!file_write_atomic(AT_FDCWD, path, str_of(why), 0644, FILE_NO_SYNC, NULL);
}

/* -- removal ---------------------------------------------------------------------------------- */

struct entry {
    char *name;
    time_t used;
    uint64_t bytes;
    bool keep;
};

struct tidy {
    struct local *eng;
    VEC_OF(struct entry) images; /* keys */
};

static int by_use(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    return x->used > y->used ? -1 : x->used < y->used; /* the latest first */
}

static void keep_mounted(void *arg, const char *dir, const char *job, uint32_t attempt) {
    struct tidy *t = arg;
    auto_free char *path = xasprintf("%s/" RUNDIR_CONF, dir);
    auto_buf struct buf conf = BUF_INIT(CONF_MAX);
    if (file_read(AT_FDCWD, path, &conf, NULL) < 0) {
        return; /* a leftover */
    }
    for (size_t i = 0; i < t->images.n; i++) {
        auto_free char *part = xasprintf("/warm/%s/", t->images.p[i].name);
        t->images.p[i].keep = t->images.p[i].keep || str_find(buf_str(&conf), str_of(part)) >= 0;
    }
}

static void look_at(struct tidy *t, const char *name, time_t now) {
    struct stat st, image;
    auto_free char *path = xasprintf("%s/%s", t->eng->warm_root, name);
    auto_free char *used = xasprintf("%s/used", path);
    auto_free char *file = xasprintf("%s/fs" WARM_IMAGE, path);
    size_t n = strlen(name);
    bool why = n > 4 && strcmp(name + n - 4, ".why") == 0;
    if (str_starts(str_of(name), STR("tools-"))) {
        return; /* small, and mounted by whom we do not know */
    }
    if (name[0] == '.' || why) {
        if (lstat(path, &st) == 0 && st.st_mtime + TMP_AGE < now) {
            (void)!file_remove_tree(AT_FDCWD, path, NULL);
            (void)unlink(path);
        }
        return;
    }
    bool whole = stat(used, &st) == 0 && stat(file, &image) == 0;
    vec_push(&t->images, ((struct entry){.name = xstrdup(name),
                                         .used = whole ? st.st_mtime : 0,
                                         .bytes = whole ? (uint64_t)image.st_size : 0,
                                         .keep = whole && st.st_mtime + JUST_USED > now}));
}

static void remove_image(struct tidy *t, const struct entry *e) {
    struct err err = {0};
    auto_free char *path = xasprintf("%s/%s", t->eng->warm_root, e->name);
    auto_free char *used = xasprintf("%s/used", path);
    auto_free char *trash = temp_dir(t->eng);
    struct stat st;
    if (stat(used, &st) == 0 && st.st_mtime != e->used) {
        return; /* somebody was staged with it in between */
    }
    if (rename(path, trash) < 0 || file_remove_tree(AT_FDCWD, trash, &err) < 0) {
        log_warn("a memory image stays", "name=%s error=\"%s\"", e->name, err.msg);
    }
}

void warm_tidy(struct local *eng) {
    struct tidy t = {.eng = eng};
    time_t now = (time_t)(time_wall() / USEC_PER_SEC);
    uint64_t kept = 0, bytes = 0;
    DIR *d = opendir(eng->warm_root);
    struct dirent *e;
    while (d != NULL && (e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            look_at(&t, e->d_name, now);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    bool known = rundir_each(eng->run_root, keep_mounted, &t, NULL) == 0;
    if (t.images.n > 0) {
        qsort(t.images.p, t.images.n, sizeof(*t.images.p), by_use);
    }
    for (size_t i = 0; i < t.images.n; i++) {
        struct entry *x = &t.images.p[i];
        bool idle = (uint64_t)x->used + limits.warm_idle_s < (uint64_t)now;
        bool many = kept >= limits.warm_max_images;
        bool large = bytes + x->bytes > limits.warm_max_bytes;
        if (known && !x->keep && (idle || many || large)) {
            if (many || large) {
                limits_hit(many ? &limits.warm_max_images : &limits.warm_max_bytes);
            }
            remove_image(&t, x);
        } else {
            kept++;
            bytes += x->bytes;
        }
        free(x->name);
    }
    vec_fini(&t.images);
    eng->warm.images = kept;
    eng->warm.bytes = bytes;
}
