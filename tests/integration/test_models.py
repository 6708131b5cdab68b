"""ModelService over REST: upload, versions, aliases, masks, lists, copy, export, evaluations (reference 07)."""
import re

import pytest

from conftest import PARENT, container_job, fake_job, wait_until
from modelreg import IMAGE, MODELS, body, finished, put, refused, start_upload, upload

PREFIX = "type.googleapis.com/google.cloud.aiplatform."


def versions(s, name, query=""):
    r = s.call("GET", f"/v1/{name}:listVersions{query}")
    assert r.status_code == 200, r.text
    return r.json().get("models", [])


def aliases(s, name):
    return {a: m["versionId"] for m in versions(s, name) for a in m.get("versionAliases", [])}


# ---- upload, get

@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_an_upload_is_an_operation_and_then_a_model(fake, version):
    put(fake, "art", "m/model.pkl", b"x" * 1000)
    put(fake, "art", "m/deep/er/weights.bin", b"y" * 5000)
    put(fake, "art", "mm/other", b"not ours")
    op = start_upload(fake, version, artifactUri="gs://art/m", labels={"team": "red"}, description="all of them",
                      versionDescription="the first", versionAliases=["prod"], predictSchemata={})
    assert re.fullmatch(r"projects/\d+/locations/us-central1/models/\d{10,19}/operations/\d+", op["name"])
    assert op["metadata"]["@type"] == f"{PREFIX}{version}.UploadModelOperationMetadata"
    op = wait_until(lambda: (lambda o: o if o.get("done") else None)(fake.call("GET", f"/{version}/{op['name']}").json()))
    assert op["response"]["@type"] == f"{PREFIX}{version}.UploadModelResponse"
    name = op["response"]["model"]
    assert op["response"]["modelVersionId"] == "1" and "@" not in name
    m = fake.get(name)
    assert m["name"] == name and m["displayName"] == "iris" and m["versionId"] == "1"
    assert m["versionAliases"] == ["default", "prod"]
    assert m["containerSpec"] == {"imageUri": IMAGE} and m["artifactUri"] == "gs://art/m" and m["predictSchemata"] == {}
    assert m["labels"] == {"team": "red"} and m["description"] == "all of them" and m["versionDescription"] == "the first"
    assert m["supportedExportFormats"] == [{"id": "custom-trained", "exportableContents": ["ARTIFACT"]}]
    assert m["supportedDeploymentResourcesTypes"] == ["DEDICATED_RESOURCES"]
    assert m["modelSourceInfo"] == {"sourceType": "CUSTOM"}
    assert m["createTime"] == m["versionCreateTime"] and m["etag"]
    v = fake.get(name + "@prod")
    assert v["name"] == name + "@1" and {**v, "name": name} == m
    for suffix in ("@1", "@default"):
        assert fake.get(name + suffix) == v
    assert fake.get(name + "@-") == m
    assert fake.get(name.replace(name.split("/")[1], "demo")) == m
    seen = fake.call("GET", f"/cusp/v1/{name}@1:verify").json()
    assert seen["state"] == "UNCHANGED" and seen["files"] == "2" and seen["bytes"] == "6000"


def test_one_without_anything_stands_for_a_model_elsewhere(fake):
    op = fake.call("POST", f"{MODELS}:upload", {"model": {"displayName": "elsewhere"}}).json()
    m = fake.get(finished(fake, op)["response"]["model"])
    assert "containerSpec" not in m and "supportedExportFormats" not in m
    assert fake.call("GET", f"/cusp/v1/{m['name']}:verify").json()["state"] == "NO_ARTIFACT"


def test_versions_count_up_and_default_moves_only_when_asked(fake):
    name, v = upload(fake, modelId="iris")
    assert name.endswith("/models/iris") and v == "1"
    assert upload(fake, parentModel=name, displayName="other", versionAliases=["beta"], labels={"k": "two"}) == (name, "2")
    assert fake.get(name)["versionId"] == "1"
    assert upload(fake, parentModel=f"{PARENT}/models/iris@1", versionAliases=["default", "beta"]) == (name, "3")
    m = fake.get(name)
    assert m["versionId"] == "3" and m["displayName"] == "iris" and m["versionAliases"] == ["default", "beta"]
    assert [(x["name"], x["versionId"]) for x in versions(fake, name)] == [(f"{name}@{i}", str(i)) for i in (3, 2, 1)]
    assert [x["versionId"] for x in versions(fake, name, "?orderBy=create_time")] == ["1", "2", "3"]
    assert [x["versionId"] for x in versions(fake, name, "?filter=labels.k%3Dtwo")] == ["2"]
    assert versions(fake, name, "?pageSize=1&readMask=versionId") == [{"versionId": "3"}]
    page = fake.call("GET", f"/v1/{name}:listVersions?pageSize=2").json()
    rest = fake.call("GET", f"/v1/{name}:listVersions?pageSize=2&pageToken={page['nextPageToken']}").json()
    assert [m["versionId"] for m in page["models"] + rest["models"]] == ["3", "2", "1"] and "nextPageToken" not in rest


def test_aliases_are_merged_moved_and_passed_on(fake):
    name, _ = upload(fake)
    for _ in range(3):
        upload(fake, parentModel=name)
    merge = lambda v, *a: fake.call("POST", f"/v1/{name}@{v}:mergeVersionAliases", {"versionAliases": list(a)})
    r = merge(2, "prod", "gold")
    assert r.status_code == 200 and r.json()["name"] == name + "@2" and r.json()["versionAliases"] == ["prod", "gold"]
    assert merge("prod", "-gold", "default").json()["versionAliases"] == ["default", "prod"]
    assert fake.get(name)["versionId"] == "2" and aliases(fake, name) == {"default": "2", "prod": "2"}
    merge(4, "prod")
    assert aliases(fake, name) == {"default": "2", "prod": "4"}
    op = fake.call("DELETE", f"/v1/{name}@default:deleteVersion").json()
    assert op["done"] and op["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    assert op["metadata"]["@type"] == PREFIX + "v1.DeleteOperationMetadata" and fake.get(op["name"]) == op
    assert aliases(fake, name) == {"default": "4", "prod": "4"}
    assert upload(fake, parentModel=name)[1] == "5"
    for v in (5, 4, 3):
        assert fake.call("DELETE", f"/v1/{name}@{v}:deleteVersion").status_code == 200
    refused(fake, "DELETE", f"/v1/{name}@1:deleteVersion", None, 400, "only version", "delete the model")
    assert fake.call("DELETE", f"/v1/{name}").json()["done"]
    refused(fake, "GET", f"/v1/{name}", None, 404, name)
    refused(fake, "GET", f"/v1/{name}@1", None, 404, name)


def test_updates_are_of_the_model_or_of_a_version(fake):
    name, _ = upload(fake, labels={"a": "1", "b": "1"})
    upload(fake, parentModel=name)
    patch = lambda n, mask, **m: fake.call("PATCH", f"/v1/{n}?updateMask={mask}", {"name": n, **m})
    m = patch(name, "displayName,description", displayName="Flowers", description="of all kinds").json()
    assert m["name"] == name and m["displayName"] == "Flowers" and m["description"] == "of all kinds"
    assert fake.get(name + "@2")["displayName"] == "Flowers"
    v = patch(name + "@2", "version_description,labels", versionDescription="second", labels={"b": "2", "c": "3"}).json()
    assert v["name"] == name + "@2" and v["versionDescription"] == "second" and v["labels"] == {"a": "1", "b": "2", "c": "3"}
    assert fake.get(name)["labels"] == {"a": "1", "b": "1"}
    assert patch(name + "@-", "labels", labels={"a": "9"}).json()["labels"] == {"a": "9"}
    assert fake.get(name + "@2")["labels"] == {"a": "9", "b": "2", "c": "3"}
    assert [x["versionId"] for x in versions(fake, name, "?filter=labels.a%3D9")] == ["2", "1"]
    assert patch(name, "*", displayName="Whole").json().get("description") is None
    both = patch(name, "displayName,versionDescription", displayName="x", versionDescription="y")
    assert both.json()["error"]["status"] == "FAILED_PRECONDITION" and "versionDescription" not in fake.get(name + "@1")
    for n, mask in ((name, "versionDescription"), (name + "@1", "displayName"), (name + "@1", "description")):
        assert patch(n, mask, displayName="x").json()["error"]["status"] == "FAILED_PRECONDITION"
    for mask in ("containerSpec", "artifactUri", "versionAliases", "createTime", "nothing", "labels.a", "displayName,*"):
        assert patch(name, mask, displayName="x").json()["error"]["status"] == "INVALID_ARGUMENT", mask
    assert patch(name, "", displayName="x").status_code == 400
    assert patch(name, "displayName").status_code == 400  # required
    assert fake.get(name)["displayName"] == "Whole"


def test_etags_are_of_what_is_changed(fake):
    name, _ = upload(fake)
    patch = lambda n, mask, **m: fake.call("PATCH", f"/v1/{n}?updateMask={mask}", {"name": n, **m})
    old = fake.get(name + "@1")["etag"]
    fake.call("POST", f"/v1/{name}@1:mergeVersionAliases", {"versionAliases": ["prod"]})
    upload(fake, parentModel=name)
    assert patch(name, "displayName", displayName="b", etag=old).status_code == 200
    r = patch(name, "displayName", displayName="c", etag=old)
    assert r.status_code == 409 and r.json()["error"]["status"] == "ABORTED"
    assert patch(name + "@1", "versionDescription", versionDescription="d", etag=old).status_code == 200
    assert patch(name + "@1", "versionDescription", versionDescription="e", etag=old).status_code == 409
    assert patch(name, "displayName", displayName="c", etag=fake.get(name)["etag"]).status_code == 200


# ---- lists

def test_lists_filters_orders_and_pages(fake):
    names = {}
    for i, (team, display) in enumerate([("red", "b"), ("blue", "a"), ("red", "c")]):
        names[display] = upload(fake, modelId=f"m{i}", displayName=display, labels={"team": team})[0]
    upload(fake, parentModel=names["a"], versionAliases=["default"])
    def got(query):
        r = fake.call("GET", f"{MODELS}?{query}")
        assert r.status_code == 200, r.text
        return [m["displayName"] for m in r.json().get("models", [])]
    assert got("") == ["c", "a", "b"]
    assert got("filter=display_name%3Dc") == got("filter=displayName%3D%22c%22") == ["c"]
    assert got("filter=labels.team%3Dred") == ["c", "b"] and got("filter=labels:team") == ["c", "a", "b"]
    assert got("filter=model%3Dm1") == ["a"] and got("filter=model!%3D%22m1%22") == ["c", "b"]
    assert got("filter=base_model_name%3D%22x%22") == [] == got("filter=baseModelName%3Dx")
    assert got("orderBy=display_name") == ["a", "b", "c"] and got("orderBy=display_name%20desc,create_time") == ["c", "b", "a"]
    assert got("orderBy=update_time%20desc")[0] == "a"
    for bad in ("filter=model%3Em1", "filter=nope%3D1", "orderBy=name", "orderBy=nope", "pageSize=-1", "readMask=nope"):
        assert fake.call("GET", f"{MODELS}?{bad}").status_code == 400, bad
    only = fake.call("GET", f"{MODELS}?readMask=name,versionId&filter=model%3Dm1").json()["models"]
    assert only == [{"name": names["a"], "versionId": "2"}]
    page = fake.call("GET", f"{MODELS}?pageSize=2&orderBy=display_name").json()
    more = fake.call("GET", f"{MODELS}?pageSize=2&orderBy=display_name&pageToken={page['nextPageToken']}").json()
    assert [m["displayName"] for m in page["models"] + more["models"]] == ["a", "b", "c"]
    assert fake.call("GET", f"{MODELS}?pageSize=2&filter=model%3Dm1&pageToken={page['nextPageToken']}").status_code == 400
    everywhere = fake.call("GET", "/v1/projects/demo/locations/-/models?filter=model%3Dm1").json()["models"]
    assert [m["name"] for m in everywhere] == [names["a"]]
    assert fake.call("GET", "/v1/projects/demo/locations/europe-west4/models").json() == {}


# ---- copy, export

def test_lists_by_label_follow_every_change(fake):
    """Labels of one key on many models, their versions and a model elsewhere: what changes or goes is not found, in
    order and page by page, in this life of the server and the next."""
    s = fake
    names = [upload(s, modelId=f"m{i}", displayName=f"n{i}", labels={"team": "red" if i % 3 else "blue", "all": "x"})[0]
             for i in range(9)]
    upload(s, parentModel=names[1], labels={"team": "red"})  # a version's labels are no model's
    upload(s, parentModel=names[0], labels={"team": "red"})
    assert s.call("POST", "/v1/projects/demo/locations/europe-west4/models:copy", {"sourceModel": names[4]}).status_code == 200

    def found(query, size=2):
        ids, token = [], ""
        while True:
            page = s.get(f"{PARENT}/models?{query}&pageSize={size}&pageToken={token}")
            ids += [m["displayName"] for m in page.get("models", [])]
            token = page.get("nextPageToken")
            if not token:
                return "".join(i[1:] for i in ids)

    def patch(name, **labels):
        r = s.call("PATCH", f"/v1/{name}?updateMask=labels", {"labels": labels})
        assert r.status_code == 200, r.text

    red = "filter=labels.team%3Dred"
    assert found(red) == "875421" and found("filter=labels.team%3Dblue") == "630"
    assert found(red + "&orderBy=create_time") == "124578" and found(red + "&orderBy=display_name%20desc", 4) == "875421"
    assert found("filter=labels.all%3Dx%20AND%20labels.team%3Dblue") == "630"
    assert found("filter=labels.team%3Dred%20AND%20display_name%3Dn5") == "5"
    middle = s.get(names[4])["createTime"]
    assert found(f'filter=labels.team%3Dred%20AND%20create_time%3E"{middle}"') == "875"
    assert found("filter=labels.team%3Dred%20AND%20NOT%20display_name:*7") == "85421"
    patch(names[5], team="blue", all="x")
    patch(names[6], team="red")
    patch(names[8])
    finished(s, s.call("DELETE", f"/v1/{names[2]}").json())
    for life in range(2):
        assert found(red) == "7641" and found("filter=labels.team%3Dblue") == "530", life
        assert found("filter=labels.all%3Dx", 3) == "754310" and found("filter=labels.team%3Dgreen") == ""
        assert [m["versionId"] for m in s.get(f"{names[1]}:listVersions?filter=labels.team%3Dred")["models"]] == ["2", "1"]
        if not life:
            s.kill9()
            s.start()


def test_a_copy_is_a_new_model_or_version_with_the_same_artefact(fake):
    put(fake, "art", "m/model.pkl", b"1234")
    name, _ = upload(fake, artifactUri="gs://art/m", labels={"a": "1"}, versionAliases=["prod"], description="d")
    def copy(**kw):
        r = fake.call("POST", f"/v1/projects/demo/locations/{kw.pop('to', 'us-central1')}/models:copy",
                      {"sourceModel": name, **kw})
        assert r.status_code == 200, r.text
        op = r.json()
        assert op["done"] and op["metadata"]["@type"] == PREFIX + "v1.CopyModelOperationMetadata"
        assert fake.get(op["name"]) == op
        return op["response"]["model"], op["response"]["modelVersionId"]
    there, v = copy(to="europe-west4", modelId="twin")
    m = fake.get(there)
    assert there.endswith("europe-west4/models/twin") and v == "1"
    assert m["originalModelInfo"] == {"model": name + "@1"} and m["modelSourceInfo"] == {"sourceType": "CUSTOM", "copy": True}
    assert m["labels"] == {"a": "1"} and m["description"] == "d" and m["versionAliases"] == ["default"]
    assert fake.call("GET", f"/cusp/v1/{there}:verify").json()["state"] == "UNCHANGED"
    assert copy(parentModel=name) == (name, "2") and fake.get(name)["versionId"] == "1"
    fresh, _ = copy()
    assert re.search(r"/models/\d+$", fresh)
    assert fake.call("GET", f"/cusp/v1/{name}@1:lineage").json()["copies"] == sorted([there + "@1", name + "@2", fresh + "@1"])
    assert fake.call("GET", f"/cusp/v1/{fresh}:lineage").json()["copiedFrom"] == name + "@1"
    at = "/v1/projects/demo/locations/europe-west4/models:copy"
    refused(fake, "POST", at, {"sourceModel": name, "modelId": "twin"}, 409, "already exists")
    refused(fake, "POST", at, {"sourceModel": name + "9"}, 404, name + "9")
    refused(fake, "POST", at, {"sourceModel": name, "parentModel": name}, 400, "europe-west4")
    assert fake.call("POST", at, {"sourceModel": name, "parentModel": name, "modelId": "x"}).status_code == 400


def export(s, name, to="gs://out/exports", **config):
    r = s.call("POST", f"/v1/{name}:export", {"outputConfig": {"artifactDestination": {"outputUriPrefix": to}, **config}})
    assert r.status_code == 200, r.text
    return r.json()


def objects(s, bucket, prefix=""):
    return [o["name"] for o in s.call("GET", f"/storage/v1/b/{bucket}/o?prefix={prefix}").json().get("items", [])]


def test_an_export_copies_what_was_registered(fake):
    put(fake, "out", "keep", b"")
    for name, data in (("model.pkl", b"p" * 3000), ("sub/a.bin", b"a"), ("sub/b.bin", b"")):
        put(fake, "art", "m/" + name, data)
    name, _ = upload(fake, artifactUri="gs://art/m/", displayName="my iris/1")
    put(fake, "art", "m/later.txt", b"not part of it")
    op = finished(fake, export(fake, name, exportFormatId="custom-trained"))
    assert op["response"] == {"@type": PREFIX + "v1.ExportModelResponse"}, op
    uri = op["metadata"]["outputInfo"]["artifactOutputUri"]
    m = re.fullmatch(r"gs://out/exports/model-export-my iris_1-(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)/custom-trained/", uri)
    assert m, uri
    at = uri[len("gs://out/"):]
    assert objects(fake, "out", "exports") == [at + n for n in ("model.pkl", "sub/a.bin", "sub/b.bin")]
    put(fake, "art", "m/sub/a.bin", b"b")
    op = finished(fake, export(fake, name, "gs://out/again"))
    assert op["error"]["code"] == 9 and "gs://art/m/sub/a.bin has changed" in op["error"]["message"]
    assert objects(fake, "out", "again") == []  # nothing half done is left
    fake.call("DELETE", "/storage/v1/b/art/o/m%2Fsub%2Fa.bin")
    op = finished(fake, export(fake, name, "gs://out/again"))
    assert "gs://art/m/sub/a.bin was removed" in op["error"]["message"] and objects(fake, "out", "again") == []


def test_exports_that_cannot_be(fake):
    put(fake, "out", "x", b"x")
    name, _ = upload(fake)
    at = f"/v1/{name}:export"
    to = {"artifactDestination": {"outputUriPrefix": "gs://out/e"}}
    refused(fake, "POST", at, {"outputConfig": to}, 400, "no artefact")
    for config, word in (({"artifactDestination": {"outputUriPrefix": "gs://nowhere-at-all/e"}}, "nowhere-at-all"),
                         ({"artifactDestination": {"outputUriPrefix": "/tmp/x"}}, "/tmp/x"), ({}, "Required"),
                         ({**to, "exportFormatId": "tflite"}, "tflite"),
                         ({**to, "imageDestination": {"outputUri": "r/x"}}, "ARTIFACT")):
        r = fake.call("POST", at, {"outputConfig": config})
        assert r.status_code in (400, 404) and word in r.json()["error"]["message"], r.text
    assert fake.call("POST", at, {}).status_code == 400


# ---- changed artefacts

def test_a_later_change_of_the_folder_is_seen(fake):
    for n in ("a", "b", "c"):
        put(fake, "art", "m/" + n, n.encode() * 100)
    name, _ = upload(fake, artifactUri="gs://art/m")
    look = lambda q="": fake.call("GET", f"/cusp/v1/{name}@1:verify{q}").json()
    first = look()
    put(fake, "art", "m/a", b"a" * 100)  # the same bytes again are no change
    assert look() == first and look("?quick=true")["state"] == "UNCHANGED"
    put(fake, "art", "m/b", b"B" * 100)
    put(fake, "art", "m/d", b"d")
    fake.call("DELETE", "/storage/v1/b/art/o/m%2Fc")
    for query in ("", "?quick=true"):
        now = look(query)
        assert now["state"] == "CHANGED" and now["differenceCount"] == "3"
        assert [(d["file"], d["what"]) for d in now["differences"]] == [("b", "CHANGED"), ("c", "REMOVED"), ("d", "ADDED")]
    for n in ("a", "b", "d"):
        fake.call("DELETE", f"/storage/v1/b/art/o/m%2F{n}")
    assert look()["state"] == "MISSING"


def test_files_that_a_job_wrote_are_sealed_by_their_bytes(fake):
    """A file that nobody has looked at has no checksum yet."""
    fake.call("POST", "/storage/v1/b?project=demo", {"name": "art"})
    import os
    os.makedirs(os.path.join(fake.data_dir, "buckets/art/job/model"))
    for i in range(20):
        with open(os.path.join(fake.data_dir, f"buckets/art/job/model/part-{i}"), "wb") as f:
            f.write(b"%d" % i * 1000)
    name, _ = upload(fake, artifactUri="gs://art/job/model/")
    assert fake.call("GET", f"/cusp/v1/{name}:verify").json()["state"] == "UNCHANGED"
    with open(os.path.join(fake.data_dir, "buckets/art/job/model/part-7"), "r+b") as f:
        f.write(b"X")
    now = fake.call("GET", f"/cusp/v1/{name}:verify").json()
    assert [d["file"] for d in now["differences"]] == ["part-7"]


# ---- evaluations

def test_evaluations_belong_to_a_version_and_go_with_it(fake):
    name, _ = upload(fake)
    upload(fake, parentModel=name)
    e = {"displayName": "auc", "metricsSchemaUri": "gs://google-cloud-aiplatform/schema/modelevaluation/classification_metrics_1.0.0.yaml",
         "metrics": {"auRoc": 0.97, "confusionMatrix": {"rows": [[1, 2], [3, 4]]}}}
    made = fake.call("POST", f"/v1/{name}@2/evaluations:import", {"modelEvaluation": e}).json()
    assert re.fullmatch(re.escape(name) + r"@2/evaluations/\d+", made["name"]) and made["metrics"] == e["metrics"]
    fake.call("POST", f"/v1/{name}/evaluations:import", {"modelEvaluation": e})
    assert fake.get(made["name"]) == made == fake.get(made["name"].replace("@2", ""))
    listed = lambda v: fake.call("GET", f"/v1/{name}{v}/evaluations").json().get("modelEvaluations", [])
    assert listed("@2") == [made] and len(listed("")) == 1 and listed("")[0]["name"].startswith(name + "@1/")
    assert fake.call("GET", f"/v1/{made['name'].replace('@2', '@1')}").status_code == 404
    slices = [{"slice": {"dimension": "annotationSpec", "value": v}, "metrics": {"auRoc": 0.9}} for v in ("cat", "dog")]
    r = fake.call("POST", f"/v1/{made['name']}/slices:batchImport", {"modelEvaluationSlices": slices}).json()
    assert len(r["importedModelEvaluationSlices"]) == 2
    got = fake.call("GET", f"/v1/{made['name']}/slices").json()["modelEvaluationSlices"]
    assert sorted(s["name"] for s in got) == sorted(r["importedModelEvaluationSlices"])
    assert fake.get(got[0]["name"]) == got[0] and got[0]["slice"]["dimension"] == "annotationSpec"
    assert fake.call("POST", f"/v1/{made['name']}9/slices:batchImport", {"modelEvaluationSlices": slices}).status_code == 404
    assert fake.call("DELETE", f"/v1/{name}@2:deleteVersion").status_code == 200
    assert fake.call("GET", f"/v1/{made['name']}").status_code == 404
    assert fake.call("GET", f"/v1/{got[0]['name']}").status_code == 404
    assert len(listed("")) == 1
    assert fake.call("POST", f"/v1/{name}@2/evaluations:import", {"modelEvaluation": e}).status_code == 404
    assert fake.call("POST", f"/v1/{name}/evaluations:import", {}).status_code == 400
    assert fake.call("GET", f"/v1/{name}:listCheckpoints").json() == {}


# ---- restart

def test_everything_survives_a_restart(make_server):
    s = make_server("--engine=fake").start()
    put(s, "art", "m/model.pkl", b"x")
    name, _ = upload(s, artifactUri="gs://art/m")
    upload(s, parentModel=name, versionAliases=["prod"])
    before = s.get(name), versions(s, name), s.call("GET", f"/cusp/v1/{name}:verify").json()
    s.kill9()
    s.start()
    assert (s.get(name), versions(s, name), s.call("GET", f"/cusp/v1/{name}:verify").json()) == before
    assert upload(s, parentModel=name)[1] == "3"
    s.stop()


# ---- bad input

def test_what_is_wrong_with_an_upload_is_named(fake):
    name, _ = upload(fake, modelId="taken")
    at = f"{MODELS}:upload"
    cases = [
        ({"model": {}}, ["display_name"]),
        ({}, ["model", "Required"]),
        ({"model": body(displayName="x" * 129)}, ["129", "128"]),
        ({"model": {"displayName": "x", "artifactUri": "gs://b/m"}}, ["model.container_spec.image_uri"]),
        ({"model": body(containerSpec={})}, ["model.container_spec.image_uri"]),
        ({"model": body(artifactUri="/tmp/model")}, ["model.artifact_uri", "/tmp/model"]),
        ({"model": body(artifactUri="gs://No_Such/Bucket")}, ["model.artifact_uri"]),
        ({"model": body(labels={"Bad": "x"})}, ["model.labels", "Bad"]),
        ({"model": body(labels={f"k{i}": "v" for i in range(65)})}, ["model.labels", "64", "65"]),
        ({"model": body(versionAliases=["1"])}, ["model.version_aliases", '"1"']),
        ({"model": body(versionAliases=["x"])}, ["model.version_aliases", "2 to 128"]),
        ({"model": body(versionAliases=["a" * 129])}, ["model.version_aliases"]),
        ({"model": body(versionAliases=["Upper"])}, ["lowercase"]),
        ({"model": body(containerSpec={"imageUri": "x", "env": [{"name": "1A"}]})}, ["container_spec.env[0].name", "1A"]),
        ({"model": body(containerSpec={"imageUri": "x", "env": [{"name": "A"}, {"name": "A"}]})}, ["unique"]),
        ({"model": body(containerSpec={"imageUri": "x", "ports": [{"containerPort": 70000}]})}, ["ports[0].container_port", "70000"]),
        ({"model": body(containerSpec={"imageUri": "x", "predictRoute": "predict"})}, ["predict_route", "'/'"]),
        ({"model": body(containerSpec={"imageUri": "x", "deploymentTimeout": "7201s"})}, ["deployment_timeout", "7201"]),
        ({"model": body(containerSpec={"imageUri": "x", "sharedMemorySizeMb": "-1"})}, ["shared_memory_size_mb"]),
        ({"model": body(), "modelId": "9x"}, ["9x", "digit"]),
        ({"model": body(), "modelId": "a" * 64}, ["63"]),
        ({"model": body(), "modelId": "a.b"}, ["a.b"]),
        ({"model": body(), "modelId": "x", "parentModel": name}, ["model_id", "parent_model"]),
        ({"model": body(), "parentModel": "taken"}, ["taken"]),
        ({"model": body(), "parentModel": f"projects/demo/locations/europe-west4/models/taken"}, ["europe-west4"]),
        ({"model": body(), "nope": 1}, ["nope"]),
    ]
    for request, words in cases:
        refused(fake, "POST", at, request, 400, *words)
    e = refused(fake, "POST", at, {"model": body(displayName="", versionAliases=["X"], labels={"A": ""})}, 400)
    assert [v["field"] for v in e["details"][0]["fieldViolations"]] == ["model.display_name", "model.version_aliases", "model.labels"]
    refused(fake, "POST", at, {"model": body(), "modelId": "taken"}, 409, "taken", "already exists")
    refused(fake, "POST", at, {"model": body(), "parentModel": f"{PARENT}/models/nobody"}, 404, "nobody")
    refused(fake, "POST", "/v1/projects/demo/locations/-/models:upload", {"model": body()}, 400, "-")
    assert [m["name"] for m in fake.call("GET", MODELS).json()["models"]] == [name]


def test_an_artefact_that_is_not_there_fails_the_operation(fake):
    put(fake, "art", "file", b"x")
    for uri in ("gs://art/empty", "gs://art/file", "gs://no-such-bucket/m"):
        op = finished(fake, start_upload(fake, artifactUri=uri))
        assert op["error"]["code"] == 3 and f'There are no files under "{uri}"' in op["error"]["message"]
    assert fake.call("GET", MODELS).json() == {}


def test_names_and_aliases_that_mean_nothing(fake):
    name, _ = upload(fake)
    for method, path, body_, status in (
            ("GET", f"/v1/{name}@", None, 400), ("GET", f"/v1/{name}@2", None, 404), ("GET", f"/v1/{name}@0", None, 404),
            ("GET", f"/v1/{name}@01", None, 404), ("GET", f"/v1/{name}@1@1", None, 400), ("GET", f"/v1/{name}@nobody", None, 404),
            ("DELETE", f"/v1/{name}@1", None, 400), ("DELETE", f"/v1/{name}:deleteVersion", None, 400),
            ("DELETE", f"/v1/{name}@7:deleteVersion", None, 404), ("DELETE", f"/v1/{name}7", None, 404),
            ("GET", f"/v1/{name}7:listVersions", None, 404),
            ("POST", f"/v1/{name}:mergeVersionAliases", {"versionAliases": ["prod"]}, 400),
            ("POST", f"/v1/{name}@1:mergeVersionAliases", {}, 400),
            ("POST", f"/v1/{name}@1:mergeVersionAliases", {"versionAliases": ["-default"]}, 400),
            ("POST", f"/v1/{name}@1:mergeVersionAliases", {"versionAliases": ["ok", "No"]}, 400),
            ("POST", f"/v1/{name}@1:mergeVersionAliases", {"versionAliases": ["--x"]}, 400),
            ("POST", f"/v1/{name}@8:mergeVersionAliases", {"versionAliases": ["ok"]}, 404)):
        r = fake.call(method, path, body_)
        assert r.status_code == status, (method, path, r.text)
    assert fake.get(name)["versionAliases"] == ["default"]


# ---- examples that explain, annotations that were evaluated

def examples(*uris, **more):
    return {"exampleGcsSource": {"dataFormat": "JSONL", "gcsSource": {"uris": list(uris)}}, **more}


def test_the_examples_of_an_explanation_are_replaced(fake):
    spec = {"parameters": {"examples": examples("gs://b/old.jsonl", neighborCount=7)},
            "metadata": {"inputs": {"x": {}}, "outputs": {"y": {}}}}
    name, _ = upload(fake, explanationSpec=spec)
    upload(fake, parentModel=name)  # a version without
    at = f"/v1/{name}:updateExplanationDataset"
    op = fake.call("POST", at, {"examples": examples("gs://b/new/*.jsonl")}).json()
    assert op["done"] and op["metadata"]["@type"] == PREFIX + "v1.UpdateExplanationDatasetOperationMetadata"
    assert op["response"] == {"@type": PREFIX + "v1.UpdateExplanationDatasetResponse"} and fake.get(op["name"]) == op
    for n in (name, name + "@1"):
        m = fake.get(n)
        now = m["explanationSpec"]["parameters"]["examples"]
        assert now["exampleGcsSource"]["gcsSource"]["uris"] == ["gs://b/new/*.jsonl"] and now["neighborCount"] == 7
        assert m["explanationSpec"]["metadata"] == spec["metadata"] and m["displayName"] == "iris"
    assert versions(fake, name)[-1]["explanationSpec"]["parameters"]["examples"] == now
    for body_, status, word in (({}, 400, "examples.example_gcs_source.gcs_source.uris"),
                                ({"examples": examples("/tmp/x")}, 400, '"/tmp/x"'),
                                ({"examples": examples("gs://b/x", neighborCount=-1)}, 400, "neighbor_count")):
        refused(fake, "POST", at, body_, status, word)
    refused(fake, "POST", f"/v1/{name}@2:updateExplanationDataset", {"examples": examples("gs://b/x")}, 400,
            "no example-based explanation", name + "@2")
    refused(fake, "POST", f"/v1/{name}9:updateExplanationDataset", {"examples": examples("gs://b/x")}, 404, name + "9")


def test_evaluated_annotations_are_taken(fake):
    name, _ = upload(fake)
    e = fake.call("POST", f"/v1/{name}/evaluations:import", {"modelEvaluation": {"displayName": "e"}}).json()
    r = fake.call("POST", f"/v1/{e['name']}/slices:batchImport", {"modelEvaluationSlices": [{"metrics": {"a": 1}}]}).json()
    at = f"/v1/{r['importedModelEvaluationSlices'][0]}:batchImport"
    one = {"type": "TRUE_POSITIVE", "predictions": [{"displayName": "cat"}], "dataItemPayload": {"imageGcsUri": "gs://b/1.jpg"},
           "evaluatedDataItemViewId": "1"}
    for n in (2, 3):
        r = fake.call("POST", at, {"evaluatedAnnotations": [one] * n})
        assert r.json() == {"importedEvaluatedAnnotationsCount": n}, r.text
    refused(fake, "POST", at, {}, 400, "evaluated_annotations", "there are 0")
    refused(fake, "POST", at, {"evaluatedAnnotations": [one, {}]}, 400, "evaluated_annotations[1].type", "TRUE_POSITIVE")
    refused(fake, "POST", at.replace(":batch", "9:batch"), {"evaluatedAnnotations": [one]}, 404, "ModelEvaluationSlice")
    assert fake.call("DELETE", f"/v1/{name}").json()["done"]
    refused(fake, "POST", at, {"evaluatedAnnotations": [one]}, 404)
