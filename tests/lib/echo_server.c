/* A small server for measurements: GET / answers 13 bytes, /file?PATH sends a file, /bytes?N
 * streams N bytes, PUT counts the body it is given. Usage: echo_server LISTEN; prints its address.
 */
#include "net/net.h"
#include "sys/loop.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static void put_data(struct xch *x, void *arg, struct str bytes) {
    xch_grant(x, bytes.n);
}

static void put_end(struct xch *x, void *arg, const struct err *err) {
    xch_reply(x, err ? err_code_http(err->code) : 200, NULL, 0, STR("stored\n"));
}

struct stream {
    uint64_t left;
};

static void pump(struct xch *x, void *arg) {
    static char piece[65536];
    struct stream *s = arg;
    while (s->left > 0) {
        size_t n = s->left < sizeof(piece) ? (size_t)s->left : sizeof(piece);
        s->left -= n;
        if (!xch_write(x, str_n(piece, n))) {
            return;
        }
    }
    xch_end(x);
}

static void send_path(struct xch *x, struct str path) {
    auto_free char *name = str_dup(path);
    auto_close int fd = open(name, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        xch_reply(x, 404, NULL, 0, STR("no such file\n"));
        return;
    }
    xch_start(x, 200, NULL, 0, st.st_size);
    xch_send_file(x, fd, 0, (uint64_t)st.st_size);
}

static void handle(struct xch *x, void *arg) {
    static const struct header type = {STR("content-type"), STR("text/plain")};
    static const struct body_sink sink = {.data = put_data, .end = put_end};
    const struct xch_head *h = xch_head(x);
    if (h->has_body) {
        xch_read_body(x, UINT64_MAX, &sink, NULL);
        xch_grant(x, 1 << 20);
    } else if (str_eqc(h->path, "/file")) {
        send_path(x, h->query);
    } else if (str_eqc(h->path, "/bytes")) {
        struct stream *s = arena_alloc(xch_arena(x), sizeof(*s));
        if (!s || !str_to_u64(h->query, &s->left)) {
            xch_reply(x, 400, NULL, 0, STR("how many?\n"));
            return;
        }
        xch_start(x, 200, &type, 1, -1);
        xch_on_drain(x, pump, s);
        pump(x, s);
    } else {
        xch_reply(x, 200, &type, 1, STR("Hello, world\n"));
    }
}

int main(int argc, char **argv) {
    struct err err;
    struct loop *l = loop_new();
    struct net_config cfg = {.listen = argc > 1 ? argv[1] : "127.0.0.1:0", .handler = handle};
    struct net_server *s = net_listen(l, &cfg, &err);
    if (!s) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    printf("%s\n", net_address(s));
    fflush(stdout);
    loop_run(l);
    return 0;
}
