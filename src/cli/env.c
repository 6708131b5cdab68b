/* cusp env: finds out how the server is reached and whom to trust, and prints it for shells,
 * programs and people. */
#include "cli/env.h"

#include "cli/cli.h"

/* ---- three ways to print */

struct seen { /* several clients share variables: each is printed once */
    VEC_OF(char *) names;
    bool comments;
};

static bool is_plain(const char *s) {
    for (; *s; s++) {
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,@%+[]",
                    *s)) {
            return false;
        }
    }
    return true;
}

static void shell_variable(void *arg, const char *name, const char *value) {
    struct seen *s = arg;
    for (size_t i = 0; i < s->names.n; i++) {
        if (strcmp(s->names.p[i], name) == 0) {
            return;
        }
    }
    vec_push(&s->names, xstrdup(name));
    printf("export %s=", name);
    if (is_plain(value) && !strchr(value, '[')) {
        puts(value);
        return;
    }
    putchar('\'');
    for (; *value; value++) { /* a quote ends the text, stands for itself, begins it again */
        fputs(*value == '\'' ? "'\\''" : (char[]){*value, 0}, stdout);
    }
    puts("'");
}

static void shell_snippet(void *arg, const char *transport, const char *title, const char *code) {
    struct seen *s = arg;
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    if (s->comments) {
        indent_text(&b, code, "#     ");
        printf("#\n# %s: %s\n%s", transport, title, buf_cstr(&b));
    }
}

static void json_variable(void *arg, const char *name, const char *value) {
    json_object_set_new(json_object_get(arg, "variables"), name, json_string(value));
}

static void json_snippet(void *arg, const char *transport, const char *title, const char *code) {
    json_array_append_new(
        json_object_get(arg, "snippets"),
        json_pack("{s:s, s:s, s:s}", "transport", transport, "title", title, "code", code));
}

static void print_json(const struct env_facts *f, size_t only) {
    json_t *clients = json_object();
    for (size_t i = 0; i < ENV_CLIENTS; i++) {
        if (only == ENV_CLIENTS || i == only) {
            json_t *one = json_pack("{s:{}, s:[]}", "variables", "snippets");
            env_notes(i, f, &(struct env_sink){one, json_variable, json_snippet});
            json_object_set_new(clients, env_clients[i], one);
        }
    }
    json_t *j =
        json_pack("{s:s, s:s, s:s, s:b, s:b, s:s?, s:s?, s:s?}", "endpoint", f->url, "host",
                  f->tls_host, "port", f->port, "clearText", f->clear, "tls", f->tls, "caFile",
                  f->trust.ca, "caBundle", f->trust.bundle, "javaTrustStore", f->trust.store);
    json_object_set_new(j, "clients", clients);
    out_json(j);
    json_decref(j);
}

static void print_shell(const struct env_facts *f, size_t only, bool comments) {
    struct seen s = {.comments = comments};
    for (size_t i = 0; i < ENV_CLIENTS; i++) {
        if (only == ENV_CLIENTS || i == only) {
            if (comments) {
                printf("%s# ---- %s\n", i && only == ENV_CLIENTS ? "\n" : "", env_clients[i]);
            }
            env_notes(i, f, &(struct env_sink){&s, shell_variable, shell_snippet});
        }
    }
    for (size_t i = 0; i < s.names.n; i++) {
        free(s.names.p[i]);
    }
    vec_fini(&s.names);
}

static int which_client(const struct args *a, size_t *ret, struct err *err) {
    *ret = ENV_CLIENTS;
    if (a->nr_words > 1) {
        return err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp env [--shell|--json] [CLIENT]");
    }
    for (size_t i = 0; a->nr_words && i < ENV_CLIENTS; i++) {
        *ret = strcmp(a->words[0], env_clients[i]) == 0 ? i : *ret;
    }
    if (a->nr_words && *ret == ENV_CLIENTS) {
        return err_set(err, ERR_INVALID_ARGUMENT,
                       "no notes for client \"%s\": python, node, java, go, gcloud or curl",
                       a->words[0]);
    }
    return 0;
}

int cmd_env(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--shell", .is_bool = true},
                           {.name = "--json", .is_bool = true},
                           {.name = "--ca"},
                           {.name = "--data-dir"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    auto_facts struct env_facts f = {0};
    size_t client;
    if (args_parse(&a, argc, argv, err) || which_client(&a, &client, err)) {
        return -1;
    }
    bool json = c->json || args_on(&a, "--json");
    if (json && args_on(&a, "--shell")) {
        return err_set(err, ERR_INVALID_ARGUMENT, "--shell and --json exclude each other");
    }
    if (env_find(&f, c, args_get(&a, "--ca"), args_get(&a, "--data-dir"), err)) {
        return -1;
    }
    if (json) {
        print_json(&f, client);
    } else {
        print_shell(&f, client, !args_on(&a, "--shell"));
    }
    return 0;
}
