package vm

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/tcplab/tcplab/internal/scratch"
)

// What the cache may have, in bytes, as in 500MB or 2GiB. What was not used for the longest time goes first.
const (
	RunsLimitVariable    = "TCPLAB_CACHE_RUNS"    // for passed scenarios
	KernelsLimitVariable = "TCPLAB_CACHE_KERNELS" // for kernels
	StatesLimitVariable  = "TCPLAB_CACHE_STATES"  // for states of guests that have booted
	SuitesLimitVariable  = "TCPLAB_CACHE_SUITES"  // for compiled suites

	defaultRunsLimit    = 1_000_000_000
	defaultKernelsLimit = 2_000_000_000
	defaultStatesLimit  = 1_000_000_000
	defaultSuitesLimit  = 1_000_000_000
)

// RunsLimit is what passed scenarios may have of the cache: the environment's, or 1 GB.
func RunsLimit() (int64, error) { return limitOf(RunsLimitVariable, defaultRunsLimit) }

// KernelsLimit is what kernels may have of the cache: the environment's, or 2 GB.
func KernelsLimit() (int64, error) { return limitOf(KernelsLimitVariable, defaultKernelsLimit) }

// StatesLimit is what states of booted guests may have of the cache: the environment's, or 1 GB.
func StatesLimit() (int64, error) { return limitOf(StatesLimitVariable, defaultStatesLimit) }

// SuitesLimit is what compiled suites may have of the cache: the environment's, or 1 GB.
func SuitesLimit() (int64, error) { return limitOf(SuitesLimitVariable, defaultSuitesLimit) }

func limitOf(variable string, otherwise int64) (int64, error) {
	text := os.Getenv(variable)
	if text == "" {
		return otherwise, nil
	}
	limit, err := humanize.ParseBytes(text)
	if err != nil || limit > math.MaxInt64 {
		return 0, fmt.Errorf("%s=%s: is no size, such as 500MB or 2GiB", variable, text)
	}
	return int64(limit), nil
}

// use marks a kernel's folder as used now, and in use until this process ends: [store.prune] leaves it. The error is
// fs.ErrNotExist if it is gone.
func (s store) use(folder string) error {
	dir := s.path(folder)
	now := time.Now()
	_ = os.Chtimes(dir, now, now) // if it cannot be said, it only goes earlier
	held.mutex.Lock()
	defer held.mutex.Unlock()
	path := filepath.Join(dir, manifestFile)
	if file := held.files[dir]; file != nil {
		mine, err := file.Stat()
		there, statErr := os.Stat(path)
		if err == nil && statErr == nil && os.SameFile(mine, there) {
			return nil
		}
		_ = file.Close() // the folder was made anew
		delete(held.files, dir)
	}
	file, err := scratch.Use(path)
	if err == nil {
		held.files[dir] = file
	}
	return err
}

// prune removes kernels until all together have no more than a limit, and none that is in use. Progress is told.
func (s store) prune(limit int64) error {
	var paths []string
	for _, pattern := range []string{"packages-*", "image-*"} {
		found, err := filepath.Glob(s.path(pattern))
		if err != nil {
			return err
		}
		paths = append(paths, found...)
	}
	for _, gone := range scratch.Prune(paths, manifestFile, limit, 0) {
		s.progress(fmt.Sprintf("removed the kernel in %s, not used since %s: at most %s are kept (%s)",
			gone.Path, gone.Used.Format(time.DateOnly), humanize.Bytes(uint64(limit)), KernelsLimitVariable))
	}
	return nil
}
