package scratch

import (
	"io/fs"
	"path/filepath"
	"syscall"
)

// Size is what the files in a folder, and below it, have together, in bytes. Holes in them take no room, and do not count.
func Size(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			total += info.Size()
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				const block = 512 // stat(2): st_blocks
				total -= max(0, info.Size()-stat.Blocks*block)
			}
		}
		return err
	})
	return total, err
}
