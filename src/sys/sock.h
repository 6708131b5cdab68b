/* Unix stream sockets by name inside a directory, so that a long path is no limit (sun_path holds
 * 107 bytes). Descriptors are close-on-exec. */
#ifndef CUSP_SYS_SOCK_H
#define CUSP_SYS_SOCK_H

#include "base/err.h"
#include "base/str.h"

#include <sys/types.h>

/* Listening, non-blocking, mode 0600; replaces an existing file of that name. */
int sock_unix_listen(int dirfd, const char *name, int backlog, struct err *err) MUST_CHECK;
/* Connected, blocking. NOT_FOUND/UNAVAILABLE when nobody listens. */
int sock_unix_connect(int dirfd, const char *name, struct err *err) MUST_CHECK;

#define SOCK_FDS_MAX 4
/* Text with descriptors (at most SOCK_FDS_MAX; copies, the caller keeps its own) in one message, as
 * far as it can be sent without waiting. */
int sock_send_fds(int fd, struct str text, const int *fds, size_t nr, struct err *err) MUST_CHECK;
/* One message: bytes received (0: the peer is gone), and the descriptors that came with it, which
 * are the caller's. */
ssize_t sock_recv_fds(int fd, char *text, size_t size, int fds[SOCK_FDS_MAX], size_t *ret_nr,
                      struct err *err) MUST_CHECK;

#endif
