"""The cusp command as its tests run it: away from the user's environment, in a pipe or on a terminal."""
import os
import pty
import select
import subprocess

from conftest import BUILD, patience

CUSP = os.path.join(BUILD, "cusp")


def environment(**more):
    """This process's, without what a user may have told cusp in it."""
    return {**{k: v for k, v in os.environ.items() if not k.startswith("CUSP_") and k != "NO_COLOR"}, **more}


def runner(group, env, seconds=60):
    """Runs `cusp GROUP …` with nothing to read and in pipes; checks the exit code (0 unless told). Keywords are more environment."""
    def run(*argv, rc=0, **more):
        p = subprocess.run([CUSP, group, *map(str, argv)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           env={**env, **more}, timeout=patience(seconds), check=False)
        assert p.returncode == rc, f"cusp {group} {' '.join(map(str, argv))}: {p.returncode}\n{p.stdout}\n{p.stderr}"
        assert "\033" not in p.stdout + p.stderr and "\r" not in p.stderr, "escape sequences in a pipe"
        return p
    run.env = env
    return run


def on_terminal(argv, env, everything=False, rc=0, heard=None):
    """What cusp writes to the terminal that is its stderr, or all three, until it ends. heard is called with what there is
    whenever more has come."""
    master, slave = pty.openpty()
    at = {"stdin": slave, "stdout": slave} if everything else {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    p = subprocess.Popen([CUSP, *map(str, argv)], env=env, stderr=slave, **at)
    os.close(slave)
    said = b""
    try:
        while select.select([master], [], [], patience(60))[0]:
            try:
                got = os.read(master, 65536)
            except OSError:  # nobody has the other side any more
                break
            said += got
            if heard:
                heard(said)
        assert p.wait(patience(60)) == rc, said
    finally:
        os.close(master)
        if p.poll() is None:
            p.kill()
            p.wait()
    return said
