package analysis

import (
	"slices"
	"strings"
)

// A conversation may pass two interfaces, each in one direction: those of a tap, of a bundle of links, or of a host that receives
// on the one and sends on the other. Then it is one connection. Two capture points that both see all of it are two.

// anywhere is the connection without its interface.
func (e endpoints) anywhere() endpoints { return endpoints{a: e.a, b: e.b} }

// remember finds a connection for otherHalf.
func (c *Classifier) remember(conn *connection) {
	if conn.name == "" {
		return
	}
	if c.byAddress == nil {
		c.byAddress = make(map[endpoints][]*connection)
	}
	key := conn.anywhere()
	all := c.byAddress[key]
	if i := slices.IndexFunc(all, func(o *connection) bool { return o.name == conn.name }); i >= 0 {
		all[i] = conn // with the same ports once more
		return
	}
	c.byAddress[key] = append(all, conn)
}

// goesOn is after how many segments of one direction, without any of the other, the other does not pass the interface. Of two
// capture points that see all of it, a capture that begins in mid-connection has the answers soon.
const goesOn = 10

// otherHalf is a connection of which an interface has seen one direction only, if a segment is of the other direction, on an
// interface that has seen nothing of it so far. It does not believe that before the handshake shows it, or the one direction goes on.
func (c *Classifier) otherHalf(s *Segment, key endpoints) *connection {
	if key.name == "" || NeverSent(*s) {
		return nil
	}
	for _, conn := range c.byAddress[key.anywhere()] {
		own, other := conn.sidesOf(s)
		answers := SYNACKs(*s) && conn.sawSYN && s.Ack == other.next
		if conn.half == "" && conn.name != key.name && !own.heard && other.heard && (answers || other.count >= goesOn) && !strings.HasSuffix(conn.name, DroppedSuffix) {
			c.join(conn, key.name)
			return conn
		}
	}
	return nil
}

// join takes what another interface has seen into a connection.
func (c *Classifier) join(conn *connection, half string) {
	if half != "" {
		conn.half = half
		c.connections[endpoints{half, conn.a, conn.b}] = conn
	}
}

// part is for interfaces that turn out to see both directions.
func (c *Classifier) part(conn *connection) {
	delete(c.connections, endpoints{conn.half, conn.a, conn.b})
	conn.half = ""
}

// oneWayEach reports whether a segment passes the interface that its direction has passed so far.
func (c *connection) oneWayEach(s *Segment) bool {
	own, _ := c.sidesOf(s)
	return own.count == 0 || own.on == s.Interface
}
