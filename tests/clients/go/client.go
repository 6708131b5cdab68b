package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strings"

	aiplatform "cloud.google.com/go/aiplatform/apiv1"
	pb "cloud.google.com/go/aiplatform/apiv1/aiplatformpb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// deletion is what a delete call answers with, of either version.
type deletion interface {
	Name() string
	Done() bool
	Wait(ctx context.Context) error
	MetadataCreated() (bool, error) // has generic_metadata.create_time; fails when not DeleteOperationMetadata
}

// jobs is the part of JobClient that the cases use; v1 and v1beta1 are two types with the same methods.
type jobs interface {
	Create(ctx context.Context, parent string, job *pb.CustomJob) (*pb.CustomJob, error)
	Get(ctx context.Context, name string) (*pb.CustomJob, error)
	// List follows all pages with the client's own iterator and pager; it returns the sizes of the pages too.
	List(ctx context.Context, parent, filter string, pageSize int) ([]*pb.CustomJob, []int, error)
	Cancel(ctx context.Context, name string) error
	Delete(ctx context.Context, name string) (deletion, error)
	GetOperation(ctx context.Context, name string) (*longrunningpb.Operation, error)
	WaitOperation(ctx context.Context, name string) (*longrunningpb.Operation, error)
	CancelOperation(ctx context.Context, name string) error
	DeleteOperation(ctx context.Context, name string) error
	ListOperations(ctx context.Context, parent string) ([]*longrunningpb.Operation, error)
	Close() error
}

func trusted(ca string) (*tls.Config, error) {
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", ca)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// options are what a user passes to point the client at a local server.
func options(s settings) ([]option.ClientOption, error) {
	wire, _, _ := strings.Cut(s.transport, "+")
	opts := []option.ClientOption{option.WithoutAuthentication()}
	var conf *tls.Config
	if strings.HasSuffix(wire, "-tls") {
		if s.ca == "" {
			cannot("CUSP_CA is not set: no TLS")
		}
		var err error
		if conf, err = trusted(s.ca); err != nil {
			return nil, err
		}
	}
	switch wire {
	case "rest":
		return append(opts, option.WithEndpoint(s.endpoint)), nil
	case "rest-tls":
		return append(opts, option.WithEndpoint("https://"+s.hostport),
			option.WithHTTPClient(&http.Client{Transport: &http.Transport{TLSClientConfig: conf}})), nil
	case "grpc":
		_, address, _ := strings.Cut(s.endpoint, "://")
		return append(opts, option.WithEndpoint(address),
			option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials()))), nil
	case "grpc-tls":
		return append(opts, option.WithEndpoint(s.hostport),
			option.WithGRPCDialOption(grpc.WithTransportCredentials(credentials.NewTLS(conf)))), nil
	}
	return nil, fmt.Errorf("no such transport: %q", s.transport)
}

func dial(ctx context.Context, s settings) (jobs, error) {
	opts, err := options(s)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(s.transport, "+v1beta1") {
		return dialBeta(ctx, s, opts)
	}
	c, err := aiplatform.NewJobClient(ctx, opts...)
	if err != nil {
		return nil, err
	}
	return v1{c}, nil
}

type v1 struct{ *aiplatform.JobClient }

func (c v1) Create(ctx context.Context, parent string, job *pb.CustomJob) (*pb.CustomJob, error) {
	return c.CreateCustomJob(ctx, &pb.CreateCustomJobRequest{Parent: parent, CustomJob: job})
}

func (c v1) Get(ctx context.Context, name string) (*pb.CustomJob, error) {
	return c.GetCustomJob(ctx, &pb.GetCustomJobRequest{Name: name})
}

func (c v1) List(ctx context.Context, parent, filter string, pageSize int) ([]*pb.CustomJob, []int, error) {
	req := &pb.ListCustomJobsRequest{Parent: parent, Filter: filter, PageSize: int32(pageSize)}
	return pages[*pb.CustomJob](c.ListCustomJobs(ctx, req), pageSize)
}

func (c v1) Cancel(ctx context.Context, name string) error {
	return c.CancelCustomJob(ctx, &pb.CancelCustomJobRequest{Name: name})
}

func (c v1) Delete(ctx context.Context, name string) (deletion, error) {
	op, err := c.DeleteCustomJob(ctx, &pb.DeleteCustomJobRequest{Name: name})
	if err != nil {
		return nil, err
	}
	return v1Deletion{op}, nil
}

func (c v1) GetOperation(ctx context.Context, name string) (*longrunningpb.Operation, error) {
	return c.JobClient.GetOperation(ctx, &longrunningpb.GetOperationRequest{Name: name})
}

func (c v1) WaitOperation(ctx context.Context, name string) (*longrunningpb.Operation, error) {
	return c.JobClient.WaitOperation(ctx, &longrunningpb.WaitOperationRequest{Name: name})
}

func (c v1) CancelOperation(ctx context.Context, name string) error {
	return c.JobClient.CancelOperation(ctx, &longrunningpb.CancelOperationRequest{Name: name})
}

func (c v1) DeleteOperation(ctx context.Context, name string) error {
	return c.JobClient.DeleteOperation(ctx, &longrunningpb.DeleteOperationRequest{Name: name})
}

func (c v1) ListOperations(ctx context.Context, parent string) ([]*longrunningpb.Operation, error) {
	return all(c.JobClient.ListOperations(ctx, &longrunningpb.ListOperationsRequest{Name: parent}))
}

type v1Deletion struct {
	*aiplatform.DeleteCustomJobOperation
}

func (d v1Deletion) Wait(ctx context.Context) error { return d.DeleteCustomJobOperation.Wait(ctx) }

func (d v1Deletion) MetadataCreated() (bool, error) {
	m, err := d.Metadata()
	return m.GetGenericMetadata().GetCreateTime().IsValid(), err
}

// pages reads an iterator page by page, as a user of iterator.NewPager does.
func pages[T any](it iterator.Pageable, size int) ([]T, []int, error) {
	var items []T
	var sizes []int
	for pager, token := iterator.NewPager(it, size, ""), "more"; token != ""; {
		var page []T
		var err error
		if token, err = pager.NextPage(&page); err != nil {
			return items, sizes, err
		}
		items, sizes = append(items, page...), append(sizes, len(page))
	}
	return items, sizes, nil
}

// all follows an iterator with Next, page after page.
func all[T any](it interface{ Next() (T, error) }) ([]T, error) {
	var items []T
	for {
		item, err := it.Next()
		if err == iterator.Done {
			return items, nil
		}
		if err != nil {
			return items, err
		}
		items = append(items, item)
	}
}
