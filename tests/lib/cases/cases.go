// Package cases runs the cases of a client's driver: one JSON line each, as tests/storage-clients/README.md says.
package cases

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"time"
)

// A Case fails by a panic, as Want and Must do.
type Case struct {
	Name string
	Run  func()
}

// Want fails the case unless ok.
func Want(ok bool, format string, args ...any) {
	if !ok {
		panic(fmt.Sprintf(format, args...))
	}
}

// Must fails the case for an error.
func Must(err error) {
	if err != nil {
		panic(err.Error())
	}
}

func version(module string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == module {
				return d.Version
			}
		}
	}
	return "?"
}

func detail(c Case) (why string) {
	defer func() {
		if e := recover(); e != nil {
			why = fmt.Sprint(e)
		}
	}()
	c.Run()
	return ""
}

// Main runs all, in order, and ends the program; module is the client's.
func Main(module, transport string, all []Case) {
	failed := 0
	for _, c := range all {
		start := time.Now()
		why := detail(c)
		if why != "" {
			failed++
		}
		line, _ := json.Marshal(map[string]any{"client": "go", "version": version(module), "transport": transport, "case": c.Name,
			"ok": why == "", "ms": time.Since(start).Milliseconds(), "detail": why})
		fmt.Println(string(line))
	}
	if failed > 0 {
		os.Exit(1)
	}
	os.Exit(0)
}
