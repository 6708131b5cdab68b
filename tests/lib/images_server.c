/* The images API alone, for tests: images_server DATA_DIR [ADDRESS [DIGEST-IN-USE...]].
 * Prints the address it listens on; SIGTERM ends it cleanly. Under /resolve?uri=URI it answers what
 * a job with that imageUri would get: one layer directory a line, topmost first. */
#include "api/call.h"
#include "api/cusp_path.h"
#include "api/images.h"
#include "engine/image/image.h"
#include "net/net.h"
#include "sys/lane.h"
#include "sys/loop.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

static struct {
    struct loop *loop;
    struct lane *disk;
    struct image_store *store;
    struct api_images *images;
    struct net_server *net;
    struct loop_fd *signals;
    const char **in_use;
} s;

static const char **in_use(void *arg, struct arena *a) {
    return s.in_use;
}

static void resolve(struct xch *x) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    auto_buf struct buf b = BUF_INIT(1 << 20);
    struct str uri = cusp_query_get(x, "uri");
    struct image img;
    struct err err = {0};
    if (image_resolve(s.store, a, arena_strndup(a, uri.p, uri.n), &img, &err) < 0) {
        reply_error(x, &err);
        return;
    }
    for (size_t i = 0; img.layers[i] != NULL; i++) {
        (void)buf_printf(&b, "%s\n", img.layers[i]);
    }
    xch_reply(x, 200, NULL, 0, buf_str(&b));
}

static void handle(struct xch *x, void *arg) {
    if (str_eqc(xch_head(x)->path, "/resolve")) {
        resolve(x);
    } else if (!api_images_handle(s.images, x)) {
        xch_reply(x, 404, NULL, 0, STR("not an images path\n"));
    }
}

static void net_closed(void *arg) {
    net_free(s.net);
    lane_close(s.disk);
    loop_stop(s.loop);
}

static void on_signal(void *arg, bool readable, bool writable) {
    loop_fd_unwatch(s.signals);
    net_shutdown(s.net, 2 * USEC_PER_SEC, net_closed, NULL);
}

int main(int argc, char **argv) {
    struct err err = {0};
    sigset_t set;
    if (argc < 2) {
        fprintf(stderr, "usage: images_server DATA_DIR [ADDRESS [DIGEST...]]\n");
        return 2;
    }
    s.in_use = argc > 3 ? (const char **)argv + 3 : NULL;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    auto_free char *dir = xasprintf("%s/images", argv[1]);
    s.loop = loop_new();
    s.disk = lane_new(s.loop, "disk", 4);
    s.store = image_store_open(dir, &err);
    if (s.store == NULL) {
        fprintf(stderr, "images_server: %s\n", err.msg);
        return 1;
    }
    s.images = api_images_new(s.loop, s.disk, s.store, argv[1], in_use, NULL);
    struct net_config cfg = {
        .listen = argc > 2 ? argv[2] : "127.0.0.1:0", .handler = handle, .disk = s.disk};
    s.net = net_listen(s.loop, &cfg, &err);
    if (s.net == NULL) {
        fprintf(stderr, "images_server: %s\n", err.msg);
        return 1;
    }
    s.signals = loop_fd_watch(s.loop, fd, true, false, on_signal, NULL);
    printf("%s\n", net_address(s.net));
    (void)fflush(stdout);
    loop_run(s.loop);
    api_images_free(s.images);
    image_store_close(s.store);
    loop_free(s.loop);
    (void)close(fd);
    return 0;
}
