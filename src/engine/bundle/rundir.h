/* CONTRACT. The run directory: the format that the server and cusp-runner share (pure constants;
 * also included by the runner). One directory a replica of an attempt: DIR/run/JOBID/aN/REPLICA/.
 *
 * Version history: 1 (first).
 *
 * Files (all records are base/rec.h text):
 *   run.conf   written by the server before spawning, never changed.
 *   run.lock   flock held by the runner for its whole life. Held = runner alive.
 *   status     runner: temp + rename. Phases: starting, running.
 *   exit       runner: temp + fsync + rename, once, last. Present = this is how it ended.
 *   ctl.sock   runner: Unix stream socket. One line a request, one line an answer ("ok" | "err
 * TEXT"): "signal N" (to init), "kill" (everything), "stats" -> "ok cpu_usec=… mem_bytes=… pids=…",
 *              "doors" -> "ok N" with the N sockets of the keys `door`, in order
 *   runner.log runner's own diagnostics (and the OCI runtime's), text.
 *   reserve    1 MiB file released when the disk is full so that `exit` can be written.
 *   bundle/config.json, upper/, work/, rootfs/ (mount point; mounted only inside the runner's
 *   private mount namespace, so nothing is left mounted when everything has died)
 *   etc/hosts etc/resolv.conf etc/hostname  bind-mounted into the container */
#ifndef CUSP_ENGINE_RUNDIR_H
#define CUSP_ENGINE_RUNDIR_H

#define RUNDIR_FORMAT 1
#define RUNDIR_CONF "run.conf"
#define RUNDIR_LOCK "run.lock"
#define RUNDIR_STATUS "status"
#define RUNDIR_EXIT "exit"
#define RUNDIR_SOCK "ctl.sock"
#define RUNDIR_LOG "runner.log"
#define RUNDIR_RESERVE "reserve"
#define RUNDIR_RESERVE_BYTES (1u << 20)

/* run.conf keys */
#define RC_FORMAT "format"   /* RUNDIR_FORMAT */
#define RC_JOB "job"         /* job id */
#define RC_ATTEMPT "attempt" /* decimal */
#define RC_REPLICA "replica" /* workerpool0-0 */
#define RC_NONCE "nonce"
#define RC_LOG_DIR "log_dir"           /* absolute; runner creates it; base/seg.h files */
#define RC_RUNTIME "runtime"           /* absolute path of crun or runc */
#define RC_RUNTIME_ROOT "runtime_root" /* --root directory */
#define RC_CONTAINER "container"       /* container id */
#define RC_LOWER "lower"               /* repeated: overlay lower directories, topmost first */
#define RC_CGROUP                                                                                  \
    "cgroup" /* path below each hierarchy, e.g. "/cusp/JOB-a1-workerpool0-0": the                  \
                runner makes it, sets limits on it, puts the container in its child "c" */
/* "DEVICE:INODE" of the run directory itself. Where it differs this is a copy, of a data directory
 * whose server and containers may be alive: nothing outside of the copy is touched for it. */
#define RC_HOME "home"
#define RC_RUNNER_CGROUP                                                                           \
    "runner_cgroup" /* where the runner itself moves to (out of the server's) */
#define RC_HIDE_UNIFIED                                                                            \
    "hide_unified" /* 1: unmount /sys/fs/cgroup/unified in the private namespace (crun on hybrid)  \
                    */
#define RC_MEM_LIMIT "mem_limit" /* bytes, 0 none */
#define RC_CPU_MILLI "cpu_milli" /* 0 none */
#define RC_PIDS_LIMIT "pids_limit"
#define RC_NET "net"               /* "bridge" | "none" | "host" */
#define RC_NET_BRIDGE "net.bridge" /* "cusp0" */
#define RC_NET_VETH "net.veth"     /* host side interface name, <= 15 chars */
#define RC_NET_ADDR "net.addr"     /* "10.201.0.7/16" */
#define RC_NET_GATEWAY "net.gateway"
/* Repeated: "169.254.169.254:80". A socket listens there for the server, from before the container
 * starts until the runner ends; with a network namespace of its own the address is put on its
 * loopback and only processes of that namespace get through. */
#define RC_DOOR "door"
#define RUNDIR_DOORS_MAX 2
#define RC_FOREGROUND "foreground" /* 1: do not daemonise (tests) */

/* status keys */
#define RS_PHASE "phase" /* "starting" | "running" */
#define RS_RUNNER_PID "runner_pid"
#define RS_RUNNER_START                                                                            \
    "runner_start"   /* kernel start time (clock ticks since boot), with boot id guards pid reuse */
#define RS_PID "pid" /* container init */
#define RS_PID_START "pid_start"
#define RS_BOOT_ID "boot_id"       /* /proc/sys/kernel/random/boot_id */
#define RS_STARTED_AT "started_at" /* usec wall */

/* exit keys */
#define RE_KIND                                                                                    \
    "kind" /* "code" | "signal" | "oom" | "runtime"; value: exit code, signal number,              \
              oom: code with 128+9 for a signal; runtime: its exit code or 0 */
#define RE_VALUE "value"
#define RE_WHY "why" /* kind runtime: what the runtime said */
#define RE_MEM_LIMIT "mem_limit"
#define RE_MEM_PEAK "mem_peak"
#define RE_STARTED_AT "started_at"
#define RE_ENDED_AT "ended_at"
#define RE_LAST_SEQ "last_seq"       /* frames written to the log, incl. SEG_EOF */
#define RE_LOG_LOST "log_lost_bytes" /* output dropped because the disk was full */
#define RE_OOM_KILLS                                                                               \
    "oom_kills" /* processes the kernel killed for mem_limit; > 0 also with kind code              \
                   when init lived on */
#define RE_PIDS_REFUSED "pids_refused" /* forks refused by pids_limit */
#define RE_CPU_USEC "cpu_usec"         /* processor time of the whole container */
#define RE_STDERR_TAIL "stderr_tail"   /* last <= 20 stderr lines, <= 4000 bytes */

/* The runner's exit codes towards the spawner before it daemonises; and the readiness line: the
 * runner writes "started\n" or "failed TEXT\n" to descriptor 3 when the container runs or cannot.
 */
#define RUNDIR_READY_FD 3
#define RUNDIR_RC_DETACHED 0 /* it runs on by itself; the readiness line follows */
#define RUNDIR_RC_FAILED 1   /* something of the system; the text is in "failed TEXT" */
#define RUNDIR_RC_USAGE 2
#define RUNDIR_RC_CONF 3   /* run.conf cannot be read or is not understood */
#define RUNDIR_RC_LOCKED 4 /* another runner is at work here */
#define RUNDIR_RC_ENDED 5  /* `exit` exists: this run is over */

#endif
