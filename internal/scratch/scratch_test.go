package scratch

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
)

// parentVariable has a process of this test make a folder there and wait.
const parentVariable = "TCPLAB_SCRATCH_PARENT"

func TestMain(m *testing.M) {
	if parent := os.Getenv(parentVariable); parent != "" {
		dir, err := Make(parent)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir.Path(), "content"), []byte("content"), 0o600)
		}
		fmt.Println(err)
		_, _ = io.Copy(io.Discard, os.Stdin) // until it ends, or is killed
		return
	}
	os.Exit(m.Run())
}

// other starts a process that has a folder.
func other(t *testing.T, parent string) (kill func()) {
	t.Helper()
	g := NewWithT(t)
	command := exec.Command("/proc/self/exe")
	command.Env = append(os.Environ(), parentVariable+"="+parent)
	stdin, err := command.StdinPipe()
	g.Expect(err).NotTo(HaveOccurred())
	stdout, err := command.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(command.Start()).To(Succeed())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(line).To(Equal("<nil>\n"))
	var once sync.Once
	kill = func() {
		once.Do(func() {
			_ = command.Process.Kill()
			_ = command.Wait()
			_ = stdin.Close()
		})
	}
	t.Cleanup(kill)
	return kill
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func TestMakeAndRemove(t *testing.T) {
	g := NewWithT(t)
	parent := t.TempDir()
	dir, err := Make(parent)
	g.Expect(err).NotTo(HaveOccurred())
	deep := filepath.Join(dir.Path(), "a", "b")
	g.Expect(os.MkdirAll(deep, 0o755)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(deep, "file"), nil, 0o444)).To(Succeed())
	g.Expect(os.Chmod(deep, 0o555)).To(Succeed())
	Sweep(parent) // its own folder is in use
	g.Expect(names(t, parent)).To(HaveLen(1))
	g.Expect(dir.Remove()).To(Succeed())
	g.Expect(names(t, parent)).To(BeEmpty())

	_, err = Make(filepath.Join(parent, "none"))
	g.Expect(err).To(MatchError(fs.ErrNotExist))
}

func TestWhatAProcessLeft(t *testing.T) {
	g := NewWithT(t)
	parent := t.TempDir()
	kill := other(t, parent)
	left := names(t, parent)
	g.Expect(left).To(HaveLen(1))
	Sweep(parent)
	g.Expect(names(t, parent)).To(Equal(left), "it lives")
	kill()
	g.Expect(names(t, parent)).To(Equal(left), "it was killed")
	dir, err := Make(parent)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(names(t, parent)).To(Equal([]string{filepath.Base(dir.Path())}))
	g.Expect(dir.Remove()).To(Succeed())
}

// What a process can be killed in the middle of.
func TestHalfMadeAndHalfRemoved(t *testing.T) {
	g := NewWithT(t)
	parent := t.TempDir()
	for _, name := range []string{"1", "2"} {
		g.Expect(os.Mkdir(filepath.Join(parent, prefix+name), 0o700)).To(Succeed())
	}
	g.Expect(os.WriteFile(filepath.Join(parent, prefix+"2", lockName), nil, 0o600)).To(Succeed())
	Sweep(parent)
	g.Expect(names(t, parent)).To(BeEmpty())
}

// What is not this package's stays.
func TestWhatOthersHave(t *testing.T) {
	g := NewWithT(t)
	parent, elsewhere := t.TempDir(), t.TempDir()
	// A folder of that name without a lock, and a link to a folder that looks like one of ours.
	g.Expect(os.MkdirAll(filepath.Join(parent, prefix+"1", "content"), 0o700)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(elsewhere, lockName), nil, 0o600)).To(Succeed())
	g.Expect(os.Symlink(elsewhere, filepath.Join(parent, prefix+"2"))).To(Succeed())
	g.Expect(os.Mkdir(filepath.Join(parent, "tcplab-results"), 0o700)).To(Succeed())
	// A lock that leads elsewhere.
	g.Expect(os.Mkdir(filepath.Join(parent, prefix+"3"), 0o700)).To(Succeed())
	g.Expect(os.Symlink(filepath.Join(elsewhere, lockName), filepath.Join(parent, prefix+"3", lockName))).To(Succeed())
	if os.Geteuid() == 0 {
		foreign := filepath.Join(parent, prefix+"4")
		g.Expect(os.Mkdir(foreign, 0o700)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(foreign, lockName), nil, 0o600)).To(Succeed())
		g.Expect(os.Chown(foreign, 65534, 65534)).To(Succeed())
	}
	before := names(t, parent)
	Sweep(parent)
	g.Expect(names(t, parent)).To(Equal(before))
	g.Expect(filepath.Join(elsewhere, lockName)).To(BeAnExistingFile())
}

// Many make, remove and sweep at once: nobody's folder goes while it is held, and none stays.
func TestSideBySide(t *testing.T) {
	g := NewWithT(t)
	parent := t.TempDir()
	var group sync.WaitGroup
	errs := make(chan error, 8)
	for range cap(errs) {
		group.Go(func() {
			for range 100 {
				dir, err := Make(parent)
				if err == nil {
					err = os.WriteFile(filepath.Join(dir.Path(), "content"), nil, 0o600)
				}
				if err == nil {
					_, err = os.Stat(filepath.Join(dir.Path(), lockName))
				}
				if err == nil {
					err = dir.Remove()
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	Sweep(parent)
	g.Expect(names(t, parent)).To(BeEmpty())
}

func TestFile(t *testing.T) {
	for name, open := range map[string]func(string) (*os.File, error){"without a name": File, "that had one": named} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			dir := t.TempDir()
			file, err := open(dir)
			g.Expect(err).NotTo(HaveOccurred())
			defer file.Close()
			g.Expect(names(t, dir)).To(BeEmpty())
			_, err = file.WriteString("text")
			g.Expect(err).NotTo(HaveOccurred())
			// So QEMU opens it.
			text, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(text)).To(Equal("text"))
			g.Expect(unix.FcntlInt(file.Fd(), unix.F_GETFD, 0)).To(Equal(unix.FD_CLOEXEC))

			_, err = open(filepath.Join(dir, "none"))
			g.Expect(err).To(MatchError(fs.ErrNotExist))
		})
	}
}

func TestDiscard(t *testing.T) {
	g := NewWithT(t)
	parent := t.TempDir()
	folder := filepath.Join(parent, "folder")
	used := filepath.Join(folder, "used")
	fill := func() {
		g.Expect(os.MkdirAll(folder, 0o755)).To(Succeed())
		g.Expect(os.WriteFile(used, nil, 0o644)).To(Succeed())
	}
	fill()
	first, err := Use(used)
	g.Expect(err).NotTo(HaveOccurred())
	second, err := Use(used)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(first.Close()).To(Succeed())
	g.Expect(Discard(folder, "used")).To(BeFalse())
	g.Expect(used).To(BeAnExistingFile())
	g.Expect(second.Close()).To(Succeed())
	g.Expect(Discard(folder, "used")).To(BeTrue())
	g.Expect(names(t, parent)).To(BeEmpty())

	_, err = Use(used)
	g.Expect(errors.Is(err, fs.ErrNotExist)).To(BeTrue())
	_, err = Discard(folder, "used")
	g.Expect(errors.Is(err, fs.ErrNotExist)).To(BeTrue())
	fill()
	g.Expect(Discard(folder, "")).To(BeTrue())
	g.Expect(names(t, parent)).To(BeEmpty())
}

func TestWriteFile(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, text := range []string{"new", "instead"} {
		g.Expect(WriteFile(path, []byte(text), 0o644)).To(Succeed())
		g.Expect(os.ReadFile(path)).To(Equal([]byte(text)))
		g.Expect(names(t, dir)).To(Equal([]string{"file"}))
	}
	info, err := os.Stat(path)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Mode()).To(Equal(fs.FileMode(0o644)))
	g.Expect(WriteFile(filepath.Join(dir, "none", "file"), nil, 0o644)).To(MatchError(fs.ErrNotExist))

	g.Expect(os.Mkdir(filepath.Join(dir, "folder"), 0o755)).To(Succeed())
	g.Expect(WriteFile(filepath.Join(dir, "folder"), nil, 0o644)).To(MatchError(fs.ErrExist))

	link := filepath.Join(dir, "link")
	for _, target := range []string{"a", "b"} {
		g.Expect(Symlink(target, link)).To(Succeed())
		g.Expect(os.Readlink(link)).To(Equal(target))
	}
	g.Expect(names(t, dir)).To(Equal([]string{"file", "folder", "link"}))
}
