/* cusp images pull and push: the server does it and tells how far it is; shown here as one line
 * that changes on a terminal, else only what is worth keeping. */
#include "cli/cli.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_LENGTH_MAX ((size_t)4 << 20)

struct move {
    const struct cli *c;
    struct buf line; /* the beginning of one that has not come to its end */
    json_t *result;  /* {"image"}, {"digest"} or {"error"} */
    bool tty, shown;
};

static const char *text(const json_t *j, const char *key) {
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "";
}

static void clear_line(struct move *m) {
    if (m->shown) {
        fprintf(stderr, "\r\033[K");
        m->shown = false;
    }
}

static void on_line(struct move *m, struct str line) {
    json_t *j = json_loadb(line.p, line.n, 0, NULL);
    if (json_object_get(j, "text")) {
        clear_line(m);
        if (!m->c->quiet) {
            fprintf(stderr, "%s\n", text(j, "text"));
        }
    } else if (json_object_get(j, "progress")) {
        if (m->tty) {
            fprintf(stderr, "\r\033[K%.*s", 110, text(j, "progress"));
            m->shown = true;
        }
    } else if (j) {
        json_decref(m->result);
        m->result = json_incref(j);
    }
    json_decref(j);
}

static bool on_bytes(void *arg, struct str bytes) {
    struct move *m = arg;
    while (bytes.n) {
        ptrdiff_t end = str_chr(bytes, '\n');
        if (end < 0) {
            return buf_put_str(&m->line, bytes) == 0;
        }
        if (buf_put_str(&m->line, str_sub(bytes, 0, (size_t)end))) {
            return false;
        }
        on_line(m, buf_str(&m->line));
        buf_clear(&m->line);
        bytes = str_sub(bytes, (size_t)end + 1, bytes.n);
    }
    return true;
}

static int error_of(const json_t *e, struct err *err) {
    enum err_code code = ERR_UNKNOWN;
    for (unsigned i = 1; i < ERR_CODE_NR; i++) {
        if (strcmp(text(e, "status"), err_code_name((enum err_code)i)) == 0) {
            code = (enum err_code)i;
        }
    }
    return err_set(err, code, "%s", text(e, "message"));
}

/* The last line of the answer, or NULL. */
static json_t *ask(const struct cli *c, const char *path, json_t *body, struct err *err) {
    struct move m = {
        .c = c, .line = BUF_INIT(LINE_LENGTH_MAX), .tty = isatty(STDERR_FILENO) && !c->quiet};
    auto_free char *sent = json_dumps(body, JSON_COMPACT);
    struct http_reply r;
    json_decref(body);
    auto_close int fd = memfd_create("body", MFD_CLOEXEC);
    if (fd < 0 || write(fd, sent, strlen(sent)) != (ssize_t)strlen(sent) ||
        lseek(fd, 0, SEEK_SET) < 0) {
        (void)err_sys(err, errno, "write the request");
        return NULL;
    }
    struct http_req q = {.method = "POST",
                         .path = path,
                         .headers = {"Content-Type: application/json"},
                         .has_body = true,
                         .fd = fd,
                         .size = strlen(sent),
                         .sink = on_bytes,
                         .arg = &m};
    int rc = http_do(c, &q, &r, err);
    clear_line(&m);
    buf_fini(&m.line);
    if (rc == 0) {
        http_reply_fini(&r);
        if (!m.result) {
            (void)err_set(err, ERR_UNAVAILABLE, "the server ended its answer too early");
        } else if (json_object_get(m.result, "error")) {
            (void)error_of(json_object_get(m.result, "error"), err);
        } else {
            return m.result;
        }
    }
    json_decref(m.result);
    return NULL;
}

int images_pull(const struct cli *c, const char *image, struct err *err) {
    json_t *j = ask(c, "/cusp/v1/images:pull", json_pack("{s:s}", "image", image), err);
    json_t *im = json_object_get(j, "image");
    if (!j) {
        return -1;
    }
    if (c->json) {
        out_json(im);
    } else if (!c->quiet) {
        printf("%s  %s\n", text(im, "name"), text(im, "digest"));
    }
    json_decref(j);
    return 0;
}

int images_push(const struct cli *c, const char *image, const char *to, struct err *err) {
    json_t *j =
        ask(c, "/cusp/v1/images:push", json_pack("{s:s,s:s}", "image", image, "to", to), err);
    if (!j) {
        return -1;
    }
    if (c->json) {
        out_json(j);
    } else if (!c->quiet) {
        printf("%s  %s\n", to, text(j, "digest"));
    }
    json_decref(j);
    return 0;
}
