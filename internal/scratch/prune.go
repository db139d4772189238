package scratch

import (
	"cmp"
	"os"
	"slices"
	"time"
)

// Pruned is what [Prune] has removed.
type Pruned struct {
	Path string
	Used time.Time // when it was used last
	Old  bool      // it went for its age, and not for the limit
	size int64
}

// Prune removes files and folders until all together have no more than a limit in bytes: those first that were not used for
// the longest time, which is their time of modification. What was not used for an age goes in any case; 0 is no age. What
// is in use stays, of folders that are used by a file in them (see [Discard]), and so does what cannot be removed.
func Prune(paths []string, used string, limit int64, age time.Duration) (gone []Pruned) {
	var all []Pruned
	var total int64
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			continue // it is being removed
		}
		size, err := Size(path)
		if err != nil {
			continue
		}
		all = append(all, Pruned{path, info.ModTime(), age > 0 && time.Since(info.ModTime()) > age, size})
		total += size
	}
	slices.SortFunc(all, func(a, b Pruned) int { return cmp.Or(a.Used.Compare(b.Used), cmp.Compare(a.Path, b.Path)) })
	for _, one := range all {
		if !one.Old && total <= limit {
			break
		}
		// At once for who looks for it: half of a folder is taken for one that is damaged.
		if removed, err := Discard(one.Path, used); err != nil || !removed {
			continue
		}
		total -= one.size
		gone = append(gone, one)
	}
	return gone
}
