package vm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// storing is a base whose states are kept in a cache, and what it says.
func storing(cache string) (*Base, *[]string) {
	said := &[]string{}
	return &Base{
		qemu: QEMU{Version: "1"}, qemuBuild: func() string { return "a" }, kernel: &GuestKernel{SHA256: "2"}, sha256: "3", cache: cache,
		progress: func(line string) { *said = append(*said, line) }, states: map[guestSize]*stateSlot{},
	}, said
}

// someMemory is a memory of 1 MiB with a few pages that are not zero.
func someMemory(t *testing.T) *os.File {
	t.Helper()
	g := NewWithT(t)
	memory, err := newMemory(1)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { memory.Close() })
	for _, page := range []int64{0, 3, 7} {
		_, err := memory.WriteAt([]byte{byte(page + 1)}, page*pageSize+page)
		g.Expect(err).NotTo(HaveOccurred())
	}
	_, err = memory.WriteAt(make([]byte, pageSize), 100*pageSize)
	g.Expect(err).NotTo(HaveOccurred())
	return memory
}

func sameMemory(a, b *os.File) (bool, error) {
	of, err := hashMemory(a)
	if err != nil {
		return false, err
	}
	other, err := hashMemory(b)
	return of == other, err
}

// save keeps a state in the cache, which nobody uses then, and returns its folder.
func save(t *testing.T, b *Base, job Job, content string) string {
	t.Helper()
	g := NewWithT(t)
	disk, err := unnamedFile()
	g.Expect(err).NotTo(HaveOccurred())
	defer disk.Close()
	_, err = disk.WriteString(content)
	g.Expect(err).NotTo(HaveOccurred())
	key := b.stateKey(job)
	memory := someMemory(t)
	state, err := b.stateStore().add(key, machineState{disk: disk, memory: memory, console: []byte("console")})
	g.Expect(err).NotTo(HaveOccurred())
	defer state.close()
	g.Expect(readAll(state.disk)).To(BeEquivalentTo(content))
	g.Expect(sameMemory(state.memory, memory)).To(BeTrue())
	g.Expect(state.console).To(BeEquivalentTo("console"))
	return filepath.Join(b.cache, "states", stateVersion, key.hash)
}

// A state is for its own QEMU, kernel, initramfs and machine only.
func TestStatesAreKeptApart(t *testing.T) {
	g := NewWithT(t)
	cache := t.TempDir()
	base, said := storing(cache)
	save(t, base, Job{}, "disk")
	state, unlock, err := base.cached(t.Context(), Job{})
	g.Expect(err).NotTo(HaveOccurred())
	unlock()
	g.Expect(readAll(state.disk)).To(BeEquivalentTo("disk"))
	state.close()
	for name, change := range map[string]func(*Base, *Job){
		"version":   func(b *Base, _ *Job) { b.qemu.Version = "9" },
		"build":     func(b *Base, _ *Job) { b.qemuBuild = func() string { return "b" } },
		"kernel":    func(b *Base, _ *Job) { b.kernel = &GuestKernel{SHA256: "9"} },
		"initramfs": func(b *Base, _ *Job) { b.sha256 = "9" },
		"memory":    func(_ *Base, j *Job) { j.MemoryMiB = 600 },
	} {
		other, _ := storing(cache)
		var job Job
		change(other, &job)
		state, unlock, err := other.cached(t.Context(), job)
		g.Expect(err).NotTo(HaveOccurred())
		unlock()
		g.Expect(state).To(BeNil(), name)
	}
	// Seed, arguments and environment come after it.
	g.Expect(base.stateKey(Job{Seed: 1, Args: []string{"a"}, Env: []string{"b"}})).To(Equal(base.stateKey(Job{})))
	g.Expect(*said).To(BeEmpty())
}

// One that is damaged is found out, said and gone, and the next one takes its place.
func TestDamagedState(t *testing.T) {
	for name, damage := range map[string]func(dir string) error{
		"a bit": func(dir string) error { return os.WriteFile(filepath.Join(dir, stateDisk), []byte("dirk"), 0o644) },
		"cut":   func(dir string) error { return os.Truncate(filepath.Join(dir, stateDisk), 1) },
		"memory": func(dir string) error {
			file, err := os.OpenFile(filepath.Join(dir, stateMemory), os.O_WRONLY, 0)
			if err == nil {
				_, err = file.WriteAt([]byte{1}, 5*pageSize)
				err = errors.Join(err, file.Close())
			}
			return err
		},
		"less memory": func(dir string) error { return os.Truncate(filepath.Join(dir, stateMemory), 8*pageSize) },
		"no memory":   func(dir string) error { return os.Remove(filepath.Join(dir, stateMemory)) },
		"no disk":     func(dir string) error { return os.Remove(filepath.Join(dir, stateDisk)) },
		"console":     func(dir string) error { return os.Truncate(filepath.Join(dir, stateConsole), 1) },
		"manifest":    func(dir string) error { return os.Truncate(filepath.Join(dir, stateManifest), 1) },
		"no manifest": func(dir string) error { return os.Remove(filepath.Join(dir, stateManifest)) },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			base, said := storing(t.TempDir())
			dir := save(t, base, Job{}, "disk")
			g.Expect(damage(dir)).To(Succeed())
			state, unlock, err := base.cached(t.Context(), Job{})
			g.Expect(err).NotTo(HaveOccurred())
			unlock()
			g.Expect(state).To(BeNil())
			g.Expect(*said).To(ConsistOf(And(HavePrefix("the kept state of a booted guest in " + dir + " cannot be used, and is made anew: damaged"))))
			g.Expect(dir).NotTo(BeAnExistingFile())
			save(t, base, Job{}, "disk")
		})
	}
}

// What is too much goes, the longest unused first, and nothing that is in use.
func TestStatesHaveALimit(t *testing.T) {
	g := NewWithT(t)
	base, _ := storing(t.TempDir())
	content := string(bytes.Repeat([]byte{1}, 1000))
	var dirs []string
	for i, memory := range []int{200, 300, 400} {
		dir := save(t, base, Job{MemoryMiB: memory}, content)
		used := time.Now().Add(time.Duration(i-10) * time.Minute)
		g.Expect(os.Chtimes(dir, used, used)).To(Succeed())
		dirs = append(dirs, dir)
	}
	first, unlock, err := base.cached(t.Context(), Job{MemoryMiB: 200})
	g.Expect(err).NotTo(HaveOccurred())
	unlock()
	defer first.close()
	used := time.Now().Add(-time.Hour)
	g.Expect(os.Chtimes(dirs[0], used, used)).To(Succeed())
	t.Setenv(StatesLimitVariable, "45KB") // each has three pages of memory, and 1.5 KB
	dirs = append(dirs, save(t, base, Job{MemoryMiB: 500}, content))
	g.Expect(dirs[0]).To(BeADirectory(), "in use")
	g.Expect(dirs[1]).NotTo(BeAnExistingFile())
	g.Expect(dirs[3]).To(BeADirectory())
}

// Whoever makes a state is waited for, in this process and in others, and only so long as it lives.
func TestOneMakesAState(t *testing.T) {
	g := NewWithT(t)
	cache := t.TempDir()
	base, _ := storing(cache)
	state, made, err := base.await(t.Context(), Job{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(state).To(BeNil())
	g.Expect(made).NotTo(BeNil(), "this one is to make it")

	other, _ := storing(cache) // as in another process
	states := make(chan *machineState, 2)
	var waiting sync.WaitGroup
	for _, b := range []*Base{base, other} {
		waiting.Go(func() {
			state, made, err := b.await(t.Context(), Job{})
			if err != nil || made != nil {
				t.Errorf("made %t, %v", made != nil, err)
			}
			states <- state
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(2*lockPeriod, cancel)
	for _, b := range []*Base{base, other} {
		_, _, err = b.await(ctx, Job{})
		g.Expect(err).To(MatchError(context.Canceled))
	}
	g.Expect(states).To(BeEmpty())

	disk, err := unnamedFile()
	g.Expect(err).NotTo(HaveOccurred())
	_, err = disk.WriteString("disk")
	g.Expect(err).NotTo(HaveOccurred())
	files := &guestFiles{disk: disk}
	base.setState(Job{}, files, func() (*machineState, error) {
		return base.stateStore().add(base.stateKey(Job{}), machineState{disk: disk, memory: someMemory(t)})
	})
	made()
	made()
	waiting.Wait()
	for range 2 {
		g.Expect(readAll((<-states).disk)).To(BeEquivalentTo("disk"))
	}

	// One that could not make it leaves it to the next.
	for range 2 {
		_, made, err := base.await(t.Context(), Job{MemoryMiB: 600})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(made).NotTo(BeNil())
		made()
	}
}

// A cache that cannot be written to costs no run: the state is kept without a name, and that is said.
func TestStateWithoutACache(t *testing.T) {
	g := NewWithT(t)
	cache := filepath.Join(t.TempDir(), "file")
	g.Expect(os.WriteFile(cache, nil, 0o644)).To(Succeed())
	base, said := storing(cache)
	state, made, err := base.await(t.Context(), Job{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(state).To(BeNil())
	memory := someMemory(t)
	ours, _, _ := fakeMachine(t, `{"return": ""}`, `{"return": ""}`)
	files := &guestFiles{}
	for _, file := range []**os.File{&files.disk, &files.console} {
		*file, err = unnamedFile()
		g.Expect(err).NotTo(HaveOccurred())
		defer (*file).Close()
	}
	_, err = files.disk.WriteString("disk")
	g.Expect(err).NotTo(HaveOccurred())
	base.setState(Job{}, files, func() (*machineState, error) { return base.keep(ours, Job{}, files, memory) })
	made()
	state, made, err = base.await(t.Context(), Job{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(made).To(BeNil())
	g.Expect(readAll(state.disk)).To(BeEquivalentTo("disk"))
	g.Expect(sameMemory(state.memory, memory)).To(BeTrue())
	g.Expect(base.unkept(Job{}.guestSize())).To(Succeed())
	g.Expect(*said).To(ConsistOf(HavePrefix("the state of a booted guest is not kept in the cache, for this run only: ")))
	g.Expect(state.used).To(BeNil())
}

func TestCopyFile(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	from, err := os.Create(filepath.Join(dir, "from"))
	g.Expect(err).NotTo(HaveOccurred())
	defer from.Close()
	content := make([]byte, 3<<20+1)
	for i := range content {
		content[i] = byte(i * i >> 7)
	}
	_, err = from.Write(content)
	g.Expect(err).NotTo(HaveOccurred())
	for _, elsewhere := range []string{dir, "/dev/shm"} { // another file system, most often
		to, err := os.CreateTemp(elsewhere, "tcplab-test-")
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			continue
		}
		g.Expect(err).NotTo(HaveOccurred())
		defer to.Close()
		defer os.Remove(to.Name())
		_, err = io.WriteString(to, "what was there before")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(copyFile(to, from)).To(Succeed())
		g.Expect(readAll(to)).To(Equal(content))
	}
}
