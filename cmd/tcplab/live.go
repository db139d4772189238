package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/net/bpf"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/capture"
	"github.com/tcplab/tcplab/internal/packetfilter"
	"github.com/tcplab/tcplab/internal/progress"
	"github.com/tcplab/tcplab/internal/scratch"
	"github.com/tcplab/tcplab/netns/netdev"
)

// live is a capture of a network interface that is analysed when it has ended.
type live struct {
	device   string
	duration time.Duration // 0: until ^C
	filter   string
	write    string // a file to keep it in
}

// check refuses what only a capture has, where there is none.
func (l live) check(given func(flag string) bool) error {
	for _, flag := range []string{"duration", "filter", "write"} {
		if given(flag) && l.device == "" {
			return fmt.Errorf("--%s is of a capture: say on which --interface", flag)
		}
	}
	return nil
}

// liveSnapLength is enough for all headers, also those of a tunnel: analysis reads no data.
const liveSnapLength = 512

// analyze captures for as long as was asked for, or until ctx ends, and reports on that. It gives root's privileges up as soon as the
// packet socket is open; notes says where it cannot.
func (l live) analyze(command *cobra.Command, choice analysis.Choice) (report *analysis.Report, err error) {
	notes := command.ErrOrStderr()
	config, err := l.config()
	if err != nil {
		return nil, err
	}
	folder, err := scratch.Make(os.TempDir())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, folder.Remove()) }()
	kept, err := l.keep()
	if err != nil {
		return nil, err
	}
	if kept != nil {
		defer func() { err = errors.Join(err, kept.Close()) }()
	}
	path := filepath.Join(folder.Path(), "capture.pcapng")
	c, err := capture.Start(path, config, capture.Interface{Name: l.device, Device: netdev.Device{Name: l.device}})
	if err != nil {
		return nil, err
	}
	if err := dropPrivileges(folder.Path()); err != nil {
		fmt.Fprintln(notes, "tcplab: root's privileges are kept:", err)
	}
	l.wait(command.Context())
	if _, err = c.Stop(); err != nil && !errors.Is(err, capture.ErrIncomplete) {
		return nil, err
	}
	if err != nil {
		fmt.Fprintln(notes, "tcplab:", err)
	}
	if kept != nil {
		if err := copyFile(kept, path); err != nil {
			return nil, err
		}
	}
	report, err = analyze(command, path, choice)
	if err == nil {
		report.File = "captured on " + l.device
	}
	return report, err
}

// keep opens the file to keep the capture in, as whoever has started this; nil if there is none.
func (l live) keep() (*os.File, error) {
	if l.write == "" {
		return nil, nil
	}
	return os.Create(l.write)
}

func copyFile(to *os.File, path string) error {
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	_, err = io.Copy(to, from)
	return err
}

// config has the filter's program, for what packets of the device begin with.
func (l live) config() (capture.Config, error) {
	if l.duration < 0 {
		return capture.Config{}, fmt.Errorf("--duration %v: want 0 or more", l.duration)
	}
	device, err := net.InterfaceByName(l.device)
	if err != nil {
		return capture.Config{}, fmt.Errorf("--interface %s: %w; there are %s", l.device, err, strings.Join(interfaces(), ", "))
	}
	link := packetfilter.Ethernet
	switch {
	case device.Flags&net.FlagLoopback != 0:
		link = packetfilter.Loopback
	case len(device.HardwareAddr) == 0:
		link = packetfilter.Raw
	}
	var program []bpf.RawInstruction
	if program, err = packetfilter.Compile(l.filter, link); err != nil {
		return capture.Config{}, fmt.Errorf("--filter: %w", err)
	}
	return capture.Config{SnapLength: liveSnapLength, Filter: program}, nil
}

func interfaces() (names []string) {
	list, _ := net.Interfaces() // it is for a hint
	for _, i := range list {
		names = append(names, i.Name)
	}
	return names
}

// wait says that it is waiting.
func (l live) wait(ctx context.Context) {
	task := progress.Start(ctx, "capturing on "+l.device)
	defer task.Done()
	if l.duration == 0 {
		task.Set("^C ends it, and prints")
		<-ctx.Done()
		return
	}
	task.Set("for %v; ^C ends it before, and prints", l.duration)
	select {
	case <-ctx.Done():
	case <-time.After(l.duration):
	}
}

// nobody is the user of whom has none, with the group of the same number (Debian's base-passwd).
const nobody = 65534

// dropPrivileges makes this process one of the user who called sudo, or else of nobody, on all its threads: it has no capability then.
// The folder with all in it becomes that user's. It does nothing if this process is not root's.
func dropPrivileges(folder string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	user, group := nobody, nobody
	if u, err := strconv.Atoi(os.Getenv("SUDO_UID")); err == nil && u > 0 {
		if g, err := strconv.Atoi(os.Getenv("SUDO_GID")); err == nil && g > 0 {
			user, group = u, g
		}
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	paths := []string{folder}
	for _, e := range entries {
		paths = append(paths, filepath.Join(folder, e.Name()))
	}
	for _, path := range paths {
		if err := os.Chown(path, user, group); err != nil {
			return err
		}
	}
	if err := syscall.Setgroups([]int{group}); err != nil {
		return os.NewSyscallError("setgroups", err)
	}
	if err := syscall.Setresgid(group, group, group); err != nil {
		return os.NewSyscallError("setresgid", err)
	}
	return os.NewSyscallError("setresuid", syscall.Setresuid(user, user, user))
}
