/* Names of images as jobs give them. What is taken apart names a directory that cannot lead
 * anywhere else, and putting the parts together again gives the name. */
#include "base/buf.h"
#include "engine/image/registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str name = str_n((const char *)data, size);
    struct registry_name n;
    char hex[REGISTRY_HEX + 1];
    if (registry_check_digest(name, hex, NULL) == 0) {
        CHECK(strlen(hex) == REGISTRY_HEX);
    }
    if (!registry_parse_name(name, &n)) {
        return 0;
    }
    CHECK(registry_check_repo(n.repo, NULL) == 0 && n.repo.n <= 255 && n.repo.p[0] != '.');
    CHECK(str_find(n.repo, STR("..")) < 0 && str_chr(n.repo, '+') < 0);
    CHECK(n.tag.p == NULL || registry_check_tag(n.tag, NULL) == 0);
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    if (n.host.p != NULL) {
        buf_put_str(&b, n.host);
        buf_putc(&b, '/');
    }
    buf_put_str(&b, n.repo);
    CHECK(str_starts(name, buf_str(&b)));
    if (n.tag.p == NULL) {
        CHECK(str_ends(name, str_of(n.hex)));
    } else if (b.n < name.n) {
        buf_printf(&b, ":%.*s", STR_ARG(n.tag));
        CHECK(str_eq(name, buf_str(&b)));
    }
    return 0;
}
