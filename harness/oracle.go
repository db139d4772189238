package harness

import (
	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/harness/kernelversion"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/netns"
)

// Oracle knows what TCP should do on a host: by its sysctls as they are now, and the version and
// tick of the running kernel.
func (l *Lab) Oracle(host *netns.Host) oracle.Kernel {
	ginkgo.GinkgoHelper()
	version, err := kernelversion.Running()
	check(err)
	hz, err := oracle.RunningHZ()
	check(err)
	k, err := oracle.Read(host, version, hz)
	check(err)
	return k
}
