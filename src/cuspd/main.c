/* cuspd: the server program. */
#include "base/log.h"
#include "base/trace.h"
#include "cuspd/wire.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>

/* One heap for the loop, one for all lanes. The C library's default of eight a processor keeps what
 * each of our threads once needed: up to 2 MiB more after 1,000 jobs (docs/figures.md). */
#define HEAPS 2

static enum log_level level_of(const char *name) {
    static const char *const names[] = {"debug", "info", "warning", "error"};
    for (size_t i = 0; i < NR_OF(names); i++) {
        if (strcmp(names[i], name) == 0) {
            return (enum log_level)i;
        }
    }
    return LOG_INFO;
}

int main(int argc, char **argv) {
    struct config cfg;
    struct err err = {0};
    auto_buf struct buf out = BUF_INIT(1 << 20);
    (void)mallopt(M_ARENA_MAX, HEAPS);
    check_set_dump(trace_dump);
    signal(SIGPIPE, SIG_IGN);
    int rc = config_load(&cfg, argc, argv, &err);
    if (rc) {
        fprintf(stderr, "cuspd: %s\n", err.msg);
        rc = 2;
    } else if (cfg.show_help) {
        config_help(&out);
    } else if (cfg.show_version) {
        buf_puts(&out, "cuspd " CUSP_VERSION "\n");
    } else if (cfg.check_only) {
        config_print(&cfg, &out);
    } else {
        log_init(level_of(cfg.log_level), cfg.log_json);
        rc = wire_run(&cfg, &err) ? 1 : 0;
        if (rc) {
            fprintf(stderr, "cuspd: %s%s\n", err.msg,
                    err.sys == EADDRINUSE
                        ? ". Is a server there already? --listen names another address; port 0 "
                          "takes a free one"
                        : "");
        }
    }
    fputs(buf_cstr(&out), stdout);
    config_free(&cfg);
    return rc;
}
