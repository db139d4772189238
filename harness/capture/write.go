package capture

import (
	"bufio"
	"container/heap"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"
)

// lookAhead is how many packets of each end are put in order. The kernel gives
// out places in the ring first and takes the time afterwards (tpacket_rcv), so
// packets that two CPUs handle at once can be swapped. They can not leave their
// block, which holds about 1,500 small packets; with two of them we also cover
// stamps that were taken before the place was given out.
const lookAhead = 4096

// writeFile merges the ends' spools into a pcapng file at path. There are comments for each
// end, or none at all.
func writeFile(path string, snap int, ends []*end, comments []comments) (size int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	err = writePackets(f, snap, ends, comments)
	if err == nil {
		size, err = f.Seek(0, io.SeekEnd)
	}
	if err == nil {
		err = f.Chmod(0o644) // captures are for everyone who may enter the folder
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		return 0, err
	}
	return size, os.Rename(f.Name(), path)
}

func writePackets(f io.Writer, snap int, ends []*end, comments []comments) error {
	w, err := newWriter(f, snap, ends)
	if err != nil {
		return err
	}
	windows := make([]*window, len(ends))
	for i, e := range ends {
		windows[i] = e.spool.window()
	}
	err = merge(ends, func(i int, r record) error {
		data, err := windows[i].at(r.offset, int(r.captured))
		if err != nil {
			return err
		}
		flags := packetFlags(r.kind)
		options := pcapgo.NgPacketOptions{Flags: &flags}
		if comments != nil {
			options.Comments = comments[i][r.offset]
		}
		return w.WritePacketWithOptions(gopacket.CaptureInfo{
			Timestamp:      time.Unix(0, r.time),
			CaptureLength:  len(data),
			Length:         int(r.length),
			InterfaceIndex: i,
		}, data, options)
	})
	if err != nil {
		return err
	}
	for i, e := range ends {
		if err := w.WriteInterfaceStats(i, statistics(e)); err != nil {
			return err
		}
	}
	return w.Flush()
}

func newWriter(f io.Writer, snap int, ends []*end) (*pcapgo.NgWriter, error) {
	var w *pcapgo.NgWriter
	for i, e := range ends {
		intf := pcapgo.NgInterface{
			Name:                e.name,
			LinkType:            e.linkType,
			SnapLength:          uint32(snap),
			TimestampResolution: 9,
		}
		var err error
		if i == 0 {
			// pcapgo uses the bufio.Writer it is given, if it is large enough.
			w, err = pcapgo.NewNgWriterInterface(bufio.NewWriterSize(f, 256<<10), intf, pcapgo.NgWriterOptions{
				SectionInfo: pcapgo.NgSectionInfo{Application: "tcplab"},
			})
		} else {
			_, err = w.AddInterface(intf)
		}
		if err != nil {
			return nil, err
		}
	}
	return w, nil
}

// statistics has times of packets only, so that nothing depends on when Stop was
// called; an end without packets has none.
func statistics(e *end) pcapgo.NgInterfaceStatistics {
	s := pcapgo.NgInterfaceStatistics{
		PacketsReceived: e.accepted + e.dropped,
		PacketsDropped:  e.dropped,
	}
	if e.spool.packets > 0 {
		s.StartTime = time.Unix(0, e.spool.first)
		s.EndTime = time.Unix(0, e.spool.last)
		s.LastUpdate = s.EndTime
	}
	return s
}

func packetFlags(kind uint8) pcapgo.NgEpbFlags {
	if outgoing(kind) {
		return pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionOutbound}
	}
	f := pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionInbound}
	switch kind {
	case unix.PACKET_HOST:
		f.Reception = pcapgo.NgEpbFlagReceptionTypeUnicast
	case unix.PACKET_MULTICAST:
		f.Reception = pcapgo.NgEpbFlagReceptionTypeMulticast
	case unix.PACKET_BROADCAST:
		f.Reception = pcapgo.NgEpbFlagReceptionTypeBroadcast
	case unix.PACKET_OTHERHOST:
		f.Reception = pcapgo.NgEpbFlagReceptionTypePromiscuous
	}
	return f
}

// merge calls yield for the packets of all ends in order of time, with the index
// of the end.
func merge(ends []*end, yield func(int, record) error) error {
	var h queue
	readers := make([]*recordReader, len(ends))
	pull := func(i int) error {
		n := readers[i].left
		r, err := readers[i].next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		heap.Push(&h, &queued{record: r, end: i, left: n})
		return nil
	}
	for i, e := range ends {
		readers[i] = e.spool.recordReader()
		for range lookAhead {
			if err := pull(i); err != nil {
				return err
			}
		}
	}
	for len(h) > 0 {
		q := h[0]
		if err := yield(q.end, q.record); err != nil {
			return err
		}
		// The next of the same end takes the place of what was written.
		n := readers[q.end].left
		r, err := readers[q.end].next()
		switch {
		case errors.Is(err, io.EOF):
			heap.Pop(&h)
		case err != nil:
			return err
		default:
			*q = queued{record: r, end: q.end, left: n}
			heap.Fix(&h, 0)
		}
	}
	return nil
}

// queued is a packet in the look-ahead.
type queued struct {
	record
	end  int
	left uint64 // falls with each packet of an end
}

// queue is a heap with the earliest packet on top; at the same time the first
// end comes first, and the first in an end's ring.
type queue []*queued

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	a, b := q[i], q[j]
	switch {
	case a.time != b.time:
		return a.time < b.time
	case a.end != b.end:
		return a.end < b.end
	default:
		return a.left > b.left
	}
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(*queued)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	*q = (*q)[:last]
	return x
}
