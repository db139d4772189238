package vm

import (
	"archive/tar"
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

	"github.com/tcplab/tcplab/internal/vm/guest"
)

// An archive is one in the making. The same additions in the same order give the
// same bytes: owners and times are zero, and inode numbers count from one.
type archive struct {
	writer cpio.RecordWriter
	names  map[string]bool
	inode  uint64
}

func newArchive(w cpio.RecordWriter) *archive {
	return &archive{writer: w, names: map[string]bool{}}
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
	record.MTime, record.Dev = 0, 0
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
	return a.addContent(name, content, mode(info.Mode()))
}

// mode is that of a file or directory in the guest: whether it can be executed, and whether it is for its owner alone, without
// which sshd refuses a key. The rest depends on the umask under which somebody has got the sources.
func mode(of fs.FileMode) uint64 {
	mode := uint64(0o644)
	if of.IsDir() || of&0o111 != 0 {
		mode = 0o755
	}
	if of&0o077 == 0 {
		mode &= 0o700
	}
	return mode
}

// addTree adds a directory of the host's with all that is below it, and calls program for each executable and library in it.
func (a *archive) addTree(name, source string, program func(source string)) error {
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
			info, err := entry.Info()
			if err != nil {
				return fmt.Errorf("initramfs: %w", err)
			}
			return a.add(cpio.Directory(target, mode(info.Mode())))
		case entry.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(file)
			if err != nil {
				return err
			}
			return a.add(cpio.Symlink(target, link))
		case entry.Type().IsRegular():
			if needsLibraries(file) {
				program(file)
			}
			return a.addFile(target, file)
		default:
			return fmt.Errorf("initramfs: %s is a %s: only files, directories and links can be packed", file, entry.Type())
		}
	})
}

// needsLibraries tells whether a file is a program or a library for guests that is linked dynamically.
func needsLibraries(file string) bool {
	object, err := elf.Open(file)
	if err != nil {
		return false
	}
	defer func() { _ = object.Close() }()
	libraries, err := object.ImportedLibraries()
	return err == nil && len(libraries) > 0 && object.Machine == elf.EM_X86_64 && object.Class == elf.ELFCLASS64 &&
		(object.Type == elf.ET_EXEC || object.Type == elf.ET_DYN)
}

// addProgram adds an executable. Its libraries are added by addLibraries.
func (a *archive) addProgram(name, source string) error {
	if err := forGuests(source); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	return a.addFile(name, source)
}

// addLibraries adds the shared libraries that programs need, each at its own path. Of those that were found in a directory,
// some may need what this machine does not have: they are none that somebody has named.
func (a *archive) addLibraries(programs, found []string) error {
	var all []string
	for _, program := range programs {
		libraries, err := ldd.FList(program)
		if err != nil {
			return fmt.Errorf("initramfs: shared libraries of %s: %w", program, err)
		}
		all = append(all, libraries...)
	}
	for _, program := range found {
		if libraries, err := ldd.FList(program); err == nil {
			all = append(all, libraries...)
		}
	}
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all) // ldd lists them in no order
	for _, library := range slices.Compact(all) {
		if err := a.addFile(library, library); err != nil {
			return err
		}
	}
	// The C library has its locales in files of their own. Guests have the one that is for all languages: their LANG.
	for _, locale := range []string{"/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8"} {
		if _, err := os.Stat(locale); err == nil {
			return a.addTree(locale, locale, func(string) {})
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

// An include is what an --include names: PATH, or PATH=GUESTPATH.
type include struct {
	source, name string
	info         os.FileInfo
}

// included is what comes of includes beside files.
type included struct {
	programs []string // that were named
	found    []string // programs and libraries in directories
	path     []string // directories in the guest in which there can be programs
}

// addIncludes adds what --include names: a program, a file, or a directory with all that is in it. What is named by itself wins
// over what lies in a directory that is named as well.
func (a *archive) addIncludes(texts []string) (included, error) {
	var got included
	var files, directories []include
	for _, text := range texts {
		source, name, info, err := parseInclude(text)
		if err != nil {
			return got, err
		}
		if one := (include{source, path.Clean(name), info}); info.IsDir() {
			directories = append(directories, one)
		} else if !slices.ContainsFunc(files, func(other include) bool { return other.name == one.name && other.source == one.source }) {
			files = append(files, one)
		}
	}
	for _, file := range files {
		if a.names[cpio.Normalize(file.name)] {
			return got, fmt.Errorf("include %s: %s in the guest is something else already: give it another path", file.source, file.name)
		}
		var err error
		if file.info.Mode()&0o111 == 0 {
			err = a.addFile(file.name, file.source)
		} else {
			got.programs, got.path = append(got.programs, file.source), append(got.path, path.Dir(file.name))
			err = a.addProgram(file.name, file.source)
		}
		if err != nil {
			return got, err
		}
	}
	for _, directory := range directories {
		before := len(got.found)
		err := a.addTree(directory.name, directory.source, func(source string) { got.found = append(got.found, source) })
		if err != nil {
			return got, err
		}
		if len(got.found) > before {
			got.path = append(got.path, directory.name, path.Join(directory.name, "bin"), path.Join(directory.name, "sbin"))
		}
	}
	return got, nil
}

// writeInitramfs writes what the guests of all programs share.
func writeInitramfs(w io.Writer, c Config, modules []module) error {
	a := newArchive(cpio.Newc.Writer(w))
	for _, step := range []func() error{
		func() error { return a.add(cpio.CharDev("dev/console", 0o600, 5, 1)) },
		func() error { return a.add(cpio.Directory("root", 0o700)) },
		func() error { return a.addProgram(guest.InitPath, c.Init) },
		func() error { return a.addModules(modules) },
		func() error { return a.addLibraries([]string{c.Init}, nil) },
		a.addSystem,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return cpio.WriteTrailer(a.writer)
}

// writeFiles writes the archive that a guest unpacks over what it has, when it has booted, or nothing, and tells in which
// directories programs are that were included. What comes first stays: what the user includes wins over the libraries that programs
// bring along.
func writeFiles(w io.Writer, c Contents) (path []string, err error) {
	out := tar.NewWriter(w)
	a := newArchive(tarRecords{out})
	for _, name := range []string{guest.InitPath, guest.ProgramPath, guest.ModulesList} {
		a.names[cpio.Normalize(name)] = true // nobody can include them
	}
	got, err := a.addIncludes(c.Include)
	if err != nil {
		return nil, err
	}
	if err := a.addLibraries(append([]string{c.Program}, got.programs...), got.found); err != nil {
		return nil, err
	}
	if a.inode == 0 {
		return got.path, nil
	}
	return got.path, out.Close()
}

// tarRecords writes the records of an archive as tar, which a guest's /init can read: package archive/tar is in it anyway.
type tarRecords struct{ to *tar.Writer }

func (t tarRecords) WriteRecord(record cpio.Record) error {
	header := &tar.Header{
		Name: record.Name, Mode: int64(record.Mode & 0o7777), Uid: int(record.UID), Gid: int(record.GID), Format: tar.FormatPAX,
	}
	switch record.Mode & cpio.S_IFMT {
	case cpio.S_IFDIR:
		header.Typeflag = tar.TypeDir
		return t.to.WriteHeader(header)
	case cpio.S_IFREG:
		header.Typeflag, header.Size = tar.TypeReg, int64(record.FileSize)
		if err := t.to.WriteHeader(header); err != nil {
			return err
		}
		_, err := io.Copy(t.to, io.NewSectionReader(record, 0, header.Size))
		return err
	case cpio.S_IFLNK:
		target, err := io.ReadAll(io.NewSectionReader(record, 0, int64(record.FileSize)))
		if err != nil {
			return err
		}
		header.Typeflag, header.Linkname = tar.TypeSymlink, string(target)
		return t.to.WriteHeader(header)
	default:
		return fmt.Errorf("%s: only files, directories and links can be handed over", record.Name)
	}
}

func (a *archive) addModules(modules []module) error {
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
	return a.addContent(guest.ModulesList, list, 0o644)
}
