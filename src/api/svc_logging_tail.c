/* google.logging.v2 TailLogEntries: a search that is done again and again behind what was sent.
 * Lines of one replica come in order, but another replica's may come in late by what its runner
 * takes to write: each look goes back a little and leaves out what was sent. */
#include "api/svc_logging.h"

#include "api/svc.h"
#include "base/limits.h"
#include "base/map.h"

#define LOOK_BACK (2 * USEC_PER_SEC)
#define LOOK_JOB (40 * USEC_PER_MSEC)      /* between looks when jobs are named */
#define LOOK_PROJECT (250 * USEC_PER_MSEC) /* when every job of the project is looked at */
#define PAGE 1000u
#define SEEN_MAX 200000u

struct tail {
    struct call *call;
    struct log_search search;
    struct arena *arena, *page; /* of the query; of one look */
    struct query *query;
    struct log_scope *scopes;
    size_t nr_scopes;
    struct timer timer;
    struct map seen, seen_before; /* two generations of LOOK_BACK */
    usec_t turned, began;
    bool has_began, has_answered, busy, cancelled, slow, by_job;
};

static void look(struct tail *t);

static usec_t wall(const struct tail *t) {
    return t->call->api->clock->ops->wall(t->call->api->clock);
}

static void tail_end(struct tail *t) {
    struct call *c = t->call;
    c->api->clock->ops->disarm(c->api->clock, &t->timer);
    query_close(t->query);
    map_fini(&t->seen);
    map_fini(&t->seen_before);
    arena_free(t->arena);
    arena_free(t->page);
    call_end(c);
}

static void tail_fail(struct tail *t, const struct err *err) {
    struct call *c = t->call;
    c->api->clock->ops->disarm(c->api->clock, &t->timer);
    query_close(t->query);
    map_fini(&t->seen);
    map_fini(&t->seen_before);
    arena_free(t->arena);
    arena_free(t->page);
    call_fail(c, err);
}

static void look_later(struct tail *t) {
    struct clock *k = t->call->api->clock;
    k->ops->arm(k, &t->timer, k->ops->mono(k) + (t->by_job ? LOOK_JOB : LOOK_PROJECT));
}

static void on_timer(struct timer *timer) {
    struct tail *t = CONTAINER_OF(timer, struct tail, timer);
    if (!t->busy && !t->slow) {
        look(t);
    }
}

static bool is_new(struct tail *t, const Google__Logging__V2__LogEntry *e) {
    char key[2 * INSERT_ID_MAX];
    int n = snprintf(key, sizeof(key), "%lld.%09d %s", (long long)e->timestamp->seconds,
                     e->timestamp->nanos, e->insert_id);
    struct str k = str_n(key, (size_t)n);
    if (map_get(&t->seen, k) || map_get(&t->seen_before, k)) {
        return false;
    }
    if (t->seen.n < SEEN_MAX) {
        map_put(&t->seen, k, t);
    }
    return true;
}

static void turn(struct tail *t) {
    usec_t now = wall(t);
    if (now > t->turned + LOOK_BACK + USEC_PER_SEC) {
        map_fini(&t->seen_before);
        t->seen_before = t->seen;
        map_init(&t->seen);
        t->turned = now;
    }
}

static void on_page(struct log_search *s, const struct err *err) {
    struct tail *t = CONTAINER_OF(s, struct tail, search);
    t->busy = false;
    if (t->cancelled) {
        tail_end(t);
        return;
    }
    if (err) {
        tail_fail(t, err);
        return;
    }
    Google__Logging__V2__TailLogEntriesResponse resp =
        GOOGLE__LOGGING__V2__TAIL_LOG_ENTRIES_RESPONSE__INIT;
    turn(t);
    for (size_t i = 0; i < s->nr_entries; i++) {
        if (is_new(t, s->entries[i])) {
            s->entries[resp.n_entries++] = s->entries[i];
        }
    }
    resp.entries = s->entries;
    if (s->more) {
        s->after = s->last;
    } else {
        usec_t back = wall(t) - LOOK_BACK, at = back > t->began ? back : t->began;
        s->after = (struct log_position){.sec = (int64_t)(at / USEC_PER_SEC),
                                         .nanos = (int32_t)(at % USEC_PER_SEC) * 1000};
    }
    bool more = s->more;
    /* The first answer comes at once, empty or not: Google's Python runtime waits for it before it
     * gives the stream to its user. Not to Google's Java library, which takes it that every answer
     * has an entry. */
    t->slow = (resp.n_entries || !t->has_answered) && !call_send(t->call, &resp.base);
    t->has_answered = true;
    if (!t->slow && more) {
        look(t);
    } else if (!t->slow) {
        look_later(t);
    }
}

static void look(struct tail *t) {
    t->busy = true;
    arena_clear(t->page);
    t->search.nr_entries = 0;
    t->search.more = false;
    log_search_start(t->call->api->logs, &t->search);
}

static void tail_drained(struct call *c, void *arg) {
    struct tail *t = arg;
    if (t->slow) {
        t->slow = false;
        if (!t->busy) {
            look(t);
        }
    }
}

static void tail_cancelled(struct call *c, void *arg) {
    struct tail *t = arg;
    t->cancelled = true;
    if (!t->busy) {
        tail_end(t);
    }
}

static void tail_message(struct call *c, void *arg, const ProtobufCMessage *msg) {
    struct tail *t = arg;
    const Google__Logging__V2__TailLogEntriesRequest *req =
        (const Google__Logging__V2__TailLogEntriesRequest *)msg;
    struct query_scope scope;
    struct err err;
    if (!req || t->has_began) { /* later messages only say that the client is there */
        if (req) {
            call_next(c);
        } else if (!t->has_began) {
            err_set(&err, ERR_INVALID_ARGUMENT, "a tail begins with a request");
            tail_fail(t, &err);
        }
        return;
    }
    char *filter = arena_strdup(t->arena, req->filter);
    if (!filter || str_of(filter).n > limits.max_filter_bytes) {
        err_field(&err, ERR_INVALID_ARGUMENT, "filter",
                  "The filter is longer than "
                  "max_filter_bytes");
        tail_fail(t, &err);
        return;
    }
    if (log_scopes_of(c, t->arena, req->resource_names, req->n_resource_names, &t->scopes,
                      &t->nr_scopes, &err) ||
        query_parse(t->arena, str_of(filter), &t->query, &err)) {
        tail_fail(t, &err);
        return;
    }
    query_get_scope(t->query, t->arena, &scope);
    t->by_job = !scope.any_job;
    t->has_began = true;
    t->began = wall(t);
    t->search = (struct log_search){
        .scopes = t->scopes,
        .nr_scopes = t->nr_scopes,
        .query = t->query,
        .page_size = PAGE,
        .has_after = true,
        .after = {.sec = (int64_t)(t->began / USEC_PER_SEC),
                  .nanos = (int32_t)(t->began % USEC_PER_SEC) * 1000},
        .arena = t->page,
        .cb = on_page,
    };
    look(t);
    call_next(c);
}

void svc_logging_tail(struct call *c) {
    static const struct call_listener listener = {
        .drained = tail_drained, .cancelled = tail_cancelled, .message = tail_message};
    struct tail *t;
    struct err err;
    if (!c->ops->listen) { /* over REST there is nothing to stream to */
        err_set(&err, ERR_UNIMPLEMENTED, "entries:tail is served over gRPC");
        call_fail(c, &err);
        return;
    }
    t = arena_own(c->arena, sizeof(*t));
    t->call = c;
    t->arena = arena_new(limits.max_filter_bytes * 256);
    t->page = arena_new(ARENA_NO_MAX);
    map_init(&t->seen);
    map_init(&t->seen_before);
    t->turned = wall(t);
    t->timer.fn = on_timer;
    t->has_answered = str_find(xch_header(c->xch, "user-agent"), STR("grpc-java")) >= 0;
    call_listen(c, &listener, t);
    call_next(c);
}
