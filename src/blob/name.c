/* Bucket and object names: which are legal, and how a component that cannot be a file name is
 * stored (blob.h describes the escape). Pure. */
#include "blob/blob_int.h"

#include "base/limits.h"

static bool is_lower_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool looks_like_ip(struct str s) {
    size_t dots = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '.') {
            dots++;
        } else if (s.p[i] < '0' || s.p[i] > '9') {
            return false;
        }
    }
    return dots == 3;
}

static bool bucket_is_legal(struct str s) {
    if (s.n < 3 || s.n > 222 || !is_lower_digit(s.p[0]) || !is_lower_digit(s.p[s.n - 1])) {
        return false;
    }
    size_t run = 0; /* bytes since the last dot: each dotted part has a limit of its own */
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '.') {
            if (run == 0) {
                return false;
            }
            run = 0;
            continue;
        }
        if (!is_lower_digit(c) && c != '-' && c != '_') {
            return false;
        }
        if (++run > 63) {
            return false;
        }
    }
    return !looks_like_ip(s);
}

int blob_check_bucket_name(struct str bucket, struct err *err) {
    if (!bucket_is_legal(bucket)) {
        return err_field(err, ERR_INVALID_ARGUMENT, "name", "Invalid bucket name: '%.*s'",
                         (int)(bucket.n > 300 ? 300 : bucket.n), bucket.p ? bucket.p : "");
    }
    return 0;
}

int blob_check_object_name(struct str name, struct err *err) {
    if (name.n == 0) {
        return err_field(err, ERR_INVALID_ARGUMENT, "name", "Required object name is missing.");
    }
    if (name.n > limits.max_object_name) {
        limits_hit(&limits.max_object_name);
        return err_field(err, ERR_INVALID_ARGUMENT, "name",
                         "The maximum object length is %llu bytes (max_object_name), but got a "
                         "name with %zu bytes.",
                         (unsigned long long)limits.max_object_name, name.n);
    }
    if (str_eqc(name, ".") || str_eqc(name, "..")) {
        return err_field(err, ERR_INVALID_ARGUMENT, "name", "Disallowed object name: '%.*s'",
                         STR_ARG(name));
    }
    if (!str_is_utf8(name)) {
        return err_field(err, ERR_INVALID_ARGUMENT, "name",
                         "Disallowed unicode characters present in object name: not UTF-8");
    }
    if (str_chr(name, '\n') >= 0 || str_chr(name, '\r') >= 0 || memchr(name.p, 0, name.n)) {
        return err_field(err, ERR_INVALID_ARGUMENT, "name",
                         "Disallowed unicode characters present in object name: line break or NUL");
    }
    return 0;
}

bool name_is_plain(struct str c) {
    return c.n > 0 && c.n <= 255 && !str_eqc(c, ".") && !str_eqc(c, "..") &&
           !str_starts(c, STR(BLOB_ESC));
}

void name_escape(struct buf *raw, struct str c, bool is_dir) {
    while (c.n > 252) {
        buf_puts(raw, BLOB_ESC "+");
        buf_put(raw, c.p, BLOB_CHUNK);
        buf_putc(raw, '/');
        c = str_sub(c, BLOB_CHUNK, c.n);
    }
    buf_puts(raw, is_dir ? BLOB_ESC "d" : BLOB_ESC "f");
    buf_put(raw, c.p, c.n);
}

enum name_kind name_decode(struct str entry, bool is_dir, bool in_chunk, struct str *ret) {
    if (!str_starts(entry, STR(BLOB_ESC))) {
        if (in_chunk || str_eqc(entry, ".") || str_eqc(entry, "..")) {
            return NAME_NONE;
        }
        *ret = entry;
        return is_dir ? NAME_DIR : NAME_FILE;
    }
    char kind = entry.n > 2 ? entry.p[2] : 0;
    *ret = str_sub(entry, 3, entry.n);
    if (kind == 'f' && !is_dir) {
        return NAME_FILE;
    }
    if (kind == 'd' && is_dir) {
        return NAME_DIR;
    }
    if (kind == '+' && is_dir && ret->n == BLOB_CHUNK) {
        return NAME_CHUNK;
    }
    return NAME_NONE;
}

const char *name_guess_type(struct str name) {
    static const struct {
        const char *end, *type;
    } table[] = {
        {".json", "application/json"}, {".txt", "text/plain"},        {".csv", "text/csv"},
        {".html", "text/html"},        {".xml", "application/xml"},   {".yaml", "application/yaml"},
        {".png", "image/png"},         {".jpg", "image/jpeg"},        {".jpeg", "image/jpeg"},
        {".gz", "application/gzip"},   {".tar", "application/x-tar"}, {".zip", "application/zip"},
        {".pdf", "application/pdf"},   {".py", "text/x-python"},      {".log", "text/plain"},
        {".svg", "image/svg+xml"},     {".js", "text/javascript"},    {".md", "text/markdown"},
    };
    for (size_t i = 0; i < NR_OF(table); i++) {
        if (str_ends(name, str_of(table[i].end))) {
            return table[i].type;
        }
    }
    return "application/octet-stream";
}
