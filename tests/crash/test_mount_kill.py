"""kill -9 in the middle of mounting an image's layers: the mount goes, the next start cleans up, the job runs once.

The runner mounts, in a mount namespace of its own. A fail point holds it there, so that it dies exactly then."""
import os
import signal

import pytest

from conftest import container_job, needs_root, runners, wait_until
from test_kill import check_end

# Before it; mounted, but nowhere yet; at its place, with no container in it.
POINTS = ["mnt.overlay.before_mount", "mnt.overlay.before_attach", "mnt.overlay.after_mount"]


def mounts_anywhere(data_dir):
    """Mounts below the data directory in whatever mount namespace there is."""
    out = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as f:
                out |= {line for line in f if data_dir + "/run/" in line}
        except OSError:
            pass
    return out


def held_at(s, point, tmp_path):
    """A job whose runner stands at the point."""
    trace = tmp_path / "trace"
    s.stop()
    s.start(env={"CUSP_FAILPOINTS": f"{point}=delay:600000ms", "CUSP_FAILPOINT_TRACE": str(trace)})
    name = s.create(container_job("echo", "once"))["name"]
    wait_until(lambda: trace.exists() and point in trace.read_text().split(), 60, "the runner to be at " + point)
    return name


@needs_root
@pytest.mark.parametrize("point", POINTS)
def test_server_and_runner_killed_in_a_layer_mount(local, tmp_path, point):
    """As when the machine stops, but for the memory."""
    s = local()
    name = held_at(s, point, tmp_path)
    assert bool(mounts_anywhere(s.data_dir)) == point.endswith("after_mount")
    s.kill9()
    for pid in runners(s.data_dir):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not mounts_anywhere(s.data_dir), 30, "the mount to go with its runner")
    s.start()
    check_end(s, name, lines=["once"])
    assert not mounts_anywhere(s.data_dir)
    s.stop()


@needs_root
@pytest.mark.parametrize("point", POINTS)
def test_runner_killed_in_a_layer_mount(local, tmp_path, point):
    """The server lives and starts the replica again; that one is held at the same point, and dies there with the server."""
    s = local()
    name = held_at(s, point, tmp_path)
    for pid in runners(s.data_dir):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: (tmp_path / "trace").read_text().split().count(point) > 1, 60, "another try to be there")
    s.kill9()
    for pid in runners(s.data_dir):
        os.kill(pid, signal.SIGKILL)
    s.start()
    check_end(s, name, lines=["once"])
    s.stop()


@needs_root
@pytest.mark.parametrize("point", POINTS)
def test_a_runner_that_hangs_does_not_keep_the_server_from_its_work(local, tmp_path, point):
    """The server alone is killed; the runner stands where it stood, for ever. It is removed and the replica begun again."""
    config = tmp_path / "cusp.conf"
    config.write_text("[limits]\nreattach_start_ms = 300\n")
    s = local("--config", str(config))
    name = held_at(s, point, tmp_path)
    hung, = runners(s.data_dir)
    s.kill9()
    s.start()
    check_end(s, name, lines=["once"])
    assert hung not in runners(s.data_dir)
    said = s.call("GET", "/metrics").text
    assert 'cusp_limit_rejections_total{name="reattach_start_ms"} 1\n' in said
    s.stop()
