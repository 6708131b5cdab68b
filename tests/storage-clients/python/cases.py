"""Runs the cases of a Python client one after another and prints a JSON line for each; see ../README.md."""
import json
import sys
import time


def run(client, version, cases):
    """Names of cases as arguments run those alone. A case may return why it was skipped. Ends the program: 0 when all passed."""
    failed = 0
    for case in (c for c in cases if len(sys.argv) < 2 or c.__name__ in sys.argv[1:]):
        t0, detail, skip = time.monotonic(), "", None
        try:
            skip = case()
        except Exception as e:  # noqa: BLE001 (the line says what)
            failed += 1
            detail = f"{type(e).__name__}: {e}"[:700]
        line = {"client": client, "version": version, "transport": "rest", "case": case.__name__, "ok": not detail,
                "ms": int((time.monotonic() - t0) * 1000), "detail": detail or skip or ""}
        if skip:
            line["skip"] = True
        print(json.dumps(line), flush=True)
    sys.exit(1 if failed else 0)
