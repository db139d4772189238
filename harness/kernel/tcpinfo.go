package kernel

import "github.com/tcplab/tcplab/peers"

// TCPInfo is the kernel's struct tcp_info, in the form in which peers report it too.
//
// Of a listener, unacked is the length of the accept queue and sacked its limit.
type TCPInfo = peers.TCPInfo
