/* grpc.health.v1: "" is the whole server, a service is up when at least one of its methods is
 * built. */
#include "api/svc.h"

#include "pb/descset.h"
#include "pb/rpc.h"

#define STATUS(NAME) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##NAME

static Grpc__Health__V1__HealthCheckResponse__ServingStatus status_of(const struct api *a,
                                                                      struct str service) {
    Grpc__Health__V1__HealthCheckResponse__ServingStatus found = STATUS(SERVICE_UNKNOWN);
    if (!service.n) {
        return a->ready ? STATUS(SERVING) : STATUS(NOT_SERVING);
    }
    for (size_t i = 0; i < rpc_table_n; i++) {
        struct str full = str_n(rpc_table[i].full, rpc_table[i].full_len);
        if (full.n > service.n && full.p[service.n] == '/' && str_starts(full, service)) {
            if (a->ready && call_handler_find(rpc_table[i].id)) {
                return STATUS(SERVING);
            }
            found = STATUS(NOT_SERVING);
        }
    }
    return found;
}

void svc_health_check(struct call *c) {
    struct str service = str_of(((Grpc__Health__V1__HealthCheckRequest *)c->req)->service);
    Grpc__Health__V1__HealthCheckResponse resp = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    struct err err;
    resp.status = status_of(c->api, service);
    if (resp.status == STATUS(SERVICE_UNKNOWN)) {
        err_set(&err, ERR_NOT_FOUND, "unknown service %.*s",
                (int)(service.n > 200 ? 200 : service.n), service.p);
        call_fail(c, &err);
        return;
    }
    call_reply(c, &resp.base);
}

static void add_status(struct call *c, Grpc__Health__V1__HealthListResponse *resp,
                       struct str service) {
    Grpc__Health__V1__HealthListResponse__StatusesEntry *e = arena_own(c->arena, sizeof(*e));
    grpc__health__v1__health_list_response__statuses_entry__init(e);
    e->key = arena_own(c->arena, service.n + 1);
    memcpy(e->key, service.p, service.n);
    e->value = arena_own(c->arena, sizeof(*e->value));
    grpc__health__v1__health_check_response__init(e->value);
    e->value->status = status_of(c->api, service);
    resp->statuses[resp->n_statuses++] = e;
}

void svc_health_list(struct call *c) {
    Grpc__Health__V1__HealthListResponse resp = GRPC__HEALTH__V1__HEALTH_LIST_RESPONSE__INIT;
    size_t n = descset_service_count();
    resp.statuses = arena_own_array(c->arena, n + 1, sizeof(*resp.statuses));
    add_status(c, &resp, STR(""));
    for (size_t i = 0; i < n; i++) {
        add_status(c, &resp, descset_service(i));
    }
    call_reply(c, &resp.base);
}

/* ---- Watch: what is true now, and again when the server goes. Nothing else changes it: the port
 * opens when the server is ready. */

static void send_status(struct call *c, Grpc__Health__V1__HealthCheckResponse__ServingStatus s) {
    Grpc__Health__V1__HealthCheckResponse resp = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    resp.status = s;
    (void)call_send(c, &resp.base); /* two small messages a call: no need to pause */
}

static void watch_cancelled(struct call *c, void *arg) {
    call_end(c);
}

static void watch_closing(struct call *c, void *arg) {
    send_status(c, STATUS(NOT_SERVING));
}

void svc_health_watch(struct call *c) {
    static const struct call_listener listener = {.cancelled = watch_cancelled,
                                                  .closing = watch_closing};
    struct str service = str_of(((Grpc__Health__V1__HealthCheckRequest *)c->req)->service);
    call_listen(c, &listener, NULL);
    send_status(c, status_of(c->api, service));
}
