/* Access tokens: the text as a token (nobody makes one without the key), and as the claims of one
 * that bears our seal. */
#include "api/identity_int.h"
#include "base/rng.h"
#include "sys/files.h"

#include <fcntl.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct token_keys *keys(void) {
    static struct token_keys *k;
    static char dir[64];
    struct err err;
    if (!k) {
        (void)snprintf(dir, sizeof(dir), "/tmp/cusp-bearer-XXXXXX");
        CHECK(mkdtemp(dir) && (k = token_keys_open(NULL, dir, &err)));
        CHECK(file_remove_tree(AT_FDCWD, dir, NULL) == 0);
    }
    return k;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    auto_arena struct arena *a = arena_new(8 << 20);
    auto_buf struct buf sealed = BUF_INIT(1 << 20);
    struct str text = str_n((const char *)data, n);
    struct token_claims t;
    CHECK(!bearer_read(keys(), a, text, &t));
    if (n > 4096) {
        return 0;
    }
    bearer_seal(keys(), text, &sealed);
    CHECK(bearer_is_ours(buf_str(&sealed)));
    if (bearer_read(keys(), a, buf_str(&sealed), &t)) {
        CHECK(t.job.p && t.email.p && t.scope.n);
    }
    /* One bit of it changed is nobody's. */
    sealed.p[5 + (n ? data[0] % (sealed.n - 6) : 0)] ^= 1;
    CHECK(!bearer_read(keys(), a, buf_str(&sealed), &t));
    return 0;
}
