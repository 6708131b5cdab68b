/* See job_message.h. */
#include "api/job_message.h"

#include "ctl/ctl.h"
#include "pb/pb.h"
#include "pb/wkt.h"

/* Absent when it has not happened yet. */
static Google__Protobuf__Timestamp *timestamp(struct arena *a, usec_t t) {
    return t ? wkt_timestamp(a, t) : NULL;
}

int custom_job_message(struct arena *a, const struct store_row *row, Aip__CustomJob **ret,
                       struct err *err) {
    ProtobufCMessage *msg;
    struct job_status st;
    if (pb_unpack(a, &aip__custom_job__descriptor, row->spec, &msg, err) ||
        job_status_decode(a, row->status, &st, err)) {
        /* What we stored ourselves does not read: not the client's fault. */
        if (err) {
            err->code = ERR_DATA_LOSS;
        }
        return err_wrap(err, "read %.*s", STR_ARG(row->name));
    }
    Aip__CustomJob *job = (Aip__CustomJob *)msg;
    job->name = arena_strndup(a, row->name.p, row->name.n);
    job->state = (Aip__JobState)st.state;
    job->create_time = timestamp(a, st.create_time);
    job->start_time = timestamp(a, st.start_time);
    job->end_time = timestamp(a, st.end_time);
    job->update_time = timestamp(a, st.update_time);
    if (st.error_code) {
        job->error = arena_own(a, sizeof(*job->error));
        google__rpc__status__init(job->error);
        job->error->code = st.error_code;
        job->error->message = arena_strdup(a, st.error_msg ? st.error_msg : "");
    }
    *ret = job;
    return 0;
}

static ProtobufCMessage *decode(struct arena *a, const struct store_row *row) {
    Aip__CustomJob *job;
    return custom_job_message(a, row, &job, NULL) ? NULL : &job->base;
}

const struct filter_schema custom_job_schema = {&aip__custom_job__descriptor, decode};
