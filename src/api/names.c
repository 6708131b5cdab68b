/* Resource names. */
#include "api/names.h"

/* Regions that gcloud and the SDK accept for training (reference 12 §3). */
static const char *const regions[] = {
    "africa-south1",
    "asia-east1",
    "asia-east2",
    "asia-northeast1",
    "asia-northeast2",
    "asia-northeast3",
    "asia-south1",
    "asia-south2",
    "asia-southeast1",
    "asia-southeast2",
    "australia-southeast1",
    "australia-southeast2",
    "europe-central2",
    "europe-north1",
    "europe-north2",
    "europe-southwest1",
    "europe-west1",
    "europe-west2",
    "europe-west3",
    "europe-west4",
    "europe-west6",
    "europe-west8",
    "europe-west9",
    "europe-west12",
    "europe-west15",
    "global",
    "me-central1",
    "me-central2",
    "me-west1",
    "northamerica-northeast1",
    "northamerica-northeast2",
    "southamerica-east1",
    "southamerica-west1",
    "us-central1",
    "us-east1",
    "us-east4",
    "us-east5",
    "us-east7",
    "us-south1",
    "us-west1",
    "us-west2",
    "us-west3",
    "us-west4",
    "us-west8",
};

const char *location_at(size_t i) {
    return i < NR_OF(regions) ? regions[i] : NULL;
}

bool location_is_known(struct str location) {
    for (size_t i = 0; i < NR_OF(regions); i++) {
        if (str_eqc(location, regions[i])) {
            return true;
        }
    }
    return false;
}

bool name_is_project(struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == ':' ||
              c == '.' || c == '_')) {
            return false;
        }
    }
    return s.n >= 1 && s.n <= 63 && s.p[0] != '-';
}

static char *put(char *at, struct str s) {
    if (s.n) {
        memcpy(at, s.p, s.n);
    }
    return at + s.n;
}

/* n->parent and n->canonical, both terminated. By hand: every call that names something passes
 * here, and printf was an eighth of a small call. False: no memory. */
static bool canonical_names(struct arena *a, struct name_parts *n) {
    static const struct str projects = STR("projects/"), locations = STR("/locations/");
    char digits[20], *d = digits + sizeof(digits);
    for (uint64_t v = n->number; v || d == digits + sizeof(digits); v /= 10) {
        *--d = (char)('0' + v % 10);
    }
    struct str number = str_n(d, (size_t)(digits + sizeof(digits) - d));
    size_t size = projects.n + number.n + locations.n + n->location.n;
    char *parent = arena_alloc(a, size + 1);
    char *full = n->rest.n ? arena_alloc(a, size + 1 + n->rest.n + 1) : parent;
    if (!parent || !full) {
        return false;
    }
    put(put(put(put(parent, projects), number), locations), n->location);
    n->parent = n->canonical = str_n(parent, size);
    if (n->rest.n) {
        put(put(put(full, n->parent), STR("/")), n->rest);
        n->canonical = str_n(full, size + 1 + n->rest.n);
    }
    return true;
}

int name_parse(struct projects *p, struct arena *a, struct str name, const char *field,
               struct name_parts *ret, struct err *err) {
    struct str rest = name;
    struct name_parts n = {0};
    struct str projects = str_cut(&rest, '/');
    n.project = str_cut(&rest, '/');
    struct str locations = str_cut(&rest, '/');
    n.location = str_cut(&rest, '/');
    n.rest = rest;
    if (!str_eqc(projects, "projects") || !str_eqc(locations, "locations") ||
        !name_is_project(n.project)) {
        return err_field(
            err, ERR_INVALID_ARGUMENT, field,
            "Invalid resource name \"%.*s\": expected projects/PROJECT/locations/LOCATION%s",
            (int)(name.n > 200 ? 200 : name.n), name.p ? name.p : "",
            strcmp(field, "parent") == 0 ? "" : "/…");
    }
    if (!location_is_known(n.location) && !str_eqc(n.location, "-")) {
        return err_field(err, ERR_INVALID_ARGUMENT, field,
                         "Location \"%.*s\" is not a region id such as us-central1",
                         (int)(n.location.n > 64 ? 64 : n.location.n),
                         n.location.p ? n.location.p : "");
    }
    n.number = projects_number(p, n.project);
    if (!canonical_names(a, &n)) {
        return err_field(err, ERR_INVALID_ARGUMENT, field, "Resource name is too long");
    }
    *ret = n;
    return 0;
}

int name_parse_home(struct projects *p, struct arena *a, const char *name, const char *what,
                    struct name_parts *ret, struct err *err) {
    struct name_parts n;
    if (name_parse(p, a, str_of(name), "parent", &n, err)) {
        return -1;
    }
    if (str_eqc(n.location, "-")) {
        return err_field(err, ERR_INVALID_ARGUMENT, "parent",
                         "Location \"-\" stands for all locations in lists; %s.", what);
    }
    if (n.rest.n) {
        return err_field(err, ERR_INVALID_ARGUMENT, "parent",
                         "Invalid parent \"%.200s\": expected projects/PROJECT/locations/LOCATION",
                         name);
    }
    *ret = n;
    return 0;
}

int name_parse_in(struct projects *p, struct arena *a, struct str name, const char *collection,
                  const char *field, struct name_parts *ret, struct err *err) {
    struct name_parts n;
    if (name_parse(p, a, name, field, &n, err)) {
        return -1;
    }
    struct str id = n.rest;
    struct str in = str_cut(&id, '/');
    if (!str_eqc(in, collection) || !id.n || str_chr(id, '/') >= 0) {
        return err_field(
            err, ERR_INVALID_ARGUMENT, field,
            "Invalid resource name \"%.*s\": expected projects/PROJECT/locations/LOCATION/%s/ID",
            (int)(name.n > 200 ? 200 : name.n), name.p ? name.p : "", collection);
    }
    *ret = n;
    return 0;
}

struct stored_name name_stored(struct arena *a, struct str name) {
    struct stored_name ret = {.name = arena_str(a, name)};
    struct str rest = ret.name;
    (void)str_cut(&rest, '/');
    (void)str_to_u64(str_cut(&rest, '/'), &ret.number); /* our own canonical name */
    (void)str_cut(&rest, '/');
    ret.location = arena_str(a, str_cut(&rest, '/'));
    (void)str_cut(&rest, '/');
    ret.id = rest;
    return ret;
}
