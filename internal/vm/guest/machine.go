//go:build linux && amd64

package guest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What /init asks of the machine that QEMU emulates is done at I/O ports, by these: no driver is needed,
// and an instruction that has returned has had its effect.
func outb(port uint16, value uint8)
func outl(port uint16, value uint32)

// withPorts calls do on a thread that may use some I/O ports.
func withPorts(first, count int, do func()) error {
	runtime.LockOSThread() // the permission is the thread's
	defer runtime.UnlockOSThread()
	if err := syscall.Ioperm(first, count, 1); err != nil {
		return fmt.Errorf("permission for I/O ports from %#x: %w", first, err)
	}
	do()
	return syscall.Ioperm(first, count, 0)
}

// pause is where the host may stop the machine, to keep its state for guests that are to begin here. A watchdog that
// expires at once (QEMU's hw/watchdog/wdt_ib700.c) asks QEMU for that, if the host wants it (-action watchdog=pause), and
// else does nothing. QEMU then stops the machine before an idle CPU goes on for the second time, so the
// guest idles. It tells when it is past that, by an event of the pvpanic device (docs/specs/pvpanic.rst), so that a state from
// later on is never taken for this one.
func pause() error {
	const (
		watchdog, expired    = 0x443, 0xf // the time-out is 2 s for each below 15
		pvpanic, crashLoaded = 0x505, 2
		idle                 = 10 * time.Millisecond
	)
	err := withPorts(watchdog, 1, func() { outb(watchdog, expired) })
	time.Sleep(idle)
	return errors.Join(err, withPorts(pvpanic, 1, func() { outb(pvpanic, crashLoaded) }))
}

// seedRandom makes all that the kernel draws from now on follow from a seed, and from when its interrupts come, which
// in virtual time is the same each time. The machine has no other source: no RDRAND.
func seedRandom(seed uint64) error {
	pool, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer pool.Close()
	// struct rand_pool_info: the bits to credit, the bytes, and these (include/uapi/linux/random.h).
	const bytes = 32
	var entropy struct {
		bits, size int32
		seed       [bytes]byte
	}
	entropy.bits, entropy.size = 8*bytes, bytes
	binary.LittleEndian.PutUint64(entropy.seed[:], seed)
	for _, request := range []struct {
		name string
		code uint
		data unsafe.Pointer
	}{
		{"RNDADDENTROPY", unix.RNDADDENTROPY, unsafe.Pointer(&entropy)},
		{"RNDRESEEDCRNG", unix.RNDRESEEDCRNG, nil}, // or it would be asked for within a minute
	} {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, pool.Fd(), uintptr(request.code), uintptr(request.data)); errno != 0 {
			return fmt.Errorf("seed the random pool: %s: %w", request.name, errno)
		}
	}
	return nil
}
