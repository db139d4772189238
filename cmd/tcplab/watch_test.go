package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/watch"
)

func TestWatch(t *testing.T) {
	g := NewWithT(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	pid := fmt.Sprint(os.Getpid())

	output, err := tcplab("watch", "--json", "-n", "2", "--interval", "100ms", "--pid", pid, "--port", fmt.Sprint(port))
	g.Expect(err).NotTo(HaveOccurred())
	lines := strings.Split(strings.TrimSpace(output), "\n")
	g.Expect(lines).To(HaveLen(2))
	var readings [2]watch.Reading
	for i, line := range lines {
		g.Expect(json.Unmarshal([]byte(line), &readings[i])).To(Succeed())
	}
	g.Expect(readings[0].Since).To(BeZero())
	g.Expect(readings[1].Since).To(BeNumerically(">", 0))
	g.Expect(readings[1].Sockets).To(Equal(1))
	g.Expect(readings[1].Listeners).To(ConsistOf(And(HaveField("Local.Port()", BeEquivalentTo(port)), HaveField("Owner.PID", os.Getpid()))))

	output, err = tcplab("watch", "--lines", "-n", "1", "--port", fmt.Sprint(port), "--state", "listen")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(MatchRegexp(`(?m)^\d\d:\d\d:\d\d sockets  1, 0 sick: LISTEN 1 \(port %d state listen; \d+ others\)$`, port))
	g.Expect(output).To(MatchRegexp(`(?m)listen   127.0.0.1:%d .*/%s$`, port, pid))
}

func TestWatchRefuses(t *testing.T) {
	for says, args := range map[string][]string{
		"--interval 10ms: want 100ms":    {"--interval", "10ms"},
		"--pid -1":                       {"--pid", "-1"},
		"there is no such process":       {"--pid", "999999999"},
		"--count -1":                     {"-n", "-1"},
		"--most 0":                       {"--most", "0"},
		"--state: state \"asleep\"":      {"--state", "asleep"},
		"--sort: order \"size\"":         {"--sort", "size"},
		"filter: port \"http\"":          {"--filter", "port http"},
		"Options.Long":                   {"--long", "-1s"},
		"no-such-file: there is no such": {"--namespace", "no-such-file"},
	} {
		_, err := tcplab(append([]string{"watch"}, args...)...)
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(says)))
	}
}
