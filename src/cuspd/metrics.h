/* What /metrics says of the machinery that knows no API: network, lanes, logs. */
#ifndef CUSP_CUSPD_METRICS_H
#define CUSP_CUSPD_METRICS_H

#include "base/buf.h"

struct blob;
struct lane;
struct logs;
struct loop;
struct net_server;

/* Loop thread. Each appends. */
void metrics_net(struct buf *b, struct net_server *net);
void metrics_disk(struct buf *b, struct lane *disk, struct loop *loop);
void metrics_blob(struct buf *b, const struct blob *blob);
void metrics_logs(struct buf *b, struct logs *logs);

#endif
