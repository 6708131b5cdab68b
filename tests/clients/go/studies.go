package main

import (
	"context"
	"fmt"
	"math"
	"strings"

	aiplatform "cloud.google.com/go/aiplatform/apiv1"
	pb "cloud.google.com/go/aiplatform/apiv1/aiplatformpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const studySpec = `{"metrics": [{"metricId": "loss", "goal": "MINIMIZE"}], "medianAutomatedStoppingSpec": {}, "parameters": [
 {"parameterId": "lr", "doubleValueSpec": {"minValue": 1e-5, "maxValue": 0.1}, "scaleType": "UNIT_LOG_SCALE"},
 {"parameterId": "opt", "categoricalValueSpec": {"values": ["sgd", "adam"]}, "conditionalParameterSpecs": [
  {"parentCategoricalValues": {"values": ["sgd"]}, "parameterSpec": {"parameterId": "momentum",
   "doubleValueSpec": {"minValue": 0.5, "maxValue": 0.9}}}]}]}`

// studies is one walk through all methods of VizierClient.
type studies struct {
	*aiplatform.VizierClient
	ctx    context.Context
	parent string
}

func refusedWith(err error, code codes.Code, word string) error {
	if status.Code(err) != code || !strings.Contains(fmt.Sprint(err), word) {
		return fmt.Errorf("want %s with %q, got %v", code, word, err)
	}
	return nil
}

func measured(loss float64, step int64) *pb.Measurement {
	return &pb.Measurement{StepCount: step, Metrics: []*pb.Measurement_Metric{{MetricId: "loss", Value: loss}}}
}

func (s studies) suggest(study string, count int32) ([]*pb.Trial, error) {
	op, err := s.SuggestTrials(s.ctx, &pb.SuggestTrialsRequest{Parent: study, SuggestionCount: count, ClientId: "go"})
	if err != nil {
		return nil, err
	}
	given, err := op.Wait(s.ctx)
	if err != nil {
		return nil, err
	}
	meta, err := op.Metadata()
	if err != nil || meta.GetClientId() != "go" || len(given.GetTrials()) != int(count) || given.GetStudyState() != pb.Study_ACTIVE {
		return nil, fmt.Errorf("suggested %v, metadata %v, %v", given, meta, err)
	}
	return given.GetTrials(), nil
}

// tryOut measures and completes a trial; the loss it told.
func (s studies) tryOut(t *pb.Trial, step int64) (float64, error) {
	p := map[string]any{}
	for _, q := range t.GetParameters() {
		p[q.GetParameterId()] = q.GetValue().AsInterface()
	}
	lr, _ := p["lr"].(float64)
	_, conditional := p["momentum"]
	if lr < 1e-5 || lr > 0.1 || conditional != (p["opt"] == "sgd") {
		return 0, fmt.Errorf("trial %v", t)
	}
	loss := math.Pow(math.Log10(lr)+3, 2)
	told, err := s.AddTrialMeasurement(s.ctx, &pb.AddTrialMeasurementRequest{TrialName: t.GetName(), Measurement: measured(loss, step)})
	if err != nil || len(told.GetMeasurements()) != 1 {
		return 0, fmt.Errorf("measured %v, %v", told, err)
	}
	op, err := s.CheckTrialEarlyStoppingState(s.ctx, &pb.CheckTrialEarlyStoppingStateRequest{TrialName: t.GetName()})
	if err != nil {
		return 0, err
	}
	if _, err = op.Wait(s.ctx); err != nil {
		return 0, err
	}
	done, err := s.CompleteTrial(s.ctx, &pb.CompleteTrialRequest{Name: t.GetName()})
	if err != nil || done.GetState() != pb.Trial_SUCCEEDED || done.GetFinalMeasurement().GetMetrics()[0].GetValue() != loss {
		return 0, fmt.Errorf("completed %v, %v", done, err)
	}
	return loss, nil
}

func (s studies) make(name string) (*pb.Study, error) {
	spec := &pb.StudySpec{}
	if err := protojson.Unmarshal([]byte(studySpec), spec); err != nil {
		return nil, err
	}
	create := &pb.CreateStudyRequest{Parent: s.parent, Study: &pb.Study{DisplayName: name, StudySpec: spec}}
	study, err := s.CreateStudy(s.ctx, create)
	if err != nil || !proto.Equal(study.GetStudySpec(), spec) {
		return nil, fmt.Errorf("created %v, %v", study, err)
	}
	if _, err = s.CreateStudy(s.ctx, create); refusedWith(err, codes.AlreadyExists, name) != nil {
		return nil, refusedWith(err, codes.AlreadyExists, name)
	}
	got, err := s.GetStudy(s.ctx, &pb.GetStudyRequest{Name: study.GetName()})
	if err != nil || !proto.Equal(got, study) {
		return nil, fmt.Errorf("got %v, %v", got, err)
	}
	found, err := s.LookupStudy(s.ctx, &pb.LookupStudyRequest{Parent: s.parent, DisplayName: name})
	if err != nil || !proto.Equal(found, study) {
		return nil, fmt.Errorf("looked up %v, %v", found, err)
	}
	listed, err := all(s.ListStudies(s.ctx, &pb.ListStudiesRequest{Parent: s.parent}))
	if err != nil || len(listed) == 0 || !proto.Equal(listed[0], study) {
		return nil, fmt.Errorf("listed %v, %v", listed, err)
	}
	return study, nil
}

// own is a trial of the client's own making, which is stopped and found infeasible.
func (s studies) own(study string, parameters []*pb.Trial_Parameter) error {
	t, err := s.CreateTrial(s.ctx, &pb.CreateTrialRequest{Parent: study, Trial: &pb.Trial{Parameters: parameters}})
	if err != nil || t.GetState() != pb.Trial_REQUESTED {
		return fmt.Errorf("created %v, %v", t, err)
	}
	if t, err = s.StopTrial(s.ctx, &pb.StopTrialRequest{Name: t.GetName()}); err != nil || t.GetState() != pb.Trial_STOPPING {
		return fmt.Errorf("stopped %v, %v", t, err)
	}
	t, err = s.CompleteTrial(s.ctx, &pb.CompleteTrialRequest{Name: t.GetName(), TrialInfeasible: true, InfeasibleReason: "no"})
	if err != nil || t.GetState() != pb.Trial_INFEASIBLE || t.GetInfeasibleReason() != "no" {
		return fmt.Errorf("infeasible %v, %v", t, err)
	}
	if _, err = s.StopTrial(s.ctx, &pb.StopTrialRequest{Name: t.GetName()}); refusedWith(err, codes.FailedPrecondition, "INFEASIBLE") != nil {
		return refusedWith(err, codes.FailedPrecondition, "INFEASIBLE")
	}
	trials, err := all(s.ListTrials(s.ctx, &pb.ListTrialsRequest{Parent: study, PageSize: 4}))
	if err != nil || len(trials) != 9 || !proto.Equal(trials[8], t) {
		return fmt.Errorf("listed %v, %v", trials, err)
	}
	if err = s.DeleteTrial(s.ctx, &pb.DeleteTrialRequest{Name: t.GetName()}); err != nil {
		return err
	}
	_, err = s.GetTrial(s.ctx, &pb.GetTrialRequest{Name: t.GetName()})
	return refusedWith(err, codes.NotFound, "9")
}

func walkStudies(ctx context.Context, s settings) error {
	opts, err := options(s)
	if err != nil {
		return err
	}
	c, err := aiplatform.NewVizierClient(ctx, opts...)
	if err != nil {
		return err
	}
	defer c.Close()
	w := studies{c, ctx, s.parent()}
	study, err := w.make("go-" + s.transport)
	if err != nil {
		return err
	}
	best := math.Inf(1)
	for step := int64(1); step <= 4; step++ {
		trials, err := w.suggest(study.GetName(), 2)
		if err != nil {
			return err
		}
		for _, t := range trials {
			loss, err := w.tryOut(t, step)
			if err != nil {
				return err
			}
			best = math.Min(best, loss)
		}
	}
	optimal, err := w.ListOptimalTrials(ctx, &pb.ListOptimalTrialsRequest{Parent: study.GetName()})
	if err != nil || optimal.GetOptimalTrials()[0].GetFinalMeasurement().GetMetrics()[0].GetValue() != best {
		return fmt.Errorf("optimal %v, want %g, %v", optimal, best, err)
	}
	if err = w.own(study.GetName(), optimal.GetOptimalTrials()[0].GetParameters()); err != nil {
		return err
	}
	_, err = w.SuggestTrials(ctx, &pb.SuggestTrialsRequest{Parent: study.GetName(), ClientId: "go"})
	if err = refusedWith(err, codes.InvalidArgument, "suggestion_count"); err != nil {
		return err
	}
	if err = w.DeleteStudy(ctx, &pb.DeleteStudyRequest{Name: study.GetName()}); err != nil {
		return err
	}
	_, err = w.GetStudy(ctx, &pb.GetStudyRequest{Name: study.GetName()})
	return refusedWith(err, codes.NotFound, "does not exist")
}
