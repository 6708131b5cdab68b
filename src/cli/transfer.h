/* Moving many objects at once: a list of transfers, done by a few threads, each with its own
 * connection. A transfer that breaks goes on where it was, within one run when the server comes
 * back, and over runs: an upload's session is remembered in ~/.cache/cusp/uploads, a download grows
 * a file NAME.cusp-part-GENERATION. Every transfer is checked by CRC-32C from end to end. */
#ifndef CUSP_CLI_TRANSFER_H
#define CUSP_CLI_TRANSFER_H

#include "cli/gsuri.h"

#include <stdatomic.h>

enum transfer_kind { TRANSFER_UPLOAD, TRANSFER_DOWNLOAD, TRANSFER_COPY, TRANSFER_REMOVE };

struct transfer {
    enum transfer_kind kind;
    char *src, *dst; /* gs:// URIs or paths; dst NULL for a removal. Owned. */
    uint64_t size;   /* 0: unknown or none */
    bool known;      /* facts are of a list: no need to ask for them */
    struct object_facts facts;
};

struct transfers {
    const struct cli *cli;
    VEC_OF(struct transfer) v;
    unsigned threads; /* 0: a default for this machine */
};
void transfers_add(struct transfers *t, enum transfer_kind kind, const char *src, const char *dst,
                   uint64_t size, const struct object_facts *facts);
/* Does all of them. Goes on after one that failed (said on stderr when there are several), but not
 * without a server or room. -1 with the first error. Shows progress on a terminal, else a line for
 * each. */
int transfers_run(struct transfers *t, struct err *err);
void transfers_fini(struct transfers *t);
#define auto_transfers __attribute__((cleanup(transfers_fini)))

/* ---- commands (storage.c, rsync.c, signurl.c) */
int storage_sign_url(const struct cli *c, const struct args *a, struct err *err);
int storage_rsync(const struct cli *c, const struct args *a, struct err *err);
int storage_threads(const struct args *a, unsigned *ret, struct err *err); /* --parallel */
int storage_parents(char *path, struct err *err); /* mkdir -p of the folders above */

/* ---- one transfer (upload.c, download.c); moved counts bytes for the progress */
int transfer_upload(const struct cli *c, const struct transfer *x, atomic_ullong *moved,
                    struct err *err);
int transfer_download(const struct cli *c, const struct transfer *x, atomic_ullong *moved,
                      struct err *err);
/* The reply's bytes to fd, nothing remembered. */
int object_to_fd(const struct cli *c, const char *src, int fd, const char *what, struct err *err);

#endif
