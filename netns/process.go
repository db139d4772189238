package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/tcplab/tcplab/internal/subprocess"
	"github.com/tcplab/tcplab/internal/thread"
)

// A child is a process that was started in a host.
type child struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
	waited chan struct{} // closed when cmd.Wait has returned, which can be later: it waits for the ends of pipes too
	status error         // what cmd.Wait returned
}

// Start starts a process inside the host, and returns a function that waits for its end. Any goroutine may call that
// function any number of times; it returns the error of [exec.Cmd.Wait]. cmd.Wait is called as soon as the process
// ends, and closes the pipe of cmd.StdoutPipe, read or not: give cmd.Stdout a pipe of your own.
//
// The process is killed when this program ends, in whatever way, and when the host is closed. For that Start sets
// Pdeathsig in a copy of cmd.SysProcAttr. Processes that it starts itself are killed when the host is closed; they
// survive if this program ends without closing it.
func (h *Host) Start(cmd *exec.Cmd) (wait func() error, err error) {
	if cmd == nil {
		return nil, fmt.Errorf("start a process in host %s: the command is nil", h.name)
	}
	subprocess.Bind(cmd)
	c := &child{cmd: cmd, exited: make(chan struct{}), waited: make(chan struct{})}
	started := make(chan error, 1)
	thread.Start(func() {
		// Pdeathsig fires when the thread ends that started the process, so this thread stays until then.
		err := h.start(c)
		started <- err
		if err == nil {
			h.reap(c)
		}
	})
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s in host %s: %w", cmd.Path, h.name, err)
	}
	return func() error { <-c.waited; return c.status }, nil
}

func (h *Host) start(c *child) error {
	// Register the process at once, so that Close finds it.
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.enterLocked(); err != nil {
		return err
	}
	if err := c.cmd.Start(); err != nil {
		return err
	}
	h.children[c] = struct{}{}
	return nil
}

func (h *Host) reap(c *child) {
	subprocess.AwaitEnd(c.cmd.Process.Pid)
	close(c.exited)
	h.mu.Lock()
	delete(h.children, c)
	h.mu.Unlock()
	c.status = c.cmd.Wait()
	close(c.waited)
}

func (c *child) kill() error {
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill process %d (%s): %w", c.cmd.Process.Pid, c.cmd.Path, err)
	}
	return nil
}
