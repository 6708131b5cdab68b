/* What a captured line says about itself: severity, progress bars, tracebacks. Pure; applied when
 * logs are read, so the bytes on the disk stay as the program wrote them. Any thread.
 *
 * Strict is what Vertex does (reference 11 §2): stdout INFO, stderr ERROR, nothing else. */
#ifndef CUSP_LOGS_RECOGNISE_H
#define CUSP_LOGS_RECOGNISE_H

#include "base/seg.h"

/* google.logging.type.LogSeverity */
enum log_severity {
    SEVERITY_DEFAULT = 0,
    SEVERITY_DEBUG = 100,
    SEVERITY_INFO = 200,
    SEVERITY_NOTICE = 300,
    SEVERITY_WARNING = 400,
    SEVERITY_ERROR = 500,
    SEVERITY_CRITICAL = 600,
    SEVERITY_ALERT = 700,
    SEVERITY_EMERGENCY = 800
};

/* Names of this enumeration, of Python's logging, syslog and log4j, one-letter forms not included,
 * any case; also its numbers. False: not one. */
bool severity_from_word(struct str word, int *ret);
/* "WARNING"; numbers between two names take the lower. */
const char *severity_word(int severity);

struct recognised {
    int severity;
    struct str text; /* the line; of a progress bar, its last state. A view. */
    bool is_object;  /* "{...}": a JSON object, unless it turns out not to be one */
};
void recognise_line(struct str line, enum seg_stream stream, bool strict, struct recognised *ret);

/* Tracebacks of Python (also behind a rank's "[rank0]: "), stack traces of Java, panics of Go. */
struct trace_state {
    enum {
        TRACE_NONE,
        TRACE_PYTHON,
        TRACE_PYTHON_SAID,  /* its last word; a cause may follow */
        TRACE_PYTHON_CAUSE, /* announced: the next trace belongs to this one */
        TRACE_JAVA,
        TRACE_GO
    } kind;
    char prefix[32];
    unsigned prefix_n;
};
bool trace_opens(struct trace_state *t, struct str line);
/* Whether the line belongs to the trace that is open. */
bool trace_takes(struct trace_state *t, struct str line);

#endif
