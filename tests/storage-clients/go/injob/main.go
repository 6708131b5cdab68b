// What a training program in Go says: no endpoint, no project, no credentials. Run inside jobs by
// tests/integration/test_identity_clients.py.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"cloud.google.com/go/compute/metadata"
	"cloud.google.com/go/storage"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/iterator"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	ctx := context.Background()
	credentials, err := google.FindDefaultCredentials(ctx, storage.ScopeReadWrite)
	must(err)
	token, err := credentials.TokenSource.Token()
	must(err)
	fmt.Println("token", token.AccessToken[:5], metadata.OnGCE())
	project, err := metadata.ProjectIDWithContext(ctx)
	must(err)
	fmt.Println("project", project)

	client, err := storage.NewClient(ctx)
	must(err)
	bucket := client.Bucket("bucket-a")
	r, err := bucket.Object("in.txt").NewReader(ctx)
	must(err)
	data, err := io.ReadAll(r)
	must(err)
	fmt.Println("read", string(data))
	w := bucket.Object("out.txt").NewWriter(ctx)
	_, err = w.Write([]byte("from the job"))
	must(err)
	must(w.Close())
	buckets := client.Buckets(ctx, project)
	for {
		b, err := buckets.Next()
		if err == iterator.Done {
			break
		}
		must(err)
		fmt.Println("bucket", b.Name)
	}
}
