// Package vm runs a program in a guest kernel, in virtual time.
//
// A stock distribution kernel boots in QEMU under instruction counting: the guest's clock
// advances with the instructions that it executes and skips what it idles, so that the same
// seed gives the same bytes however busy the host is, and a minute of waiting costs nothing.
// The guest's root user can do what the host's kernel or the host's administrator does not
// allow: network namespaces, netem, tracing.
//
//	func main() {
//		guest.Main() // this very program is also the guest's /init
//		kernel, err := vm.FindKernel(ctx, vm.KernelOptions{})
//		base, err := vm.NewBase(vm.Config{Kernel: kernel})
//		defer base.Close()
//		image, err := base.Image(vm.Contents{Program: "handshake.test"})
//		defer image.Close()
//		result, err := image.Run(ctx, vm.Job{Args: []string{"-test.v"}, Seed: 42, Output: os.Stdout})
//	}
//
// A [Base] has what all guests share: kernel, /init, modules. An [Image] adds a program and its files, which are handed over
// to a guest that has booted, and can run many guests, also side by side; they have no disk and no network. The first guest's
// machine is kept as it was when it had booted, in the cache if there is one, and the others begin there, whatever their
// program is. What the program prints
// is streamed as it runs; the files that it leaves in the directory named by
// TCPLAB_ARTEFACTS are brought out at the end, and so is its exit status.
//
// A guest that does not end in time says what it was doing, in [Result.Processes] and by its program's goroutines. What
// it prints and leaves has bounds, and files that the host refuses are named in [Result.Lost]. A guest has users,
// groups, and what else servers look up, and [Contents.Include] comes before all of it.
//
// It needs qemu-system-x86_64 and, for [FindKernel] without a path, apt-get and dpkg-deb to
// download and unpack Debian's kernel once, into the user's cache. It needs neither root nor
// /dev/kvm. Nothing on the host is changed but that cache, and a guest never outlives
// the process that started it.
//
// # Virtual time
//
// Five things determine a guest's bytes, and [Inputs] has their hashes: the version of
// QEMU, the kernel, the initramfs (and, in the same hash, what is handed over: the program, files, arguments and environment), the command line,
// and the seed. Whether a guest boots or begins where another one has booted is not among them.
package vm
