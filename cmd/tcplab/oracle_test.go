package main

import (
	"encoding/json"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestOracle(t *testing.T) {
	g := NewWithT(t)
	output, err := tcplab("oracle", "--kernel", "6.12", "--rtt", "20ms", "--sysctl", "net.ipv4.tcp_syn_retries=2")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(HavePrefix("Linux 6.12, HZ 250, round trip 20ms\n"))
	g.Expect(output).To(MatchRegexp(`SYN retransmissions at +1 2 3 4 5 s +tcp_write_timeout`))

	output, err = tcplab("oracle", "--kernel", "6.1", "--json")
	g.Expect(err).NotTo(HaveOccurred())
	var read prophecy
	g.Expect(json.Unmarshal([]byte(output), &read)).To(Succeed())
	g.Expect(read.Sysctls.SYNRetries).To(Equal(6))
	g.Expect(read.Predictions[0].Times[5].Earliest).To(Equal(63 * time.Second))

	output, err = tcplab("oracle") // this machine's
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(ContainSubstring("TIME_WAIT lasts"))
}

func TestOracleRefuses(t *testing.T) {
	for _, c := range []struct {
		says string
		args []string
	}{
		{"begin with major.minor", []string{"--kernel", "six"}},
		{"want KEY=VALUE", []string{"--sysctl", "net.ipv4.tcp_sack"}},
		{"unknown sysctl", []string{"--sysctl", "net.ipv4.no_such=1"}},
		{"Linux 6.5 brought it", []string{"--kernel", "6.1", "--sysctl", "net.ipv4.tcp_syn_linear_timeouts=1"}},
		{"allowed are 100 to 1000", []string{"--hz", "7"}},
		{"allowed are 0 and more", []string{"--rtt", "-1s"}},
	} {
		_, err := tcplab(append([]string{"oracle"}, c.args...)...)
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(c.says)), "%v", c.args)
	}
}
