/* From a request line to a method and its request message, by the generated HTTP bindings.
 *
 * route_match finds the binding; route_decode makes the message from path, query and body. Both are
 * pure: any thread, no state; results live in the arena. The caller has already applied
 * X-HTTP-Method-Override and treats HEAD as GET. */
#ifndef CUSP_API_ROUTE_H
#define CUSP_API_ROUTE_H

#include "base/arena.h"
#include "base/err.h"
#include "pb/pb.h"
#include "pb/rpc.h"

#define ROUTE_SEGMENTS_MAX 32
#define ROUTE_VARS_MAX 4
#define ROUTE_QUERY_MAX 256 /* parameters of one request */

enum route_prefix {
    ROUTE_PREFIX_NONE = 0,
    ROUTE_PREFIX_V1,
    ROUTE_PREFIX_V1BETA1,
    ROUTE_PREFIX_UI,
    ROUTE_PREFIX_V2, /* google.logging.v2 */
    ROUTE_PREFIX_V3  /* google.cloud.resourcemanager.v3 */
};

struct route_match {
    enum route_prefix prefix;
    struct str vars[ROUTE_VARS_MAX]; /* values of route->vars, percent-decoded, UTF-8, no NUL */
    bool path_known;                 /* on failure: another method would have matched */
    char allow[48];                  /* then: those methods, "GET, DELETE" */
};

/* path is raw (percent-encoded, no query); repeated and trailing slashes count as one and none.
 * NULL with *err: NOT_FOUND (unknown path, or path_known), INVALID_ARGUMENT (bad escape). *ret is
 * always filled. */
const struct route *route_match(struct str method, struct str path, struct arena *a,
                                struct route_match *ret, struct err *err);

/* The parameters every method takes (reference 10 §4). */
struct std_params {
    bool enum_ints;  /* alt or $alt = json;enum-encoding=int */
    bool is_compact; /* prettyPrint=false */
    bool old_errors; /* $.xgafv=1: errors in the older of their two forms */
    struct str fields, callback, key, access_token, quota_user; /* .p NULL when not given */
};

/* Query only: fills *ret with the standard parameters. INVALID_ARGUMENT for an alt we cannot answer
 * in or a malformed escape. Other parameters are left to route_decode. */
int route_std_params(struct str query, struct arena *a, struct std_params *ret, struct err *err);

/* The request message: body (by the binding's rule), then query parameters, then path variables,
 * which win. vs is initialised by the caller and gets everything found wrong; err has the same
 * text. UNIMPLEMENTED when the method has no messages here (v1beta1 only). query.p may be NULL. */
int route_decode(const struct route *route, const struct route_match *match, struct str query,
                 struct str body, struct arena *a, ProtobufCMessage **ret, struct violations *vs,
                 struct err *err);

#endif
