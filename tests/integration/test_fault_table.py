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
