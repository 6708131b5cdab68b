/* Time as text. Civil-date arithmetic follows the usual days-from-civil algorithm on the proleptic
 * Gregorian calendar; no libc time-zone machinery is involved. */
#include "base/time.h"

usec_t time_wall(void) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (usec_t)ts.tv_sec * USEC_PER_SEC + (usec_t)ts.tv_nsec / 1000;
}

usec_t time_mono(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (usec_t)ts.tv_sec * USEC_PER_SEC + (usec_t)ts.tv_nsec / 1000;
}

static void civil_of_days(int64_t days, int *y, int *m, int *d) {
    int64_t z = days + 719468;
    int64_t era = z / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    *d = (int)(doy - (153 * mp + 2) / 5 + 1);
    *m = (int)(mp < 10 ? mp + 3 : mp - 9);
    *y = (int)(yoe + era * 400 + (*m <= 2));
}

static int64_t days_of_civil(int y, int m, int d) {
    int64_t yy = y - (m <= 2);
    int64_t era = yy / 400;
    int64_t yoe = yy - era * 400;
    int64_t doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + doe - 719468;
}

static void format_seconds(struct buf *b, usec_t t) {
    int y, m, d;
    uint64_t s = t / USEC_PER_SEC;
    unsigned in_day = (unsigned)(s % 86400);
    civil_of_days((int64_t)(s / 86400), &y, &m, &d);
    buf_printf(b, "%04d-%02d-%02dT%02u:%02u:%02u", y, m, d, in_day / 3600, in_day / 60 % 60,
               in_day % 60);
}

void time_format_rfc3339(struct buf *b, usec_t t) {
    unsigned us = (unsigned)(t % USEC_PER_SEC);
    format_seconds(b, t);
    if (us % 1000) {
        buf_printf(b, ".%06u", us);
    } else if (us) {
        buf_printf(b, ".%03u", us / 1000);
    }
    buf_putc(b, 'Z');
}

void time_format_rfc3339_nano(struct buf *b, usec_t t) {
    format_seconds(b, t);
    buf_printf(b, ".%09uZ", (unsigned)(t % USEC_PER_SEC) * 1000u);
}

static bool digits(struct str *s, unsigned n, unsigned *ret) {
    unsigned v = 0;
    if (s->n < n) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        unsigned c = (unsigned char)s->p[i];
        if (c < '0' || c > '9') {
            return false;
        }
        v = v * 10 + (c - '0');
    }
    *s = str_sub(*s, n, s->n);
    *ret = v;
    return true;
}

static bool literal(struct str *s, char lower_c, char upper_c) {
    if (s->n == 0 || (s->p[0] != lower_c && s->p[0] != upper_c)) {
        return false;
    }
    *s = str_sub(*s, 1, s->n);
    return true;
}

static unsigned days_in_month(unsigned y, unsigned m) {
    static const unsigned char len[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    return m == 2 && leap ? 29 : len[m - 1];
}

/* Up to nine fraction digits as microseconds; at least one digit. */
static bool fraction(struct str *s, unsigned *ret_us) {
    unsigned us = 0, n = 0;
    while (s->n && s->p[0] >= '0' && s->p[0] <= '9' && n < 9) {
        if (n < 6) {
            us = us * 10 + (unsigned)(s->p[0] - '0');
        }
        n++;
        *s = str_sub(*s, 1, s->n);
    }
    for (unsigned i = n; i < 6; i++) {
        us *= 10;
    }
    *ret_us = us;
    return n > 0;
}

int time_parse_rfc3339(struct str in, usec_t *ret, struct err *err) {
    struct str s = in;
    unsigned y, mo, d, h, mi, sec, us = 0, oh = 0, om = 0;
    int64_t off = 0;
    if (!digits(&s, 4, &y) || !literal(&s, '-', '-') || !digits(&s, 2, &mo) ||
        !literal(&s, '-', '-') || !digits(&s, 2, &d) || !literal(&s, 't', 'T') ||
        !digits(&s, 2, &h) || !literal(&s, ':', ':') || !digits(&s, 2, &mi) ||
        !literal(&s, ':', ':') || !digits(&s, 2, &sec)) {
        goto bad;
    }
    if (literal(&s, '.', '.') && !fraction(&s, &us)) {
        goto bad;
    }
    if (!literal(&s, 'z', 'Z')) {
        int sign = s.n && s.p[0] == '-' ? -1 : 1;
        if (!literal(&s, '+', '-') || !digits(&s, 2, &oh) || !literal(&s, ':', ':') ||
            !digits(&s, 2, &om) || oh > 23 || om > 59) {
            goto bad;
        }
        off = sign * (int64_t)(oh * 3600 + om * 60);
    }
    if (s.n || y < 1970 || mo < 1 || mo > 12 || d < 1 || d > days_in_month(y, mo) || h > 23 ||
        mi > 59 || sec > 59) {
        goto bad;
    }
    int64_t secs = days_of_civil((int)y, (int)mo, (int)d) * 86400 + h * 3600 + mi * 60 + sec - off;
    if (secs < 0) {
        goto bad;
    }
    *ret = (usec_t)secs * USEC_PER_SEC + us;
    return 0;
bad:
    return err_set(err, ERR_INVALID_ARGUMENT, "\"%.*s\" is not an RFC 3339 time",
                   (int)(in.n > 64 ? 64 : in.n), in.p ? in.p : "");
}

int time_parse_duration(struct str in, usec_t *ret, struct err *err) {
    struct str s = in;
    uint64_t secs;
    unsigned us = 0;
    if (s.n < 2 || s.p[s.n - 1] != 's') {
        goto bad;
    }
    s.n--;
    struct str whole = str_cut(&s, '.');
    if (!str_to_u64(whole, &secs) || secs > 315576000000u) {
        goto bad;
    }
    if (s.p && (!fraction(&s, &us) || s.n)) {
        goto bad;
    }
    *ret = secs * USEC_PER_SEC + us;
    return 0;
bad:
    return err_set(err, ERR_INVALID_ARGUMENT, "\"%.*s\" is not a duration such as \"3600s\"",
                   (int)(in.n > 64 ? 64 : in.n), in.p ? in.p : "");
}

void time_format_duration(struct buf *b, usec_t d) {
    unsigned us = (unsigned)(d % USEC_PER_SEC);
    buf_printf(b, "%llu", (unsigned long long)(d / USEC_PER_SEC));
    if (us % 1000) {
        buf_printf(b, ".%06u", us);
    } else if (us) {
        buf_printf(b, ".%03u", us / 1000);
    }
    buf_putc(b, 's');
}
