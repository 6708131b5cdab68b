"""The model registry through the unmodified SDK: aiplatform.Model and ModelRegistry, one protocol a run.

Usage: models.py rest|rest-tls|grpc-tls. Environment: README.md. Exit 0 and "ok" as the last line when all is as it should be.
"""
import os
import secrets
import sys
import tempfile

import connection as c


def main(protocol):
    c.prepare(protocol)
    from google.api_core import exceptions
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform, storage
    run = secrets.token_hex(4)
    invalid, precondition = c.kinds(protocol)
    aiplatform.init(project=c.PROJECT, location=c.LOCATION, staging_bucket=f"gs://{c.BUCKET}",
                    credentials=AnonymousCredentials(), api_endpoint=c.api_endpoint(protocol),
                    api_transport=protocol.removesuffix("-tls"))
    c.bucket()
    image = aiplatform.helpers.get_prebuilt_prediction_container_uri("sklearn", "1.0", accelerator="cpu")

    # A local folder is staged by the SDK; the sealed files are what it uploaded.
    with tempfile.TemporaryDirectory() as d:
        with open(os.path.join(d, "model.joblib"), "wb") as f:
            f.write(os.urandom(5000))
        model = aiplatform.Model.upload(display_name=f"iris-{run}", artifact_uri=d, serving_container_image_uri=image,
                                        labels={"run": run}, description="flowers", version_aliases=["prod"],
                                        version_description="first")
    assert model.version_id == "1" and set(model.version_aliases) == {"default", "prod"}, model.version_aliases
    assert model.labels == {"run": run} and model.description == "flowers" and model.version_description == "first"
    assert model.container_spec.image_uri == image and model.uri.startswith(f"gs://{c.BUCKET}/")
    assert model.supported_export_formats == {"custom-trained": [aiplatform.gapic.Model.ExportFormat.ExportableContent.ARTIFACT]}
    assert model.training_job is None

    # Versions: of the default, and not of the default.
    second = aiplatform.Model.upload(display_name="second", parent_model=model.resource_name, artifact_uri=model.uri,
                                     serving_container_image_uri=image, is_default_version=False)
    third = aiplatform.Model.upload(display_name="third", parent_model=model.name, artifact_uri=model.uri,
                                    serving_container_image_uri=image, sync=False)
    third.wait()
    assert (second.version_id, list(second.version_aliases)) == ("2", [])
    assert (third.version_id, list(third.version_aliases)) == ("3", ["default"])
    assert second.versioned_resource_name == model.resource_name + "@2" and second.display_name == f"iris-{run}"
    assert aiplatform.Model(model.resource_name).version_id == "3"
    assert aiplatform.Model(model_name=model.name, version="prod").version_id == "1"

    registry = aiplatform.models.ModelRegistry(model)
    assert [(v.version_id, sorted(v.version_aliases)) for v in registry.list_versions()] == [
        ("3", ["default"]), ("2", []), ("1", ["prod"])]
    registry.add_version_aliases(["beta", "prod"], "2")
    registry.add_version_aliases(["default"], "2")
    registry.remove_version_aliases(["beta"], "2")
    info = registry.get_version_info("prod")
    assert info.version_id == "2" and sorted(info.version_aliases) == ["default", "prod"], info
    assert info.model_resource_name == model.resource_name and info.model_display_name == f"iris-{run}"
    c.raises(invalid, registry.remove_version_aliases, ["default"], "2")
    registry.update_version("2", version_description="the second", labels={"stage": "two"})
    assert registry.get_version_info("2").version_description == "the second"
    assert [v.version_id for v in registry.list_versions(filter='labels.stage="two"')] == ["2"]
    assert registry.get_model("2").labels == {"run": run, "stage": "two"}

    # The object was read before all that: its update still goes through.
    model.update(display_name=f"renamed-{run}", description="other", labels={"run": run, "kind": "x"})
    assert model.display_name == f"renamed-{run}" and model.labels == {"run": run, "kind": "x"} and model.version_id == "1"

    # Lists.
    aiplatform.Model.upload(display_name=f"elsewhere-{run}", labels={"run": run})
    assert [m.display_name for m in aiplatform.Model.list(filter=f'labels.run="{run}"', order_by="display_name")] == [
        f"elsewhere-{run}", f"renamed-{run}"]
    assert [m.version_id for m in aiplatform.Model.list(filter=f'display_name="renamed-{run}"')] == ["2"]

    # Copy, export.
    copied = registry.get_model("1").copy(destination_location="europe-west4", destination_model_id=f"copy-{run}")
    assert copied.version_id == "1" and copied.gca_resource.original_model_info.model == model.resource_name + "@1"
    output = registry.get_model("1").export_model("custom-trained", artifact_destination=f"gs://{c.BUCKET}/out-{run}")
    client = storage.Client(project=c.PROJECT, credentials=AnonymousCredentials())
    prefix = output["artifactOutputUri"].removeprefix(f"gs://{c.BUCKET}/")
    assert [b.name for b in client.list_blobs(c.BUCKET, prefix=prefix)] == [prefix + "model.joblib"], output

    # Evaluations.
    made = model.api_client.import_model_evaluation(
        parent=model.resource_name + "@1", model_evaluation=aiplatform.gapic.ModelEvaluation(
            display_name="auc", metrics_schema_uri="gs://x/y.yaml", metrics={"auRoc": 0.5}))
    assert [e.resource_name for e in registry.get_model("1").list_model_evaluations()] == [made.name]
    assert registry.get_model("1").get_model_evaluation().metrics["auRoc"] == 0.5

    # Errors in the client's own words.
    e = c.raises(invalid, aiplatform.Model.upload, display_name="x", artifact_uri=model.uri,
                 serving_container_image_uri=image, version_aliases=["Bad"])
    assert c.violations(e) == ["model.version_aliases"], e
    c.raises(exceptions.AlreadyExists if protocol.startswith("grpc") else exceptions.Conflict, aiplatform.Model.upload,
             display_name="x", model_id=f"twice-{run}" if aiplatform.Model.upload(display_name="x", model_id=f"twice-{run}")
             else "")
    e = c.raises(exceptions.InvalidArgument, aiplatform.Model.upload, display_name="x", artifact_uri=f"gs://{c.BUCKET}/no-{run}",
                 serving_container_image_uri=image)
    assert "There are no files under" in e.message
    c.raises(exceptions.NotFound, aiplatform.Model, f"no-such-{run}")

    # Deletes.
    registry.delete_version("2")
    assert aiplatform.Model(model.resource_name).version_id == "3"
    registry.delete_version("3")
    c.raises(precondition, registry.delete_version, "1")
    model.delete()
    c.raises(exceptions.NotFound, aiplatform.Model, model.resource_name)
    copied.delete()
    for m in aiplatform.Model.list(filter=f'labels.run="{run}"') + [aiplatform.Model(f"twice-{run}")]:
        m.delete()
    assert aiplatform.Model.list(filter=f'labels.run="{run}"') == []
    print("ok", flush=True)


main(sys.argv[1])
