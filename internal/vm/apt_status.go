package vm

import (
	"context"
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

// aptStatusOptions make apt-get write lines for programs, too (APT::Status-Fd, in apt's README.progress-reporting).
// They are asked for on standard output, among the lines for people: sudo closes all descriptors but the standard
// ones.
var aptStatusOptions = []string{"-o", "APT::Status-Fd=1"}

// followApt returns a writer for apt-get's standard output, or nil where that is of interest itself. Nothing is shown
// before apt-get tells how far it is: sudo may ask for a password first, and a line that changes would be in its way.
func followApt(ctx context.Context, args []string) *progress.Follower {
	name, long := statusTasks[args[0]]
	if !long {
		return nil
	}
	if args[0] == "download" && len(args) > 1 {
		name += " " + args[1]
	}
	return progress.Follow(ctx, name, aptProgress)
}

// aptProgress reads a line such as "dlstatus:1:45.3200:Retrieving file 1 of 1 (12s remaining)" or
// "pmstatus:qemu-system-x86:25.0000:Unpacking qemu-system-x86 (amd64)".
func aptProgress(line string) (detail string, ok bool) {
	kind, rest, _ := strings.Cut(line, ":")
	if kind != "dlstatus" && kind != "pmstatus" {
		return "", false
	}
	// A package's name can have its architecture after a colon: the number is the first field that is one, after the
	// name or index.
	fields := strings.Split(rest, ":")
	for i := 1; i+1 < len(fields); i++ {
		if percent, err := strconv.ParseFloat(fields[i], 64); err == nil && percent >= 0 && percent <= 100 {
			return strconv.Itoa(int(percent)) + " %, " + strings.Join(fields[i+1:], ":"), true
		}
	}
	return "", false
}
