package show

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/golden"
	"github.com/tcplab/tcplab/internal/picture"
	"github.com/tcplab/tcplab/results"
)

func record(t testing.TB, name string) *results.Record {
	t.Helper()
	r, err := results.Read(filepath.Join("../picture/testdata", name, results.FileName))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func shown(t testing.TB, name string, o Options) string {
	t.Helper()
	r := record(t, name)
	var out bytes.Buffer
	if err := Record(&out, r, picture.OfScenario(r), o); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestGolden(t *testing.T) {
	golden.Compare(t, "tailloss.txt", []byte(shown(t, "tailloss", Options{})))
	golden.Compare(t, "deadreceiver-around.txt", []byte(shown(t, "deadreceiver", Options{Around: 113, Columns: 120})))
}

// Each packet that was sent is a line, and those that were dropped have a cross.
func TestAll(t *testing.T) {
	r := record(t, "tailloss")
	p := picture.OfScenario(r)
	var out bytes.Buffer
	if err := Record(&out, r, p, Options{All: true, Colour: true}); err != nil {
		t.Fatal(err)
	}
	sent, dropped := 0, 0
	for _, k := range p.Packets {
		if !p.Places[k.Place].Dropped {
			sent++
		} else {
			dropped++
		}
	}
	if n := strings.Count(out.String(), " #"); n != sent {
		t.Errorf("%d lines of %d packets", n, sent)
	}
	if n := strings.Count(out.String(), "✕"); n != dropped || strings.Count(out.String(), red) != dropped {
		t.Errorf("%d crosses of %d packets", n, dropped)
	}
}

func TestConnectionThatIsNotThere(t *testing.T) {
	r := record(t, "tailloss")
	for _, n := range []int{-1, 1} {
		if err := Record(&bytes.Buffer{}, r, picture.OfScenario(r), Options{Connection: n}); err == nil {
			t.Errorf("connection %d gives no error", n)
		}
	}
}

func TestBar(t *testing.T) {
	bound := func(v float64) *float64 { return &v }
	for _, c := range []struct {
		value        float64
		lower, upper *float64
		want         string
	}{
		{5, bound(0), bound(10), " |-----o-----| "}, {0, bound(0), bound(10), " |o----------| "}, {10, bound(0), bound(10), " |----------o| "},
		{-1, bound(0), bound(10), "x|-----------| "}, {11, bound(0), bound(10), " |-----------|x"}, {7, bound(7), bound(7), " |-----o-----| "},
		{8, bound(7), bound(7), " |-----------|x"}, {3, bound(1), nil, " |----------o> "}, {3, nil, bound(5), " <o----------| "},
	} {
		if got := barOf(results.Metric{Value: c.value, Bounds: &results.Bounds{Lower: c.lower, Upper: c.upper}}); got != c.want {
			t.Errorf("%v in %v to %v is %q, want %q", c.value, c.lower, c.upper, got, c.want)
		}
	}
}

func TestBraille(t *testing.T) {
	s := picture.Series{Times: []time.Duration{0, 10}, Values: []float64{0, 7}}
	got := braille(s, 0, 10, 7, 3, 2)
	if want := []string{"⠀⠀⢸", "⣀⣀⣸"}; strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	braille(picture.Series{Times: []time.Duration{-5, 99}, Values: []float64{-1, 1e18}}, 0, 0, 0, 1, 1) // whatever there is, there is no panic
}

func ExampleRecord() {
	r, err := results.Read("../picture/testdata/tailloss/record.json")
	if err != nil {
		panic(err)
	}
	var out bytes.Buffer
	if err := Record(&out, r, picture.OfScenario(r), Options{}); err != nil {
		panic(err)
	}
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, "retransmitted: fast") {
			os.Stdout.WriteString(strings.TrimLeft(line, " "))
		}
	}
	// Output:
	// 272.246 │──────────────────────────▶│  #30 ACK 14481:15929 (1448) ack 1 win 64256  [retransmitted: fast; delay 2ms (delay 2ms retransmission)]
}
