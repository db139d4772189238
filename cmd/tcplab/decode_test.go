package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/header"
)

func TestDecode(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "one.pcap")
	file, err := os.Create(path)
	g.Expect(err).NotTo(HaveOccurred())
	writer := pcapgo.NewWriter(file)
	g.Expect(writer.WriteFileHeader(65536, layers.LinkTypeRaw)).To(Succeed())
	packet := []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7}
	g.Expect(writer.WritePacket(gopacket.CaptureInfo{CaptureLength: 20, Length: 20}, packet)).To(Succeed())
	g.Expect(file.Close()).To(Succeed())

	output, err := tcplab("decode", path, "--frame", "1")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(And(HavePrefix("Frame 1, 0s after the first one ("), ContainSubstring("\nIPv4: bytes 0 to 19 (RFC 791)\n"),
		ContainSubstring("|Version|  IHL  |   DSCP    |ECN|         Total Length          |\n")))
	output, err = tcplab("decode", path, "--frame", "1", "--json")
	g.Expect(err).NotTo(HaveOccurred())
	var read struct{ Headers []header.Header }
	g.Expect(json.Unmarshal([]byte(output), &read)).To(Succeed())
	g.Expect(read.Headers[0].Name).To(Equal("IPv4"))

	for says, args := range map[string][]string{
		"--frame 2: there are 1":               {path, "--frame", "2"},
		"--frame 0: frames are counted from 1": {path, "--frame", "0"},
		`required flag(s) "frame" not set`:     {path},
		"no such file":                         {"/no/such/file", "--frame", "1"},
		"not a pcapng or pcap file":            {os.Args[0], "--frame", "1"},
	} {
		_, err := tcplab(append([]string{"decode"}, args...)...)
		g.Expect(err).To(MatchError(ContainSubstring(says)))
	}
}
