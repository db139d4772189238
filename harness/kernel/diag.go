package kernel

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// diag asks for sockets, any number of times. It does without the netlink library, which for each answer clears 64 KB: in a
// guest, where each step of the instruction that does so is a block of code of its own, that is dearer than the answer.
type diag struct {
	filter SocketFilter
	mask   uint32
	fd     int
	number uint32 // of the last request
	buffer []byte

	// Of the listing before, to ask only for those that it had. Nil where that is not possible.
	known  [][]byte
	counts []byte
	files  []*os.File // that have the counts
}

func openDiag(in Runner, filter SocketFilter) (*diag, error) {
	d := &diag{filter: filter, fd: -1, buffer: make([]byte, 32<<10)}
	var err error
	if d.mask, err = filter.mask(); err != nil {
		return nil, fmt.Errorf("read sockets: %w", err)
	}
	// A netlink socket stays in the namespace in which it was opened, and so do files of proc.
	if in != nil {
		err = in.Do(d.open)
	} else {
		err = d.open()
	}
	if err != nil {
		d.close()
		return nil, fmt.Errorf("read sockets: %w", err)
	}
	return d, nil
}

func (d *diag) open() error {
	var err error
	d.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return fmt.Errorf("%w (%w)", ErrNoSockDiag, err)
	}
	if err == nil {
		err = unix.Bind(d.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	for _, name := range []string{"sockstat", "sockstat6"} {
		// Not of /proc/net, which is the main thread's.
		file, err := os.Open("/proc/thread-self/net/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return err
		}
		d.files = append(d.files, file)
	}
	return nil
}

func (d *diag) close() {
	for _, file := range d.files {
		file.Close()
	}
	if d.fd >= 0 {
		unix.Close(d.fd)
	}
}

// read lists the sockets.
func (d *diag) read() ([]Socket, error) {
	messages, err := d.dump(d.mask)
	if err != nil {
		return nil, fmt.Errorf("read sockets: %w", err)
	}
	return d.sockets(messages)
}

// each passes on the sockets one by one, as they come.
func (d *diag) each(pass func(*Socket)) error {
	var s Socket
	interrupted, err := d.ask(getTCP, unix.NLM_F_DUMP, d.dumpRequest(d.mask), func(message []byte) (err error) {
		if s, err = parseSocket(message); err == nil && d.passes(&s) {
			pass(&s)
		}
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("read sockets: %w", explainDump(err))
	case interrupted:
		return errors.New("read sockets: the kernel's tables have changed meanwhile: read again")
	}
	return nil
}

// readAgain is read for who does so time and again. As long as the same sockets are there it asks for each by its addresses and
// cookie, since a listing goes through the kernel's whole table of connections, which was two thirds of what a sample cost.
//
// They are the same if each of those that the listing had is there, by its cookie, and the namespace counts as many as then. The
// kernel counts all that are in its tables but requests of connections (net/ipv4/inet_hashtables.c, sock_prot_inuse_add), which
// only a listener has. With a listener every reading is a listing.
func (d *diag) readAgain() ([]Socket, error) {
	if d.mask == 1<<Listen {
		return d.read() // which does not look at connections
	}
	counts, err := d.count()
	if err != nil {
		return nil, fmt.Errorf("read sockets: %w", err)
	}
	if d.known != nil && bytes.Equal(counts, d.counts) {
		messages, err := d.oneByOne(d.known)
		if err != nil {
			return nil, fmt.Errorf("read sockets: %w", err)
		}
		if messages != nil {
			return d.sockets(messages)
		}
	}
	messages, err := d.dump(allStates)
	if err != nil {
		return nil, fmt.Errorf("read sockets: %w", err)
	}
	d.counts, d.known = counts, [][]byte{}
	for _, m := range messages {
		// Above that number a listing costs less.
		if len(d.known) == mostAsked || len(m) < diagMessage || State(m[1]) == Listen {
			d.known = nil
			break
		}
		d.known = append(d.known, slices.Clone(m[:diagMessage]))
	}
	return d.sockets(messages)
}

// count returns what the namespace has of TCP sockets, as the kernel says it.
func (d *diag) count() ([]byte, error) {
	var counts []byte
	text := make([]byte, 1024)
	for _, file := range d.files {
		n, err := file.ReadAt(text, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		counts = append(counts, tcpCounts(text[:n])...)
	}
	return counts, nil
}

// tcpCounts is what a sockstat has of TCP sockets: how many are in use, and how many in TIME-WAIT. How much memory they have, and
// how many have no process, changes with each segment and says nothing of which there are.
func tcpCounts(text []byte) []byte {
	var counts []byte
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(line, []byte("TCP")) {
			continue
		}
		fields := bytes.Fields(line)
		for i := 1; i+1 < len(fields); i += 2 {
			if name := string(fields[i]); name == "inuse" || name == "tw" {
				counts = append(append(append(counts, ' '), name...), fields[i+1]...)
			}
		}
	}
	return counts
}

// sockets are those of the messages that pass the filter.
func (d *diag) sockets(messages [][]byte) ([]Socket, error) {
	var sockets []Socket
	for _, m := range messages {
		s, err := parseSocket(m)
		if err != nil {
			return nil, fmt.Errorf("read sockets: %w", err)
		}
		if d.passes(&s) {
			sockets = append(sockets, s)
		}
	}
	slices.SortStableFunc(sockets, func(a, b Socket) int {
		return cmp.Or(a.Local.Compare(b.Local), a.Remote.Compare(b.Remote), cmp.Compare(a.Cookie, b.Cookie))
	})
	return sockets, nil
}

// passes reports whether a socket passes the filter.
func (d *diag) passes(s *Socket) bool {
	p := d.filter.Port
	return (p == 0 || p == s.Local.Port() || p == s.Remote.Port()) && d.mask&(1<<s.State) != 0
}

const (
	allStates = 1<<(NewSynRecv+1) - 1
	mostAsked = 16 // sockets one by one

	diagMessage = 72 // struct inet_diag_msg
	diagID      = 4  // where in it, and how large, a struct inet_diag_sockid is
	diagIDSize  = 48

	// getTCP is TCPDIAG_GETSOCK (include/uapi/linux/inet_diag.h), of before each family had a request of its own: it lists both
	// in one go (net/ipv4/inet_diag.c, inet_diag_dump_compat), for half of the work.
	getTCP = 18
)

// extensions are the attributes that are asked for. Vegas stands for whatever a congestion control tells of itself.
const extensions = 1<<(attrInfo-1) | 1<<(attrVegas-1) | 1<<(attrCong-1) | 1<<(attrSKMemInfo-1)

// dumpRequest is a request of all sockets in some states: a struct inet_diag_req.
func (d *diag) dumpRequest(states uint32) []byte {
	request := make([]byte, 60)
	request[3] = extensions
	binary.NativeEndian.PutUint32(request[4+diagIDSize:], states)
	return request
}

// explainDump says of the error of a request of all sockets what is missing, where something is.
func explainDump(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w (%w)", ErrNoSockDiag, err)
	}
	return err
}

// dump asks once more when the kernel says that its tables changed meanwhile.
// inet_diag never did so up to Linux 6.18.
func (d *diag) dump(states uint32) ([][]byte, error) {
	const tries = 5
	for range tries {
		messages, interrupted, err := d.collect(getTCP, unix.NLM_F_DUMP, d.dumpRequest(states))
		if err != nil {
			return nil, explainDump(err)
		}
		if !interrupted {
			return messages, nil
		}
	}
	return nil, fmt.Errorf("%d tries: the kernel's tables have changed meanwhile", tries)
}

// oneByOne asks for sockets of which it has messages. It returns nil if one of them is not there any more.
func (d *diag) oneByOne(known [][]byte) ([][]byte, error) {
	messages := make([][]byte, 0, len(known))
	for _, m := range known {
		request := make([]byte, 56) // struct inet_diag_req_v2
		request[0], request[1], request[2] = m[0], unix.IPPROTO_TCP, extensions
		binary.NativeEndian.PutUint32(request[4:], allStates)
		copy(request[8:], m[diagID:][:diagIDSize])
		answer, _, err := d.collect(unix.SOCK_DIAG_BY_FAMILY, 0, request)
		if errors.Is(err, unix.ENOENT) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		messages = append(messages, answer...)
	}
	return messages, nil
}

// collect sends a request and returns what the kernel answers.
func (d *diag) collect(kind, flags uint16, request []byte) (messages [][]byte, interrupted bool, err error) {
	interrupted, err = d.ask(kind, flags, request, func(message []byte) error {
		messages = append(messages, slices.Clone(message))
		return nil
	})
	return messages, interrupted, err
}

// ask sends a request and passes on what the kernel answers. A message is valid until take returns. After an error of take
// the rest is read all the same, for the kernel does not begin another answer before.
func (d *diag) ask(kind, flags uint16, request []byte, take func(message []byte) error) (interrupted bool, err error) {
	d.number++
	text := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(request))
	native := binary.NativeEndian
	native.PutUint32(text, uint32(unix.NLMSG_HDRLEN+len(request))) //nolint:gosec // some dozen bytes
	native.PutUint16(text[4:], kind)
	native.PutUint16(text[6:], unix.NLM_F_REQUEST|flags)
	native.PutUint32(text[8:], d.number)
	if err := unix.Sendto(d.fd, append(text, request...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return false, fmt.Errorf("ask the kernel: %w", err)
	}
	var refused error
	for {
		n, _, err := unix.Recvfrom(d.fd, d.buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("the kernel's answer: %w", err)
		}
		for rest := d.buffer[:n]; len(rest) > 0; {
			header, message, after, err := cutMessage(rest)
			if err != nil {
				return false, fmt.Errorf("the kernel's answer, of %d bytes: %w", n, err)
			}
			rest = after
			switch {
			case header.Seq != d.number:
				continue // the rest of an answer that was given up
			case header.Type == unix.NLMSG_DONE || header.Type == unix.NLMSG_ERROR:
				// 0 or the negative number of an error; NLMSG_DONE may come without.
				if len(message) >= 4 {
					if number := int32(native.Uint32(message)); number < 0 { //nolint:gosec // it is one
						return false, syscall.Errno(-number)
					}
				}
				return interrupted, refused
			}
			interrupted = interrupted || header.Flags&unix.NLM_F_DUMP_INTR != 0
			if refused == nil {
				refused = take(message)
			}
			if header.Flags&unix.NLM_F_MULTI == 0 {
				return interrupted, refused
			}
		}
	}
}

// cutMessage takes the first netlink message off an answer.
func cutMessage(b []byte) (header unix.NlMsghdr, message, rest []byte, err error) {
	const alignment = 4 // NLMSG_ALIGNTO
	if len(b) < unix.NLMSG_HDRLEN {
		return header, nil, nil, fmt.Errorf("%d bytes are no message", len(b))
	}
	native := binary.NativeEndian
	header = unix.NlMsghdr{Len: native.Uint32(b), Type: native.Uint16(b[4:]), Flags: native.Uint16(b[6:]), Seq: native.Uint32(b[8:])}
	if header.Len < unix.NLMSG_HDRLEN || int64(header.Len) > int64(len(b)) {
		return header, nil, nil, fmt.Errorf("a message of %d bytes, with %d left", header.Len, len(b))
	}
	end := int(header.Len)
	return header, b[unix.NLMSG_HDRLEN:end], b[min((end+alignment-1)&^(alignment-1), len(b)):], nil
}
