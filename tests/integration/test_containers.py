"""Real containers: what user code sees, how jobs fail, what is left behind."""
import os

import pytest

from conftest import TERMINAL, cgroups_of, container_job, needs_root, runners, wait_until

pytestmark = needs_root


def run(server, *command, **extra):
    job = server.wait(server.create(container_job(*command, **extra))["name"])
    return job, {x["message"] for x in server.logs(job["name"], task="workerpool0-0")}


def test_environment_contract_hostname_and_gcs(local):
    s = local()
    assert s.call("POST", "/storage/v1/b?project=demo", {"name": "bkt"}).status_code == 200
    job = s.wait(s.create(container_job(
        "sh", "-c", "env; hostname; echo from-job > /gcs/bkt/dir-made-by-job.txt; cat /etc/hosts; df /dev/shm; id -u",
        baseOutputDirectory={"outputUriPrefix": "gs://bkt/out"}))["name"])
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    out = [x["message"] for x in s.logs(job["name"], task="workerpool0-0")]
    number, job_id = job["name"].split("/")[1], job["name"].split("/")[-1]
    for line in (f"CLOUD_ML_PROJECT_ID={number}", f"CLOUD_ML_JOB_ID={job_id}", "CLOUD_ML_REGION=us-central1",
                 "AIP_MODEL_DIR=gs://bkt/out/model/", "AIP_CHECKPOINT_DIR=gs://bkt/out/checkpoints/",
                 "AIP_TENSORBOARD_LOG_DIR=gs://bkt/out/logs/", "0"):
        assert line in out, (line, out)
    assert any(x.startswith('CLUSTER_SPEC={"cluster"') and '"type":"workerpool0"' in x.replace(" ", "") for x in out)
    assert not any(x.startswith(("TF_CONFIG=", "RANK=", "WORLD_SIZE=")) for x in out)
    assert any(x.startswith("cmle-training-workerpool0-") for x in out)
    obj = s.call("GET", "/storage/v1/b/bkt/o/dir-made-by-job.txt?alt=media")
    assert obj.status_code == 200 and obj.text == "from-job\n"
    s.stop()


def test_command_args_and_expansion(local):
    s = local()
    job = container_job("echo", args=["$(CLOUD_ML_REGION)", "$(NOPE)", "$$(CLOUD_ML_REGION)", "$(MINE)"])
    job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["env"] = [{"name": "MINE", "value": "a-$(CLOUD_ML_REGION)"}]
    done = s.wait(s.create(job)["name"])
    lines = [x["message"] for x in s.logs(done["name"], task="workerpool0-0")]
    assert lines == ["us-central1 $(NOPE) $(CLOUD_ML_REGION) a-us-central1"]
    s.stop()


def test_failures_say_why(local):
    s = local()
    job, _ = run(s, "sh", "-c", "for i in $(seq 30); do echo line-$i >&2; done; exit 7")
    assert job["state"] == "JOB_STATE_FAILED" and job["error"]["code"] == 3
    msg = job["error"]["message"]
    assert msg.startswith("The replica workerpool0-0 exited with a non-zero status of 7. Termination reason: Error.")
    assert "line-30" in msg and "line-11" in msg and "line-10\n" not in msg
    job, _ = run(s, "no-such-program")
    assert job["state"] == "JOB_STATE_FAILED" and "no-such-program" in job["error"]["message"]
    missing = s.wait(s.create(container_job("true", image="no/such:image"))["name"])
    assert missing["state"] == "JOB_STATE_FAILED" and "no/such:image" in missing["error"]["message"]
    service = [x for x in s.logs(missing["name"]) if x["task"] == "service"]
    assert any(x["severity"] == "ERROR" for x in service)
    s.stop()


def test_out_of_memory_names_limit_and_peak(local):
    s = local("--mem-mb=96")
    job, _ = run(s, "sh", "-c", "dd if=/dev/zero of=/dev/null bs=400M count=1")
    assert job["state"] == "JOB_STATE_FAILED" and job["error"]["code"] == 8, job
    assert "ran out of memory" in job["error"]["message"]
    s.stop()


def test_timeout_fails_with_deadline(local):
    s = local("--stop-grace-s=1")
    job = s.wait(s.create(container_job("sleep", "60", scheduling={"timeout": "1s"}))["name"], 30)
    assert job["state"] == "JOB_STATE_FAILED" and job["error"]["code"] == 4
    assert "scheduling.timeout of 1s and was stopped.\n" in job["error"]["message"]
    assert f"cusp custom-jobs stream-logs {job['name'].split('/')[-1]}" in job["error"]["message"]
    s.stop()


def test_machine_larger_than_the_host_is_clamped_with_a_warning(local):
    s = local()
    body = container_job("true")
    body["jobSpec"]["workerPoolSpecs"][0]["machineSpec"]["machineType"] = "n1-highmem-96"
    job = s.wait(s.create(body)["name"])
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert any(x["severity"] == "WARNING" and "n1-highmem-96" in x["message"] for x in s.logs(job["name"]))
    s.stop()


def test_strict_mode_refuses_what_does_not_fit(local):
    s = local("--strict-machines")
    body = container_job("true")
    body["jobSpec"]["workerPoolSpecs"][0]["machineSpec"]["machineType"] = "n1-highmem-96"
    r = s.call("POST", "/v1/projects/demo/locations/us-central1/customJobs", body)
    assert r.status_code in (400, 429) and "n1-highmem-96" in r.json()["error"]["message"]
    s.stop()


def test_cancel_stops_the_container_and_leaves_nothing(local):
    s = local("--stop-grace-s=1")
    name = s.create(container_job("sh", "-c", "trap '' TERM; echo up; sleep 1000 & wait; wait"))["name"]
    s.wait_state(name, "JOB_STATE_RUNNING")
    s.call("POST", f"/v1/{name}:cancel", {})
    job = s.wait(name)
    assert job["state"] == "JOB_STATE_CANCELLED"
    clean(s, name)
    s.stop()


def clean(s, name):
    job_id = name.split("/")[-1]
    wait_until(lambda: not runners(s.data_dir), 20, "runners to go")
    wait_until(lambda: not cgroups_of(job_id), 20, "cgroups to go")
    assert s.data_dir not in open("/proc/mounts").read()


def test_nothing_is_left_after_success(local):
    s = local()
    job, out = run(s, "echo", "hello")
    assert "hello" in out
    clean(s, job["name"])
    assert not os.path.exists(os.path.join(s.data_dir, "run", job["name"].split("/")[-1])) or wait_until(
        lambda: not os.path.exists(os.path.join(s.data_dir, "run", job["name"].split("/")[-1])), 20, "run directory")
    s.stop()


def test_two_runtimes(make_server, busybox_image):
    from conftest import import_busybox
    for runtime in ("runc", "crun"):
        s = make_server("--engine=local", f"--runtime={runtime}", name=f"data-{runtime}").start()
        import_busybox(s, busybox_image)
        job, out = run(s, "echo", runtime)
        assert job["state"] == "JOB_STATE_SUCCEEDED" and runtime in out, job
        s.stop()


@pytest.mark.parametrize("hit", [1, 2])
def test_running_out_of_descriptors_loses_no_job(local, hit):
    """A server with too many connections cannot look into a run directory: it looks again."""
    s = local(env={"CUSP_FAILPOINTS": f"engine.look.before_open=errno:EMFILE@{hit}"})
    job = s.wait(s.create(container_job("true"))["name"])
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    assert [e["type"] for e in s.events(job["name"])["events"]].count("LAUNCH_INTENT") == 1
    s.stop()


def test_first_line_arrives_while_the_job_runs(local):
    s = local()
    name = s.create(container_job("sh", "-c", "echo first; sleep 30"))["name"]
    r = s.http.get(f"{s.url}/cusp/v1/{name}:streamLogs?follow=true&task=workerpool0-0", stream=True, timeout=60)
    line = next(r.iter_lines(chunk_size=1))
    assert b'"first"' in line
    assert s.get(name)["state"] not in TERMINAL
    r.close()
    s.call("POST", f"/v1/{name}:cancel", {})
    s.wait(name)
    s.stop()


def test_large_output_is_complete_and_in_order(local):
    s = local()
    job = s.wait(s.create(container_job("seq", "200000"))["name"])
    lines = [x["message"] for x in s.logs(job["name"], task="workerpool0-0")]
    assert lines == [str(i) for i in range(1, 200001)]
    s.stop()


@pytest.mark.parametrize("pkg,says", [("gs://nobucket/p.tar.gz", "nobucket"), ("gs://bkt/none.tar.gz", "none.tar.gz")])
def test_package_that_does_not_exist(local, pkg, says):
    s = local()
    s.call("POST", "/storage/v1/b?project=demo", {"name": "bkt"})
    body = container_job("true")
    pool = body["jobSpec"]["workerPoolSpecs"][0]
    del pool["containerSpec"]
    pool["pythonPackageSpec"] = {"executorImageUri": "busybox", "packageUris": [pkg], "pythonModule": "m.task"}
    job = s.wait(s.create(body)["name"])
    assert job["state"] == "JOB_STATE_FAILED" and says in job["error"]["message"], job
    s.stop()
