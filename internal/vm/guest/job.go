package guest

import (
	"encoding/json"
	"fmt"
	"time"
)

// Arch is what guests execute, by Go's name, whatever the host is: their /init and their programs are built for it.
const Arch = "amd64"

// Paths inside the guest that both sides know.
const (
	InitPath     = "/init"
	ProgramPath  = "/tcplab/program"
	ModulesList  = "/tcplab/modules.json" // names in ModulesDir, in the order in which to load them
	ModulesDir   = "/tcplab/modules"
	WorkDir      = "/work"
	ArtefactsDir = "/artefacts"
)

// Names by which QEMU's fw_cfg device has what a guest gets when it has booted.
const (
	JobFile     = "opt/tcplab/job"     // the Job, in JSON
	ProgramFile = "opt/tcplab/program" // becomes ProgramPath
	FilesFile   = "opt/tcplab/files"   // a tar archive of all else; what is in it wins over what the guest has
)

// Names of the virtio-serial ports that lead to the host.
const (
	OutputPort  = "tcplab.output"  // the program's standard output and error, as it runs
	ResultsPort = "tcplab.results" // a tar stream: ready, perhaps what ran, the artefacts, and the status last
)

// Entries of the tar stream on the results port.
const (
	ReadyEntry     = "ready"
	ArtefactPrefix = "artefacts/"
	ProcessesEntry = "processes.txt" // what ran when the guest was asked to stop
	StatusEntry    = "status.json"
)

// tracingInstance is the name of the tracing instance that a guest has from its boot on, tracingBufferKiB the size of its buffer
// for each CPU: those that package kernel looks for, and asks for.
const (
	tracingInstance  = "tcplab"
	tracingBufferKiB = 4096
)

// ArtefactsEnv names, to the program, the directory whose files reach the host.
const ArtefactsEnv = "TCPLAB_ARTEFACTS"

// Job is what makes a guest differ from others of the same image.
type Job struct {
	Args []string // of the program, without its name
	Env  []string // "KEY=value", added to a minimal environment
	Path []string // directories of programs that the user has included, after those that PATH always has
	Seed uint64   // of all that is random in the guest, and of when the program starts
}

func parseJob(text []byte) (Job, error) {
	var job Job
	if err := json.Unmarshal(text, &job); err != nil {
		return Job{}, fmt.Errorf("%s: %w", JobFile, err)
	}
	return job, nil
}

// Status is the last thing that a guest says. A guest that never said it did not finish.
type Status struct {
	ExitCode int    // of the program; -1 if a signal ended it
	Signal   string // what ended it, if a signal did
	Error    string // what kept the guest from running the program at all
	// By the guest's own clock: how long the program ran, and the end, from the start of its kernel.
	Ran, Uptime time.Duration
	// Stopped is what ran when the host had the guest end its program, in short; empty if it ended by itself.
	Stopped string
	// Lost are files of the program that were not sent.
	Lost []Lost
	// Full are the file systems that had no room left at the end.
	Full string
	// LostFlags counts where the emulator was seen to compute wrong, of LostFlagsOf tries.
	LostFlags, LostFlagsOf int
}

// Lost is a file that the program has left and that does not reach the host, or not whole.
type Lost struct {
	Name   string // below ArtefactsDir, with slashes
	Reason string
}

func (l Lost) String() string { return fmt.Sprintf("%q: %s", l.Name, l.Reason) }
