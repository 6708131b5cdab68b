/* Project lookups that clients make beside the service itself (reference 20 §9.11): resource
 * manager v3 over REST and gRPC, v1 over REST. Any id that could be a project's is one here, so
 * what can go wrong is the spelling; the real service does not tell "no such project" from "not
 * yours", and neither do we. */
#include "api/svc.h"

#include "api/names.h"
#include "pb/wkt.h"

static void fail_denied(struct call *c, struct str id) {
    struct err err;
    err_set(&err, ERR_PERMISSION_DENIED,
            "Permission 'resourcemanager.projects.get' denied on resource "
            "'//cloudresourcemanager.googleapis.com/projects/%.*s' (or it may not exist).",
            (int)(id.n > 100 ? 100 : id.n), id.p ? id.p : "");
    call_fail(c, &err);
}

struct found {
    uint64_t number;
    char *id;
    Google__Protobuf__Timestamp *since; /* NULL: a number nobody has given an id to */
};

/* False when the text cannot be a project. */
static bool look_up(struct call *c, struct str id_or_number, struct found *ret) {
    if (!name_is_project(id_or_number)) {
        return false;
    }
    uint64_t plain;
    struct projects *p = c->api->projects;
    ret->number = projects_number(p, id_or_number);
    ret->id = str_to_u64(id_or_number, &plain)
                  ? projects_id(p, c->arena, ret->number)
                  : arena_strndup(c->arena, id_or_number.p, id_or_number.n);
    usec_t since = projects_since(p, ret->number);
    ret->since = since ? wkt_timestamp(c->arena, since) : NULL;
    return ret->id != NULL;
}

void svc_projects_get(struct call *c) {
    struct str rest =
        str_of(((Google__Cloud__Resourcemanager__V3__GetProjectRequest *)c->req)->name);
    struct str name = rest, collection = str_cut(&rest, '/');
    struct found f;
    if (!str_eqc(collection, "projects") || !rest.n || str_chr(rest, '/') >= 0) {
        struct err err;
        err_field(&err, ERR_INVALID_ARGUMENT, "name",
                  "Invalid resource name \"%.*s\": expected projects/PROJECT",
                  (int)(name.n > 200 ? 200 : name.n), name.p ? name.p : "");
        call_fail(c, &err);
        return;
    }
    if (!look_up(c, rest, &f)) {
        fail_denied(c, rest);
        return;
    }
    Google__Cloud__Resourcemanager__V3__Project p =
        GOOGLE__CLOUD__RESOURCEMANAGER__V3__PROJECT__INIT;
    p.name = arena_printf(c->arena, "projects/%llu", (unsigned long long)f.number);
    p.project_id = p.display_name = f.id;
    p.state = GOOGLE__CLOUD__RESOURCEMANAGER__V3__PROJECT__STATE__ACTIVE;
    p.create_time = p.update_time = f.since;
    p.etag = arena_printf(c->arena, "W/\"%016llx\"", (unsigned long long)str_hash(str_of(f.id)));
    call_reply(c, &p.base);
}

void svc_projects_v1_get(struct call *c) {
    struct str id =
        str_of(((Google__Cloudresourcemanager__V1__GetProjectRequest *)c->req)->project_id);
    struct found f;
    if (!look_up(c, id, &f)) {
        fail_denied(c, id);
        return;
    }
    Google__Cloudresourcemanager__V1__Project p = GOOGLE__CLOUDRESOURCEMANAGER__V1__PROJECT__INIT;
    p.project_number = (int64_t)f.number;
    p.project_id = p.name = f.id;
    p.lifecycle_state = GOOGLE__CLOUDRESOURCEMANAGER__V1__LIFECYCLE_STATE__ACTIVE;
    p.create_time = f.since;
    call_reply(c, &p.base);
}
