package vm

import (
	"context"
	"io"
	"strconv"
	"strings"

	"github.com/tcplab/tcplab/internal/progress"
)

// statusTasks are apt-get's subcommands that take long, in words.
var statusTasks = map[string]string{
	"update":   "fetching package lists",
	"download": "downloading",
	"install":  "installing",
}

// An aptStatus follows how far apt-get has come, by the lines that it writes for programs (APT::Status-Fd, in apt's
// README.progress-reporting). They are asked for on standard output, among the lines for people: sudo closes all
// descriptors but the standard ones.
type aptStatus struct {
	start   func() *progress.Task
	task    *progress.Task
	partial string
}

// aptStatusOptions make apt-get write what an aptStatus reads.
var aptStatusOptions = []string{"-o", "APT::Status-Fd=1"}

// followApt returns the writer for apt-get's standard output, or nil where it says nothing of interest. Nothing is shown before
// apt-get tells how far it is: sudo may ask for a password first, and a line that changes would be in its way.
func followApt(ctx context.Context, subcommand string, packages []string) *aptStatus {
	name, long := statusTasks[subcommand]
	if !long {
		return nil
	}
	if subcommand == "download" && len(packages) > 0 {
		name += " " + packages[0]
	}
	return &aptStatus{start: func() *progress.Task { return progress.Start(ctx, name) }}
}

func (s *aptStatus) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		s.partial += line
		if strings.HasSuffix(line, "\n") {
			s.line(strings.TrimSpace(s.partial))
			s.partial = ""
		}
	}
	return len(p), nil
}

func (s *aptStatus) line(line string) {
	detail, ok := aptProgress(line)
	if !ok {
		return
	}
	if s.task == nil {
		s.task = s.start()
	}
	s.task.Set("%s", detail)
}

// done ends the task. It may not have begun.
func (s *aptStatus) done() { s.task.Done() }

// aptProgress reads a line such as "dlstatus:1:45.3200:Retrieving file 1 of 1 (12s remaining)" or
// "pmstatus:qemu-system-x86:25.0000:Unpacking qemu-system-x86 (amd64)".
func aptProgress(line string) (detail string, ok bool) {
	kind, rest, _ := strings.Cut(line, ":")
	if kind != "dlstatus" && kind != "pmstatus" {
		return "", false
	}
	// A package's name can have its architecture behind a colon: the number is the first field that is one, behind the
	// name or index.
	fields := strings.Split(rest, ":")
	for i := 1; i+1 < len(fields); i++ {
		if percent, err := strconv.ParseFloat(fields[i], 64); err == nil && percent >= 0 && percent <= 100 {
			return strconv.Itoa(int(percent)) + " %, " + strings.Join(fields[i+1:], ":"), true
		}
	}
	return "", false
}

var _ io.Writer = (*aptStatus)(nil)
