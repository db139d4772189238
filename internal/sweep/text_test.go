package sweep

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/impair/queue"
	"github.com/tcplab/tcplab/internal/cell"
)

const file = `# a grid
cc: [cubic, bbr, bbr+2*cubic:after=5s:rtt=20ms]
rate: 10mbit
rtt: [20ms, 100ms]
loss: 0%, 1%
loss-burst: 3
queue: [droptail, fq_codel target 5ms, cake]
buffer: 1bdp
pacing: off,on
sysctls:
  - tcp_ecn: "1"
  - {}
duration: 10s
seeds: 1-6
kernel: [6.1, 6.12]
memory: 1024
`

func TestReadText(t *testing.T) {
	g := NewWithT(t)
	read, err := ReadText(strings.NewReader(file))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect([]any{read.Seeds, read.Kernel, read.Memory}).To(Equal([]any{"1-6", Words{"6.1", "6.12"}, 1024}))
	grid, err := read.Grid("")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(grid.Flows).To(HaveLen(3))
	g.Expect(grid.Flows[2]).To(Equal([]cell.Flow{{Congestion: "bbr"}, {Congestion: "cubic", Count: 2, After: 5 * time.Second, RTT: 20 * time.Millisecond}}))
	g.Expect(grid.Queues).To(Equal([]queue.Discipline{nil, queue.FQCoDel{Target: 5 * time.Millisecond}, queue.Cake{}}))
	g.Expect(grid.Sysctls).To(Equal([]map[string]string{{"net.ipv4.tcp_ecn": "1"}, {}}))
	g.Expect(grid.Duration).To(Equal(10 * time.Second))
	cells, err := grid.Cells()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cells).To(HaveLen(3 * 2 * 2 * 2 * 3 * 2)) // flows, RTTs, sysctls, pacing, queues, losses; the rest is one
	names := map[string]bool{}
	for _, c := range cells {
		names[c.String()] = true
	}
	g.Expect(names).To(HaveLen(len(cells)))
	g.Expect(names).To(HaveKey("bbr, 2 cubic with 20ms more after 5s, 10 Mbit/s, RTT 20ms, loss 1 % in bursts of 3, fq_codel target 5ms, paced by fq, tcp_ecn = 1, 10s"))
}

func TestReadTextRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "there is nothing in it",
		"cc: cubic\nrat: 10mbit\n":  "line 2: field rat is not known",
		"cc: {a: b}\n":              "line 1",
		"cc: cubic\n---\ncc: bbr\n": "more than one document",
		"memory: much\n":            "line 1",
		"a: b: c":                   "mapping values",
	} {
		_, err := ReadText(strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"rate: 1mbit\nrtt: 1ms\n":                                         "cc: is missing",
		"cc: cubic\nrtt: 1ms\n":                                           "rate: is missing",
		"cc: cubic\nrate: fast\nrtt: 1ms\n":                               "rate: ",
		"cc: cubic\nrate: 1mbit\nrtt: 1ms\nqueue: sfq\n":                  "queue: ",
		"cc: cubic\nrate: 1mbit\nrtt: 1ms\npacing: maybe\n":               "pacing: ",
		"cc: cubic\nrate: 1mbit\nrtt: 1ms\njitter: x\n":                   "jitter: ",
		"cc: cubic\nrate: 1mbit\nrtt: 1ms\nloss-burst: x\n":               "loss-burst: ",
		"cc: cubic\nrate: 1mbit\nrtt: 1ms\nbottlenecks: 1.5\n":            "bottlenecks: 1.5: ",
		"cc: cubic\nrate: 1mbit\nrtt: 1ms\nbottlenecks: 0\n":              "bottlenecks: 0: ",
		"cc: \"cubic:at=0\"\nrate: 1mbit\nrtt: 1ms\n":                     "cc: ",
		"cc: cubic\nrate: 1mbit\nrtt: 1ms\nduration: x\n":                 "duration: ",
		"cc: cubic\nrate: 1mbit\nrtt: 1ms\nsysctls: [{tcp_sack: \"\"}]\n": "sysctls tcp_sack: ",
	} {
		read, err := ReadText(strings.NewReader(text))
		if err == nil {
			_, err = read.Grid("")
		}
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func FuzzReadText(f *testing.F) {
	f.Add(file)
	f.Fuzz(func(t *testing.T, text string) {
		if read, err := ReadText(strings.NewReader(text)); err == nil {
			_, _ = read.Grid("")
		}
	})
}

func TestFlowsOfAllKinds(t *testing.T) {
	g := NewWithT(t)
	for _, text := range []string{
		"bbr+16*cubic", "cubic:after=5s", "bbr+cubic:rtt=20ms:after=1s", "cubic+cubic:back", "cubic+cubic:requests=100ms:size=1b", "reno+bbr:bursts=1s:size=100000b:back",
	} {
		flows, err := ParseFlows(text)
		g.Expect(err).NotTo(HaveOccurred())
		again, err := ParseFlows(FlowsText(flows))
		g.Expect(again, err).To(Equal(flows), FlowsText(flows))
	}
	g.Expect(ParseFlows("cubic:requests")).To(Equal([]cell.Flow{{Congestion: "cubic", Traffic: cell.InRequests, Every: 100 * time.Millisecond, Size: 1}}))
	for _, text := range []string{"cubic:", "cubic:after", "cubic:after=x", "cubic:back=1", "cubic:fast", "cubic:size=5kb", "cubic:requests=100ms:back", "cubic:requests=1us", "cubic:bursts:size=5"} {
		_, err := ParseFlows(text)
		g.Expect(err).To(HaveOccurred(), text)
	}
}

// A buffer is netem's packets, a queue of bytes, or the limit of a discipline that has not said its own.
func TestBuffersOfQueues(t *testing.T) {
	g := NewWithT(t)
	of := func(buffers, queues string) (all []string) {
		text := Text{Flows: Words{"cubic"}, Rate: Words{"10mbit"}, RTT: Words{"100ms"}, Buffer: Words{buffers}, Queue: Words{queues}}
		if queues == "" {
			text.Queue = nil
		}
		grid, err := text.Grid("")
		g.Expect(err).NotTo(HaveOccurred())
		cells, err := grid.Cells()
		if err != nil {
			return []string{err.Error()}
		}
		for _, c := range cells {
			if c.Queue == nil {
				all = append(all, bufferText(c))
			} else {
				all = append(all, c.Queue.Discipline.String())
			}
		}
		return all
	}
	g.Expect(of("", "")).To(Equal([]string{"1 BDP"}))
	g.Expect(of("50,2bdp", "")).To(Equal([]string{"50", "165"})) // 10e6/8 * 0.1 / 1514 = 82.6
	g.Expect(of("150kb", "")).To(Equal([]string{"bfifo limit 150000"}))
	g.Expect(of("", "fq_codel,cake")).To(Equal([]string{"fq_codel", "cake"}))
	g.Expect(of("50", "fq_codel,codel limit 9,pfifo")).To(Equal([]string{"fq_codel limit 50", "codel limit 9", "pfifo limit 50"}))
	g.Expect(of("1mb", "red,cake,fq_codel")).To(Equal([]string{"red limit 1000000", "cake memlimit 1000000", "fq_codel memory_limit 1000000"}))
	g.Expect(of("50", "cake")).To(Equal([]string{"buffer of 50 packets: cake counts bytes: write them, such as 250kb"}))
	g.Expect(of("1mb", "pie")).To(Equal([]string{"buffer of 1000000 bytes: pie counts packets"}))
}
