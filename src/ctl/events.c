/* Events to records and back. What is stored is readable with `cusp replay`, so keys are words. */
#include "ctl/events.h"

#include "base/rec.h"
#include "ctl/pipeline_int.h"
#include "ctl/tuning_int.h"

static const char *const type_names[EV_TYPE_NR] = {
    [EV_JOB_CREATED] = "JOB_CREATED",
    [EV_ATTEMPT_PLACED] = "ATTEMPT_PLACED",
    [EV_ATTEMPT_STEP] = "ATTEMPT_STEP",
    [EV_ATTEMPT_STAGED] = "ATTEMPT_STAGED",
    [EV_LAUNCH_INTENT] = "LAUNCH_INTENT",
    [EV_REPLICA_STARTED] = "REPLICA_STARTED",
    [EV_REPLICA_EXITED] = "REPLICA_EXITED",
    [EV_REPLICA_LOST] = "REPLICA_LOST",
    [EV_ATTEMPT_FAILED] = "ATTEMPT_FAILED",
    [EV_CANCEL_REQUESTED] = "CANCEL_REQUESTED",
    [EV_DEADLINE] = "DEADLINE",
    [EV_STOP_SENT] = "STOP_SENT",
    [EV_ATTEMPT_RELEASED] = "ATTEMPT_RELEASED",
    [EV_RETRY] = "RETRY",
    [EV_JOB_DONE] = "JOB_DONE",
    [EV_MEASURED] = "MEASURED",
};

const char *event_type_name(uint32_t type) {
    const char *name = type > 0 && type < EV_TYPE_NR ? type_names[type] : pipeline_event_name(type);
    name = name ? name : study_event_name(type);
    name = name ? name : tuning_event_name(type);
    return name ? name : "UNKNOWN";
}

static const char *const exit_kind_names[] = {
    [EXIT_UNKNOWN] = "unknown", [EXIT_CODE] = "code",       [EXIT_SIGNAL] = "signal",
    [EXIT_OOM] = "oom",         [EXIT_RUNTIME] = "runtime",
};
static const char *const step_names[] = {
    [STAGE_IMAGE] = "image", [STAGE_PACKAGES] = "packages", [STAGE_BUNDLE] = "bundle"};
static const char *const deadline_names[] = {[DEADLINE_RUN] = "run", [DEADLINE_WAIT] = "wait"};

/* Index of the word in names; -1 when it is not there. */
static int word_index(const char *const *names, size_t nr, struct str word) {
    for (size_t i = 0; i < nr; i++) {
        if (names[i] && str_eqc(word, names[i])) {
            return (int)i;
        }
    }
    return -1;
}

static void put_placement(struct buf *b, const struct placement *p) {
    rec_puts(b, "node", p->node);
    rec_put_u64(b, "cpu_milli", p->cpu_milli);
    rec_put_u64(b, "mem_bytes", p->mem_bytes);
    rec_put_u64(b, "clamped", p->clamped);
    char text[16 * 11 + 1] = "";
    size_t n = 0;
    for (uint32_t i = 0; i < p->nr_devices; i++) {
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%u", i ? "," : "", p->devices[i]);
    }
    rec_put(b, "devices", str_n(text, n));
}

static void put_exit(struct buf *b, const struct exit_info *x) {
    rec_puts(b, "kind", exit_kind_names[x->kind]);
    rec_put_i64(b, "value", x->value);
    rec_put_u64(b, "started_at", x->started_at);
    rec_put_u64(b, "ended_at", x->ended_at);
    if (x->kind == EXIT_OOM) {
        rec_put_u64(b, "mem_limit", x->mem_limit_bytes);
        rec_put_u64(b, "mem_peak", x->mem_peak_bytes);
    }
    if (x->why[0]) {
        rec_puts(b, "why", x->why);
    }
    if (x->stderr_tail[0]) {
        rec_puts(b, "stderr_tail", x->stderr_tail);
    }
}

static const char *const input_names[] = {[INPUT_IMAGE] = "image", [INPUT_PACKAGE] = "package"};

/* "image=URI DIGEST": digests have no spaces, names of objects may. */
static void put_inputs(struct buf *b, const struct event *ev) {
    for (size_t i = 0; i < ev->nr_inputs; i++) {
        const struct staged_input *in = &ev->inputs[i];
        auto_free char *text = xasprintf("%s %s", in->uri, in->digest);
        rec_puts(b, input_names[in->kind], text);
    }
}

static void put_reports(struct buf *b, const struct event *ev) {
    char value[32];
    for (size_t i = 0; i < ev->nr_reports; i++) {
        const struct metric_report *r = &ev->reports[i];
        rec_puts(b, "tag", r->tag);
        snprintf(value, sizeof(value), "%.17g", r->value);
        rec_puts(b, "value", value);
        rec_put_i64(b, "step", r->step);
        rec_put_u64(b, "at", r->timestamp);
    }
}

void event_encode(struct buf *b, const struct event *ev) {
    rec_begin(b);
    if (ev->attempt) {
        rec_put_u64(b, "attempt", ev->attempt);
    }
    switch (ev->type) {
    case EV_ATTEMPT_PLACED:
        for (uint32_t i = 0; i < ev->nr_places; i++) {
            put_placement(b, &ev->places[i]);
        }
        break;
    case EV_ATTEMPT_STEP:
        rec_puts(b, "step", step_names[ev->step]);
        rec_put_u64(b, "took_usec", ev->took);
        break;
    case EV_ATTEMPT_STAGED:
        put_inputs(b, ev);
        break;
    case EV_LAUNCH_INTENT:
        rec_puts(b, "nonce", ev->nonce);
        break;
    case EV_REPLICA_STARTED:
        rec_put_u64(b, "replica", ev->replica);
        rec_put_u64(b, "started_at", ev->started_at);
        break;
    case EV_REPLICA_EXITED:
        rec_put_u64(b, "replica", ev->replica);
        put_exit(b, ev->exit);
        break;
    case EV_REPLICA_LOST:
        rec_put_u64(b, "replica", ev->replica);
        rec_put_i64(b, "code", ev->code);
        rec_puts(b, "msg", ev->msg);
        break;
    case EV_ATTEMPT_FAILED:
        rec_put_i64(b, "code", ev->code);
        rec_puts(b, "msg", ev->msg);
        rec_put_u64(b, "forced", ev->forced);
        break;
    case EV_DEADLINE:
        rec_puts(b, "deadline", deadline_names[ev->deadline]);
        break;
    case EV_STOP_SENT:
        rec_put_i64(b, "signo", ev->signo);
        break;
    case EV_RETRY:
        rec_put_u64(b, "policy", ev->policy);
        rec_put_u64(b, "not_before", ev->not_before);
        rec_put_i64(b, "code", ev->code);
        rec_puts(b, "msg", ev->msg);
        break;
    case EV_JOB_DONE:
        rec_puts(b, "state", job_state_name(ev->state));
        rec_put_i64(b, "code", ev->code);
        rec_puts(b, "msg", ev->msg);
        break;
    case EV_MEASURED:
        put_reports(b, ev);
        break;
    case EV_JOB_CREATED:
    case EV_CANCEL_REQUESTED:
    case EV_ATTEMPT_RELEASED:
        break;
    case EV_TYPE_NR:
        CHECK(!"not an event type");
    }
}

static int bad(struct err *err, const struct store_event *in, const char *what) {
    return err_set(err, ERR_DATA_LOSS, "event %llu (%s): bad %s", (unsigned long long)in->seq,
                   event_type_name(in->type), what);
}

static void copy_text(char *to, size_t cap, struct str from) {
    size_t n = from.n < cap ? from.n : cap - 1;
    if (n) {
        memcpy(to, from.p, n);
    }
    to[n] = 0;
}

static bool get_devices(struct str text, struct placement *p) {
    while (text.n) {
        uint64_t v;
        if (p->nr_devices == NR_OF(p->devices) || !str_to_u64(str_cut(&text, ','), &v) ||
            v > UINT32_MAX) {
            return false;
        }
        p->devices[p->nr_devices++] = (uint32_t)v;
    }
    return true;
}

/* Placements are groups of repeated keys, in order, each begun by "node". */
static int get_placements(struct arena *a, const struct rec *r, const struct store_event *in,
                          struct event *ret, struct err *err) {
    struct placement *p = arena_calloc(a, r->n + 1, sizeof(*p));
    uint32_t n = 0;
    if (!p) {
        return bad(err, in, "placement count");
    }
    for (size_t i = 0; i < r->n; i++) {
        struct str key = r->p[i].key, value = r->p[i].value;
        uint64_t v = 0;
        if (str_eqc(key, "node")) {
            copy_text(p[n].node, sizeof(p[n].node), value);
            n++;
            continue;
        }
        if (n == 0) {
            continue;
        }
        struct placement *at = &p[n - 1];
        if (str_eqc(key, "devices")) {
            if (!get_devices(value, at)) {
                return bad(err, in, "device list");
            }
        } else if (str_eqc(key, "cpu_milli") && str_to_u64(value, &v) && v <= UINT32_MAX) {
            at->cpu_milli = (uint32_t)v;
        } else if (str_eqc(key, "mem_bytes") && str_to_u64(value, &v)) {
            at->mem_bytes = v;
        } else if (str_eqc(key, "clamped") && str_to_u64(value, &v)) {
            at->clamped = v != 0;
        }
    }
    if (n == 0) {
        return bad(err, in, "placement: there is none");
    }
    ret->places = p;
    ret->nr_places = n;
    return 0;
}

static int get_exit(struct arena *a, const struct rec *r, const struct store_event *in,
                    struct event *ret, struct err *err) {
    int kind = word_index(exit_kind_names, NR_OF(exit_kind_names), rec_get(r, "kind"));
    struct exit_info *x = arena_alloc(a, sizeof(*x));
    if (kind < 0 || !x) {
        return bad(err, in, "exit kind");
    }
    x->kind = (enum exit_kind)kind;
    x->value = (int)rec_get_i64(r, "value", 0);
    x->started_at = rec_get_u64(r, "started_at", 0);
    x->ended_at = rec_get_u64(r, "ended_at", 0);
    x->mem_limit_bytes = rec_get_u64(r, "mem_limit", 0);
    x->mem_peak_bytes = rec_get_u64(r, "mem_peak", 0);
    copy_text(x->why, sizeof(x->why), rec_get(r, "why"));
    copy_text(x->stderr_tail, sizeof(x->stderr_tail), rec_get(r, "stderr_tail"));
    ret->exit = x;
    return 0;
}

/* Groups of repeated keys, in order, each begun by "tag". */
static int get_reports(struct arena *a, const struct rec *r, const struct store_event *in,
                       struct event *ret, struct err *err) {
    struct metric_report *all = arena_calloc(a, r->n + 1, sizeof(*all));
    size_t n = 0;
    for (size_t i = 0; all && i < r->n; i++) {
        struct str key = r->p[i].key, value = r->p[i].value;
        if (str_eqc(key, "tag")) {
            all[n++].tag = value.p;
        } else if (n && str_eqc(key, "value")) {
            if (!str_to_double(value, &all[n - 1].value)) {
                return bad(err, in, "value");
            }
        } else if (n && str_eqc(key, "step")) {
            if (!str_to_i64(value, &all[n - 1].step)) {
                return bad(err, in, "step");
            }
        } else if (n && str_eqc(key, "at")) {
            (void)str_to_u64(value, &all[n - 1].timestamp);
        }
    }
    if (n == 0) {
        return bad(err, in, "list of reports: it is empty");
    }
    ret->reports = all;
    ret->nr_reports = n;
    return 0;
}

static int get_inputs(struct arena *a, const struct rec *r, const struct store_event *in,
                      struct event *ret, struct err *err) {
    struct staged_input *all = arena_calloc(a, r->n + 1, sizeof(*all));
    size_t n = 0;
    for (size_t i = 0; all && i < r->n; i++) {
        int kind = word_index(input_names, NR_OF(input_names), r->p[i].key);
        struct str value = r->p[i].value;
        size_t at = value.n;
        if (kind < 0) {
            continue;
        }
        while (at > 0 && value.p[at - 1] != ' ') {
            at--;
        }
        if (at < 2 || at == value.n) {
            return bad(err, in, input_names[kind]);
        }
        all[n].kind = (enum input_kind)kind;
        all[n].uri = arena_strndup(a, value.p, at - 1);
        all[n++].digest = arena_strndup(a, value.p + at, value.n - at);
    }
    ret->inputs = all;
    ret->nr_inputs = n;
    return 0;
}

static int get_state(struct str name, enum job_state *ret) {
    for (int s = 0; s <= JOB_STATE_PARTIALLY_SUCCEEDED; s++) {
        if (str_eqc(name, job_state_name((enum job_state)s))) {
            *ret = (enum job_state)s;
            return 0;
        }
    }
    return -1;
}

int event_decode(struct arena *a, const struct store_event *in, struct event *ret,
                 struct err *err) {
    struct rec r;
    if (in->type == 0 || in->type >= EV_TYPE_NR) {
        return err_set(err, ERR_DATA_LOSS,
                       "event %llu has type %u, which this version does not know",
                       (unsigned long long)in->seq, in->type);
    }
    if (in->version != EVENT_VERSION) {
        return bad(err, in, "version");
    }
    if (rec_parse(a, in->body, &r, err) != 0) {
        return err_wrap(err, "event %llu (%s)", (unsigned long long)in->seq,
                        event_type_name(in->type));
    }
    struct event ev = {.type = (enum event_type)in->type, .seq = in->seq, .time = in->time};
    ev.attempt = (uint32_t)rec_get_u64(&r, "attempt", 0);
    ev.replica = (uint32_t)rec_get_u64(&r, "replica", 0);
    ev.code = (int)rec_get_i64(&r, "code", 0);
    ev.msg = rec_get_cstr(&r, "msg");
    int word;
    switch (ev.type) {
    case EV_ATTEMPT_PLACED:
        if (get_placements(a, &r, in, &ev, err) != 0) {
            return -1;
        }
        break;
    case EV_ATTEMPT_STEP:
        word = word_index(step_names, NR_OF(step_names), rec_get(&r, "step"));
        if (word < 0) {
            return bad(err, in, "step");
        }
        ev.step = (enum stage_step)word;
        ev.took = rec_get_u64(&r, "took_usec", 0);
        break;
    case EV_ATTEMPT_STAGED:
        if (get_inputs(a, &r, in, &ev, err) != 0) {
            return -1;
        }
        break;
    case EV_LAUNCH_INTENT:
        ev.nonce = rec_get_cstr(&r, "nonce");
        if (!ev.nonce || strlen(ev.nonce) != 32) {
            return bad(err, in, "nonce");
        }
        break;
    case EV_REPLICA_STARTED:
        ev.started_at = rec_get_u64(&r, "started_at", 0);
        break;
    case EV_REPLICA_EXITED:
        if (get_exit(a, &r, in, &ev, err) != 0) {
            return -1;
        }
        break;
    case EV_ATTEMPT_FAILED:
        ev.forced = rec_get_u64(&r, "forced", 0) != 0;
        break;
    case EV_DEADLINE:
        word = word_index(deadline_names, NR_OF(deadline_names), rec_get(&r, "deadline"));
        if (word < 0) {
            return bad(err, in, "deadline");
        }
        ev.deadline = (enum deadline_kind)word;
        break;
    case EV_STOP_SENT:
        ev.signo = (int)rec_get_i64(&r, "signo", 0);
        break;
    case EV_RETRY:
        ev.policy = (unsigned)rec_get_u64(&r, "policy", 0);
        ev.not_before = rec_get_u64(&r, "not_before", 0);
        break;
    case EV_JOB_DONE:
        if (get_state(rec_get(&r, "state"), &ev.state) != 0 || !job_state_is_terminal(ev.state)) {
            return bad(err, in, "state");
        }
        break;
    case EV_MEASURED:
        if (get_reports(a, &r, in, &ev, err) != 0) {
            return -1;
        }
        break;
    case EV_JOB_CREATED:
    case EV_REPLICA_LOST:
    case EV_CANCEL_REQUESTED:
    case EV_ATTEMPT_RELEASED:
    case EV_TYPE_NR:
        break;
    }
    *ret = ev;
    return 0;
}
