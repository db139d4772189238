package vm

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/u-root/u-root/pkg/cpio"

	"github.com/tcplab/tcplab/internal/vm/guest"
)

// packed are the records of an initramfs, and of what is handed over with these includes, as they come to lie in a guest: what is
// handed over wins; and where programs are that were included.
func packed(t *testing.T, includes ...string) (in map[string]cpio.Record, path []string, err error) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var out, files bytes.Buffer
	if err := writeInitramfs(&out, Config{Init: script}, nil); err != nil {
		t.Fatal(err)
	}
	list, err := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(out.Bytes())))
	if err != nil {
		t.Fatal(err)
	}
	records := map[string]cpio.Record{}
	add := func(record cpio.Record, seen map[string]bool) {
		if seen[record.Name] {
			t.Errorf("%s is there twice", record.Name)
		}
		records[record.Name], seen[record.Name] = record, true
	}
	seen := map[string]bool{}
	for _, record := range list {
		add(record, seen)
	}
	if path, err = writeFiles(&files, Contents{Program: script, Include: includes}); err != nil {
		return nil, nil, err
	}
	if len(includes) == 0 && files.Len() != 0 {
		t.Errorf("%d bytes are handed over where nothing is included", files.Len())
	}
	handed := map[string]bool{}
	for stream := tar.NewReader(&files); ; {
		header, err := stream.Next()
		if err != nil {
			return records, path, nil
		}
		content, err := io.ReadAll(stream)
		if err != nil {
			t.Fatal(err)
		}
		record := cpio.StaticFile(header.Name, string(content), uint64(header.Mode))
		record.UID, record.GID = uint64(header.Uid), uint64(header.Gid)
		add(record, handed)
	}
}

func contentOf(t *testing.T, record cpio.Record) string {
	t.Helper()
	if record.ReaderAt == nil {
		return ""
	}
	content := make([]byte, record.FileSize)
	n, err := record.ReadAt(content, 0)
	if uint64(n) != record.FileSize {
		t.Fatalf("%s: %v", record.Name, err)
	}
	return string(content)
}

func TestGuestsHaveASystem(t *testing.T) {
	g := NewWithT(t)
	records, path, err := packed(t)
	g.Expect(err).NotTo(HaveOccurred())
	users, groups := contentOf(t, records["etc/passwd"]), contentOf(t, records["etc/group"])
	names := map[string]string{}
	for line := range strings.Lines(groups) {
		fields := strings.Split(line, ":")
		g.Expect(fields).To(HaveLen(4), line)
		names[fields[2]] = fields[0]
	}
	numbers := map[string]string{}
	for line := range strings.Lines(users) {
		fields := strings.Split(line, ":")
		g.Expect(fields).To(HaveLen(7), line)
		g.Expect(numbers).NotTo(HaveKey(fields[2]), line)
		numbers[fields[2]] = fields[0]
		g.Expect(names).To(HaveKey(fields[3]), line)
	}
	for _, user := range []string{"root", "nobody", "www-data", "sshd", "nginx", "postgres"} {
		g.Expect(users).To(MatchRegexp(`(?m)^` + user + `:x:\d+:\d+:`))
	}
	g.Expect(contentOf(t, records["etc/nsswitch.conf"])).To(And(ContainSubstring("passwd: files"), ContainSubstring("hosts: files")))
	g.Expect(contentOf(t, records["etc/hosts"])).To(ContainSubstring("127.0.0.1 localhost"))
	g.Expect(records["var/tmp"].Mode & 0o7777).To(BeEquivalentTo(0o1777))
	for _, dir := range systemDirs {
		g.Expect(records[dir.name].UID).To(Equal(dir.user), dir.name)
		g.Expect(records[dir.name].GID).To(Equal(dir.user), dir.name)
		g.Expect(numbers).To(HaveKey(strconv.FormatUint(dir.user, 10)), dir.name)
	}
	g.Expect(path).To(BeEmpty())
}

// What a user includes wins over what a guest has anyway and over libraries, and a file over a directory that has one of the
// same name. A key stays its owner's alone.
func TestIncludesWin(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		g.Expect(os.MkdirAll(filepath.Dir(path), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(path, []byte(content), mode)).To(Succeed())
		g.Expect(os.Chmod(path, mode)).To(Succeed())
		return path
	}
	mine, hostname := write("mine", "me:x:1:1::/:/bin/sh\n", 0o640), write("tree/hostname", "tree\n", 0o664)
	write("tree/passwd", "tree:x:1:1::/:/bin/sh\n", 0o644)
	write("tree/key", "secret", 0o600)
	server := write("bin/server", "#!/bin/sh\n", 0o755)
	g.Expect(os.Mkdir(filepath.Join(dir, "tree", "private"), 0o700)).To(Succeed())
	tree := filepath.Join(dir, "tree")
	records, path, err := packed(t, tree+"=/etc", mine+"=/etc/passwd", server, server, server+"=/opt/my/server", hostname+"=/etc/other")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(contentOf(t, records["etc/passwd"])).To(HavePrefix("me:"))
	g.Expect(contentOf(t, records["etc/hostname"])).To(Equal("tree\n"))
	g.Expect(contentOf(t, records["etc/other"])).To(Equal("tree\n"))
	g.Expect(records["etc/key"].Mode & 0o777).To(BeEquivalentTo(0o600))
	g.Expect(records["etc/private"].Mode & 0o777).To(BeEquivalentTo(0o700))
	g.Expect(records["etc/hostname"].Mode & 0o777).To(BeEquivalentTo(0o644))
	g.Expect(records["etc/passwd"].Mode & 0o777).To(BeEquivalentTo(0o644))
	g.Expect(contentOf(t, records["etc/hosts"])).To(Equal(hosts))
	g.Expect(path).To(Equal([]string{filepath.Dir(server), "/opt/my"}))

	for _, include := range [][]string{{mine + "=/init"}, {mine + "=" + guest.ProgramPath}, {mine + "=/etc/passwd", hostname + "=/etc/passwd"}} {
		_, _, err = packed(t, include...)
		g.Expect(err).To(MatchError(ContainSubstring("in the guest is something else already: give it another path")))
	}
}

// A directory takes along the libraries of the programs and libraries in it, and is looked into for programs.
func TestDirectoryTakesLibrariesAlong(t *testing.T) {
	g := NewWithT(t)
	program := "/bin/cat"
	if !needsLibraries(program) {
		t.Skip("needs /bin/cat, a dynamically linked program")
	}
	content, err := os.ReadFile(program)
	g.Expect(err).NotTo(HaveOccurred())
	dir := t.TempDir()
	g.Expect(os.Mkdir(filepath.Join(dir, "bin"), 0o755)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(dir, "bin", "my-cat"), content, 0o755)).To(Succeed())
	records, path, err := packed(t, dir+"=/opt/cat")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(records).To(HaveKey("opt/cat/bin/my-cat"))
	g.Expect(records).To(HaveKey(ContainSubstring("libc.so")))
	if _, err := os.Stat("/usr/lib/locale/C.utf8"); err == nil {
		g.Expect(records).To(HaveKey("usr/lib/locale/C.utf8/LC_CTYPE"))
	}
	g.Expect(path).To(ContainElement("/opt/cat/bin"))
}
