"""Every method of the published contract: it works, or its error says what to do instead."""
import grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from google.protobuf import descriptor_pb2

from conftest import PARENT

# What the SDK's public methods call. The words that a user is to find in the answer.
INSTEAD = {
    "PersistentResourceService/CreatePersistentResource": "leave persistent_resource_id out",
    "EndpointService/CreateEndpoint": "run the model's serving container",          # Model.deploy, Endpoint.create
    "PredictionService/Predict": "run the model's serving container",
    "TensorboardService/CreateTensorboard": "AIP_TENSORBOARD_LOG_DIR",
    "MetadataService/GetMetadataStore": "leave `experiment` out",                   # aiplatform.init(experiment=…)
    "MetadataService/GetContext": "leave `experiment` out",                         # CustomJob.submit(experiment=…)
    "JobService/CreateBatchPredictionJob": "as a CustomJob",                        # Model.batch_predict
    "JobService/CreateDataLabelingJob": "cusp datasets import",
    "JobService/CreateNasJob": "HyperparameterTuningJob",
    "JobService/CreateModelDeploymentMonitoringJob": "Nothing is served here",
    "PipelineService/CreatePipelineJob": "CustomJob for each step",                 # PipelineJob.submit
}
BUILT = ("VizierService", "DatasetService", "ModelService")  # all of v1


def ask(stub, **kw):
    return next(iter(stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**kw)]))))


def methods(channel):
    """Full names, as the server itself describes them."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    out = []
    for service in ask(stub, list_services="").list_services_response.service:
        for raw in ask(stub, file_containing_symbol=service.name).file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(raw)
            out += [(f"{service.name}/{m.name}", m.client_streaming or m.server_streaming) for s in file.service
                    if f"{file.package}.{s.name}" == service.name for m in s.method]
    return sorted(set(out))


def answer(channel, full):
    """(code, text) to an empty request."""
    try:
        channel.unary_unary("/" + full)(b"", timeout=20)
        return grpc.StatusCode.OK, ""
    except grpc.RpcError as e:
        return e.code(), e.details()


def test_every_method_works_or_says_what_to_do_instead(fake):
    with grpc.insecure_channel(fake.url.removeprefix("http://")) as channel:
        every = methods(channel)
        aiplatform = [m for m, streams in every if m.startswith("google.cloud.aiplatform.") and not streams]
        assert len(aiplatform) > 200
        unbuilt = {}
        for full in aiplatform:
            code, text = answer(channel, full)
            if code == grpc.StatusCode.UNIMPLEMENTED:
                unbuilt[full] = text
            else:
                assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND), (full, code, text)
        for full, text in unbuilt.items():
            named = f"Operation is not implemented, or supported, or enabled. ({full})"
            assert text.startswith(named), text
            service = full.split("/")[0].rsplit(".", 1)[1]
            if ".v1." in full:
                assert service not in BUILT and len(text) > len(named) + 20, text
        for method, words in INSTEAD.items():
            assert words in unbuilt["google.cloud.aiplatform.v1." + method]
            beta = "google.cloud.aiplatform.v1beta1." + method
            assert beta not in dict(every) or words in unbuilt[beta]


def test_rest_says_the_same(fake):
    for method, path, words in (("GET", "persistentResources", "leave persistent_resource_id out"),
                                ("POST", "endpoints", "serving container"),
                                ("GET", "metadataStores/default", "leave `experiment` out"),
                                ("POST", "pipelineJobs", "CustomJob for each step"), ("POST", "batchPredictionJobs", "as a CustomJob")):
        for version in ("v1", "v1beta1"):
            r = fake.call(method, f"/{version}/{PARENT}/{path}", {} if method == "POST" else None)
            assert r.status_code == 501 and r.json()["error"]["status"] == "UNIMPLEMENTED"
            assert words in r.json()["error"]["message"]
