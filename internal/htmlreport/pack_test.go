package htmlreport

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/htmlreport/reporttest"
	"github.com/tcplab/tcplab/results"
)

// manyReport has the scenarios of testReport so many times, each time under other names.
func manyReport(t testing.TB, times int) results.Report {
	t.Helper()
	var many results.Report
	for n := range times {
		for _, r := range testReport(t).Records {
			r.Scenario = fmt.Sprintf("%s, time %d", r.Scenario, n)
			many.Records = append(many.Records, r)
		}
	}
	return many
}

// Where packets do not fit, each scenario keeps some: those that need no more than their share keep all, and the others have about as much room
// as each other.
func TestEachScenarioKeepsPackets(t *testing.T) {
	report := manyReport(t, 10)
	whole, least := pageOf(t, report, Options{}), len(pageOf(t, report, Options{Size: 1}))
	for _, share := range []int{2, 4} {
		size := least + (len(whole)-least)/share
		page := pageOf(t, report, Options{Size: size})
		if len(page) > size {
			t.Errorf("%d bytes where %d were asked for", len(page), size)
		}
		var thinned []int
		largest := 0
		for i, r := range report.Records {
			drawing := len(block64(page, fmt.Sprint("drawing", i)))
			largest = max(largest, drawing)
			all := len(unpackScenario(t, whole, i).columns["packet.frame"])
			switch n := len(unpackScenario(t, page, i).columns["packet.frame"]); {
			case n == 0:
				t.Errorf("a page of %d bytes of %d has no packet of %s", len(page), len(whole), r.Scenario)
			case n < all:
				thinned = append(thinned, drawing)
			}
		}
		if len(thinned) == 0 {
			t.Fatalf("nothing was left out at %d bytes of %d", size, len(whole))
		}
		if smallest := slices.Min(thinned); smallest < largest/2 {
			t.Errorf("of the scenarios that lost packets one has %d bytes, while another has %d", smallest, largest)
		}
	}
}

// The scenarios of a bundle are those with much in common, and a bundle is never large: opening a scenario unpacks it.
func TestBundles(t *testing.T) {
	var parts []*part
	for i := range 100 {
		parts = append(parts, &part{name: fmt.Sprint("suite", i%2), known: members{"record.n": json.RawMessage(fmt.Sprint(i))}})
	}
	parts[0].known["large"] = json.RawMessage(`"` + strings.Repeat("x", 2*bundleBytes) + `"`)
	blocks, places, err := bundle(parts)
	if err != nil {
		t.Fatal(err)
	}
	in := make([]map[int]bool, len(blocks)) // suites
	count := make([]int, len(blocks))
	for i, at := range places {
		if in[at[0]] == nil {
			in[at[0]] = map[int]bool{}
		}
		in[at[0]][i%2] = true
		count[at[0]]++
		lists := unpackJSON[map[string][]json.RawMessage](t, dataBlock("one", blocks[at[0]]), "one")
		if got := string(lists["record.n"][at[1]]); got != fmt.Sprint(i) {
			t.Errorf("where scenario %d should be is %s", i, got)
		}
	}
	mixed := 0
	for _, suites := range in {
		if len(suites) > 1 {
			mixed++
		}
	}
	if mixed > 1 || slices.Max(count) > bundleScenarios || count[places[0][0]] != 1 {
		t.Errorf("bundles have %v scenarios, and %d of them those of several suites; that of the large scenario has %d", count, mixed, count[places[0][0]])
	}
}

// What is strange about one scenario stays in its own place of a bundle.
func TestHostileTextInABundle(t *testing.T) {
	report := testReport(t)
	report.Records = append(report.Records, reporttest.Hostile(t).Records...)
	for _, r := range report.Records {
		r.Suite = "same" // the same bundle
	}
	page := pageOf(t, report, Options{})
	if strings.Contains(page, "hacked") {
		t.Error("the page has text of others as it is")
	}
	for i, r := range report.Records {
		var got struct{ Scenario, Verdict string }
		content := unpackScenario(t, page, i).content
		for name, to := range map[string]*string{"record.scenario": &got.Scenario, "record.verdict": &got.Verdict} {
			if err := json.Unmarshal(content[name], to); err != nil {
				t.Errorf("%s of scenario %d: %v", name, i, err)
			}
		}
		if got.Scenario != r.Scenario || got.Verdict != string(r.Verdict) {
			t.Errorf("scenario %d is %+v, want %s and %s", i, got, r.Scenario, r.Verdict)
		}
		if hostile := strings.Contains(string(content["record.topology"]), "hacked"); hostile != (i == len(report.Records)-1) {
			t.Errorf("the topology of scenario %d has text of another: %s", i, content["record.topology"])
		}
	}
}

// The lines of a spec are in the page once.
func TestSourcesAreThereOnce(t *testing.T) {
	var all sources
	lines := func(first int, text ...string) *sourceLines { return &sourceLines{"a_test.go", first, text} }
	if all.add(nil) != nil {
		t.Error("no source has an index")
	}
	for i, want := range []int{0, 1, 0, 2, 1} {
		of := []*sourceLines{lines(1, "x"), lines(2, "x"), lines(1, "x"), lines(1, "x", "y"), lines(2, "x")}[i]
		if got := all.add(of); got == nil || *got != want {
			t.Errorf("lines %d are number %v, want %d", i, got, want)
		}
	}
	if len(all) != 3 {
		t.Errorf("%d sources", len(all))
	}
}
