package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/subprocess"
	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/internal/vm/guest"
)

// A check is one thing that tcplab may need. Its note says what was found, or what is missing
// and how to get it.
type check struct {
	name string
	ok   bool
	note string
}

func checkOf(name string, found string, err error) check {
	if err != nil {
		return check{name: name, note: err.Error()}
	}
	return check{name: name, ok: true, note: found}
}

func newDoctor() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine can do, what is missing, and how to get it",
		Long: `Say what this machine can do, what is missing, and how to get it. It exits with 0 if
scenarios can run here on one clock or the other.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			out := command.OutOrStdout()
			printChecks(out, "To compile suites", []check{goToolchain(command.Context())})
			printChecks(out, "To run on this kernel, in real time", []check{root(), netem(), tracefs()})
			printChecks(out, "To run in a guest kernel, in virtual time", []check{machine(), emulator(), kernel()})
			clock, why, err := runner.Choose(runner.Auto)
			if err != nil {
				fmt.Fprintln(out, "tcplab run cannot run here:", err)
				return errFailed
			}
			fmt.Fprintf(out, "tcplab run takes the %s clock: %s\n", clock, why)
			return nil
		},
	}
}

func printChecks(out io.Writer, title string, checks []check) {
	fmt.Fprintln(out, title)
	for _, c := range checks {
		mark := "missing"
		if c.ok {
			mark = "ok"
		}
		fmt.Fprintf(out, "  %-8s %-12s %s\n", mark, c.name, c.note)
	}
	fmt.Fprintln(out)
}

func goToolchain(ctx context.Context) check {
	var output bytes.Buffer
	command := exec.Command("go", "version")
	command.Stdout = &output
	err := subprocess.RunTree(ctx, command, 0, 0)
	if err != nil {
		err = fmt.Errorf("no go command (%w): install Go 1.26 or later; suites compiled elsewhere (go test -c) run without", err)
	}
	return checkOf("go", strings.TrimSpace(output.String()), err)
}

func root() check {
	var err error
	if os.Geteuid() != 0 {
		err = errors.New("not root: run with sudo")
	}
	return checkOf("root", "user id 0", err)
}

func netem() check {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return checkOf("sch_netem", "", err)
	}
	return checkOf("sch_netem", "kernel "+unix.ByteSliceToString(name.Release[:]), impair.Probe())
}

func tracefs() check {
	const path = "/sys/kernel/tracing/available_events"
	_, err := os.Stat(path)
	if err != nil {
		err = errors.New("no " + path + " (mount -t tracefs tracefs /sys/kernel/tracing, as root): scenarios that ask for kernel events are skipped")
	}
	return checkOf("tracefs", path, err)
}

func machine() check {
	note := fmt.Sprintf("%d cores, as many guests side by side", runtime.NumCPU())
	if runtime.GOARCH != guest.Arch {
		note += "; guests are " + guest.Arch + ": what runs in them is built for that, and needs the go command"
	}
	return check{name: runtime.GOARCH, ok: true, note: note}
}

func emulator() check {
	found, err := vm.FindQEMU()
	note := found.Version
	if doubt := found.Doubt(); doubt != "" {
		note += "; " + doubt
	}
	return checkOf("QEMU", note, err)
}

func kernel() check {
	cache, err := vm.CacheDir()
	if err != nil {
		return checkOf("kernel", "", err)
	}
	found, err := vm.CachedKernel(cache)
	switch {
	case err == nil:
		return checkOf("kernel", found.Release+" ("+found.Source+")"+otherKernels(cache), nil)
	case errors.Is(err, vm.ErrNoKernel):
		if _, lookErr := exec.LookPath("apt-get"); lookErr == nil {
			return checkOf("kernel", "none yet: the first run downloads this system's (linux-image-amd64 or -generic, some 70 MB) into "+cache, nil)
		}
		err = fmt.Errorf("%w, and no apt-get to download one: name one with --kernel PATH (tcplab kernels --help)", err)
	}
	return checkOf("kernel", "", err)
}

// otherKernels names those that --kernel can take beside the default.
func otherKernels(cache string) string {
	stored, err := vm.StoredKernels(cache)
	if err != nil {
		return "; the others: " + err.Error()
	}
	var names []string
	for _, kernel := range stored {
		if !kernel.Default() {
			names = append(names, kernel.Name)
		}
	}
	if len(names) == 0 {
		return "; tcplab kernels has more"
	}
	return "; also " + strings.Join(names, ", ")
}
