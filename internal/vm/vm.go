package vm

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/tcplab/tcplab/internal/scratch"
	"github.com/tcplab/tcplab/internal/vm/guest"
)

// Config describes a base: what is the same for all guests, whatever their program is.
type Config struct {
	Kernel *GuestKernel
	// Init is a program for linux/amd64 that calls guest.Main first. Empty: this very executable, which
	// has to be one.
	Init string
	// Modules are loaded beside defaultModules, optionalModules and all congestion controls, with what they depend on.
	Modules []string
	// Cache is the folder in which the state of a guest that has booted is kept, for all who have the same base, below
	// "states". Empty: it is kept for as long as the base, in the directory for temporary files.
	Cache string
	// Progress is told, in one line, about a damaged cache, or one that cannot be written. May be nil.
	Progress func(string)
}

// Contents describe an image: what a program's guests have beyond their base. It is handed over to a guest that has booted.
type Contents struct {
	// Program is run in the guest: an executable for linux/amd64. A static one is best;
	// a dynamic one takes its shared libraries along.
	Program string
	// Include are more files for the guest, as PATH or PATH=GUESTPATH. A program takes its
	// shared libraries along, a directory all that is in it and the libraries of programs in it. They win over
	// what a guest has anyway.
	Include []string
}

// Limits of a guest, unless its Job says otherwise.
const (
	DefaultMemoryMiB = 512
	DefaultMIPS      = 500
	// defaultReadyLimit bounds a boot, which takes some 3 s, in QEMU's CPU time: on a busy machine the same boot takes long.
	defaultReadyLimit = 2 * time.Minute
	// DefaultWallLimit bounds a guest in wall time: the guest's own time-outs count virtual time,
	// and a guest that waits without a timer would hang for ever.
	DefaultWallLimit = 10 * time.Minute
	// consoleTail is how many of the console's last lines an error shows.
	consoleTail = 25
)

// A Base is a kernel and an initramfs, ready to boot any number of guests. The first one's machine is kept as it was when it had
// booted, and the others begin there.
type Base struct {
	qemu      QEMU
	kernel    *GuestKernel
	initramfs *os.File      // without a name, so that it goes when the last holder does
	sha256    string        // of the initramfs
	qemuBuild func() string // see [QEMU.build]
	cache     string
	progress  func(string)

	mutex  sync.Mutex
	states map[guestSize]*stateSlot // by what they differ in
}

// NewBase puts a base together.
func NewBase(c Config) (*Base, error) {
	if c.Kernel == nil {
		return nil, fmt.Errorf("build guest image: %w given", ErrNoKernel)
	}
	emulator, err := FindQEMU()
	if err != nil {
		return nil, err
	}
	if c.Init == "" {
		if c.Init, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("build guest image: %w", err)
		}
	}
	tree, err := openModules(c.Kernel.modules)
	if err != nil {
		return nil, fmt.Errorf("build guest image: kernel %s: %w", c.Kernel.Release, err)
	}
	controls, err := tree.congestionControls()
	if err != nil {
		return nil, fmt.Errorf("build guest image: kernel %s: %w", c.Kernel.Release, err)
	}
	modules, err := tree.resolveAll(slices.Concat(defaultModules, c.Modules), slices.Concat(optionalModules, controls))
	if err != nil {
		return nil, fmt.Errorf("build guest image: kernel %s: %w", c.Kernel.Release, err)
	}
	b := &Base{qemu: emulator, qemuBuild: sync.OnceValue(emulator.build), kernel: c.Kernel, cache: c.Cache, progress: c.Progress, states: map[guestSize]*stateSlot{}}
	if b.progress == nil {
		b.progress = func(string) {}
	}
	b.initramfs, b.sha256, err = hashed(func(w io.Writer) error { return writeInitramfs(w, c, modules) })
	return b, err
}

// Close frees the base, and what it has of states; those in the cache stay. Guests that run are not disturbed.
func (b *Base) Close() error {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	for _, slot := range b.states {
		if slot.state != nil {
			slot.state.close()
			slot.state = nil
		}
	}
	return b.initramfs.Close()
}

// An Image is a base and the contents of one program's guests. It can run any number of them, also side by side.
type Image struct {
	base           *Base
	program, files *os.File // without a name
	path           []string // where included programs are
	sha256         string   // of the base's initramfs, the program and the files
}

// Image puts an image together. It is to be closed before its base.
func (b *Base) Image(c Contents) (*Image, error) {
	if err := forGuests(c.Program); err != nil {
		return nil, fmt.Errorf("the guests' program: %w", err)
	}
	program, programHash, err := hashed(func(w io.Writer) error {
		file, err := os.Open(c.Program)
		if err != nil {
			return fmt.Errorf("the guests' program: %w", err)
		}
		defer file.Close()
		_, err = io.Copy(w, file)
		return err
	})
	if err != nil {
		return nil, err
	}
	var path []string
	files, filesHash, err := hashed(func(w io.Writer) (err error) {
		path, err = writeFiles(w, c)
		return err
	})
	if err != nil {
		program.Close()
		return nil, err
	}
	sum := sha256.Sum256([]byte(b.sha256 + programHash + filesHash))
	return &Image{base: b, program: program, files: files, path: path, sha256: hex.EncodeToString(sum[:])}, nil
}

// Close frees the image. Guests that run are not disturbed.
func (i *Image) Close() error { return errors.Join(i.program.Close(), i.files.Close()) }

// hashed writes a temporary file without a name, and returns its sha256, too.
func hashed(write func(io.Writer) error) (*os.File, string, error) {
	file, err := unnamedFile()
	if err != nil {
		return nil, "", withRoom(err)
	}
	hash := sha256.New()
	if err := write(io.MultiWriter(file, hash)); err != nil {
		err = withRoom(err)
		file.Close()
		return nil, "", err
	}
	return file, hex.EncodeToString(hash.Sum(nil)), nil
}

// unnamedFile is a temporary file that no crash can leave behind.
func unnamedFile() (*os.File, error) { return scratch.File(os.TempDir()) }

// A Job is one guest's work.
type Job struct {
	Args []string // of the program, without its name
	Env  []string // "KEY=value", added to a minimal environment
	Seed uint64   // of all that is random in the guest, and of when in the first 16 s the program starts

	MemoryMiB  int           // 0: DefaultMemoryMiB
	MIPS       int           // how many million instructions it executes in a second of its own time; 0: DefaultMIPS
	ReadyLimit time.Duration // in CPU time; 0: defaultReadyLimit
	WallLimit  time.Duration // in wall time; 0: DefaultWallLimit

	// Boot has the guest boot by itself, though its bytes are the same where it begins where another one has booted, and
	// that takes a quarter of the time.
	Boot bool

	// Output receives what the program prints, as it runs. May be nil.
	Output io.Writer
	// Artefacts is the directory, made when needed, for the files that the program leaves
	// in its TCPLAB_ARTEFACTS. Empty: they are dropped.
	Artefacts string
	// Place says where below Artefacts a file goes, by its path in the guest's directory; both have slashes. Nil: there.
	Place func(name string) string
}

func (j Job) memoryMiB() int {
	if j.MemoryMiB == 0 {
		return DefaultMemoryMiB
	}
	return j.MemoryMiB
}

// shift is QEMU's measure of that: an instruction takes 2^shift nanoseconds.
func (j Job) shift() int { return slices.Index(Speeds, cmp.Or(j.MIPS, DefaultMIPS)) }

// Inputs are what determines a guest's bytes, to the last.
type Inputs struct {
	QEMU        string // its version
	QEMUBuild   string // sha256 over its program and firmware
	Kernel      string // sha256 of the uncompressed image
	Initramfs   string // sha256, over those of the initramfs, the program and the files, and over arguments and environment
	CommandLine string // sha256 of QEMU's arguments, with the kernel's path left out
	Seed        uint64
}

// Key is one hash over all inputs.
func (i Inputs) Key() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%s\n%s\n%d\n", i.QEMU, i.QEMUBuild, i.Kernel, i.Initramfs, i.CommandLine, i.Seed))
	return hex.EncodeToString(sum[:])
}

// A Result is how a guest ended whose program ended.
type Result struct {
	ExitCode int
	Signal   string        // what ended the program, if a signal did; ExitCode is then -1
	Virtual  time.Duration // how long the program ran, on the guest's clock
	Uptime   time.Duration // of the guest at the end, on its clock
	Wall     time.Duration // from the guest's start to its end, on the host's
	Inputs   Inputs
	Console  []byte // the kernel's console: all that it printed
	// Unkept says why the state of a booted guest could not be kept, or is nil: then each guest boots.
	Unkept error
	// Processes lists what ran when a guest that did not end in time was asked to stop; nil of any other.
	Processes []byte
	// Lost are files that the program has left and that were not taken. There may be more of them than are named.
	Lost []guest.Lost
	// Cut says what is left out of Console and of the program's output, since there was too much of it.
	Cut []string
	// Full says which file systems of the guest had no room left at its end, or is empty.
	Full string
	// Flaw says how the emulator was seen to compute wrong, or is empty. Such a result is
	// reproducible, and can be wrong all the same.
	Flaw string
}

// Inputs tells what a run of this job will depend on, without running it.
func (i *Image) Inputs(job Job) (Inputs, error) {
	if job.MIPS != 0 {
		if err := CheckMIPS(job.MIPS); err != nil {
			return Inputs{}, fmt.Errorf("guest's job: %d MIPS: %w", job.MIPS, err)
		}
	}
	text, err := json.Marshal(guest.Job{Args: job.Args, Env: job.Env, Path: i.path})
	if err != nil {
		return Inputs{}, fmt.Errorf("guest's job: %w", err)
	}
	sum := sha256.Sum256(append([]byte(i.sha256), text...))
	return Inputs{
		QEMU:        i.base.qemu.Version,
		QEMUBuild:   i.base.qemuBuild(),
		Kernel:      i.base.kernel.SHA256,
		Initramfs:   hex.EncodeToString(sum[:]),
		CommandLine: commandLineHash(job),
		Seed:        job.Seed,
	}, nil
}

// Run boots a guest, runs the program in it and brings out what it left. A program that
// ends with a status is a Result, whatever the status; a guest that did not get that far is
// a [GuestError].
func (i *Image) Run(ctx context.Context, job Job) (Result, error) {
	if err := i.base.kernel.unchanged(); err != nil {
		return Result{}, err
	}
	inputs, err := i.Inputs(job)
	if err != nil {
		return Result{}, err
	}
	files, err := newGuestFiles(i, guest.Job{Args: job.Args, Env: job.Env, Path: i.path, Seed: job.Seed})
	if err != nil {
		return Result{}, withRoom(err)
	}
	defer files.close()

	start := time.Now()
	ended, err := i.base.runToEnd(ctx, job, files)
	result := Result{Wall: time.Since(start), Inputs: inputs}
	result.Unkept = i.base.unkept(job.guestSize())
	if err != nil {
		return result, err
	}
	if result.Console, err = readEnds(files.console, maxConsole); err != nil {
		return result, err
	}
	result.Cut = append(cutText("output", files.output, maxOutput), cutText("console", files.console, maxConsole)...)
	got, err := unpackResults(files.results, job)
	if err != nil {
		return result, err
	}
	status := got.status
	result.Lost, result.Processes = got.lost, got.processes
	if status != nil {
		result.Full = status.Full
	}
	if failure := diagnose(ended, status, result.Console); failure != nil {
		return result, failure
	}
	if status.LostFlags > 0 {
		result.Flaw = fmt.Sprintf("%s lost processor flags in %d of %d page faults: programs in the guest can compute wrong", i.base.qemu.Version, status.LostFlags, status.LostFlagsOf)
	}
	result.ExitCode, result.Signal = status.ExitCode, status.Signal
	result.Virtual, result.Uptime = status.Ran, status.Uptime
	return result, nil
}
