// Package watch looks at the TCP sockets of a network namespace time and again: how many are in which state, which connections are
// the busiest and which are sick, who owns them, what waits at listeners, and which counters move.
//
//	w, err := watch.New(nil, watch.Options{})
//	...
//	defer w.Close()
//	for {
//		reading, err := w.Read(watch.Query{})
//		...
//	}
//
// One reading is one listing by sock_diag (package harness/kernel). Of all sockets only a few words are kept from one reading to the
// next, and of the listing only the connections that the [Query] asks for, so that a machine may have 100,000 of them. Package
// screen shows readings in a terminal; [Reading.Text] writes them as lines.
//
// It reads and changes nothing. It needs root only for another namespace, and for the owners of other users' sockets.
package watch

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/harness/kernel"
)

// Options say how to watch. The zero value is as good as any.
type Options struct {
	// Long is for how long a connection may stay in a state of closing, or with data that its program does not read, before it counts
	// as sick. 0 is 10 s.
	Long time.Duration
	// Window is how far back retransmits and drops count as recent: that long to twice as long. 0 is 10 s.
	Window time.Duration
	// Proc is where proc(5) is mounted, "" is /proc: for owners.
	Proc string
	// Search is how long a reading may look for owners in /proc; the next one goes on with it. 0 is 100 ms.
	Search time.Duration
}

func (o Options) withDefaults() Options {
	const long, search = 10 * time.Second, 100 * time.Millisecond
	o.Long, o.Window, o.Search = cmp.Or(o.Long, long), cmp.Or(o.Window, long), cmp.Or(o.Search, search)
	o.Proc = cmp.Or(o.Proc, "/proc")
	return o
}

// Validate returns what is wrong with o: an *invalid.FieldError for each field, joined.
func (o Options) Validate() error {
	var errs []error
	for _, f := range []struct {
		name  string
		value time.Duration
	}{{"Long", o.Long}, {"Window", o.Window}, {"Search", o.Search}} {
		if f.value < 0 {
			errs = append(errs, &invalid.FieldError{Field: "Options." + f.name, Value: f.value, Allowed: "0 and more"})
		}
	}
	return errors.Join(errs...)
}

// A Query is what a reading should have of the connections. The zero value asks for the ten sickest and the ten busiest of all.
type Query struct {
	Filter  Filter
	Most    int    // of the sickest, and of the busiest; 0 is 10
	Order   Order  // of Connections
	Reverse bool   // the other way round
	Listed  int    // how many Connections to list in that order; 0 is none
	Open    uint64 // the cookie of the connection to open: the reading has its TCP_INFO
}

// A Reading is what there was at one time. It belongs to whoever has asked for it, and does not change any more.
type Reading struct {
	At   time.Time     `json:"at"`
	Took time.Duration `json:"took_ns"`
	// Since is the time since the reading before: what rates and moved counters are of. 0 is the first one.
	Since   time.Duration `json:"since_ns"`
	Filter  string        `json:"filter,omitempty"`
	Sockets int           `json:"sockets"` // that pass the filter
	Others  int           `json:"others"`  // that do not

	States    []StateCount `json:"states"` // of the sockets that pass the filter; those that had one since the beginning
	Listeners []Listener   `json:"listeners"`
	// Sick counts the connections with troubles; Sickest are the worst of them, the worst first.
	Sick    int          `json:"sick"`
	Sickest []Connection `json:"sickest"`
	Busiest []Connection `json:"busiest"` // those that carried a byte a second or more since the reading before

	// Connections are those that the query lists, in its order.
	Connections []Connection `json:"connections,omitempty"`
	// Opened is the connection that the query opens, nil if it is not there (any more).
	Opened *Opened `json:"opened,omitempty"`

	Moved []Moved `json:"moved"` // the counters that have changed since the reading before

	// Hidden says that /proc hides the descriptors of some processes from this one, so that owners may be missing.
	Hidden bool `json:"hidden,omitempty"`
	// Searching says that owners are still being looked for.
	Searching bool `json:"searching,omitempty"`
}

// A StateCount is how many sockets are in a state, and how many were.
type StateCount struct {
	State kernel.State `json:"state"`
	Count int          `json:"count"`
	// History has the counts of the readings before and of this one, the latest last: up to 600.
	History []int `json:"-"`
}

// Opened is one connection with all that the kernel tells of it.
type Opened struct {
	Connection
	Socket kernel.Socket `json:"socket"`
}

// A Watcher reads time and again. Its methods must not be called at the same time.
type Watcher struct {
	options Options
	in      kernel.Runner
	sockets *kernel.SocketReader
	owners  owners

	tracks     map[uint64]track // by cookie
	generation uint32
	windows    windows
	filter     string
	histories  histories
	counters   kernel.Counters
	last       time.Time
}

// New begins to watch the sockets of a namespace. The caller closes it.
func New(namespace *Namespace, o Options) (*Watcher, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	var in kernel.Runner // nil, and no Runner that is nil
	if namespace != nil {
		in = namespace
	}
	sockets, err := kernel.OpenSockets(in, kernel.SocketFilter{})
	if err != nil {
		return nil, err
	}
	return &Watcher{
		options: o, in: in, sockets: sockets, owners: owners{proc: o.Proc}, tracks: map[uint64]track{},
	}, nil
}

// Close ends it.
func (w *Watcher) Close() {
	w.owners.close()
	w.sockets.Close()
}

// listing is what is gathered of one listing.
type listing struct {
	now, before time.Time // before: the zero time at the first one
	turned      bool      // windows did, just now
	passes      func(*kernel.Socket) bool
	opened      uint64

	counts    counts
	others    int
	sick      int
	halfOpen  map[localPort]int
	listeners []Listener
	sickest   *best
	busiest   *best
	listed    *best
	open      *Opened

	connection Connection // the one that is being looked at, here so that none of 100,000 has to be allocated
}

// Read looks once.
func (w *Watcher) Read(q Query) (*Reading, error) {
	most := cmp.Or(q.Most, defaultMost)
	passes, err := q.Filter.matcher(w.options.Proc)
	if err != nil {
		return nil, err
	}
	l := &listing{
		now: time.Now(), before: w.last, passes: passes, opened: q.Open, halfOpen: map[localPort]int{},
		sickest: newBest(most, Sick.less), busiest: newBest(most, Busy.less), listed: newBest(q.Listed, q.Order.ordered(q.Reverse)),
	}
	w.generation++
	l.turned = w.windows.turn(l.now, w.options.Window)
	if err := w.sockets.Each(func(s *kernel.Socket) { w.add(l, s, q.Filter) }); err != nil {
		return nil, err
	}
	w.forget()
	r := &Reading{
		At: l.now, Filter: q.Filter.String(), Others: l.others, Sick: l.sick, Listeners: l.listeners, Opened: l.open,
		Sickest: l.sickest.sorted(), Busiest: l.busiest.sorted(), Connections: l.listed.sorted(),
	}
	if filter := q.Filter.String(); filter != w.filter { // the counts before are of other sockets
		w.filter, w.histories = filter, histories{}
	}
	r.States, r.Sockets = w.histories.add(l.counts)
	if !l.before.IsZero() {
		r.Since = l.now.Sub(l.before)
	}
	if r.Moved, err = w.moved(); err != nil {
		return nil, err
	}
	for i := range r.Listeners {
		r.Listeners[i].HalfOpen = l.waiting(&r.Listeners[i])
		r.Listeners[i].Troubles = r.Listeners[i].troubles(w.windows.length(l.now))
	}
	slices.SortStableFunc(r.Listeners, compareListeners)
	w.own(r)
	w.last = l.now
	r.Took = time.Since(l.now)
	return r, nil
}

// defaultMost is how many connections a reading has of the sickest, and of the busiest.
const defaultMost = 10

// add takes one socket of a listing.
func (w *Watcher) add(l *listing, s *kernel.Socket, f Filter) {
	t, sendRate, receiveRate := w.follow(l, s)
	if !l.passes(s) {
		l.others++
		return
	}
	if s.State == kernel.Listen {
		l.counts[s.State]++
		l.listeners = append(l.listeners, newListener(s, &t))
		return
	}
	c := &l.connection
	*c = newConnection(s, &t, l.now.Sub(w.windows.first))
	c.SendRate, c.ReceiveRate = sendRate, receiveRate
	c.judge(w.options.Long)
	if f.Sick && c.sickness == 0 {
		l.others++
		return
	}
	l.counts[s.State]++
	if s.State == kernel.SynRecv || s.State == kernel.NewSynRecv {
		l.halfOpen[localPort{s.Local.Addr(), s.Local.Port()}]++
		l.halfOpen[localPort{port: s.Local.Port()}]++
	}
	if c.sickness > 0 {
		l.sick++
		l.sickest.offer(c)
	}
	if c.SendRate+c.ReceiveRate >= 1 {
		l.busiest.offer(c)
	}
	l.listed.offer(c)
	if s.Cookie == l.opened {
		l.open = &Opened{Connection: *c, Socket: *s}
	}
}

// own finds the owners of all that a reading shows, and says what is wrong with it.
func (w *Watcher) own(r *Reading) {
	window := w.windows.length(r.At)
	var inodes []uint32
	each := func(f func(inode uint32, owner **Owner, c *Connection)) {
		for _, list := range [][]Connection{r.Sickest, r.Busiest, r.Connections} {
			for i := range list {
				f(list[i].Inode, &list[i].Owner, &list[i])
			}
		}
		for i := range r.Listeners {
			f(r.Listeners[i].Inode, &r.Listeners[i].Owner, nil)
		}
		if r.Opened != nil {
			f(r.Opened.Inode, &r.Opened.Owner, &r.Opened.Connection)
		}
	}
	each(func(inode uint32, _ **Owner, _ *Connection) { inodes = append(inodes, inode) })
	w.owners.find(inodes, time.Now().Add(w.options.Search))
	each(func(inode uint32, owner **Owner, c *Connection) {
		*owner = w.owners.of(inode)
		if c != nil {
			c.Troubles = c.troubles(window)
		}
	})
	r.Hidden, r.Searching = w.owners.hidden, w.owners.searching()
}
