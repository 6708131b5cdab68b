"""The SDK's HyperparameterTuningJob on one server: argv = PROTOCOL ("rest", "grpc-tls", ...).

One JSON line for each case: {"case", "ok", "detail"}. The trials are the scripted engine's: each reports `loss`, the
sum of (value - 0.5)^2 over its parameters.
"""
import json
import os
import sys
import traceback

RESULTS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # the SDK's own log goes to stdout: keep it away from the result

import connection as c  # noqa: E402

LABELS = {"cusp-test-metric": "loss", "cusp-test-run-ms": "5"}
POOL = [{"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1,
         "container_spec": {"image_uri": c.IMAGE, "args": ["--epochs=0.5"]}}]


class Cases:
    def __init__(self, protocol):
        c.prepare(protocol)
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import aiplatform
        from google.cloud.aiplatform import hyperparameter_tuning
        self.invalid = c.kinds(protocol)[0]
        self.ai, self.hpt = aiplatform, hyperparameter_tuning
        aiplatform.init(project=c.PROJECT, location=c.LOCATION, staging_bucket="gs://sdk-tunings",
                        credentials=AnonymousCredentials(), api_endpoint=c.api_endpoint(protocol),
                        api_transport=protocol.removesuffix("-tls"))

    def job(self, name, parameters, labels=None, metric=None, **more):
        custom = self.ai.CustomJob(display_name=name + "-trial", worker_pool_specs=POOL, base_output_dir="gs://sdk-tunings/out")
        return self.ai.HyperparameterTuningJob(
            display_name=name, custom_job=custom, metric_spec=metric or {"loss": "minimize"}, parameter_spec=parameters,
            labels={**LABELS, **(labels or {})}, **more)

    def run(self):
        hpt = self.hpt
        job = self.job("tuned", {
            "lr": hpt.DoubleParameterSpec(min=0.001, max=1, scale="log"),
            "units": hpt.IntegerParameterSpec(min=0, max=4, scale="linear"),
            "activation": hpt.CategoricalParameterSpec(values=["relu", "selu"]),
            "batch": hpt.DiscreteParameterSpec(values=[1, 2, 4], scale="linear"),
            "opt": hpt.CategoricalParameterSpec(values=["adam", "sgd"], conditional_parameter_spec={
                "momentum": hpt.DoubleParameterSpec(min=0, max=1, scale="linear", parent_values=["sgd"])}),
        }, max_trial_count=8, parallel_trial_count=2)
        job.run(timeout=600, restart_job_on_worker_restart=False, sync=True)
        assert job.state.name == "JOB_STATE_SUCCEEDED", job.state
        trials = job.trials
        assert [t.id for t in trials] == [str(i) for i in range(1, 9)]
        for t in trials:
            assert t.state.name == "SUCCEEDED" and t.start_time and t.end_time and len(t.measurements) == 3
            value = {p.parameter_id: p.value for p in t.parameters}
            assert set(value) == {"lr", "units", "activation", "batch", "opt"} | \
                ({"momentum"} if value["opt"] == "sgd" else set()), value
            assert 0.001 <= value["lr"] <= 1 and value["units"] in range(5) and value["batch"] in (1, 2, 4), value
            metric, = t.final_measurement.metrics
            assert metric.metric_id == "loss" and metric.value >= 0, metric
            child = self.ai.CustomJob.get(t.custom_job)
            assert child.display_name == f"tuned-trial-{t.id}" and child.state.name == "JOB_STATE_SUCCEEDED"
            args = list(child.job_spec.worker_pool_specs[0].container_spec.args)
            assert args[0] == "--epochs=0.5" and f"--opt={value['opt']}" in args and len(args) == 1 + len(value), args
            assert child.job_spec.base_output_directory.output_uri_prefix == f"gs://sdk-tunings/out/{t.id}"
            assert child.job_spec.scheduling.timeout.total_seconds() == 600
        again = self.ai.HyperparameterTuningJob.get(job.resource_name)
        assert again.display_name == "tuned" and [t.id for t in again.trials] == [t.id for t in trials]
        listed = self.ai.HyperparameterTuningJob.list(filter='display_name="tuned"')
        assert [j.resource_name for j in listed] == [job.resource_name]
        job.delete()
        assert not self.ai.HyperparameterTuningJob.list(filter='display_name="tuned"')

    def algorithms(self):
        hpt = self.hpt
        grid = self.job("grid", {"a": hpt.IntegerParameterSpec(min=1, max=3, scale="linear"),
                                 "b": hpt.DiscreteParameterSpec(values=[0.5, 1], scale="linear")},
                        max_trial_count=10, parallel_trial_count=2, search_algorithm="grid", measurement_selection="best")
        grid.run(sync=True)
        got = {tuple(p.value for p in t.parameters) for t in grid.trials}
        assert got == {(a, b) for a in (1, 2, 3) for b in (0.5, 1)} and len(grid.trials) == 6, got
        rand = self.job("random", {"x": hpt.DoubleParameterSpec(min=0, max=1, scale="unspecified")},
                        max_trial_count=3, parallel_trial_count=3, search_algorithm="random")
        rand.run(sync=False)
        rand.wait_for_resource_creation()
        rand.wait()
        assert len(rand.trials) == 3

    def failed(self):
        job = self.job("failing", {"x": self.hpt.DoubleParameterSpec(min=0, max=1, scale="linear")},
                       labels={"cusp-test-exit": "3"}, max_trial_count=4, parallel_trial_count=1, max_failed_trial_count=2)
        try:
            job.run(sync=True)
        except RuntimeError as e:
            assert "Trial 2: " in str(e), e
        else:
            raise AssertionError("a failed tuning job did not raise")
        assert job.state.name == "JOB_STATE_FAILED" and [t.state.name for t in job.trials] == ["INFEASIBLE"] * 2
        assert all(t.infeasible_reason for t in job.trials)

    def cancelled(self):
        job = self.job("long", {"x": self.hpt.DoubleParameterSpec(min=0, max=1, scale="linear")},
                       labels={"cusp-test-run-ms": "60000"}, max_trial_count=4, parallel_trial_count=1)
        job.run(sync=False)
        job.wait_for_resource_creation()
        job.cancel()
        try:
            job.wait()
        except RuntimeError as e:
            assert "CANCELLED" in str(e) or "code: 1" in str(e).lower() or "CANCEL" in str(e), e
        again = self.ai.HyperparameterTuningJob.get(job.resource_name)
        assert again.state.name == "JOB_STATE_CANCELLED", again.state

    def refused(self):
        job = self.job("bad", {"x": self.hpt.DoubleParameterSpec(min=1, max=0, scale="linear")},
                       max_trial_count=4, parallel_trial_count=1)
        try:
            job.run(sync=True)
        except self.invalid as e:
            assert "study_spec.parameters[0].double_value_spec" in str(e) and "larger than" in str(e), e
        else:
            raise AssertionError("bounds reversed were accepted")


def main(protocol):
    cases = Cases(protocol)
    for name in ("run", "algorithms", "failed", "cancelled", "refused"):
        detail = ""
        try:
            getattr(cases, name)()
        except Exception as e:  # noqa: BLE001 - told to the test
            traceback.print_exc()
            detail = f"{type(e).__name__}: {e}"[:1000]
        RESULTS.write(json.dumps({"case": name, "ok": not detail, "detail": detail}) + "\n")


main(sys.argv[1])
