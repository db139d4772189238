package vm

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// LeastMemoryMiB is what a guest needs to boot and run a scenario, measured with Debian's 6.1: with 144 its kernel
// panics while it unpacks its files.
const LeastMemoryMiB = 160

// CheckMemory refuses a size of a guest's memory, in MiB, that no guest can have here.
func CheckMemory(sizeMiB int) error {
	if sizeMiB < LeastMemoryMiB {
		return fmt.Errorf("a guest needs %d MiB or more (default: %d)", LeastMemoryMiB, DefaultMemoryMiB)
	}
	var machine unix.Sysinfo_t
	if err := unix.Sysinfo(&machine); err != nil {
		return fmt.Errorf("memory of this machine: %w", err)
	}
	if has := machine.Totalram * uint64(machine.Unit) >> 20; uint64(sizeMiB) > has {
		return fmt.Errorf("this machine has %d MiB in all", has)
	}
	return nil
}

// Speeds are what [Job].MIPS can be, the fastest first: QEMU counts an instruction as 1, 2, 4, ... ns.
var Speeds = []int{1000, 500, 250, 125}

// CheckMIPS refuses a speed that no guest can have.
func CheckMIPS(mips int) error {
	if slices.Contains(Speeds, mips) {
		return nil
	}
	allowed := strings.Trim(strings.ReplaceAll(fmt.Sprint(Speeds), " ", ", "), "[]")
	return fmt.Errorf("a guest executes one of %s million instructions in a second (default: %d)", allowed, DefaultMIPS)
}

// CheckModules refuses names of modules that a kernel neither has nor has built in.
func (k *GuestKernel) CheckModules(names []string) error {
	if len(names) == 0 {
		return nil
	}
	tree, err := openModules(k.modules)
	if err == nil {
		_, err = tree.resolve(names)
	}
	if err != nil {
		return fmt.Errorf("kernel %s: %w", k.Release, err)
	}
	return nil
}

// CheckInclude refuses what [Config].Include cannot take.
func CheckInclude(include string) error {
	source, _, info, err := parseInclude(include)
	if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
		if err = forGuests(source); err != nil {
			err = fmt.Errorf("include %s: %w", include, err)
		}
	}
	return err
}

// parseInclude splits PATH=GUESTPATH, or takes one path for both.
func parseInclude(include string) (source, name string, info os.FileInfo, err error) {
	source, name, renamed := strings.Cut(include, "=")
	if source == "" {
		return "", "", nil, fmt.Errorf("include %q: no path: name a file, directory or program, as PATH or PATH=GUESTPATH", include)
	}
	if source, err = filepath.Abs(source); err != nil {
		return "", "", nil, err
	}
	if !renamed {
		name = source
	}
	if !path.IsAbs(name) {
		return "", "", nil, fmt.Errorf("include %s: the path in the guest must start with a slash", include)
	}
	if info, err = os.Stat(source); err != nil {
		return "", "", nil, fmt.Errorf("include %s: %w", include, err)
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return "", "", nil, fmt.Errorf("include %s: is neither a file nor a directory", include)
	}
	return source, name, info, nil
}
