/* See job_message.h. */
#include "api/job_message.h"

#include "api/job_trial.h"
#include "base/enc.h"
#include "ctl/ctl.h"
#include "pb/pb.h"
#include "pb/pbinfo.h"
#include "pb/wkt.h"

static void put_status(struct arena *a, const struct store_row *row, const struct job_status *st,
                       Aip__CustomJob *job) {
    job->name = arena_strndup(a, row->name.p, row->name.n);
    job->state = (Aip__JobState)st->state;
    job->create_time = wkt_timestamp_if_set(a, st->create_time);
    job->start_time = wkt_timestamp_if_set(a, st->start_time);
    job->end_time = wkt_timestamp_if_set(a, st->end_time);
    job->update_time = wkt_timestamp_if_set(a, st->update_time);
    if (st->error_code) {
        job->error = arena_own(a, sizeof(*job->error));
        google__rpc__status__init(job->error);
        job->error->code = st->error_code;
        job->error->message = arena_strdup(a, st->error_msg ? st->error_msg : "");
    }
}

int custom_job_message(struct arena *a, const struct store_row *row, Aip__CustomJob **ret,
                       struct err *err) {
    ProtobufCMessage *msg;
    struct job_status st;
    if (pb_unpack(a, &aip__custom_job__descriptor, job_trial_cut(row->spec, NULL), &msg, err) ||
        job_status_decode(a, row->status, &st, err)) {
        /* What we stored ourselves does not read: not the client's fault. */
        if (err) {
            err->code = ERR_DATA_LOSS;
        }
        return err_wrap(err, "read %.*s", STR_ARG(row->name));
    }
    put_status(a, row, &st, (Aip__CustomJob *)msg);
    *ret = (Aip__CustomJob *)msg;
    return 0;
}

/* Does the stored spec, among its outermost fields, say what put_status says? Rows of older servers
 * may; putting the status behind would merge messages instead of replacing them. */
static bool says_status(struct str spec) {
    while (spec.n) {
        uint64_t tag, n = 0;
        if (!enc_unvarint(&spec, &tag)) {
            return true;
        }
        const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(
            &aip__custom_job__descriptor, (unsigned)(tag >> 3));
        if (f && (pb_info(&aip__custom_job__descriptor)
                      ->fields[f - aip__custom_job__descriptor.fields]
                      .flags &
                  PB_F_OUTPUT_ONLY)) {
            return true;
        }
        unsigned wire = tag & 7;
        if (wire == 1 || wire == 5) {
            n = wire == 1 ? 8 : 4;
        } else if ((wire != 0 && wire != 2) || !enc_unvarint(&spec, &n)) {
            return true;
        }
        n = wire == 0 ? 0 : n;
        if (n > spec.n) {
            return true;
        }
        spec = str_sub(spec, n, spec.n);
    }
    return false;
}

bool custom_job_packed(struct arena *a, const struct store_row *row, struct str ret[2]) {
    Aip__CustomJob job = AIP__CUSTOM_JOB__INIT;
    struct job_status st;
    struct str spec = job_trial_cut(row->spec, NULL);
    if (says_status(spec) || job_status_decode(a, row->status, &st, NULL)) {
        return false;
    }
    put_status(a, row, &st, &job);
    ret[0] = spec;
    return pb_pack_in(a, &job.base, &ret[1]);
}

static ProtobufCMessage *decode(struct arena *a, const struct store_row *row) {
    Aip__CustomJob *job;
    return custom_job_message(a, row, &job, NULL) ? NULL : &job->base;
}

const struct filter_schema custom_job_schema = {&aip__custom_job__descriptor, decode};
