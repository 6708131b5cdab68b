/* GET /cusp/v1/projects/P/locations/L/customJobs/ID:streamLogs?follow=true&task=workerpool0-0
 * (of hyperparameterTuningJobs too: their service lines)
 * A job's log as JSON lines (chunked), live until the job is over: one object a line with time,
 * severity, task, attempt, seq, message. Back-pressure reaches down to the files.
 *
 * follow=false: what is there, to its end. format=text: "TIME SEVERITY TASK MESSAGE" a line.
 * after=TASK:ATTEMPT:SEQ,…: a reader that comes again gets of these streams what is behind.
 * The reply's x-cusp-log-bytes says about how much there is now, for progress.
 *
 * GET /logs/viewer?resource=ml_job%2Fjob_id%2FID: the same of one job as text, what is there. Error
 * messages of jobs point to it, in the form that Google's have.
 *
 * With "Upgrade: websocket" each object is one text message, for pages and whoever wants to know at
 * once that the other side is gone; close code 1000 is the end of the log. */
#include "api/call.h"
#include "api/cusp_path.h"
#include "api/origin.h"
#include "ctl/tuning.h"
#include "logs/logs.h"
#include "logs/recognise.h"
#include "net/ws.h"

static const struct kind {
    const char *word, *collection;
    bool is_tuning; /* else a custom job */
    bool (*outlook)(struct ctl *, struct str name, struct job_outlook *ret);
} kinds[] = {{"CustomJob", "customJobs", false, ctl_job_outlook},
             {"HyperparameterTuningJob", "hyperparameterTuningJobs", true, ctl_tuning_outlook}};

struct stream {
    struct api *api;
    const struct kind *kind;
    struct xch *xch;
    struct ws *ws; /* NULL: lines of a chunked reply */
    struct name_parts name;
    struct store_get get;
    struct log_follow *follow;
    struct str task;
    struct log_place *after;
    size_t nr_after;
    bool live, ended, is_text, begun;
    bool is_viewer; /* nothing is known of the job but its log */
};

#define AFTER_MAX 1024u /* streams of one "after" */

static void put_text(struct buf *b, const struct log_line *l) {
    time_format_rfc3339_nano(b, l->time);
    buf_printf(b, " %s %s ", severity_word(l->severity), l->task);
    buf_put_str(b, l->text);
}

static void put_json(struct buf *b, const struct log_line *l) {
    auto_buf struct buf t = BUF_INIT(64);
    struct jw w;
    jw_init(&w, b, 0);
    jw_object(&w);
    time_format_rfc3339_nano(&t, l->time);
    jw_kv(&w, "timestamp", buf_cstr(&t));
    jw_kv(&w, "severity", severity_word(l->severity));
    jw_kv(&w, "task", l->task);
    jw_key(&w, "attempt");
    jw_u64(&w, l->attempt);
    jw_key(&w, "seq");
    jw_u64(&w, l->seq);
    if (l->stream == SEG_STDERR) {
        jw_kv(&w, "stream", "stderr");
    }
    if (l->partial) {
        jw_key(&w, "partial");
        jw_bool(&w, true);
    }
    jw_key(&w, "message");
    jw_str(&w, l->text);
    jw_end_object(&w);
}

static void begin_reply(struct stream *s, struct str size) {
    const struct header h[] = {
        {STR("content-type"), s->is_text ? STR("text/plain; charset=utf-8")
                                         : STR("application/x-ndjson; charset=utf-8")},
        {STR("cache-control"), STR("no-store")},
        {STR("x-accel-buffering"), STR("no")},
        {STR("x-content-type-options"), STR("nosniff")},
        {STR("x-cusp-log-bytes"), size},
    };
    xch_start(s->xch, 200, h, NR_OF(h), -1);
    if (s->live) {
        xch_reply_is_endless(s->xch);
    }
    s->begun = true;
}

static bool on_line(void *arg, const struct log_line *l) {
    struct stream *s = arg;
    auto_buf struct buf b = BUF_INIT(4 << 20);
    if (!s->begun && !s->ws) {
        begin_reply(s, STR("0"));
    }
    (s->is_text ? put_text : put_json)(&b, l);
    if (s->ws) {
        return ws_send(s->ws, true, buf_str(&b));
    }
    buf_putc(&b, '\n');
    return xch_write(s->xch, buf_str(&b));
}

static void close_stream(struct stream *s) {
    struct xch *x = s->xch;
    s->ended = true;
    s->follow = NULL;
    xch_unref(x);
}

static void on_end(void *arg, const struct err *err) {
    struct stream *s = arg;
    if (s->ws) {
        s->follow = NULL;
        ws_close(s->ws, err ? WS_INTERNAL : WS_NORMAL, err ? err->msg : "");
        return; /* ws_closed follows */
    }
    struct err none;
    if (!s->begun && !err) {
        err_set(&none, ERR_NOT_FOUND, "There is no log of job \"%.*s\".", STR_ARG(s->name.rest));
        err = &none;
    }
    if (err && !s->begun) {
        reply_error(s->xch, err);
    } else if (err) {
        xch_abort(s->xch);
    } else {
        xch_end(s->xch);
    }
    close_stream(s);
}

static void on_gone(struct xch *x, void *arg) {
    struct stream *s = arg;
    if (!s->ended && s->follow) {
        log_follow_stop(s->follow);
        xch_abort(x);
        close_stream(s);
    }
}

static void on_drain(struct xch *x, void *arg) {
    struct stream *s = arg;
    if (!s->ended && s->follow) {
        log_follow_resume(s->follow);
    }
}

static void ws_closed(struct ws *w, void *arg, int code) {
    struct stream *s = arg;
    (void)code;
    if (s->follow) {
        log_follow_stop(s->follow);
    }
    close_stream(s);
}

static void ws_drain(struct ws *w, void *arg) {
    struct stream *s = arg;
    if (s->follow) {
        log_follow_resume(s->follow);
    }
}

/* The follow is running. */
static void begin_websocket(struct stream *s) {
    static const struct ws_ops ops = {.closed = ws_closed, .drain = ws_drain};
    s->ws = ws_accept(s->xch, &ops, s);
    if (!s->ws) {
        log_follow_stop(s->follow);
        close_stream(s);
    }
}

/* The head of a chunked reply goes out with what the first look found. */
static void on_begin(void *arg, uint64_t bytes) {
    struct stream *s = arg;
    char size[24];
    snprintf(size, sizeof(size), "%llu", (unsigned long long)bytes);
    if (!s->ws && !s->is_viewer) {
        begin_reply(s, str_of(size));
    }
}

/* A job that is over has all its service lines queued or written; only a crash between the last
 * commit and the last line can have lost the end of the stream. Closing it again is harmless, and
 * without it a follower would wait for ever. */
static void close_finished(struct stream *s, const struct store_row *row, const char *job_id) {
    struct arena *a = xch_arena(s->xch);
    struct job_status job = {0};
    struct tuning_status tuning = {0};
    struct job_outlook o;
    if (s->kind->outlook(s->api->ctl, s->name.canonical, &o)) {
        return; /* the row was read before its commit was told to us: the last lines are to come */
    }
    int rc = s->kind->is_tuning ? tuning_status_decode(a, row->status, &tuning, NULL)
                                : job_status_decode(a, row->status, &job, NULL);
    if (rc == 0 && job_state_is_terminal(s->kind->is_tuning ? tuning.state : job.state)) {
        logs_service_end(s->api->logs, job_id);
    }
}

static void on_row(struct store_get *g, const struct store_row *row, const struct err *err) {
    struct stream *s = g->arg;
    struct xch *x = s->xch;
    struct err e;
    if (err ? err->code == ERR_NOT_FOUND : !row) {
        err_set(&e, ERR_NOT_FOUND, "The %s \"%.*s\" does not exist.", s->kind->word,
                STR_ARG(s->name.canonical));
        err = &e;
    }
    if (!err) {
        struct str id = str_sub(s->name.rest, strlen(s->kind->collection) + 1, s->name.rest.n);
        struct log_follow_opts o = {
            .job_id = arena_strndup(xch_arena(x), id.p, id.n),
            .task = s->task.n ? arena_strndup(xch_arena(x), s->task.p, s->task.n) : NULL,
            .after = s->after,
            .nr_after = s->nr_after,
            .follow = s->live,
            .on_begin = on_begin,
            .on_line = on_line,
            .on_end = on_end,
            .arg = s,
        };
        close_finished(s, row, o.job_id);
        s->follow = xch_is_gone(x) ? NULL : log_follow_start(s->api->logs, &o, &e);
        err = s->follow || xch_is_gone(x) ? NULL : &e;
        if (s->follow && ws_is_asked(x)) {
            begin_websocket(s);
            return;
        }
        if (s->follow) {
            xch_on_gone(x, on_gone, s);
            xch_on_drain(x, on_drain, s);
            return;
        }
    }
    if (err) {
        reply_error(x, err);
    } else {
        xch_abort(x);
    }
    xch_unref(x);
}

/* "workerpool0-0:1:4711,service:0:12" */
static int parse_after(struct stream *s, struct str text, struct err *err) {
    struct str rest = text;
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        n += text.p[i] == ',';
    }
    if (n >= AFTER_MAX) {
        return err_field(err, ERR_INVALID_ARGUMENT, "after", "after names more than %u streams",
                         AFTER_MAX);
    }
    s->after = arena_own_array(xch_arena(s->xch), n + 1, sizeof(*s->after));
    while (rest.p && text.n) {
        struct str item = str_cut(&rest, ','), fields = item;
        struct log_place *p = &s->after[s->nr_after++];
        uint64_t attempt;
        p->task = str_cut(&fields, ':');
        struct str number = str_cut(&fields, ':');
        if (!p->task.n || !str_to_u64(number, &attempt) || attempt > UINT32_MAX ||
            !str_to_u64(fields, &p->seq)) {
            return err_field(err, ERR_INVALID_ARGUMENT, "after", "\"%.*s\" is not TASK:ATTEMPT:SEQ",
                             (int)(item.n > 100 ? 100 : item.n), item.p);
        }
        p->attempt = (uint32_t)attempt;
    }
    return 0;
}

/* Whose log a viewer's URL asks for; empty: it is none, but perhaps an object "viewer" of a bucket.
 */
static struct str viewer_job(struct xch *x) {
    if (!str_eqc(xch_head(x)->path, "/logs/viewer") || !str_eqc(xch_head(x)->method, "GET")) {
        return STR("");
    }
    struct str resource = cusp_query_get(x, "resource"), head = STR("ml_job/job_id/");
    struct str id = str_starts(resource, head) ? str_sub(resource, head.n, resource.n) : STR("");
    uint64_t number;
    return str_to_u64(id, &number) ? id : STR("");
}

static bool viewer(struct api *a, struct xch *x) {
    struct str id = viewer_job(x);
    struct err err;
    if (!id.n) {
        return false;
    }
    struct stream *s = arena_own(xch_arena(x), sizeof(*s));
    *s = (struct stream){.api = a, .xch = x, .is_text = true, .is_viewer = true};
    s->name.rest = id;
    struct log_follow_opts o = {
        .job_id = arena_strndup(xch_arena(x), s->name.rest.p, s->name.rest.n),
        .on_begin = on_begin,
        .on_line = on_line,
        .on_end = on_end,
        .arg = s,
    };
    (void)xch_ref(x);
    s->follow = log_follow_start(a->logs, &o, &err);
    if (!s->follow) {
        reply_error(x, &err);
        xch_unref(x);
        return true;
    }
    xch_on_gone(x, on_gone, s);
    xch_on_drain(x, on_drain, s);
    return true;
}

bool logstream_handle(struct api *a, struct xch *x) {
    struct str name;
    struct err err;
    if (viewer(a, x)) {
        return true;
    }
    if (!cusp_path_match(x, ":streamLogs", &name)) {
        return false;
    }
    struct stream *s = arena_own(xch_arena(x), sizeof(*s));
    s->kind = str_find(name, STR("/hyperparameterTuningJobs/")) >= 0 ? &kinds[1] : &kinds[0];
    if (name_parse_in(a->projects, xch_arena(x), name, s->kind->collection, "name", &s->name,
                      &err)) {
        reply_error(x, &err);
        return true;
    }
    /* Scripts of other sites cannot read a reply, but they can read a WebSocket. */
    struct str origin = xch_header(x, "origin");
    if (ws_is_asked(x) && origin.p && !origin_is_own(origin, xch_head(x)->authority)) {
        err_set(&err, ERR_PERMISSION_DENIED,
                "WebSockets from web pages of another origin (\"%.*s\") are refused",
                (int)(origin.n > 100 ? 100 : origin.n), origin.p);
        reply_error(x, &err);
        return true;
    }
    struct str live = cusp_query_get(x, "follow"), format = cusp_query_get(x, "format");
    s->api = a;
    s->xch = x;
    s->is_text = str_eqc(format, "text");
    if (format.n && !s->is_text && !str_eqc(format, "json")) {
        err_field(&err, ERR_INVALID_ARGUMENT, "format", "format is json or text, not \"%.*s\"",
                  (int)(format.n > 100 ? 100 : format.n), format.p);
        reply_error(x, &err);
        return true;
    }
    if (parse_after(s, cusp_query_get(x, "after"), &err)) {
        reply_error(x, &err);
        return true;
    }
    (void)xch_ref(x);
    s->task = cusp_query_get(x, "task");
    s->live = !live.p || str_ieq(live, STR("true")) || str_eqc(live, "1");
    s->get = (struct store_get){
        .name = s->name.canonical, .arena = xch_arena(x), .cb = on_row, .arg = s};
    a->store->ops->get(a->store, &s->get);
    return true;
}
