"""The cases through the high-level SDK: aiplatform.CustomJob and what it is built on."""
import time

from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform
from google.longrunning import operations_pb2

import connection as c

STATE = aiplatform.gapic.JobState
ENDED = (STATE.JOB_STATE_SUCCEEDED, STATE.JOB_STATE_FAILED, STATE.JOB_STATE_CANCELLED)


class Cases:
    def __init__(self, protocol, run):
        c.prepare(protocol)
        self.run, self.made = run, []
        self.invalid, self.precondition = c.kinds(protocol)
        aiplatform.init(project=c.PROJECT, location=c.LOCATION, staging_bucket=f"gs://{c.BUCKET}",
                        credentials=AnonymousCredentials(), api_endpoint=c.api_endpoint(protocol),
                        api_transport=protocol.removesuffix("-tls"))
        self.bucket = c.bucket()

    # ---- helpers
    def job(self, command="true", name="job", **labels):
        job = aiplatform.CustomJob(
            display_name=name,
            worker_pool_specs=[{
                "machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1,
                "container_spec": {"image_uri": c.IMAGE, "command": ["sh", "-c", command], "args": ["a b", "ü"],
                                   "env": [{"name": "GREETING", "value": "hallo"}]}}],
            base_output_dir=f"gs://{c.BUCKET}/{self.run}/{name}", labels={"conformance": self.run, **labels})
        self.made.append(job)
        return job

    def submitted(self, *args, **kwargs):
        job = self.job(*args, **kwargs)
        job.submit()
        return job

    def ended(self, job):
        c.wait_until(lambda: job.state in ENDED, f"the end of {job.resource_name}")
        return job

    def running(self, job):
        c.wait_until(lambda: job.state == STATE.JOB_STATE_RUNNING, f"{job.resource_name} to run")
        return job

    def names(self, expression):
        jobs = aiplatform.CustomJob.list(filter=f'labels.conformance="{self.run}" AND ({expression})')
        return sorted(j.display_name for j in jobs)

    # ---- cases
    def create(self):
        self.first = job = self.submitted(name="créé", team="vision")
        assert c.JOB_NAME.fullmatch(job.resource_name), job.resource_name
        got = job.gca_resource
        assert got.state in (STATE.JOB_STATE_PENDING, STATE.JOB_STATE_QUEUED), got.state
        assert job.display_name == "créé" and job.labels == {"conformance": self.run, "team": "vision"}
        assert abs(time.time() - job.create_time.timestamp()) < 60, job.create_time
        assert job.job_spec.base_output_directory.output_uri_prefix == f"gs://{c.BUCKET}/{self.run}/créé"
        pool = job.job_spec.worker_pool_specs[0]
        assert pool.container_spec.image_uri == c.IMAGE and pool.machine_spec.machine_type == "n1-standard-4"
        assert pool.replica_count == 1 and pool.disk_spec.boot_disk_size_gb == 100

    def get(self):
        job = self.ended(self.first)
        by_name, by_id = aiplatform.CustomJob.get(job.resource_name), aiplatform.CustomJob.get(job.name)
        assert by_name.to_dict() == by_id.to_dict() == job.to_dict()
        spec = by_id.job_spec.worker_pool_specs[0].container_spec
        assert list(spec.args) == ["a b", "ü"] and spec.env[0].value == "hallo"

    def list_paging(self):
        mine = [self.submitted(name=f"page-{i}", paging=self.run).resource_name for i in range(5)]
        query = f'labels.paging="{self.run}"'
        assert [j.resource_name for j in aiplatform.CustomJob.list(filter=query)] == mine[::-1]
        oldest_first = aiplatform.CustomJob.list(filter=query, order_by="create_time")
        assert [j.resource_name for j in oldest_first] == mine
        # CustomJob.list has no page size; the client under it has, and this is how the SDK's pager follows tokens.
        pager = aiplatform.CustomJob.get(mine[0]).api_client.list_custom_jobs(
            request={"parent": c.PARENT, "filter": query, "page_size": 2})
        pages = [[j.name for j in p.custom_jobs] for p in pager.pages]
        assert pages == [mine[4:2:-1], mine[2:0:-1], mine[:1]], pages

    def filter(self):
        a = self.ended(self.submitted(name="filter-a", tier="gold"))
        self.ended(self.submitted("exit 1", name="filter-b", tier="silver"))
        d = self.submitted(name="filter-c", tier="silver")
        since, until = (x.create_time.isoformat().replace("+00:00", "Z") for x in (a, d))
        for expression, want in (
                ('display_name="filter-a"', "a"), ('displayName="filter-a"', "a"), ('display_name:"filter-*"', "abc"),
                ('labels.tier="silver"', "bc"), ('labels.tier=gold OR display_name="filter-c"', "ac"),
                ('state="JOB_STATE_FAILED" AND labels.tier:*', "b"),
                ('labels.tier:* AND NOT labels.tier="gold"', "bc"),
                (f'create_time>="{since}" AND create_time<"{until}" AND labels:tier', "ab")):
            assert self.names(expression) == [f"filter-{x}" for x in want], (expression, self.names(expression))
        e = c.raises(self.invalid, self.names, "state = = 3")
        assert "filter" in e.message.lower(), e.message

    def cancel(self):
        job = self.running(self.submitted(c.SLEEP, name="cancel"))
        t0 = time.monotonic()
        job.cancel()
        took = time.monotonic() - t0
        assert self.ended(job).state == STATE.JOB_STATE_CANCELLED and job.error.code == 1, job.error
        job.cancel()
        assert job.state == STATE.JOB_STATE_CANCELLED
        return f"answered after {took * 1000:.0f} ms"

    def delete(self):
        job = self.ended(self.submitted(name="delete"))
        name = job.resource_name
        job.delete()
        c.raises(exceptions.NotFound, aiplatform.CustomJob.get, name)
        busy = self.running(self.submitted(c.SLEEP, name="delete-busy"))
        try:
            c.raises(self.precondition, busy.delete)
        finally:
            busy.cancel()

    def wait_real_job(self):
        job = self.job(c.RESULT_SCRIPT, name="real")
        t0 = time.monotonic()
        job.run()
        took = time.monotonic() - t0
        assert job.state == STATE.JOB_STATE_SUCCEEDED
        assert job.create_time <= job.start_time <= job.end_time
        assert self.bucket.blob(f"{self.run}/real/model/result").download_as_bytes() == b"42\n"
        return f"CustomJob.run() returned after {took:.2f} s"

    def failed_job(self):
        job = self.job("echo boom >&2; exit 3", name="failed")
        e = c.raises(RuntimeError, job.run)
        for words in ("Job failed with", "code: 3", "workerpool0-0", "non-zero status of 3", "boom"):
            assert words in str(e), (words, str(e))
        assert job.state == STATE.JOB_STATE_FAILED and job.error.code == 3
        return job.error.message.splitlines()[0]

    def error_mapping(self):
        e = c.raises(exceptions.NotFound, aiplatform.CustomJob.get, "1234567890123")
        assert "1234567890123" in e.message and e.code == 404
        bad = self.job(name="bad")
        bad._gca_resource.job_spec.worker_pool_specs[0].machine_spec.machine_type = "abacus"
        e = c.raises(self.invalid, bad.submit)
        assert c.violations(e) == ["job_spec.worker_pool_specs[0].machine_spec.machine_type"], e.details
        bad = self.job(name="bad", **{"Upper": "case"})
        e = c.raises(self.invalid, bad.run)
        assert any("labels" in f for f in c.violations(e)), (e.message, e.details)
        # The SDK knows the regions itself and refuses others before it asks; the client under it does not.
        client = self.first.api_client
        c.raises(self.invalid, client.list_custom_jobs, parent=f"projects/{c.PROJECT}/locations/mars-north1")
        c.raises(self.invalid, client.list_custom_jobs, request={"parent": c.PARENT, "page_token": "made-up"})

    def operations(self):
        job = self.ended(self.submitted(name="operations"))
        lro = job.api_client.delete_custom_job(name=job.resource_name)
        name = lro.operation.name
        assert lro.done() and lro.result(timeout=10) is not None
        ops = job.api_client.transport.operations_client
        assert ops.get_operation(name) == lro.operation
        assert name in [o.name for o in ops.list_operations(c.PARENT, "")]
        waited = c.operation(job.api_client.wait_operation(operations_pb2.WaitOperationRequest(name=name)))
        assert waited.done and waited.response.type_url.endswith("google.protobuf.Empty")
        # api-core's own REST transport cannot cancel where the rule has no body (KeyError); the client's mixin can.
        job.api_client.cancel_operation(operations_pb2.CancelOperationRequest(name=name))
        ops.delete_operation(name)
        c.raises(exceptions.NotFound, ops.get_operation, name)
        return name

    def clean_up(self):
        for job in self.made:
            try:
                if job.state not in ENDED:
                    job.cancel()
                    self.ended(job)
                job.delete()
            except (exceptions.GoogleAPICallError, RuntimeError, AssertionError):
                pass
