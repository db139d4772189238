package peers

import (
	"os/exec"

	"github.com/tcplab/tcplab/internal/subprocess"
)

// Starter starts a process somewhere: on this machine, or inside a host of a lab (a network namespace).
//
// Start gets a complete command: program, arguments, environment, standard files. It may add to cmd.SysProcAttr, but
// must keep what is set there. It starts the command and returns a function that waits for its end. Any goroutine may
// call that function any number of times; it returns the error of [exec.Cmd.Wait].
//
// Start must ensure that the process does not survive this one. [Local] uses Pdeathsig. The programs of this package
// also exit when their standard input ends, but a [Command] has no other protection.
type Starter interface {
	Start(cmd *exec.Cmd) (wait func() error, err error)
}

// Local starts processes on this machine, in the namespaces of this process. It is the default [Starter].
var Local Starter = local{}

type local struct{}

func (local) Start(cmd *exec.Cmd) (func() error, error) { return subprocess.Start(cmd) }
