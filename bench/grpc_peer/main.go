// A peer for bench/call_figures.py: an ordinary Go gRPC server whose GetCustomJob answers with one fixed job.
// Usage: grpc_peer JOB_FILE; prints its address.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"

	pb "cloud.google.com/go/aiplatform/apiv1/aiplatformpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

type server struct {
	pb.UnimplementedJobServiceServer
	job *pb.CustomJob
}

func (s *server) GetCustomJob(context.Context, *pb.GetCustomJobRequest) (*pb.CustomJob, error) {
	return s.job, nil
}

func main() {
	bytes, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	s := &server{job: &pb.CustomJob{}}
	if err := proto.Unmarshal(bytes, s.job); err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(l.Addr())
	g := grpc.NewServer()
	pb.RegisterJobServiceServer(g, s)
	log.Fatal(g.Serve(l))
}
