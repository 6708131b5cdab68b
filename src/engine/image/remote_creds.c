/* Whose name and password a registry gets: the configuration's own, then what `docker login` left:
 * config.json with credHelpers, credsStore (programs that keep secrets) and auths. */
#include "base/enc.h"
#include "base/limits.h"
#include "base/time.h"
#include "engine/image/remote.h"
#include "sys/files.h"
#include "sys/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONFIG_MAX ((size_t)1 << 20)
#define ANSWER_MAX ((size_t)64 << 10)
#define HUB_KEY "https://index.docker.io/v1/" /* docker's name for Docker Hub, from older days */

static const char *text_of(const json_t *j, const char *key) {
    const char *v = json_string_value(json_object_get(j, key));
    return v != NULL ? v : "";
}

/* "https://HOST/v1/" -> "HOST" */
static struct str bare_host(const char *key) {
    struct str s = str_of(key);
    ptrdiff_t scheme = str_find(s, STR("://"));
    if (scheme >= 0) {
        s = str_sub(s, (size_t)scheme + 3, s.n);
    }
    return str_cut(&s, '/');
}

static bool means(const char *key, const char *host) {
    struct str h = bare_host(key);
    if (strcmp(host, "docker.io") == 0) {
        return str_eqc(h, "docker.io") || str_eqc(h, "index.docker.io") ||
               str_eqc(h, "registry-1.docker.io");
    }
    return str_eqc(h, host);
}

static const json_t *entry_for(const json_t *map, const char *host) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)map, key, v) {
        if (means(key, host)) {
            return v;
        }
    }
    return NULL;
}

/* ---- helper programs: docker-credential-NAME get */

static bool helper_name_is_good(const char *name) {
    for (const char *c = name; *c != '\0'; c++) {
        bool word = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                    (*c >= '0' && *c <= '9') || *c == '-' || *c == '_' || *c == '.';
        if (!word || c - name > 64) {
            return false;
        }
    }
    return name[0] != '\0';
}

/* Reads what the program says until it ends or its time is over. */
static int read_answer(int fd, struct buf *out, const char *name, struct err *err) {
    usec_t end = time_mono() + limits.pull_helper_s * USEC_PER_SEC;
    for (;;) {
        usec_t now = time_mono();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int n = now < end ? poll(&p, 1, (int)((end - now) / USEC_PER_MSEC) + 1) : 0;
        if (n == 0) {
            limits_hit(&limits.pull_helper_s);
            return err_set(err, ERR_DEADLINE_EXCEEDED,
                           "%s has not answered within %llu s (limit pull_helper_s)", name,
                           (unsigned long long)limits.pull_helper_s);
        }
        char chunk[4096];
        ssize_t got = n > 0 ? read(fd, chunk, sizeof(chunk)) : -1;
        if (got < 0 && errno != EINTR) {
            return err_sys(err, errno, "read from %s", name);
        }
        if (got == 0) {
            return 0;
        }
        if (got > 0 && buf_put(out, chunk, (size_t)got) < 0) {
            return err_set(err, ERR_RESOURCE_EXHAUSTED, "%s says too much", name);
        }
    }
}

static int run_helper(const char *path, const char *name, const char *server, struct buf *out,
                      struct err *err) {
    int in[2], to[2] = {-1, -1};
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(to, O_CLOEXEC) < 0) {
        return err_sys(err, errno, "run %s", name);
    }
    auto_close int in_r = in[0], in_w = in[1], out_r = to[0], out_w = to[1];
    /* The name is short: it fits into the pipe, and a helper that reads nothing blocks nobody. */
    if (file_write_all(in_w, str_of(server), err) < 0) {
        return -1;
    }
    (void)close(take_fd(&in_w));
    char *argv[] = {(char *)name, (char *)"get", NULL};
    const int fds[] = {in_r, out_w, -1};
    const struct proc_spawn how = {.path = path, .argv = argv, .fds = fds, .nr_fds = NR_OF(fds)};
    pid_t pid = proc_spawn(&how, err);
    if (pid < 0) {
        return -1;
    }
    (void)close(take_fd(&out_w));
    int status = 0, rc = read_answer(out_r, out, name, err);
    if (rc < 0) {
        (void)kill(pid, SIGKILL);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (rc < 0) {
        return -1;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        struct str said = str_trim(buf_str(out));
        ptrdiff_t line = str_chr(said, '\n');
        said = line >= 0 ? str_sub(said, 0, (size_t)line) : said;
        /* How these programs say that they know nothing of this host. */
        return str_find(said, STR("credentials not found")) >= 0
                   ? 1
                   : err_set(err, ERR_UNAUTHENTICATED, "%s get failed: %.*s", name,
                             (int)(said.n > 200 ? 200 : said.n), said.p != NULL ? said.p : "");
    }
    return 0;
}

static int ask_helper(struct arena *a, const char *helper, const char *host, const char *path,
                      struct remote_creds *ret, struct err *err) {
    const char *name = arena_printf(a, "docker-credential-%s", helper);
    auto_buf struct buf out = BUF_INIT(ANSWER_MAX);
    if (!helper_name_is_good(helper)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s names a credential helper \"%.64s\"", path,
                       helper);
    }
    auto_free char *program = proc_find(name);
    if (program == NULL) {
        return err_set(err, ERR_FAILED_PRECONDITION,
                       "%s says that %s keeps the credentials for %s, and there is no such "
                       "program in the server's PATH",
                       path, name, host);
    }
    const char *server = strcmp(host, "docker.io") == 0 ? HUB_KEY : host;
    int rc = run_helper(program, name, server, &out, err);
    if (rc != 0) {
        return rc < 0 ? -1 : 0;
    }
    json_t *j = json_loadb(out.p != NULL ? out.p : "", out.n, 0, NULL);
    const char *user = text_of(j, "Username"), *secret = text_of(j, "Secret");
    if (secret[0] == '\0') {
        rc = err_set(err, ERR_UNAUTHENTICATED, "%s answered without a secret", name);
    } else if (strcmp(user, "<token>") == 0) {
        ret->identity_token = arena_strdup(a, secret);
        ret->from = name;
    } else {
        ret->username = arena_strdup(a, user);
        ret->password = arena_strdup(a, secret);
        ret->from = name;
    }
    json_decref(j);
    return rc;
}

/* ---- config.json */

static int read_auth(struct arena *a, const json_t *e, const char *path, struct remote_creds *ret,
                     struct err *err) {
    const char *token = text_of(e, "identitytoken"), *auth = text_of(e, "auth");
    if (token[0] != '\0') {
        ret->identity_token = arena_strdup(a, token);
    } else if (auth[0] != '\0') {
        auto_buf struct buf plain = BUF_INIT(ANSWER_MAX);
        struct str rest, user;
        if (!enc_unbase64(str_of(auth), &plain) ||
            (rest = buf_str(&plain), user = str_cut(&rest, ':'), rest.p == NULL)) {
            return err_set(err, ERR_INVALID_ARGUMENT, "%s holds a malformed \"auth\"", path);
        }
        ret->username = arena_strndup(a, user.p, user.n);
        ret->password = arena_strndup(a, rest.p, strnlen(rest.p, rest.n));
    } else if (text_of(e, "username")[0] != '\0') {
        ret->username = arena_strdup(a, text_of(e, "username"));
        ret->password = arena_strdup(a, text_of(e, "password"));
    }
    ret->from = path;
    return 0;
}

int remote_creds_read(struct arena *a, struct str json, const char *path, const char *host,
                      struct remote_creds *ret, struct err *err) {
    json_error_t why;
    struct remote_creds c = {0};
    json_t *j = json_loadb(json.p != NULL ? json.p : "", json.n, 0, &why);
    if (!json_is_object(j)) {
        json_decref(j);
        return err_set(err, ERR_INVALID_ARGUMENT, "%s is not a JSON object: %s (line %d)", path,
                       why.text, why.line);
    }
    const json_t *helper = entry_for(json_object_get(j, "credHelpers"), host);
    const json_t *auth = entry_for(json_object_get(j, "auths"), host);
    const char *store = text_of(j, "credsStore");
    int rc = 0;
    if (json_string_value(helper) != NULL) {
        rc = ask_helper(a, json_string_value(helper), host, path, &c, err);
    } else if (store[0] != '\0') {
        rc = ask_helper(a, store, host, path, &c, err);
    }
    if (rc == 0 && c.from == NULL && auth != NULL) {
        rc = read_auth(a, auth, path, &c, err);
    }
    json_decref(j);
    if (rc == 0) {
        *ret = c;
    }
    return rc;
}

static const char *config_path(struct arena *a, const struct remote_config *c) {
    const char *dir = getenv("DOCKER_CONFIG"), *home = getenv("HOME");
    char space[4096];
    struct passwd pw, *found = NULL;
    if (c->docker_config != NULL && c->docker_config[0] != '\0') {
        return c->docker_config;
    }
    if (dir != NULL && dir[0] != '\0') {
        return arena_printf(a, "%s/config.json", dir);
    }
    if (home == NULL || home[0] == '\0') { /* a service has none */
        home = getpwuid_r(geteuid(), &pw, space, sizeof(space), &found) == 0 && found != NULL
                   ? pw.pw_dir
                   : "/root";
    }
    return arena_printf(a, "%s/.docker/config.json", home);
}

int remote_creds_find(struct arena *a, const struct remote_config *c, const char *host,
                      struct remote_creds *ret, struct err *err) {
    *ret = (struct remote_creds){0};
    for (size_t i = 0; i < c->nr_hosts; i++) {
        const struct remote_host *h = &c->hosts[i];
        if (strcmp(h->host, host) == 0 && h->username != NULL && h->username[0] != '\0') {
            ret->username = h->username;
            ret->password = h->password != NULL ? h->password : "";
            ret->from = arena_printf(a, "[registry %s] of the server's configuration", host);
            return 0;
        }
    }
    const char *path = config_path(a, c);
    auto_buf struct buf b = BUF_INIT(CONFIG_MAX);
    struct err why = {0};
    if (file_read(AT_FDCWD, path, &b, &why) < 0) {
        bool chosen = c->docker_config != NULL && c->docker_config[0] != '\0';
        if (why.code == ERR_NOT_FOUND && !chosen) {
            return 0;
        }
        return err_set(err, ERR_FAILED_PRECONDITION, "credentials: %s", why.msg);
    }
    return remote_creds_read(a, buf_str(&b), path, host, ret, err);
}
