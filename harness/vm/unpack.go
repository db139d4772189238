package vm

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"strings"

	"github.com/tcplab/tcplab/internal/progress"
)

// unpackPackage unpacks from a Debian kernel package what a guest can need.
func unpackPackage(ctx context.Context, deb, dir string) error {
	command := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	var complaint strings.Builder
	command.Stderr = &complaint
	content, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	task := progress.Start(ctx, "unpacking")
	defer task.Done()
	unpackErr := unpackTar(task.Reader(content), dir)
	if unpackErr != nil {
		command.Process.Kill() // it would wait for ever for somebody to read the rest
	}
	if err := command.Wait(); err != nil && unpackErr == nil {
		return fmt.Errorf("dpkg-deb --fsys-tarfile: %w: %s", err, lastLine(complaint.String()))
	}
	return unpackErr
}

// unpackTar writes the wanted files of a package below dir. Links and devices are passed over: a
// kernel package has none that matter.
func unpackTar(content io.Reader, dir string) error {
	root, err := os.OpenRoot(dir) // no name in the package leads out of it
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // only a handle of the directory
	entries := tar.NewReader(content)
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			// dpkg-deb pads its last block, and dies of a pipe that nobody reads any more.
			_, err = io.Copy(io.Discard, content)
			return err
		}
		if err != nil {
			return err
		}
		name := path.Clean(header.Name)
		if header.Typeflag != tar.TypeReg || !wanted(name) {
			continue
		}
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		file, err := root.Create(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, entries)
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
	}
}

// hardware are the folders of modules that drive what no guest of tcplab has. They are four fifths of
// a distribution's modules.
var hardware = []string{
	"kernel/sound/",
	"kernel/drivers/ata/", "kernel/drivers/bluetooth/", "kernel/drivers/comedi/", "kernel/drivers/edac/",
	"kernel/drivers/firewire/", "kernel/drivers/gpu/", "kernel/drivers/hid/", "kernel/drivers/hwmon/", "kernel/drivers/i2c/",
	"kernel/drivers/iio/", "kernel/drivers/infiniband/", "kernel/drivers/input/", "kernel/drivers/isdn/",
	"kernel/drivers/leds/", "kernel/drivers/media/", "kernel/drivers/message/", "kernel/drivers/mfd/",
	"kernel/drivers/mmc/", "kernel/drivers/mtd/", "kernel/drivers/net/ethernet/", "kernel/drivers/net/wireless/",
	"kernel/drivers/net/can/", "kernel/drivers/net/usb/", "kernel/drivers/nvme/", "kernel/drivers/pinctrl/",
	"kernel/drivers/platform/", "kernel/drivers/power/", "kernel/drivers/rtc/", "kernel/drivers/scsi/", "kernel/drivers/soundwire/",
	"kernel/drivers/staging/", "kernel/drivers/target/", "kernel/drivers/thunderbolt/", "kernel/drivers/usb/",
	"kernel/drivers/video/", "kernel/drivers/watchdog/",
}

// wanted tells whether a guest can need a file of a kernel package: the image, and all modules
// but the drivers of hardware.
func wanted(name string) bool {
	if strings.HasPrefix(name, "boot/vmlinuz-") || strings.HasPrefix(name, "boot/config-") {
		return true
	}
	// lib/modules/RELEASE/..., or usr/lib/modules/RELEASE/...
	below, found := strings.CutPrefix(strings.TrimPrefix(name, "usr/"), "lib/modules/")
	if !found {
		return false
	}
	_, module, _ := strings.Cut(below, "/")
	for _, folder := range hardware {
		if strings.HasPrefix(module, folder) {
			return false
		}
	}
	return true
}
