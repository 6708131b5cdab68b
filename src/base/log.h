/* The server's own log: one line an event, on stderr, key=value (or JSON lines). Written by whoever
 * handles a failure, never by helpers below. Any thread. Secrets are logged as "***" by callers. */
#ifndef CUSP_BASE_LOG_H
#define CUSP_BASE_LOG_H

#include "base/check.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_init(enum log_level min, bool json);
/* what: short event sentence; then printf-style details as key=value text. Example:
 *   log_at(LOG_WARN, "runner lost", "job=%s replica=%s", id, name); */
void log_at(enum log_level level, const char *what, const char *fmt, ...) PRINTF_LIKE(3, 4);
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)

#endif
