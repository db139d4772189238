package oracle

// ReceiveBufferMost is how many bytes a receive buffer grows to by itself on a machine with `memory` bytes: what
// tcp_rmem[2] is set to at boot. It is a 128th of the memory that was free for buffers then, 6 MB at most, and 32 MB since
// Linux 6.16; 128 KB at least (net/ipv4/tcp.c: tcp_init).
func (k Kernel) ReceiveBufferMost(memory int64) int {
	const (
		share      = 128
		least      = 131072
		mostBefore = 6 << 20
		mostSince  = 32 << 20
	)
	most := mostBefore
	if k.Version.AtLeast(6, 16) {
		most = mostSince
	}
	return max(least, min(most, int(memory/share)))
}
