//go:build linux && amd64

package guest

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Main runs the guest and powers it off if this process is the /init of a tcplab guest.
// In any other process it returns at once.
func Main() {
	if os.Getpid() != 1 || os.Args[0] != InitPath {
		return
	}
	if err := run(); err != nil {
		// No port to report through: the console is what is left.
		fmt.Fprintln(os.Stderr, "tcplab guest:", err)
	}
	unix.Sync()
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	fmt.Fprintln(os.Stderr, "tcplab guest: power off:", err)
	select {} // the host ends us; if init returned, the kernel would panic and hide the message above
}

// run does the job and reports on it. Its error is only for what could not be reported.
func run() error {
	// What is alike in all guests of an image. Its random numbers are, too.
	requests, stopErr := stopRequests()
	bootErr := errors.Join(mountAll(), stopErr, seedRandom(0), loadModules(), prepareTracing(), raiseTCPMemory())
	firmware, program, prepareErr := prepare()
	lost, of, flagsErr := lostFlags()
	output, outputErr := openPort(OutputPort)
	results, resultsErr := openPort(ResultsPort)
	bootErr = errors.Join(bootErr, loopbackUp(), prepareErr, flagsErr, outputErr, pause())
	// From here on each has its own. What comes before is done once for all of them, and QEMU translates none of its code again.
	if resultsErr != nil {
		return errors.Join(bootErr, resultsErr)
	}
	defer results.Close()
	var job Job
	var jobErr error
	if prepareErr == nil {
		job, jobErr = receive(firmware, program)
	}
	seedErr := seedRandom(job.Seed)

	stream := tar.NewWriter(results)
	if err := addEntry(stream, ReadyEntry, nil); err != nil {
		return err
	}
	if err := stream.Flush(); err != nil {
		return err
	}

	var status Status
	if err := errors.Join(bootErr, jobErr, seedErr); err != nil {
		status = Status{ExitCode: -1, Error: err.Error()}
	} else {
		status = runProgram(job, output, requests, func(processes []byte) error {
			return errors.Join(addEntry(stream, ProcessesEntry, processes), stream.Flush())
		})
		var treeErr error
		if status.Lost, treeErr = addTree(stream, ArtefactsDir); treeErr != nil {
			status.Error = treeErr.Error()
		}
		status.Full = fullFileSystems()
	}
	status.LostFlags, status.LostFlagsOf, status.Uptime = lost, of, uptime()
	encoded, err := json.Marshal(status)
	if err != nil {
		return err
	}
	if err := addEntry(stream, StatusEntry, encoded); err != nil {
		return err
	}
	return stream.Close()
}

func mountAll() error {
	mounts := []struct{ kind, target string }{
		{"proc", "/proc"},
		{"sysfs", "/sys"},
		{"devtmpfs", "/dev"},
		{"devpts", "/dev/pts"},
		{"tmpfs", "/dev/shm"},
		{"tmpfs", "/tmp"},
		{"tracefs", "/sys/kernel/tracing"},
		{"bpf", "/sys/fs/bpf"},
	}
	var errs []error
	for _, m := range mounts {
		// A kernel without tracefs or bpf has no directory for it and sysfs lets nobody make
		// one: such a guest still runs, and whoever needs the mount says so.
		optional := strings.HasPrefix(m.target, "/sys/")
		if err := os.MkdirAll(m.target, 0o755); err != nil && !optional {
			errs = append(errs, err)
			continue
		}
		if err := unix.Mount(m.kind, m.target, m.kind, 0, ""); err != nil && !optional {
			errs = append(errs, fmt.Errorf("mount %s on %s: %w", m.kind, m.target, err))
		}
	}
	for _, dir := range []string{ArtefactsDir, WorkDir, "/run", "/etc"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			errs = append(errs, err)
		}
	}
	// What udev would make: shells and servers write to them.
	for _, link := range [][2]string{{"/proc/self/fd", "/dev/fd"}, {"fd/0", "/dev/stdin"}, {"fd/1", "/dev/stdout"}, {"fd/2", "/dev/stderr"}} {
		if err := os.Symlink(link[0], link[1]); err != nil {
			errs = append(errs, err)
		}
	}
	if err := unix.Sethostname([]byte("tcplab")); err != nil { // as /etc/hosts has it
		errs = append(errs, fmt.Errorf("set the host name: %w", err))
	}
	return errors.Join(errs...)
}

// prepareTracing makes the tracing instance that package kernel takes if it is there. With 6.1 the kernel makes thousands of
// files for it, and takes them away again, which is 200 virtual ms; here that is done once for all guests that begin where this
// one was kept.
func prepareTracing() error {
	const instances = "/sys/kernel/tracing/instances"
	if _, err := os.Stat(instances); errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel without tracing: who needs it says so
	}
	instance := filepath.Join(instances, tracingInstance)
	if err := os.Mkdir(instance, 0o700); err != nil {
		return fmt.Errorf("prepare tracing: %w", err)
	}
	for _, setting := range [][2]string{{"tracing_on", "0"}, {"trace_clock", "mono"}, {"buffer_size_kb", strconv.Itoa(tracingBufferKiB)}} {
		if err := os.WriteFile(filepath.Join(instance, setting[0]), []byte(setting[1]), 0); err != nil {
			return fmt.Errorf("prepare tracing: set %q: %w", setting[1], err)
		}
	}
	return nil
}

func loadModules() error {
	var names []string
	if err := readList(ModulesList, &names); err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if err := loadModule(filepath.Join(ModulesDir, name)); err != nil {
			errs = append(errs, fmt.Errorf("load module %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// readList reads a list that the host has put into a file, in JSON.
func readList(file string, list *[]string) error {
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, list)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func loadModule(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	err = unix.FinitModule(int(file.Fd()), "", 0)
	if errors.Is(err, unix.EEXIST) {
		return nil // built in
	}
	return err
}

// openPort opens the virtio-serial port that the host gave this name.
func openPort(name string) (*os.File, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, path := range names {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if strings.TrimSpace(string(text)) == name {
			device := filepath.Join("/dev", filepath.Base(filepath.Dir(path)))
			return os.OpenFile(device, os.O_WRONLY, 0)
		}
	}
	return nil, fmt.Errorf("no virtio-serial port is named %q among %d: is virtio_console loaded?", name, len(names))
}

// runProgram runs the program to its end, or until the host asks for that.
func runProgram(job Job, output *os.File, requests <-chan os.Signal, report func(processes []byte) error) Status {
	status := Status{ExitCode: -1}
	defer output.Close()
	if err := warmUp(); err != nil {
		status.Error = err.Error()
		return status
	}
	time.Sleep(startAfter(job.Seed))
	began := uptime()
	command := exec.Command(ProgramPath, job.Args...)
	command.Dir = WorkDir
	command.Env = append([]string{
		"PATH=" + strings.Join(append([]string{"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, job.Path...), ":"),
		"HOME=/root", "TMPDIR=/tmp", "USER=root", "LANG=C.UTF-8",
		ArtefactsEnv + "=" + ArtefactsDir,
		// A scenario is too short for its programs' garbage to matter: collecting it is a fifth of the instructions of one that
		// does little. A program that makes much of it does collect, well below the guest's memory.
		"GOGC=off", "GOMEMLIMIT=96MiB",
	}, job.Env...)
	command.Stdout, command.Stderr = output, output
	if err := command.Start(); err != nil {
		status.Error = err.Error()
		return status
	}
	done := make(chan struct{})
	go func() {
		_ = command.Wait() // how it ended, its state says
		close(done)
	}()
	select {
	case <-done:
	case <-requests:
		var err error
		status.Stopped, err = stopProgram(command.Process, done, report)
		if err != nil {
			status.Stopped += " (" + err.Error() + ")"
		}
	}
	status.Ran = uptime() - began
	if status.Stopped != "" {
		return status
	}
	status.ExitCode = command.ProcessState.ExitCode()
	if wait, ok := command.ProcessState.Sys().(syscall.WaitStatus); ok && wait.Signaled() {
		status.Signal = wait.Signal().String()
	}
	return status
}

func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loopback up: %w", err)
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("loopback up: %w", err)
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("loopback up: %w", err)
	}
	return nil
}

// warmUp makes the first TCP connections since the boot, to closed ports of the loopback. The
// kernel fills inet_hashtables.c's table_perturb (256 KB of random numbers) when first
// connect(2) is called, which is 12 ms of virtual time: a machine that has been up for a
// while has that behind it, and no scenario shall measure it.
func warmUp() error {
	const closedPort = 1
	for _, address := range []unix.Sockaddr{
		&unix.SockaddrInet4{Port: closedPort, Addr: [4]byte{127, 0, 0, 1}},
		&unix.SockaddrInet6{Port: closedPort, Addr: [16]byte{15: 1}},
	} {
		family := unix.AF_INET
		if _, ok := address.(*unix.SockaddrInet6); ok {
			family = unix.AF_INET6
		}
		socket, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if errors.Is(err, unix.EAFNOSUPPORT) {
			continue // a kernel without IPv6
		} else if err != nil {
			return fmt.Errorf("warm up: %w", err)
		}
		err = unix.Connect(socket, address)
		unix.Close(socket)
		if !errors.Is(err, unix.ECONNREFUSED) {
			return fmt.Errorf("warm up: connect to a closed port of the loopback: %w", err)
		}
	}
	return nil
}

// startAfter is how long a program waits for its start: it depends on the seed when in a tick that is, and when in a turn of the
// timer wheel. A timer's lateness hangs on both, and a machine that has been up for a while begins anywhere in them. The wheel's
// slots for timers of up to 17 minutes are of 4096 ticks, which are 16 s (LVL_GRAN in kernel/time/timer.c, with 250 Hz).
func startAfter(seed uint64) time.Duration {
	const longestSlot = 4096 * time.Second / 250
	return time.Duration(rand.New(rand.NewPCG(seed, 0)).Int64N(int64(longestSlot)))
}

func uptime() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0
	}
	return time.Duration(now.Nano())
}

// addTree adds the regular files below root, in the order of their names. What cannot be sent it leaves out, and says so: a
// process that the program has left behind may still write there.
func addTree(stream *tar.Writer, root string) (lost []Lost, err error) {
	left := int64(maxTree)
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, root+"/")
		if err != nil {
			lost = append(lost, Lost{name, err.Error()})
			return nil
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		reason, err := addFile(stream, name, path, &left)
		if reason != "" {
			lost = append(lost, Lost{name, reason})
		}
		return err
	})
	return lost, err
}

// maxTree is how much of a tree is sent: the host takes no more than that. A sparse file is sent whole, and can be of any size.
const maxTree = 1 << 30

// addFile adds a file, or says why not. Its error is of the stream.
func addFile(stream *tar.Writer, name, path string, left *int64) (reason string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return err.Error(), nil
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err.Error(), nil
	}
	size := info.Size()
	if size > *left {
		return fmt.Sprintf("has %d bytes, and all files together may have %d", size, maxTree), nil
	}
	*left -= size
	if err := stream.WriteHeader(header(ArtefactPrefix+name, size)); err != nil {
		return "", fmt.Errorf("send %q: %w", path, err)
	}
	// A file that still grows, or shrinks, must not break the stream: its header has promised a size.
	sent, err := io.CopyN(stream, file, size)
	if err != nil && sent < size {
		reason = fmt.Sprintf("only %d of its %d bytes could be read, zeros follow: %v", sent, size, err)
		_, err = io.CopyN(stream, zeros{}, size-sent)
	}
	if err != nil {
		return "", fmt.Errorf("send %q: %w", path, err)
	}
	return reason, nil
}

// zeros is a reader of zero bytes without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// fullFileSystems names those that programs write to and that have no room left: what is missing afterwards is so for that.
func fullFileSystems() string {
	const full = 64 << 10
	var texts []string
	for _, dir := range []string{"/", "/tmp"} {
		var stat unix.Statfs_t
		if err := unix.Statfs(dir, &stat); err != nil || stat.Blocks == 0 {
			continue // it has no bound of its own
		}
		if block := uint64(stat.Bsize); stat.Bavail*block < full { //nolint:gosec // never negative
			texts = append(texts, fmt.Sprintf("the guest's file system %s is full: %d MiB", dir, stat.Blocks*block>>20))
		}
	}
	return strings.Join(texts, "; ")
}

func addEntry(stream *tar.Writer, name string, content []byte) error {
	if err := stream.WriteHeader(header(name, int64(len(content)))); err != nil {
		return err
	}
	_, err := stream.Write(content)
	return err
}

// header has neither times nor owners: the same content gives the same stream.
func header(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644}
}
