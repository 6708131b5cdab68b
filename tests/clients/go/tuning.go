package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	aiplatform "cloud.google.com/go/aiplatform/apiv1"
	pb "cloud.google.com/go/aiplatform/apiv1/aiplatformpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

var tuningName = regexp.MustCompile(`^projects/\d+/locations/[a-z0-9-]+/hyperparameterTuningJobs/\d+$`)

func between(id string, low, high float64) *pb.StudySpec_ParameterSpec {
	return &pb.StudySpec_ParameterSpec{ParameterId: id, ParameterValueSpec: &pb.StudySpec_ParameterSpec_DoubleValueSpec_{
		DoubleValueSpec: &pb.StudySpec_ParameterSpec_DoubleValueSpec{MinValue: low, MaxValue: high}}}
}

// tuning is the body of the documentation's samples.
func (s settings) tuning() *pb.HyperparameterTuningJob {
	lr := between("lr", 1e-5, 0.1)
	lr.ScaleType = pb.StudySpec_ParameterSpec_UNIT_LOG_SCALE
	layers := &pb.StudySpec_ParameterSpec{ParameterId: "layers",
		ParameterValueSpec: &pb.StudySpec_ParameterSpec_IntegerValueSpec_{
			IntegerValueSpec: &pb.StudySpec_ParameterSpec_IntegerValueSpec{MinValue: 1, MaxValue: 4}}}
	batch := &pb.StudySpec_ParameterSpec{ParameterId: "batch",
		ParameterValueSpec: &pb.StudySpec_ParameterSpec_DiscreteValueSpec_{
			DiscreteValueSpec: &pb.StudySpec_ParameterSpec_DiscreteValueSpec{Values: []float64{16, 32, 64}}}}
	opt := &pb.StudySpec_ParameterSpec{ParameterId: "opt",
		ParameterValueSpec: &pb.StudySpec_ParameterSpec_CategoricalValueSpec_{
			CategoricalValueSpec: &pb.StudySpec_ParameterSpec_CategoricalValueSpec{Values: []string{"sgd", "adam"}}},
		ConditionalParameterSpecs: []*pb.StudySpec_ParameterSpec_ConditionalParameterSpec{{
			ParameterSpec: between("momentum", 0, 0.99),
			ParentValueCondition: &pb.StudySpec_ParameterSpec_ConditionalParameterSpec_ParentCategoricalValues{
				ParentCategoricalValues: &pb.StudySpec_ParameterSpec_ConditionalParameterSpec_CategoricalValueCondition{
					Values: []string{"sgd"}}}}}}
	return &pb.HyperparameterTuningJob{
		DisplayName: "go", MaxTrialCount: 6, ParallelTrialCount: 2, MaxFailedTrialCount: 3,
		Labels: map[string]string{"by": "go", "cusp-test-metric": "val_loss"},
		StudySpec: &pb.StudySpec{
			Metrics:    []*pb.StudySpec_MetricSpec{{MetricId: "val_loss", Goal: pb.StudySpec_MetricSpec_MINIMIZE}},
			Parameters: []*pb.StudySpec_ParameterSpec{lr, layers, batch, opt}},
		TrialJobSpec: &pb.CustomJobSpec{WorkerPoolSpecs: []*pb.WorkerPoolSpec{{
			ReplicaCount: 1, MachineSpec: &pb.MachineSpec{MachineType: "n1-standard-4"},
			Task: &pb.WorkerPoolSpec_ContainerSpec{ContainerSpec: &pb.ContainerSpec{
				ImageUri: s.image, Command: []string{"true"}, Args: []string{"--epochs=3"}}}}}},
	}
}

func tuned(ctx context.Context, c *aiplatform.JobClient, name string) (*pb.HyperparameterTuningJob, error) {
	for {
		j, err := c.GetHyperparameterTuningJob(ctx, &pb.GetHyperparameterTuningJobRequest{Name: name})
		if err != nil || ended(j.State) {
			return j, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s is still %s: %w", name, j.State, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func checkTrials(j *pb.HyperparameterTuningJob) error {
	if j.State != pb.JobState_JOB_STATE_SUCCEEDED || j.Error != nil || len(j.Trials) != 6 {
		return fmt.Errorf("%s with %d trials: %v", j.State, len(j.Trials), j.Error)
	}
	for i, t := range j.Trials {
		want := 4
		if len(t.Parameters) > 3 && t.Parameters[3].Value.GetStringValue() == "sgd" {
			want = 5
		}
		final := t.GetFinalMeasurement()
		if t.Id != fmt.Sprint(i+1) || t.State != pb.Trial_SUCCEEDED || len(t.Parameters) != want ||
			final.GetStepCount() != 3 || len(final.GetMetrics()) != 1 || final.Metrics[0].MetricId != "val_loss" ||
			len(t.Measurements) != 3 || !strings.Contains(t.CustomJob, "/customJobs/") || !t.EndTime.IsValid() {
			return fmt.Errorf("trial %d: %v", i+1, t)
		}
	}
	return nil
}

// cancelled makes a slow one, which cannot be deleted before it was cancelled.
func cancelled(ctx context.Context, s settings, c *aiplatform.JobClient) error {
	body := s.tuning()
	body.Labels = map[string]string{"cusp-test-run-ms": "60000"}
	slow, err := c.CreateHyperparameterTuningJob(ctx,
		&pb.CreateHyperparameterTuningJobRequest{Parent: s.parent(), HyperparameterTuningJob: body})
	if err != nil {
		return err
	}
	_, err = c.DeleteHyperparameterTuningJob(ctx, &pb.DeleteHyperparameterTuningJobRequest{Name: slow.Name})
	if _, err = refused(err, codes.FailedPrecondition, 400, ""); err != nil {
		return err
	}
	for range 2 { // again: no error
		if err := c.CancelHyperparameterTuningJob(ctx, &pb.CancelHyperparameterTuningJobRequest{Name: slow.Name}); err != nil {
			return err
		}
	}
	j, err := tuned(ctx, c, slow.Name)
	if err == nil && (j.State != pb.JobState_JOB_STATE_CANCELLED || j.Error.GetCode() != 1) {
		err = fmt.Errorf("a cancelled one is %s: %v", j.State, j.Error)
	}
	return err
}

// walkTuning creates, reads, lists, cancels and deletes tuning jobs.
func walkTuning(ctx context.Context, s settings) error {
	opts, err := options(s)
	if err != nil {
		return err
	}
	c, err := aiplatform.NewJobClient(ctx, opts...)
	if err != nil {
		return err
	}
	defer c.Close()
	body := s.tuning()
	made, err := c.CreateHyperparameterTuningJob(ctx,
		&pb.CreateHyperparameterTuningJobRequest{Parent: s.parent(), HyperparameterTuningJob: body})
	if err != nil {
		return err
	}
	if !tuningName.MatchString(made.Name) || made.State != pb.JobState_JOB_STATE_PENDING ||
		!proto.Equal(made.StudySpec, body.StudySpec) {
		return fmt.Errorf("made: %v", made)
	}
	j, err := tuned(ctx, c, made.Name)
	if err == nil {
		err = checkTrials(j)
	}
	if err != nil {
		return err
	}
	listed, err := all(c.ListHyperparameterTuningJobs(ctx,
		&pb.ListHyperparameterTuningJobsRequest{Parent: s.parent(), Filter: `labels.by="go"`}))
	if err != nil {
		return err
	}
	if len(listed) != 1 || listed[0].Name != j.Name || len(listed[0].Trials) != 0 {
		return fmt.Errorf("listed: %v", listed)
	}
	op, err := c.DeleteHyperparameterTuningJob(ctx, &pb.DeleteHyperparameterTuningJobRequest{Name: j.Name})
	if err == nil {
		err = op.Wait(ctx)
	}
	if err != nil {
		return err
	}
	_, err = c.GetHyperparameterTuningJob(ctx, &pb.GetHyperparameterTuningJobRequest{Name: j.Name})
	_, gone := refused(err, codes.NotFound, 404, "does not exist")
	body.MaxTrialCount = 0
	_, err = c.CreateHyperparameterTuningJob(ctx,
		&pb.CreateHyperparameterTuningJobRequest{Parent: s.parent(), HyperparameterTuningJob: body})
	_, none := refused(err, codes.InvalidArgument, 400, "max_trial_count")
	return errors.Join(gone, none, cancelled(ctx, s, c))
}
