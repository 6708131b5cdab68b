/* google.cloud.location.Locations: every published region id is a location here. */
#include "api/svc.h"

#include "api/names.h"

static Google__Cloud__Location__Location *location_of(struct arena *a, const char *parent,
                                                      const char *id) {
    Google__Cloud__Location__Location *l = arena_own(a, sizeof(*l));
    google__cloud__location__location__init(l);
    l->name = arena_printf(a, "%s/locations/%s", parent, id);
    l->location_id = arena_strdup(a, id);
    l->display_name = l->location_id;
    return l;
}

void svc_locations_get(struct call *c) {
    struct str name = str_of(((Google__Cloud__Location__GetLocationRequest *)c->req)->name);
    struct name_parts n;
    struct err err;
    if (name_parse(c->api->projects, c->arena, name, "name", &n, &err)) {
        call_fail(c, &err);
        return;
    }
    char *project = arena_printf(c->arena, "projects/%llu", (unsigned long long)n.number);
    char *id = arena_strndup(c->arena, n.location.p, n.location.n);
    call_reply(c, &location_of(c->arena, project, id)->base);
}

void svc_locations_list(struct call *c) {
    struct str rest = str_of(((Google__Cloud__Location__ListLocationsRequest *)c->req)->name);
    struct err err;
    struct str projects = str_cut(&rest, '/');
    if (!str_eqc(projects, "projects") || !rest.n || str_chr(rest, '/') >= 0) {
        err_field(&err, ERR_INVALID_ARGUMENT, "name",
                  "Invalid resource name: expected projects/PROJECT");
        call_fail(c, &err);
        return;
    }
    char *project = arena_printf(c->arena, "projects/%llu",
                                 (unsigned long long)projects_number(c->api->projects, rest));
    Google__Cloud__Location__ListLocationsResponse *resp = arena_own(c->arena, sizeof(*resp));
    google__cloud__location__list_locations_response__init(resp);
    size_t nr = 0;
    while (location_at(nr)) {
        nr++;
    }
    resp->locations = arena_own_array(c->arena, nr + 1, sizeof(*resp->locations));
    for (size_t i = 0; i < nr; i++) {
        resp->locations[resp->n_locations++] = location_of(c->arena, project, location_at(i));
    }
    call_reply(c, &resp->base);
}
