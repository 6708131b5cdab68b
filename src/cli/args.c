/* Flags in gcloud's style. */
#include "cli/cli.h"

#include "base/near.h"

const char *const global_flags[GLOBAL_FLAGS] = {"--format", "--endpoint", "--project", "--region",
                                                "--quiet"};

static struct flag *find(struct args *a, struct str name) {
    for (size_t i = 0; i < a->nr_flags; i++) {
        if (str_eqc(name, a->flags[i].name)) {
            return &a->flags[i];
        }
    }
    return NULL;
}

static void add(struct flag *f, const char *value) {
    f->values = xrealloc_array(f->values, f->nr + 1, sizeof(*f->values));
    f->values[f->nr++] = value;
}

static int no_flag(const struct args *a, struct str name, struct err *err) {
    size_t dashes = 0;
    while (dashes < name.n && name.p[dashes] == '-') {
        dashes++;
    }
    struct near near = {.typed = str_sub(name, dashes, name.n)};
    for (size_t i = 0; i < a->nr_flags; i++) {
        near_try(&near, a->flags[i].name + strspn(a->flags[i].name, "-"));
    }
    for (size_t i = 0; i < GLOBAL_FLAGS; i++) {
        near_try(&near, global_flags[i] + 2);
    }
    const char *meant = near_best(&near);
    return err_set(err, ERR_INVALID_ARGUMENT, "unrecognized flag %.*s%s%s%s (see --help)",
                   STR_ARG(name), meant ? "; did you mean " : "",
                   !meant              ? ""
                   : strlen(meant) > 1 ? "--"
                                       : "-",
                   meant ? meant : "");
}

int args_parse(struct args *a, int argc, char **argv, struct err *err) {
    bool only_words = false; /* after "--" */
    a->words = xcalloc((size_t)argc + 1, sizeof(*a->words));
    a->nr_words = 0;
    for (int i = 0; i < argc; i++) {
        if (only_words || argv[i][0] != '-' || !argv[i][1]) {
            a->words[a->nr_words++] = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--") == 0) {
            only_words = true;
            continue;
        }
        struct str value = str_of(argv[i]);
        struct str name = str_cut(&value, '=');
        struct flag *f = find(a, name);
        if (!f) {
            return no_flag(a, name, err);
        }
        if (value.p && f->is_bool && !str_eqc(value, "true") && !str_eqc(value, "false")) {
            return err_set(err, ERR_INVALID_ARGUMENT, "flag %s is true or false, not \"%.*s\"",
                           f->name, STR_ARG(value));
        }
        if (value.p) {
            add(f, value.p);
        } else if (f->is_bool) {
            add(f, "true");
        } else if (i + 1 < argc) {
            add(f, argv[++i]);
        } else {
            return err_set(err, ERR_INVALID_ARGUMENT, "flag %s needs a value", f->name);
        }
    }
    return 0;
}

int args_parse_flags(struct args *a, int argc, char **argv, struct err *err) {
    if (args_parse(a, argc, argv, err)) {
        return -1;
    }
    return a->nr_words
               ? err_set(err, ERR_INVALID_ARGUMENT, "unexpected \"%s\" (see --help)", a->words[0])
               : 0;
}

const struct flag *args_flag(const struct args *a, const char *name) {
    return find((struct args *)(uintptr_t)a, str_of(name));
}

const char *args_get(const struct args *a, const char *name) {
    const struct flag *f = args_flag(a, name);
    return f && f->nr ? f->values[f->nr - 1] : NULL;
}

bool args_on(const struct args *a, const char *name) {
    const char *v = args_get(a, name);
    return v && strcmp(v, "true") == 0;
}

void args_fini(struct args *a) {
    for (size_t i = 0; i < a->nr_flags; i++) {
        free(a->flags[i].values);
        a->flags[i].values = NULL;
        a->flags[i].nr = 0;
    }
    free(a->words);
    a->words = NULL;
    a->nr_words = 0;
}
