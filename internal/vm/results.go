package vm

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/tcplab/tcplab/internal/vm/guest"
)

// Bounds of what is taken from a guest. A program that goes beyond them is more likely to be out of hand than to have that
// much to say, and must not fill the host's disk.
const (
	maxArtefacts     = 1 << 30 // bytes of all files together, as long as they claim to be: a sparse one counts whole
	maxArtefactFiles = 10_000
	maxStatus        = 1 << 20
	maxLost          = 10 // so many of the files that were left out are named
)

// A delivery is what has come of a guest's tar stream.
type delivery struct {
	status    *guest.Status // nil: it has not come
	processes []byte        // what ran when the guest was asked to stop
	lost      []guest.Lost  // files that could not be taken
}

// unpackResults reads the guest's tar stream: files below dir, and the status. The stream
// comes from a guest that may have died in the middle of it; then what is whole is kept, and there is no status.
func unpackResults(stream *os.File, job Job) (delivery, error) {
	info, err := stream.Stat()
	if err != nil {
		return delivery{}, err
	}
	return readResults(io.NewSectionReader(stream, 0, info.Size()), job.Artefacts, job.Place), nil
}

func readResults(stream io.Reader, dir string, place func(string) string) (got delivery) {
	lost := 0
	lose := func(file guest.Lost) {
		if lost++; lost <= maxLost {
			got.lost = append(got.lost, file)
		}
	}
	defer func() {
		if more := lost - maxLost; more > 0 {
			got.lost[maxLost-1].Reason += fmt.Sprintf("; and %d more are not named", more)
		}
	}()
	files, left := 0, int64(maxArtefacts)
	entries := tar.NewReader(stream)
	for {
		header, err := entries.Next()
		if err != nil {
			return got // at its end or torn: either way the status has not come
		}
		switch name, isArtefact := strings.CutPrefix(header.Name, guest.ArtefactPrefix); {
		case header.Name == guest.StatusEntry:
			var status guest.Status
			if json.NewDecoder(io.LimitReader(entries, maxStatus)).Decode(&status) == nil {
				got.status = &status
				for _, file := range status.Lost {
					lose(file)
				}
			}
			return got
		case header.Name == guest.ProcessesEntry:
			got.processes, _ = io.ReadAll(io.LimitReader(entries, maxConsole)) // of a torn one, what there is
		case isArtefact && dir != "":
			files++
			err := checkArtefact(name, header.Size, left, files)
			if err == nil {
				left -= header.Size
				err = writeArtefact(dir, name, place, entries)
			}
			if err != nil {
				lose(guest.Lost{Name: name, Reason: err.Error()})
			}
		}
	}
}

// checkArtefact refuses what must not or cannot be a file of a run. A guest's programs choose the names.
func checkArtefact(name string, size, left int64, files int) error {
	strange := func(c rune) bool { return c == '\\' || c == unicode.ReplacementChar || unicode.IsControl(c) }
	switch {
	case !filepath.IsLocal(name) || path.Clean(name) == ".":
		return errors.New("its path leads out of the artefact directory")
	case strings.ContainsFunc(name, strange):
		return errors.New("its name has a backslash, a control character or no valid UTF-8")
	case size > left:
		return fmt.Errorf("has %d bytes, and all files together may have %d", size, maxArtefacts)
	case files > maxArtefactFiles:
		return fmt.Errorf("there are more than %d files", maxArtefactFiles)
	default:
		return nil
	}
}

func writeArtefact(dir, name string, place func(string) string, content io.Reader) error {
	if name = path.Clean(name); place != nil { // "a/../b" is b, and no file of a
		name = place(name)
	}
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	if err := errors.Join(err, file.Close()); err != nil {
		os.Remove(path) // half a file is no evidence
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil // torn: that the guest has not come to its end is said anyway
		}
		return err
	}
	return nil
}

// readAll reads a file from its start, whatever the position of its descriptor.
func readAll(file *os.File) ([]byte, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(file, 0, info.Size()))
}

// diagnose says what became of a guest, or nil if its program ran to its end.
func diagnose(ended ending, status *guest.Status, console []byte) error {
	failure := func(kind error, detail string) error {
		return &GuestError{Kind: kind, Detail: detail, Console: lastLines(console, consoleTail)}
	}
	killed := lineWith(console, "Out of memory: Killed process", "System is deadlocked on memory")
	panicked := lineWith(console, "Kernel panic - not syncing")
	// Order matters: a guest that ran out of memory also panics, or is killed by a signal; and one that did not end in time
	// ends its program by a signal.
	switch {
	case killed != "" && (status == nil || status.ExitCode != 0):
		return failure(ErrOutOfMemory, fmt.Sprintf("give it more than %d MiB with --memory (%s)", ended.memoryMiB, killed))
	case panicked != "":
		return failure(ErrPanic, panicked)
	case ended.kind != nil:
		return failure(ended.kind, ended.stoppedText(status))
	case status == nil && ended.hostFull != "":
		return failure(ErrHostFull, ended.hostFull)
	case status == nil:
		return failure(ErrNoStatus, ended.detail)
	case status.Error != "" && status.Full != "":
		return failure(ErrInit, fmt.Sprintf("%s (%s: give it more memory with --memory)", status.Error, status.Full))
	case status.Error != "":
		return failure(ErrInit, status.Error)
	default:
		return nil
	}
}

// stoppedText says of a guest that was stopped how far it had come.
func (e ending) stoppedText(status *guest.Status) string {
	var text strings.Builder
	switch {
	case errors.Is(e.kind, ErrTimeout):
		fmt.Fprintf(&text, "stopped after %s of real time, which --limit allows", e.after)
	case errors.Is(e.kind, ErrNotReady):
		fmt.Fprintf(&text, "stopped after %s of processor time", e.after)
	default:
		text.WriteString("stopped")
	}
	if e.clock > 0 {
		fmt.Fprintf(&text, "; its clock had come to %s", e.clock)
	}
	if status != nil && status.Stopped != "" {
		fmt.Fprintf(&text, "; what ran: %s", status.Stopped)
	} else if e.silent {
		text.WriteString("; its /init did not say what ran, so the kernel hangs, or has no keyboard, which is how it is asked")
	}
	return text.String()
}

// lineWith returns the first line that has one of the texts in it, without its time stamp.
func lineWith(console []byte, texts ...string) string {
	for line := range bytes.Lines(console) {
		for _, text := range texts {
			if at := bytes.Index(line, []byte(text)); at >= 0 {
				return string(bytes.TrimSpace(line[at:]))
			}
		}
	}
	return ""
}

func lastLines(text []byte, n int) []string {
	trimmed := strings.TrimSpace(strings.ReplaceAll(string(text), "\r", ""))
	if trimmed == "" {
		return nil
	}
	lines := strings.Split(trimmed, "\n")
	return lines[max(0, len(lines)-n):]
}
