#include "logs/recognise.h"

#define HEAD_BYTES 160u /* how far into a line a level is looked for */
#define HEAD_FIELDS 5   /* "DATE TIME name [pid] LEVEL" */

static const struct {
    const char *word;
    int severity;
} words[] = {
    {"DEFAULT", SEVERITY_DEFAULT}, {"NOTSET", SEVERITY_DEFAULT}, {"TRACE", SEVERITY_DEBUG},
    {"DEBUG", SEVERITY_DEBUG},     {"INFO", SEVERITY_INFO},      {"NOTICE", SEVERITY_NOTICE},
    {"WARNING", SEVERITY_WARNING}, {"WARN", SEVERITY_WARNING},   {"ERROR", SEVERITY_ERROR},
    {"ERR", SEVERITY_ERROR},       {"SEVERE", SEVERITY_ERROR},   {"CRITICAL", SEVERITY_CRITICAL},
    {"FATAL", SEVERITY_CRITICAL},  {"ALERT", SEVERITY_ALERT},    {"EMERGENCY", SEVERITY_EMERGENCY},
    {"EMERG", SEVERITY_EMERGENCY},
};

bool severity_from_word(struct str word, int *ret) {
    uint64_t n;
    for (size_t i = 0; i < NR_OF(words); i++) {
        if (str_ieq(word, str_of(words[i].word))) {
            *ret = words[i].severity;
            return true;
        }
    }
    if (str_to_u64(word, &n) && n <= SEVERITY_EMERGENCY) {
        *ret = (int)n;
        return true;
    }
    return false;
}

const char *severity_word(int severity) {
    static const char *const names[] = {"DEFAULT", "DEBUG",    "INFO",  "NOTICE",   "WARNING",
                                        "ERROR",   "CRITICAL", "ALERT", "EMERGENCY"};
    int i = severity / 100;
    return names[i < 0 ? 0 : i > 8 ? 8 : i];
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
static bool is_upper(char c) {
    return c >= 'A' && c <= 'Z';
}
static bool is_alpha(char c) {
    return is_upper(c) || (c >= 'a' && c <= 'z');
}
static bool is_space(char c) {
    return c == ' ' || c == '\t';
}

static size_t digits(struct str s) {
    size_t n = 0;
    while (n < s.n && is_digit(s.p[n])) {
        n++;
    }
    return n;
}

static bool letter_severity(char c, int *ret) {
    switch (c) {
    case 'D':
    case 'V':
        *ret = SEVERITY_DEBUG;
        return true;
    case 'I':
        *ret = SEVERITY_INFO;
        return true;
    case 'W':
        *ret = SEVERITY_WARNING;
        return true;
    case 'E':
        *ret = SEVERITY_ERROR;
        return true;
    case 'F':
        *ret = SEVERITY_CRITICAL;
        return true;
    default:
        return false;
    }
}

/* glog and absl: "W0501 10:00:00.123456 140 file.cc:12] text", the date also with its year. */
static bool glog(struct str s, int *ret) {
    size_t n = s.n ? digits(str_sub(s, 1, s.n)) : 0;
    return (n == 4 || n == 8) && s.n > n + 3 && s.p[n + 1] == ' ' && is_digit(s.p[n + 2]) &&
           str_find(str_sub(s, 0, HEAD_BYTES), STR("] ")) > 0 && letter_severity(s.p[0], ret);
}

/* TensorFlow: "2024-05-01 10:00:00.123456: W tensorflow/..." */
static bool tensorflow(struct str s, int *ret) {
    ptrdiff_t at = str_find(str_sub(s, 0, 40), STR(": "));
    return at >= 19 && is_digit(s.p[0]) && is_digit(s.p[at - 1]) && s.n > (size_t)at + 4 &&
           s.p[at + 3] == ' ' && letter_severity(s.p[at + 2], ret);
}

/* Only digits and the marks of dates and times, and at least one digit; "T" and "Z" within. */
static bool is_stamp(struct str f) {
    bool any = false;
    for (size_t i = 0; i < f.n; i++) {
        char c = f.p[i];
        if (is_digit(c)) {
            any = true;
        } else if (c != '-' && c != ':' && c != '.' && c != ',' && c != '/' && c != '+' &&
                   !((c == 'T' || c == 'Z') && any)) {
            return false;
        }
    }
    return any;
}

/* The next word of a line's head: what stands between spaces and bars. Brackets, colons and commas
 * around it are taken off. */
static struct str next_field(struct str *rest, bool *ret_marked) {
    struct str s = *rest;
    while (s.n && (is_space(s.p[0]) || s.p[0] == '|')) {
        s = str_sub(s, 1, s.n);
    }
    size_t n = 0;
    while (n < s.n && !is_space(s.p[n]) && s.p[n] != '|' &&
           !(n && (s.p[n] == ']' || s.p[n] == ')'))) {
        n++;
    }
    n += n < s.n && (s.p[n] == ']' || s.p[n] == ')');
    *rest = str_sub(s, n, s.n);
    struct str f = str_sub(s, 0, n);
    *ret_marked = false;
    while (f.n && (f.p[0] == '[' || f.p[0] == '(' || f.p[0] == '<')) {
        f = str_sub(f, 1, f.n);
        *ret_marked = true;
    }
    while (f.n && strchr("])>:,", f.p[f.n - 1])) {
        *ret_marked = *ret_marked || f.p[f.n - 1] == ':';
        f.n--;
    }
    return f;
}

/* A level that a program put at the head of its line: alone in upper case, in brackets, or before a
 * colon; first, or after a time and a name or two. "Error in ..." is prose. */
static bool head_level(struct str s, int *ret) {
    struct str rest = str_sub(s, 0, HEAD_BYTES);
    bool stamped = false;
    for (int i = 0; i < HEAD_FIELDS && rest.n; i++) {
        bool marked;
        struct str f = next_field(&rest, &marked);
        if (is_stamp(f)) {
            stamped = true;
            continue;
        }
        if (f.n == 0 || (f.n == 1 && !is_alpha(f.p[0]))) { /* a dash between */
            i--;
            continue;
        }
        struct str tail = f;
        struct str word = str_cut(&tail, ':'); /* "WARNING:root:text" */
        if (word.n >= 3 && is_alpha(word.p[0]) && severity_from_word(word, ret)) {
            bool upper = is_upper(word.p[0]) && is_upper(word.p[1]);
            return upper || (marked && i < 2) || (stamped && marked);
        }
        if (!stamped && !(i == 0 && marked)) {
            return false; /* prose */
        }
    }
    return false;
}

/* Python's warnings: "a/b.py:12: UserWarning: text". */
static bool python_warning(struct str s) {
    struct str head = str_sub(s, 0, 512);
    ptrdiff_t at = str_find(head, STR("Warning: "));
    ptrdiff_t py = str_find(head, STR(".py:"));
    return at > 0 && py > 0 && py < at && is_digit(s.p[py + 4]);
}

/* What the terminal would show at the end: what follows the last carriage return that is followed
 * by anything. */
static struct str last_state(struct str s) {
    while (s.n && s.p[s.n - 1] == '\r') {
        s.n--;
    }
    for (size_t i = s.n; i > 0; i--) {
        if (s.p[i - 1] == '\r') {
            return str_sub(s, i, s.n);
        }
    }
    return s;
}

void recognise_line(struct str line, enum seg_stream stream, bool strict, struct recognised *ret) {
    *ret = (struct recognised){.severity = SEVERITY_INFO, .text = line};
    if (strict) {
        ret->severity = stream == SEG_STDERR ? SEVERITY_ERROR : SEVERITY_INFO;
    } else {
        ret->text = last_state(line);
    }
    struct str s = str_trim(ret->text);
    if (s.n > 1 && s.p[0] == '{' && s.p[s.n - 1] == '}') {
        ret->is_object = true;
        return;
    }
    int severity;
    if (strict || !s.n) {
        return;
    }
    if (glog(s, &severity) || tensorflow(s, &severity) || head_level(s, &severity)) {
        ret->severity = severity;
    } else if (python_warning(s)) {
        ret->severity = SEVERITY_WARNING;
    }
}

/* ---- traces */

static bool is_identifier_line(struct str s) { /* "pkg.Class.Exception" or "main.main(" */
    size_t n = 0;
    while (n < s.n && (is_alpha(s.p[n]) || is_digit(s.p[n]) || strchr("._$/*", s.p[n]))) {
        n++;
    }
    return n > 0 && (n == s.n || s.p[n] == ':' || s.p[n] == '(');
}

/* `  File "task.py", line 3` without a function: what is no Python at all is told so, without the
 * word "Traceback" before it. */
static bool python_syntax(struct str line) {
    struct str head = STR("  File \"");
    ptrdiff_t at = str_find(line, STR("\", line "));
    return str_starts(line, head) && at > 0 &&
           digits(str_sub(line, (size_t)at + 8, line.n)) + (size_t)at + 8 == line.n &&
           is_digit(line.p[line.n - 1]);
}

bool trace_opens(struct trace_state *t, struct str line) {
    ptrdiff_t at = str_find(str_sub(line, 0, 128), STR("Traceback (most recent call last):"));
    *t = (struct trace_state){TRACE_NONE};
    if (at >= 0 && (size_t)at < sizeof(t->prefix)) {
        size_t n = (size_t)at;
        t->kind = TRACE_PYTHON;
        if (n && line.p[0] == '[') { /* a launcher's mark before every line */
            while (n && is_space(line.p[n - 1])) {
                n--;
            }
            memcpy(t->prefix, line.p, n);
            t->prefix_n = (unsigned)n;
        }
    } else if (python_syntax(line)) {
        t->kind = TRACE_PYTHON;
    } else if (str_starts(line, STR("Exception in thread \""))) {
        t->kind = TRACE_JAVA;
    } else if (str_starts(line, STR("panic: ")) || str_starts(line, STR("fatal error: "))) {
        t->kind = TRACE_GO;
    }
    return t->kind != TRACE_NONE;
}

static bool python_takes(struct trace_state *t, struct str line) {
    if (t->prefix_n) {
        if (!str_starts(line, str_n(t->prefix, t->prefix_n))) {
            return false;
        }
        line = str_sub(line, t->prefix_n, line.n);
        line = line.n && line.p[0] == ' ' ? str_sub(line, 1, line.n) : line;
    }
    bool blank = str_trim(line).n == 0;
    if (!blank && (is_space(line.p[0]) || line.p[0] == '|')) {
        return t->kind == TRACE_PYTHON;
    }
    if (t->kind == TRACE_PYTHON) { /* "ValueError: text", the last word of this trace */
        t->kind = blank ? TRACE_PYTHON : TRACE_PYTHON_SAID;
        return blank || is_identifier_line(line);
    }
    if (str_starts(line, STR("During handling of the above exception")) ||
        str_starts(line, STR("The above exception was the direct cause"))) {
        t->kind = TRACE_PYTHON_CAUSE;
        return true;
    }
    if (t->kind == TRACE_PYTHON_CAUSE &&
        str_starts(line, STR("Traceback (most recent call last):"))) {
        t->kind = TRACE_PYTHON;
        return true;
    }
    return blank;
}

bool trace_takes(struct trace_state *t, struct str line) {
    struct str s = str_trim(line);
    switch (t->kind) {
    case TRACE_NONE:
        return false;
    case TRACE_PYTHON:
    case TRACE_PYTHON_SAID:
    case TRACE_PYTHON_CAUSE:
        return python_takes(t, line);
    case TRACE_JAVA:
        return (line.n && is_space(line.p[0]) &&
                (str_starts(s, STR("at ")) || str_starts(s, STR("... ")) ||
                 str_starts(s, STR("Suppressed: ")))) ||
               str_starts(s, STR("Caused by: "));
    case TRACE_GO:
        return s.n == 0 || line.p[0] == '\t' || str_starts(s, STR("goroutine ")) ||
               str_starts(s, STR("created by ")) || str_starts(s, STR("[signal ")) ||
               str_starts(s, STR("exit status ")) || (is_identifier_line(s) && s.p[s.n - 1] == ')');
    }
    return false;
}
