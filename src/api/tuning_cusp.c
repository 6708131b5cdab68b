/* See tuning_cusp.h. */
#include "api/tuning_cusp.h"

#include "api/call.h"
#include "api/cusp_path.h"
#include "api/rest_body.h"
#include "api/study_message.h"
#include "api/tuning_importance.h"
#include "api/tuning_message.h"
#include "base/limits.h"

#include <jansson.h>

#define REPLY_MAX ((size_t)64 << 20)
#define TRIAL_MEASUREMENTS 1000u /* of one trial that is answered with */

enum verb { EDIT, ADD, RERUN, STOP };

struct change {
    struct api *api;
    struct xch *xch;
    struct arena *a;
    enum verb verb;
    struct name_parts name;
    struct str body;
    uint64_t trial; /* asked for, or made */
    struct store_get get;
    struct ctl_call ctl;
    struct tuning_edit edit;
    struct tuning_add add;
    struct tuning_read read;
};

static void fail(struct change *g, const struct err *err) {
    reply_error(g->xch, err);
    xch_unref(g->xch);
}

static void fail_missing(struct change *g) {
    struct err err;
    err_set(&err, ERR_NOT_FOUND, "The HyperparameterTuningJob \"%.*s\" does not exist.",
            STR_ARG(g->name.canonical));
    fail(g, &err);
}

static void reply(struct change *g, const ProtobufCMessage *m) {
    auto_buf struct buf b = BUF_INIT(REPLY_MAX);
    struct err err;
    if (pb_to_json(m, NULL, &b, &err)) {
        fail(g, &err);
        return;
    }
    buf_putc(&b, '\n');
    reply_json(g->xch, 200, buf_str(&b));
    xch_unref(g->xch);
}

/* ---- it was granted: how things are now ---- */

static void on_read(struct tuning_read *r, const struct store_row *row,
                    const struct tuning_status *status, const struct study *study,
                    const struct err *err) {
    struct change *g = r->arg;
    Aip__HyperparameterTuningJob *m;
    const struct study_trial *t;
    struct study_plan plan;
    struct err e;
    if (err) {
        fail(g, err);
    } else if (!row) {
        fail_missing(g);
    } else if (tuning_message(g->a, row, status, &m, &e)) {
        fail(g, &e);
    } else if (g->verb == EDIT) {
        reply(g, &m->base);
    } else if (!(t = study_trial(study, g->trial))) {
        fail_missing(g);
    } else {
        study_plan_init(&plan, g->a, m->study_spec, 0);
        reply(g, &study_trial_message(g->a, &plan, study, t, TRIAL_MEASUREMENTS)->base);
    }
}

static void on_changed(struct ctl_call *cc, const struct err *err, const struct store_row *row) {
    struct change *g = cc->arg;
    if (err && err->code == ERR_NOT_FOUND && g->verb != RERUN && g->verb != STOP) {
        fail_missing(g);
    } else if (err) {
        fail(g, err);
    } else {
        g->trial = g->verb == ADD || g->verb == RERUN ? g->add.ret_id : g->trial;
        g->read = (struct tuning_read){.name = g->name.canonical, .cb = on_read, .arg = g};
        ctl_tuning_read(g->api->ctl, &g->read);
    }
}

/* ---- what is asked for ---- */

static int fail_all(struct violations *vs, struct err *err) {
    return violations_to_err(vs, err) ? -1 : 0;
}

/* A count that the mask names. */
static void take_count(int32_t value, const char *field, int32_t least, uint32_t *ret,
                       struct violations *vs) {
    if (value < least) {
        violations_add(vs, field, "At least %d is needed; the request has %d.", least, value);
    } else if ((uint64_t)value > limits.max_study_trials) {
        violations_add(vs, field, "At most %llu is allowed (limit max_study_trials).",
                       (unsigned long long)limits.max_study_trials);
    } else {
        *ret = (uint32_t)value;
    }
}

static void take_path(struct change *g, struct str path, const Aip__HyperparameterTuningJob *m,
                      struct violations *vs) {
    struct str p = str_trim(path);
    if (str_eqc(p, "maxTrialCount") || str_eqc(p, "max_trial_count")) {
        take_count(m->max_trial_count, "max_trial_count", 1, &g->edit.max_trials, vs);
    } else if (str_eqc(p, "parallelTrialCount") || str_eqc(p, "parallel_trial_count")) {
        take_count(m->parallel_trial_count, "parallel_trial_count", 1, &g->edit.parallel, vs);
    } else if (str_eqc(p, "maxFailedTrialCount") || str_eqc(p, "max_failed_trial_count")) {
        g->edit.set_max_failed = true;
        take_count(m->max_failed_trial_count, "max_failed_trial_count", 0, &g->edit.max_failed, vs);
    } else {
        violations_add(vs, "update_mask",
                       "\"%.*s\" cannot change while a tuning job runs; max_trial_count, "
                       "parallel_trial_count and max_failed_trial_count can.",
                       (int)(p.n > 100 ? 100 : p.n), p.p);
    }
}

static int read_edit(struct change *g, struct err *err) {
    ProtobufCMessage *msg;
    struct violations vs;
    struct str paths = cusp_query_get(g->xch, "updateMask");
    violations_init(&vs, g->a);
    if (pb_from_json(g->a, &aip__hyperparameter_tuning_job__descriptor, PB_V1, g->body, "", &msg,
                     &vs, err)) {
        return -1;
    }
    if (!paths.n) {
        violations_add(&vs, "update_mask", "Required parameter is not set: what is to change.");
    }
    while (paths.p && paths.n) {
        take_path(g, str_cut(&paths, ','), (Aip__HyperparameterTuningJob *)msg, &vs);
    }
    return fail_all(&vs, err);
}

static int read_trial_id(struct change *g, struct err *err) {
    json_t *root = json_loadb(g->body.p ? g->body.p : "", g->body.n, 0, NULL);
    const json_t *id = json_object_get(root, "trialId");
    const char *text = json_string_value(id);
    bool ok = json_is_integer(id) ? json_integer_value(id) > 0
                                  : text && str_to_u64(str_of(text), &g->trial) && g->trial;
    if (json_is_integer(id) && ok) {
        g->trial = (uint64_t)json_integer_value(id);
    }
    json_decref(root);
    return ok ? 0
              : err_field(err, ERR_INVALID_ARGUMENT, "trial_id",
                          "A trial's id is a whole number from 1; the body has none "
                          "({\"trialId\": \"3\"}).");
}

/* The setting's rules are the study's, which is in the row. */
static void on_row(struct store_get *get, const struct store_row *row, const struct err *err) {
    struct change *g = get->arg;
    Aip__HyperparameterTuningJob *m;
    ProtobufCMessage *trial;
    struct study_plan plan;
    struct violations vs;
    struct err e;
    if (err ? err->code == ERR_NOT_FOUND : !row) {
        fail_missing(g);
        return;
    }
    violations_init(&vs, g->a);
    if (err) {
        e = *err;
    } else if (tuning_message(g->a, row, NULL, &m, &e) == 0 &&
               pb_from_json(g->a, &aip__trial__descriptor, PB_V1, g->body, "trial", &trial, &vs,
                            &e) == 0) {
        study_plan_init(&plan, g->a, m->study_spec, 0);
        double *setting = arena_own_array(g->a, plan.study.nr_params + 1, sizeof(*setting));
        if (study_setting_from_trial(&plan, (Aip__Trial *)trial, "trial", setting, &vs) == 0) {
            g->add = (struct tuning_add){.setting = setting, .nr = plan.study.nr_params};
            ctl_tuning_add_trial(g->api->ctl, g->name.canonical, &g->add, &g->ctl);
            return;
        }
        (void)fail_all(&vs, &e);
    }
    fail(g, &e);
}

static void act(struct change *g) {
    struct ctl *c = g->api->ctl;
    struct str name = g->name.canonical;
    struct err err;
    g->ctl = (struct ctl_call){.cb = on_changed, .arg = g};
    if (g->verb == ADD) {
        g->get = (struct store_get){.name = name, .arena = g->a, .cb = on_row, .arg = g};
        g->api->store->ops->get(g->api->store, &g->get);
    } else if (g->verb == EDIT ? read_edit(g, &err) : read_trial_id(g, &err)) {
        fail(g, &err);
    } else if (g->verb == EDIT) {
        ctl_tuning_edit(c, name, &g->edit, &g->ctl);
    } else if (g->verb == RERUN) {
        ctl_tuning_rerun_trial(c, name, g->trial, &g->add, &g->ctl);
    } else {
        ctl_tuning_stop_trial(c, name, g->trial, &g->ctl);
    }
}

static void on_body(struct xch *x, void *arg, struct str raw, const struct err *err) {
    struct change *g = arg;
    struct err e;
    int status = 0;
    if (err) {
        e = *err;
    } else if (rest_body_text(g->a, xch_header(x, "content-encoding"), raw, &g->body, &status,
                              &e) == 0) {
        act(g);
        return;
    }
    fail(g, &e);
}

/* ---- paths ---- */

static const struct {
    const char *method, *suffix;
    enum verb verb;
} verbs[] = {{"POST", ":addTrial", ADD},
             {"POST", ":rerunTrial", RERUN},
             {"POST", ":stopTrial", STOP},
             {"PATCH", "", EDIT}};

bool tuning_cusp_handle(struct api *a, struct xch *x) {
    struct str name;
    struct err err;
    if (str_find(xch_head(x)->path, STR("/hyperparameterTuningJobs/")) < 0 &&
        str_find(xch_head(x)->path, STR("/studies/")) < 0) {
        return false;
    }
    if (tuning_importance_handle(a, x)) {
        return true;
    }
    for (size_t i = 0; i < NR_OF(verbs); i++) {
        if (!cusp_path_match_as(x, verbs[i].method, verbs[i].suffix, &name)) {
            continue;
        }
        struct change *g = arena_own(xch_arena(x), sizeof(*g));
        g->api = a;
        g->xch = x;
        g->a = xch_arena(x);
        g->verb = verbs[i].verb;
        if (name_parse_in(a->projects, g->a, name, "hyperparameterTuningJobs", "name", &g->name,
                          &err)) {
            reply_error(x, &err);
            return true;
        }
        (void)xch_ref(x);
        xch_collect_body(x, limits.max_api_body, on_body, g);
        return true;
    }
    return false;
}
