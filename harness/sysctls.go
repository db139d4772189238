package harness

import "github.com/tcplab/tcplab/netns"

// Sysctls is a topology whose hosts all have these settings:
//
//	net := lab.Path(rtt, harness.Sysctls(netns.IPv4("tcp_sack", 0)))
func Sysctls(settings ...netns.Setting) netns.Config { return netns.Config{Sysctls: settings} }

// ClientSysctls is a topology whose clients have these settings.
func ClientSysctls(settings ...netns.Setting) netns.Config {
	return netns.Config{ClientSysctls: settings}
}

// ServerSysctls is a topology whose servers have these settings.
func ServerSysctls(settings ...netns.Setting) netns.Config {
	return netns.Config{ServerSysctls: settings}
}
