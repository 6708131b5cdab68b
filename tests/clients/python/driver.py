"""Performs the ten cases of tests/clients/README.md over one transport and prints a JSON line for each."""
import json
import os
import secrets
import sys
import time
import traceback

RESULTS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # the SDK's own log goes to stdout: keep it away from the results

CASES = ("create", "get", "list_paging", "filter", "cancel", "delete", "wait_real_job", "failed_job", "error_mapping",
         "operations")


def main(transport):
    protocol, _, face = transport.partition("+")
    run = secrets.token_hex(4)
    t0 = time.monotonic()
    import google.cloud.aiplatform as aiplatform
    print(f"python: import took {time.monotonic() - t0:.2f} s", file=sys.stderr)
    if face in ("", "v2"):
        from cases_generated import Cases
    else:
        from cases_sdk import Cases
    cases, failed = None, 0
    for case in CASES:
        t0 = time.monotonic()
        try:
            cases = cases or Cases(protocol, run)
            ok, detail = True, getattr(cases, case)() or ""
        except Exception as e:  # whatever the client threw is the result
            traceback.print_exc()
            ok, detail = False, f"{type(e).__name__}: {e}"[:500]
        failed += not ok
        print(json.dumps({"client": "python", "version": aiplatform.__version__, "transport": transport, "case": case,
                          "ok": ok, "ms": round((time.monotonic() - t0) * 1000), "detail": detail}), file=RESULTS)
    if cases:
        cases.clean_up()
    RESULTS.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
