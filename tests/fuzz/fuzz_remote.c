/* What other registries say. The first byte chooses: a manifest or an index, a challenge, docker's
 * config.json, a name. Nothing crashes, and what is taken keeps the promises of remote.h. */
#include "base/limits.h"
#include "engine/image/registry.h"
#include "engine/image/remote.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void manifest(struct arena *a, struct str bytes) {
    struct remote_manifest m;
    struct err err = {0};
    struct str type = str_cut(&bytes, '\n');
    limits.image_max_layers = 8;
    if (remote_manifest_read(a, type, bytes, "amd64", &m, &err) < 0) {
        CHECK(err.code != ERR_OK && err.msg[0] != '\0');
        return;
    }
    CHECK(m.media_type != NULL);
    if (m.is_index) {
        CHECK(strlen(m.child.hex) == REMOTE_HEX);
        return;
    }
    uint64_t sum = 0;
    CHECK(m.nr_blobs >= 1 && m.nr_blobs <= limits.image_max_layers + 1);
    for (size_t i = 0; i < m.nr_blobs; i++) {
        CHECK(strlen(m.blobs[i].hex) == REMOTE_HEX && m.blobs[i].size <= limits.registry_max_blob);
        sum += m.blobs[i].size;
    }
    CHECK(sum == m.size);
}

static void challenge(struct arena *a, struct str bytes) {
    struct remote_challenge c;
    remote_challenge_parse(a, bytes, &c);
    CHECK(c.scheme != CHALLENGE_NONE || (c.realm == NULL && c.service == NULL && c.scope == NULL));
}

/* Without helpers: a file that names one is passed over. */
static void config(struct arena *a, struct str bytes) {
    struct remote_creds c;
    struct err err = {0};
    if (str_find(bytes, STR("cred")) >= 0 || str_find(bytes, STR("\\")) >= 0) {
        return;
    }
    if (remote_creds_read(a, bytes, "config.json", "docker.io", &c, &err) == 0) {
        CHECK((c.username == NULL) == (c.password == NULL));
    } else {
        CHECK(err.code != ERR_OK);
    }
}

static void name(struct arena *a, struct str bytes) {
    struct remote_ref r, again;
    struct err err = {0};
    if (remote_ref_parse(a, bytes, &r, &err) < 0) {
        CHECK(err.code == ERR_INVALID_ARGUMENT);
        return;
    }
    CHECK(registry_check_repo(str_of(r.shelf), NULL) == 0 && strlen(r.shelf) <= 255);
    CHECK(registry_check_tag(str_of(r.shelf_tag), NULL) == 0);
    CHECK((r.tag == NULL) == (r.hex[0] != '\0'));
    int rc = remote_ref_parse(a, str_of(r.text), &again, &err);
    CHECK(rc == 0 && strcmp(again.text, r.text) == 0 && strcmp(again.shelf, r.shelf) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const parts[])(struct arena *, struct str) = {
        ['m'] = manifest, ['a'] = challenge, ['c'] = config, ['n'] = name};
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    if (size > 0 && data[0] < NR_OF(parts) && parts[data[0]] != NULL) {
        parts[data[0]](a, str_n((const char *)data + 1, size - 1));
    }
    return 0;
}
