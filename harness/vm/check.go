package vm

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
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
	if has := uint64(machine.Totalram) * uint64(machine.Unit) >> 20; uint64(sizeMiB) > has {
		return fmt.Errorf("this machine has %d MiB in all", has)
	}
	return nil
}

// CheckModules refuses names of modules that a kernel neither has nor has built in.
func (k *Kernel) CheckModules(names []string) error {
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
