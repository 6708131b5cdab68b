/* Every RPC method of the published contract and its HTTP bindings: constant tables made by
 * tools/pgen. src/api/route.h matches requests against them. Any thread. */
#ifndef CUSP_PB_RPC_H
#define CUSP_PB_RPC_H

#include "base/str.h"
#include "pb/rpc_id.h"

#include <protobuf-c/protobuf-c.h>

struct rpc_method {
    const char
        *full; /* "google.cloud.aiplatform.v1.JobService/CreateCustomJob": gRPC path less '/' */
    unsigned full_len;
    /* Index for handler tables. A v1beta1 method has the id of its v1 twin, or RPC_NONE when it has
     * none: known, never implemented. */
    enum rpc_id id;
    bool is_beta;
    /* v1 messages for both versions; NULL when v1 has no such message (then id is RPC_NONE). */
    const ProtobufCMessageDescriptor *input, *output;
    const char *lro_response, *lro_metadata; /* full type names; NULL when not an LRO */
    bool client_streams, server_streams;
};

struct route_var {
    const char *path; /* field path in the request, "name" or "custom_job.name" */
    uint8_t first, n; /* path segments it captures, the version prefix not counted */
};

struct route {
    const char *method;        /* "GET" */
    const char *template;      /* as in the .proto, version prefix included; for messages */
    const char *verb;          /* "cancel", or "" */
    const char *body;          /* "*", a field name, or "" when the request has no body */
    const char *response_body; /* "" almost always */
    const struct rpc_method *rpc;
    const struct route_var *vars;
    unsigned n_vars;
};

/* Trie over template segments; the first nodes are the roots: of v1 (and /ui), v1beta1, v2
 * (logging) and v3 (resource manager). */
struct route_node {
    uint16_t lit, n_lit;   /* route_lits[lit .. lit+n_lit), ordered by segment */
    uint16_t star;         /* child for any segment; 0 = none */
    uint16_t term, n_term; /* route_terms[...]: routes that end here */
};
struct route_lit {
    const char *seg;
    uint16_t len, node;
};
#define ROUTE_ROOT_V1 0
#define ROUTE_ROOT_BETA 1
#define ROUTE_ROOT_V2 2
#define ROUTE_ROOT_V3 3

extern const struct rpc_method rpc_table[]; /* ordered by full name */
extern const size_t rpc_table_n;
extern const struct route route_table[];
extern const size_t route_table_n;
extern const struct route_node route_nodes[];
extern const struct route_lit route_lits[];
extern const uint16_t route_terms[];

/* By "package.Service/Method"; NULL when unknown. */
const struct rpc_method *rpc_find(struct str full_name);

#endif
