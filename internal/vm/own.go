package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Kinds of what --kernel can name by its path.
type ownFiles struct {
	packages []string
	images   []string
	folders  []string // with lib/modules below, perhaps with an image, too
}

// ownKernel opens a kernel that was named by its path, or by several with colons between them. (Not commas, which stand
// between kernels, and not a plus sign, which Debian's packages have in their names.)
func ownKernel(ctx context.Context, s store, name string) (*GuestKernel, error) {
	kernel, err := func() (*GuestKernel, error) {
		files, err := classify(name)
		if err != nil {
			return nil, err
		}
		return files.kernel(ctx, s, name)
	}()
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", name, err)
	}
	return kernel, nil
}

func (f ownFiles) kernel(ctx context.Context, s store, name string) (*GuestKernel, error) {
	switch {
	case len(f.packages) > 0 && len(f.images)+len(f.folders) > 0:
		return nil, errors.New("these are packages, and others that are none: name either, or unpack the packages into one folder")
	case len(f.packages) > 0:
		kernel, _, err := s.addPackages(ctx, f.packages, "")
		return kernel, err
	case len(f.images) > 1:
		return nil, fmt.Errorf("%d images (%s), expected one", len(f.images), strings.Join(f.images, ", "))
	case len(f.images) == 1:
		return s.addImage(f.images[0], name, f.folders)
	default:
		image, err := findImage(f.folders...)
		if err != nil {
			return nil, err
		}
		return s.addImage(image, name, f.folders)
	}
}

// classify looks at what is named: what a file is, its first bytes say.
func classify(name string) (ownFiles, error) {
	var files ownFiles
	for _, path := range filepath.SplitList(name) {
		info, err := os.Stat(path)
		if err != nil {
			return files, fmt.Errorf("%w (%s)", err, namesAre)
		}
		if info.IsDir() {
			packages, err := packagesIn(path)
			if err != nil {
				return files, err
			}
			if len(packages) > 0 {
				files.packages = append(files.packages, packages...)
			} else {
				files.folders = append(files.folders, path)
			}
			continue
		}
		isPackage, err := hasPackageMagic(path)
		if err != nil {
			return files, err
		}
		if isPackage {
			files.packages = append(files.packages, path)
		} else {
			files.images = append(files.images, path)
		}
	}
	return files, nil
}

// packagesIn lists the packages in a folder, in the order of their names.
func packagesIn(dir string) (packages []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if !entry.IsDir() && isPackageFile(entry.Name()) {
			packages = append(packages, filepath.Join(dir, entry.Name()))
		}
	}
	return packages, nil
}

func hasPackageMagic(path string) (bool, error) {
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	start := make([]byte, len(debMagic))
	n, err := io.ReadFull(file, start)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	return isDeb(start[:n]) || isRPM(start[:n]), nil
}

func isDeb(content []byte) bool { return bytes.HasPrefix(content, []byte(debMagic)) }
func isRPM(content []byte) bool { return bytes.HasPrefix(content, []byte(rpmMagic)) }

// addImage opens an image of the user's, with the modules that belong to it. An uncompressed one is booted from where it
// is; what was unpacked of another is kept by the hash of the image, so that one that has changed is another kernel.
func (s store) addImage(path, source string, folders []string) (*GuestKernel, error) {
	image, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	release, err := kernelRelease(image)
	if err != nil {
		return nil, err
	}
	modules, err := findModules(path, release, folders)
	if err != nil {
		return nil, err
	}
	kernel, err := s.openImage(path, image, release)
	if err != nil {
		return nil, err
	}
	kernel.Source, kernel.modules = source, modules
	return kernel, nil
}

func (s store) openImage(path string, image []byte, release string) (*GuestKernel, error) {
	if bytes.HasPrefix(image, elfMagic) {
		if err := checkBootable(image); err != nil {
			return nil, err
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if path, err = filepath.Abs(path); err != nil {
			return nil, err
		}
		return &GuestKernel{Release: release, SHA256: hashOf(image), image: path, file: info}, nil
	}
	folder := "image-" + hashOf(image)[:16]
	if kernel, err := s.take(folder); err != nil || kernel != nil {
		return kernel, err
	}
	return s.add(folder, func(dir string) (manifest, error) {
		return manifest{Release: release, Source: path}, storeImage(image, dir)
	})
}

// storeImage writes the uncompressed form of an image.
func storeImage(image []byte, dir string) error {
	kernel, err := unpackKernel(image)
	if err != nil {
		return err
	}
	if err := checkBootable(kernel); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, imageFile), kernel, 0o644)
}

// findModules finds the modules of an image's release: in folders that were named with it, else where packages have
// them, seen from the image.
func findModules(image, release string, folders []string) (string, error) {
	roots := folders
	if len(roots) == 0 {
		roots = []string{filepath.Join(filepath.Dir(image), ".."), "/"}
	}
	var candidates []string
	for _, root := range roots {
		for _, dir := range modulesDirs {
			candidates = append(candidates, filepath.Join(root, dir, release))
		}
		candidates = append(candidates, root)
	}
	if len(folders) == 0 {
		candidates = slices.Insert(candidates, 0, filepath.Dir(image))
	}
	for _, dir := range candidates {
		if filepath.Base(dir) != release {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "modules.builtin")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no modules of release %s (no modules.builtin in lib/modules/%s below %s): "+
		"name the folder that has lib/modules behind a colon", release, release, strings.Join(roots, " or "))
}

// modulesDirs is where a system, or an unpacked package, has its modules.
var modulesDirs = []string{"lib/modules", "usr/lib/modules"}

// findImage finds the one image in folders that packages were unpacked into.
func findImage(dirs ...string) (string, error) {
	byRelease := map[string]string{} // one release may be there twice: boot/vmlinuz-RELEASE can be a link or a copy
	for _, dir := range dirs {
		for _, pattern := range []string{"boot/vmlinuz-*", "lib/modules/*/vmlinuz", "usr/lib/modules/*/vmlinuz"} {
			found, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil {
				return "", err
			}
			for _, path := range found {
				release, found := strings.CutPrefix(filepath.Base(path), "vmlinuz-")
				if !found {
					release = filepath.Base(filepath.Dir(path))
				}
				byRelease[release] = path
			}
		}
	}
	var paths []string
	for _, path := range byRelease {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	switch len(paths) {
	case 0:
		return "", errors.New("no kernel image: neither boot/vmlinuz-* nor lib/modules/*/vmlinuz (on Debian since 6.19 that is in " +
			"linux-binary-*, on Fedora in kernel-core)")
	case 1:
		return paths[0], nil
	default:
		return "", fmt.Errorf("several kernel images: name one of %s", strings.Join(paths, ", "))
	}
}
