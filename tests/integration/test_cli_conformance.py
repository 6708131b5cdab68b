"""cusp conformance with scripted drivers: what it makes of each kind of ending."""
import json
import subprocess

import pytest

from command import CUSP, environment, on_terminal

CASES = ["create", "get", "list_paging", "filter", "cancel", "delete", "wait_real_job", "failed_job", "error_mapping", "operations"]
GOOD = "".join(f"""echo '{{"client":"x","version":"1.0","case":"{c}","ok":true,"ms":3,"detail":""}}'\n""" for c in CASES)


@pytest.fixture
def drivers(tmp_path):
    """Makes DRIVERS/NAME/run out of what it says for --transport; its folder."""
    folder = tmp_path / "drivers"
    folder.mkdir()

    def add(name, body, transports="rest", check="exit 0", setup=None):
        (folder / name).mkdir()
        listed = "".join(f"echo {t}\n" for t in transports.split())
        (folder / name / "run").write_text(f"#!/bin/sh\ncase $1 in\n--list) {listed} exit 0;;\n--check) {check};;\nesac\n{body}\n")
        (folder / name / "run").chmod(0o755)
        if setup is not None:
            (folder / name / "setup").write_text("#!/bin/sh\n" + setup)
            (folder / name / "setup").chmod(0o755)
    add.folder = folder
    return add


@pytest.fixture
def conformance(fake, drivers, tmp_path):
    env = environment(CUSP_ENDPOINT=fake.url, XDG_CACHE_HOME=str(tmp_path / "cache"))

    def run(*argv, rc=0, image="--image=busybox"):
        p = subprocess.run([CUSP, "conformance", "--drivers", drivers.folder, *([image] if image else []), *argv], env=env,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        assert p.returncode == rc, f"{p.returncode}\n{p.stdout}\n{p.stderr}"
        return p
    run.env = env
    return run


def test_a_green_table_is_aligned(conformance, drivers):
    drivers("python", GOOD, "rest grpc+highlevel")
    drivers("zebra", GOOD)
    lines = conformance().stdout.splitlines()
    head = lines[0].split()
    assert head[:4] == ["CLIENT", "TRANSPORT", "SCORE", "create"] and len(head) == 14
    assert [x.split()[:3] for x in lines[1:4]] == [["python", "rest", "10/10"], ["python", "grpc+highlevel", "10/10"], ["zebra", "rest", "10/10"]]
    for line in lines[1:4]:
        assert line.index("ok") == lines[0].index("create") and line.endswith("1.0") and "\033" not in line
    assert max(map(len, lines)) <= 120
    assert lines[-1] == "30 of 30 cases passed in 3 runs"


def test_reasons_of_failures_stand_below(conformance, drivers):
    bad = GOOD.replace('"case":"filter","ok":true,"ms":3,"detail":""', '"case":"filter","ok":false,"ms":3,"detail":"want 2\\\\ngot 3"')
    drivers("curl", bad + "exit 1")
    p = conformance(rc=1)
    assert "9/10" in p.stdout and "FAIL" in p.stdout
    assert "What failed:\n  curl rest filter\n    want 2\n    got 3\n" in p.stdout
    j = json.loads(conformance("--format=json", rc=1).stdout)
    assert (j["passed"], j["failed"], j["rowsNotRun"]) == (9, 1, 0)
    assert j["rows"][0]["cases"]["filter"] == {"ok": False, "ms": 3.0, "detail": "want 2\ngot 3"}
    assert list(j["rows"][0]["cases"]) == CASES


@pytest.mark.parametrize("ending,words", [
    ("echo 'Traceback: boom' >&2; exit 3", ["exit code 3", "Traceback: boom"]),
    ("kill -SEGV $$", ["signal 11"]),
    ("exit 0", ["exit code 0", "without telling"]),
    ("exit 77", ["exit code 77"])])  # having run a case, it cannot say that it cannot run
def test_a_driver_that_dies_has_failed_what_it_did_not_tell(conformance, drivers, ending, words):
    drivers("go", GOOD.splitlines()[0] + "\n" + ending)
    p = conformance(rc=1)
    assert "1/10" in p.stdout and all(p.stdout.count(w) == 1 for w in words)
    assert f"go rest {', '.join(CASES[1:])}\n" in p.stdout


def test_a_bad_exit_code_after_good_news_is_no_success(conformance, drivers):
    drivers("go", GOOD + "echo 'leaked 3 jobs' >&2; exit 1")
    assert "leaked 3 jobs" in conformance(rc=1).stdout


def test_a_driver_that_hangs_is_ended_with_its_children(conformance, drivers, tmp_path):
    drivers("node", f"sleep 1000 & echo $! > {tmp_path}/child\n{GOOD.splitlines()[0]}\nwait")
    p = conformance("--timeout=1", rc=1)
    assert "out of time (1 s)" in p.stdout and "1/10" in p.stdout
    child = (tmp_path / "child").read_text().strip()
    state = subprocess.run(["ps", "-o", "stat=", "-p", child], stdout=subprocess.PIPE, text=True).stdout.strip()
    assert state[:1] in ("", "Z"), "the driver's child is still there"


def test_floods_and_odd_lines_are_survived(conformance, drivers):
    drivers("python", "head -c 300000 /dev/zero | tr '\\0' x; echo; echo null; echo '{\"case\":'; head -c 3000000 /dev/zero | tr '\\0' y >&2\n" + GOOD)
    assert "10/10" in conformance().stdout


def test_what_cannot_run_is_named_with_a_remedy(conformance, drivers):
    why = """echo '{"client":"node","skip":"node is not installed","install":"apt-get install nodejs"}'; exit 77"""
    drivers("node", "exit 1", "rest grpc", check=why)
    drivers("python", GOOD, "rest grpc-tls")
    p = conformance()
    assert p.stdout.count("not run: node is not installed") == 2 and p.stdout.count("apt-get install nodejs") == 1
    assert "not run: the server has no TLS (cusp tls init)" in p.stdout
    assert p.stdout.endswith("10 of 10 cases passed in 1 runs; 3 not run\n")
    conformance("--strict", rc=1)
    conformance("--client=node", rc=1)  # nothing ran at all
    j = json.loads(conformance("--format=json", "--client", "node", rc=1).stdout)
    assert j["rows"][0] == {"client": "node", "transport": "rest", "notRun": "node is not installed", "install": "apt-get install nodejs"}


def test_skipped_cases_are_the_clients_lack(conformance, drivers):
    drivers("curl", GOOD.replace('"case":"operations","ok":true', '"case":"operations","skip":true'))
    p = conformance()
    assert "9/9" in p.stdout and "n/a" in p.stdout


def test_drivers_get_the_environment_they_were_promised(conformance, drivers, fake, tmp_path):
    drivers("python", f"env > {tmp_path}/env\n" + GOOD)
    conformance("--project=p1", "--region=europe-west4")
    env = dict(x.split("=", 1) for x in (tmp_path / "env").read_text().splitlines() if "=" in x)
    want = {"CUSP_ENDPOINT": fake.url, "CUSP_HOSTPORT": "localhost:" + fake.url.rsplit(":", 1)[1], "CUSP_PROJECT": "p1",
            "CUSP_LOCATION": "europe-west4", "CUSP_IMAGE": "busybox", "CUSP_CLIENT_ENV": str(tmp_path / "cache/cusp/clients/python")}
    assert {k: env.get(k) for k in want} == want and "CUSP_CA" not in env


def test_choosing(conformance, drivers):
    drivers("python", GOOD, "rest grpc grpc+highlevel")
    drivers("java", GOOD, "grpc")
    def rows(*argv):
        return [(r["client"], r["transport"]) for r in json.loads(conformance("--format=json", *argv).stdout)["rows"]]
    assert rows("--transport=grpc") == [("python", "grpc"), ("python", "grpc+highlevel"), ("java", "grpc")]
    assert rows("--client=java,python", "--transport", "rest,grpc+highlevel") == [("python", "rest"), ("python", "grpc+highlevel")]
    assert "cobol" in conformance("--client=cobol", rc=2).stderr
    assert "soap" in conformance("--transport=soap", rc=2).stderr


def test_setup_comes_first_and_its_failure_spares_the_others(conformance, drivers, tmp_path):
    drivers("python", f"[ -e {tmp_path}/ready ] && {{\n{GOOD}}}", setup=f"echo building >&2; touch {tmp_path}/ready")
    drivers("java", GOOD, setup="echo no network >&2; exit 1")
    drivers("go", GOOD, setup="""echo '{"client":"go","skip":"go is not installed","install":"a Go toolchain"}'; exit 77""")
    p = conformance("--setup")
    assert "building" in p.stderr and "10/10" in p.stdout and "setup failed" in p.stdout and "go is not installed" in p.stdout


def test_it_needs_an_image_and_drivers(conformance, drivers, tmp_path):
    assert "no client drivers" in conformance(rc=3).stderr
    drivers("python", GOOD)
    assert "--image" in conformance(image=None, rc=2).stderr
    drivers("broken", GOOD, transports="")
    assert "broken/run" in conformance(rc=1).stderr


def test_the_row_grows_on_a_terminal(conformance, drivers, tmp_path):
    drivers("python", GOOD.replace('"case":"get","ok":true', '"case":"get","ok":false'))
    text = on_terminal(["conformance", "--drivers", drivers.folder, "--image=x"], conformance.env, everything=True, rc=1).decode()
    assert "\r" in text and "..." in text and "\033[32mok" in text and "\033[31mFAIL" in text
    final = [x for x in text.split("\n") if x.startswith("\rpython") or "\rpython" in x][0].split("\r")[-2 if text.count("\r\n") else -1]
    assert "9/10" in final and "..." not in final
