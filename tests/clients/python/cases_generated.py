"""The cases through google.cloud.aiplatform_v1.JobServiceClient."""
import datetime
import time

from google.api_core import exceptions
from google.cloud.aiplatform_v1 import types
from google.longrunning import operations_pb2

import connection as c

STATE = types.JobState
ENDED = (STATE.JOB_STATE_SUCCEEDED, STATE.JOB_STATE_FAILED, STATE.JOB_STATE_CANCELLED)


class Cases:
    def __init__(self, protocol, run):
        c.prepare(protocol)
        self.protocol, self.run, self.made = protocol, run, []
        self.client = c.job_client(protocol)
        self.invalid, self.precondition = c.kinds(protocol)
        self.bucket = c.bucket()

    # ---- helpers
    def message(self, command, name, **labels):
        return {
            "display_name": name,
            "labels": {"conformance": self.run, **labels},
            "job_spec": {
                "worker_pool_specs": [{
                    "machine_spec": {"machine_type": "n1-standard-4"},
                    "replica_count": 1,
                    "container_spec": {"image_uri": c.IMAGE, "command": ["sh", "-c", command], "args": ["a b", "ü"],
                                       "env": [{"name": "GREETING", "value": "hallo"}]},
                }],
                "base_output_directory": {"output_uri_prefix": f"gs://{c.BUCKET}/{self.run}/{name}"},
            },
        }

    def create_job(self, command="true", name="job", **labels):
        job = self.client.create_custom_job(parent=c.PARENT, custom_job=self.message(command, name, **labels))
        self.made.append(job.name)
        return job

    def state(self, job):
        return self.client.get_custom_job(name=job.name).state

    def ended(self, job):
        c.wait_until(lambda: self.state(job) in ENDED, f"the end of {job.name}")
        return self.client.get_custom_job(name=job.name)

    def running(self, job):
        c.wait_until(lambda: self.state(job) == STATE.JOB_STATE_RUNNING, f"{job.name} to run")
        return job

    def names(self, expression):
        request = {"parent": c.PARENT, "filter": f'labels.conformance="{self.run}" AND ({expression})'}
        return sorted(j.display_name for j in self.client.list_custom_jobs(request=request))

    # ---- cases
    def create(self):
        sent = types.CustomJob(self.message("true", "créé", team="vision"))
        self.first = job = self.client.create_custom_job(parent=c.PARENT, custom_job=sent)
        self.made.append(job.name)
        assert c.JOB_NAME.fullmatch(job.name), job.name
        assert job.state in (STATE.JOB_STATE_PENDING, STATE.JOB_STATE_QUEUED), job.state
        age = datetime.datetime.now(datetime.timezone.utc) - job.create_time
        assert abs(age.total_seconds()) < 60, job.create_time
        assert job.display_name == sent.display_name and dict(job.labels) == dict(sent.labels)
        assert job.job_spec.base_output_directory == sent.job_spec.base_output_directory
        got, want = job.job_spec.worker_pool_specs[0], sent.job_spec.worker_pool_specs[0]
        assert got.container_spec == want.container_spec and got.machine_spec == want.machine_spec
        assert got.replica_count == 1 and got.disk_spec.boot_disk_type == "pd-ssd" and got.disk_spec.boot_disk_size_gb == 100

    def get(self):
        job = self.ended(self.first)
        alias = f"{c.PARENT}/customJobs/{job.name.rsplit('/', 1)[1]}"
        assert self.client.get_custom_job(name=alias) == job
        spec = job.job_spec.worker_pool_specs[0].container_spec
        assert list(spec.args) == ["a b", "ü"] and spec.env[0].value == "hallo"

    def list_paging(self):
        mine = [self.create_job(name=f"page-{i}", paging=self.run) for i in range(5)]
        pager = self.client.list_custom_jobs(
            request={"parent": c.PARENT, "filter": f'labels.paging="{self.run}"', "page_size": 2})
        pages = [list(p.custom_jobs) for p in pager.pages]
        assert [len(p) for p in pages] == [2, 2, 1], [len(p) for p in pages]
        assert [j.name for p in pages for j in p] == [j.name for j in reversed(mine)]
        again = self.client.list_custom_jobs(
            request={"parent": c.PARENT, "filter": f'labels.paging="{self.run}"', "page_size": 3})
        assert [j.name for j in again] == [j.name for j in reversed(mine)]

    def filter(self):
        a = self.ended(self.create_job(name="filter-a", tier="gold"))
        b = self.ended(self.create_job("exit 1", name="filter-b", tier="silver"))
        d = self.create_job(name="filter-c", tier="silver")
        since, until = (x.create_time.isoformat().replace("+00:00", "Z") for x in (a, d))
        for expression, want in (
                ('display_name="filter-a"', "a"), ('displayName="filter-a"', "a"), ('display_name:"filter-*"', "abc"),
                ('labels.tier="silver"', "bc"), ('labels.tier=gold OR display_name="filter-c"', "ac"),
                ('state="JOB_STATE_FAILED" AND labels.tier:*', "b"),
                ('labels.tier:* AND NOT labels.tier="gold"', "bc"),
                ('(state="JOB_STATE_SUCCEEDED" OR state="JOB_STATE_FAILED") AND display_name!="filter-c" AND labels:tier', "ab"),
                (f'create_time>="{since}" AND create_time<"{until}" AND labels:tier', "ab")):
            assert self.names(expression) == [f"filter-{x}" for x in want], (expression, self.names(expression))
        e = c.raises(self.invalid, self.names, "state = = 3")
        assert "filter" in e.message.lower(), e.message
        assert b.error.code

    def cancel(self):
        job = self.running(self.create_job(c.SLEEP, name="cancel"))
        t0 = time.monotonic()
        assert self.client.cancel_custom_job(name=job.name) is None
        took = time.monotonic() - t0
        job = self.ended(job)
        assert job.state == STATE.JOB_STATE_CANCELLED and job.error.code == 1, (job.state, job.error)
        self.client.cancel_custom_job(name=job.name)
        assert self.state(job) == STATE.JOB_STATE_CANCELLED
        return f"answered after {took * 1000:.0f} ms"

    def delete(self):
        job = self.ended(self.create_job(name="delete"))
        lro = self.client.delete_custom_job(name=job.name)
        assert lro.done() and lro.operation.response.type_url == "type.googleapis.com/google.protobuf.Empty", lro.operation
        assert lro.result(timeout=10) is not None
        assert type(lro.metadata).__name__ == "DeleteOperationMetadata", lro.metadata
        c.raises(exceptions.NotFound, self.client.get_custom_job, name=job.name)
        busy = self.running(self.create_job(c.SLEEP, name="delete-busy"))
        try:
            c.raises(self.precondition, self.client.delete_custom_job, name=busy.name)
        finally:
            self.client.cancel_custom_job(name=busy.name)

    def wait_real_job(self):
        t0 = time.monotonic()
        job = self.ended(self.create_job(c.RESULT_SCRIPT, name="real"))
        took = time.monotonic() - t0
        assert job.state == STATE.JOB_STATE_SUCCEEDED, job.error
        assert job.create_time <= job.start_time <= job.end_time
        assert self.bucket.blob(f"{self.run}/real/model/result").download_as_bytes() == b"42\n"
        return f"{took:.2f} s from create to SUCCEEDED"

    def failed_job(self):
        job = self.ended(self.create_job("echo boom >&2; exit 3", name="failed"))
        assert job.state == STATE.JOB_STATE_FAILED and job.error.code == 3, job
        assert "workerpool0-0" in job.error.message and "non-zero status of 3" in job.error.message, job.error
        assert "boom" in job.error.message
        return job.error.message.splitlines()[0]

    def error_mapping(self):
        e = c.raises(exceptions.NotFound, self.client.get_custom_job, name=f"{c.PARENT}/customJobs/1234567890123")
        assert "1234567890123" in e.message and e.code == 404
        bad = self.message("true", "bad")
        bad["job_spec"]["worker_pool_specs"] = []
        e = c.raises(self.invalid, self.client.create_custom_job, parent=c.PARENT, custom_job=bad)
        assert c.violations(e) == ["job_spec.worker_pool_specs"], (e.message, e.details)
        bad = self.message("true", "")
        bad["job_spec"]["worker_pool_specs"][0]["machine_spec"]["machine_type"] = "abacus"
        e = c.raises(self.invalid, self.client.create_custom_job, parent=c.PARENT, custom_job=bad)
        assert set(c.violations(e)) == {"display_name", "job_spec.worker_pool_specs[0].machine_spec.machine_type"}, e.details
        for parent in (f"projects/{c.PROJECT}/locations/mars-north1", "projects/-/locations/us-central1"):
            c.raises(self.invalid, self.client.create_custom_job, parent=parent,
                     custom_job=self.message("true", "bad"))
        c.raises(self.invalid, self.client.list_custom_jobs,
                 request={"parent": c.PARENT, "page_token": "made-up"})

    def operations(self):
        job = self.ended(self.create_job(name="operations"))
        op = self.client.delete_custom_job(name=job.name).operation
        got = self.client.get_operation(operations_pb2.GetOperationRequest(name=op.name))
        assert got == op and got.done, (got, op)
        assert self.client.transport.operations_client.get_operation(op.name) == op
        listed = self.client.list_operations(operations_pb2.ListOperationsRequest(name=c.PARENT))
        assert op.name in [o.name for o in listed.operations], listed
        waited = c.operation(self.client.wait_operation(operations_pb2.WaitOperationRequest(name=op.name)))
        assert waited.done and waited.response.type_url.endswith("google.protobuf.Empty"), waited
        self.client.cancel_operation(operations_pb2.CancelOperationRequest(name=op.name))
        self.client.delete_operation(operations_pb2.DeleteOperationRequest(name=op.name))
        c.raises(exceptions.NotFound, self.client.get_operation, operations_pb2.GetOperationRequest(name=op.name))
        return op.name

    def clean_up(self):
        for name in self.made:
            try:
                job = self.client.get_custom_job(name=name)
                if job.state not in ENDED:
                    self.client.cancel_custom_job(name=name)
                    self.ended(job)
                self.client.delete_custom_job(name=name)
            except (exceptions.GoogleAPICallError, AssertionError):
                pass
