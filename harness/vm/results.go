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

	"github.com/tcplab/tcplab/harness/vm/guest"
)

// unpackResults reads the guest's tar stream: files below dir, and the status. The stream
// comes from a guest that may have died in the middle of it; then what is whole is kept and
// the error is ErrNoStatus.
func unpackResults(stream *os.File, dir string, place func(string) string) (*guest.Status, error) {
	info, err := stream.Stat()
	if err != nil {
		return nil, err
	}
	return readResults(io.NewSectionReader(stream, 0, info.Size()), dir, place)
}

func readResults(stream io.Reader, dir string, place func(string) string) (*guest.Status, error) {
	entries := tar.NewReader(stream)
	for {
		header, err := entries.Next()
		if err != nil {
			return nil, ErrNoStatus // at its end or torn: either way the status has not come
		}
		switch name, isArtefact := strings.CutPrefix(header.Name, guest.ArtefactPrefix); {
		case header.Name == guest.StatusEntry:
			var status guest.Status
			if err := json.NewDecoder(entries).Decode(&status); err != nil {
				return nil, ErrNoStatus
			}
			return &status, nil
		case isArtefact && dir != "":
			if err := writeArtefact(dir, name, place, entries); err != nil {
				return nil, err
			}
		}
	}
}

func writeArtefact(dir, name string, place func(string) string, content io.Reader) error {
	if !filepath.IsLocal(name) {
		return fmt.Errorf("artefact %q: its path leads out of the artefact directory", name)
	}
	if name = path.Clean(name); place != nil { // "a/../b" is b, and no file of a
		name = place(name)
	}
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("artefact %s: %w", name, err)
	}
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("artefact: %w", err)
	}
	_, err = io.Copy(file, content)
	if err := errors.Join(err, file.Close()); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			os.Remove(path) // torn: half a file is no evidence
			return nil
		}
		return fmt.Errorf("artefact %s: %w", name, err)
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
	// Order matters: a guest that ran out of memory also panics, or is killed by a signal.
	switch {
	case killed != "" && (status == nil || status.ExitCode != 0):
		return failure(ErrOutOfMemory, fmt.Sprintf("give it more than %d MiB (%s)", ended.memoryMiB, killed))
	case panicked != "":
		return failure(ErrPanic, panicked)
	case errors.Is(ended.kind, ErrTimeout) || errors.Is(ended.kind, ErrNotReady):
		return failure(ended.kind, "stopped after "+ended.after.String())
	case status == nil:
		return failure(ErrNoStatus, ended.detail)
	case status.Error != "":
		return failure(ErrInit, status.Error)
	default:
		return nil
	}
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
