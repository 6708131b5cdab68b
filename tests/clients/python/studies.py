"""Vizier through the unmodified client: VizierServiceClient, and google.cloud.aiplatform.vizier where its extra is installed.

Usage: studies.py rest|rest-tls|grpc|grpc-tls [sdk]. Environment: README.md. Exit 0 and "ok" as the last line when all is as it should be.
"""
import secrets
import sys

import connection as c


def vizier_client(protocol):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.aiplatform_v1 import VizierServiceClient
    if protocol == "grpc":
        import grpc
        from google.cloud.aiplatform_v1.services.vizier_service.transports import VizierServiceGrpcTransport
        return VizierServiceClient(transport=VizierServiceGrpcTransport(channel=grpc.insecure_channel(c.ENDPOINT.removeprefix("http://"))))
    return VizierServiceClient(credentials=AnonymousCredentials(), transport=protocol.removesuffix("-tls"),
                               client_options={"api_endpoint": c.api_endpoint(protocol)})


def generated(protocol):
    from google.api_core import exceptions
    from google.cloud.aiplatform_v1 import types
    client = vizier_client(protocol)
    invalid, precondition = c.kinds(protocol)
    name = "study-" + secrets.token_hex(4)
    spec = types.StudySpec(
        metrics=[{"metric_id": "loss", "goal": "MINIMIZE"}],
        parameters=[
            {"parameter_id": "lr", "double_value_spec": {"min_value": 1e-5, "max_value": 1e-1}, "scale_type": "UNIT_LOG_SCALE"},
            {"parameter_id": "layers", "integer_value_spec": {"min_value": 1, "max_value": 4}},
            {"parameter_id": "opt", "categorical_value_spec": {"values": ["sgd", "adam"]}, "conditional_parameter_specs": [
                {"parent_categorical_values": {"values": ["sgd"]},
                 "parameter_spec": {"parameter_id": "momentum", "double_value_spec": {"min_value": 0.5, "max_value": 0.99}}}]}],
        median_automated_stopping_spec={})
    study = client.create_study(parent=c.PARENT, study=types.Study(display_name=name, study_spec=spec))
    assert study.state == types.Study.State.ACTIVE and study.study_spec == spec, study
    assert client.get_study(name=study.name) == study
    assert client.lookup_study(request={"parent": c.PARENT, "display_name": name}) == study
    assert study.name in [s.name for s in client.list_studies(parent=c.PARENT)]
    c.raises(exceptions.Conflict if protocol.startswith("rest") else exceptions.AlreadyExists, client.create_study,
             parent=c.PARENT, study=types.Study(display_name=name, study_spec=spec))

    for i in range(6):
        op = client.suggest_trials(types.SuggestTrialsRequest(parent=study.name, suggestion_count=2, client_id="worker"))
        given = op.result(timeout=60)
        assert given.study_state == types.Study.State.ACTIVE and len(given.trials) == 2, given
        assert op.metadata.client_id == "worker"
        for k, trial in enumerate(given.trials):
            p = {q.parameter_id: q.value for q in trial.parameters}
            assert ("momentum" in p) == (p["opt"] == "sgd") and 1e-5 <= p["lr"] <= 1e-1 and p["layers"] in (1, 2, 3, 4), p
            for step in (1, 2, 3):
                trial = client.add_trial_measurement(types.AddTrialMeasurementRequest(
                    trial_name=trial.name, measurement={"step_count": step, "metrics": [{"metric_id": "loss", "value": i + k + 1 / step}]}))
            assert [m.step_count for m in trial.measurements] == [1, 2, 3]
            stop = client.check_trial_early_stopping_state(
                types.CheckTrialEarlyStoppingStateRequest(trial_name=trial.name)).result(timeout=60)
            assert isinstance(stop.should_stop, bool)
            trial = client.complete_trial(types.CompleteTrialRequest(name=trial.name))
            assert trial.state == types.Trial.State.SUCCEEDED and trial.final_measurement.step_count == 3
    best = client.list_optimal_trials(parent=study.name).optimal_trials
    assert [t.id for t in best] == ["1"], best
    own = client.create_trial(parent=study.name, trial=types.Trial(parameters=best[0].parameters))
    assert own.state == types.Trial.State.REQUESTED and client.get_trial(name=own.name) == own
    assert client.stop_trial(types.StopTrialRequest(name=own.name)).state == types.Trial.State.STOPPING
    infeasible = client.complete_trial(types.CompleteTrialRequest(name=own.name, trial_infeasible=True, infeasible_reason="no"))
    assert infeasible.state == types.Trial.State.INFEASIBLE and infeasible.infeasible_reason == "no"
    c.raises(precondition, client.stop_trial, types.StopTrialRequest(name=own.name))
    c.raises(invalid, client.suggest_trials, types.SuggestTrialsRequest(parent=study.name, suggestion_count=0, client_id="x"))
    some = [q for q in best[0].parameters if q.parameter_id == "lr"]
    part = client.create_trial(parent=study.name, trial=types.Trial(parameters=some))
    assert part.state == types.Trial.State.REQUESTED and list(part.parameters) == some, part
    (whole,) = client.suggest_trials(types.SuggestTrialsRequest(parent=study.name, suggestion_count=1, client_id="x")).result(timeout=60).trials
    assert whole.name == part.name and whole.state == types.Trial.State.ACTIVE and whole.parameters[0] == some[0], whole
    assert {"lr", "layers", "opt"} <= {q.parameter_id for q in whole.parameters} and client.get_trial(name=whole.name) == whole
    client.delete_trial(name=whole.name)
    assert len(list(client.list_trials(request={"parent": study.name, "page_size": 5}))) == 13  # three pages
    client.delete_trial(name=own.name)
    c.raises(exceptions.NotFound, client.get_trial, name=own.name)
    client.delete_study(name=study.name)
    c.raises(exceptions.NotFound, client.get_study, name=study.name)


def high_level(protocol):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform
    from google.cloud.aiplatform.vizier import Study, pyvizier
    aiplatform.init(project=c.PROJECT, location=c.LOCATION, credentials=AnonymousCredentials(),
                    api_endpoint=c.api_endpoint(protocol), api_transport=protocol.removesuffix("-tls"))
    problem = pyvizier.StudyConfig()
    problem.algorithm = pyvizier.Algorithm.ALGORITHM_UNSPECIFIED
    problem.metric_information.append(pyvizier.MetricInformation(name="loss", goal=pyvizier.ObjectiveMetricGoal.MINIMIZE))
    root = problem.search_space.select_root()
    root.add_float_param("x", -1.0, 1.0, scale_type=pyvizier.ScaleType.LINEAR)
    root.add_int_param("n", 1, 5)
    root.add_categorical_param("opt", ["sgd", "adam"])
    name = "sdk-" + secrets.token_hex(4)
    study = Study.create_or_load(display_name=name, problem=problem)
    if not protocol.startswith("rest"):  # over REST the client takes 409 for Conflict, and looks for AlreadyExists
        assert Study.create_or_load(display_name=name, problem=problem).resource_name == study.resource_name
    assert name in [s.gca_resource.display_name for s in Study.list()]
    losses = {}
    for _ in range(8):
        (trial,) = study.suggest(count=1, worker="me")
        assert study.suggest(count=1, worker="me")[0].uid == trial.uid
        p = trial.parameters
        losses[trial.uid] = (float(p["x"].value) - 0.2) ** 2 + int(p["n"].value) / 10
        m = pyvizier.Measurement(metrics={"loss": losses[trial.uid] + 1}, steps=1, elapsed_secs=0.5)
        trial.add_measurement(m)
        assert trial.should_stop() is False
        done = trial.complete(pyvizier.Measurement(metrics={"loss": losses[trial.uid]}, steps=2, elapsed_secs=1.5))
        assert done.metrics["loss"].value == losses[trial.uid]
    (trial,) = study.suggest(count=1, worker="me")
    trial.complete(infeasible_reason="too hot")
    best = study.optimal_trials()
    assert [t.uid for t in best] == [min(losses, key=losses.get)], (losses, best)
    seen = best[0].materialize()
    assert seen.final_measurement.metrics["loss"].value == min(losses.values()) and len(seen.measurements) == 1
    assert len(study.trials()) == 9 and study.get_trial(1).uid == 1 and Study(study.resource_name).get_trial(2).status.name == "COMPLETED"
    study.get_trial(9).delete()
    assert len(study.trials()) == 8
    study.delete()
    assert name not in [s.gca_resource.display_name for s in Study.list()]


def main(protocol, face="generated"):
    c.prepare(protocol)
    (high_level if face == "sdk" else generated)(protocol)
    print("ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
