package results

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
)

func TestLedger(t *testing.T) {
	g := NewWithT(t)
	dir := filepath.Join(t.TempDir(), "new")
	l, err := OpenLedger(dir)
	g.Expect(err).NotTo(HaveOccurred())
	r := full(t)
	g.Expect(l.Put("key", "code", r)).To(Succeed())
	other := small("handshake", "another")
	g.Expect(l.Put("key 2", "code 2", other)).To(Succeed())
	size := func() int64 {
		info, err := os.Stat(filepath.Join(dir, LedgerName))
		g.Expect(err).NotTo(HaveOccurred())
		return info.Size()
	}
	before := size()
	g.Expect(l.Put("key", "code", r)).To(Succeed())
	g.Expect(size()).To(Equal(before), "what is there is not written again")
	g.Expect(l.Close()).To(Succeed())

	// Somebody is killed in the midst of a line; and a line was changed, which says that it passed.
	path := filepath.Join(dir, LedgerName)
	text, err := os.ReadFile(path)
	g.Expect(err).NotTo(HaveOccurred())
	first, _, _ := bytes.Cut(text, []byte("\n"))
	changed := bytes.Replace(bytes.Replace(first, []byte(`"key":"key"`), []byte(`"key":"key 3"`), 1), []byte(`"failed"`), []byte(`"passed"`), 1)
	text = slices.Concat(text, changed, []byte("\n"))
	g.Expect(os.WriteFile(path, append(text, text[:100]...), 0o644)).To(Succeed())

	l, err = OpenLedger(dir)
	g.Expect(err).NotTo(HaveOccurred())
	got := l.Get("key")
	g.Expect(got.Metrics).To(Equal(r.Metrics))
	g.Expect(got.Failure).To(Equal(r.Failure))
	g.Expect(got.Inputs).To(Equal(r.Inputs))
	g.Expect(got.Host).To(BeNil())
	g.Expect(got.Captures).To(BeEmpty())
	g.Expect(l.Get("key 3")).To(BeNil())
	g.Expect(l.Get("key 2")).To(HaveField("Scenario", "another"))
	g.Expect(l.Merged()).To(BeEmpty(), "what it knows itself is nobody else's")
	g.Expect(l.Put("key 3", "code 2", small("handshake", "a third"))).To(Succeed())
	g.Expect(l.Close()).To(Succeed())

}

// What a run comes to when it is made again stands, whichever way it went: a pass must not hide a failure, nor an old failure
// stay for ever.
func TestLedgerLearnsAnew(t *testing.T) {
	for _, last := range []Verdict{Passed, Failed} {
		g := NewWithT(t)
		dir := t.TempDir()
		l, err := OpenLedger(dir)
		g.Expect(err).NotTo(HaveOccurred())
		passed, failed := small("s", "t"), small("s", "t")
		failed.Verdict, failed.Failure = Failed, &Failure{Message: "another result"}
		first, second := failed, passed
		if last == Failed {
			first, second = passed, failed
		}
		g.Expect(l.Put("key", "code", first)).To(Succeed())
		g.Expect(l.Put("key", "code", second)).To(Succeed())
		g.Expect(l.Get("key").Verdict).To(Equal(last))
		g.Expect(l.Close()).To(Succeed())
		l, err = OpenLedger(dir)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(l.Get("key").Verdict).To(Equal(last))
		g.Expect(l.Close()).To(Succeed())
	}
}

func TestLedgerOfAnotherMachine(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	open := func(dir string) *Ledger {
		l, err := OpenLedger(dir)
		g.Expect(err).NotTo(HaveOccurred())
		return l
	}
	failed := small("s", "c")
	failed.Verdict, failed.Failure = Failed, &Failure{Message: "another result"}
	theirs := open(dir)
	g.Expect(theirs.Put("a", "code", small("s", "a"))).To(Succeed())
	g.Expect(theirs.Put("b", "code 2", small("s", "b"))).To(Succeed())
	g.Expect(theirs.Put("c", "code", failed)).To(Succeed())
	g.Expect(theirs.Put("x", "of other sources", small("s", "x"))).To(Succeed())
	before := small("s", "d")
	before.Verdict, before.Failure = Failed, &Failure{Message: "before --fresh"}
	g.Expect(theirs.Put("d", "code", before)).To(Succeed())
	g.Expect(theirs.Put("d", "code", small("s", "d"))).To(Succeed())
	g.Expect(theirs.Put("e", "code", failed)).To(Succeed())
	g.Expect(theirs.Close()).To(Succeed())

	here := t.TempDir()
	ours := open(here)
	for _, key := range []string{"c", "d", "e"} {
		g.Expect(ours.Put(key, "code", small("s", key))).To(Succeed())
	}
	taken, left, err := ours.Merge(dir, []string{"code", "code 2"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect([]int{taken, left}).To(Equal([]int{5, 1}), "runs, not lines")
	g.Expect(ours.Get("d").Verdict).To(Equal(Passed), "of two lines the later stands there, too")
	g.Expect(ours.Get("c").Verdict).To(Equal(Failed), "passed here and failed there with the same inputs")
	g.Expect(ours.Get("a")).To(HaveField("Scenario", "a"))
	g.Expect(ours.Merged()).To(ConsistOf(HaveField("Scenario", "b"), HaveField("Verdict", Failed)), "what was asked for is counted by who asked")
	// What is put is kept, though the other machine has the same.
	g.Expect(ours.Put("a", "code", small("s", "a"))).To(Succeed())
	g.Expect(ours.Put("c", "code", failed)).To(Succeed())
	again := open(here)
	g.Expect(again.Get("a")).NotTo(BeNil())
	g.Expect(again.Get("c").Verdict).To(Equal(Failed))
	g.Expect(again.Get("e").Verdict).To(Equal(Passed), "merging writes nothing")
	g.Expect(again.Close()).To(Succeed())
	_, _, err = ours.Merge(t.TempDir(), nil)
	g.Expect(err).To(MatchError(fs.ErrNotExist))
	g.Expect(ours.Close()).To(Succeed())
}

// A line that is no entry, or of another schema, is as if it were not there.
func FuzzLedger(f *testing.F) {
	dir := f.TempDir() // the same one each time: a new one takes as long as all else
	l, err := OpenLedger(dir)
	if err == nil {
		err = errors.Join(l.Put("a", "b", small("s", "t")), l.Close())
	}
	valid, readErr := os.ReadFile(filepath.Join(dir, LedgerName))
	if err != nil || readErr != nil {
		f.Fatal(err, readErr)
	}
	f.Add(valid)
	f.Add([]byte("{}\nnull\n[1]\n{\"key\":\"a\",\"record\":null}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(filepath.Join(dir, LedgerName), text, 0o644); err != nil {
			t.Fatal(err)
		}
		l, err := OpenLedger(dir)
		if err != nil {
			return // a line that is too long
		}
		defer l.Close()
		record := small("s", "t")
		if err := l.Put("new", "code", record); err != nil {
			t.Fatal(err)
		}
		again, err := OpenLedger(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if l.Get("new") == nil || again.Get("new") == nil {
			t.Errorf("what was put is not there after %q", text)
		}
	})
}
