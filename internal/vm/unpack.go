package vm

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/tcplab/tcplab/internal/progress"
)

// unpackKernelPackages unpacks the packages that one kernel consists of: its image, modules and modules.builtin can each
// be in one of their own. The directory gets vmlinux, config and modules/.
func unpackKernelPackages(ctx context.Context, paths []string, source, dir string) (manifest, error) {
	tree, err := os.MkdirTemp(filepath.Dir(dir), "tree-")
	if err != nil {
		return manifest{}, fmt.Errorf("kernel cache: %w", err)
	}
	defer os.RemoveAll(tree)
	packages := map[string]packageID{} // by the image that they brought
	var last packageID
	for _, path := range paths {
		id, err := unpackPackage(ctx, path, tree)
		if err != nil {
			return manifest{}, fmt.Errorf("kernel package %s: %w", path, err)
		}
		if image, err := findImage(tree); err == nil && packages[image] == (packageID{}) {
			packages[image] = id
		}
		last = id
	}
	name := last.String()
	if len(paths) > 1 {
		name = fmt.Sprintf("%s and %d more", name, len(paths)-1)
	}
	image, err := findImage(tree)
	if err != nil {
		return manifest{}, fmt.Errorf("kernel package %s: %w", name, err)
	}
	m := manifest{Source: source, Version: packages[image].Version, Modules: true}
	if source == "" {
		m.Source = packages[image].String()
	}
	if m.Release, err = arrange(tree, image, dir); err != nil {
		return manifest{}, fmt.Errorf("kernel package %s: %w", m.Source, err)
	}
	return m, nil
}

// arrange moves what a guest needs from an unpacked tree to where the store has it.
func arrange(tree, imagePath, dir string) (release string, err error) {
	image, err := os.ReadFile(imagePath)
	if err != nil {
		return "", err
	}
	if release, err = kernelRelease(image); err != nil {
		return "", err
	}
	if err := storeImage(image, dir); err != nil {
		return "", err
	}
	modules := filepath.Join(tree, "lib/modules", release)
	if _, err := os.Stat(filepath.Join(modules, "modules.builtin")); err != nil {
		return "", fmt.Errorf("no lib/modules/%s/modules.builtin: name the packages with the modules as well "+
			"(Debian since 6.19: linux-modules-* and linux-base-*; Ubuntu: linux-modules-*; "+
			"Fedora: kernel-modules-core, kernel-modules, kernel-modules-extra)", release)
	}
	configs := []string{filepath.Join(modules, configFile), filepath.Join(tree, "boot", "config-"+release)}
	for _, config := range configs {
		err := os.Rename(config, filepath.Join(dir, configFile))
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	if err := os.RemoveAll(filepath.Join(modules, "vmlinuz")); err != nil {
		return "", err
	}
	if err := os.Rename(modules, filepath.Join(dir, modulesDir)); err != nil {
		return "", err
	}
	// A kernel that lacks what each guest needs is refused here, where it can be said what to do.
	found, err := openModules(filepath.Join(dir, modulesDir))
	if err != nil {
		return "", err
	}
	if _, err := found.resolve(defaultModules); err != nil {
		return "", fmt.Errorf("%w: name the package with more modules as well (Ubuntu: linux-modules-extra-%s; Fedora: kernel-modules-extra)",
			err, release)
	}
	return release, nil
}

// A packageID is what a package calls itself.
type packageID struct {
	Name, Version string
	separator     string
}

func (p packageID) String() string { return p.Name + p.separator + p.Version }

// unpackPackage unpacks from a package of either kind what a guest can need.
func unpackPackage(ctx context.Context, path, dir string) (packageID, error) {
	file, err := os.Open(path)
	if err != nil {
		return packageID{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return packageID{}, err
	}
	out, err := newUnpacker(ctx, dir)
	if err != nil {
		return packageID{}, err
	}
	defer out.close()
	task := progress.Start(ctx, "unpacking "+filepath.Base(path))
	defer task.Done()
	return unpackContent(io.NewSectionReader(task.ReaderAt(file, info.Size()), 0, info.Size()), out)
}

func unpackContent(content *io.SectionReader, out *unpacker) (packageID, error) {
	start := make([]byte, len(debMagic))
	if _, err := content.ReadAt(start, 0); err != nil && !errors.Is(err, io.EOF) {
		return packageID{}, err
	}
	switch {
	case isDeb(start):
		return unpackDeb(content, out)
	case isRPM(start):
		return unpackRPM(content, out)
	default:
		return packageID{}, errors.New("neither a .deb nor an .rpm")
	}
}

// An unpacker writes the wanted files of packages below a directory.
type unpacker struct {
	ctx  context.Context
	root *os.Root // no name in a package leads out of it
	left int64    // how much may still be written
}

// packageLimit bounds what is written of a package: a file with holes, or one that is compressed well, can be of any
// size. The largest, linux-image-* of Debian 12, has 0.2 GB of what is kept.
const packageLimit = 4 << 30

var errPackageLimit = fmt.Errorf("its files take more than %d GiB: damaged, or no kernel package", packageLimit>>30)

func newUnpacker(ctx context.Context, dir string) (*unpacker, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &unpacker{ctx: ctx, root: root, left: packageLimit}, nil
}

func (u *unpacker) close() { _ = u.root.Close() } // only a handle of the directory

// file writes a regular file, if any of its names is wanted.
func (u *unpacker) file(content io.Reader, names ...string) error {
	if err := u.ctx.Err(); err != nil {
		return err
	}
	written := ""
	for _, name := range names {
		name = placeOf(name)
		if !wanted(name) {
			continue
		}
		if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		if written != "" {
			if err := u.root.Link(written, name); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			continue
		}
		if err := u.create(name, content); err != nil {
			return err
		}
		written = name
	}
	return nil
}

func (u *unpacker) create(name string, content io.Reader) error {
	file, err := u.root.Create(name)
	if err != nil {
		return err
	}
	written, err := io.CopyN(file, content, u.left+1)
	if u.left -= written; u.left < 0 {
		err = errPackageLimit
	} else if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, file.Close())
}

// placeOf is where a file of a package is put. What lies in usr/lib comes into lib: a system has one of them as a link to
// the other, and packages of one kernel need not agree.
func placeOf(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	return strings.TrimPrefix(name, "usr/")
}

// unpackTar writes the wanted files of an archive. Links and devices are passed over: a kernel package has none that
// matter.
func (u *unpacker) unpackTar(content io.Reader) error {
	entries := tar.NewReader(content)
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if err := u.file(entries, header.Name); err != nil {
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

// wanted tells whether a guest can need a file of a kernel package: the image and its configuration, the list of what is
// built in, and all modules but the drivers of hardware.
func wanted(name string) bool {
	if ok, _ := path.Match("boot/vmlinuz-*", name); ok {
		return true
	}
	if ok, _ := path.Match("boot/config-*", name); ok {
		return true
	}
	below, found := strings.CutPrefix(name, "lib/modules/")
	if !found {
		return false
	}
	_, file, _ := strings.Cut(below, "/")
	switch file {
	case "vmlinuz", "config", "modules.builtin":
		return true
	}
	if _, isModule := moduleName(file); !isModule {
		return false
	}
	for _, folder := range hardware {
		if strings.HasPrefix(file, folder) {
			return false
		}
	}
	return true
}
