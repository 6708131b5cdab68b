/* "FLAGS path": what a job may ask its metadata server. FLAGS: r recursive, j alt=json, t alt=text.
 */
#include "api/identity_int.h"

#include <jansson.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static char job[] = "projects/7/locations/us-central1/customJobs/12", job_id[] = "12",
            replica[] = "workerpool0-0", project[] = "demo", location[] = "us-central1",
            email[] = "trainer@demo.iam.gserviceaccount.com";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    auto_arena struct arena *a = arena_new(8 << 20);
    auto_buf struct buf b = BUF_INIT(1 << 20);
    const struct caller c = {.id = 1,
                             .job = job,
                             .job_id = job_id,
                             .replica = replica,
                             .project_id = project,
                             .location = location,
                             .email = email,
                             .project_number = 7};
    struct str path = str_n((const char *)data, n);
    struct str flags = str_cut(&path, ' ');
    const char *alt = str_chr(flags, 'j') >= 0 ? "json" : str_chr(flags, 't') >= 0 ? "text" : NULL;
    enum metadata_form form = METADATA_TEXT;
    if (!path.p || !metadata_get(&c, a, path, str_chr(flags, 'r') >= 0, alt, &b, &form)) {
        CHECK(b.n == 0);
        return 0;
    }
    if (form == METADATA_JSON) {
        json_t *j = json_loadb(b.p, b.n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
        CHECK(j);
        json_decref(j);
    } else {
        CHECK(memchr(b.p ? b.p : "", 0, b.n) == NULL);
    }
    return 0;
}
