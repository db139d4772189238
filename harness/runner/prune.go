package runner

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/scratch"
)

// cacheAge is for how long a passed scenario, or a compiled suite, that nobody asked for again is kept.
const cacheAge = 30 * 24 * time.Hour

// prune removes from a folder what was not used for cacheAge, and then, from the longest unused on, what is too much for a
// limit in bytes. It returns how many were too much. What cannot be removed stays, and what a process that was killed was about
// to save goes.
func prune(dir string, limit int64) (tooMany int) {
	type entry struct {
		path string
		used time.Time
		size int64
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	var entries []entry
	var total int64
	for _, file := range files {
		info, err := file.Info()
		if err != nil || scratch.Is(file.Name()) {
			continue
		}
		path := filepath.Join(dir, file.Name())
		size, err := scratch.Size(path)
		if err != nil {
			continue // it is being removed
		}
		entries = append(entries, entry{path, info.ModTime(), size})
		total += size
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.path, b.path)) })
	scratch.Sweep(dir)
	for _, e := range entries {
		old := time.Since(e.used) > cacheAge
		if !old && total <= limit {
			break
		}
		// At once for who looks for it: half of an entry is taken for one that is damaged.
		if gone, _ := scratch.Discard(e.path, ""); !gone {
			continue
		}
		total -= e.size
		if !old {
			tooMany++
		}
	}
	return tooMany
}
