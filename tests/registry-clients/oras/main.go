// What oras does for a person, by the library that oras is made of: attach, discover, copy with all that refers to it,
// pull by platform, catalogue, tags, delete. One line of JSON on success; errors as the library words them.
//
//	oras HOST VERB ARGUMENTS...
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
)

func repository(host, name string) (*remote.Repository, error) {
	r, err := remote.NewRepository(host + "/" + name)
	if err == nil {
		r.PlainHTTP = true
	}
	return r, err
}

// attach REPO REFERENCE TYPE FILE
func attach(ctx context.Context, host string, a []string) (any, error) {
	repo, err := repository(host, a[0])
	if err != nil {
		return nil, err
	}
	subject, err := repo.Resolve(ctx, a[1])
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(a[3])
	if err != nil {
		return nil, err
	}
	layer, err := oras.PushBytes(ctx, repo, "text/plain", data)
	if err != nil {
		return nil, err
	}
	return oras.PackManifest(ctx, repo, oras.PackManifestVersion1_1, a[2], oras.PackManifestOptions{
		Subject: &subject, Layers: []ocispec.Descriptor{layer}, ManifestAnnotations: map[string]string{"by": "oras"}})
}

// discover REPO REFERENCE [TYPE]
func discover(ctx context.Context, host string, a []string) (any, error) {
	repo, err := repository(host, a[0])
	if err != nil {
		return nil, err
	}
	subject, err := repo.Resolve(ctx, a[1])
	if err != nil {
		return nil, err
	}
	kind := ""
	if len(a) > 2 {
		kind = a[2]
	}
	return registry.Referrers(ctx, repo, subject, kind)
}

// copy REPO REFERENCE REPO REFERENCE: what refers to it goes along
func copyAll(ctx context.Context, host string, a []string) (any, error) {
	from, err := repository(host, a[0])
	if err != nil {
		return nil, err
	}
	to, err := repository(host, a[2])
	if err != nil {
		return nil, err
	}
	return oras.ExtendedCopy(ctx, from, a[1], to, a[3], oras.DefaultExtendedCopyOptions)
}

// pull REPO REFERENCE FOLDER OS ARCHITECTURE
func pull(ctx context.Context, host string, a []string) (any, error) {
	repo, err := repository(host, a[0])
	if err != nil {
		return nil, err
	}
	to, err := oci.New(a[2])
	if err != nil {
		return nil, err
	}
	how := oras.DefaultCopyOptions
	how.WithTargetPlatform(&ocispec.Platform{OS: a[3], Architecture: a[4]})
	return oras.Copy(ctx, repo, a[1], to, a[1], how)
}

func names(list func(fn func([]string) error) error) (any, error) {
	all := []string{}
	err := list(func(some []string) error {
		all = append(all, some...)
		return nil
	})
	return all, err
}

// repositories
func repositories(ctx context.Context, host string, _ []string) (any, error) {
	r, err := remote.NewRegistry(host)
	if err != nil {
		return nil, err
	}
	r.PlainHTTP = true
	r.RepositoryListPageSize = 2
	return names(func(fn func([]string) error) error { return r.Repositories(ctx, "", fn) })
}

// tags REPO
func tags(ctx context.Context, host string, a []string) (any, error) {
	repo, err := repository(host, a[0])
	if err != nil {
		return nil, err
	}
	repo.TagListPageSize = 2
	return names(func(fn func([]string) error) error { return repo.Tags(ctx, "", fn) })
}

// delete REPO REFERENCE
func remove(ctx context.Context, host string, a []string) (any, error) {
	repo, err := repository(host, a[0])
	if err != nil {
		return nil, err
	}
	what, err := repo.Resolve(ctx, a[1])
	if err != nil {
		return nil, err
	}
	return what, repo.Delete(ctx, what)
}

func main() {
	verbs := map[string]func(context.Context, string, []string) (any, error){"attach": attach, "discover": discover,
		"copy": copyAll, "pull": pull, "repositories": repositories, "tags": tags, "delete": remove}
	out, err := verbs[os.Args[2]](context.Background(), os.Args[1], os.Args[3:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(out)
}
