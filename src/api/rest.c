/* REST: request line -> method -> message -> handler (architecture: docs/internals/http.md).
 * Order: route, is it built, body under its limit, decode, handle. Errors are Google's JSON form.
 */
#include "api/rest.h"

#include "api/route.h"
#include "api/svc.h"
#include "base/enc.h"
#include "base/limits.h"
#include "pb/pbmask.h"

struct pending {
    struct call call;
    struct route_match match;
    struct str query;
};

static void not_found(struct xch *x, const struct route_match *m, const struct err *why) {
    const struct xch_head *h = xch_head(x);
    struct err err = *why;
    if (why->code == ERR_NOT_FOUND && m->path_known) {
        err_set(&err, ERR_NOT_FOUND, "%.*s is not allowed on %.*s; allowed: %s", STR_ARG(h->method),
                (int)(h->path.n > 300 ? 300 : h->path.n), h->path.p, m->allow);
    }
    reply_error(x, &err);
}

/* Known by the published contract, not built yet. */
static void unimplemented(struct xch *x, const struct rpc_method *rpc) {
    struct err err;
    err_set(&err, ERR_UNIMPLEMENTED, "Operation is not implemented, or supported, or enabled. (%s)",
            rpc->full);
    reply_error(x, &err);
}

/* orderBy is no field of the list requests of jobs (reference 01 §1); cusp takes it all the same.
 * Returns the query without it. */
static struct str take_order_by(struct pending *p, struct str query) {
    struct buf kept = BUF_INIT(query.n + 1);
    struct str rest = query;
    while (rest.p) {
        struct str one = str_cut(&rest, '&'), value = one;
        struct str key = str_cut(&value, '=');
        if ((str_eqc(key, "orderBy") || str_eqc(key, "order_by")) && value.p &&
            enc_unpercent(p->call.arena, value, true, &p->call.order_by)) {
            continue;
        }
        if (kept.n) {
            buf_putc(&kept, '&');
        }
        buf_put_str(&kept, one);
    }
    struct str out = arena_str(p->call.arena, buf_str(&kept));
    buf_fini(&kept);
    return out;
}

static void decode_and_handle(struct pending *p, struct str body) {
    struct call *c = &p->call;
    struct violations vs;
    struct err err;
    c->body = body;
    violations_init(&vs, c->arena);
    if (route_decode(c->route, &p->match, p->query, body, c->arena, &c->req, &vs, &err)) {
        /* Decoding texts are whole sentences: shown as they are, not as a numbered list. */
        call_fail_decoding(c, &err, &vs);
        return;
    }
    call_handler_find(c->rpc->id)(c);
}

static void on_body(struct xch *x, void *arg, struct str body, const struct err *err) {
    struct pending *p = arg;
    if (err) {
        struct err e = *err;
        call_fail(&p->call, &e);
    } else {
        decode_and_handle(p, body);
    }
}

static struct str method_of(struct xch *x) {
    const struct xch_head *h = xch_head(x);
    struct str override = xch_header(x, "x-http-method-override");
    if (str_eqc(h->method, "POST") && override.n) {
        return override;
    }
    return str_eqc(h->method, "HEAD") ? STR("GET") : h->method;
}

void rest_handle(struct api *a, struct xch *x) {
    const struct xch_head *h = xch_head(x);
    struct arena *arena = xch_arena(x);
    struct pending *p = arena_own(arena, sizeof(*p));
    struct std_params std;
    struct err err;
    const struct route *route = route_match(method_of(x), h->path, arena, &p->match, &err);
    if (!route) {
        not_found(x, &p->match, &err);
        return;
    }
    if (!call_handler_find(route->rpc->id)) {
        unimplemented(x, route->rpc);
        return;
    }
    if (route_std_params(h->query, arena, &std, &err)) {
        reply_error(x, &err);
        return;
    }
    if (std.callback.p) {
        err_field(&err, ERR_INVALID_ARGUMENT, "callback", "JSONP (callback=) is not supported.");
        reply_error(x, &err);
        return;
    }
    p->call = (struct call){
        .ops = &rest_call_ops,
        .api = a,
        .deadline = USEC_NEVER,
        .xch = xch_ref(x),
        .arena = arena,
        .route = route,
        .rpc = route->rpc,
        .json = {.compact = std.is_compact,
                 .enum_ints = std.enum_ints,
                 .version = p->match.prefix == ROUTE_PREFIX_V1BETA1 ? PB_V1BETA1 : PB_V1},
    };
    p->query = h->query;
    if (std.fields.n && pb_mask_parse(arena, std.fields, &p->call.json.mask, &err)) {
        call_fail(&p->call, &err);
        return;
    }
    if (route->rpc->id == RPC_JOB_LIST_CUSTOM_JOBS && h->query.p) {
        p->query = take_order_by(p, h->query);
    }
    if (h->has_body) {
        xch_collect_body(x, limits.max_api_body, on_body, p);
    } else {
        decode_and_handle(p, STR(""));
    }
}
