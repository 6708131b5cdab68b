package main

import (
	"context"
	"strings"

	pb "cloud.google.com/go/aiplatform/apiv1/aiplatformpb"
	aiplatform "cloud.google.com/go/aiplatform/apiv1beta1"
	betapb "cloud.google.com/go/aiplatform/apiv1beta1/aiplatformpb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/api/option"
	"google.golang.org/protobuf/proto"
)

// beta lets the cases use the v1beta1 client. Its messages have the numbering of v1, so they pass as bytes;
// the calls, the transport and the parsing are the client's.
type beta struct{ *aiplatform.JobClient }

func dialBeta(ctx context.Context, s settings, opts []option.ClientOption) (jobs, error) {
	dial := aiplatform.NewJobClient
	if strings.HasPrefix(s.transport, "rest") {
		dial = aiplatform.NewJobRESTClient
	}
	c, err := dial(ctx, opts...)
	if err != nil {
		return nil, err
	}
	return beta{c}, nil
}

// same copies a message of one version into one of the other.
func same[T proto.Message](to T, from proto.Message, err error) (T, error) {
	var none T
	if err != nil {
		return none, err
	}
	bytes, err := proto.Marshal(from)
	if err != nil {
		return none, err
	}
	return to, proto.Unmarshal(bytes, to)
}

func (c beta) Create(ctx context.Context, parent string, job *pb.CustomJob) (*pb.CustomJob, error) {
	spec, err := same(&betapb.CustomJob{}, job, nil)
	if err != nil {
		return nil, err
	}
	made, err := c.CreateCustomJob(ctx, &betapb.CreateCustomJobRequest{Parent: parent, CustomJob: spec})
	return same(&pb.CustomJob{}, made, err)
}

func (c beta) Get(ctx context.Context, name string) (*pb.CustomJob, error) {
	job, err := c.GetCustomJob(ctx, &betapb.GetCustomJobRequest{Name: name})
	return same(&pb.CustomJob{}, job, err)
}

func (c beta) List(ctx context.Context, parent, filter string, pageSize int) ([]*pb.CustomJob, []int, error) {
	req := &betapb.ListCustomJobsRequest{Parent: parent, Filter: filter, PageSize: int32(pageSize)}
	items, sizes, err := pages[*betapb.CustomJob](c.ListCustomJobs(ctx, req), pageSize)
	if err != nil {
		return nil, nil, err
	}
	out := make([]*pb.CustomJob, len(items))
	for i, item := range items {
		if out[i], err = same(&pb.CustomJob{}, item, nil); err != nil {
			return nil, nil, err
		}
	}
	return out, sizes, nil
}

func (c beta) Cancel(ctx context.Context, name string) error {
	return c.CancelCustomJob(ctx, &betapb.CancelCustomJobRequest{Name: name})
}

func (c beta) Delete(ctx context.Context, name string) (deletion, error) {
	op, err := c.DeleteCustomJob(ctx, &betapb.DeleteCustomJobRequest{Name: name})
	if err != nil {
		return nil, err
	}
	return betaDeletion{op}, nil
}

func (c beta) GetOperation(ctx context.Context, name string) (*longrunningpb.Operation, error) {
	return c.JobClient.GetOperation(ctx, &longrunningpb.GetOperationRequest{Name: name})
}

func (c beta) WaitOperation(ctx context.Context, name string) (*longrunningpb.Operation, error) {
	return c.JobClient.WaitOperation(ctx, &longrunningpb.WaitOperationRequest{Name: name})
}

func (c beta) CancelOperation(ctx context.Context, name string) error {
	return c.JobClient.CancelOperation(ctx, &longrunningpb.CancelOperationRequest{Name: name})
}

func (c beta) DeleteOperation(ctx context.Context, name string) error {
	return c.JobClient.DeleteOperation(ctx, &longrunningpb.DeleteOperationRequest{Name: name})
}

func (c beta) ListOperations(ctx context.Context, parent string) ([]*longrunningpb.Operation, error) {
	return all(c.JobClient.ListOperations(ctx, &longrunningpb.ListOperationsRequest{Name: parent}))
}

type betaDeletion struct {
	*aiplatform.DeleteCustomJobOperation
}

func (d betaDeletion) Wait(ctx context.Context) error { return d.DeleteCustomJobOperation.Wait(ctx) }

func (d betaDeletion) MetadataCreated() (bool, error) {
	m, err := d.Metadata()
	return m.GetGenericMetadata().GetCreateTime().IsValid(), err
}
