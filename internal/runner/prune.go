package runner

import (
	"os"
	"path/filepath"
	"time"

	"github.com/tcplab/tcplab/internal/scratch"
)

// cacheAge is for how long a passed scenario, or a compiled suite, that nobody asked for again is kept.
const cacheAge = 30 * 24 * time.Hour

// prune removes from a folder what was not used for cacheAge, and then, from the longest unused on, what is too much for a
// limit in bytes. It returns how many were too much. What cannot be removed stays, and what a process that was killed was about
// to save goes.
func prune(dir string, limit int64) (tooMany int) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	var paths []string
	for _, entry := range entries {
		if !scratch.Is(entry.Name()) {
			paths = append(paths, filepath.Join(dir, entry.Name()))
		}
	}
	scratch.Sweep(dir)
	for _, gone := range scratch.Prune(paths, "", limit, cacheAge) {
		if !gone.Old {
			tooMany++
		}
	}
	return tooMany
}
