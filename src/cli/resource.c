#include "cli/resource.h"

#include <unistd.h>

#define PAUSE_MIN_US 20000u
#define PAUSE_MAX_US 500000u

const char *state_short(const char *state) {
    const char *rest = strstr(state, "_STATE_");
    return rest ? rest + strlen("_STATE_") : state;
}

const char *name_id(const char *name) {
    const char *slash = strrchr(name, '/');
    return slash ? slash + 1 : name;
}

bool job_is_over(const char *state) {
    return strstr(state, "SUCCEEDED") || strstr(state, "FAILED") || strstr(state, "CANCELLED");
}

int wait_for_resource(const struct cli *c, const char *path, bool (*enough)(const json_t *),
                      json_t **ret, struct err *err) {
    struct outage out = {0};
    for (useconds_t pause_us = PAUSE_MIN_US;;
         pause_us = pause_us < PAUSE_MAX_US ? pause_us * 3 / 2 : pause_us) {
        json_t *j;
        struct err e = {0};
        if (http_json(c, "GET", path, NULL, &j, &e)) {
            if (server_may_return(c, &e, &out)) {
                continue;
            }
            *err = e;
            return -1;
        }
        out = (struct outage){.reached = true};
        if (job_is_over(json_text(j, "state")) || (enough && enough(j))) {
            *ret = j;
            return 0;
        }
        json_decref(j);
        usleep(pause_us);
    }
}

int resource_act(const struct cli *c, const char *method, const char *path, const char *verb,
                 const char *id, const char *done, struct err *err) {
    auto_free char *whole = xasprintf("%s%s", path, verb);
    json_t *body = strcmp(method, "POST") == 0 ? json_object() : NULL;
    json_t *reply = NULL;
    int rc = http_json(c, method, whole, body, &reply, err);
    json_decref(body);
    if (rc == 0 && c->json) {
        out_json(reply);
    } else if (rc == 0 && !c->quiet) {
        fprintf(stderr, "%s [%s].\n", done, id);
    }
    json_decref(reply);
    return rc;
}

static int limit_of(const struct args *a, uint64_t *ret, struct err *err) {
    const char *text = args_get(a, "--limit");
    *ret = 100;
    if (text && (!str_to_u64(str_of(text), ret) || !*ret)) {
        return err_set(err, ERR_INVALID_ARGUMENT, "--limit must be a number from 1");
    }
    return 0;
}

int resource_list(const struct cli *c, const char *base, const char *key, const char *filter_key,
                  const struct args *a, json_t **ret, struct err *err) {
    const char *filter_text = args_get(a, "--filter"), *order_text = args_get(a, "--order-by");
    const char *sort_text = order_text ? order_text : args_get(a, "--sort-by");
    auto_free char *filter = http_escape(str_of(filter_text ? filter_text : ""));
    auto_free char *order = http_escape(str_of(sort_text ? sort_text : ""));
    auto_free char *by_filter = *filter ? xasprintf("&%s=", filter_key) : xstrdup("");
    auto_free char *token = xstrdup("");
    uint64_t limit;
    if (limit_of(a, &limit, err)) {
        return -1;
    }
    json_t *all = json_array();
    do {
        json_t *page, *one;
        size_t i;
        auto_free char *path =
            xasprintf("%s?pageSize=%llu%s%s%s%s%s%s", base,
                      (unsigned long long)(limit < 1000 ? limit : 1000), by_filter, filter,
                      *order ? "&orderBy=" : "", order, *token ? "&pageToken=" : "", token);
        if (http_json(c, "GET", path, NULL, &page, err)) {
            json_decref(all);
            return -1;
        }
        json_array_foreach(json_object_get(page, key), i, one) {
            if (json_array_size(all) < limit) {
                json_array_append(all, one);
            }
        }
        free(token);
        token = http_escape(str_of(json_text(page, "nextPageToken")));
        json_decref(page);
    } while (*token && json_array_size(all) < limit);
    *ret = all;
    return 0;
}

int resource_print_list(const struct cli *c, const char *base, const char *key,
                        const char *filter_key, const struct args *a, const char *what,
                        void (*print)(const json_t *all), struct err *err) {
    json_t *all;
    if (resource_list(c, base, key, filter_key, a, &all, err)) {
        return -1;
    }
    if (c->json) {
        out_json(all);
    } else if (!json_array_size(all)) {
        fprintf(stderr, "No %s in projects/%s/locations/%s.\n", what, c->project, c->region);
    } else {
        print(all);
    }
    json_decref(all);
    return 0;
}

static void say_made(const struct cli *c, const json_t *made, bool is_followed,
                     const struct resource_words *words) {
    const char *name = json_text(made, "name"), *id = name_id(name);
    if (c->json && !is_followed) {
        out_json(made);
        return;
    }
    if (!c->quiet) {
        fprintf(stderr, "%s [%s] is submitted.\n", words->kind, name);
    }
    if (!c->quiet && !is_followed) {
        fprintf(stderr,
                "\nFollow %s: cusp %s stream-logs %s\n"
                "%-*s cusp %s describe %s\n",
                words->log, words->command, id, (int)(strlen("Follow :") + strlen(words->log)),
                "See how it fares:", words->command, id);
    }
    if (!is_followed) {
        printf("%s\n", id);
    }
}

int resource_create(const struct cli *c, const char *base, const struct args *a, json_t *body,
                    const struct resource_words *words, struct err *err) {
    json_t *made;
    bool follow = args_on(a, "--stream-logs");
    if (!body) {
        return -1;
    }
    int rc = http_json(c, "POST", base, body, &made, err);
    json_decref(body);
    if (rc) {
        return -1;
    }
    auto_free char *name = xstrdup(json_text(made, "name"));
    say_made(c, made, follow, words);
    json_decref(made);
    if (!follow) {
        return 0;
    }
    return words->stream(c, name, NULL, true, err) ? -1 : words->outcome(c, name, true, err);
}

static int print_outcome(const struct cli *c, const json_t *ended, bool after_log,
                         void (*more)(const struct cli *c, const json_t *ended)) {
    const char *state = json_text(ended, "state");
    bool ok = strcmp(state_short(state), "SUCCEEDED") == 0;
    if (c->json && after_log) {
        out_json_line(ended);
    } else if (c->json) {
        out_json(ended);
    } else if (!c->quiet || !ok) {
        printf("%s%s%s\n", state_colour(c, state), state_short(state), colour_off(c));
        more(c, ended);
    }
    return ok ? EXIT_OK : EXIT_JOB_FAILED;
}

int resource_outcome(const struct cli *c, const char *path, bool after_log,
                     void (*more)(const struct cli *c, const json_t *ended), struct err *err) {
    json_t *ended;
    if (wait_for_resource(c, path, NULL, &ended, err)) {
        return -1;
    }
    int rc = print_outcome(c, ended, after_log, more);
    json_decref(ended);
    return rc;
}
