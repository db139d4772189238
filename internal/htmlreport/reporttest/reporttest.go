// Package reporttest makes reports for tests of package htmlreport: some that scenarios have left, and one that was made to do harm.
package reporttest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/tcplab/tcplab/results"
)

// Report has the records in these folders of a folder.
func Report(t testing.TB, folder string, names ...string) results.Report {
	t.Helper()
	var report results.Report
	for _, name := range names {
		record, err := results.Read(filepath.Join(folder, name, results.FileName))
		if err != nil {
			t.Fatal(err)
		}
		report.Records = append(report.Records, record)
	}
	return report
}

// Attack is text that would run a script, or end what it stands in, wherever it is put without being escaped.
const Attack = `"'></script><script>parent.hacked=1</script><img src=x onerror=hacked=1><svg onload=hacked=1>{{.}}]]>--><!--` + "\u2028`${hacked=1}`\\"

// Hostile is a report of one scenario with an attack wherever a record has text, and in its capture and its rules.
func Hostile(t testing.TB) results.Report {
	t.Helper()
	dir := t.TempDir()
	bound := 1.0
	quoted, err := json.Marshal(Attack)
	if err != nil {
		t.Fatal(err)
	}
	attack := string(quoted)
	record := &results.Record{
		Suite: "suite " + Attack, Scenario: "scenario " + Attack, Labels: []string{Attack}, Verdict: results.Failed, Clock: results.ClockReal,
		Failure: &results.Failure{Message: Attack, Location: Attack}, Kernel: results.Uname{Release: Attack},
		Topology: &results.Topology{
			Kind:  Attack,
			Hosts: []results.Host{{Name: "a" + Attack, Addresses: []string{Attack}, Sysctls: map[string]string{Attack: Attack}}, {Name: "b", Addresses: []string{"192.0.2.2/24"}}},
			Links: []results.Link{{Ends: [2]string{"a" + Attack + "/x", "b/y"}}},
		},
		Impairments: []results.Impairment{{End: Attack, Direction: Attack, Asked: json.RawMessage(`{"name": ` + attack + `}`), Notes: []string{Attack}}},
		Peers:       []results.Peer{{Name: Attack, Host: Attack, Program: Attack, Result: json.RawMessage(attack), Error: Attack}},
		Counters:    []results.CounterDiff{{Host: Attack, Diff: map[string]int64{Attack: 1}}},
		Queues:      []results.Queue{{End: Attack, Kind: Attack}},
		Captures:    []results.Capture{{File: "capture.pcapng", Interfaces: []results.CaptureInterface{{End: Attack}}}},
		Metrics:     []results.Metric{{Name: Attack, Unit: Attack, Value: 2, Bounds: &results.Bounds{Lower: &bound, Source: Attack}}},
		Artefacts:   []results.Artefact{{Path: "capture.pcapng", SHA256: strings.Repeat("0", 64)}},
	}
	if err := record.Write(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "capture.pcapng"), Capture(t), 0o644); err != nil {
		t.Fatal(err)
	}
	hits := `[{"end": ` + attack + `, "hits": [{"at_ns": 1, "rule": ` + attack + `, "action": ` + attack + `, "done": true, "length": 54, "packet": "zz"}]}]`
	if err := os.WriteFile(filepath.Join(dir, "rules.json"), []byte(hits), 0o644); err != nil {
		t.Fatal(err)
	}
	read, err := results.Read(filepath.Join(dir, results.FileName))
	if err != nil {
		t.Fatal(err)
	}
	return results.Report{Records: []*results.Record{read}}
}

// Capture is a capture that has the attack wherever a capture has text, and in its payload.
func Capture(t testing.TB) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := pcapgo.NewNgWriterInterface(&file, pcapgo.NgInterface{Name: Attack, Comment: Attack, Description: Attack, LinkType: layers.LinkTypeEthernet, TimestampResolution: 9},
		pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Comment: Attack, Application: Attack}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: []byte{192, 0, 2, 1}, DstIP: []byte{192, 0, 2, 2}}
		tcp := &layers.TCP{SrcPort: 1, DstPort: 2, SYN: i == 0, ACK: i > 0, Seq: uint32(i), Options: []layers.TCPOption{{OptionType: 253, OptionLength: 10, OptionData: []byte("<script>")}}}
		packet := gopacket.NewSerializeBuffer()
		if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		if err := gopacket.SerializeLayers(packet, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
			&layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}, ip, tcp, gopacket.Payload(Attack)); err != nil {
			t.Fatal(err)
		}
		data := packet.Bytes()
		info := gopacket.CaptureInfo{Timestamp: time.Unix(1, int64(i)), CaptureLength: len(data), Length: len(data)}
		if err := w.WritePacketWithOptions(info, data, pcapgo.NgPacketOptions{Comments: []string{Attack}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}
