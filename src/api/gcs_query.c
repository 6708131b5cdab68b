/* Query parameters of the Cloud Storage API. */
#include "api/gcs_int.h"

#include "base/enc.h"

static int number(struct str key, struct str v, uint64_t *ret, bool *ret_has, struct err *err) {
    if (!str_to_u64(v, ret)) {
        return err_field(err, ERR_INVALID_ARGUMENT, "query", "Invalid value for %.*s: '%.*s'",
                         STR_ARG(key), (int)(v.n > 100 ? 100 : v.n), v.p ? v.p : "");
    }
    *ret_has = true;
    return 0;
}

int gcs_parse_query(struct arena *a, struct str raw, struct gcs_query *q, struct err *err) {
    *q = (struct gcs_query){0};
    struct {
        const char *name;
        struct str *to;
    } texts[] = {
        {"project", &q->project},
        {"name", &q->name},
        {"prefix", &q->prefix},
        {"delimiter", &q->delimiter},
        {"pageToken", &q->page_token},
        {"startOffset", &q->start_offset},
        {"endOffset", &q->end_offset},
        {"uploadType", &q->upload_type},
        {"upload_id", &q->upload_id},
        {"alt", &q->alt},
        {"maxResults", &q->max_results},
        {"generation", &q->generation},
        {"projection", &q->projection},
        {"matchGlob", &q->match_glob},
        {"rewriteToken", &q->rewrite_token},
        {"sourceGeneration", &q->source_generation},
        {"maxBytesRewrittenPerCall", &q->max_rewritten},
        {"contentEncoding", &q->content_encoding},
        {"serviceAccountEmail", &q->account},
        {"marker", &q->marker},
        {"start-after", &q->start_after},
        {"continuation-token", &q->continuation},
        {"list-type", &q->list_type},
        {"max-keys", &q->max_keys},
        {"uploadId", &q->multipart_id},
        {"partNumber", &q->part_number},
        {"max-parts", &q->max_parts},
        {"max-uploads", &q->max_uploads},
        {"key-marker", &q->key_marker},
        {"upload-id-marker", &q->upload_marker},
        {"part-number-marker", &q->part_marker},
        {"response-content-type", &q->response_type},
        {"response-content-disposition", &q->response_disposition},
    };
    struct {
        const char *name;
        uint64_t *to;
        bool *has;
    } numbers[] = {
        {"ifGenerationMatch", &q->pre.gen, &q->pre.has_gen},
        {"ifGenerationNotMatch", &q->pre.not_gen, &q->pre.has_not_gen},
        {"ifMetagenerationMatch", &q->pre.metagen, &q->pre.has_metagen},
        {"ifMetagenerationNotMatch", &q->pre.not_metagen, &q->pre.has_not_metagen},
        {"ifSourceGenerationMatch", &q->src_pre.gen, &q->src_pre.has_gen},
        {"ifSourceGenerationNotMatch", &q->src_pre.not_gen, &q->src_pre.has_not_gen},
        {"ifSourceMetagenerationMatch", &q->src_pre.metagen, &q->src_pre.has_metagen},
        {"ifSourceMetagenerationNotMatch", &q->src_pre.not_metagen, &q->src_pre.has_not_metagen},
    };
    struct {
        const char *name;
        bool *to;
    } flags[] = {
        {"includeTrailingDelimiter", &q->trailing_delimiter},
        {"softDeleted", &q->soft_deleted},
    };
    q->raw = raw;
    while (raw.p && raw.n) {
        struct str value = str_cut(&raw, '&');
        struct str key = str_cut(&value, '=');
        struct str v = STR("");
        if (value.n && !enc_unpercent(a, value, true, &v)) {
            return err_field(err, ERR_INVALID_ARGUMENT, "query",
                             "Malformed escape in the query parameter %.*s",
                             (int)(key.n > 100 ? 100 : key.n), key.p);
        }
        for (size_t i = 0; i < NR_OF(texts); i++) {
            if (str_eqc(key, texts[i].name)) {
                *texts[i].to = v;
            }
        }
        for (size_t i = 0; i < NR_OF(flags); i++) {
            if (str_eqc(key, flags[i].name)) {
                *flags[i].to = str_ieq(v, STR("true")) || str_eqc(v, "1"); /* Python says True */
            }
        }
        for (size_t i = 0; i < NR_OF(numbers); i++) {
            if (str_eqc(key, numbers[i].name) && v.n &&
                number(key, v, numbers[i].to, numbers[i].has, err) < 0) {
                return -1;
            }
        }
    }
    return 0;
}

bool gcs_has_word(struct str query, const char *word) {
    while (query.p && query.n) {
        struct str value = str_cut(&query, '&');
        if (str_eqc(str_cut(&value, '='), word)) {
            return true;
        }
    }
    return false;
}
