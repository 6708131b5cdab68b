/* Checks one signed URL as the server would at a given time: sign_probe KEY.pem UNIX_TIME METHOD
 * URL [NAME VALUE]... Prints the string to sign and whether the signature is right; exit 0 iff it
 * is. For the public conformance data, whose signatures are years old. */
#include "api/gcs_sign.h"
#include "base/mem.h"

#include <stdio.h>

static struct str read_file(struct arena *a, const char *path) {
    char text[8192];
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(text, 1, sizeof(text), f) : 0;
    if (f) {
        fclose(f);
    }
    return arena_str(a, str_n(text, n));
}

int main(int argc, char **argv) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf canonical = BUF_INIT(BUF_NO_MAX), to_sign = BUF_INIT(BUF_NO_MAX);
    struct header headers[64];
    struct err err;
    uint64_t now;
    if (argc < 5 || argc > 2 * 64 || !str_to_u64(str_of(argv[2]), &now)) {
        fprintf(stderr, "usage: sign_probe KEY.pem UNIX_TIME METHOD URL [NAME VALUE]...\n");
        return 2;
    }
    struct str pem = read_file(a, argv[1]), url = str_of(argv[4]);
    ptrdiff_t scheme = str_find(url, STR("://"));
    struct str query = scheme < 0 ? url : str_sub(url, (size_t)scheme + 3, url.n);
    struct str path = str_cut(&query, '?');
    ptrdiff_t slash = str_chr(path, '/');
    struct xch_head head = {.method = str_of(argv[3]),
                            .authority = slash < 0 ? path : str_sub(path, 0, (size_t)slash),
                            .path = slash < 0 ? STR("/") : str_sub(path, (size_t)slash, path.n),
                            .headers = {headers, 0}};
    for (int i = 5; i + 1 < argc; i += 2) {
        headers[head.headers.n++] = (struct header){str_of(argv[i]), str_of(argv[i + 1])};
    }
    struct sign_url u;
    int r =
        (sign_is_v2(query) ? sign_v2_parse : sign_parse)(a, query, now * USEC_PER_SEC, &u, &err);
    if (r == 0) {
        r = sign_check(a, &u, &head, STR(""), pem, &canonical, &to_sign, &err);
    }
    printf("%s\n%s\n", buf_cstr(&to_sign), r < 0 ? err.msg : "right");
    return r == 0 ? 0 : 1;
}
