"""ModelService over gRPC, by reflection alone: what differs from REST (statuses, types, masks)."""
import grpc
import pytest
from google.protobuf import empty_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from conftest import PARENT, wait_until
from grpcraw import V1, connect
from modelreg import IMAGE, put

MODELS = V1 + "ModelService/"
OPS = "google.longrunning.Operations/"


@pytest.fixture
def rpc(fake):
    channel, stubs = connect(fake, None)
    stubs.server = fake
    yield stubs
    channel.close()


def done(rpc, op):
    return wait_until(lambda: (lambda o: o if o.done else None)(rpc(OPS + "GetOperation", name=op.name)), 30, op.name)


def upload(rpc, **kw):
    model = {"display_name": "iris", "container_spec": {"image_uri": IMAGE}, **kw.pop("model", {})}
    return done(rpc, rpc(MODELS + "UploadModel", parent=PARENT, model=model, **kw))


def refused(code, field, fn, *args, **kw):
    with pytest.raises(grpc.RpcError) as e:
        fn(*args, **kw)
    assert e.value.code() == code, e.value
    if field:
        bad = error_details_pb2.BadRequest()
        assert any(d.Unpack(bad) for d in rpc_status.from_call(e.value).details)
        assert field in [v.field for v in bad.field_violations]


def test_a_model_lives_its_life_over_grpc(rpc):
    put(rpc.server, "art", "m/model.pkl", b"x")
    op = upload(rpc, model_id="iris", model={"artifact_uri": "gs://art/m", "labels": {"a": "1"}})
    assert op.response.type_url.endswith(".v1.UploadModelResponse") and op.metadata.type_url.endswith("UploadModelOperationMetadata")
    name = f"{PARENT}/models/iris"
    upload(rpc, parent_model=name, model={"version_aliases": ["prod"]})
    m = rpc(MODELS + "MergeVersionAliases", name=name + "@prod", version_aliases=["default", "-prod"])
    assert m.name.endswith("@2") and list(m.version_aliases) == ["default"]
    m = rpc(MODELS + "UpdateModel", model={"name": name, "display_name": "b"}, update_mask={"paths": ["display_name"]})
    assert m.display_name == "b" and m.version_id == "2"
    listed = rpc(MODELS + "ListModels", parent=PARENT, filter='display_name="b"', read_mask={"paths": ["version_id"]}).models
    assert [(x.version_id, x.name) for x in listed] == [("2", "")]
    assert [x.version_id for x in rpc(MODELS + "ListModelVersions", name=name, order_by="create_time").models] == ["1", "2"]
    copied = done(rpc, rpc(MODELS + "CopyModel", parent=PARENT, source_model=name + "@1", model_id="twin"))
    assert copied.response.type_url.endswith("CopyModelResponse")
    out = done(rpc, rpc(MODELS + "ExportModel", name=name + "@1", output_config={
        "export_format_id": "custom-trained", "artifact_destination": {"output_uri_prefix": "gs://art/out"}}))
    assert out.response.type_url.endswith("ExportModelResponse")
    gone = rpc(MODELS + "DeleteModelVersion", name=name + "@1")
    assert gone.done and gone.response.Is(empty_pb2.Empty.DESCRIPTOR)
    assert rpc(MODELS + "DeleteModel", name=name).done
    refused(grpc.StatusCode.NOT_FOUND, None, rpc, MODELS + "GetModel", name=name)


def test_refusals_have_their_own_statuses(rpc):
    upload(rpc, model_id="taken")
    name = f"{PARENT}/models/taken"
    code = grpc.StatusCode
    refused(code.INVALID_ARGUMENT, "model.version_aliases", rpc, MODELS + "UploadModel", parent=PARENT,
            model={"display_name": "x", "version_aliases": ["1"]})
    refused(code.ALREADY_EXISTS, "model_id", rpc, MODELS + "UploadModel", parent=PARENT, model={"display_name": "x"}, model_id="taken")
    refused(code.NOT_FOUND, "parent_model", rpc, MODELS + "UploadModel", parent=PARENT, model={"display_name": "x"}, parent_model=name + "9")
    refused(code.FAILED_PRECONDITION, "update_mask", rpc, MODELS + "UpdateModel",
            model={"name": name, "version_description": "x"}, update_mask={"paths": ["version_description"]})
    refused(code.FAILED_PRECONDITION, None, rpc, MODELS + "DeleteModelVersion", name=name + "@1")
    refused(code.ABORTED, "etag", rpc, MODELS + "UpdateModel", model={"name": name, "display_name": "x", "etag": "b2xk"},
            update_mask={"paths": ["display_name"]})
