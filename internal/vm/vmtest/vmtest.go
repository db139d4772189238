// Package vmtest is for tests that boot guests.
package vmtest

import (
	"testing"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/internal/vm"
)

// NeedGuests skips the test unless it may boot guests, and can: there is an emulator, and a kernel that need not be downloaded.
func NeedGuests(t testing.TB) {
	t.Helper()
	testenv.BootsGuests(t)
	_, err := vm.FindQEMU()
	testenv.Need(t, err)
	cache, err := vm.CacheDir()
	testenv.Need(t, err)
	_, err = vm.CachedKernel(cache)
	testenv.Need(t, err)
}
