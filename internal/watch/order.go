package watch

import (
	"cmp"
	"container/heap"
	"fmt"
	"slices"
	"strings"
)

// An Order is how connections are sorted. The zero value puts the sickest first.
type Order int

// The orders.
const (
	Sick        Order = iota // the worst trouble first
	Busy                     // the highest rate
	RTT                      // the longest
	Retransmits              // the most recent ones, then the most
	Queues                   // the most that waits, in either direction
	Age                      // the longest in its state
	Addresses                // local, then remote
)

var orders = [...]struct {
	name    string
	compare func(a, b *Connection) int // the first is negative
}{
	Sick:        {"sick", func(a, b *Connection) int { return cmp.Or(cmp.Compare(b.sickness, a.sickness), byRate(a, b)) }},
	Busy:        {"busy", byRate},
	RTT:         {"rtt", func(a, b *Connection) int { return cmp.Compare(b.RTT, a.RTT) }},
	Retransmits: {"retransmits", byRetransmits},
	Queues:      {"queues", func(a, b *Connection) int { return cmp.Compare(b.queues(), a.queues()) }},
	Age:         {"age", func(a, b *Connection) int { return cmp.Compare(b.InState, a.InState) }},
	Addresses:   {"addresses", (*Connection).compareAddresses},
}

func byRate(a, b *Connection) int {
	return cmp.Compare(b.SendRate+b.ReceiveRate, a.SendRate+a.ReceiveRate)
}

func byRetransmits(a, b *Connection) int {
	return cmp.Or(cmp.Compare(b.RecentRetransmits, a.RecentRetransmits), cmp.Compare(b.Retransmits, a.Retransmits))
}

func (c *Connection) queues() uint64 { return uint64(c.SendQueue) + uint64(c.ReceiveQueue) }

// Orders are the names of all orders.
func Orders() []string {
	var names []string
	for _, o := range orders {
		names = append(names, o.name)
	}
	return names
}

// String is the order's name.
func (o Order) String() string { return orders[o].name }

// Next is the order after that one, and the first one after the last.
func (o Order) Next() Order { return (o + 1) % Order(len(orders)) }

// ParseOrder takes an order's name.
func ParseOrder(name string) (Order, error) {
	i := slices.Index(Orders(), name)
	if i < 0 {
		return 0, fmt.Errorf("order %q: allowed are %s", name, strings.Join(Orders(), ", "))
	}
	return Order(i), nil
}

// less puts in order; of equals the addresses decide, so that nothing jumps.
func (o Order) less(a, b *Connection) int {
	return cmp.Or(orders[o].compare(a, b), a.compareAddresses(b))
}

func (o Order) ordered(reverse bool) func(a, b *Connection) int {
	if !reverse {
		return o.less
	}
	return func(a, b *Connection) int { return o.less(b, a) }
}

// Sort puts connections in order.
func (o Order) Sort(list []Connection, reverse bool) {
	compare := o.ordered(reverse)
	slices.SortStableFunc(list, func(a, b Connection) int { return compare(&a, &b) })
}

// best keeps the first ones in an order of all that it is offered: in a heap, with the last of them on top.
type best struct {
	most    int
	compare func(a, b *Connection) int
	list    []Connection
}

func newBest(most int, compare func(a, b *Connection) int) *best {
	return &best{most: most, compare: compare}
}

func (b *best) Len() int           { return len(b.list) }
func (b *best) Less(i, j int) bool { return b.compare(&b.list[i], &b.list[j]) > 0 }
func (b *best) Swap(i, j int)      { b.list[i], b.list[j] = b.list[j], b.list[i] }
func (b *best) Push(x any)         { b.list = append(b.list, *x.(*Connection)) }
func (b *best) Pop() any           { return nil } // nothing is taken out but by offer

// offer takes one in if it is among the first.
func (b *best) offer(c *Connection) {
	switch {
	case len(b.list) < b.most:
		taken := *c // or all that is offered would be allocated
		heap.Push(b, &taken)
	case b.most > 0 && b.compare(c, &b.list[0]) < 0:
		b.list[0] = *c
		heap.Fix(b, 0)
	}
}

// sorted returns them in order, and is the last that is asked of it.
func (b *best) sorted() []Connection {
	slices.SortFunc(b.list, func(x, y Connection) int { return b.compare(&x, &y) })
	if b.list == nil {
		return []Connection{}
	}
	return b.list
}
