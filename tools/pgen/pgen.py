#!/usr/bin/env python3
"""pgen: from the official .proto files to what src/pb compiles. Build directory only.

    pgen.py --protos [VIRTUAL=]DIR ... --out DIR

Needs protoc, protoc-gen-c and Debian's python3-protobuf. Writes into --out:
    gen/*.pb-c.[ch]      protobuf-c messages (v1 with v1beta1's own fields, the shared google.* types, the smaller services)
    aip.h                includes every message header
    pb_messages_N.c      unity files over gen/*.pb-c.c, so that the build has a fixed list of outputs
    pb_tables.c          what protobuf-c descriptors leave out (src/pb/pbinfo.h)
    pb_routes.c, rpc_id.h   methods, HTTP bindings and the match trie (src/pb/rpc.h)
    pb_descset.c, descset.bin   the files themselves, for reflection (src/pb/descset.h)
docs/internals/protobuf.md says why each step is there.
"""
import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import load      # noqa: E402
import beta      # noqa: E402
import cgen      # noqa: E402
import tables    # noqa: E402
import routes    # noqa: E402
import descset   # noqa: E402


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--protos", action="append", required=True)
    ap.add_argument("--out", required=True)
    args = ap.parse_args()
    for d in args.protos:
        real = d.rpartition("=")[2]
        if not os.path.isdir(real):
            sys.exit("pgen: %s is missing; run `npm ci --ignore-scripts` (or make deps) first" % real)
    os.makedirs(os.path.join(args.out, "gen"), exist_ok=True)

    api = load.load(args.protos, args.out)
    api.merged, api.version_flags = beta.merge(api)
    messages = cgen.generate(api, args.out)
    tables.generate(api, messages, args.out)
    routes.generate(api, messages, args.out)
    descset.generate(api, args.out)


if __name__ == "__main__":
    main()
