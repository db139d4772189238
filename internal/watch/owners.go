package watch

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// An Owner is a process that has a socket: one of them, if several share it.
type Owner struct {
	PID  int    `json:"pid"`
	Name string `json:"name"` // what it calls itself: any 15 bytes
}

// holder is where a socket was found.
type holder struct {
	pid, fd int
}

// owners finds the processes that have sockets, by their descriptors in /proc. A machine may have more of those than can be read in
// a second, so a search ends in time, and the next one goes on where it was.
type owners struct {
	proc   string
	known  map[uint32]*Owner // of the last search, by inode
	at     map[uint32]holder // where they were found
	missed map[uint32]int    // inodes that no process has, by the round in which that was found
	names  map[int]string    // of processes, during a search
	wanted map[uint32]bool   // what is still looked for
	hidden bool              // some processes did not show their descriptors in the last round
	hiding bool              // nor in this one
	round  int               // how often all processes were gone through
	left   []int             // processes of this round
	dir    *os.File          // of the process that is being looked at
	pid    int               // of that
	began  map[uint32]int    // in which round it was looked for first
}

// missedFor is for how many searches a socket whose owner was not found is not looked for again: it can be handed to a process later.
const missedFor = 30

// find looks for the owners of sockets until all are found, or it is time.
func (o *owners) find(inodes []uint32, until time.Time) {
	if o.at == nil {
		o.at, o.missed, o.began = map[uint32]holder{}, map[uint32]int{}, map[uint32]int{}
	}
	at := make(map[uint32]holder, len(inodes))
	missed, began := make(map[uint32]int, len(o.missed)), make(map[uint32]int, len(o.began))
	o.known, o.names, o.wanted = make(map[uint32]*Owner, len(inodes)), map[int]string{}, map[uint32]bool{}
	for _, inode := range inodes {
		if inode == 0 || o.known[inode] != nil || o.wanted[inode] {
			continue
		}
		if h, found := o.at[inode]; found && o.has(h, inode) {
			at[inode] = h
			o.know(inode, h)
			continue
		}
		if n := o.missed[inode]; n > 0 {
			missed[inode] = n - 1
			continue
		}
		o.wanted[inode] = true
		if round, looked := o.began[inode]; looked {
			began[inode] = round
		} else {
			began[inode] = o.round
		}
	}
	o.at, o.missed, o.began = at, missed, began // of what nobody asks for any more, nothing is remembered
	for len(o.wanted) > 0 && time.Now().Before(until) {
		o.step()
	}
	if len(o.wanted) == 0 && o.dir != nil {
		o.close() // the next search begins anew
		o.left = nil
	}
}

func (o *owners) searching() bool { return len(o.wanted) > 0 }

// of is a socket's owner, nil if it is not known.
func (o *owners) of(inode uint32) *Owner { return o.known[inode] }

// step looks at some descriptors.
func (o *owners) step() {
	const some = 256
	if o.dir == nil && !o.next() {
		return
	}
	names, err := o.dir.Readdirnames(some)
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if inode, ok := socketInode(filepath.Join(o.dir.Name(), name)); ok && o.wanted[inode] {
			o.at[inode] = holder{o.pid, fd}
			o.know(inode, o.at[inode])
			delete(o.wanted, inode)
			delete(o.began, inode)
		}
	}
	if err != nil || len(names) == 0 {
		o.close()
	}
}

// next opens the next process. It returns false after the last one.
func (o *owners) next() bool {
	if len(o.left) == 0 {
		o.left = processes(o.proc)
		o.round++
		o.hidden, o.hiding = o.hiding, false
		for inode := range o.wanted { // that were looked for in a whole round
			if o.round-o.began[inode] > 1 {
				delete(o.wanted, inode)
				delete(o.began, inode)
				o.missed[inode] = missedFor
			}
		}
		return false
	}
	o.pid, o.left = o.left[0], o.left[1:]
	dir, err := os.Open(fdFolder(o.proc, o.pid))
	if err != nil {
		o.hiding = o.hiding || errors.Is(err, fs.ErrPermission)
		return false
	}
	o.dir = dir
	return true
}

func (o *owners) close() {
	if o.dir != nil {
		o.dir.Close()
		o.dir = nil
	}
}

func (o *owners) has(h holder, inode uint32) bool {
	found, ok := socketInode(filepath.Join(fdFolder(o.proc, h.pid), strconv.Itoa(h.fd)))
	return ok && found == inode
}

func (o *owners) know(inode uint32, h holder) {
	name, known := o.names[h.pid]
	if !known {
		name = processName(o.proc, h.pid)
		o.names[h.pid] = name
	}
	o.known[inode] = &Owner{PID: h.pid, Name: name}
}

func fdFolder(proc string, pid int) string { return filepath.Join(proc, strconv.Itoa(pid), "fd") }

// socketInode is which socket a descriptor is: /proc/PID/fd/N is a link to "socket:[INODE]".
func socketInode(link string) (uint32, bool) {
	to, err := os.Readlink(link)
	if err != nil {
		return 0, false
	}
	number, found := strings.CutPrefix(to, "socket:[")
	if !found {
		return 0, false
	}
	inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 32)
	return uint32(inode), err == nil
}

// eachSocket passes on the sockets of a process, and their descriptors.
func eachSocket(proc string, pid int, pass func(inode uint32, fd int)) error {
	const some = 1024
	dir, err := os.Open(fdFolder(proc, pid))
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(some)
		for _, name := range names {
			fd, err := strconv.Atoi(name)
			if err != nil {
				continue
			}
			if inode, ok := socketInode(filepath.Join(dir.Name(), name)); ok {
				pass(inode, fd)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
