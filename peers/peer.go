package peers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Peer is a started program. Its methods may be called from any goroutine.
type Peer struct {
	name    string
	program string
	isOurs  bool    // it speaks our protocol
	command Command // if it does not
	cmd     *exec.Cmd
	wait    func() error

	stdin    *lineWriter // nil for a Command
	stdinEnd *os.File
	stdout   tail // of a Command
	stderr   tail

	ready   chan struct{} // closed when readyMsg is set
	started chan struct{} // closed when startedMsg is set
	done    chan struct{} // closed when result and err are final

	mu         sync.Mutex
	readyMsg   *Ready
	startedMsg *Started
	progress   []Progress
	waiting    Waiting       // the last that it said
	continued  int           // how many Awaits it was told to leave
	moved      chan struct{} // closed, and made anew, when waiting changes
	reported   *Result       // by the program
	refused    *PeerError    // by the program, instead of a result
	broken     error         // it did not keep to the protocol
	killed     error         // why it was killed by us
	signals    []os.Signal   // that were sent from here
	exit       error         // of exec.Cmd.Wait, once done is closed
	gone       bool          // it has ended, and so has its process group

	// Final once done is closed.
	result Result
	err    error
}

// What is kept of a peer.
const (
	maxStderr     = 64 << 10
	maxProgress   = 100_000
	errorLines    = 20 // of stderr, in an error
	maxNameLength = 64
)

// Start starts a program by on, or by [Local] if that is nil. The name is for people: in results, in errors and in
// the command line of the process.
//
// The end of ctx kills the peer: ctx bounds the peer's life and not only its start. In a Ginkgo spec, a context of a
// BeforeEach ends with that node.
//
// Every peer has a process group of its own, so that ^C at a terminal reaches only this process, which decides what
// to do.
func Start(ctx context.Context, on Starter, name string, p Program) (*Peer, error) {
	peer, err := start(ctx, on, name, p)
	if err != nil {
		return nil, fmt.Errorf("start peer %s: %w", name, err)
	}
	return peer, nil
}

func start(ctx context.Context, on Starter, name string, p Program) (*Peer, error) {
	if name == "" || len(name) > maxNameLength || strings.ContainsFunc(name, isBlank) {
		return nil, fmt.Errorf("name %q: allowed are 1 to %d bytes without blanks", name, maxNameLength)
	}
	if p == nil {
		return nil, errors.New("no program given")
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if on == nil {
		on = Local
	}
	peer := &Peer{
		name: name, program: p.program(),
		stderr: tail{max: maxStderr},
		ready:  make(chan struct{}), started: make(chan struct{}), done: make(chan struct{}),
		moved: make(chan struct{}),
	}
	var config *command
	var err error
	if c, ok := p.(Command); ok {
		peer.command = c
		peer.cmd, err = c.line()
		peer.stdout.max = c.MaxOutput
		if peer.stdout.max == 0 {
			peer.stdout.max = defaultMaxOutput
		}
		peer.stderr.max = peer.stdout.max
	} else {
		peer.isOurs = true
		peer.cmd, config, err = selfLine(name, p)
	}
	if err != nil {
		return nil, err
	}
	if err := peer.launch(ctx, on, config); err != nil {
		return nil, peer.command.explain(err)
	}
	return peer, nil
}

// isBlank reports whether a character is not allowed in names.
func isBlank(r rune) bool { return r <= ' ' || r == 0x7f }

// selfLine is the command of our own programs: this program once more, with a line of configuration.
func selfLine(name string, p Program) (*exec.Cmd, *command, error) {
	if !mainCalled.Load() {
		// Without Main, the new process would not become a peer, but do what this one does: start peers.
		return nil, nil, errors.New("peers.Main has not been called in this program: call it first in main, or in TestMain")
	}
	config, err := encodeConfig(p)
	if err != nil {
		return nil, nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("find this program: %w", err)
	}
	// The arguments are for people who look at ps.
	cmd := &exec.Cmd{Path: exe, Args: []string{exe, "tcplab-peer", name, p.program()}, SysProcAttr: &syscall.SysProcAttr{}}
	cmd.Env = append(os.Environ(), environment+"=1")
	if os.Getenv("GORACE") == "" {
		// With the race detector, every peer would sleep for a second when it exits. Without -race this has no
		// effect.
		cmd.Env = append(cmd.Env, "GORACE=atexit_sleep_ms=0")
	}
	return cmd, &command{Type: typeConfig, Version: Version, Name: name, Program: p.program(), Config: config}, nil
}

// launch starts the process and the goroutines that watch it. config is nil for a Command.
func (p *Peer) launch(ctx context.Context, on Starter, config *command) (err error) {
	// The pipes are made here: exec.Cmd closes its own in Wait, whether all was read or not, and it is the Starter
	// who waits.
	var files []*os.File
	defer func() {
		if err != nil {
			for _, f := range files {
				f.Close()
			}
		}
	}()
	pipe := func() (r, w *os.File) {
		if err == nil {
			if r, w, err = os.Pipe(); err == nil {
				files = append(files, r, w)
			}
		}
		return r, w
	}
	stdoutR, stdoutW := pipe()
	stderrR, stderrW := pipe()
	var stdinR, stdinW *os.File
	var watcher ListenWatcher
	if p.isOurs {
		stdinR, stdinW = pipe()
	} else if err == nil {
		if watcher, err = p.command.Ready.watcher(on); err == nil {
			stdinR, stdinW, err = p.command.stdin()
		}
		files = append(files, stdinR, stdinW)
	}
	if err != nil {
		return err
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdinR, stdoutW, stderrW
	p.cmd.SysProcAttr.Setpgid = true
	if p.wait, err = on.Start(p.cmd); err != nil {
		return err
	}
	stdinR.Close()
	stdoutW.Close()
	stderrW.Close()

	if p.isOurs {
		p.stdinEnd = stdinW
		p.stdin = &lineWriter{w: stdinW, max: maxCommandLine}
		// After EPIPE, its exit status says more.
		if werr := p.stdin.write(config); werr != nil && !errors.Is(werr, unix.EPIPE) {
			p.fail(fmt.Errorf("send the configuration: %w", werr))
		}
	} else if p.command.Ready.atOnce() {
		p.setRuns()
	}
	var helpers sync.WaitGroup // which end when the process has ended
	if stdinW != nil && !p.isOurs {
		// It may read less, and no more than its pipe holds is waited for.
		helpers.Go(func() { _, _ = stdinW.Write(p.command.Stdin); stdinW.Close() })
	}
	watching, stopWatching := context.WithCancel(ctx)
	if watcher != nil {
		helpers.Go(func() { p.awaitListener(watching, watcher) })
	}
	stop := context.AfterFunc(ctx, func() { p.kill(fmt.Errorf("%w: %w", ErrKilled, context.Cause(ctx))) })

	var readers sync.WaitGroup
	readers.Go(func() { p.drainOutput(stderrR, &p.stderr) })
	readers.Go(func() {
		if p.isOurs {
			p.readMessages(&draining{stdoutR})
		}
		p.drainOutput(stdoutR, &p.stdout) // for our own programs, output after a breach of the protocol
	})
	go func() {
		exit := p.wait()
		p.mu.Lock()
		p.killGroup()
		p.gone = true
		p.mu.Unlock()
		// All output of the process is in the pipes now. A process that it left behind may keep them open, so readers
		// do not wait for their end but read what is there.
		_ = stdoutR.SetReadDeadline(longAgo)
		_ = stderrR.SetReadDeadline(longAgo)
		readers.Wait()
		stop()
		stdoutR.Close()
		stderrR.Close()
		stopWatching()
		if stdinW != nil {
			stdinW.Close()
		}
		helpers.Wait()
		p.conclude(exit)
		if p.command.Ready.End && p.isAccepted(exitStatus(exit)) {
			p.setRuns()
		}
		close(p.done)
	}()
	return nil
}

// draining reads a pipe until its end, or, once its read deadline has passed, until it is empty.
type draining struct{ f *os.File }

func (d *draining) Read(b []byte) (int, error) {
	n, err := d.f.Read(b)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	// A file does not read after its deadline, even if there is data. Control ignores deadlines.
	raw, err := d.f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var readErr error
	if err := raw.Control(func(fd uintptr) {
		for {
			if n, readErr = unix.Read(int(fd), b); !errors.Is(readErr, unix.EINTR) {
				return
			}
		}
	}); err != nil {
		return 0, err
	}
	if errors.Is(readErr, unix.EAGAIN) || readErr == nil && n == 0 {
		return 0, io.EOF
	}
	return max(n, 0), readErr
}

// drainOutput copies a pipe into what is kept of it, up to an error, and looks for the line by which a Command is ready.
func (p *Peer) drainOutput(f *os.File, kept *tail) {
	to, end := p.command.Ready.lines(kept, p.setRuns)
	_, _ = io.Copy(to, &draining{f})
	end()
}

// awaitListener waits until a Command listens at its port. If that cannot be known the Command is killed: it would never be ready.
func (p *Peer) awaitListener(ctx context.Context, in ListenWatcher) {
	err := in.AwaitListener(ctx, uint16(p.command.Ready.Port))
	switch {
	case err == nil:
		p.setRuns()
	case ctx.Err() == nil:
		p.kill(fmt.Errorf("%w, as nobody can tell when it is ready: %w", ErrKilled, err))
	}
}

// readMessages reads the messages of the program. It kills a program that breaks the protocol.
func (p *Peer) readMessages(r io.Reader) {
	lines := lineScanner(r, maxMessageLine)
	for lines.Scan() {
		m, err := parseMessage(lines.Bytes())
		if err == nil {
			err = p.take(m)
		}
		if err != nil {
			p.fail(fmt.Errorf("%w, in the line %.200q", err, lines.Bytes()))
			return
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, io.ErrUnexpectedEOF):
		// It died mid-line; the exit status says how.
	case errors.Is(err, bufio.ErrTooLong):
		p.fail(fmt.Errorf("a line longer than %d bytes", maxMessageLine))
	case err != nil:
		p.fail(err)
	}
}

// take keeps a message.
func (p *Peer) take(m message) error {
	p.mu.Lock()
	over := p.reported != nil || p.refused != nil
	isReady := p.readyMsg != nil
	p.mu.Unlock()
	switch {
	case over:
		return fmt.Errorf("%s after the end", m.Type)
	case !isReady && m.Type != typeReady && m.Type != typeError:
		return fmt.Errorf("%s before ready", m.Type)
	}
	switch m.Type {
	case typeReady:
		if isReady {
			return errors.New("ready twice")
		}
		p.setReady(*m.Ready)
	case typeStarted:
		p.setStarted(*m.Started)
	case typeProgress:
		p.mu.Lock()
		if len(p.progress) < maxProgress {
			p.progress = append(p.progress, *m.Progress)
		}
		p.mu.Unlock()
	case typeWaiting:
		p.mu.Lock()
		p.waiting = *m.Waiting
		close(p.moved)
		p.moved = make(chan struct{})
		p.mu.Unlock()
	case typeResult:
		p.mu.Lock()
		p.reported = m.Result
		p.mu.Unlock()
	case typeError:
		p.mu.Lock()
		p.refused = m.Error
		p.mu.Unlock()
	}
	return nil
}

func (p *Peer) setReady(r Ready) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.readyMsg == nil {
		p.readyMsg = &r
		close(p.ready)
	}
}

// setRuns makes a Command ready and started: it has no connections that we know of.
func (p *Peer) setRuns() {
	p.setReady(Ready{})
	p.setStarted(Started{})
}

func (p *Peer) setStarted(s Started) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.startedMsg == nil {
		p.startedMsg = &s
		close(p.started)
	}
}

// fail records a breach of the protocol and kills the process.
func (p *Peer) fail(err error) {
	p.mu.Lock()
	if p.broken == nil {
		p.broken = err
	}
	p.mu.Unlock()
	p.kill(nil)
}

// conclude makes the result and the error final.
func (p *Peer) conclude(exit error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.result = Result{Peer: p.name, Program: p.program}
	p.exit = exit
	status := exitStatus(exit)
	status.Cause = p.killed
	switch {
	case !p.isOurs:
		p.result.Command = &CommandResult{
			ExitCode: status.ExitCode, Signal: status.Signal,
			Stdout: string(p.stdout.Bytes()), StdoutDropped: p.stdout.Dropped(),
			Stderr: string(p.stderr.Bytes()), StderrDropped: p.stderr.Dropped(),
		}
		// It may have ended by itself just before it was killed. Then its result counts.
		p.ofCommand(status)
		if p.killed != nil && status.Signal == unix.SignalName(unix.SIGKILL) {
			p.err = status
		} else if !isExit(exit) {
			p.err = exit
		}
	case p.broken != nil:
		p.err = fmt.Errorf("it does not speak the protocol of package peers, version %d: %w", Version, p.broken)
		p.result.Err = &PeerError{Op: "run", Message: p.err.Error()}
	case p.reported != nil:
		p.result = *p.reported
		p.result.Peer, p.result.Program = p.name, p.program
		if p.result.Err != nil {
			p.err = p.result.Err
		}
	case p.refused != nil:
		p.result.Err = p.refused
		p.err = p.refused
	default:
		status.Stderr = excerpt(p.stderr.Bytes(), errorLines)
		p.err = status
		if !isExit(exit) {
			p.err = errors.Join(status, exit)
		}
		p.result.Err = &PeerError{Op: "run", Message: status.Error()}
	}
	p.err = p.about(p.err)
}

// about says which peer an error is about.
func (p *Peer) about(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("peer %s (%s, pid %d): %w", p.name, p.program, p.PID(), err)
}

// isExit reports whether an error of exec.Cmd.Wait only says how the process ended.
func isExit(err error) bool {
	var e *exec.ExitError
	return err == nil || errors.As(err, &e)
}

// exitStatus reads an error of exec.Cmd.Wait.
func exitStatus(err error) *ExitError {
	var e *exec.ExitError
	if !errors.As(err, &e) {
		return &ExitError{}
	}
	s := &ExitError{ExitCode: e.ExitCode()}
	if w, ok := e.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		s.Signal = unix.SignalName(w.Signal())
	}
	return s
}

// Name returns the name given to Start.
func (p *Peer) Name() string { return p.name }

// PID returns the process's id.
func (p *Peer) PID() int { return p.cmd.Process.Pid }

// Done returns a channel that is closed when the process has ended and its result is there.
func (p *Peer) Done() <-chan struct{} { return p.done }

// Fault returns how the peer ended, if that was not intended: by a signal that was not sent by [Peer.Signal],
// [Peer.Stop] or [Peer.Kill] (a crash, the OOM killer), without a result (a panic), or with an exit status other than
// 0, or of a Command other than its ExitStatuses, unless a signal that ends a process was sent before. It is nil
// while the peer runs, and for errors that the peer has reported itself, which Wait returns. The error is an
// *ExitError, or says how the peer broke the protocol.
func (p *Peer) Fault() error {
	select {
	case <-p.done:
	default:
		if !p.hasExited() {
			return nil
		}
		<-p.done
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken != nil {
		return p.err
	}
	status := exitStatus(p.exit)
	hasResult := p.reported != nil || p.refused != nil
	switch {
	case status.Signal != "":
		if p.killed != nil && status.Signal == unix.SignalName(unix.SIGKILL) || slices.ContainsFunc(p.signals, isNamed(status.Signal)) {
			return nil
		}
	case !p.isAccepted(status):
		if slices.ContainsFunc(p.signals, ends) {
			return nil
		}
	case !p.isOurs || hasResult:
		return nil
	}
	switch {
	case !p.isOurs:
		p.ofCommand(status)
	case hasResult:
		status.when = afterResult
	}
	status.unasked = true
	status.Stderr = excerpt(p.stderr.Bytes(), errorLines)
	return p.about(status)
}

// isAccepted reports whether a process has ended by itself, with a status that is no fault.
func (p *Peer) isAccepted(status *ExitError) bool {
	return status.Signal == "" && p.command.accepts(status.ExitCode)
}

// ofCommand adds to the status of a Command what was expected of it.
func (p *Peer) ofCommand(status *ExitError) {
	status.when, status.accepted = atAll, p.command.ExitStatuses
	if ready := p.command.Ready; p.readyMsg == nil && !ready.End {
		status.when, status.missing = beforeReady, ready.missing()
	}
}

// hasExited reports whether the process has ended, even if its result is not there yet.
func (p *Peer) hasExited() bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, p.PID(), &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return errors.Is(err, unix.ECHILD) || err == nil && info.Signo != 0
}

// isNamed returns a test for the signal of that name.
func isNamed(name string) func(os.Signal) bool {
	return func(sig os.Signal) bool {
		number, ok := sig.(syscall.Signal)
		return ok && unix.SignalName(number) == name
	}
}

// ends reports whether a signal ends a process by default, or asks it to end (signal(7)).
func ends(sig os.Signal) bool {
	return !slices.Contains([]os.Signal{
		unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCONT, unix.SIGCHLD, unix.SIGURG, unix.SIGWINCH,
	}, sig)
}

// Output returns the end of the standard error of the peer so far: 64 KiB, or Command.MaxOutput.
func (p *Peer) Output() []byte { return p.stderr.Bytes() }

// Progress returns the reports of progress so far, the first 100,000.
func (p *Peer) Progress() []Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.progress)
}

// Ready waits until the peer has its sockets, and returns where a server listens; for a Command see [Readiness]. If the
// peer ends before, the error is that of Wait, and of a Command an *ExitError.
func (p *Peer) Ready(ctx context.Context) (Ready, error) {
	if err := p.await(ctx, p.ready, "ready"); err != nil {
		return Ready{}, err
	}
	if p.command.Ready.End {
		<-p.done // at once: who has waited for the end finds it ended
	}
	return *p.readyMsg, nil
}

// Started waits until the first connection is there. If the peer ends before, the error is that of Wait.
func (p *Peer) Started(ctx context.Context) (Started, error) {
	if err := p.await(ctx, p.started, "started"); err != nil {
		return Started{}, err
	}
	return *p.startedMsg, nil
}

// await waits for one of the events of a peer's life.
func (p *Peer) await(ctx context.Context, event <-chan struct{}, name string) error {
	select {
	case <-event:
		return nil
	default:
	}
	began := time.Now()
	select {
	case <-event:
		return nil
	case <-p.done:
	case <-ctx.Done():
		return fmt.Errorf("wait until peer %s is %s: after %v %s: %w",
			p.name, name, time.Since(began).Round(time.Millisecond), p.progressText(), context.Cause(ctx))
	}
	select {
	case <-event: // it came, and then the end
		return nil
	default:
	}
	if p.err != nil {
		return p.err
	}
	if !p.isOurs && p.readyMsg == nil {
		return p.unready()
	}
	return fmt.Errorf("peer %s ended before it was %s", p.name, name)
}

// unready says how a Command has ended that was never ready.
func (p *Peer) unready() error {
	status := exitStatus(p.exit)
	p.ofCommand(status)
	status.Stderr = excerpt(p.stderr.Bytes(), errorLines)
	return p.about(status)
}

// progressText describes the progress of a peer that is being waited for.
func (p *Peer) progressText() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !p.isOurs && p.readyMsg == nil:
		return "it runs, and " + p.command.Ready.missing()
	case !p.isOurs:
		return "it runs"
	case p.readyMsg == nil:
		return "it has no sockets yet"
	case p.waiting.Number > p.continued:
		return fmt.Sprintf("it stands at its Await %d", p.waiting.Number)
	case p.startedMsg == nil:
		return "it has its sockets and no connection yet"
	default:
		return fmt.Sprintf("it works, since its connection %v %v was there", p.startedMsg.Local, p.startedMsg.Remote)
	}
}

// Begin starts a program whose AwaitBegin is set: a client connects, a Script that listens accepts, a SYNFlood sends.
// For all others it does nothing.
func (p *Peer) Begin() error { return p.send(typeStart) }

// Waiting waits until a Script is at an Await that it was not yet told to leave: all steps before are done. If the
// peer ends before, the error is that of Wait.
func (p *Peer) Waiting(ctx context.Context) (Waiting, error) {
	return p.atAwait(ctx, func() {})
}

// Continue waits as Waiting does, and lets the Script continue.
func (p *Peer) Continue(ctx context.Context) error {
	_, err := p.atAwait(ctx, func() { p.continued++ })
	if err != nil {
		return err
	}
	return p.send(typeContinue)
}

// atAwait waits until the peer is at an Await, and then calls then with the lock held.
func (p *Peer) atAwait(ctx context.Context, then func()) (Waiting, error) {
	for {
		p.mu.Lock()
		waiting, moved := p.waiting, p.moved
		isHere := waiting.Number > p.continued
		select {
		case <-p.done:
			isHere = false
		default:
		}
		if isHere {
			then()
			p.mu.Unlock()
			return waiting, nil
		}
		p.mu.Unlock()
		if err := p.await(ctx, moved, "at an Await"); err != nil {
			return Waiting{}, err
		}
	}
}

// Wait waits for the end of the peer and returns what it reported. The error is nil if the peer did its work, and
// otherwise one of
//   - *PeerError: it failed, with the error that is also in Result.Err; the result has what it measured.
//   - *ExitError: it ended without a result; errors.Is(err, ErrKilled) if it was killed from here.
//   - the error of ctx. The peer continues then.
func (p *Peer) Wait(ctx context.Context) (Result, error) {
	if err := p.await(ctx, p.done, "done"); err != nil {
		return Result{}, err
	}
	return p.result, p.err
}

// Stop asks the peer to finish, and waits as Wait does. A client sends nothing more, closes, and waits until the
// server has all; a server accepts no more, and aborts open connections; a Script ends as if its steps were done; a
// Command gets SIGTERM. In a blackhole a client waits long: a second Stop makes it report at once.
func (p *Peer) Stop(ctx context.Context) (Result, error) {
	var err error
	if p.isOurs {
		err = p.send(typeStop)
	} else {
		err = p.Signal(unix.SIGTERM)
	}
	select {
	case <-p.done: // it was faster
	default:
		if err != nil && !errors.Is(err, os.ErrProcessDone) && !errors.Is(err, unix.EPIPE) && !errors.Is(err, os.ErrClosed) {
			return Result{}, err
		}
	}
	return p.Wait(ctx)
}

// send sends a command without content.
func (p *Peer) send(kind string) error {
	if !p.isOurs {
		return nil
	}
	if err := p.stdin.write(command{Type: kind}); err != nil {
		return fmt.Errorf("send %s to peer %s: %w", kind, p.name, err)
	}
	return nil
}

// Signal sends a signal to the process: SIGSTOP and SIGCONT make a reader stall.
func (p *Peer) Signal(sig os.Signal) error {
	p.mu.Lock()
	p.signals = append(p.signals, sig) // before it is sent: it may end the process at once
	p.mu.Unlock()
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("send %v to peer %s: %w", sig, p.name, err)
	}
	return nil
}

// Kill kills the peer and waits until it is gone. It may have ended already.
func (p *Peer) Kill() {
	p.kill(ErrKilled)
	<-p.done
}

// kill sends SIGKILL, and records the reason.
func (p *Peer) kill(reason error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return
	}
	if p.killed == nil {
		p.killed = reason
	}
	p.killGroup()
	p.cmd.Process.Kill() // an error says that it has ended
}

// killGroup kills the process group of a Command. It must not be called once the group is gone: its number could be
// reused.
func (p *Peer) killGroup() {
	if !p.isOurs {
		_ = unix.Kill(-p.PID(), unix.SIGKILL) // an error says that all have ended
	}
}
