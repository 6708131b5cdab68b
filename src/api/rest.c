/* REST: request line -> method -> message -> handler (architecture: docs/internals/http.md).
 * Order: route, is it built, body under its limit, decode, handle. Errors are Google's JSON form.
 */
#include "api/rest.h"

#include "api/rest_body.h"
#include "api/route.h"
#include "api/svc.h"
#include "api/unbuilt.h"
#include "base/enc.h"
#include "base/limits.h"
#include "pb/pbmask.h"

struct pending {
    struct call call;
    struct route_match match;
    struct str query;
    bool query_in_body; /* a long GET: POST with X-HTTP-Method-Override: GET and a form as body */
};

/* X-HTTP-Method-Override is for clients and proxies that know GET and POST only. */
static struct str method_of(struct xch *x) {
    const struct xch_head *h = xch_head(x);
    struct str override = str_trim(xch_header(x, "x-http-method-override"));
    if (str_eqc(h->method, "POST") && override.n) {
        return override;
    }
    return str_eqc(h->method, "HEAD") ? STR("GET") : h->method;
}

static void not_found(struct xch *x, const struct route_match *m, const struct err *why) {
    const struct xch_head *h = xch_head(x);
    struct str method = method_of(x);
    struct err err = *why;
    if (why->code == ERR_NOT_FOUND && m->path_known) {
        err_set(&err, ERR_NOT_FOUND, "%.*s is not allowed on %.*s; allowed: %s",
                (int)(method.n > 20 ? 20 : method.n), method.p,
                (int)(h->path.n > 300 ? 300 : h->path.n), h->path.p, m->allow);
    }
    reply_error(x, &err);
}

/* Known by the published contract, not built yet. */
static void unimplemented(struct xch *x, const struct rpc_method *rpc) {
    struct err err;
    (void)unbuilt_error(rpc, &err);
    reply_error(x, &err);
}

static bool lists_jobs(unsigned rpc_id) {
    return rpc_id == RPC_JOB_LIST_CUSTOM_JOBS ||
           rpc_id == RPC_JOB_LIST_HYPERPARAMETER_TUNING_JOBS ||
           rpc_id == RPC_PIPELINE_LIST_TRAINING_PIPELINES;
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

/* The parameters every method takes. Also given as headers (X-Goog-FieldMask), which gRPC has too.
 */
static int take_params(struct pending *p, struct str query, struct err *err) {
    struct call *c = &p->call;
    struct std_params std;
    if (route_std_params(query, c->arena, &std, err)) {
        return -1;
    }
    if (std.callback.p) {
        return err_field(err, ERR_INVALID_ARGUMENT, "callback",
                         "JSONP (callback=) is not supported.");
    }
    c->json = (struct pb_json_opts){.compact = std.is_compact,
                                    .enum_ints = std.enum_ints,
                                    .version = p->match.prefix == ROUTE_PREFIX_V1BETA1 ? PB_V1BETA1
                                                                                       : PB_V1};
    struct str fields = std.fields.n ? std.fields : xch_header(c->xch, "x-goog-fieldmask");
    if (fields.n && (pb_mask_parse(c->arena, fields, &c->json.mask, err) ||
                     pb_mask_check(c->json.mask, c->rpc->output, err))) {
        return -1;
    }
    p->query = query.p && lists_jobs(c->rpc->id) ? take_order_by(p, query) : query;
    return 0;
}

static void on_body(struct xch *x, void *arg, struct str raw, const struct err *err) {
    struct pending *p = arg;
    struct call *c = &p->call;
    struct str body;
    struct err e;
    int status = 0;
    if (err) {
        e = *err;
        call_fail(c, &e);
        return;
    }
    if (rest_body_text(c->arena, xch_header(x, "content-encoding"), raw, &body, &status, &e)) {
        if (status) {
            struct api_error ae;
            api_error_from(c->arena, &e, &ae);
            rest_error(x, status, &ae);
            xch_unref(x);
        } else {
            call_fail(c, &e);
        }
        return;
    }
    if (p->query_in_body) {
        struct buf both = BUF_INIT(limits.max_api_body + limits.max_header_bytes);
        buf_put_str(&both, xch_head(x)->query);
        buf_putc(&both, '&');
        buf_put_str(&both, body);
        struct str query = arena_str(c->arena, buf_str(&both));
        buf_fini(&both);
        if (!query.p) {
            err_set(&e, ERR_RESOURCE_EXHAUSTED, "Request needs more memory than allowed");
            call_fail(c, &e);
            return;
        }
        if (take_params(p, query, &e)) {
            call_fail(c, &e);
            return;
        }
        body = STR("");
    }
    decode_and_handle(p, body);
}

/* A GET too long for a URL is sent as POST, its query as a form in the body. */
static bool is_long_get(struct xch *x) {
    struct str type = xch_header(x, "content-type");
    return str_eqc(xch_head(x)->method, "POST") && str_eqc(method_of(x), "GET") &&
           str_ieq(str_trim(str_cut(&type, ';')), STR("application/x-www-form-urlencoded"));
}

void rest_handle(struct api *a, struct xch *x) {
    const struct xch_head *h = xch_head(x);
    struct arena *arena = xch_arena(x);
    struct pending *p = arena_own(arena, sizeof(*p));
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
    p->call = (struct call){
        .ops = &rest_call_ops,
        .api = a,
        .deadline = USEC_NEVER,
        .xch = xch_ref(x),
        .arena = arena,
        .route = route,
        .rpc = route->rpc,
    };
    p->query_in_body = is_long_get(x);
    if (take_params(p, h->query, &err)) { /* what is wrong here is told without reading the body */
        call_fail(&p->call, &err);
        return;
    }
    if (h->has_body) {
        xch_collect_body(x, limits.max_api_body, on_body, p);
    } else {
        decode_and_handle(p, STR(""));
    }
}
