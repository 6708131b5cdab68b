/* cusp images: what jobs can run. `build` runs a recipe on this machine and hands the result over.
 */
#include "cli/cli.h"

#include "base/time.h"
#include "sys/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *text(json_t *j, const char *key) {
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "";
}

static uint64_t size_of(json_t *im) { /* int64 is text in proto3 JSON */
    uint64_t n = 0;
    (void)str_to_u64(str_of(text(im, "sizeBytes")), &n);
    return n;
}

static int ls(const struct cli *c, struct err *err) {
    static const char *const heads[] = {"IMAGE", "DIGEST", "LAYERS", "SIZE", "CREATED"};
    json_t *j, *im;
    size_t i;
    if (http_json(c, "GET", "/cusp/v1/images", NULL, &j, err)) {
        return -1;
    }
    json_t *all = json_object_get(j, "images");
    if (c->json) {
        out_json(j);
    } else if (!json_array_size(all)) {
        fprintf(stderr, "No images yet. Build one: cusp images build sklearn-cpu\n");
    } else {
        struct table *t = table_new(NR_OF(heads), heads);
        json_array_foreach(all, i, im) {
            char layers[24], digest[20];
            auto_buf struct buf size = BUF_INIT(64);
            auto_buf struct buf age = BUF_INIT(64);
            bytes_text(&size, size_of(im));
            age_text(&age, text(im, "created"));
            snprintf(layers, sizeof(layers), "%lld",
                     (long long)json_integer_value(json_object_get(im, "layers")));
            snprintf(digest, sizeof(digest), "%.19s", text(im, "digest"));
            const char *cells[] = {text(im, "name"), digest, layers, buf_cstr(&size),
                                   buf_cstr(&age)};
            table_row(t, cells);
        }
        table_print(t, stdout);
    }
    json_decref(j);
    return 0;
}

static int import(const struct cli *c, const char *file, const char *name, struct err *err) {
    struct http_reply r;
    struct stat st;
    auto_close int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) {
        return err_sys(err, errno, "open %s", file);
    }
    auto_free char *e = http_escape(str_of(name ? name : ""));
    auto_free char *path = xasprintf("/cusp/v1/images:import%s%s", name ? "?name=" : "", e);
    if (http_upload(c, "POST", path, "application/x-tar", fd, (uint64_t)st.st_size,
                    "uploading image", &r, err)) {
        return -1;
    }
    json_t *im = json_loadb(r.body.p, r.body.n, 0, NULL);
    if (c->json) {
        out_json(im);
    } else if (!c->quiet) {
        auto_buf struct buf size = BUF_INIT(64);
        bytes_text(&size, size_of(im));
        printf("%s  %s  %s\n", text(im, "name"), text(im, "digest"), buf_cstr(&size));
    }
    json_decref(im);
    http_reply_fini(&r);
    return 0;
}

/* A directory (an OCI layout) is read by the server itself, which is on this machine or refuses. */
static int import_any(const struct cli *c, const char *path, const char *name, struct err *err) {
    struct stat st;
    struct cli quiet = *c;
    quiet.quiet = true;
    quiet.json = false;
    if (stat(path, &st) || !S_ISDIR(st.st_mode)) {
        return import(&quiet, path, name, err);
    }
    auto_free char *whole = realpath(path, NULL);
    if (!whole) {
        return err_sys(err, errno, "open %s", path);
    }
    json_t *body = json_pack("{s:s,s:s}", "path", whole, "name", name);
    int rc = http_json(c, "POST", "/cusp/v1/images:importPath", body, NULL, err);
    json_decref(body);
    return rc;
}

/* By any name that a job could give. */
static int inspect(const struct cli *c, const char *name, struct err *err) {
    json_t *im, *v;
    const char *key;
    auto_free char *e = http_escape(str_of(name));
    auto_free char *path = xasprintf("/cusp/v1/images/%s", e);
    if (http_json(c, "GET", path, NULL, &im, err)) {
        return -1;
    }
    if (c->json) {
        out_json(im);
    } else {
        json_object_foreach(im, key, v) {
            auto_free char *other = json_is_string(v) ? NULL : json_shown(v, 0);
            printf("%-12s %s\n", key, other ? other : json_string_value(v));
        }
    }
    json_decref(im);
    return 0;
}

/* recipes/ beside the build folder (source tree) or under share/cusp (installed). */
static char *recipe_tool(void) {
    static const char *const places[] = {"../recipes/build", "../share/cusp/recipes/build"};
    return find_beside(places, NR_OF(places));
}

/* Runs the tool with our own output; its words are the user's. */
static int run_tool(char *const argv[], const char *what, struct err *err) {
    pid_t pid = fork();
    if (pid == 0) {
        execv(argv[0], argv);
        _exit(127);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) < 0) {
        return err_sys(err, errno, "run %s", argv[0]);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status)) {
        return err_set(err, ERR_UNKNOWN, "%s failed; its output above says why", what);
    }
    return 0;
}

/* Of "NAME  built  ABOUT" a line; "-" for what is not built. */
static int list_json(char *tool, struct err *err) {
    auto_buf struct buf b = BUF_INIT(1 << 20);
    int status;
    if (proc_run(tool, (char *[]){tool, "--list", NULL}, STR(""), &b, &status, err)) {
        return -1;
    }
    if (status) {
        return err_set(err, ERR_UNKNOWN, "%s", buf_cstr(&b));
    }
    json_t *all = json_array();
    for (struct str rest = buf_str(&b); rest.p && rest.n;) {
        struct str about = str_cut(&rest, '\n');
        struct str name = str_cut(&about, ' ');
        about = str_trim(about);
        struct str state = str_cut(&about, ' ');
        about = str_trim(about);
        json_array_append_new(all, json_pack("{s:s%, s:b, s:s%}", "name", name.p, name.n, "built",
                                             str_eqc(state, "built"), "about",
                                             about.p ? about.p : "", about.n));
    }
    out_json(all);
    json_decref(all);
    return 0;
}

/* name NULL: what can be built. */
static int build(const struct cli *c, const char *name, struct err *err) {
    auto_free char *tool = recipe_tool();
    if (!tool) {
        return err_set(err, ERR_NOT_FOUND,
                       "the recipes folder is not installed beside this program");
    }
    if (!name) {
        return c->json ? list_json(tool, err)
                       : run_tool((char *[]){tool, "--list", NULL}, "listing the recipes", err);
    }
    auto_free char *what = xasprintf("recipe %s", name);
    return run_tool((char *[]){tool, (char *)name, "--endpoint", (char *)c->endpoint, NULL}, what,
                    err);
}

static int prune(const struct cli *c, struct err *err) {
    json_t *j;
    uint64_t bytes = 0;
    auto_buf struct buf size = BUF_INIT(64);
    if (http_json(c, "POST", "/cusp/v1/images:prune", NULL, &j, err)) {
        return -1;
    }
    (void)str_to_u64(str_of(text(j, "bytesFreed")), &bytes);
    bytes_text(&size, bytes);
    if (c->json) {
        out_json(j);
    } else if (!c->quiet) {
        fprintf(stderr, "Removed %s images, %s layers, %s blobs: %s.\n", text(j, "imagesRemoved"),
                text(j, "layersRemoved"), text(j, "blobsRemoved"), buf_cstr(&size));
    }
    json_decref(j);
    return 0;
}

static int usage(const char *verb, struct err *err) {
    static const char *const verbs[][2] = {{"ls", "ls"},
                                           {"build", "build NAME | build --list"},
                                           {"import", "import FILE [--name NAME]"},
                                           {"pull", "pull NAME"},
                                           {"push", "push NAME TO"},
                                           {"inspect", "inspect NAME"},
                                           {"rm", "rm NAME"},
                                           {"prune", "prune"}};
    const char *words = "ls | build | import | pull | push | inspect | rm | prune";
    for (size_t i = 0; i < NR_OF(verbs); i++) {
        words = strcmp(verb, verbs[i][0]) == 0 ? verbs[i][1] : words;
    }
    return err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp images %s", words);
}

int cmd_images(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--name"}, {.name = "--list", .is_bool = true}};
    const char *verb = argv[0];
    bool is_import = strcmp(verb, "import") == 0, is_build = strcmp(verb, "build") == 0;
    auto_args struct args a = {is_build ? flags + 1 : flags, is_import || is_build, NULL, 0};
    if (args_parse(&a, argc - 1, argv + 1, err)) {
        return -1;
    }
    if ((strcmp(verb, "ls") == 0 || strcmp(verb, "list") == 0) && !a.nr_words) {
        return ls(c, err);
    }
    if (strcmp(verb, "prune") == 0 && !a.nr_words) {
        return prune(c, err);
    }
    if (strcmp(verb, "push") == 0 && a.nr_words == 2) {
        /* A file becomes an image of this server on its way. */
        if (access(a.words[0], F_OK) == 0) {
            return import_any(c, a.words[0], a.words[1], err)
                       ? -1
                       : images_push(c, a.words[1], a.words[1], err);
        }
        return images_push(c, a.words[0], a.words[1], err);
    }
    bool is_list = is_build && args_on(&a, "--list");
    if (is_list && !a.nr_words) {
        return build(c, NULL, err);
    }
    if (a.nr_words != 1 || is_list || strcmp(verb, "push") == 0) {
        return usage(verb, err);
    }
    if (strcmp(verb, "pull") == 0) {
        return images_pull(c, a.words[0], err);
    }
    if (is_import) {
        return import(c, a.words[0], args_get(&a, "--name"), err);
    }
    if (strcmp(verb, "inspect") == 0) {
        return inspect(c, a.words[0], err);
    }
    if (is_build) {
        return build(c, a.words[0], err);
    }
    if (strcmp(verb, "rm") == 0) {
        auto_free char *e = http_escape(str_of(a.words[0]));
        auto_free char *path = xasprintf("/cusp/v1/images/%s", e);
        if (http_json(c, "DELETE", path, NULL, NULL, err)) {
            return -1;
        }
        if (!c->quiet) {
            fprintf(stderr, "Removed %s.\n", a.words[0]);
        }
        return 0;
    }
    return no_verb("images", verb, err);
}
