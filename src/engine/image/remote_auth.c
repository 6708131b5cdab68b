/* Authorisation: what a refusal asks for, and how it is got. Bearer tokens come from the service
 * that the refusal names (docker's token protocol; with an identity token by OAuth2). */
#include "base/enc.h"
#include "base/limits.h"
#include "engine/image/remote_int.h"

#include <jansson.h>

#define TOKEN_MAX ((size_t)256 << 10)

/* ---- challenges: SCHEME key="value", key=value, ... */

static struct str cut_word(struct str *s) {
    size_t i = 0;
    while (i < s->n && (s->p[i] == ' ' || s->p[i] == '\t' || s->p[i] == ',')) {
        i++;
    }
    *s = str_sub(*s, i, s->n);
    i = 0;
    while (i < s->n && strchr(" \t,=\"", s->p[i]) == NULL) {
        i++;
    }
    struct str word = str_sub(*s, 0, i);
    *s = str_sub(*s, i, s->n);
    return word;
}

/* After '='. */
static struct str cut_value(struct arena *a, struct str *s) {
    if (s->n == 0 || s->p[0] != '"') {
        size_t i = 0;
        while (i < s->n && strchr(" \t,", s->p[i]) == NULL) {
            i++;
        }
        struct str v = str_sub(*s, 0, i);
        *s = str_sub(*s, i, s->n);
        return v;
    }
    char *out = arena_alloc(a, s->n + 1);
    size_t n = 0, i = 1;
    for (; i < s->n && s->p[i] != '"'; i++) {
        if (s->p[i] == '\\' && i + 1 < s->n) {
            i++;
        }
        out[n++] = s->p[i];
    }
    *s = str_sub(*s, i + 1, s->n);
    return str_n(out, n);
}

static void parse_one(struct arena *a, struct str line, struct remote_challenge *ret) {
    struct remote_challenge c = {0};
    while (line.n > 0) {
        struct str word = cut_word(&line);
        struct str after = line;
        while (after.n > 0 && after.p[0] == ' ') {
            after = str_sub(after, 1, after.n);
        }
        if (after.n > 0 && after.p[0] == '=') { /* a parameter */
            line = str_sub(after, 1, after.n);
            struct str v = cut_value(a, &line);
            const char **to = str_ieq(word, STR("realm"))     ? &c.realm
                              : str_ieq(word, STR("service")) ? &c.service
                              : str_ieq(word, STR("scope"))   ? &c.scope
                                                              : NULL;
            if (to != NULL && *to == NULL && memchr(v.n > 0 ? v.p : "", 0, v.n) == NULL) {
                *to = arena_strndup(a, v.p, v.n);
            }
            continue;
        }
        if (word.n == 0) {
            line = str_sub(line, 1, line.n); /* a stray quote or sign */
            continue;
        }
        /* Another scheme begins. */
        if (c.scheme > ret->scheme) {
            *ret = c;
        }
        c = (struct remote_challenge){0};
        c.scheme = str_ieq(word, STR("bearer"))  ? CHALLENGE_BEARER
                   : str_ieq(word, STR("basic")) ? CHALLENGE_BASIC
                                                 : CHALLENGE_NONE;
    }
    if (c.scheme > ret->scheme) {
        *ret = c;
    }
}

void remote_challenge_parse(struct arena *a, struct str headers, struct remote_challenge *ret) {
    *ret = (struct remote_challenge){0};
    while (headers.p != NULL) {
        struct str line = str_cut(&headers, '\n');
        parse_one(a, line, ret);
    }
}

/* ---- getting what was asked for */

static char *basic_line(const struct remote_creds *c) {
    auto_buf struct buf plain = BUF_INIT(BUF_NO_MAX);
    struct buf line = BUF_INIT(BUF_NO_MAX);
    (void)buf_printf(&plain, "%s:%s", c->username, c->password);
    (void)buf_puts(&line, "Authorization: Basic ");
    enc_base64(&line, plain.p, plain.n);
    return buf_take(&line, NULL);
}

static void put_param(struct buf *b, const char *name, const char *value) {
    if (value != NULL) {
        (void)buf_printf(b, "%s%s=", b->n > 0 && b->p[b->n - 1] != '?' ? "&" : "", name);
        enc_percent(b, str_of(value), "");
    }
}

/* Clear text is for those registries only that may be spoken to in clear text. */
static int check_realm(const struct remote_spot *spot, const char *realm, struct err *err) {
    struct str r = str_of(realm);
    bool plain = realm != NULL && str_starts(r, STR("http://"));
    if (realm == NULL || (!plain && !str_starts(r, STR("https://")))) {
        return err_set(err, ERR_UNAVAILABLE,
                       "registry %s asks for a token and does not say where they are", spot->host);
    }
    if (plain && !spot->insecure) {
        return err_set(err, ERR_PERMISSION_DENIED,
                       "registry %s sends us to %.200s for a token, in clear text; set insecure = "
                       "true in [registry %s] if that is right",
                       spot->host, realm, spot->host);
    }
    return 0;
}

static int token_refused(const struct remote_spot *spot, const struct remote_req *q,
                         const struct remote_creds *c, const char *realm, struct err *err) {
    if (q->status == 400 || q->status == 401 || q->status == 403) {
        return c->from != NULL
                   ? err_set(err, ERR_UNAUTHENTICATED,
                             "the token service of registry %s (%.200s) refuses the credentials "
                             "from %s (status %ld)",
                             spot->host, realm, c->from, q->status)
                   : err_set(err, ERR_UNAUTHENTICATED,
                             "registry %s wants credentials: run docker login %s as the user that "
                             "cuspd runs as, or set username and password in [registry %s]",
                             spot->host, spot->host, spot->host);
    }
    return err_set(err, ERR_UNAVAILABLE, "the token service of registry %s (%.200s) answered %ld",
                   spot->host, realm, q->status);
}

static int fetch_token(struct remote_session *s, const struct remote_spot *spot,
                       const struct remote_challenge *ch, const struct remote_creds *c,
                       char **ret_line, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    const char *scope = ch->scope != NULL
                            ? ch->scope
                            : arena_printf(a, "repository:%s:%s", s->ref->repo, s->actions);
    auto_buf struct buf url = BUF_INIT(1 << 16);
    auto_buf struct buf form = BUF_INIT(1 << 18);
    auto_free char *line = NULL, *redirect = NULL;
    struct remote_req q = {.method = "GET", .fd = -1, .max = TOKEN_MAX};
    if (check_realm(spot, ch->realm, err) < 0) {
        return -1;
    }
    (void)buf_puts(&url, ch->realm);
    if (c->identity_token != NULL) {
        q.method = "POST";
        q.content_type = "application/x-www-form-urlencoded";
        put_param(&form, "grant_type", "refresh_token");
        put_param(&form, "service", ch->service != NULL ? ch->service : "");
        put_param(&form, "client_id", "cusp");
        put_param(&form, "scope", scope);
        put_param(&form, "refresh_token", c->identity_token);
        q.has_body = true;
        q.body = buf_str(&form);
    } else {
        (void)buf_puts(&url, strchr(ch->realm, '?') != NULL ? "&" : "?");
        put_param(&url, "service", ch->service);
        put_param(&url, "scope", scope);
        if (c->username != NULL) {
            put_param(&url, "account", c->username);
            line = basic_line(c);
        }
    }
    if (url.full || form.full) {
        return err_set(err, ERR_UNAVAILABLE, "registry %s names a token service that is too long",
                       spot->host);
    }
    int rc = remote_transfer(s, spot, buf_cstr(&url), line, &q, &redirect, NULL, err);
    if (rc == 0 && q.status != 200) {
        rc = token_refused(spot, &q, c, ch->realm, err);
    }
    if (rc == 0) {
        json_t *j = json_loadb(q.reply.p != NULL ? q.reply.p : "", q.reply.n, 0, NULL);
        const char *token = json_string_value(json_object_get(j, "token"));
        token = token != NULL ? token : json_string_value(json_object_get(j, "access_token"));
        if (token == NULL || strpbrk(token, "\r\n") != NULL) {
            rc = err_set(err, ERR_UNAVAILABLE, "the token service of registry %s gave no token",
                         spot->host);
        } else {
            *ret_line = xasprintf("Authorization: Bearer %s", token);
        }
        json_decref(j);
    }
    buf_fini(&q.reply);
    return rc;
}

static int make_line(struct remote_session *s, struct remote_spot *spot, struct str challenge,
                     struct arena *a, char **ret, const char **ret_from, struct err *err) {
    struct remote_challenge ch;
    struct remote_creds c;
    remote_challenge_parse(a, challenge, &ch);
    if (remote_creds_find(a, s->config, spot->host, &c, err) < 0) {
        return -1;
    }
    *ret_from = c.from;
    if (ch.scheme == CHALLENGE_BEARER) {
        return fetch_token(s, spot, &ch, &c, ret, err);
    }
    if (ch.scheme == CHALLENGE_BASIC && c.username != NULL) {
        *ret = basic_line(&c);
        return 0;
    }
    return ch.scheme == CHALLENGE_BASIC
               ? err_set(err, ERR_UNAUTHENTICATED,
                         "registry %s wants a name and a password: run docker login %s as the user "
                         "that cuspd runs as, or set username and password in [registry %s]",
                         spot->host, spot->host, spot->host)
               : err_set(err, ERR_UNAUTHENTICATED,
                         "registry %s refuses, and asks for no kind of credentials known here",
                         spot->host);
}

/* Several layers are refused at the same moment when a token has run out: who finds that another
 * has made a new one since uses that. */
int remote_authorize(struct remote_session *s, struct remote_spot *spot, struct str challenge,
                     unsigned seen, struct err *err) {
    auto_arena struct arena *a = arena_new(ARENA_NO_MAX);
    int rc = 0;
    (void)pthread_mutex_lock(&s->lock);
    if (spot->authorized == seen) {
        char *line = NULL;
        const char *from = NULL;
        (void)pthread_mutex_unlock(&s->lock);
        rc = make_line(s, spot, challenge, a, &line, &from, err);
        (void)pthread_mutex_lock(&s->lock);
        if (rc == 0) {
            free(spot->authorization);
            spot->authorization = line;
            spot->creds_from = arena_strdup(s->arena, from);
            spot->authorized++;
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

char *remote_authorization(struct remote_session *s, struct remote_spot *spot, unsigned *ret_seen) {
    (void)pthread_mutex_lock(&s->lock);
    char *line = xstrdup(spot->authorization);
    *ret_seen = spot->authorized;
    (void)pthread_mutex_unlock(&s->lock);
    return line;
}
