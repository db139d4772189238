//go:build !(linux && amd64)

package guest

// Main returns: guests execute [Arch] only, so that a program for another machine is never their /init. Package vm
// refuses to pack one.
func Main() {}
