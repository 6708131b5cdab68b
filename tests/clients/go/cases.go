package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	pb "cloud.google.com/go/aiplatform/apiv1/aiplatformpb"
	"github.com/googleapis/gax-go/v2/apierror"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// run is what the cases of one run share.
type run struct {
	settings
	jobs
	id   string
	made []string // names, in order of creation
}

func newRun(s settings, c jobs) *run {
	b := make([]byte, 6)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program instead
	return &run{settings: s, jobs: c, id: "go-" + hex.EncodeToString(b)}
}

var cases = []struct {
	name string
	fn   func(context.Context, *run) (detail string, err error)
}{
	{"create", create}, {"get", get}, {"list_paging", listPaging}, {"filter", filter}, {"cancel", cancelJob},
	{"delete", deleteJob}, {"wait_real_job", waitRealJob}, {"failed_job", failedJob},
	{"error_mapping", errorMapping}, {"operations", operations},
}

// sleeper ends at once when it is told to stop; a bare sleep as process 1 would use up its grace period.
const sleeper = "trap 'exit 143' TERM; sleep 600 & wait"

// job is a CustomJob that runs a shell line; part tells the jobs of one case from the others.
func (r *run) job(part, shell string) *pb.CustomJob {
	return &pb.CustomJob{
		DisplayName: r.id + "-" + part,
		Labels:      map[string]string{"conformance": r.id, "part": part},
		JobSpec: &pb.CustomJobSpec{
			WorkerPoolSpecs: []*pb.WorkerPoolSpec{{
				MachineSpec:  &pb.MachineSpec{MachineType: "n1-standard-4"},
				ReplicaCount: 1,
				Task: &pb.WorkerPoolSpec_ContainerSpec{ContainerSpec: &pb.ContainerSpec{
					ImageUri: r.image, Command: []string{"sh", "-c", shell},
					Env: []*pb.EnvVar{{Name: "GREETING", Value: "grüß dich"}}}},
			}},
			Scheduling:          &pb.Scheduling{Timeout: durationpb.New(10 * time.Minute)},
			BaseOutputDirectory: &pb.GcsDestination{OutputUriPrefix: "gs://conformance/" + r.id + "/" + part},
		},
	}
}

func (r *run) create(ctx context.Context, part, shell string) (*pb.CustomJob, error) {
	job, err := r.Create(ctx, r.parent(), r.job(part, shell))
	if err == nil {
		r.made = append(r.made, job.Name)
	}
	return job, err
}

func ended(s pb.JobState) bool {
	return s == pb.JobState_JOB_STATE_SUCCEEDED || s == pb.JobState_JOB_STATE_FAILED ||
		s == pb.JobState_JOB_STATE_CANCELLED
}

// until polls a job, as users of this client do: it has no waiting of its own for jobs.
func (r *run) until(ctx context.Context, name string, is func(pb.JobState) bool) (*pb.CustomJob, error) {
	for {
		job, err := r.Get(ctx, name)
		if err != nil {
			return nil, err
		}
		if is(job.State) {
			return job, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s is still %s: %w", name, job.State, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (r *run) finished(ctx context.Context, part, shell string) (*pb.CustomJob, error) {
	job, err := r.create(ctx, part, shell)
	if err != nil {
		return nil, err
	}
	return r.until(ctx, job.Name, ended)
}

func (r *run) clean(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, name := range r.made {
		_ = r.Cancel(ctx, name)
	}
	for _, name := range r.made {
		if _, err := r.until(ctx, name, ended); err == nil {
			_, _ = r.Delete(ctx, name)
		}
	}
}

// refused checks an error of the client: its own type, the code, and a word of the message.
func refused(err error, want codes.Code, http int, word string) (*apierror.APIError, error) {
	var api *apierror.APIError
	if !errors.As(err, &api) {
		return nil, fmt.Errorf("want apierror %s, got %T: %v", want, err, err)
	}
	// Over REST the client keeps the HTTP status and guesses the other from it.
	if over := api.HTTPCode(); over != http && (over != -1 || api.GRPCStatus().Code() != want) {
		return nil, fmt.Errorf("want %s (HTTP %d), got %v", want, http, err)
	}
	if !strings.Contains(err.Error(), word) {
		return nil, fmt.Errorf("want %q in the message %q", word, err)
	}
	return api, nil
}

var fullName = regexp.MustCompile(`^projects/\d+/locations/[a-z0-9-]+/customJobs/\d+$`)

func create(ctx context.Context, r *run) (string, error) {
	sent := r.job("create", "true")
	job, err := r.create(ctx, "create", "true")
	if err != nil {
		return "", err
	}
	if !fullName.MatchString(job.Name) {
		return "", fmt.Errorf("name %q is not the full name with the project number", job.Name)
	}
	if job.State != pb.JobState_JOB_STATE_PENDING && job.State != pb.JobState_JOB_STATE_QUEUED {
		return "", fmt.Errorf("a new job is %s", job.State)
	}
	if age := time.Since(job.CreateTime.AsTime()).Abs(); !job.CreateTime.IsValid() || age > time.Hour {
		return "", fmt.Errorf("create time is %v", job.CreateTime)
	}
	return job.State.String(), echoed(sent, job)
}

// echoed says whether what was sent is in what came back.
func echoed(sent, got *pb.CustomJob) error {
	a, b := sent.JobSpec.WorkerPoolSpecs[0], got.GetJobSpec().GetWorkerPoolSpecs()
	switch {
	case got.DisplayName != sent.DisplayName, got.Labels["part"] != sent.Labels["part"], len(b) != 1,
		!proto.Equal(a.GetContainerSpec(), b[0].GetContainerSpec()), b[0].ReplicaCount != 1,
		b[0].MachineSpec.GetMachineType() != "n1-standard-4",
		got.JobSpec.Scheduling.GetTimeout().AsDuration() != 10*time.Minute,
		got.JobSpec.BaseOutputDirectory.GetOutputUriPrefix() != sent.JobSpec.BaseOutputDirectory.OutputUriPrefix:
		return fmt.Errorf("sent %v, got %v", sent, got)
	}
	return nil
}

func get(ctx context.Context, r *run) (string, error) {
	job, err := r.finished(ctx, "get", "true")
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(strings.TrimPrefix(job.Name, "projects/"), "/")
	byID, err := r.Get(ctx, "projects/"+r.project+"/"+rest)
	if err != nil {
		return "", err
	}
	if !proto.Equal(job, byID) {
		return "", fmt.Errorf("by number %v, by id %v", job, byID)
	}
	return "", echoed(r.job("get", "true"), job)
}

func names(items []*pb.CustomJob) []string {
	out := make([]string, len(items))
	for i, j := range items {
		out[i] = j.Name
	}
	return out
}

func listPaging(ctx context.Context, r *run) (string, error) {
	var want []string
	for range 5 {
		job, err := r.create(ctx, "paging", "true")
		if err != nil {
			return "", err
		}
		want = append([]string{job.Name}, want...) // newest first
	}
	got, sizes, err := r.List(ctx, r.parent(), "labels.conformance="+r.id+" AND labels.part=paging", 2)
	if err != nil {
		return "", err
	}
	if !slices.Equal(names(got), want) || !slices.Equal(sizes, []int{2, 2, 1}) {
		return "", fmt.Errorf("want %v, got pages %v of %v", want, sizes, names(got))
	}
	return "pages 2, 2, 1", nil
}

func filter(ctx context.Context, r *run) (string, error) {
	good, err := r.finished(ctx, "filter-a", "true")
	if err != nil {
		return "", err
	}
	bad, err := r.finished(ctx, "filter-b", "exit 1")
	if err != nil {
		return "", err
	}
	mine := "labels.conformance=" + r.id + " AND "
	at := func(j *pb.CustomJob) string { return `"` + j.CreateTime.AsTime().Format(time.RFC3339Nano) + `"` }
	for _, c := range []struct {
		filter string
		want   []*pb.CustomJob
	}{
		{`display_name="` + good.DisplayName + `"`, []*pb.CustomJob{good}},
		{mine + "labels.part=filter-b", []*pb.CustomJob{bad}},
		{mine + `labels.part:"filter-*" AND (state="JOB_STATE_SUCCEEDED" OR state="JOB_STATE_FAILED")`, []*pb.CustomJob{bad, good}},
		{mine + `labels.part:"filter-*" AND NOT state="JOB_STATE_FAILED"`, []*pb.CustomJob{good}},
		{mine + "create_time>=" + at(good) + " AND create_time<=" + at(bad), []*pb.CustomJob{bad, good}},
		{mine + "create_time>" + at(bad), nil},
	} {
		got, _, err := r.List(ctx, r.parent(), c.filter, 100)
		if err != nil {
			return "", fmt.Errorf("%s: %w", c.filter, err)
		}
		if !slices.Equal(names(got), names(c.want)) {
			return "", fmt.Errorf("%s: want %v, got %v", c.filter, names(c.want), names(got))
		}
	}
	_, _, err = r.List(ctx, r.parent(), "state=", 100)
	_, err = refused(err, codes.InvalidArgument, 400, "filter")
	return "", err
}

func cancelJob(ctx context.Context, r *run) (string, error) {
	job, err := r.create(ctx, "cancel", sleeper)
	if err != nil {
		return "", err
	}
	running := func(s pb.JobState) bool { return s == pb.JobState_JOB_STATE_RUNNING || ended(s) }
	if job, err = r.until(ctx, job.Name, running); err != nil {
		return "", err
	}
	if err = r.Cancel(ctx, job.Name); err != nil {
		return "", err
	}
	if job, err = r.until(ctx, job.Name, ended); err != nil {
		return "", err
	}
	if job.State != pb.JobState_JOB_STATE_CANCELLED || !job.EndTime.IsValid() ||
		job.Error.GetCode() != int32(code.Code_CANCELLED) {
		return "", fmt.Errorf("after cancel: %s %v", job.State, job.Error)
	}
	if err = r.Cancel(ctx, job.Name); err != nil {
		return "", fmt.Errorf("the second cancel: %w", err)
	}
	return "", nil
}

func deleteJob(ctx context.Context, r *run) (string, error) {
	running, err := r.create(ctx, "delete-running", sleeper)
	if err != nil {
		return "", err
	}
	_, err = r.Delete(ctx, running.Name)
	if _, err = refused(err, codes.FailedPrecondition, 400, "state"); err != nil {
		return "", err
	}
	if err = r.Cancel(ctx, running.Name); err != nil { // it holds the machine that the next one needs
		return "", err
	}
	job, err := r.finished(ctx, "delete", "true")
	if err != nil {
		return "", err
	}
	op, err := r.Delete(ctx, job.Name)
	if err != nil {
		return "", err
	}
	if err = op.Wait(ctx); err != nil { // fails when the response is no google.protobuf.Empty
		return "", err
	}
	if !op.Done() {
		return "", fmt.Errorf("%s is not done after Wait", op.Name())
	}
	_, err = r.Get(ctx, job.Name)
	_, err = refused(err, codes.NotFound, 404, job.Name[strings.LastIndex(job.Name, "/")+1:])
	return "", err
}

func waitRealJob(ctx context.Context, r *run) (string, error) {
	began := time.Now()
	// The output folder is a bucket mounted under /gcs; AIP_MODEL_DIR names it as gs://.
	job, err := r.finished(ctx, "wait", `d=/gcs/${AIP_MODEL_DIR#gs://}; mkdir -p "$d" && echo 42 >"$d/answer" && cat "$d/answer"`)
	if err != nil {
		return "", err
	}
	if job.State != pb.JobState_JOB_STATE_SUCCEEDED || job.Error != nil {
		return "", fmt.Errorf("%s: %v", job.State, job.Error)
	}
	start, end := job.StartTime.AsTime(), job.EndTime.AsTime()
	if start.Before(job.CreateTime.AsTime()) || end.Before(start) || !job.EndTime.IsValid() {
		return "", fmt.Errorf("times: created %v, started %v, ended %v", job.CreateTime, job.StartTime, job.EndTime)
	}
	return fmt.Sprintf("%d ms from create to the end seen", time.Since(began).Milliseconds()), nil
}

func failedJob(ctx context.Context, r *run) (string, error) {
	job, err := r.finished(ctx, "failed", "echo boom >&2; exit 3")
	if err != nil {
		return "", err
	}
	msg := job.Error.GetMessage()
	if job.State != pb.JobState_JOB_STATE_FAILED || job.Error.GetCode() == 0 ||
		!strings.Contains(msg, "workerpool0-0") || !strings.Contains(msg, "status of 3") {
		return "", fmt.Errorf("%s: %v", job.State, job.Error)
	}
	return "", nil
}

func errorMapping(ctx context.Context, r *run) (string, error) {
	_, err := r.Get(ctx, r.parent()+"/customJobs/404404404404404404")
	if _, err = refused(err, codes.NotFound, 404, "404404404404404404"); err != nil {
		return "", err
	}
	empty := r.job("empty", "true")
	empty.JobSpec.WorkerPoolSpecs = nil
	_, err = r.Create(ctx, r.parent(), empty)
	api, err := refused(err, codes.InvalidArgument, 400, "worker_pool_specs")
	if err != nil {
		return "", err
	}
	violations := api.Details().BadRequest.GetFieldViolations()
	if len(violations) != 1 || violations[0].Field != "job_spec.worker_pool_specs" {
		return "", fmt.Errorf("BadRequest in the details: %v", violations)
	}
	_, err = r.Create(ctx, "projects/"+r.project+"/locations/nowhere", r.job("nowhere", "true"))
	_, err = refused(err, codes.InvalidArgument, 400, "nowhere")
	return violations[0].Field, err
}

func operations(ctx context.Context, r *run) (string, error) {
	job, err := r.finished(ctx, "operations", "true")
	if err != nil {
		return "", err
	}
	del, err := r.Delete(ctx, job.Name)
	if err != nil {
		return "", err
	}
	if created, err := del.MetadataCreated(); err != nil || !created {
		return "", fmt.Errorf("metadata of %s: create time %v, %v", del.Name(), created, err)
	}
	op, err := r.GetOperation(ctx, del.Name())
	if err != nil {
		return "", err
	}
	if !op.Done || !op.GetResponse().MessageIs(&emptypb.Empty{}) {
		return "", fmt.Errorf("operation %v", op)
	}
	waited, err := r.WaitOperation(ctx, op.Name)
	if err != nil {
		return "", fmt.Errorf("wait: %w", err)
	}
	if !proto.Equal(waited, op) {
		return "", fmt.Errorf("wait says %v, get says %v", waited, op)
	}
	listed, err := r.ListOperations(ctx, r.parent())
	if err != nil {
		return "", fmt.Errorf("list: %w", err)
	}
	found := false
	for _, o := range listed {
		// Not the metadata: a list under /ui/ names no version, so its types are v1's whoever asks.
		found = found || o.Name == op.Name && o.Done && proto.Equal(o.GetResponse(), op.GetResponse())
	}
	if !found {
		return "", fmt.Errorf("%s is not in the list of %d", op.Name, len(listed))
	}
	if err = r.CancelOperation(ctx, op.Name); err != nil {
		return "", fmt.Errorf("cancel of a finished operation: %w", err)
	}
	if err = r.DeleteOperation(ctx, op.Name); err != nil {
		return "", fmt.Errorf("delete: %w", err)
	}
	_, err = r.GetOperation(ctx, op.Name)
	_, err = refused(err, codes.NotFound, 404, "")
	return fmt.Sprintf("%d listed", len(listed)), err
}
