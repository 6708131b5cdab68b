#!/usr/bin/python3
"""Writes pbjson.golden from pbjson.cases with the official Python protobuf runtime and the real
descriptors. Run by hand after changing the cases:  tests/wire/make_golden.py

A case is two lines: `ok TYPE` or `bad TYPE`, then one line of JSON. For every `ok` the golden file has
the bytes and the JSON the official runtime makes of it; for every `bad` it has been checked that the
runtime refuses it. Numbers are written as our writer does (whole doubles without ".0")."""
import base64
import json
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
sys.path.insert(0, os.path.join(ROOT, "tools", "pgen"))
sys.dont_write_bytecode = True
import load  # noqa: E402
from google.protobuf import descriptor_pool, json_format, message_factory  # noqa: E402

MODULES = os.path.join(ROOT, "node_modules")
PROTOS = [os.path.join(MODULES, "@google-cloud/aiplatform/build/protos"),
          os.path.join(MODULES, "google-gax/build/protos")]


FREE_FORM = {"google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"}


def by_key(v):
    """Free-form data with its keys in order, as the cases have them; maps have no order here."""
    if isinstance(v, dict):
        return {k: by_key(v[k]) for k in sorted(v)}
    return [by_key(x) for x in v] if isinstance(v, list) else v


def ordered(v, desc):
    if desc.full_name in FREE_FORM:
        return by_key(v)
    if not isinstance(v, dict):
        return v
    fields = {f.json_name: f for f in desc.fields}
    out = {}
    for k, x in v.items():
        f = fields.get(k)
        sub = f.message_type if f is not None else None
        if sub is not None and sub.GetOptions().map_entry:
            val = sub.fields_by_name["value"].message_type
            x = {e: ordered(x[e], val) if val else x[e] for e in sorted(x)}
        elif sub is not None:
            repeated = f.label == f.LABEL_REPEATED
            x = [ordered(e, sub) for e in x] if repeated else ordered(x, sub)
        out[k] = x
    return out


def numbers(v):
    if isinstance(v, dict):
        return {k: numbers(x) for k, x in v.items()}
    if isinstance(v, list):
        return [numbers(x) for x in v]
    if isinstance(v, float) and v.is_integer() and abs(v) < 1e15:
        return int(v)
    return v


def dump(m, pool, ints):
    d = json_format.MessageToDict(m, use_integers_for_enums=ints, descriptor_pool=pool)
    return json.dumps(numbers(ordered(d, m.DESCRIPTOR)), separators=(",", ":"), ensure_ascii=False)


def main():
    with tempfile.TemporaryDirectory() as tmp:
        files = load.descriptor_set(PROTOS, tmp, "v1").file
    pool = descriptor_pool.DescriptorPool()
    for f in files:
        pool.Add(f)
    factory = message_factory.MessageFactory(pool)
    with open(os.path.join(HERE, "pbjson.cases"), encoding="utf-8") as f:
        lines = [x.rstrip("\n") for x in f if x.strip() and not x.startswith("#")]
    out = []
    for head, text in zip(lines[::2], lines[1::2]):
        kind, name = head.split()
        cls = factory.GetPrototype(pool.FindMessageTypeByName(name))
        m = cls()
        try:
            json_format.Parse(text, m, descriptor_pool=pool)
            refused = None
        except (json_format.ParseError, ValueError) as e:
            refused = e
        if (kind == "bad") != bool(refused):
            sys.exit("%s %s: %s" % (head, text, refused or "accepted"))
        out += [head, text]
        if kind == "ok":
            wire = m.SerializeToString(deterministic=True)
            out += [base64.b16encode(wire).decode().lower(), dump(m, pool, False), dump(m, pool, True)]
    with open(os.path.join(HERE, "pbjson.golden"), "w", encoding="utf-8") as f:
        f.write("\n".join(out) + "\n")
    print("%d cases" % (len(lines) // 2))


if __name__ == "__main__":
    main()
