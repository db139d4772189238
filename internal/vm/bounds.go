package vm

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Bounds of what a guest prints: of more than that, the beginning and the end are kept. Both are variables for tests.
var (
	maxOutput  int64 = 64 << 20 // of the program
	maxConsole int64 = 16 << 20 // of its kernel
)

// maxResults is what can come through the results' port: see readResults.
const maxResults = maxArtefacts + maxArtefacts/8

// bound keeps what a guest prints from filling the host's disk, and refuses a guest that sends more files than any may.
func (f *guestFiles) bound() error {
	dropMiddle(f.output, maxOutput)
	dropMiddle(f.console, maxConsole)
	info, err := f.results.Stat()
	if err != nil {
		return err
	}
	if info.Size() > maxResults {
		return ErrTooMuch
	}
	return nil
}

// dropMiddle frees what of a file lies between its first and its last half of limit. Its length stays: QEMU goes on writing at
// its end.
func dropMiddle(file *os.File, limit int64) {
	if from, to := middle(file, limit); to > from {
		// Where the file system cannot do that, the room is not freed, and that is all.
		_ = unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, to-from)
	}
}

// middle is where what is to be left out of a file begins and ends.
func middle(file *os.File, limit int64) (from, to int64) {
	info, err := file.Stat()
	if err != nil || info.Size() <= limit {
		return 0, 0
	}
	return limit / 2, info.Size() - limit/2
}

// leftOut stands in the place of what is left out.
func leftOut(count int64) string {
	return fmt.Sprintf("\n[tcplab: %d bytes are left out here]\n", count)
}

// cutText says for a record what is left out, or is empty.
func cutText(what string, file *os.File, limit int64) []string {
	from, to := middle(file, limit)
	if to <= from {
		return nil
	}
	return []string{fmt.Sprintf("%s: %d bytes in the middle of it, since it is longer than %d", what, to-from, limit)}
}

// readEnds reads a file without its middle.
func readEnds(file *os.File, limit int64) ([]byte, error) {
	from, to := middle(file, limit)
	if to <= from {
		return readAll(file)
	}
	first, err := io.ReadAll(io.NewSectionReader(file, 0, from))
	if err != nil {
		return nil, err
	}
	rest, err := io.ReadAll(io.NewSectionReader(file, to, limit))
	if err != nil {
		return nil, err
	}
	return append(append(first, leftOut(to-from)...), rest...), nil
}

// An outputStream passes on what a file has grown by, up to a bound.
type outputStream struct {
	from   *os.File
	to     io.Writer
	offset int64
}

// forward passes on what can be passed on before the end is known.
func (s *outputStream) forward() error { return s.passOn(maxOutput / 2) }

// finish passes on the rest, but for the middle of what is too long.
func (s *outputStream) finish() error {
	if err := s.forward(); err != nil || s.to == nil {
		return err
	}
	if from, to := middle(s.from, maxOutput); to > from {
		if _, err := io.WriteString(s.to, leftOut(to-from)); err != nil {
			return fmt.Errorf("pass on the guest's output: %w", err)
		}
		s.offset = to
	}
	return s.passOn(1 << 62)
}

func (s *outputStream) passOn(end int64) error {
	if s.to == nil || s.offset >= end {
		return nil
	}
	n, err := io.Copy(s.to, io.NewSectionReader(s.from, s.offset, end-s.offset))
	s.offset += n
	if err != nil {
		return fmt.Errorf("pass on the guest's output: %w", err)
	}
	return nil
}
