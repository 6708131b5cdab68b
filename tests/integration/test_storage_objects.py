"""Copying, composing, moving, editing and selecting objects, through the official client and raw."""
import base64
import hashlib
import os

import pytest
import requests
from google.api_core.exceptions import BadRequest, NotFound, PreconditionFailed
from test_storage import bucket, client, crc32c, server  # noqa: F401 (fixtures)


def url(server, bucket, tail):
    return f"{server.url}/storage/v1/b/{bucket.name}{tail}"


def test_copy_keeps_facts_and_checksums(client, bucket):
    src = bucket.blob("a/src")
    src.metadata = {"k": "v"}
    src.upload_from_string(b"payload" * 1000, content_type="text/x-a")
    other = client.create_bucket(bucket.name + "-2")
    copy = bucket.copy_blob(src, other, "b/dst")
    assert (copy.content_type, copy.metadata, copy.size) == ("text/x-a", {"k": "v"}, 7000)
    assert copy.md5_hash == src.md5_hash and copy.crc32c == src.crc32c and copy.generation != src.generation
    assert other.blob("b/dst").download_as_bytes() == b"payload" * 1000
    with pytest.raises(PreconditionFailed):
        bucket.copy_blob(src, other, "b/dst", if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        bucket.copy_blob(src, other, "b/new", if_source_generation_match=1)
    with pytest.raises(NotFound):
        bucket.copy_blob(src, other, "b/new", source_generation=1)
    assert not other.blob("b/new").exists()


def test_rename_and_storage_class_go_through_rewrite(bucket):
    blob = bucket.blob("r")
    blob.upload_from_string(b"1", content_type="text/x-r")
    bucket.rename_blob(blob, "r2")
    assert not bucket.blob("r").exists()
    blob = bucket.get_blob("r2")
    blob.update_storage_class("NEARLINE")
    blob = bucket.get_blob("r2")
    assert blob.storage_class == "NEARLINE" and blob.content_type == "text/x-r"


def test_rewrite_in_parts_goes_on_after_a_kill(server, bucket):
    data = os.urandom((2 << 20) + 5)
    bucket.blob("big").upload_from_string(data)
    at = url(server, bucket, f"/o/big/rewriteTo/b/{bucket.name}/o/big2?maxBytesRewrittenPerCall=1048576")
    a = requests.post(at).json()
    assert (a["done"], a["totalBytesRewritten"], a["objectSize"]) == (False, "1048576", str(len(data)))
    assert not bucket.blob("big2").exists()
    server.restart()
    b = requests.post(at + "&rewriteToken=" + a["rewriteToken"]).json()
    assert b["done"] is False and b["totalBytesRewritten"] == "2097152"
    c = requests.post(at + "&rewriteToken=" + b["rewriteToken"]).json()
    assert c["done"] and c["resource"]["crc32c"] == crc32c(data)
    assert bucket.blob("big2").download_as_bytes() == data
    r = requests.post(at + "&rewriteToken=" + b["rewriteToken"])  # it is over
    assert r.status_code == 400 and "rewrite token" in r.json()["error"]["message"]
    again = at.replace("/o/big2?", "/o/big3?")
    a = requests.post(again).json()
    bucket.blob("big").upload_from_string(data)  # the token is of another generation now
    r = requests.post(again + "&rewriteToken=" + a["rewriteToken"])
    assert r.status_code == 400 and "the object changed" in r.json()["error"]["message"]
    assert not bucket.blob("big3").exists()
    assert requests.post(at.replace("1048576", "1000")).status_code == 400


def test_hashes_in_the_body_of_a_copy_are_the_sources_and_ignored(server, bucket):
    bucket.blob("h").upload_from_string(b"bytes")
    r = requests.post(url(server, bucket, f"/o/h/rewriteTo/b/{bucket.name}/o/h2"),
                      json={"md5Hash": base64.b64encode(b"0" * 16).decode(), "contentType": "a/b"})
    assert r.status_code == 200 and r.json()["resource"]["contentType"] == "a/b"


def test_compose(bucket):
    parts = []
    for i in range(32):
        b = bucket.blob(f"part-{i:02}")
        b.upload_from_string(f"<{i}>")
        parts.append(b)
    whole = bucket.blob("whole")
    whole.content_type = "text/x-w"
    whole.compose(parts)
    text = "".join(f"<{i}>" for i in range(32)).encode()
    assert whole.download_as_bytes() == text
    got = bucket.get_blob("whole")
    assert (got.component_count, got.md5_hash, got.content_type) == (32, None, "text/x-w")
    assert got.crc32c == crc32c(text)
    whole.compose([whole, parts[0]])  # append: the destination is a source as well
    assert bucket.get_blob("whole").component_count == 33
    assert whole.download_as_bytes() == text + b"<0>"
    with pytest.raises(BadRequest):
        whole.compose(parts + parts[:1])
    with pytest.raises(PreconditionFailed):
        whole.compose(parts[:2], if_generation_match=0)
    with pytest.raises(NotFound):
        whole.compose([parts[0], bucket.blob("missing")])
    assert whole.download_as_bytes() == text + b"<0>"


def test_compose_body_with_single_quotes(server, bucket):
    bucket.blob("x").upload_from_string("1")
    bucket.blob("y").upload_from_string("2")
    r = requests.post(url(server, bucket, "/o/x/compose"), data="{'sourceObjects': [{'name': 'x'},{'name':'y'}]}")
    assert r.status_code == 200 and bucket.blob("x").download_as_bytes() == b"12"


def test_move_is_a_rename(server, bucket):
    b = bucket.blob("from/x")
    b.metadata = {"m": "1"}
    b.upload_from_string(b"moved", content_type="text/x-m")
    old = bucket.get_blob("from/x")
    r = requests.post(url(server, bucket, "/o/from%2Fx/moveTo/o/to%2Fy"))
    assert r.status_code == 200, r.text
    new = bucket.get_blob("to/y")
    assert (new.md5_hash, new.metadata, new.content_type) == (old.md5_hash, {"m": "1"}, "text/x-m")
    assert r.json()["generation"] == str(new.generation) != str(old.generation)
    assert [x.name for x in bucket.list_blobs()] == ["to/y"]
    assert requests.post(url(server, bucket, "/o/from%2Fx/moveTo/o/z")).status_code == 404
    assert requests.post(url(server, bucket, "/o/to%2Fy/moveTo/o/to%2Fy")).status_code == 400
    bucket.blob("z").upload_from_string("z")
    assert requests.post(url(server, bucket, "/o/to%2Fy/moveTo/o/z?ifGenerationMatch=0")).status_code == 412
    assert requests.post(url(server, bucket, "/o/z/moveTo/o/to%2Fy?ifSourceGenerationMatch=1")).status_code == 412
    assert requests.post(url(server, bucket, "/o/z/moveTo/o/to%2Fy")).status_code == 200
    assert bucket.blob("to/y").download_as_bytes() == b"z"


def test_patch_and_update_of_an_object(bucket):
    b = bucket.blob("p")
    b.metadata = {"a": "1", "b": "2"}
    b.upload_from_string("x", content_type="text/x-1")
    b.metadata = {"a": "9", "b": None, "c": "3"}
    b.cache_control = "no-store"
    b.content_type = "text/x-2"
    b.patch()
    got = bucket.get_blob("p")
    assert got.metadata == {"a": "9", "c": "3"} and got.metageneration == 2 and got.generation == b.generation
    assert (got.cache_control, got.content_type, got.md5_hash) == ("no-store", "text/x-2", b.md5_hash)
    with pytest.raises(PreconditionFailed):
        got.patch(if_metageneration_match=1)
    got.metadata = {"only": "this"}
    got.content_disposition = "inline"
    got.update(if_metageneration_match=2)
    got = bucket.get_blob("p")
    assert got.metadata == {"only": "this"} and got.content_disposition == "inline" and got.metageneration == 3
    assert bucket.blob("p").download_as_bytes() == b"x"
    with pytest.raises(NotFound):
        bucket.blob("absent").patch()


def test_custom_time_and_holds_are_kept(server, bucket):
    import datetime
    b = bucket.blob("t")
    b.custom_time = datetime.datetime(2024, 5, 1, tzinfo=datetime.timezone.utc)
    b.upload_from_string("x")
    b.temporary_hold = True
    b.patch()
    got = bucket.get_blob("t")
    assert got.custom_time == b.custom_time and got.temporary_hold is True
    r = requests.patch(url(server, bucket, "/o/t"), json={"customTime": "yesterday"})
    assert r.status_code == 400 and r.json()["error"]["errors"][0]["location"] == "customTime"


def test_bucket_patch_update_labels_iam(client, bucket):
    bucket.labels = {"team": "x", "tmp": "y"}
    bucket.versioning_enabled = False
    bucket.add_lifecycle_delete_rule(age=3)
    bucket.patch()
    again = client.get_bucket(bucket.name)
    assert again.labels == {"team": "x", "tmp": "y"} and list(again.lifecycle_rules)[0]["condition"] == {"age": 3}
    assert again.metageneration == 2 and again.iam_configuration.uniform_bucket_level_access_enabled
    again.labels = {"team": "x"}
    again.patch()
    assert client.get_bucket(bucket.name).labels == {"team": "x"}
    with pytest.raises(PreconditionFailed):
        again.patch(if_metageneration_match=1)
    policy = bucket.get_iam_policy()
    policy["roles/storage.objectViewer"] = {"allUsers"}
    bucket.set_iam_policy(policy)
    assert bucket.get_iam_policy()["roles/storage.objectViewer"] == {"allUsers"}
    assert bucket.test_iam_permissions(["storage.objects.get", "storage.buckets.get"]) == [
        "storage.objects.get", "storage.buckets.get"]
    assert client.get_service_account_email().endswith("gs-project-accounts.iam.gserviceaccount.com")
    assert list(bucket.list_notifications()) == []


def test_what_would_promise_older_versions_is_refused(server, client, bucket):
    """A bucket that says it keeps what is replaced or deleted would be believed."""
    for body, field in (({"versioning": {"enabled": True}}, "versioning.enabled"),
                        ({"softDeletePolicy": {"retentionDurationSeconds": "604800"}}, "softDeletePolicy.retentionDurationSeconds")):
        for r in (requests.patch(url(server, bucket, ""), json=body),
                  requests.post(f"{server.url}/storage/v1/b?project=demo", json={"name": bucket.name + "-v", **body})):
            e = r.json()["error"]
            assert r.status_code == 501 and field in e["message"] and "not available here" in e["message"], r.text
    assert not client.bucket(bucket.name + "-v").exists() and client.get_bucket(bucket.name).metageneration == 1
    r = requests.patch(url(server, bucket, ""), json={"versioning": {"enabled": False}, "softDeletePolicy": {"retentionDurationSeconds": "0"}})
    assert r.status_code == 200 and r.json()["versioning"] == {"enabled": False}
    blob = bucket.blob("v")
    blob.upload_from_string("one")
    first = blob.generation
    blob.upload_from_string("two")
    assert [b.generation for b in bucket.list_blobs(versions=True)] == [blob.generation]
    assert bucket.get_blob("v", generation=first) is None  # replaced is gone
    with pytest.raises(NotFound):
        bucket.delete_blob("v", generation=first)
    assert bucket.blob("v").download_as_bytes() == b"two"
    r = requests.post(f"{server.url}/{bucket.name}", files={"file": b"x"}, data={"key": "form"})
    assert r.status_code == 501 and "signed URL" in r.text and "<Code>NotImplemented</Code>" in r.text


def test_tunnelled_patch_and_layout(server, bucket):
    r = requests.post(url(server, bucket, ""), json={"labels": {"a": "b"}},
                      headers={"X-HTTP-Method-Override": "PATCH"})
    assert r.status_code == 200 and r.json()["labels"] == {"a": "b"}
    r = requests.get(url(server, bucket, "/storageLayout")).json()
    assert r["hierarchicalNamespace"] == {"enabled": False} and r["location"] == "US-CENTRAL1"


NAMES = ["a.txt", "a/b.txt", "a/b/c.txt", "a/b/c.csv", "d/e.log", "é.txt"]
GLOBS = {"*.txt": ["a.txt", "é.txt"], "**.txt": ["a.txt", "a/b.txt", "a/b/c.txt", "é.txt"], "a/*": ["a/b.txt"],
         "a/**": ["a/b.txt", "a/b/c.csv", "a/b/c.txt"], "?.txt": ["a.txt", "é.txt"], "[a-c].txt": ["a.txt"],
         "[!a].txt": ["é.txt"], "**/c.{txt,csv}": ["a/b/c.csv", "a/b/c.txt"], "{a,d}/{b,e}.{txt,log}": ["a/b.txt", "d/e.log"],
         "none": [], "**": sorted(NAMES), "a/{b,b/c}.txt": ["a/b.txt", "a/b/c.txt"], "a/b.{txt}": ["a/b.txt"]}


def test_match_glob_offsets_and_delimiters(server, bucket):
    for n in NAMES:
        bucket.blob(n).upload_from_string("x")
    for glob, want in GLOBS.items():
        assert [b.name for b in bucket.list_blobs(match_glob=glob)] == want, glob
    assert [b.name for b in bucket.list_blobs(start_offset="a/b", end_offset="d")] == ["a/b.txt", "a/b/c.csv", "a/b/c.txt"]
    for bad in ("[a", "{a", "x" * 1025):
        assert requests.get(url(server, bucket, "/o"), params={"matchGlob": bad}).status_code == 400
    bucket.blob("dir/").upload_from_string("")
    bucket.blob("dir/x").upload_from_string("")
    it = bucket.list_blobs(delimiter="/", include_trailing_delimiter=True)
    assert "dir/" in [b.name for b in it] and it.prefixes == {"a/", "d/", "dir/"}
    it = bucket.list_blobs(delimiter="/")
    assert "dir/" not in [b.name for b in it] and it.prefixes == {"a/", "d/", "dir/"}
    assert [b.name for b in bucket.list_blobs(versions=True, prefix="a/b/")] == ["a/b/c.csv", "a/b/c.txt"]


def test_fields_select_parts_of_an_answer(server, bucket):
    bucket.blob("f1").upload_from_string("x")
    bucket.blob("f2").upload_from_string("xy")
    r = requests.get(url(server, bucket, "/o"), params={"fields": "items(name,size),nextPageToken", "maxResults": 1}).json()
    assert r["items"] == [{"name": "f1", "size": "1"}] and "kind" not in r and r["nextPageToken"]
    assert requests.get(url(server, bucket, "/o/f2"), params={"fields": "size"}).json() == {"size": "2"}
    assert requests.get(url(server, bucket, "/o/f2"), params={"fields": "items("}).status_code == 400


def test_acl_calls_say_why_not(server, bucket):
    bucket.blob("x").upload_from_string("1")
    for tail in ("/acl", "/defaultObjectAcl", "/o/x/acl"):
        e = requests.get(url(server, bucket, tail)).json()["error"]
        assert e["code"] == 400 and "uniform bucket-level access" in e["message"]


def test_md5_of_copies(bucket):
    b = bucket.blob("m")
    b.upload_from_string(b"q" * 5000)
    assert bucket.copy_blob(b, bucket, "m2").md5_hash == base64.b64encode(hashlib.md5(b"q" * 5000).digest()).decode()
