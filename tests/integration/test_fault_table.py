"""docs/internals/data-plane-faults.md names tests that exist."""
import os
import re

from conftest import ROOT

TABLE = os.path.join(ROOT, "docs", "internals", "data-plane-faults.md")


def named():
    for number, line in enumerate(open(TABLE), 1):
        path = None
        for word in re.findall(r"`([^`]*(?:::|test_)[^`]*)`", line.rsplit("|", 2)[-2]) if line.startswith("|") else ():
            file, _, test = word.partition("::")
            if file.endswith((".py", ".c")):
                path = file
            elif "*" not in file and not test:
                test = file
            if test:
                yield number, path, re.split(r"[\[…]", test)[0]


def test_every_test_of_the_table_exists():
    wrong, n = [], 0
    for number, path, test in named():
        n += 1
        at = path and next((p for p in (os.path.join(ROOT, "tests", d, path) for d in ("", "integration")) if os.path.exists(p)), None)
        if not at or not re.search(rf"(?:def|void) {re.escape(test)}", open(at).read()):
            wrong.append(f"line {number}: {path}::{test}")
    assert n > 100 and not wrong, "\n".join(wrong)


# Whose crashes and full disks belong in the table.
PLANE = ["integration/test_full_disk.py", "integration/test_images.py", "integration/test_pull.py", "integration/test_registry.py",
         "integration/test_runner.py", "integration/test_identity.py", "integration/test_logging.py", "crash/test_mount_kill.py",
         "crash/test_storage_kill.py"] + [f"integration/test_storage{x}.py" for x in
                                          ("", "_faults", "_files", "_large", "_objects", "_parts", "_retry", "_signed", "_wire")]
NO_FAULT = {"test_kill_takes_everything"}  # a job that is killed because somebody asked


def test_every_crash_and_full_disk_is_in_the_table():
    shown = {test for _, _, test in named()}
    found = {(file, test) for file in PLANE
             for test in re.findall(r"^def (test_\w*(?:kill|full_disk|torn)\w*)", open(os.path.join(ROOT, "tests", file)).read(), re.M)}
    found |= {(PLANE[0], test) for test in re.findall(r"^def (test_\w+)", open(os.path.join(ROOT, "tests", PLANE[0])).read(), re.M)}
    assert len(found) > 20 and not [x for x in sorted(found) if x[1] not in shown | NO_FAULT]
