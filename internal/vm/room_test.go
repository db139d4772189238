package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
)

// smallDisk is a file system of a size, which goes with the test. It is mounted where only this test sees it.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounts a small tmpfs: needs root")
	}
	dir := t.TempDir()
	// The thread has a mount namespace of its own, and dies with the test. What is in the file system is reached by a
	// descriptor, by whoever has it.
	opened := make(chan *os.File)
	failed := make(chan error)
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount("tcplab-test", dir, "tmpfs", 0, "size="+size)
		}
		if err != nil {
			failed <- err
			return
		}
		root, err := os.Open(dir)
		if err != nil {
			failed <- err
			return
		}
		opened <- root
		<-done
		root.Close()
	}()
	select {
	case root := <-opened:
		return fmt.Sprintf("/proc/self/fd/%d", root.Fd())
	case err := <-failed:
		if errors.Is(err, unix.EPERM) {
			t.Skip("mounts a small tmpfs, which is not allowed here: ", err)
		}
		t.Fatal(err)
	}
	return ""
}

func TestWantOfRoomIsNamed(t *testing.T) {
	g := NewWithT(t)
	dir := smallDisk(t, "8m")
	t.Setenv("TMPDIR", dir)
	file, err := unnamedFile()
	g.Expect(err).NotTo(HaveOccurred())
	defer file.Close()
	_, err = file.Write(make([]byte, 16<<20))
	g.Expect(err).To(MatchError(unix.ENOSPC))
	const said = ", where files of guests are while they run, has 0 MiB free of 8: make room, or set TMPDIR to another folder"
	g.Expect(withRoom(err)).To(And(MatchError(unix.ENOSPC), MatchError(HaveSuffix(dir+said))))
	g.Expect(withRoom(errors.New("input/output error")).Error()).To(HaveSuffix(said), "QEMU's way to say it")
	g.Expect(fullDirectory(dir)).To(Equal(dir + said))
	g.Expect(withRoom(nil)).To(Succeed())
	g.Expect(file.Truncate(0)).To(Succeed())
	g.Expect(fullDirectory(dir)).To(BeEmpty())
	t.Setenv("TMPDIR", t.TempDir())
	g.Expect(withRoom(os.ErrNotExist)).To(Equal(os.ErrNotExist))
}

// A guest that has no room to begin where another one had booted boots, and what was kept makes room.
func TestStateWithoutRoom(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("TMPDIR", smallDisk(t, "3m"))
	disk, err := unnamedFile()
	g.Expect(err).NotTo(HaveOccurred())
	_, err = disk.Write(make([]byte, 2<<20))
	g.Expect(err).NotTo(HaveOccurred())
	memory, err := newMemory(1)
	g.Expect(err).NotTo(HaveOccurred())
	slot := &stateSlot{state: &machineState{disk: disk, memory: memory, console: []byte("booted")}}
	base := &Base{kernel: &GuestKernel{image: "vmlinux"}, states: map[guestSize]*stateSlot{Job{}.guestSize(): slot}}
	files := &guestFiles{}
	for _, file := range files.own() {
		*file, err = unnamedFile()
		g.Expect(err).NotTo(HaveOccurred())
	}
	defer files.close()
	start, err := base.begin(t.Context(), Job{}, files)
	g.Expect(err).NotTo(HaveOccurred())
	defer start.close()
	g.Expect(start.arguments).To(ContainElement("vmlinux"))
	g.Expect(start.arguments).NotTo(ContainElement("-S"))
	g.Expect(start.steer).To(BeNil())
	g.Expect(slot.state).To(BeNil())
	g.Expect(base.unkept(Job{}.guestSize())).To(And(MatchError(unix.ENOSPC), MatchError(ContainSubstring("MiB free of 3"))))
	for _, file := range []*os.File{files.disk, files.console} {
		info, err := file.Stat()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(info.Size()).To(BeZero())
	}
	free, _, err := room(os.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(free).To(BeEquivalentTo(3 << 20))
}

// A state that QEMU could not write leaves no part of it, and the guest goes on.
func TestStateThatIsNotWritten(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("TMPDIR", smallDisk(t, "1m"))
	ours, _, commands := fakeMachine(t, `{"return": "failed to save\r\nError: Input/output error\r\n"}`, `{"return": ""}`)
	disk, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	g.Expect(err).NotTo(HaveOccurred())
	defer disk.Close()
	_, err = disk.WriteString("half of a state")
	g.Expect(err).NotTo(HaveOccurred())
	base, files := &Base{states: map[guestSize]*stateSlot{}}, &guestFiles{disk: disk}
	base.setState(Job{}, files, func() (*machineState, error) { return base.keep(ours, Job{}, files, nil) })
	g.Expect(base.unkept(Job{}.guestSize())).To(MatchError(And(
		HavePrefix("keep a booted guest's state: savevm booted: failed to save; Error: Input/output error; "), ContainSubstring("MiB free of 1"),
	)))
	g.Expect(commands()).To(HaveLen(2), "the disk is detached all the same")
	info, err := disk.Stat()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Size()).To(BeZero())
}

// Of what is too long, the beginning and the end are kept, while it grows and at its end.
func TestOutputThatIsTooMuch(t *testing.T) {
	g := NewWithT(t)
	limit := maxOutput
	maxOutput = 128 << 10
	t.Cleanup(func() { maxOutput = limit })
	file, err := os.Create(filepath.Join(t.TempDir(), "output"))
	g.Expect(err).NotTo(HaveOccurred())
	defer file.Close()
	var out strings.Builder
	stream := outputStream{from: file, to: &out}
	line := strings.Repeat("x", 1023) + "\n"
	const lines = 1024
	for i := range lines {
		fmt.Fprintf(file, "%04d%s", i, line[4:])
		g.Expect(stream.forward()).To(Succeed())
		dropMiddle(file, maxOutput)
	}
	g.Expect(out.Len()).To(BeEquivalentTo(maxOutput / 2))
	g.Expect(stream.finish()).To(Succeed())
	text := out.String()
	g.Expect(text).To(HavePrefix("0000x"))
	g.Expect(text).To(ContainSubstring(fmt.Sprintf("0063%s%s0960", line[4:], leftOut(896<<10))))
	g.Expect(text).To(HaveSuffix(fmt.Sprintf("1023%s", line[4:])))
	g.Expect(strings.Count(text, "\x00")).To(BeZero())
	g.Expect(cutText("output", file, maxOutput)).To(Equal([]string{"output: 917504 bytes in the middle of it, since it is longer than 131072"}))
	ends, err := readEnds(file, maxOutput)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(ends)).To(Equal(text))

	var stat unix.Stat_t
	g.Expect(unix.Fstat(int(file.Fd()), &stat)).To(Succeed())
	g.Expect(stat.Blocks*512).To(BeNumerically("<", 3*maxOutput/2), "room is freed as it grows")

	g.Expect(file.Truncate(maxOutput)).To(Succeed())
	g.Expect(cutText("output", file, maxOutput)).To(BeEmpty())
}

func TestFilesBeyondTheBound(t *testing.T) {
	g := NewWithT(t)
	files := &guestFiles{}
	for _, file := range files.own() {
		var err error
		*file, err = unnamedFile()
		g.Expect(err).NotTo(HaveOccurred())
	}
	defer files.close()
	g.Expect(files.bound()).To(Succeed())
	g.Expect(files.results.Truncate(maxResults + 1)).To(Succeed())
	g.Expect(files.bound()).To(MatchError(ErrTooMuch))
}
