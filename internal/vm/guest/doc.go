// Package guest is the first process of a tcplab guest: what the kernel starts as /init.
//
// It mounts the pseudo file systems, loads the kernel modules it was given, runs one
// program (usually a compiled test suite), sends what that program left in its artefact
// directory to the host, then the program's status, and powers off.
//
// Where the host asks for it, by Ctrl-Alt-Del, it ends the program before its time, and tells what was running.
//
// A guest needs no init program of its own: the program that starts the guest is packed into
// it as /init, and calls [Main] before anything else:
//
//	func main() {
//		guest.Main() // returns at once unless this process is a guest's /init
//		...
//	}
//
// Guests are linux/amd64 whatever the host is. Where Go builds for another machine, Main is there
// and does nothing, and /init has to be built apart (GOARCH=amd64).
//
// The host's side is package vm.
package guest
