// The Go driver of the client matrix: the ten cases of tests/clients/README.md performed with
// cloud.google.com/go/aiplatform, unmodified. apiv1 speaks gRPC only; apiv1beta1 has REST too.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"time"
)

const module = "cloud.google.com/go/aiplatform"

// settings of one run, from the environment that tests/clients/README.md fixes.
type settings struct {
	endpoint, hostport, ca              string
	project, location, image, transport string
}

func (s settings) parent() string { return "projects/" + s.project + "/locations/" + s.location }

type line struct {
	Client    string `json:"client"`
	Version   string `json:"version"`
	Transport string `json:"transport"`
	Case      string `json:"case"`
	OK        bool   `json:"ok"`
	MS        int64  `json:"ms"`
	Detail    string `json:"detail"`
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == module {
				return m.Version
			}
		}
	}
	return "unknown"
}

func env(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

// cannot ends the program with the line of --check: this client cannot run here.
func cannot(why string) {
	out, _ := json.Marshal(map[string]string{"client": "go", "skip": why})
	fmt.Println(string(out))
	os.Exit(77)
}

func main() {
	transport := flag.String("transport", "", "run the cases over this one")
	study := flag.String("studies", "", "walk through Vizier's methods over this one instead")
	tunings := flag.String("tunings", "", "walk through tuning jobs over this one instead")
	flag.Parse()
	s := settings{endpoint: os.Getenv("CUSP_ENDPOINT"), hostport: os.Getenv("CUSP_HOSTPORT"),
		ca: os.Getenv("CUSP_CA"), project: env("CUSP_PROJECT", "demo"),
		location: env("CUSP_LOCATION", "us-central1"), image: os.Getenv("CUSP_IMAGE"),
		transport: *transport + *study + *tunings}
	ctx, cancel := context.WithTimeout(context.Background(), 115*time.Second)
	defer cancel()
	if *study != "" || *tunings != "" {
		walk := walkStudies
		if *tunings != "" {
			walk = walkTuning
		}
		if err := walk(ctx, s); err != nil {
			fmt.Fprintln(os.Stderr, "go driver:", err)
			os.Exit(1)
		}
		fmt.Println("ok")
		return
	}
	client, err := dial(ctx, s)
	if err != nil {
		fmt.Fprintln(os.Stderr, "go driver:", err)
		os.Exit(2)
	}
	defer client.Close()
	os.Exit(runCases(ctx, s, client))
}

func runCases(ctx context.Context, s settings, client jobs) int {
	r := newRun(s, client)
	failed := 0
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for _, c := range cases {
		began := time.Now()
		detail, err := c.fn(ctx, r)
		l := line{"go", version(), s.transport, c.name, err == nil, time.Since(began).Milliseconds(), detail}
		if err != nil {
			l.Detail = err.Error()
			failed++
		}
		if err := out.Encode(l); err != nil {
			return 1
		}
	}
	r.clean(context.WithoutCancel(ctx))
	if failed > 0 {
		return 1
	}
	return 0
}
