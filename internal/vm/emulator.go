package vm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tcplab/tcplab/internal/scratch"
	"github.com/tcplab/tcplab/internal/subprocess"
)

// A QEMU is an installed emulator.
type QEMU struct {
	Path    string
	Version string // the first line of what it says of itself
}

// FindQEMU finds the installed emulator. Without one the error is ErrNoQEMU and says what to do.
func FindQEMU() (QEMU, error) {
	path, err := exec.LookPath(emulatorProgram)
	if err != nil {
		return QEMU{}, fmt.Errorf("%w on this machine: tcplab setup installs it on Debian and Ubuntu (package qemu-system-x86); "+
			"Fedora: dnf install qemu-system-x86-core", ErrNoQEMU)
	}
	var output, complaint bytes.Buffer
	command := exec.Command(path, "--version")
	command.Stdout, command.Stderr = &output, &complaint
	if err := subprocess.Run(command); err != nil {
		return QEMU{}, fmt.Errorf("%s --version: %w: %s", path, err, lastLine(complaint.String()))
	}
	version, _, _ := strings.Cut(output.String(), "\n")
	return QEMU{Path: path, Version: version}, nil
}

const emulatorProgram = "qemu-system-x86_64"

// soundMajor and soundMinor are the oldest version that is known to compute right. 7.2 (Debian 12's own) and 8.2 (Ubuntu 24.04's)
// lose the flags of an instruction such as SETL when its store meets a page fault, so that
// now and then a program in the guest takes a negative number for a positive one. 9.0 and 9.1 were not
// tried: each guest looks for itself, see [Result.Flaw].
const soundMajor, soundMinor = 9, 2

var versionNumber = regexp.MustCompile(`version (\d+)\.(\d+)`)

// Doubt says what is known to be wrong with this version, or nothing.
func (q QEMU) Doubt() string {
	found := versionNumber.FindStringSubmatch(q.Version)
	if found == nil {
		return ""
	}
	var version [2]int
	for i, digits := range found[1:] {
		var err error
		if version[i], err = strconv.Atoi(digits); err != nil {
			return "" // a number that no version has
		}
	}
	if slices.Compare(version[:], []int{soundMajor, soundMinor}) >= 0 {
		return ""
	}
	return fmt.Sprintf("older than %d.%d: may lose processor flags at page faults, so that a program in the guest can compute wrong "+
		"(docs/virtual-time.md); Debian's backports have a newer one, which tcplab setup installs, and so has Ubuntu 26.04", soundMajor, soundMinor)
}

// emulatorPackages are what a guest needs, of one version.
var emulatorPackages = []string{"qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"}

// InstallQEMU installs the emulator with apt-get: from the backports where this is a Debian
// whose own is older than the oldest that is sound, else the distribution's, unless one
// is there already. It needs root, or sudo, which may ask for a password. The system's package
// lists and sources stay as they are.
func InstallQEMU(ctx context.Context, progress func(string)) error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("%w, and no apt-get to install it with: install %s with this system's package manager", ErrNoQEMU, emulatorProgram)
	}
	if found, err := FindQEMU(); err == nil {
		// It would be installed anew each time, to no effect.
		if _, err := debianCodename(); err != nil {
			return fmt.Errorf("nothing newer than %s to install: backports are only known of for Debian, and %w", found.Version, err)
		}
	}
	folder, err := scratch.Make(os.TempDir())
	if err != nil {
		return err
	}
	defer func() { _ = folder.Remove() }()
	dir := filepath.Join(folder.Path(), "apt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	apt := aptClient{dir: dir, ownLists: true}
	if os.Geteuid() != 0 {
		apt.prefix = []string{"sudo"}
		// What root puts into our directory only root can remove.
		defer func() {
			if err := exec.Command("sudo", "rm", "-rf", dir).Run(); err != nil {
				progress(dir + " stays: " + err.Error())
			}
		}()
	}
	progress("fetching package lists")
	if err := apt.update(ctx); err != nil {
		return fmt.Errorf("install QEMU: %w", err)
	}
	// Something else may be installing just now, such as a new machine's first security updates.
	install := []string{"install", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"}
	if newer, suite, err := apt.withBackports(ctx); err != nil {
		progress("no backports (" + err.Error() + ")")
	} else {
		var packages []string
		for _, name := range emulatorPackages {
			packages = append(packages, name+"/"+suite)
		}
		progress("installing " + strings.Join(packages, " "))
		_, err := newer.run(ctx, "apt-get", append(install, packages...)...)
		if err == nil {
			return nil
		}
		progress("not from there: " + err.Error())
	}
	progress("installing qemu-system-x86")
	if _, err := apt.run(ctx, "apt-get", append(install, "qemu-system-x86")...); err != nil {
		return fmt.Errorf("install QEMU: %w", err)
	}
	return nil
}
