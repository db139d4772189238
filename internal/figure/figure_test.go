package figure

import (
	"bytes"
	"compress/zlib"
	"encoding/xml"
	"errors"
	"fmt"
	"image/color"
	"image/png"
	"io"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/internal/golden"
	"github.com/tcplab/tcplab/internal/picture"
	"github.com/tcplab/tcplab/results"
)

const recorded = "../picture/testdata"

func scenario(t testing.TB, name string) *picture.Picture {
	t.Helper()
	r, err := results.Read(filepath.Join(recorded, name, results.FileName))
	if err != nil {
		t.Fatal(err)
	}
	return picture.OfScenario(r)
}

func drawn(t testing.TB, p *picture.Picture, o Options) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := Write(&out, p, o); err != nil {
		t.Fatalf("%+v: %v", o, err)
	}
	return out.Bytes()
}

func TestGolden(t *testing.T) {
	p := scenario(t, "tailloss")
	golden.Compare(t, "tailloss-tsg.svg", drawn(t, p, Options{What: "tsg", Format: "svg", Title: "two lost tail segments"}))
	golden.Compare(t, "tailloss-ladder.svg", drawn(t, p, Options{What: "ladder", Format: "svg", To: 300 * time.Millisecond}))
}

// The plot has each drop, each retransmission by its letter, and each segment of the capture.
func TestSequenceHasWhatHappened(t *testing.T) {
	p := scenario(t, "tailloss")
	svg := string(drawn(t, p, Options{What: "tsg", Format: "svg"}))
	place := p.Connections[0].Views[0].Place
	segments, again, dropped := 0, 0, 0
	for i := range p.Packets {
		k := &p.Packets[i]
		switch {
		case p.Places[k.Place].Dropped:
			dropped++
		case k.Place == place && !k.FromServer && k.HasData() && k.Cause == picture.None:
			segments++
		case k.Place == place && !k.FromServer && k.HasData():
			again++
		}
	}
	if again != 2 || dropped != 2 {
		t.Fatalf("the scenario has %d retransmissions and %d drops", again, dropped)
	}
	for _, want := range []string{
		fmt.Sprintf(">segments sent (%d)<", segments), fmt.Sprintf(">dropped by a rule (%d)<", dropped), ">retransmitted: fast (1)<", ">retransmitted: tail loss probe (1)<",
	} {
		if !strings.Contains(svg, want) {
			t.Errorf("the legend does not say %q", want)
		}
	}
	for _, letter := range []string{">P<", ">F<"} { // beside the segment, and in the legend
		if n := strings.Count(svg, letter); n != 2 {
			t.Errorf("%d times %s", n, letter)
		}
	}
}

// What is drawn in all formats is what they are, and the same each time.
func TestFormats(t *testing.T) {
	for _, name := range []string{"tailloss", "deadreceiver", "halfclose"} {
		p := scenario(t, name)
		for _, what := range Names {
			for _, format := range Formats {
				if format == "png" && (name != "tailloss" || what == "ladder") {
					continue // pixels take long, and are made of the same lines
				}
				o := Options{What: what, Format: format, Width: 40, Title: "a <title> & more"}
				var out, second bytes.Buffer
				err := Write(&out, p, o)
				if errors.Is(err, ErrNothing) && (what == "cwnd" || what == "queue") {
					continue // none of these was recorded
				}
				if err != nil {
					t.Errorf("%s %s as %s: %v", name, what, format, err)
					continue
				}
				if err := Write(&second, p, o); err != nil || !bytes.Equal(out.Bytes(), second.Bytes()) {
					t.Errorf("%s %s as %s is not the same twice: %v", name, what, format, err)
				}
				switch format {
				case "svg":
					checkSVG(t, out.Bytes())
				case "pdf":
					checkPDF(t, out.Bytes())
				default:
					checkPNG(t, out.Bytes())
				}
			}
		}
	}
}

func checkSVG(t *testing.T, file []byte) {
	t.Helper()
	decoder := xml.NewDecoder(bytes.NewReader(file))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("no XML: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok && !slices.Contains(strings.Fields("svg title rect path text"), e.Name.Local) {
			t.Errorf("the element %s", e.Name.Local)
		}
	}
}

// checkPDF reads the table of objects, and the page's stream.
func checkPDF(t *testing.T, file []byte) {
	t.Helper()
	start := regexp.MustCompile(`startxref\n(\d+)\n%%EOF\n$`).FindSubmatch(file)
	if start == nil {
		t.Fatal("the PDF has no end")
	}
	at, _ := strconv.Atoi(string(start[1]))
	if !bytes.HasPrefix(file[at:], []byte("xref\n")) {
		t.Fatal("startxref is elsewhere")
	}
	for i, entry := range regexp.MustCompile(`(\d{10}) 00000 n \n`).FindAllSubmatch(file[at:], -1) {
		offset, _ := strconv.Atoi(string(entry[1]))
		if want := fmt.Sprintf("%d 0 obj\n", i+1); !bytes.HasPrefix(file[offset:], []byte(want)) {
			t.Errorf("object %d is not at %d", i+1, offset)
		}
	}
	_, stream, _ := bytes.Cut(file, []byte("stream\n"))
	z, err := zlib.NewReader(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); !slices.Contains(strings.Fields("m l c h S f RG rg w d"), fields[len(fields)-1]) {
			t.Fatalf("the operator of %q", line)
		}
	}
	if bytes.Contains(file, []byte("/Font")) {
		t.Error("the PDF needs a font")
	}
}

func checkPNG(t *testing.T, file []byte) {
	t.Helper()
	image, err := png.Decode(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if width := image.Bounds().Dx(); width != 473 { // 40 mm at 300 dpi
		t.Errorf("%d pixels wide", width)
	}
	dark := 0
	for x := range image.Bounds().Dx() {
		for y := range image.Bounds().Dy() {
			if r, _, _, _ := image.At(x, y).RGBA(); r < 0x8000 {
				dark++
			}
		}
	}
	if dark < 500 {
		t.Errorf("%d dark pixels", dark)
	}
}

// Without colours things are still told apart: lines of one plot by dashes and marks, retransmissions by letters.
func TestBlackAndWhite(t *testing.T) {
	for i, a := range looks {
		for _, b := range looks[:i] {
			if reflect.DeepEqual(a.dash, b.dash) && reflect.ValueOf(a.mark).Pointer() == reflect.ValueOf(b.mark).Pointer() {
				t.Errorf("two lines differ in their colours only: %+v, %+v", a, b)
			}
		}
	}
	letters := map[string]analysis.Cause{}
	for cause := range analysis.CauseUnknown + 1 {
		letter := causeLook[cause].letter
		if other, taken := letters[letter]; taken || letter == "" {
			t.Errorf("%v and %v have the letter %q", cause, other, letter)
		}
		letters[letter] = cause
	}
	for i, a := range []pen{ackPen, edgePen, stepPen, sackPen, dsackPen} {
		for _, b := range []pen{ackPen, edgePen, stepPen, sackPen, dsackPen}[:i] {
			if reflect.DeepEqual(a.dash, b.dash) {
				t.Errorf("two lines have the dashes %v", a.dash)
			}
		}
	}
}

// Text of others is text: in a name of a host, a rule, or the title.
func TestHostileTextIsText(t *testing.T) {
	const attack = "</text><script>alert(1)</script>]]>\x1b[31m"
	p := scenario(t, "tailloss")
	for i := range p.Hosts {
		p.Hosts[i] = attack
	}
	for i := range p.Rules {
		p.Rules[i] = attack
	}
	for _, what := range []string{"ladder", "rtt"} {
		svg := drawn(t, p, Options{What: what, Format: "svg", Title: attack, To: time.Second})
		checkSVG(t, svg)
		if bytes.Contains(svg, []byte("<script")) || bytes.ContainsRune(svg, 0x1b) {
			t.Errorf("%s has what is no text: %s", what, svg)
		}
		drawn(t, p, Options{What: what, Format: "pdf", Title: attack, To: time.Second})
		drawn(t, p, Options{What: what, Format: "png", Title: attack, To: time.Second})
	}
}

func TestWhatCannotBeDrawn(t *testing.T) {
	p := scenario(t, "tailloss")
	good := Options{What: "tsg", Format: "svg"}
	for name, change := range map[string]func(*Options){
		`plot "x"`: func(o *Options) { o.What = "x" }, `format "x"`: func(o *Options) { o.Format = "x" }, `data of "x"`: func(o *Options) { o.Side = "x" },
		"connection 1: there are 1": func(o *Options) { o.Connection = 1 }, "place 9: ": func(o *Options) { o.View = 9 },
		"from 2s to 1s": func(o *Options) { o.From, o.To = 2*time.Second, time.Second }, "5 mm: a figure has 40": func(o *Options) { o.Width = 5 },
		"there is nothing to draw": func(o *Options) { o.What = "queue" }, "no packet of that direction": func(o *Options) { o.From, o.To = time.Hour, 2*time.Hour },
		"do not fit into 40 mm": func(o *Options) { o.What, o.Height = "ladder", 40 },
	} {
		o := good
		change(&o)
		if err := Write(io.Discard, p, o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s gives %v", name, err)
		}
	}
	if err := Write(io.Discard, &picture.Picture{}, good); !errors.Is(err, ErrNothing) {
		t.Errorf("an empty picture gives %v", err)
	}
}

func TestDashes(t *testing.T) {
	got := dashed([]point{{0, 0}, {3, 0}, {3, 4}}, []float64{2, 1})
	want := [][]point{{{0, 0}, {2, 0}}, {{3, 0}, {3, 2}}, {{3, 3}, {3, 4}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("dashes are %v, want %v", got, want)
	}
}

func TestClip(t *testing.T) {
	b := box{0, 0, 10, 10}
	for _, c := range []struct {
		line []point
		want [][]point
	}{
		{[]point{{-5, 5}, {15, 5}}, [][]point{{{0, 5}, {10, 5}}}},
		{[]point{{1, 1}, {2, 2}, {20, 2}, {20, 8}, {5, 8}}, [][]point{{{1, 1}, {2, 2}, {10, 2}}, {{10, 8}, {5, 8}}}},
		{[]point{{-5, 20}, {15, 20}}, nil}, {[]point{{-2, 5}, {5, 12}}, [][]point{{{0, 7}, {3, 10}}}},
	} {
		if got := b.clipLine(c.line); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v is clipped to %v, want %v", c.line, got, c.want)
		}
	}
}

// A pixel is dark where the line is, and only there.
func TestPixels(t *testing.T) {
	c := newPNG(72, 72) // 300 by 300
	c.stroke([][]point{{{0, 36}, {72, 36}}}, pen{colour: color.RGBA{A: 255}, width: 12})
	for y, want := range map[int]uint32{100: 0xffff, 150: 0, 130: 0, 170: 0, 180: 0xffff} {
		if r, _, _, _ := c.image.At(150, y).RGBA(); r != want {
			t.Errorf("at %d the pixel is %x, want %x", y, r, want)
		}
	}
}

// What is partly beside the page is drawn where it is, and nowhere else.
func TestPixelsBesideThePage(t *testing.T) {
	c := newPNG(72, 72)
	c.text(point{60, 36}, 20, 0, "beside the page", black)
	for y := range 300 {
		if r, _, _, _ := c.image.At(3, y).RGBA(); r != 0xffff {
			t.Fatalf("what leaves the page at the right is at its left, at %d", y)
		}
	}
	if text := fitting("ACK 1:1449 (1448) ack 1", 8, 50); textWidth(text, 8) > 50 || text == "..." {
		t.Errorf("what fits is %q", text)
	}
}

func TestTicks(t *testing.T) {
	for v, want := range map[float64]float64{0.7: 1, 1: 1, 1.2: 2, 3: 5, 7: 10, 0.03: 0.05, 0: 1} {
		if got := nice(v); got != want {
			t.Errorf("nice(%v) is %v, want %v", v, got, want)
		}
	}
	if a, b := tickText(0.5, 0.05), tickText(200, 100); a != "0.50" || b != "200" {
		t.Errorf("ticks are %q and %q", a, b)
	}
}

func ExampleWrite() {
	p, err := picture.OfCapture(recorded + "/tailloss/capture.pcapng")
	if err != nil {
		panic(err)
	}
	var out bytes.Buffer
	if err := Write(&out, p, Options{What: "tsg", Format: "svg"}); err != nil {
		panic(err)
	}
	fmt.Println(strings.Contains(out.String(), "retransmitted: tail loss probe (1)"))
	// Output: true
}
