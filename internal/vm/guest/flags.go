//go:build linux && amd64

package guest

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setNegative stores whether x is negative, by one TEST and one SETL: what compilers make of
// *p = x < 0.
func setNegative(p *bool, x int64)

// lostFlags counts how often the emulator forgot the processor's flags when the store of a SETL
// met a page fault, and says of how many. QEMU 7.2 does: it has computed the flags when the
// store faults, and restores what they were computed from wrongly (gen_compute_eflags in
// target/i386/tcg/translate.c).
func lostFlags() (lost, of int, err error) {
	const pages = 64
	size := unix.Getpagesize()
	memory, err := unix.Mmap(-1, 0, pages*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return 0, 0, fmt.Errorf("look for lost flags: %w", err)
	}
	for i := range pages {
		fresh := (*bool)(unsafe.Pointer(&memory[i*size])) // its page is not there yet
		setNegative(fresh, -1)
		if !*fresh {
			lost++
		}
	}
	return lost, pages, unix.Munmap(memory)
}
