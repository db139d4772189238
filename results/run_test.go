package results

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
)

func TestCreateAndOpen(t *testing.T) {
	g := NewWithT(t)
	root := filepath.Join(t.TempDir(), "results")
	first, err := Create(root, "20260101-120000")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(first.ID()).To(Equal("20260101-120000"))
	g.Expect(first.Path()).To(Equal(filepath.Join(root, "20260101-120000")))
	g.Expect(filepath.Join(root, Latest)).NotTo(BeAnExistingFile(), "it has come to nothing yet")
	g.Expect(first.MakeLatest()).To(Succeed())
	g.Expect(os.Readlink(filepath.Join(root, Latest))).To(Equal("20260101-120000"))

	latest, err := Open(filepath.Join(root, Latest))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(latest.ID()).To(Equal("20260101-120000"))

	second, err := Create(root, "20260101-120001")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(second.MakeLatest()).To(Succeed())
	g.Expect(os.Readlink(filepath.Join(root, Latest))).To(Equal("20260101-120001"))
	g.Expect(latest.ID()).To(Equal("20260101-120000"), "an open run stays the same")

	_, err = Create(root, "20260101-120000")
	g.Expect(err).To(MatchError(fs.ErrExist))
	g.Expect(os.Readlink(filepath.Join(root, Latest))).To(Equal("20260101-120001"))
}

func TestCreateRefuses(t *testing.T) {
	for _, id := range []string{"", "latest", "..", ".hidden", "-rf", "a/b", "a b", "ä", "a\x00"} {
		root := t.TempDir()
		_, err := Create(root, id)
		g := NewWithT(t)
		g.Expect(err).To(MatchError(ContainSubstring(fmt.Sprintf("create run: id %q", id))))
		g.Expect(os.ReadDir(root)).To(BeEmpty())
	}
}

func TestCreateKeepsAFileNamedLatest(t *testing.T) {
	g := NewWithT(t)
	root := t.TempDir()
	g.Expect(os.WriteFile(filepath.Join(root, Latest), []byte("mine"), 0o644)).To(Succeed())
	_, err := Create(root, "a")
	g.Expect(err).To(MatchError(ContainSubstring("is not a symbolic link: move it away")))
	g.Expect(os.ReadFile(filepath.Join(root, Latest))).To(BeEquivalentTo("mine"))
	g.Expect(filepath.Join(root, "a")).NotTo(BeADirectory())
}

func TestOpenRefuses(t *testing.T) {
	g := NewWithT(t)
	_, err := Open(filepath.Join(t.TempDir(), "none"))
	g.Expect(err).To(MatchError(fs.ErrNotExist))
	file := filepath.Join(t.TempDir(), "file")
	g.Expect(os.WriteFile(file, nil, 0o644)).To(Succeed())
	_, err = Open(file)
	g.Expect(err).To(MatchError(ContainSubstring("is not a folder")))
}

func TestRecordsAreSorted(t *testing.T) {
	g := NewWithT(t)
	run := newRun(t, "a")
	for _, r := range []*Record{small("b", "1"), small("a", "Z"), small("a", "b"), small("B", "2")} {
		put(t, run, r, nil)
	}
	g.Expect(os.WriteFile(filepath.Join(run.Path(), "run.log"), nil, 0o644)).To(Succeed())
	records, err := run.Records()
	g.Expect(err).NotTo(HaveOccurred())
	var order []string
	for _, r := range records {
		order = append(order, r.Suite+" "+r.Scenario)
		g.Expect(r.Dir()).To(Equal(run.Dir(r.Suite, r.Scenario)))
	}
	g.Expect(order).To(Equal([]string{"B 2", "a Z", "a b", "b 1"}))
}

func TestRecordsGivesWhatCanBeRead(t *testing.T) {
	g := NewWithT(t)
	run := newRun(t, "a")
	put(t, run, small("a", "good"), nil)
	bad := put(t, run, small("a", "bad"), nil)
	g.Expect(os.WriteFile(filepath.Join(bad, FileName), []byte(`{"schema": 99}`), 0o644)).To(Succeed())
	killed := run.Dir("a", "killed")
	g.Expect(os.MkdirAll(killed, 0o755)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(killed, "."+FileName+"123"), []byte(`{"sch`), 0o644)).To(Succeed())

	records, err := run.Records()
	g.Expect(err).To(And(MatchError(ErrSchema), MatchError(ContainSubstring(bad))))
	g.Expect(records).To(HaveLen(1))
	g.Expect(run.Unfinished()).To(Equal([]string{killed}))
}

// An old run has hundreds of records, all with the same fault.
func TestRecordsOfAnotherSchemaAreOneError(t *testing.T) {
	g := NewWithT(t)
	run := newRun(t, "a")
	for _, scenario := range []string{"a", "b", "c"} {
		dir := put(t, run, small("a", scenario), nil)
		g.Expect(os.WriteFile(filepath.Join(dir, FileName), []byte(`{"schema": 2}`), 0o644)).To(Succeed())
	}
	_, err := run.Records()
	g.Expect(err).To(MatchError(ErrSchema))
	g.Expect(err.Error()).To(And(Not(ContainSubstring("\n")), ContainSubstring("version 2"), HaveSuffix("(and 2 more records of this run)")))
}

// Ginkgo runs specs in several processes; here they are goroutines, which share even less politely.
func TestManyWritersOneRun(t *testing.T) {
	g := NewWithT(t)
	root := t.TempDir()
	const writers, each = 8, 5
	var created atomic.Int32
	var group sync.WaitGroup
	errs := make(chan error, writers*(each+3))
	for w := range writers {
		group.Go(func() {
			run, err := Create(root, "run")
			if err == nil {
				created.Add(1)
			} else if run, err = Open(filepath.Join(root, "run")); err != nil {
				errs <- err
				return
			}
			for i := range each {
				r := small(fmt.Sprintf("suite-%d", i), fmt.Sprintf("scenario %d of writer %d", i, w))
				errs <- r.Write(run.Dir(r.Suite, r.Scenario))
			}
			errs <- run.MakeLatest()
			_, err = run.Records() // while the others write
			errs <- err
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(created.Load()).To(BeEquivalentTo(1))
	run, err := Open(filepath.Join(root, Latest))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(run.Records()).To(HaveLen(writers * each))
	g.Expect(run.Unfinished()).To(BeEmpty())
}

func TestArtefacts(t *testing.T) {
	g := NewWithT(t)
	run := newRun(t, "a")
	dir := put(t, run, small("a", "b"), map[string]string{"z.log": "", "peers/a.log": "abc"})
	g.Expect(Artefacts(dir)).To(Equal([]Artefact{
		{Path: "peers/a.log", Size: 3, SHA256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{Path: "z.log", Size: 0, SHA256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
	}))

	// Sorted as texts, in which "." and "-" are less than "/".
	for _, name := range []string{"peers.log", "peers-0.log"} {
		g.Expect(os.WriteFile(filepath.Join(dir, name), nil, 0o644)).To(Succeed())
	}
	list, err := Artefacts(dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(slices.IsSortedFunc(list, func(a, b Artefact) int { return strings.Compare(a.Path, b.Path) })).To(BeTrue(), "%v", list)

	g.Expect(os.Symlink("/etc/passwd", filepath.Join(dir, "peers", "link"))).To(Succeed())
	_, err = Artefacts(dir)
	g.Expect(err).To(MatchError(ContainSubstring("peers/link: is not a regular file")))
	_, err = Artefacts(filepath.Join(dir, "none"))
	g.Expect(err).To(MatchError(fs.ErrNotExist))
}
