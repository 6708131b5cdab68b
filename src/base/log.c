/* Log sink: one write(2) a line, so lines of several threads do not mix. */
#include "base/log.h"
#include "base/jw.h"
#include "base/time.h"

#include <stdarg.h>
#include <unistd.h>

static enum log_level min_level = LOG_INFO;
static bool as_json;
static const char *const level_names[] = {"DEBUG", "INFO", "WARNING", "ERROR"};

void log_init(enum log_level min, bool json) {
    min_level = min;
    as_json = json;
}

void log_at(enum log_level level, const char *what, const char *fmt, ...) {
    if (level < min_level) {
        return;
    }
    char details[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(details, sizeof(details), fmt, ap);
    va_end(ap);
    auto_buf struct buf b = BUF_INIT(16384);
    if (as_json) {
        auto_buf struct buf t = BUF_INIT(64);
        time_format_rfc3339(&t, time_wall());
        struct jw w;
        jw_init(&w, &b, 0);
        jw_object(&w);
        jw_kv(&w, "time", buf_cstr(&t));
        jw_kv(&w, "severity", level_names[level]);
        jw_kv(&w, "message", what);
        jw_kv(&w, "details", details);
        jw_end_object(&w);
        buf_putc(&b, '\n');
    } else {
        time_format_rfc3339(&b, time_wall());
        buf_printf(&b, " %-7s %s%s%s\n", level_names[level], what, details[0] ? ": " : "", details);
    }
    if (write(STDERR_FILENO, b.p, b.n) < 0) {
        /* stderr is gone; there is nowhere left to say so */
    }
}
