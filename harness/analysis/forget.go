package analysis

import "time"

// A capture of days has more connections than the memory has room for, and most of them are over. Where somebody takes what they came to
// (Classifier.over), they are forgotten then. What comes of one all the same begins another stream, unlike in Wireshark. So it happens only
// in captures of very many connections, and late.
const (
	// sweepEvery is after how many new connections those that are over are looked for.
	sweepEvery = 10_000
	// afterEnd is how long nothing has passed of a connection that was closed or reset: longer than Linux's TIME-WAIT (60 s), and half of
	// RFC 9293's (2 MSL, section 3.4.2).
	afterEnd = 2 * time.Minute
	// afterSYN is the same of one of which there is nothing but SYNs: Linux gives up after 127 s (tcp_syn_retries of 6).
	afterSYN = 5 * time.Minute
)

// forget removes the connections that are over.
func (c *Classifier) forget(now time.Duration) {
	var over []int
	for key, conn := range c.connections {
		quiet := now - conn.lastAt
		if quiet < afterEnd || !conn.ended() && !(conn.completeness == SawSYN && quiet >= afterSYN) {
			continue
		}
		delete(c.connections, key)
		if conn.half != "" && key.name != conn.name {
			continue // the same connection stands under its first interface as well
		}
		if conn.name != "" {
			c.unremember(conn)
		}
		over = append(over, conn.stream)
	}
	c.over(over)
	if c.last != nil && c.connections[c.last.endpoints] != c.last {
		c.last = nil
	}
}

// unremember is the opposite of remember.
func (c *Classifier) unremember(conn *connection) {
	key := conn.anywhere()
	all := c.byAddress[key]
	for i, other := range all {
		if other == conn {
			all = append(all[:i:i], all[i+1:]...)
			break
		}
	}
	if len(all) == 0 {
		delete(c.byAddress, key)
		return
	}
	c.byAddress[key] = all
}

// ended reports whether both sides have closed the connection, or one has reset it.
func (c *connection) ended() bool {
	return c.completeness&SawRST != 0 || c.sides[0].closed && c.sides[1].closed
}
