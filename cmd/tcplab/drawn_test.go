package main

import (
	"encoding/csv"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/analysis"
)

const tailLoss = "../../internal/picture/testdata/tailloss/capture.pcapng"

// What is listed over time is what the report counts of the same capture: bytes, round trips, the window at the end.
func TestSeries(t *testing.T) {
	g := NewWithT(t)
	output, err := tcplab("analyze", "--series", "csv", "--stream", "0", tailLoss)
	g.Expect(err).NotTo(HaveOccurred())
	rows, err := csv.NewReader(strings.NewReader(output)).ReadAll()
	g.Expect(err).NotTo(HaveOccurred())
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	reader, err := analysis.Open(tailLoss)
	g.Expect(err).NotTo(HaveOccurred())
	defer reader.Close()
	conversation := analysis.Analyze(reader).Conversations[0]
	var middles []float64
	sent, acked, trips := 0.0, 0.0, 0
	value := func(row []string, name string) (float64, bool) {
		v, err := strconv.ParseFloat(row[column[name]], 64)
		return v, err == nil
	}
	last := math.Inf(-1)
	highest := 0.0
	for _, row := range rows[1:] {
		g.Expect(row[column["from"]]).To(Equal(conversation.Client.Addr.String()), "the server sent no data")
		at, _ := value(row, "at_ns")
		g.Expect(at).To(BeNumerically(">=", last))
		last = at
		if v, ok := value(row, "throughput_bps"); ok {
			sent += v
			middles = append(middles, at)
		}
		if v, ok := value(row, "goodput_bps"); ok {
			acked += v
		}
		if v, ok := value(row, "in_flight_bytes"); ok {
			highest = max(highest, v)
		}
		if _, ok := value(row, "rtt_ns"); ok {
			trips++
		}
	}
	step := (middles[1] - middles[0]) / 1e9
	client := conversation.Client
	g.Expect(trips).To(BeNumerically(">", 5))
	g.Expect(highest).To(BeNumerically("==", client.MaxInFlight))
	g.Expect(sent * step / 8).To(BeNumerically("~", float64(client.Bytes), float64(len(middles))))
	g.Expect(acked * step / 8).To(BeNumerically("~", float64(client.Bytes-client.BytesAgain), float64(len(middles)+2))) // with SYN or FIN

	output, err = tcplab("analyze", "--series", "json", "--stream", "0", tailLoss)
	g.Expect(err).NotTo(HaveOccurred())
	var list []map[string]any
	g.Expect(json.Unmarshal([]byte(output), &list)).To(Succeed())
	g.Expect(list).To(HaveLen(len(rows) - 1))
	for name := range list[0] {
		g.Expect(column).To(HaveKey(name))
	}
	output, err = tcplab("analyze", "--series", "json", "--port", "9", tailLoss)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(json.Unmarshal([]byte(output), &list)).To(Succeed())
	g.Expect(list).To(BeEmpty())
}

func TestAnalyzeDraws(t *testing.T) {
	g := NewWithT(t)
	output, err := tcplab("analyze", "--ladder", "--plot", tailLoss)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(And(HavePrefix("capture.pcapng, stream 0: 10.0.1.1:"), ContainSubstring("RTT (client/eth0): 20."),
		ContainSubstring("#28 ACK 15929:17377 (1448) ack 1 win 64256  [retransmitted: tail loss probe]")))
	for flag, want := range map[string]string{"--series=xml": "--series xml: there are csv and json", "--around=4": "--around 4: it is a frame of a --ladder"} {
		_, err = tcplab("analyze", flag, tailLoss)
		g.Expect(err).To(MatchError(ContainSubstring(want)))
	}
	_, err = tcplab("analyze", "--ladder", "--stream", "7", tailLoss)
	g.Expect(err).To(MatchError("capture.pcapng has no stream 7: it has 1, numbered from 0"))
	_, err = tcplab("analyze", "--ladder", "--json", tailLoss)
	g.Expect(err).To(MatchError(ContainSubstring("none of the others can be")))
	_, err = tcplab("analyze", "--plot", "/nowhere.pcapng")
	g.Expect(err).To(MatchError(ContainSubstring("/nowhere.pcapng")))
}
