package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// debianKernel is the package that always depends on Debian's newest kernel of a release.
const debianKernel = "linux-image-amd64"

// downloadDir makes a directory in the cache to download into, if this machine can download
// packages at all.
func downloadDir(cache string) (dir string, err error) {
	for _, program := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("%w: none is cached in %s, and downloading Debian's needs %s, which this "+
				"machine does not have; name one with --kernel PATH (a vmlinuz with its modules, or a .deb)",
				ErrNoKernel, cache, program)
		}
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("kernel cache: %w", err)
	}
	if dir, err = os.MkdirTemp(cache, ".download-"); err != nil {
		return "", fmt.Errorf("kernel cache: %w", err)
	}
	return dir, nil
}

// downloadKernel fetches Debian's kernel package with apt-get, as any user, into a
// directory of its own that cleanup removes.
func downloadKernel(ctx context.Context, options KernelOptions) (paths []string, cleanup func(), err error) {
	dir, err := downloadDir(options.Cache)
	if err != nil {
		return nil, nil, err
	}
	cleanup = func() { os.RemoveAll(dir) }

	// The system's own package lists are tried first. They may be missing (a container) or
	// old (the package they name is gone): then lists of our own are fetched from the same
	// sources, so that neither root nor a change of the system is needed.
	options.Progress("downloading Debian's kernel (" + debianKernel + ", about 70 MB, once)")
	apt := aptClient{dir: dir}
	paths, systemErr := apt.downloadKernel(ctx, debianKernel)
	if systemErr == nil {
		return paths, cleanup, nil
	}
	options.Progress("fetching package lists, since the system's have no usable " + debianKernel)
	apt.ownLists = true
	if err := apt.update(ctx); err == nil {
		paths, err = apt.downloadKernel(ctx, debianKernel)
		if err == nil {
			return paths, cleanup, nil
		}
		systemErr = errors.Join(systemErr, err)
	} else {
		systemErr = errors.Join(systemErr, err)
	}
	cleanup()
	return nil, nil, fmt.Errorf("%w: none is cached in %s, and Debian's could not be downloaded: %w; "+
		"name one with --kernel PATH (a vmlinuz with its modules, or a .deb)", ErrNoKernel, options.Cache, systemErr)
}

// kernelFromPackages unpacks a Debian kernel package, and those that it is split into, into a folder of
// the cache, once.
func kernelFromPackages(ctx context.Context, options KernelOptions, paths []string, folder string) (*Kernel, error) {
	path := paths[0]
	fields, err := exec.CommandContext(ctx, "dpkg-deb", "-W", "--showformat", "${Package} ${Version}", path).Output()
	if err != nil {
		return nil, fmt.Errorf("kernel package %s: dpkg-deb: %w", path, exitDetail(err))
	}
	packageName, version, _ := strings.Cut(string(fields), " ")
	name := packageFolder(packageName, version)
	parent := filepath.Join(options.Cache, folder)
	final := filepath.Join(parent, name)
	if _, err := os.Stat(final); err == nil {
		return openUnpacked(final, name)
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, fmt.Errorf("kernel cache: %w", err)
	}
	dir, err := os.MkdirTemp(parent, ".unpack-")
	if err != nil {
		return nil, fmt.Errorf("kernel cache: %w", err)
	}
	defer os.RemoveAll(dir)
	options.Progress("unpacking " + name)
	for _, path := range paths {
		if err := unpackPackage(ctx, path, dir); err != nil {
			return nil, fmt.Errorf("kernel package %s: %w", path, err)
		}
	}
	found, _, err := findImage(dir)
	if err != nil {
		return nil, fmt.Errorf("kernel package %s: %w", path, err)
	}
	image, err := os.ReadFile(found)
	if err != nil {
		return nil, err
	}
	if _, err := storeUnpacked(filepath.Join(dir, "vmlinux"), image); err != nil {
		return nil, fmt.Errorf("kernel package %s: %w", path, err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	// The rename makes it whole or absent. Somebody else may have been faster: then theirs is as good.
	if err := os.Rename(dir, final); err != nil {
		if _, statErr := os.Stat(final); statErr != nil {
			return nil, fmt.Errorf("kernel cache: %w", err)
		}
	}
	return openUnpacked(final, name)
}

// packageFolder is the name of the folder in which a package is unpacked.
func packageFolder(name, version string) string {
	return strings.ReplaceAll(name+"_"+version, "/", "-")
}

func exitDetail(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, lastLine(string(exit.Stderr)))
	}
	return err
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
