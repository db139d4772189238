package guest

import "time"

// Paths inside the guest that both sides know.
const (
	InitPath     = "/init"
	ProgramPath  = "/tcplab/program"
	JobPath      = "/tcplab/job.json"
	ModulesDir   = "/tcplab/modules"
	WorkDir      = "/work"
	ArtefactsDir = "/artefacts"
)

// Names of the virtio-serial ports that lead to the host.
const (
	OutputPort  = "tcplab.output"  // the program's standard output and error, as it runs
	ResultsPort = "tcplab.results" // a tar stream: ready, the artefacts, and the status last
)

// Entries of the tar stream on the results port.
const (
	ReadyEntry     = "ready"
	ArtefactPrefix = "artefacts/"
	StatusEntry    = "status.json"
)

// ArtefactsEnv names, to the program, the directory whose files reach the host.
const ArtefactsEnv = "TCPLAB_ARTEFACTS"

// Job is what a guest has to do. It lies beside the program in the initramfs.
type Job struct {
	Args []string // of the program, without its name
	Env  []string // "KEY=value", added to a minimal environment
	// Modules are file names in ModulesDir in the order in which to load them.
	Modules []string
}

// Status is the last thing that a guest says. A guest that never said it did not finish.
type Status struct {
	ExitCode int    // of the program; -1 if a signal ended it
	Signal   string // what ended it, if a signal did
	Error    string // what kept the guest from running the program at all
	// Uptime is the guest's own clock at the end, from the start of its kernel.
	Uptime time.Duration
	// LostFlags counts where the emulator was seen to compute wrong, of LostFlagsOf tries.
	LostFlags, LostFlagsOf int
}
