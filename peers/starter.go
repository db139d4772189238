package peers

import (
	"os/exec"

	"github.com/tcplab/tcplab/internal/subprocess"
)

// Starter starts a process somewhere: on this machine, or inside a host of a lab (a network namespace).
//
// Start is given a command that is complete: program, arguments, environment, standard files. It may add to
// cmd.SysProcAttr and must leave what is set there. It starts the command and returns a function that waits for
// its end, which any goroutine may call any number of times, and which returns what [exec.Cmd.Wait] returned.
//
// Start has to see to it that the process does not outlive this one. [Local] does it by Pdeathsig. The programs
// of this package also exit by themselves when their standard input ends, but a [Command] has only that.
type Starter interface {
	Start(cmd *exec.Cmd) (wait func() error, err error)
}

// Local starts processes on this machine, in the namespaces of this process. It is the [Starter] that is used
// where none is given.
var Local Starter = local{}

type local struct{}

func (local) Start(cmd *exec.Cmd) (func() error, error) { return subprocess.Start(cmd) }
