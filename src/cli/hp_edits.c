/* Edits of a tuning job that runs: cusp's own methods (docs/internals/tuning-jobs.md). */
#include "cli/hp_tuning.h"
#include "cli/resource.h"

int hp_usage(struct err *err, const char *what) {
    return err_set(err, ERR_INVALID_ARGUMENT, "usage: cusp hp-tuning-jobs %s", what);
}

int hp_number_flag(const struct args *a, const char *name, uint64_t least, uint64_t *ret,
                   struct err *err) {
    const char *text = args_get(a, name);
    if (text && (!str_to_u64(str_of(text), ret) || *ret < least || *ret > INT32_MAX)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "%s must be a whole number from %llu", name,
                       (unsigned long long)least);
    }
    return 0;
}

static int edit(const struct cli *c, const char *method, const char *id, const char *verb,
                json_t *body, json_t **ret, struct err *err) {
    auto_free char *base = resource_path(c, "/cusp/v1", HP_COLLECTION, id);
    auto_free char *path = xasprintf("%s%s", base, verb);
    int rc = http_json(c, method, path, body, ret, err);
    json_decref(body);
    return rc;
}

int hp_update(const struct cli *c, int argc, char **argv, struct err *err) {
    static const struct {
        const char *flag, *key;
        uint64_t least;
    } fields[] = {{"--max-trial-count", "maxTrialCount", 1},
                  {"--parallel-trial-count", "parallelTrialCount", 1},
                  {"--max-failed-trial-count", "maxFailedTrialCount", 0}};
    struct flag flags[] = {{.name = "--max-trial-count"},
                           {.name = "--parallel-trial-count"},
                           {.name = "--max-failed-trial-count"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    auto_buf struct buf mask = BUF_INIT(BUF_NO_MAX);
    json_t *body = json_object(), *job;
    if (args_parse(&a, argc, argv, err)) {
        goto fail;
    }
    for (size_t i = 0; i < NR_OF(fields); i++) {
        uint64_t n = 0;
        if (hp_number_flag(&a, fields[i].flag, fields[i].least, &n, err)) {
            goto fail;
        }
        if (args_get(&a, fields[i].flag)) {
            json_object_set_new(body, fields[i].key, json_integer((json_int_t)n));
            buf_printf(&mask, "%s%s", mask.n ? "," : "?updateMask=", fields[i].key);
        }
    }
    if (a.nr_words != 1 || !mask.n) {
        hp_usage(err, "update JOB [--max-trial-count=N] [--parallel-trial-count=N] "
                      "[--max-failed-trial-count=N]");
        goto fail;
    }
    if (edit(c, "PATCH", a.words[0], buf_cstr(&mask), body, &job, err)) {
        return -1;
    }
    if (c->json) {
        out_json(job);
    } else if (!c->quiet) {
        fprintf(stderr, "Updated [%s].\n", a.words[0]);
    }
    json_decref(job);
    return 0;
fail:
    json_decref(body);
    return -1;
}

/* NAME=VALUE of every parameter; numbers as numbers, but for categories, whose type the job tells.
 */
static json_t *setting_of(const struct hp_view *v, json_t *pairs) {
    json_t *list = json_array(), *value;
    const char *key;
    json_object_foreach(pairs, key, value) {
        bool is_text = false;
        double d;
        for (size_t i = 0; i < v->params.n; i++) {
            is_text =
                is_text || (strcmp(v->params.p[i].id, key) == 0 && v->params.p[i].is_categorical);
        }
        const char *text = json_string_value(value);
        json_array_append_new(list, json_pack("{s:s, s:o}", "parameterId", key, "value",
                                              !is_text && str_to_double(str_of(text), &d)
                                                  ? json_real(d)
                                                  : json_string(text)));
    }
    return list;
}

static void print_trial(const struct cli *c, json_t *trial) {
    if (c->json) {
        out_json(trial);
    } else {
        printf("%s\n", json_text(trial, "id"));
    }
    json_decref(trial);
}

int hp_add_trial(const struct cli *c, int argc, char **argv, struct err *err) {
    struct flag flags[] = {{.name = "--parameters"}};
    auto_args struct args a = {flags, NR_OF(flags), NULL, 0};
    json_t *job, *pairs, *trial;
    if (args_parse(&a, argc, argv, err)) {
        return -1;
    }
    if (a.nr_words != 1 || !args_get(&a, "--parameters")) {
        return hp_usage(err, "add-trial JOB --parameters=NAME=VALUE,...");
    }
    auto_free char *path = resource_path(c, "/v1", HP_COLLECTION, a.words[0]);
    if (!(pairs = flag_pairs("--parameters", args_get(&a, "--parameters"), err))) {
        return -1;
    }
    if (http_json(c, "GET", path, NULL, &job, err)) {
        json_decref(pairs);
        return -1;
    }
    auto_hp_view struct hp_view v;
    hp_view_init(&v, job);
    json_t *body = json_pack("{s:o}", "parameters", setting_of(&v, pairs));
    json_decref(pairs);
    json_decref(job);
    if (edit(c, "POST", a.words[0], ":addTrial", body, &trial, err)) {
        return -1;
    }
    print_trial(c, trial);
    return 0;
}

static int with_trial(const struct cli *c, int argc, char **argv, const char *verb, bool is_rerun,
                      struct err *err) {
    auto_args struct args a = {NULL, 0, NULL, 0};
    json_t *reply;
    if (args_parse(&a, argc, argv, err)) {
        return -1;
    }
    if (a.nr_words != 2) {
        return hp_usage(err, is_rerun ? "rerun-trial JOB TRIAL" : "stop-trial JOB TRIAL");
    }
    json_t *body = json_pack("{s:s}", "trialId", a.words[1]);
    if (edit(c, "POST", a.words[0], verb, body, &reply, err)) {
        return -1;
    }
    if (is_rerun || c->json) {
        print_trial(c, reply);
        return 0;
    }
    if (!c->quiet) {
        fprintf(stderr, "Trial %s of [%s] is told to stop.\n", a.words[1], a.words[0]);
    }
    json_decref(reply);
    return 0;
}

int hp_stop_trial(const struct cli *c, int argc, char **argv, struct err *err) {
    return with_trial(c, argc, argv, ":stopTrial", false, err);
}

int hp_rerun_trial(const struct cli *c, int argc, char **argv, struct err *err) {
    return with_trial(c, argc, argv, ":rerunTrial", true, err);
}
