// The Go logging clients (logging, logadmin, apiv2) against cusp. One JSON line a case; see ../README.md.
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	. "cusp.test/cases"

	"cloud.google.com/go/logging"
	apiv2 "cloud.google.com/go/logging/apiv2"
	"cloud.google.com/go/logging/apiv2/loggingpb"
	"cloud.google.com/go/logging/logadmin"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	mrpb "google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

const logID = "go/log"

var (
	ctx    = context.Background()
	client *logging.Client
	admin  *logadmin.Client
	raw    *apiv2.Client
	parent = "projects/" + os.Getenv("CUSP_PROJECT")
	name   = parent + "/logs/" + url.QueryEscape(logID)
	mine   = fmt.Sprintf("logName=%q AND jsonPayload.step:*", name)
)

func all(it *logadmin.EntryIterator) (got []*logging.Entry) {
	for {
		e, err := it.Next()
		if err == iterator.Done {
			return got
		}
		Must(err)
		got = append(got, e)
	}
}

func field(e *logging.Entry, key string) *structpb.Value {
	s, ok := e.Payload.(*structpb.Struct)
	Want(ok, "payload %T", e.Payload)
	return s.Fields[key]
}

func write() {
	log := client.Logger(logID, logging.CommonLabels(map[string]string{"run": "7"}),
		logging.CommonResource(&mrpb.MonitoredResource{Type: "global"}))
	t0 := time.Now().Add(-time.Minute)
	for i := 0; i < 25; i++ {
		log.Log(logging.Entry{Timestamp: t0.Add(time.Duration(i) * time.Millisecond), Severity: logging.Severity(200 + 200*(i%2)),
			InsertID: fmt.Sprintf("id%02d", i), Payload: map[string]any{"step": i}})
	}
	log.Log(logging.Entry{Timestamp: t0, Payload: "text", Trace: parent + "/traces/t1", SpanID: "00f1", TraceSampled: true,
		SourceLocation: &loggingpb.LogEntrySourceLocation{File: "a.go", Line: 7, Function: "f"},
		HTTPRequest:    &logging.HTTPRequest{Request: &http.Request{Method: "GET", URL: &url.URL{Path: "/x"}}, Status: 404, Latency: time.Second / 4}})
	Must(log.Flush())
	// A retry is not written twice.
	Must(log.LogSync(ctx, logging.Entry{Timestamp: t0, InsertID: "id00", Payload: map[string]any{"step": 0}}))
}

func list() {
	got := all(admin.Entries(ctx, logadmin.Filter(mine)))
	Want(len(got) == 25, "%d entries", len(got))
	for i, e := range got {
		Want(field(e, "step").GetNumberValue() == float64(i) && e.Labels["run"] == "7" && e.InsertID == fmt.Sprintf("id%02d", i) &&
			e.LogName == parent+"/logs/"+logID && e.Resource.Type == "global", "entry %d: %+v", i, e)
	}
	got = all(admin.Entries(ctx, logadmin.Filter(mine+" AND severity>=WARNING AND jsonPayload.step>20")))
	Want(len(got) == 2 && got[0].Severity == logging.Warning, "%+v", got)
	got = all(admin.Entries(ctx, logadmin.Filter(fmt.Sprintf("logName=%q AND httpRequest.status=404 AND textPayload:tex AND traceSampled=true AND spanId=00f1", name))))
	Want(len(got) == 1 && got[0].Payload == "text" && got[0].HTTPRequest.Status == 404 && got[0].HTTPRequest.Latency == time.Second/4 &&
		got[0].Trace == parent+"/traces/t1" && got[0].SourceLocation.Line == 7, "%d: %+v", len(got), got)
}

func paging() {
	it := admin.Entries(ctx, logadmin.Filter(mine), logadmin.NewestFirst())
	pager := iterator.NewPager(it, 10, "")
	next := 24
	for {
		var page []*logging.Entry
		token, err := pager.NextPage(&page)
		Must(err)
		Want(len(page) <= 10, "a page of %d", len(page))
		for _, e := range page {
			Want(field(e, "step").GetNumberValue() == float64(next), "%d: %+v", next, e)
			next--
		}
		if token == "" {
			break
		}
	}
	Want(next == -1, "ended before %d", next)
}

func jobLines() {
	got := all(admin.Entries(ctx, logadmin.Filter(fmt.Sprintf("resource.type=\"ml_job\" AND resource.labels.job_id=%q", os.Getenv("CUSP_JOB")))))
	Want(len(got) > 4 && got[len(got)-1].Payload == "Job completed successfully." &&
		got[0].Resource.Labels["task_name"] == "service", "%d: %+v", len(got), got)
}

func logs() {
	it := admin.Logs(ctx)
	for {
		id, err := it.Next()
		Want(err != iterator.Done, "%s is not listed", logID)
		Must(err)
		if id == logID {
			return
		}
	}
}

func descriptors() {
	it := admin.ResourceDescriptors(ctx)
	for {
		d, err := it.Next()
		Want(err != iterator.Done, "no ml_job")
		Must(err)
		if d.Type == "ml_job" {
			return
		}
	}
}

func tail() {
	few, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	stream, err := raw.TailLogEntries(few)
	Must(err)
	Must(stream.Send(&loggingpb.TailLogEntriesRequest{ResourceNames: []string{parent}, Filter: fmt.Sprintf("logName=%q", name)}))
	_, err = stream.Recv()
	Must(err)
	Must(client.Logger(logID).LogSync(few, logging.Entry{Payload: "live"}))
	for {
		r, err := stream.Recv()
		Must(err)
		for _, e := range r.Entries {
			if e.GetTextPayload() == "live" {
				return
			}
		}
	}
}

func errorMapping() {
	_, err := admin.Entries(ctx, logadmin.Filter("severity>>")).Next()
	Want(status.Code(err) == codes.InvalidArgument && strings.Contains(err.Error(), "filter"), "%v", err)
	err = raw.DeleteLog(ctx, &loggingpb.DeleteLogRequest{LogName: parent + "/logs/no-such-log"})
	Want(status.Code(err) == codes.NotFound, "%v", err)
	Must(client.Ping(ctx))
}

func remove() {
	Must(admin.DeleteLog(ctx, logID))
	Want(len(all(admin.Entries(ctx, logadmin.Filter(fmt.Sprintf("logName=%q", name))))) == 0, "entries are left")
}

func main() {
	opts := []option.ClientOption{option.WithEndpoint(strings.TrimPrefix(os.Getenv("CUSP_ENDPOINT"), "http://")), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials()))}
	var err error
	client, err = logging.NewClient(ctx, parent, opts...)
	Must(err)
	client.OnError = func(err error) { fmt.Fprintln(os.Stderr, err) }
	admin, err = logadmin.NewClient(ctx, os.Getenv("CUSP_PROJECT"), opts...)
	Must(err)
	raw, err = apiv2.NewClient(ctx, opts...)
	Must(err)
	Main("cloud.google.com/go/logging", "grpc", []Case{{"write", write}, {"list", list}, {"paging", paging}, {"job_lines", jobLines}, {"logs", logs}, {"descriptors", descriptors},
		{"tail", tail}, {"error_mapping", errorMapping}, {"remove", remove}})
}
