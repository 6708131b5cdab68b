/* The Cloud Storage API alone, for tests and benchmarks: gcs_server DATA_DIR [ADDRESS].
 * Prints the address it listens on; SIGTERM ends it cleanly. */
#include "api/gcs.h"
#include "blob/blob.h"
#include "net/net.h"
#include "store/store.h"
#include "sys/lane.h"
#include "sys/loop.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

static struct {
    struct loop *loop;
    struct lane *disk;
    struct store *store;
    struct blob *blob;
    struct api_gcs *gcs;
    struct net_server *net;
    struct loop_fd *signals;
} s;

static void handle(struct xch *x, void *arg) {
    if (!api_gcs_handle(s.gcs, x) && !api_gcs_handle_xml(s.gcs, x)) {
        xch_reply(x, 404, NULL, 0, STR("not a storage path\n"));
    }
}

static void store_closed(void *arg) {
    lane_close(s.disk);
    loop_stop(s.loop);
}

static void blob_closed(void *arg) {
    s.store->ops->close(s.store, store_closed, NULL);
}

static void net_closed(void *arg) {
    net_free(s.net);
    api_gcs_free(s.gcs);
    blob_close(s.blob, blob_closed, NULL);
}

static void on_signal(void *arg, bool readable, bool writable) {
    loop_fd_unwatch(s.signals);
    net_shutdown(s.net, 2 * USEC_PER_SEC, net_closed, NULL);
}

int main(int argc, char **argv) {
    struct err err;
    sigset_t set;
    if (argc < 2) {
        fprintf(stderr, "usage: gcs_server DATA_DIR [ADDRESS]\n");
        return 2;
    }
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    s.loop = loop_new();
    auto_free char *db = xasprintf("%s/cusp.db", argv[1]);
    s.disk = lane_new(s.loop, "disk", 4);
    s.store = store_sqlite_open(s.loop, db, &err);
    s.blob = s.store ? blob_open(s.loop, s.disk, s.store, argv[1], &err) : NULL;
    if (!s.blob) {
        fprintf(stderr, "gcs_server: %s\n", err.msg);
        return 1;
    }
    s.gcs = api_gcs_new(s.blob, s.store, argv[1]);
    struct net_config cfg = {
        .listen = argc > 2 ? argv[2] : "127.0.0.1:0", .handler = handle, .disk = s.disk};
    s.net = net_listen(s.loop, &cfg, &err);
    if (!s.net) {
        fprintf(stderr, "gcs_server: %s\n", err.msg);
        return 1;
    }
    s.signals = loop_fd_watch(s.loop, fd, true, false, on_signal, NULL);
    printf("%s\n", net_address(s.net));
    fflush(stdout);
    loop_run(s.loop);
    loop_free(s.loop);
    close(fd);
    return 0;
}
