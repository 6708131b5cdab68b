// The Go storage client against cusp. One JSON line a case; see ../README.md.
package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"time"

	. "cusp.test/cases"

	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
)

var (
	ctx    = context.Background()
	client *storage.Client
	bkt    *storage.BucketHandle
	name   string
	big    = make([]byte, 3<<20+11)
)

func refused(err error, code int) {
	var e *googleapi.Error
	Want(errors.As(err, &e) && e.Code == code, "want %d, got %v", code, err)
}

func put(object string, data []byte, edit func(*storage.Writer)) {
	w := bkt.Object(object).NewWriter(ctx)
	if edit != nil {
		edit(w)
	}
	_, err := w.Write(data)
	Must(err)
	Must(w.Close())
}

func get(object string) []byte {
	r, err := bkt.Object(object).NewReader(ctx)
	Must(err)
	defer r.Close()
	data, err := io.ReadAll(r)
	Must(err)
	return data
}

func bucket() {
	Must(bkt.Create(ctx, "demo", &storage.BucketAttrs{Location: "us-central1", Labels: map[string]string{"team": "x"}}))
	refused(bkt.Create(ctx, "demo", nil), 409)
	a, err := bkt.Attrs(ctx)
	Must(err)
	Want(a.Location == "US-CENTRAL1" && a.Labels["team"] == "x", "%+v", a)
	_, err = client.Bucket("no-such-" + name).Attrs(ctx)
	Want(errors.Is(err, storage.ErrBucketNotExist), "%v", err)
	u := storage.BucketAttrsToUpdate{}
	u.SetLabel("more", "y")
	u.DeleteLabel("team")
	a, err = bkt.Update(ctx, u)
	Must(err)
	Want(a.Labels["more"] == "y" && a.Labels["team"] == "", "%+v", a.Labels)
}

func writeRead() {
	put("s/a b.txt", []byte("hello"), func(w *storage.Writer) {
		w.ContentType = "text/x-a"
		w.Metadata = map[string]string{"k": "v"}
		sum := md5.Sum([]byte("hello"))
		w.MD5 = sum[:]
	})
	Want(string(get("s/a b.txt")) == "hello", "content")
	a, err := bkt.Object("s/a b.txt").Attrs(ctx)
	Must(err)
	Want(a.ContentType == "text/x-a" && a.Metadata["k"] == "v" && a.Size == 5, "%+v", a)
	r, err := bkt.Object("s/a b.txt").NewRangeReader(ctx, 1, 3)
	Must(err)
	part, err := io.ReadAll(r)
	Must(err)
	Want(string(part) == "ell" && r.Attrs.Size == 5 && r.Attrs.Generation == a.Generation, "range %q %+v", part, r.Attrs)
	r, err = bkt.Object("s/a b.txt").NewRangeReader(ctx, -2, -1)
	Must(err)
	part, err = io.ReadAll(r)
	Must(err)
	Want(string(part) == "lo", "suffix %q", part)
}

func resumable() {
	put("big", big, func(w *storage.Writer) { w.ChunkSize = 1 << 20 })
	Want(bytes.Equal(get("big"), big), "chunks")
	put("whole", big, func(w *storage.Writer) { w.ChunkSize = 0 })
	Want(bytes.Equal(get("whole"), big), "whole")
}

func jsonReads() {
	c, err := storage.NewClient(ctx, option.WithEndpoint(os.Getenv("CUSP_ENDPOINT")+"/storage/v1/"), option.WithoutAuthentication(),
		storage.WithJSONReads())
	Must(err)
	defer c.Close()
	r, err := c.Bucket(name).Object("big").NewReader(ctx)
	Must(err)
	data, err := io.ReadAll(r)
	Must(err)
	Want(bytes.Equal(data, big), "content")
}

func gzipped() {
	put("z", []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 7, 0, 0x86, 0xa6, 0x10, 0x36, 5, 0, 0, 0},
		func(w *storage.Writer) { w.ContentEncoding = "gzip" })
	Want(string(get("z")) == "hello", "unpacked: %q", get("z"))
	r, err := bkt.Object("z").ReadCompressed(true).NewReader(ctx)
	Must(err)
	data, err := io.ReadAll(r)
	Must(err)
	Want(len(data) == 25, "packed: %d bytes", len(data))
}

func list() {
	for _, n := range []string{"l/1", "l/2", "l/d/3"} {
		put(n, []byte(n), nil)
	}
	got := ""
	it := bkt.Objects(ctx, &storage.Query{Prefix: "l/", Delimiter: "/"})
	for {
		a, err := it.Next()
		if err == iterator.Done {
			break
		}
		Must(err)
		got += a.Name + a.Prefix + " "
	}
	Want(got == "l/1 l/2 l/d/ ", "%s", got)
	it = bkt.Objects(ctx, &storage.Query{MatchGlob: "l/**3", Projection: storage.ProjectionNoACL})
	a, err := it.Next()
	Must(err)
	Want(a.Name == "l/d/3", "%s", a.Name)
	q := &storage.Query{StartOffset: "l/2", EndOffset: "l/d"}
	Must(q.SetAttrSelection([]string{"Name", "Size"}))
	a, err = bkt.Objects(ctx, q).Next()
	Must(err)
	Want(a.Name == "l/2" && a.Size == 3 && a.Generation == 0, "%+v", a)
}

func copyComposeMove() {
	dst := bkt.Object("c/1")
	_, err := dst.CopierFrom(bkt.Object("l/1")).Run(ctx)
	Must(err)
	c := dst.ComposerFrom(bkt.Object("l/1"), bkt.Object("l/2"))
	c.ContentType = "text/x-c"
	a, err := c.Run(ctx)
	Must(err)
	Want(a.ComponentCount == 2 && a.ContentType == "text/x-c" && string(get("c/1")) == "l/1l/2", "%+v", a)
	a, err = dst.Move(ctx, storage.MoveObjectDestination{Object: "c/2"})
	Must(err)
	Want(a.Name == "c/2" && string(get("c/2")) == "l/1l/2", "%+v", a)
	copier := bkt.Object("big2").CopierFrom(bkt.Object("big"))
	calls := 0
	copier.ProgressFunc = func(_, _ uint64) { calls++ }
	_, err = copier.Run(ctx)
	Must(err)
	Want(bytes.Equal(get("big2"), big), "copy")
}

func metadata() {
	o := bkt.Object("l/1")
	a, err := o.Update(ctx, storage.ObjectAttrsToUpdate{CacheControl: "no-store", Metadata: map[string]string{"a": "1"}, CustomTime: time.Unix(1e9, 0)})
	Must(err)
	Want(a.CacheControl == "no-store" && a.Metadata["a"] == "1" && a.Metageneration == 2 && a.CustomTime.Unix() == 1e9, "%+v", a)
	_, err = o.If(storage.Conditions{MetagenerationMatch: 1}).Update(ctx, storage.ObjectAttrsToUpdate{CacheControl: "x"})
	refused(err, 412)
}

func preconditions() {
	o := bkt.Object("p").If(storage.Conditions{DoesNotExist: true})
	w := o.NewWriter(ctx)
	_, err := w.Write([]byte("1"))
	Must(err)
	Must(w.Close())
	w = o.NewWriter(ctx)
	_, _ = w.Write([]byte("2"))
	refused(w.Close(), 412)
	_, err = bkt.Object("missing").NewReader(ctx)
	Want(errors.Is(err, storage.ErrObjectNotExist), "%v", err)
	_, err = bkt.Object("p").Generation(1).NewReader(ctx)
	Want(errors.Is(err, storage.ErrObjectNotExist), "%v", err)
	_, err = bkt.Object("p").If(storage.Conditions{GenerationMatch: 1}).NewReader(ctx)
	refused(err, 412)
}

func iam() {
	p, err := bkt.IAM().Policy(ctx)
	Must(err)
	p.Add("allUsers", "roles/storage.objectViewer")
	Must(bkt.IAM().SetPolicy(ctx, p))
	p, err = bkt.IAM().Policy(ctx)
	Must(err)
	Want(p.HasRole("allUsers", "roles/storage.objectViewer"), "role")
	got, err := bkt.IAM().TestPermissions(ctx, []string{"storage.buckets.get"})
	Must(err)
	Want(len(got) == 1, "%v", got)
}

func remove() {
	it := bkt.Objects(ctx, nil)
	for {
		a, err := it.Next()
		if err == iterator.Done {
			break
		}
		Must(err)
		Must(bkt.Object(a.Name).Delete(ctx))
	}
	Must(bkt.Delete(ctx))
	_, err := bkt.Attrs(ctx)
	Want(errors.Is(err, storage.ErrBucketNotExist), "%v", err)
}

func main() {
	os.Setenv("STORAGE_EMULATOR_HOST", os.Getenv("CUSP_ENDPOINT"))
	var err error
	client, err = storage.NewClient(ctx)
	if err != nil {
		panic(err)
	}
	id := make([]byte, 4)
	_, _ = rand.Read(id)
	_, _ = rand.Read(big)
	name = "go-" + hex.EncodeToString(id)
	bkt = client.Bucket(name)
	client.SetRetry(storage.WithMaxAttempts(1))
	Main("cloud.google.com/go/storage", "rest", []Case{{"bucket", bucket}, {"write_read", writeRead}, {"resumable", resumable}, {"json_reads", jsonReads}, {"gzip", gzipped},
		{"list", list}, {"copy_compose_move", copyComposeMove}, {"metadata", metadata}, {"preconditions", preconditions},
		{"iam", iam}, {"remove", remove}})
}
