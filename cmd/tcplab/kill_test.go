package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/scratch"
	"github.com/tcplab/tcplab/internal/vm"
)

// TestKills ends tcplab at random moments of what it does, by all signals that can end it, and looks at what is left: after
// the next run that must be nothing, and that run must be right. It takes hours for 1,000 kills, so it is only run when asked
// for (make kill); KILLS and KILL_SEED split it over several calls.
func TestKills(t *testing.T) {
	if os.Getenv("TCPLAB_KILL") != "1" {
		t.Skip("takes hours: make kill")
	}
	kills, seed := number(t, "KILLS", 1000), number(t, "KILL_SEED", 1)
	heedHangup()
	a := newArena(t)
	t.Logf("%d kills with KILL_SEED=%d", kills, seed)
	before := hostState(t)
	counts := map[string]int{}
	for i := range kills {
		random := rand.New(rand.NewPCG(uint64(seed), uint64(i)))
		v := a.victims[pick(random, a.weights())]
		sig := killers[pick(random, []int{8, 3, 3, 3, 3})]
		moment := random.Float64()
		if err := a.kill(v, sig, moment); err != nil {
			t.Errorf("kill %d of KILL_SEED=%d: %s, %v at %.3f of %v: %v", i, seed, v.name, sig, moment, v.takes, err)
		}
		counts[fmt.Sprintf("%-8s %-24v %d", v.name, sig, int(moment*5))]++
		if done := i + 1; done%20 == 0 {
			t.Logf("%d of %d kills", done, kills)
		}
		if t.Failed() && i > 20 {
			break // what is left would be found again and again
		}
	}
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%s fifth: %d", key, counts[key])
	}
	if after := hostState(t); after != before {
		t.Errorf("of this machine's links, mounts and namespaces by name there were\n%s\nand there are\n%s", before, after)
	}
}

// killers are the signals. SIGPIPE comes as it does in a pipeline: nobody reads any more.
var killers = []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE}

func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s=%s: %v", name, text, err)
	}
	return n
}

// pick chooses an index by weights.
func pick(random *rand.Rand, weights []int) int {
	total := 0
	for _, w := range weights {
		total += w
	}
	n := random.IntN(total)
	for i, w := range weights {
		if n -= w; n < 0 {
			return i
		}
	}
	panic("not reached")
}

// A victim is a command line of tcplab.
type victim struct {
	name    string
	weight  int
	args    func() []string
	says    string // when it is right
	prepare func() error
	takes   time.Duration // when it is left alone
}

// An arena is what the victims have for themselves.
type arena struct {
	program string
	dir     string // that of the package: suites are named from there
	tmp     string
	cache   string
	results string
	env     []string
	mark    string // in the environment of all processes
	runs    int
	victims []*victim
}

func (a *arena) weights() (weights []int) {
	for _, v := range a.victims {
		weights = append(weights, v.weight)
	}
	return weights
}

func newArena(t *testing.T) *arena {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	base := t.TempDir()
	here, err := os.Getwd()
	must(err)
	a := &arena{
		program: filepath.Join(base, "tcplab"), dir: here, tmp: filepath.Join(base, "tmp"), cache: filepath.Join(base, "cache"),
		results: filepath.Join(base, "results"), mark: fmt.Sprintf("TCPLAB_KILLED=%d-%d", os.Getpid(), time.Now().UnixNano()),
	}
	must(os.Mkdir(a.tmp, 0o755))
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", a.program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	cache, err := vm.CacheDir()
	must(err)
	kernel, err := vm.FindKernel(t.Context(), vm.KernelOptions{Name: vm.DefaultKernel})
	must(err)
	a.env = append(os.Environ(), a.mark, "TMPDIR="+a.tmp, "TCPLAB_CACHE="+a.cache, "TCPLAB_KERNEL=default")
	fetched := ownRepository(t, base, cache, kernel)
	a.env = append(a.env, "APT_CONFIG="+filepath.Join(base, "apt.conf"))

	const suite = "../../scenarios/handshake"
	const refused = "is refused with RST by a closed port"
	run := func(seed int) []string {
		a.runs++
		return []string{"run", suite, "--focus", refused, "--clock", "virtual", "-j", "1", "--results", a.results,
			"--id", fmt.Sprint("run", a.runs), "--seed", strconv.Itoa(seed)}
	}
	a.victims = []*victim{ // the first brings the kernel for the others
		{name: "fetch", weight: 5, says: "kernel default: " + kernel.Release, args: func() []string { return []string{"kernels", "fetch", "default"} },
			prepare: func() error { return a.forget(fetched) }},
		{name: "run", weight: 8, says: "1 passed, 0 failed", args: func() []string { return append(run(1), "--fresh") }},
		// With no state in the cache, its guest boots and its state is kept.
		{name: "boot", weight: 5, says: "1 passed, 0 failed", args: func() []string { return append(run(3), "--fresh") },
			prepare: func() error { return os.RemoveAll(filepath.Join(a.cache, "states")) }},
		{name: "cached", weight: 3, says: "1 passed, 0 failed", args: func() []string { return run(2) }},
		{name: "list", weight: 5, says: refused, args: func() []string { return []string{"list", suite} }},
		{name: "analyze", weight: 2, says: "unanswered-syn", args: func() []string { return []string{"analyze", "testdata/unanswered.pcapng"} }},
	}
	for _, v := range a.victims {
		for range 2 { // the first one compiles more
			started := time.Now()
			must(a.right(v))
			v.takes = time.Since(started)
		}
		t.Logf("%-8s takes %v", v.name, v.takes.Round(time.Millisecond))
	}
	return a
}

// ownRepository writes an archive with the default kernel's package, put together from what the cache has of it, and a
// configuration by which apt knows no other. It returns the package's version.
func ownRepository(t *testing.T, base, cache string, kernel *vm.GuestKernel) (version string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	folder := filepath.Join(cache, "kernels", "v2", "default")
	tree, archive := filepath.Join(base, "tree"), filepath.Join(base, "archive")
	name, version := "linux-image-"+kernel.Release, "1-kill"
	for _, dir := range []string{"DEBIAN", "boot", "lib/modules"} {
		must(os.MkdirAll(filepath.Join(tree, dir), 0o755))
	}
	must(os.CopyFS(filepath.Join(tree, "lib/modules", kernel.Release), os.DirFS(filepath.Join(folder, "modules"))))
	image, err := os.ReadFile(filepath.Join(folder, "vmlinux"))
	must(err)
	must(os.WriteFile(filepath.Join(tree, "boot", "vmlinuz-"+kernel.Release), image, 0o644))
	config, err := os.ReadFile(filepath.Join(folder, "config"))
	must(err)
	must(os.WriteFile(filepath.Join(tree, "boot", "config-"+kernel.Release), config, 0o644))
	control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: nobody <nobody@example.com>\nDescription: a kernel\n", name, version)
	must(os.WriteFile(filepath.Join(tree, "DEBIAN/control"), []byte(control), 0o644))
	meta := filepath.Join(base, "meta", "DEBIAN")
	must(os.MkdirAll(meta, 0o755))
	must(os.WriteFile(filepath.Join(meta, "control"), []byte("Package: linux-image-amd64\nVersion: "+version+"\nArchitecture: amd64\nDepends: "+name+
		"\nMaintainer: nobody <nobody@example.com>\nDescription: a kernel\n"), 0o644))
	pool := filepath.Join(archive, "dists/test/main/binary-amd64")
	must(os.MkdirAll(pool, 0o755))
	for _, args := range []string{
		"dpkg-deb -Znone --build " + tree + " " + archive + "/" + name + "_" + version + "_amd64.deb",
		"dpkg-deb -Znone --build " + filepath.Dir(meta) + " " + archive + "/linux-image-amd64_" + version + "_amd64.deb",
		"cd " + archive + " && for deb in *.deb; do dpkg-deb --field $deb; " +
			"echo Filename: $deb; echo Size: $(stat -c %s $deb); echo SHA256: $(sha256sum $deb | cut -d' ' -f1); echo; done >" + pool + "/Packages",
		"cd " + archive + "/dists/test && { echo Origin: Debian; echo Label: Debian; echo Suite: test; echo Codename: test; echo Architectures: amd64; " +
			"echo Components: main; echo SHA256:; for f in main/binary-amd64/Packages; do echo \" $(sha256sum $f | cut -d' ' -f1) $(stat -c %s $f) $f\"; done; } >Release",
	} {
		if output, err := exec.Command("sh", "-c", args).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", args, err, output)
		}
	}
	must(os.RemoveAll(tree))
	parts := filepath.Join(base, "sources")
	for _, dir := range []string{parts, filepath.Join(base, "apt/lists/partial"), filepath.Join(base, "apt/cache/archives/partial")} {
		must(os.MkdirAll(dir, 0o755))
	}
	must(os.WriteFile(filepath.Join(parts, "test.list"), []byte("deb [trusted=yes target=Packages] file:"+archive+" test main\n"), 0o644))
	must(os.WriteFile(filepath.Join(base, "apt.conf"), fmt.Appendf(nil, `Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts %q;
Dir::State::Lists %q;
Dir::Cache %q;
`, parts, filepath.Join(base, "apt/lists"), filepath.Join(base, "apt/cache")), 0o644))
	return version
}

// forget removes the kernel that is fetched, so that it is fetched again.
func (a *arena) forget(version string) error {
	folders, err := filepath.Glob(filepath.Join(a.cache, "kernels/v2/packages-*"))
	for _, folder := range folders {
		text, readErr := os.ReadFile(filepath.Join(folder, "kernel.json"))
		if readErr == nil && bytes.Contains(text, []byte(version)) {
			err = errors.Join(err, os.RemoveAll(folder))
		}
	}
	return err
}

func (a *arena) command(v *victim) *exec.Cmd {
	command := exec.Command(a.program, v.args()...)
	command.Dir, command.Env = a.dir, a.env
	return command
}

// right runs a command that is left alone.
func (a *arena) right(v *victim) error {
	if v.prepare != nil {
		if err := v.prepare(); err != nil {
			return err
		}
	}
	return a.goesWell(v)
}

func (a *arena) goesWell(v *victim) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	command := a.command(v)
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = command.Process.Kill() })
	defer stop()
	if err := command.Wait(); err != nil || !strings.Contains(output.String(), v.says) {
		return fmt.Errorf("%s: %w: %s", strings.Join(command.Args[1:], " "), cmp.Or(err, errors.New("it says other things")), output.String())
	}
	return nil
}

// kill ends a command at a moment, looks at what is left, and then at the next run.
func (a *arena) kill(v *victim, sig syscall.Signal, moment float64) error {
	if v.prepare != nil {
		if err := v.prepare(); err != nil {
			return err
		}
	}
	command := a.command(v)
	ours, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ours.Close()
	var complaint bytes.Buffer
	command.Stdout, command.Stderr = theirs, &complaint
	if err := command.Start(); err != nil {
		return err
	}
	theirs.Close()
	read := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, ours)
		close(read)
	}()
	time.Sleep(time.Duration(moment * 1.02 * float64(v.takes)))
	if sig == syscall.SIGPIPE {
		ours.Close()
	} else {
		_ = command.Process.Signal(sig) // it may have ended
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	allowed := 15 * time.Second
	if sig == syscall.SIGPIPE {
		allowed += 2*v.takes + time.Minute // it learns of it when it writes
	}
	select {
	case <-ended:
	case <-time.After(allowed):
		running := a.marked()
		_ = command.Process.Signal(syscall.SIGQUIT) // it prints its goroutines
		select {
		case <-ended:
		case <-time.After(allowed):
			_ = command.Process.Kill()
			<-ended
		}
		return fmt.Errorf("it had not ended after %v; processes: %s; it said: %s", allowed, strings.Join(running, "; "), complaint.String())
	}
	status, _ := command.ProcessState.Sys().(syscall.WaitStatus)
	bySignal := status.Signaled() && status.Signal() == sig
	if !bySignal && command.ProcessState.ExitCode() != 128+int(sig) && command.ProcessState.ExitCode() != 0 {
		return fmt.Errorf("it ended with %v: %s", command.ProcessState, complaint.String())
	}
	patience := time.Second
	if sig == syscall.SIGKILL {
		patience = 10 * time.Second
	}
	if err := a.processes(patience); err != nil {
		return err
	}
	if sig != syscall.SIGKILL {
		if err := a.files(); err != nil {
			return fmt.Errorf("before the next run: %w", err)
		}
	}
	if err := a.goesWell(v); err != nil {
		return fmt.Errorf("the next run: %w", err)
	}
	if err := a.processes(time.Second); err != nil {
		return err
	}
	return a.files()
}

// processes looks for processes of ours, and allows them a while to end.
func (a *arena) processes(patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		left := a.marked()
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes are left: %s", strings.Join(left, "; "))
		}
	}
}

func (a *arena) marked() (left []string) {
	paths, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range paths {
		environment, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(environment, []byte(a.mark)) {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		left = append(left, filepath.Base(filepath.Dir(path))+" "+strings.ReplaceAll(string(line), "\x00", " "))
	}
	return left
}

// files looks for what is temporary.
func (a *arena) files() error {
	var left []string
	for _, root := range []string{a.tmp, a.cache, a.results} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if path != root && (root == a.tmp || scratch.Is(entry.Name()) || strings.HasPrefix(entry.Name(), ".")) {
				left = append(left, path)
				if entry.IsDir() {
					return fs.SkipDir
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// A run that was killed leaves what it had recorded: that is evidence. But it is this test's.
	if entries, err := filepath.Glob(filepath.Join(a.results, "run*")); err == nil && len(left) == 0 {
		for _, entry := range entries {
			_ = os.RemoveAll(entry)
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("files are left: %s", strings.Join(left, ", "))
	}
	return nil
}

// hostState is what a process could leave beyond itself: links, mounts and network namespaces that have a name.
func hostState(t *testing.T) string {
	t.Helper()
	var lines []string
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		lines = append(lines, "link "+link.Name)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			lines = append(lines, "mount "+fields[4])
		}
	}
	names, err := filepath.Glob("/run/netns/*")
	if err != nil {
		t.Fatal(err)
	}
	lines = append(lines, names...)
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
