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
