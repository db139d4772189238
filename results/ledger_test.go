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
	g.Expect(l.Put("key", "code", other)).To(Succeed()) // the first one stands: the same inputs give the same
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
	g.Expect(l.Records("code 2")).To(HaveExactElements(HaveField("Scenario", "another")))
	g.Expect(l.Put("key 3", "code 2", small("handshake", "a third"))).To(Succeed())
	g.Expect(l.Close()).To(Succeed())

	// Another machine's.
	elsewhere, err := OpenLedger(t.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(elsewhere.Merge(dir)).To(Succeed())
	g.Expect(elsewhere.Records("code 2")).To(HaveLen(2))
	g.Expect(elsewhere.Merge(t.TempDir())).To(MatchError(fs.ErrNotExist))
	g.Expect(elsewhere.Close()).To(Succeed())
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
