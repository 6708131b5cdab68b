/* Private to the registry's files: one request, its way to a lane and back, its answers. */
#ifndef CUSP_API_REGISTRY_INT_H
#define CUSP_API_REGISTRY_INT_H

#include "api/registry.h"
#include "base/arena.h"
#include "base/buf.h"
#include "engine/image/registry.h"
#include "net/xch.h"
#include "sys/lane.h"

#define REG_HEADERS_MAX 8

struct api_registry {
    struct image_store *store;
    struct lane *lane;   /* requests */
    struct lane *unpack; /* one thread: what was pushed becomes layers */
};

/* Lives from the head to the answer. Between submit and done it is the lane's. */
struct reg_call {
    struct lane_work work;
    struct api_registry *g;
    struct xch *x;
    struct arena *a; /* its own: an exchange's is the loop's */
    struct str method, repo, reference;
    bool is_head;
    void (*block)(struct reg_call *); /* lane */
    void (*done)(struct reg_call *);  /* loop; err says how it went */
    struct err err;
    struct header h[REG_HEADERS_MAX];
    size_t nr_h;
    /* blobs */
    char hex[REGISTRY_HEX + 1];
    struct str from;
    int fd;
    uint64_t size;
    /* uploads */
    struct registry_upload *u;
    struct buf pending, writing;
    struct err write_err; /* the lane's, while the loop may have found another */
    bool busy, ended, has_digest, has_range;
    uint64_t first, last, got;
    /* manifests and lists */
    struct str body, media_type;
    struct registry_manifest m;
    struct registry_page page;
    struct str json, last_name;
    uint64_t n;
    bool has_n;
};

void reg_submit(struct reg_call *c, void (*block)(struct reg_call *),
                void (*done)(struct reg_call *));
/* Each answers and frees the call. */
void reg_fail(struct reg_call *c); /* c->err */
void reg_reply(struct reg_call *c, int status, struct str body);
void reg_free(struct reg_call *c);
/* Values are copied into the call's arena. */
void reg_header(struct reg_call *c, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* First value of a query parameter; .p NULL when absent. False: malformed, c->err says so. */
bool reg_query(struct reg_call *c, const char *key, struct str *ret);
/* 405 UNSUPPORTED; allowed: "GET, HEAD" */
void reg_no_method(struct reg_call *c, const char *allowed);

/* Take the call over: */
void reg_blob(struct reg_call *c);         /* reference: digest */
void reg_upload_start(struct reg_call *c); /* POST .../blobs/uploads/ */
void reg_upload(struct reg_call *c);       /* reference: id */
void reg_manifest(struct reg_call *c);
void reg_tags(struct reg_call *c);
void reg_catalog(struct reg_call *c);
void reg_referrers(struct reg_call *c);

#endif
