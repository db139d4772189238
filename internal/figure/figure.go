package figure

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/picture"
)

// Names are what can be drawn, and Formats how.
var (
	Names   = []string{"tsg", "cwnd", "rtt", "queue", "goodput", "ladder"}
	Formats = []string{"svg", "png", "pdf"}
)

// Options say what is drawn.
type Options struct {
	What   string // one of Names
	Format string // one of Formats
	Title  string // of the document; it is not drawn, for a paper says it below
	// Connection is which one of the picture. Place is where it was captured: an index into its Views.
	Connection, View int
	// Side is whose data: "client", "server", or "" for the side that sent more.
	Side string
	// From and To are the times that are drawn, since the picture's start. Both 0: all.
	From, To time.Duration
	// Width and Height are in millimetres; 0 is 150 and 95. A ladder is as high as its rows need.
	Width, Height float64
}

const (
	millimetre            = 72 / 25.4 // in points
	least, most           = 40, 1000  // millimetres
	defaultWidth          = 150
	defaultHeight         = 95
	mostPackets           = 20_000 // drawn in one figure: more are one black area
	fontSize              = 8.5
	smallSize             = 7.5
	margin                = 6
	leftMargin            = 50
	rowHeight, sampleSize = 12, 20
)

// ErrNothing says that there is nothing to draw: the scenario did not record what the plot shows.
var ErrNothing = errors.New("there is nothing to draw")

// Check refuses what cannot be drawn of any picture.
func (o Options) Check() error {
	if !slices.Contains(Names, o.What) {
		return fmt.Errorf("plot %q: there are %s", o.What, strings.Join(Names, ", "))
	}
	if err := CheckFormat(o.Format); err != nil {
		return err
	}
	switch {
	case o.Side != "" && o.Side != "client" && o.Side != "server":
		return fmt.Errorf("data of %q: it is of client or server", o.Side)
	case o.From < 0 || o.To < 0 || o.To != 0 && o.To <= o.From:
		return fmt.Errorf("from %v to %v: times are since the beginning, and the first is before the second", o.From, o.To)
	}
	for _, size := range []float64{o.Width, o.Height} {
		if size != 0 && !(size >= least && size <= most) {
			return fmt.Errorf("%v mm: a figure has %d to %d mm", size, least, most)
		}
	}
	return nil
}

// Write draws one plot of a picture.
func Write(w io.Writer, p *picture.Picture, o Options) error {
	if err := o.Check(); err != nil {
		return err
	}
	if len(p.Connections) == 0 {
		return fmt.Errorf("%w: there are no TCP packets", ErrNothing)
	}
	if o.Connection < 0 || o.Connection >= len(p.Connections) {
		return fmt.Errorf("connection %d: there are %d, from 0", o.Connection, len(p.Connections))
	}
	k := &p.Connections[o.Connection]
	if o.View < 0 || o.View >= len(k.Views) {
		return fmt.Errorf("place %d: connection %d was captured at %d, from 0", o.View, o.Connection, len(k.Views))
	}
	d := &drawing{Options: o, Picture: p, place: k.Views[o.View].Place, fromServer: o.Side == "server" || o.Side == "" && k.Busier()}
	d.width, d.height = orDefault(o.Width, defaultWidth)*millimetre, orDefault(o.Height, defaultHeight)*millimetre
	if d.To == 0 {
		beside := (k.Last - k.First) / 50 // marks at the ends are whole
		d.From, d.To = k.First-beside, k.Last+beside
	}
	d.To = max(d.To, d.From+time.Microsecond)
	if packets := d.count(); packets > mostPackets {
		d.Picture = p.Reduce(mostPackets)
	}
	var err error
	switch o.What {
	case "tsg":
		err = d.sequence()
	case "ladder":
		err = d.ladder()
	default:
		err = d.series()
	}
	if err != nil {
		return err
	}
	return d.write(w)
}

func orDefault(v, otherwise float64) float64 {
	if v == 0 {
		return otherwise
	}
	return v
}

// drawing is one figure while it is drawn.
type drawing struct {
	Options
	*picture.Picture
	page
	place      int
	fromServer bool
}

// count is how many packets of the connection are in the time that is drawn.
func (d *drawing) count() (n int) {
	for i := range d.Packets {
		k := &d.Packets[i]
		if k.Connection == d.Connection && k.At >= d.From && k.At <= d.To {
			n++
		}
	}
	return n
}
