/* Unix stream sockets by name inside a directory, so that a long path is no limit (sun_path holds
 * 107 bytes). Descriptors are close-on-exec. */
#ifndef CUSP_SYS_SOCK_H
#define CUSP_SYS_SOCK_H

#include "base/err.h"

/* Listening, non-blocking, mode 0600; replaces an existing file of that name. */
int sock_unix_listen(int dirfd, const char *name, int backlog, struct err *err) MUST_CHECK;
/* Connected, blocking. NOT_FOUND/UNAVAILABLE when nobody listens. */
int sock_unix_connect(int dirfd, const char *name, struct err *err) MUST_CHECK;

#endif
