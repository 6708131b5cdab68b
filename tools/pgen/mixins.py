"""HTTP bindings of the services mixed into every endpoint. Their .proto files carry generic rules
that the service replaces by its own; these are the forms clients use (operation names may be nested
below up to three collections). `{name=...}` without the version prefix: it is added by routes.py."""

_PLACE = "projects/*/locations/*"
# projects/*/locations/*/operations/* and below 1..3 collections, as in datasets/*/dataItems/*.
_PARENTS = [_PLACE + "/*/*" * n for n in range(4)]


def _operations():
    out = []
    for parent in _PARENTS:
        name = "{name=%s/operations/*}" % parent
        out += [
            ("google.longrunning.Operations/GetOperation", "GET", name, ""),
            ("google.longrunning.Operations/DeleteOperation", "DELETE", name, ""),
            ("google.longrunning.Operations/CancelOperation", "POST", name + ":cancel", "*"),
            ("google.longrunning.Operations/WaitOperation", "POST", name + ":wait", "*"),
            ("google.longrunning.Operations/ListOperations", "GET",
             "{name=%s}/operations" % parent, ""),
        ]
    return out


def _iam():
    out = []
    for n in range(1, 4):
        resource = "{resource=%s%s}" % (_PLACE, "/*/*" * n)
        for rpc, verb in (("GetIamPolicy", "getIamPolicy"), ("SetIamPolicy", "setIamPolicy"),
                          ("TestIamPermissions", "testIamPermissions")):
            out.append(("google.iam.v1.IAMPolicy/" + rpc, "POST", resource + ":" + verb, "*"))
    return out


BINDINGS = _operations() + _iam() + [
    ("google.cloud.location.Locations/ListLocations", "GET", "{name=projects/*}/locations", ""),
    ("google.cloud.location.Locations/GetLocation", "GET", "{name=%s}" % _PLACE, ""),
]
PREFIXES = ["v1", "v1beta1"]  # /ui shares the v1 trie
