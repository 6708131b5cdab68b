/* Timestamps, durations, masks and Any as text and values. Calendar arithmetic is our own: the C
 * library's depends on the process's time zone and locale. */
#include "pb/wkt.h"

#include "pb/pb.h"

#define NANOS 1000000000
#define TS_MIN (-62135596800LL) /* 0001-01-01T00:00:00Z */
#define TS_MAX 253402300799LL   /* 9999-12-31T23:59:59Z */
#define DURATION_MAX 315576000000LL

/* Days since 1970-01-01 in the proleptic Gregorian calendar; years begin in March inside. */
static int64_t days_of(int64_t y, int64_t m, int64_t d) {
    y -= m <= 2;
    int64_t era = y / 400, yoe = y - era * 400; /* y >= 0 here */
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void date_of(int64_t days, int *y, int *m, int *d) {
    int64_t z = days + 719468; /* >= 0 for years from 1 on */
    int64_t era = z / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    *d = (int)(doy - (153 * mp + 2) / 5 + 1);
    *m = (int)(mp < 10 ? mp + 3 : mp - 9);
    *y = (int)(yoe + era * 400 + (*m <= 2));
}

/* Exactly n digits at the front of *s. */
static bool take_num(struct str *s, size_t n, int64_t *ret) {
    uint64_t v;
    if (s->n < n || !str_to_u64(str_n(s->p, n), &v)) {
        return false;
    }
    *ret = (int64_t)v;
    *s = str_sub(*s, n, s->n);
    return true;
}

static bool take_char(struct str *s, const char *any) {
    if (!s->n || !s->p[0] || !strchr(any, s->p[0])) {
        return false;
    }
    *s = str_sub(*s, 1, s->n);
    return true;
}

/* ".123" at the front of *s, 1 to 9 digits; no dot is fine. */
static bool take_fraction(struct str *s, int32_t *nanos) {
    int32_t v = 0;
    int n = 0;
    *nanos = 0;
    if (!take_char(s, ".")) {
        return true;
    }
    while (s->n && s->p[0] >= '0' && s->p[0] <= '9' && n < 9) {
        v = v * 10 + (s->p[0] - '0');
        *s = str_sub(*s, 1, s->n);
        n++;
    }
    if (n == 0) {
        return false;
    }
    for (; n < 9; n++) {
        v *= 10;
    }
    *nanos = v;
    return true;
}

static int64_t month_days(int64_t y, int64_t m) {
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    return days[m - 1] + (m == 2 && leap);
}

bool wkt_timestamp_parse(struct str s, int64_t *ret_sec, int32_t *ret_nanos) {
    int64_t y, mo, d, h, mi, sec, oh = 0, om = 0;
    int32_t nanos;
    if (!take_num(&s, 4, &y) || !take_char(&s, "-") || !take_num(&s, 2, &mo) ||
        !take_char(&s, "-") || !take_num(&s, 2, &d) || !take_char(&s, "Tt") ||
        !take_num(&s, 2, &h) || !take_char(&s, ":") || !take_num(&s, 2, &mi) ||
        !take_char(&s, ":") || !take_num(&s, 2, &sec) || !take_fraction(&s, &nanos)) {
        return false;
    }
    if (y < 1 || mo < 1 || mo > 12 || d < 1 || d > month_days(y, mo) || h > 23 || mi > 59 ||
        sec > 59) {
        return false;
    }
    if (!take_char(&s, "Zz")) {
        int sign = s.n && s.p[0] == '-' ? -1 : 1;
        if (!take_char(&s, "+-") || !take_num(&s, 2, &oh) || !take_char(&s, ":") ||
            !take_num(&s, 2, &om) || oh > 23 || om > 59) {
            return false;
        }
        oh *= sign;
        om *= sign;
    }
    int64_t t = days_of(y, mo, d) * 86400 + (h - oh) * 3600 + (mi - om) * 60 + sec;
    if (s.n || t < TS_MIN || t > TS_MAX) {
        return false;
    }
    *ret_sec = t;
    *ret_nanos = nanos;
    return true;
}

static void put_digits(char *to, int n, int v) {
    while (n--) {
        to[n] = (char)('0' + v % 10);
        v /= 10;
    }
}

/* Nothing, or a dot and 3, 6 or 9 digits. */
static void put_fraction(struct buf *b, int32_t nanos) {
    char text[10] = ".";
    int n = nanos % 1000 ? 9 : nanos % 1000000 ? 6 : 3;
    if (nanos) {
        put_digits(text + 1, 9, nanos);
        buf_put(b, text, 1 + (size_t)n);
    }
}

static bool put_seconds(struct buf *b, int64_t sec, int32_t nanos) {
    int y, m, d;
    if (sec < TS_MIN || sec > TS_MAX || nanos < 0 || nanos >= NANOS) {
        return false;
    }
    int64_t days = (sec - TS_MIN) / 86400 + TS_MIN / 86400, rest = (sec - TS_MIN) % 86400;
    date_of(days, &y, &m, &d);
    char text[] = "0000-00-00T00:00:00"; /* every answer has three of these: no printf */
    put_digits(text, 4, y);
    put_digits(text + 5, 2, m);
    put_digits(text + 8, 2, d);
    put_digits(text + 11, 2, (int)(rest / 3600));
    put_digits(text + 14, 2, (int)(rest / 60 % 60));
    put_digits(text + 17, 2, (int)(rest % 60));
    buf_put(b, text, sizeof(text) - 1);
    return true;
}

bool wkt_timestamp_format_nano(struct buf *b, int64_t sec, int32_t nanos) {
    char text[] = ".000000000Z";
    if (!put_seconds(b, sec, nanos)) {
        return false;
    }
    put_digits(text + 1, 9, nanos);
    buf_put(b, text, sizeof(text) - 1);
    return true;
}

bool wkt_timestamp_format(struct buf *b, int64_t sec, int32_t nanos) {
    if (!put_seconds(b, sec, nanos)) {
        return false;
    }
    put_fraction(b, nanos);
    buf_putc(b, 'Z');
    return true;
}

bool wkt_duration_parse(struct str s, int64_t *ret_sec, int32_t *ret_nanos) {
    bool negative = take_char(&s, "-");
    size_t n = 0;
    uint64_t sec;
    int32_t nanos;
    while (n < s.n && s.p[n] >= '0' && s.p[n] <= '9') {
        n++;
    }
    if (!str_to_u64(str_sub(s, 0, n), &sec) || sec > DURATION_MAX) {
        return false;
    }
    s = str_sub(s, n, s.n);
    if (!take_fraction(&s, &nanos) || !str_eq(s, STR("s"))) {
        return false;
    }
    *ret_sec = negative ? -(int64_t)sec : (int64_t)sec;
    *ret_nanos = negative ? -nanos : nanos;
    return true;
}

bool wkt_duration_format(struct buf *b, int64_t sec, int32_t nanos) {
    if (sec > DURATION_MAX || sec < -DURATION_MAX || nanos <= -NANOS || nanos >= NANOS ||
        (sec > 0 && nanos < 0) || (sec < 0 && nanos > 0)) {
        return false;
    }
    buf_printf(b, "%s%lld", sec < 0 || nanos < 0 ? "-" : "", (long long)(sec < 0 ? -sec : sec));
    put_fraction(b, nanos < 0 ? -nanos : nanos);
    buf_putc(b, 's');
    return true;
}

void wkt_path_to_snake(struct buf *b, struct str path) {
    for (size_t i = 0; i < path.n; i++) {
        char c = path.p[i];
        if (c >= 'A' && c <= 'Z') {
            buf_putc(b, '_');
            c = (char)(c - 'A' + 'a');
        }
        buf_putc(b, c);
    }
}

void wkt_path_to_camel(struct buf *b, struct str path) {
    for (size_t i = 0; i < path.n; i++) {
        char c = path.p[i];
        if (c == '_' && i + 1 < path.n && path.p[i + 1] >= 'a' && path.p[i + 1] <= 'z') {
            c = (char)(path.p[++i] - 'a' + 'A');
        }
        buf_putc(b, c);
    }
}

Google__Protobuf__Timestamp *wkt_timestamp(struct arena *a, usec_t t) {
    Google__Protobuf__Timestamp *ts = arena_own(a, sizeof(*ts));
    google__protobuf__timestamp__init(ts);
    ts->seconds = (int64_t)(t / USEC_PER_SEC);
    ts->nanos = (int32_t)(t % USEC_PER_SEC) * 1000;
    return ts;
}

Google__Protobuf__Timestamp *wkt_timestamp_if_set(struct arena *a, usec_t t) {
    return t ? wkt_timestamp(a, t) : NULL;
}

Google__Protobuf__Duration *wkt_duration(struct arena *a, usec_t d) {
    Google__Protobuf__Duration *pd = arena_own(a, sizeof(*pd));
    google__protobuf__duration__init(pd);
    pd->seconds = (int64_t)(d / USEC_PER_SEC);
    pd->nanos = (int32_t)(d % USEC_PER_SEC) * 1000;
    return pd;
}

static usec_t to_usec(int64_t sec, int32_t nanos) {
    if (sec < 0 || nanos < 0) {
        return 0;
    }
    if (sec > DURATION_MAX) { /* far below overflow, far above any date */
        return USEC_NEVER;
    }
    return (usec_t)sec * USEC_PER_SEC + (usec_t)nanos / 1000;
}

usec_t wkt_timestamp_usec(const Google__Protobuf__Timestamp *t) {
    return t ? to_usec(t->seconds, t->nanos) : 0;
}

usec_t wkt_duration_usec(const Google__Protobuf__Duration *d) {
    return d ? to_usec(d->seconds, d->nanos) : 0;
}

Google__Protobuf__Any *wkt_any(struct arena *a, const ProtobufCMessage *m) {
    auto_buf struct buf b = BUF_INIT(BUF_NO_MAX);
    Google__Protobuf__Any *any = arena_alloc(a, sizeof(*any));
    if (!any || pb_pack(m, &b)) {
        return NULL;
    }
    google__protobuf__any__init(any);
    any->type_url = arena_printf(a, "type.googleapis.com/%s", m->descriptor->name);
    any->value.len = b.n;
    any->value.data = b.n ? arena_memdup(a, b.p, b.n) : NULL;
    return any->type_url && (any->value.data || !b.n) ? any : NULL;
}
