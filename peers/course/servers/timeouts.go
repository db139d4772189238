package servers

import "time"

// Timeouts are deadlines that are all set the same time ahead. So they end in the order in which they were started, and a list is enough:
// to start one and to stop one takes no search.
type timeouts struct {
	after      time.Duration
	head, tail *deadline
}

// A deadline is a client's, in the list of one of the time-outs.
type deadline struct {
	conn           *conn
	at             time.Time
	of             *timeouts // nil: it is stopped
	previous, next *deadline
}

// start starts a client's deadline, which is stopped.
func (t *timeouts) start(c *conn) {
	d := &c.deadline
	*d = deadline{conn: c, at: time.Now().Add(t.after), of: t, previous: t.tail}
	if t.tail == nil {
		t.head = d
	} else {
		t.tail.next = d
	}
	t.tail = d
}

// first is the deadline that ends first, or nil.
func (t *timeouts) first() *deadline { return t.head }

// stop takes a deadline out of its list.
func (d *deadline) stop() {
	if d.of == nil {
		return
	}
	if d.previous == nil {
		d.of.head = d.next
	} else {
		d.previous.next = d.next
	}
	if d.next == nil {
		d.of.tail = d.previous
	} else {
		d.next.previous = d.previous
	}
	d.of, d.previous, d.next = nil, nil, nil
}
