package runner

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/scratch"
	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/results"
)

func TestCacheHasALimit(t *testing.T) {
	g := NewWithT(t)
	store := runCache{dir: t.TempDir()}
	original := filepath.Join(t.TempDir(), "original")
	writeSpec(t, original, results.Record{Verdict: results.Passed})
	size := func() int64 {
		total, err := scratch.Size(store.dir)
		g.Expect(err).NotTo(HaveOccurred())
		return total
	}
	for i := range 5 {
		key := fmt.Sprint(i)
		g.Expect(store.save(key, original)).To(Succeed())
		used := time.Now().Add(time.Duration(i-10) * time.Hour)
		g.Expect(os.Chtimes(filepath.Join(store.dir, key), used, used)).To(Succeed())
	}
	all := size()
	// The first one was used again.
	_, err := store.load("0", filepath.Join(t.TempDir(), "copied"))
	g.Expect(err).NotTo(HaveOccurred())

	g.Expect(prune(store.dir, all)).To(BeZero())
	g.Expect(prune(store.dir, all-1)).To(Equal(1))
	g.Expect(filepath.Join(store.dir, "1")).NotTo(BeADirectory())
	g.Expect(prune(store.dir, all*2/5)).To(Equal(2))
	g.Expect(size()).To(Equal(all * 2 / 5))
	g.Expect(filepath.Join(store.dir, "0")).To(BeADirectory())
	g.Expect(filepath.Join(store.dir, "4")).To(BeADirectory())
	g.Expect(prune(store.dir, 0)).To(Equal(2))
	g.Expect(os.ReadDir(store.dir)).To(BeEmpty())
	g.Expect(prune(filepath.Join(store.dir, "none"), 0)).To(BeZero())
}

// How much the cache may have is asked for when there is too much of it: what nobody can read is refused before anything is done.
func TestLimitsOfTheCacheAreChecked(t *testing.T) {
	for _, variable := range []string{vm.RunsLimitVariable, vm.KernelsLimitVariable, vm.SuitesLimitVariable, vm.StatesLimitVariable} {
		g := NewWithT(t)
		g.Expect(SessionOptions{}.check()).To(Succeed())
		t.Setenv(variable, "much")
		g.Expect(SessionOptions{}.check()).To(MatchError(ContainSubstring(variable+"=much")), variable)
		t.Setenv(variable, "")
	}
}
