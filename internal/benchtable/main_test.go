package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const output = `goos: linux
goarch: amd64
pkg: example.com/mine/bench
cpu: Some CPU
BenchmarkFlow/Mbit=20/with=bare-2         	       1	        19.6 busy-%	         1.3 cpu-s/virtual-s	       117.2 virtual-us/packet
BenchmarkFlow/Mbit=20/with=capture-2      	       1	        21.4 busy-%	       126.7 virtual-us/packet	         1.08 x-bare
PASS
ok  	example.com/mine/bench	48.8s
pkg: example.com/mine/netns
BenchmarkRouted 	     100	   4200000 ns/op
BenchmarkRouted 	     100	   4600000 ns/op
BenchmarkRouted 	     100	   4300000 ns/op
`

const expected = `On Some CPU:

| bench: Flow | busy-% | cpu-s/virtual-s | virtual-us/packet | x-bare |
|---|---:|---:|---:|---:|
| Mbit 20, with bare | 19.6 | 1.3 | 117 |  |
| Mbit 20, with capture | 21.4 |  | 127 | 1.08 |

| netns: Routed | ns/op |
|---|---:|
| all of it | 4300000 |

`

func TestTables(t *testing.T) {
	var out strings.Builder
	if err := run(nil, strings.NewReader(output), &out); err != nil || out.String() != expected {
		t.Errorf("%v\n%s", err, out.String())
	}
	if err := run(nil, strings.NewReader("PASS\n"), &out); err == nil {
		t.Error("nothing was measured, and that is no error")
	}
}

func TestIntoAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "performance.md")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("# Performance\n\n" + begin + "old\n" + end + "\nafter\n")
	for range 2 {
		if err := run([]string{path}, strings.NewReader(output), nil); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if want := "# Performance\n\n" + begin + "\n" + expected + end + "\nafter\n"; string(text) != want {
			t.Errorf("%s", text)
		}
	}
	write("# Performance\n")
	if err := run([]string{path}, strings.NewReader(output), nil); err == nil {
		t.Error("there is no place for the tables, and that is no error")
	}
}
