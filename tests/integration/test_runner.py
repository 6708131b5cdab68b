"""cusp-runner alone, with the real OCI runtimes on a busybox root: what it records is what happened.

Needs root, busybox-static and at least one of runc and crun; what is missing is skipped by name."""

import fcntl
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

from conftest import Greeter, wait_until

BUILD = pathlib.Path(os.environ.get("CUSP_BUILD", "build")).resolve()
RUNNER = BUILD / "cusp-runner"
BUSYBOX = "/bin/busybox"
APPLETS = "sh ls cat sleep echo seq dd ip kill head yes hostname true id nc env tr wc".split()
CGROUP = pathlib.Path("/sys/fs/cgroup")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: needs root for namespaces and cgroups"),
    pytest.mark.skipif(not os.path.exists(BUSYBOX), reason="NOT TESTED: busybox-static is missing"),
]


def is_hybrid():
    return (CGROUP / "unified/cgroup.procs").exists()


def runtimes():
    found = [p for p in map(shutil.which, ("runc", "crun")) if p]
    return [pytest.param(p, id=os.path.basename(p)) for p in found] or [
        pytest.param(None, marks=pytest.mark.skip(reason="NOT TESTED: neither runc nor crun"))
    ]


both = pytest.mark.parametrize("runtime", runtimes())


@pytest.fixture(scope="session")
def layer(tmp_path_factory):
    root = tmp_path_factory.mktemp("layer")
    for d in ("bin", "proc", "dev", "tmp", "etc"):
        (root / d).mkdir()
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for a in APPLETS:
        (root / "bin" / a).symlink_to("busybox")
    return root


def records(path):
    lines = path.read_text().split("\n")
    assert lines[0] == "cusp-rec 1" and lines[-1] == ""
    plain = {"n": "\n", "r": "\r", "0": "\0", "\\": "\\"}
    ret = {}
    for line in lines[1:-1]:
        key, value = line.split("=", 1)
        out, it = "", iter(value)
        for ch in it:
            out += plain[next(it)] if ch == "\\" else ch
        ret[key] = out
    return ret


class Run:
    """One run directory, made by hand as the server makes it."""

    count = 0

    def __init__(self, base, layer, runtime, args, **conf):
        Run.count += 1
        self.name = f"cusptest-{os.getpid()}-{Run.count}"
        self.dir = base / self.name
        self.cgroup = f"/cusp-test/{self.name}"
        self.logs = pathlib.Path(conf.pop("log_dir", self.dir / "logs"))
        self.env = conf.pop("env", {})
        binds = conf.pop("binds", [])
        self.conf = {
            "format": 1, "job": "1", "attempt": 1, "replica": "workerpool0-0", "nonce": "n1",
            "log_dir": self.logs, "runtime": runtime, "runtime_root": "/run/cusp-test",
            "container": self.name, "lower": layer, "cgroup": self.cgroup,
            "runner_cgroup": "/cusp-test/runners", "net": "none",
            "hide_unified": int("crun" in runtime and is_hybrid()),
        } | conf
        (self.dir / "bundle").mkdir(parents=True)
        caps = ["CAP_KILL", "CAP_DAC_OVERRIDE"]
        mounts = [{"destination": "/proc", "type": "proc", "source": "proc"},
                  {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}]
        mounts += [{"destination": d, "source": str(s), "type": "bind", "options": ["rbind"]}
                   for s, d in binds]
        config = {
            "ociVersion": "1.0.2",
            "process": {"user": {"uid": 0, "gid": 0}, "args": args, "env": ["PATH=/bin"], "cwd": "/",
                        "capabilities": {k: caps for k in ("bounding", "effective", "permitted")}},
            "root": {"path": str(self.dir / "rootfs")}, "hostname": "replica-0", "mounts": mounts,
            "linux": {"cgroupsPath": self.cgroup + "/c",
                      "namespaces": [{"type": t} for t in ("pid", "ipc", "uts", "mount")]},
        }
        (self.dir / "bundle/config.json").write_text(json.dumps(config))
        text = "cusp-rec 1\n" + "".join(f"{k}={v}\n" for k, v in self.conf.items())
        (self.dir / "run.conf").write_text(text)

    def spawn(self):
        """Exit code of the spawned process and the readiness line."""
        r, w = os.pipe()
        p = subprocess.Popen(
            [RUNNER, self.dir], pass_fds=[3], preexec_fn=lambda: os.dup2(w, 3),
            env=os.environ | self.env, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(w)
        with os.fdopen(r) as f:
            line = f.readline()
        return p.wait(timeout=30), line

    def start(self):
        code, line = self.spawn()
        assert (code, line) == (0, "started\n"), (self.dir / "runner.log").read_text()
        return self

    def locked(self):
        if not (self.dir / "run.lock").exists():
            return False
        with open(self.dir / "run.lock") as f:
            try:
                fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def wait(self, seconds=60):
        """The exit record; the lock is free when this returns, so cleanup is over."""
        subprocess.run(["flock", "-w", str(seconds), self.dir / "run.lock", "true"], check=True)
        return records(self.dir / "exit")

    def status(self):
        return records(self.dir / "status")

    def ask(self, line):
        with socket.socket(socket.AF_UNIX) as s:
            d = os.open(self.dir, os.O_RDONLY)
            s.connect(f"/proc/self/fd/{d}/ctl.sock")
            os.close(d)
            s.sendall(line.encode() + b"\n")
            return s.makefile().readline().rstrip("\n")

    def frames(self, whole=True):
        """(stream, flags, payload) of all frames; checks the numbering. While the runner is at work
        the last frame may be half written: whole=False leaves it out."""
        ret, seq = [], 0
        for path in sorted(self.logs.glob("out.*.seg")):
            data = path.read_bytes()
            if not whole and len(data) < 16:
                break
            assert data[:16] == b"cusp-seg 1\n".ljust(16, b"\0")
            at = 16
            while at < len(data):
                if not whole and at + 32 > len(data):
                    break
                magic, n, number, _, stream, flags, _, _ = struct.unpack_from("<IIQQBBHI", data, at)
                assert magic == 0x67455343 and number == seq
                if not whole and at + 32 + n > len(data):
                    break
                ret.append((stream, flags, data[at + 32:at + 32 + n]))
                assert len(ret[-1][2]) == n, "torn frame"
                at, seq = at + 32 + n, seq + 1
        return ret

    def output(self, stream=1):
        return b"".join(payload + (b"" if flags & 1 else b"\n")
                        for s, flags, payload in self.frames(whole=False) if s == stream)

    def cgroup_dirs(self):
        return [d for d in CGROUP.glob(f"*{self.cgroup}") if d.is_dir()] + [
            d for d in [CGROUP / self.cgroup[1:]] if d.is_dir()]

    def pids(self):
        ret = set()
        for d in self.cgroup_dirs():
            for f in d.rglob("cgroup.procs"):
                ret |= set(map(int, f.read_text().split()))
        return ret

    def sweep(self):
        """What a server does after a runner that died: nothing to do after one that did not."""
        deadline = time.monotonic() + 10
        while self.cgroup_dirs() and time.monotonic() < deadline:
            for pid in self.pids():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            for d in self.cgroup_dirs():
                for sub in sorted(d.glob("**/"), reverse=True):
                    try:
                        sub.rmdir()
                    except OSError:
                        pass
        shutil.rmtree(pathlib.Path("/run/cusp-test") / self.name, ignore_errors=True)

    def assert_nothing_left(self):
        assert self.cgroup_dirs() == []
        assert not (pathlib.Path("/run/cusp-test") / self.name).exists()
        assert str(self.dir) not in pathlib.Path("/proc/self/mountinfo").read_text()
        assert not {p.name for p in self.dir.iterdir()} & {"ctl.sock", "reserve", "container.pid"}


@pytest.fixture
def make(tmp_path, layer):
    made = []

    def fn(runtime, script, **conf):
        args = script if isinstance(script, list) else ["sh", "-c", script]
        made.append(Run(conf.pop("base", tmp_path), layer, runtime, args, **conf))
        return made[-1]

    yield fn
    for run in made:
        run.sweep()


def until(condition, seconds=10):
    wait_until(condition, seconds, "what was to happen")


def on_tmpfs(path, mib):
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", path], check=True)


@both
@pytest.mark.parametrize("code", [0, 1, 42, 137, 255])
def test_exit_code(make, runtime, code):
    run = make(runtime, f"echo out; echo err >&2; exit {code}").start()
    end = run.wait()
    assert (end["kind"], end["value"]) == ("code", str(code))
    assert end["nonce"] == "n1" and end["stderr_tail"] == "err"
    assert int(end["started_at"]) <= int(end["ended_at"])
    frames = run.frames()
    assert sorted(f[2] for f in frames[:-1]) == [b"err", b"out"]
    assert frames[-1] == (4, 0, b"") and int(end["last_seq"]) == len(frames)
    run.assert_nothing_left()


@both
def test_signals_reach_init(make, runtime):
    run = make(runtime, "trap 'echo got; exit 7' TERM; echo ready; while :; do sleep 0.01; done").start()
    until(lambda: b"ready" in run.output())
    assert run.status()["phase"] == "running"
    assert run.ask("signal 15") == "ok"
    assert (run.wait()["kind"], run.wait()["value"]) == ("code", "7")
    assert run.output() == b"ready\ngot\n"


@both
def test_death_by_signal_is_told_as_such(make, runtime):
    run = make(runtime, ["sleep", "1000"]).start()
    assert run.ask("signal 9") == "ok"
    end = run.wait()
    assert (end["kind"], end["value"], end["oom_kills"]) == ("signal", "9", "0")


@both
def test_kill_takes_everything(make, runtime):
    run = make(runtime, "sleep 1000 & sleep 1000 & echo ready; wait").start()
    until(lambda: b"ready" in run.output())
    assert len(run.pids()) == 3
    assert run.ask("kill") == "ok"
    assert (run.wait()["kind"], run.wait()["value"]) == ("signal", "9")
    run.assert_nothing_left()


@both
def test_out_of_memory(make, runtime):
    limit = 32 << 20
    run = make(runtime, "x=a; while :; do x=$x$x; done", mem_limit=limit).start()
    end = run.wait()
    assert (end["kind"], end["value"], end["mem_limit"]) == ("oom", "137", str(limit))
    assert int(end["oom_kills"]) >= 1 and limit * 0.8 <= int(end["mem_peak"]) <= limit


@both
def test_out_of_memory_of_a_child_that_init_passes_on(make, runtime):
    run = make(runtime, "sh -c 'x=a; while :; do x=$x$x; done'; exit $?", mem_limit=32 << 20).start()
    assert (run.wait()["kind"], run.wait()["value"]) == ("oom", "137")


@both
def test_out_of_memory_that_init_survives(make, runtime):
    run = make(runtime, "sh -c 'x=a; while :; do x=$x$x; done'; exit 5", mem_limit=32 << 20).start()
    end = run.wait()
    assert (end["kind"], end["value"]) == ("code", "5") and int(end["oom_kills"]) >= 1


@both
def test_pids_limit(make, runtime):
    run = make(runtime, "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26"
               " 27 28 29 30 31 32 33 34 35 36 37 38 39 40; do sleep 5 & done; exit 0", pids_limit=30).start()
    end = run.wait()
    assert int(end["pids_refused"]) >= 1
    run.assert_nothing_left()


@both
def test_big_output_is_complete_and_in_order(make, runtime):
    line = "x" * 100
    run = make(runtime, f"yes {line} | head -n 110000 | cat -n").start()
    run.wait()
    out = run.output()
    assert len(out) > 10 << 20
    expected = b"".join(b"%6d\t%s\n" % (i, line.encode()) for i in range(1, 110001))
    assert out == expected


@both
def test_long_and_unfinished_lines(make, runtime):
    n = 600_000
    run = make(runtime, f"head -c {n} /dev/zero | tr '\\0' y; echo; echo; printf last").start()
    run.wait()
    assert [(len(p), f) for s, f, p in run.frames() if s == 1] == [
        (262144, 1), (262144, 1), (n - 2 * 262144, 0), (0, 0), (4, 0)]


@both
def test_stderr_tail(make, runtime):
    run = make(runtime, "seq 1 100 >&2; printf 'no newline' >&2; exit 1").start()
    assert run.wait()["stderr_tail"] == "\n".join([str(i) for i in range(82, 101)] + ["no newline"])


@both
def test_runtime_says_why(make, runtime):
    run = make(runtime, ["/no/such/program"])
    code, line = run.spawn()
    assert code == 0 and line.startswith("failed ") and "no/such/program" in line
    end = run.wait()
    assert end["kind"] == "runtime" and "no/such/program" in end["why"]
    run.assert_nothing_left()


@both
def test_missing_layer_says_why(make, runtime):
    run = make(runtime, "true", lower="/no/such/layer")
    code, line = run.spawn()
    assert code == 0 and line.startswith("failed image layer /no/such/layer")
    assert run.wait()["kind"] == "runtime"
    run.assert_nothing_left()


@both
def test_log_directory_that_cannot_be_made_says_why(make, runtime):
    run = make(runtime, "true", log_dir="/proc/nowhere/l")
    code, line = run.spawn()
    assert code == 0 and line.startswith("failed create directory /proc/nowhere")
    end = run.wait()
    assert (end["kind"], end["last_seq"]) == ("runtime", "0")
    run.assert_nothing_left()


@both
def test_second_start_changes_nothing(make, runtime):
    run = make(runtime, "echo once; read x < /dev/null; sleep 1000").start()
    before = (run.dir / "status").read_bytes()
    assert run.spawn() == (4, "failed run.lock is held by another process\n")
    assert (run.dir / "status").read_bytes() == before
    run.ask("kill")
    end = run.wait()
    assert run.spawn() == (5, "failed this run has ended already\n")
    assert records(run.dir / "exit") == end and run.output() == b"once\n"


@pytest.fixture
def slow(tmp_path):
    """A runtime that waits for a file before it starts: what comes in between is early."""

    def fn(runtime):
        wrapper = tmp_path / ("slow-" + os.path.basename(runtime))
        wrapper.write_text(f'#!/bin/sh\nwhile [ ! -e {tmp_path}/go ]; do sleep 0.01; done\nexec {runtime} "$@"\n')
        wrapper.chmod(0o755)
        return str(wrapper)

    return fn


@both
def test_kill_while_starting(make, runtime, slow):
    run = make(slow(runtime), "echo never")
    said = []
    t = threading.Thread(target=lambda: said.append(run.spawn()))
    t.start()
    until(lambda: (run.dir / "status").exists() and (run.dir / "runner.log").exists())
    assert run.status()["phase"] == "starting"
    assert run.ask("kill") == "ok"
    t.join(timeout=10)
    assert said == [(0, "failed killed while starting\n")]
    end = run.wait()
    assert (end["kind"], end["value"]) == ("signal", "9") and "started_at" not in end
    assert run.output() == b""
    run.assert_nothing_left()


@both
def test_signal_while_starting_is_delivered_after_it(make, runtime, slow, tmp_path):
    run = make(slow(runtime), "trap 'exit 8' TERM; while :; do sleep 0.01; done")
    t = threading.Thread(target=run.spawn)
    t.start()
    until(lambda: (run.dir / "status").exists())
    assert run.ask("signal 9") == "ok"
    (tmp_path / "go").touch()
    end = run.wait()
    t.join()
    assert (end["kind"], end["value"]) == ("signal", "9") and "started_at" in end


@both
def test_bad_conf_is_refused(make, runtime):
    run = make(runtime, "true", format=99)
    assert run.spawn() == (3, "failed run.conf: format 99, this runner knows 1\n")
    assert not (run.dir / "run.lock").exists()


@both
def test_status_and_stats(make, runtime):
    run = make(runtime, "sleep 1000 & wait", cpu_milli=500, mem_limit=64 << 20).start()
    s = run.status()
    start = pathlib.Path(f"/proc/{s['pid']}/stat").read_text().rsplit(")", 1)[1].split()[19]
    assert s["pid_start"] == start
    assert s["boot_id"] == pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    until(lambda: "pids=2" in run.ask("stats"))
    stats = dict(w.split("=") for w in run.ask("stats").split()[1:])
    assert int(stats["mem_bytes"]) > 0 and int(stats["cpu_usec"]) > 0
    assert run.ask("signal 99999") == "err not a signal number"
    assert run.ask("nonsense") == "err unknown request"
    # the runner is out of our cgroups and ignores a service manager's SIGTERM
    runner = int(s["runner_pid"])
    groups = pathlib.Path(f"/proc/{runner}/cgroup").read_text().split()
    assert all(g.endswith(":/cusp-test/runners") for g in groups), groups
    os.kill(runner, signal.SIGTERM)
    assert run.ask("stats").startswith("ok ")
    run.ask("kill")
    run.wait()


@both
def test_killed_runner_leaves_a_killable_cgroup_and_no_mounts(make, runtime):
    run = make(runtime, "sleep 1000 & sleep 1000").start()
    until(lambda: len(run.pids()) == 2)
    os.kill(int(run.status()["runner_pid"]), signal.SIGKILL)
    until(lambda: not run.locked())
    assert not (run.dir / "exit").exists()
    assert str(run.dir) not in pathlib.Path("/proc/self/mountinfo").read_text()
    run.sweep()
    assert run.cgroup_dirs() == []
    shutil.rmtree(run.dir / "rootfs")  # EBUSY if it were still mounted anywhere


@both
def test_log_disk_full_loses_output_but_not_the_end(make, runtime, tmp_path):
    logs = tmp_path / "small"
    on_tmpfs(logs, 2)
    try:
        run = make(runtime, "seq 1 400000; echo last >&2; exit 9", log_dir=logs / "l").start()
        end = run.wait()
        assert (end["kind"], end["value"], end["stderr_tail"]) == ("code", "9", "last")
        frames = run.frames()
        assert len(frames) == int(end["last_seq"]) and int(end["log_lost_bytes"]) > 0
        kept = b"".join(p + b"\n" for s, _, p in frames if s == 1)
        everything = b"".join(b"%d\n" % i for i in range(1, 400001))
        assert everything.startswith(kept)
        # whole frames only, and everything not kept is counted ("last\n" may be among it)
        missing = len(everything) - len(kept) + len("last\n") * (not any(s == 2 for s, _, _ in frames))
        assert int(end["log_lost_bytes"]) == missing
    finally:
        subprocess.run(["umount", "-l", logs], check=True)


@both
def test_log_goes_on_when_there_is_room_again(make, runtime, tmp_path):
    logs = tmp_path / "small"
    on_tmpfs(logs, 8)
    try:
        (logs / "ballast").write_bytes(b"b" * (7 << 20))
        run = make(runtime, "seq 1 300000; : >/tmp/said; while [ ! -e /tmp/go ]; do sleep 0.01; done; echo more",
                   log_dir=logs / "l").start()
        # All but a pipe of it was taken then, and ten times what there is room for: some is lost.
        until(lambda: os.path.exists(f"/proc/{run.status()['pid']}/root/tmp/said"))
        (logs / "ballast").unlink()
        until(lambda: any(s == 3 for s, _, _ in run.frames(whole=False)))
        (run.dir / "upper/tmp").mkdir(exist_ok=True)
        pathlib.Path(f"/proc/{run.status()['pid']}/root/tmp/go").touch()
        end = run.wait()
        frames = run.frames()
        lost = [p.decode() for s, f, p in frames if s == 3]
        assert lost and all(p.endswith("bytes of output lost: disk full") for p in lost)
        assert sum(int(p.split()[0]) for p in lost) == int(end["log_lost_bytes"]) > 0
        assert frames[-2][2] == b"more" and frames[-1][0] == 4
    finally:
        subprocess.run(["umount", "-l", logs], check=True)


@both
def test_exit_is_recorded_on_a_full_disk(make, runtime, tmp_path):
    small = tmp_path / "small"
    on_tmpfs(small, 6)
    try:
        run = make(runtime, "while [ ! -e /tmp/go ]; do sleep 0.01; done; dd if=/dev/zero of=/fill bs=64k; exit 4",
                   base=small).start()
        pathlib.Path(f"/proc/{run.status()['pid']}/root/tmp/go").touch()
        end = run.wait()
        assert (end["kind"], end["value"]) == ("code", "4")
    finally:
        subprocess.run(["umount", "-l", small], check=True)


@pytest.fixture
def bridge():
    """A bridge of this process's own, in a subnet that no server of the tests uses (they have 10.201 to 10.213)."""
    name, net = f"cuspit{os.getpid() % 100000}", f"10.{214 + os.getpid() % 32}"
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "addr", "add", f"{net}.0.1/16", "dev", name], check=True)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        yield name, net
    finally:
        subprocess.run(["ip", "link", "del", name], check=True)


@both
def test_bridge_network(make, runtime, bridge, tmp_path):
    name, net = bridge
    veth = f"cuspv{os.getpid() % 100000}"
    (tmp_path / "hosts").write_text(f"127.0.0.1 localhost\n{net}.0.9 peer-of-mine\n")
    with Greeter(f"{net}.0.1") as host:
        run = make(runtime, f"hostname; cat /etc/hosts; nc {net}.0.1 {host.port}; ip -o -4 addr; ip route",
                   net="bridge", binds=[(tmp_path / "hosts", "/etc/hosts")],
                   **{"net.bridge": name, "net.veth": veth, "net.addr": f"{net}.0.7/16",
                      "net.gateway": f"{net}.0.1"}).start()
        run.wait()
    out = run.output().decode()
    assert "replica-0\n" in out and "peer-of-mine" in out and host.words in out
    assert f"{net}.0.7/16" in out and f"default via {net}.0.1" in out
    assert host.seen == [f"{net}.0.7"]
    until(lambda: not os.path.exists(f"/sys/class/net/{veth}"))


@both
def test_no_network(make, runtime):
    run = make(runtime, "ip -o addr").start()
    run.wait()
    assert {line.split()[1] for line in run.output().decode().splitlines()} == {"lo"}


HAS_FAILPOINTS = RUNNER.exists() and b"CUSP_FAILPOINT_TRACE" in RUNNER.read_bytes()


@both
@pytest.mark.skipif(not HAS_FAILPOINTS, reason="NOT TESTED: built without -Dfailpoints=true")
@pytest.mark.parametrize("point", [
    "runner.start.before_lock", "runner.start.after_lock", "runner.start.before_runtime",
    "mnt.overlay.before_mount", "mnt.overlay.before_attach", "mnt.overlay.after_mount",
    "runner.run.after_started", "runner.log.write", "runner.exit.before_write", "runner.exit.after_write"])
def test_runner_dies_anywhere(make, runtime, point):
    run = make(runtime, "echo hi; exit 3", env={"CUSP_FAILPOINTS": f"{point}=abort"})
    run.spawn()
    until(lambda: not run.locked())
    # either the whole truth or nothing; never a lock held, never a guess
    assert (run.dir / "exit").exists() == (point == "runner.exit.after_write")
    if (run.dir / "exit").exists():
        assert records(run.dir / "exit")["value"] == "3"
    until(lambda: not run.pids())
    assert str(run.dir) not in pathlib.Path("/proc/self/mountinfo").read_text()


@both
@pytest.mark.skipif(not HAS_FAILPOINTS, reason="NOT TESTED: built without -Dfailpoints=true")
def test_a_restarted_log_goes_on_after_a_torn_frame(make, runtime):
    run = make(runtime, "echo hi; exit 3", env={"CUSP_FAILPOINTS": "runner.exit.before_write=abort"})
    run.spawn()
    until(lambda: not run.locked())
    seg = run.logs / "out.000000.seg"
    whole = seg.read_bytes()
    seg.write_bytes(whole[:-10])
    shutil.rmtree(pathlib.Path("/run/cusp-test") / run.name, ignore_errors=True)
    run.env = {}
    run.start().wait()
    assert [(s, p) for s, _, p in run.frames()] == [(1, b"hi"), (1, b"hi"), (4, b"")]
