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
    l->labels = arena_own_array(a, 1, sizeof(*l->labels));
    l->labels[0] = arena_own(a, sizeof(**l->labels));
    google__cloud__location__location__labels_entry__init(l->labels[0]);
    l->labels[0]->key = arena_strdup(a, "cloud.googleapis.com/region");
    l->labels[0]->value = l->location_id;
    l->n_labels = 1;
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
    if (n.rest.n || !location_is_known(n.location)) {
        err_field(&err, ERR_INVALID_ARGUMENT, "name",
                  "Invalid resource name \"%.*s\": expected projects/PROJECT/locations/LOCATION",
                  (int)(name.n > 200 ? 200 : name.n), name.p);
        call_fail(c, &err);
        return;
    }
    char *project = arena_printf(c->arena, "projects/%llu", (unsigned long long)n.number);
    char *id = arena_strndup(c->arena, n.location.p, n.location.n);
    call_reply(c, &location_of(c->arena, project, id)->base);
}

void svc_locations_list(struct call *c) {
    const Google__Cloud__Location__ListLocationsRequest *req =
        (Google__Cloud__Location__ListLocationsRequest *)c->req;
    struct str rest = str_of(req->name);
    struct err err;
    struct str projects = str_cut(&rest, '/');
    if (!str_eqc(projects, "projects") || !name_is_project(rest)) {
        err_field(&err, ERR_INVALID_ARGUMENT, "name",
                  "Invalid resource name: expected projects/PROJECT");
        call_fail(c, &err);
        return;
    }
    char *project = arena_printf(c->arena, "projects/%llu",
                                 (unsigned long long)projects_number(c->api->projects, rest));
    Google__Cloud__Location__ListLocationsResponse *resp = arena_own(c->arena, sizeof(*resp));
    google__cloud__location__list_locations_response__init(resp);
    size_t nr = 0, first = 0;
    while (location_at(nr)) {
        nr++;
    }
    /* The list never changes, so the last id that was sent says where to go on. */
    while (req->page_token[0] && first < nr && strcmp(location_at(first), req->page_token) != 0) {
        first++;
    }
    if (req->page_size < 0 || (req->page_token[0] && first == nr)) {
        err_field(&err, ERR_INVALID_ARGUMENT, req->page_size < 0 ? "page_size" : "page_token",
                  req->page_size < 0 ? "Page size is negative." : "Invalid page token.");
        call_fail(c, &err);
        return;
    }
    first += req->page_token[0] != 0;
    size_t end =
        req->page_size && (size_t)req->page_size < nr - first ? first + (size_t)req->page_size : nr;
    resp->locations = arena_own_array(c->arena, nr + 1, sizeof(*resp->locations));
    for (size_t i = first; i < end; i++) {
        resp->locations[resp->n_locations++] = location_of(c->arena, project, location_at(i));
    }
    if (end < nr) {
        resp->next_page_token = arena_strdup(c->arena, location_at(end - 1));
    }
    call_reply(c, &resp->base);
}
