#include "cuspd/metrics.h"

#include "blob/blob.h"
#include "logs/retain.h"
#include "net/net.h"
#include "sys/lane.h"
#include "sys/loop.h"

static void tls(struct buf *b, struct net_server *net) {
    struct net_stats n;
    net_get_stats(net, &n);
    if (!net_has_tls(net)) {
        return;
    }
    buf_printf(b,
               "# TYPE cusp_tls_certificate_expires_seconds gauge\n"
               "cusp_tls_certificate_expires_seconds %lld\n"
               "# TYPE cusp_tls_handshakes_open gauge\ncusp_tls_handshakes_open %llu\n"
               "# TYPE cusp_tls_handshakes_total counter\n"
               "cusp_tls_handshakes_total{result=\"full\"} %llu\n"
               "cusp_tls_handshakes_total{result=\"resumed\"} %llu\n"
               "cusp_tls_handshakes_total{result=\"failed\"} %llu\n",
               (long long)(net_tls_expires_at(net) - (int64_t)(time_wall() / USEC_PER_SEC)),
               (unsigned long long)n.handshakes_open,
               (unsigned long long)(n.handshakes_total - n.handshakes_resumed),
               (unsigned long long)n.handshakes_resumed, (unsigned long long)n.handshakes_failed);
}

void metrics_net(struct buf *b, struct net_server *net) {
    struct net_stats n;
    net_get_stats(net, &n);
    buf_printf(b,
               "# TYPE cusp_connections_open gauge\ncusp_connections_open %llu\n"
               "# TYPE cusp_requests_total counter\ncusp_requests_total %llu\n"
               "# TYPE cusp_bytes_in_total counter\ncusp_bytes_in_total %llu\n"
               "# TYPE cusp_bytes_out_total counter\ncusp_bytes_out_total %llu\n",
               (unsigned long long)n.connections_open, (unsigned long long)n.exchanges_total,
               (unsigned long long)n.bytes_in, (unsigned long long)n.bytes_out);
    tls(b, net);
}

void metrics_disk(struct buf *b, struct lane *disk, struct loop *loop) {
    struct lane_stats l;
    lane_get_stats(disk, &l);
    buf_printf(b,
               "# TYPE cusp_lane_depth gauge\ncusp_lane_depth{lane=\"disk\"} %u\n"
               "# TYPE cusp_loop_worst_turn_usec gauge\ncusp_loop_worst_turn_usec %llu\n",
               l.depth, (unsigned long long)loop_take_worst_turn(loop));
}

void metrics_blob(struct buf *b, const struct blob *blob) {
    struct blob_stats s;
    blob_get_stats(blob, &s);
    buf_printf(b,
               "# TYPE cusp_blob_direct_bytes_total counter\ncusp_blob_direct_bytes_total %llu\n"
               "# TYPE cusp_blob_warmed_bytes_total counter\ncusp_blob_warmed_bytes_total %llu\n",
               (unsigned long long)s.bytes_direct, (unsigned long long)s.bytes_warmed);
}

void metrics_logs(struct buf *b, struct logs *logs) {
    struct log_usage u;
    logs_get_usage(logs, &u);
    buf_printf(b,
               "# TYPE cusp_log_bytes gauge\ncusp_log_bytes %llu\n"
               "# TYPE cusp_log_jobs gauge\ncusp_log_jobs %llu\n"
               "# TYPE cusp_logs_removed_total counter\n"
               "cusp_logs_removed_total{why=\"age\"} %llu\n"
               "cusp_logs_removed_total{why=\"size\"} %llu\n"
               "cusp_logs_removed_total{why=\"deleted\"} %llu\n"
               "# TYPE cusp_log_removed_bytes_total counter\ncusp_log_removed_bytes_total %llu\n",
               (unsigned long long)u.bytes, (unsigned long long)u.jobs,
               (unsigned long long)u.removed_age, (unsigned long long)u.removed_size,
               (unsigned long long)u.removed_deleted, (unsigned long long)u.removed_bytes);
}
