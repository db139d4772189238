package mutate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	. "github.com/onsi/gomega"

	tcplab "github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/internal/vm/guest"
	"github.com/tcplab/tcplab/results"
)

func TestMain(m *testing.M) {
	guest.Main() // guests run this very program as their /init
	os.Exit(m.Run())
}

// root is the module's folder.
const root = "../../.."

// overlay writes the changed file and what go build needs to take it instead of the original.
func (m mutation) overlay(dir string) (path string, err error) {
	original, err := filepath.Abs(filepath.Join(root, m.file))
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		return "", fmt.Errorf("%s: %q is there %d times, and has to be once: bring the mutation up to date", m.file, m.old, n)
	}
	changed := filepath.Join(dir, "changed.go")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(source), m.old, m.new, 1)), 0o644); err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, text, 0o644)
}

func TestOverlay(t *testing.T) {
	g := NewWithT(t)
	_, err := mutation{file: "harness/internal/mutate/doc.go", old: "no such text"}.overlay(t.TempDir())
	g.Expect(err).To(MatchError(ContainSubstring("0 times")))
	_, err = mutation{file: "harness/internal/mutate/doc.go", old: "mutation"}.overlay(t.TempDir())
	g.Expect(err).To(MatchError(ContainSubstring("bring the mutation up to date")))
	_, err = mutation{file: "no/such.go"}.overlay(t.TempDir())
	g.Expect(err).To(MatchError(os.ErrNotExist))
}

// Each mutation must fit today's source and compile, or it would prove nothing.
func TestMutationsApply(t *testing.T) {
	testenv.Program(t, "go", "to list packages")
	names := map[string]bool{}
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			if names[m.name] {
				t.Error("there are two of this name")
			}
			names[m.name] = true
			overlay, err := m.overlay(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			build := exec.Command("go", "build", "-o", os.DevNull, "-overlay", overlay, "./"+filepath.Dir(m.file))
			build.Dir = root
			if output, err := build.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, output)
			}
		})
	}
}

// TestMutationsAreNoticed breaks tcplab in each way, and expects a spec or a test to fail.
func TestMutationsAreNoticed(t *testing.T) {
	if os.Getenv("TCPLAB_MUTATE") != "1" {
		t.Skip("compiles and runs the suites many times, for some minutes: set TCPLAB_MUTATE=1, or make mutate")
	}
	if _, _, err := tcplab.Choose(tcplab.Virtual); err != nil {
		t.Fatal(err)
	}
	// What fails unbroken would be taken for having noticed. Several mutations have the same specs.
	controls := map[string][]*results.Record{}
	control := func(t *testing.T, m mutation) []*results.Record {
		key := fmt.Sprint(m.suites, m.focus)
		red, ok := controls[key]
		if !ok {
			red = failed(run(t, mutation{suites: m.suites, focus: m.focus}))
			controls[key] = red
		}
		return red
	}

	var table bytes.Buffer
	lines := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(lines, "MUTATION\tRED\tTHE FIRST")
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			overlay, err := m.overlay(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if m.tests != "" {
				first := failedTest(t, m, overlay)
				if first == "" {
					t.Error("nobody noticed")
				}
				fmt.Fprintf(lines, "%s\ttests\t%s\n", m.name, cmp.Or(first, "nobody noticed"))
				return
			}
			if red := control(t, m); len(red) > 0 {
				t.Fatalf("fails without any mutation: %s: %s: %s", red[0].Suite, red[0].Scenario, red[0].Failure.Message)
			}
			records := run(t, m, "-overlay="+overlay)
			red := failed(records)
			if len(red) == 0 {
				t.Errorf("nobody noticed: %s", results.Count(records))
				fmt.Fprintf(lines, "%s\t0 of %d\tnobody noticed\n", m.name, len(records))
				return
			}
			fmt.Fprintf(lines, "%s\t%d of %d\t%s: %s\n", m.name, len(red), len(records), red[0].Suite, red[0].Scenario)
			t.Logf("%s: %s\n%s\nat %s", red[0].Suite, red[0].Scenario, red[0].Failure.Message, red[0].Failure.Location)
		})
	}
	lines.Flush()
	t.Logf("\n%s", &table)
}

// failedTest runs the tests that should notice a mutation, and returns the first that fails, or "". They have to pass
// without it.
func failedTest(t *testing.T, m mutation, overlay string) string {
	t.Helper()
	test := func(flags ...string) string {
		command := exec.Command("go", slices.Concat([]string{"test", "-count=1", "-run", m.match}, flags, []string{m.tests})...)
		command.Dir = root
		output, err := command.CombinedOutput()
		_, failure, found := strings.Cut(string(output), "--- FAIL: ")
		if err != nil && !found {
			t.Fatalf("%s: go test: %v\n%s", m.name, err, output)
		}
		name, _, _ := strings.Cut(failure, " ")
		return name
	}
	if name := test(); name != "" {
		t.Fatalf("%s: %s fails without any mutation", m.name, name)
	}
	return test("-overlay=" + overlay)
}

// run runs the suites that a mutation names, in guests.
func run(t *testing.T, m mutation, flags ...string) []*results.Record {
	t.Helper()
	var log bytes.Buffer
	session := tcplab.SessionOptions{Patterns: m.suites, BuildFlags: flags, Clock: tcplab.Virtual, Log: &log}
	options := tcplab.RunOptions{Seed: 1, Root: t.TempDir(), Quiet: true}
	if m.focus != "" {
		options.Filter.Focus = []string{m.focus}
	}
	summary, err := tcplab.Run(t.Context(), session, options)
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmp.Or(m.name, "without any mutation"), err, &log)
	}
	return summary.Records
}

// failed are the records of specs that failed by an assertion. A guest that died is no witness: its
// failure has no place in the source.
func failed(records []*results.Record) []*results.Record {
	var red []*results.Record
	for _, r := range records {
		if r.Verdict.Failed() && r.Failure != nil && r.Failure.Location != "" {
			red = append(red, r)
		}
	}
	return red
}
