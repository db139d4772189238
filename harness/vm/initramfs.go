package vm

import (
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"
	"github.com/u-root/u-root/pkg/ldd"

	"github.com/tcplab/tcplab/harness/vm/guest"
)

// An archive is a cpio archive in the making. The same additions in the same order give the
// same bytes: owners and times are zero, and inode numbers count from one.
type archive struct {
	writer cpio.RecordWriter
	names  map[string]bool
	inode  uint64
}

func newArchive(w io.Writer) *archive {
	return &archive{writer: cpio.Newc.Writer(w), names: map[string]bool{}}
}

// add adds a record, after the directories that it lies in. What is there already stays:
// two programs may share a library.
func (a *archive) add(record cpio.Record) error {
	name := cpio.Normalize(record.Name)
	if a.names[name] {
		return nil
	}
	if parent := path.Dir(name); parent != "." && !a.names[parent] {
		if err := a.add(cpio.Directory(parent, 0o755)); err != nil {
			return err
		}
	}
	a.names[name] = true
	a.inode++
	record.Name = name
	record.Ino = a.inode
	record.MTime, record.UID, record.GID, record.Dev = 0, 0, 0, 0
	record.NLink = 1
	if err := a.writer.WriteRecord(record); err != nil {
		return fmt.Errorf("initramfs: %s: %w", name, err)
	}
	return nil
}

func (a *archive) addContent(name string, content []byte, mode uint64) error {
	return a.add(cpio.StaticFile(name, string(content), mode))
}

// addFile adds a regular file of the host's under a name of its own.
func (a *archive) addFile(name, source string) error {
	info, err := os.Stat(source)
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	content, err := os.ReadFile(source)
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	mode := uint64(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	return a.addContent(name, content, mode)
}

// addTree adds a directory of the host's with all that is below it.
func (a *archive) addTree(name, source string) error {
	return filepath.WalkDir(source, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("initramfs: %w", err)
		}
		relative, err := filepath.Rel(source, file)
		if err != nil {
			return err
		}
		target := path.Join(name, filepath.ToSlash(relative))
		switch {
		case entry.IsDir():
			return a.add(cpio.Directory(target, 0o755))
		case entry.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(file)
			if err != nil {
				return err
			}
			return a.add(cpio.Symlink(target, link))
		case entry.Type().IsRegular():
			return a.addFile(target, file)
		default:
			return fmt.Errorf("initramfs: %s is a %s: only files, directories and links can be packed", file, entry.Type())
		}
	})
}

// addProgram adds an executable with the shared libraries that it needs, each at its own path.
func (a *archive) addProgram(name, source string) error {
	if err := forGuests(source); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	if err := a.addFile(name, source); err != nil {
		return err
	}
	libraries, err := ldd.FList(source)
	if err != nil {
		return fmt.Errorf("initramfs: shared libraries of %s: %w", source, err)
	}
	slices.Sort(libraries) // ldd lists them in no order
	for _, library := range libraries {
		if library == source {
			continue
		}
		if err := a.addFile(library, library); err != nil {
			return err
		}
	}
	return nil
}

// forGuests refuses a program that guests cannot execute. What is no ELF file, such as a script, is let through.
func forGuests(path string) error {
	program, err := elf.Open(path)
	if format := (*elf.FormatError)(nil); errors.As(err, &format) || errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		return err
	}
	defer func() { _ = program.Close() }()
	if program.Machine != elf.EM_X86_64 && program.Machine != elf.EM_386 { // a 64-bit kernel runs both
		return fmt.Errorf("%s is a program for %s, and guests execute %s, whatever the host is: take one that is built for them (in Go: GOARCH=%s)",
			path, strings.TrimPrefix(program.Machine.String(), "EM_"), guest.Arch, guest.Arch)
	}
	return nil
}

// addInclude adds what an --include names: PATH, or PATH=GUESTPATH; a program takes its
// libraries along, a directory all that is in it.
func (a *archive) addInclude(include string) error {
	source, name, info, err := parseInclude(include)
	if err != nil {
		return err
	}
	switch {
	case info.IsDir():
		return a.addTree(name, source)
	case info.Mode()&0o111 != 0:
		return a.addProgram(name, source)
	default:
		return a.addFile(name, source)
	}
}

func (a *archive) close() error {
	return cpio.WriteTrailer(a.writer)
}

// writeInitramfs writes what all guests of an image share.
func writeInitramfs(w io.Writer, c Config, modules []module) error {
	a := newArchive(w)
	steps := []func() error{
		func() error { return a.add(cpio.CharDev("dev/console", 0o600, 5, 1)) },
		func() error { return a.add(cpio.Directory("root", 0o700)) },
		func() error { return a.addProgram(guest.InitPath, c.Init) },
		func() error { return a.addProgram(guest.ProgramPath, c.Program) },
		// Programs expect these two even where there is only one user and one host name.
		func() error {
			return a.addContent("etc/passwd", []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"), 0o644)
		},
		func() error { return a.addContent("etc/hosts", []byte("127.0.0.1 localhost\n::1 localhost\n"), 0o644) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	var names []string
	for _, m := range modules {
		names = append(names, m.Name)
		if err := a.addContent(path.Join(guest.ModulesDir, m.Name), withoutSignature(m.Content), 0o644); err != nil {
			return err
		}
	}
	list, err := json.Marshal(names)
	if err != nil {
		return err
	}
	if err := a.addContent(guest.ModulesList, list, 0o644); err != nil {
		return err
	}
	for _, include := range c.Include {
		if err := a.addInclude(include); err != nil {
			return err
		}
	}
	return a.close()
}
