package cell

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/queue"
	"github.com/tcplab/tcplab/netns/netdev"
)

func good() Cell {
	return Cell{Rate: 20e6, RTT: 100 * time.Millisecond, Loss: 0.01, Duration: time.Minute, Flows: []Flow{
		{Congestion: "bbr"}, {Congestion: "cubic", Count: 16, RTT: 20 * time.Millisecond, After: time.Second},
	}, Sysctls: map[string]string{"net.ipv4.tcp_sack": "0"}}
}

func TestNames(t *testing.T) {
	g := NewWithT(t)
	g.Expect(good().String()).To(Equal("bbr, 16 cubic with 20ms more after 1s, 20 Mbit/s, RTT 100ms, loss 1 %, a buffer of 165 packets, tcp_sack = 0, 1m0s"))
	c := good()
	c.Flows = []Flow{
		{Congestion: "cubic", Back: true}, {Congestion: "reno", Traffic: InRequests, Size: 9, Every: time.Second}, {Congestion: "bbr", Traffic: InBursts, Size: 8, Every: time.Minute},
	}
	c.LossBurst, c.Jitter, c.Pacing, c.Queue = 4, time.Millisecond, true, &queue.Queue{Discipline: queue.PIE{ECN: queue.On}}
	g.Expect(c.String()).To(Equal("cubic on the way back, reno in requests of 9 bytes each 1s, bbr in bursts of 8 bytes with 1m0s between them, 20 Mbit/s, RTT 100ms, " +
		"jitter 1ms, loss 1 % in bursts of 4, pie ecn, paced by fq, tcp_sack = 0, 1m0s"))
	g.Expect(c.Validate()).To(Succeed())
	c = good()
	c.Bottlenecks, c.Flows[1].At = 3, 2
	g.Expect(c.String()).To(Equal("bbr, 16 cubic at bottleneck 2 with 20ms more after 1s, 20 Mbit/s, RTT 100ms, 3 bottlenecks in a row, loss 1 %, a buffer of 165 packets, tcp_sack = 0, 1m0s"))
	g.Expect(c.Validate()).To(Succeed())
	g.Expect(Trial{Kind: Crowd, RTT: time.Millisecond, Count: 3, Sysctls: map[string]string{"net.core.somaxconn": "1"}}.String()).To(
		Equal("clients connect at once, RTT 1ms, 3 of them, net.core.somaxconn = 1"))
}

func TestBuffer(t *testing.T) {
	g := NewWithT(t)
	c := good()
	g.Expect(c.BDP()).To(BeNumerically("~", 165.1, 0.1)) // 20e6/8 * 0.1 s / 1514
	c.RTT = time.Millisecond
	g.Expect(c.buffer()).To(Equal(leastBuffer))
	c.Buffer = 3
	g.Expect(c.buffer()).To(Equal(3))
}

func TestRefused(t *testing.T) {
	g := NewWithT(t)
	g.Expect(good().Validate()).To(Succeed())
	for what, spoil := range map[string]func(*Cell){
		"Cell.Rate: 0":              func(c *Cell) { c.Rate = 0 },
		"Cell.RTT":                  func(c *Cell) { c.RTT = -1 },
		"Cell.Loss":                 func(c *Cell) { c.Loss = 1 },
		"Cell.Buffer":               func(c *Cell) { c.Buffer = -1 },
		"Cell.Duration":             func(c *Cell) { c.Duration = 0 },
		"Cell.Flows: 0":             func(c *Cell) { c.Flows = nil },
		"Cell.Flows: 101":           func(c *Cell) { c.Flows[0].Count = 85 },
		"Flow.Congestion":           func(c *Cell) { c.Flows[0].Congestion = "b r" },
		"Cell.Flows[1].After: 1m0s": func(c *Cell) { c.Flows[1].After = time.Minute },
		"Flow.Traffic":              func(c *Cell) { c.Flows[0].Traffic = "x" },
		"Flow.Size: 0":              func(c *Cell) { c.Flows[0].Traffic, c.Flows[0].Every = InRequests, time.Second },
		"Flow.Size: 5":              func(c *Cell) { c.Flows[0].Size = 5 },
		"Flow.Every":                func(c *Cell) { c.Flows[0].Traffic, c.Flows[0].Size = InBursts, 1 },
		"Flow.Back": func(c *Cell) {
			c.Flows[0] = Flow{Congestion: "cubic", Traffic: InRequests, Size: 1, Every: time.Second, Back: true}
		},
		"Cell.Bottlenecks: 17":     func(c *Cell) { c.Bottlenecks = 17 },
		"Cell.Flows[1].At: 2":      func(c *Cell) { c.Flows[1].At = 2 },
		"Cell.Flows[0].Back: true": func(c *Cell) { c.Bottlenecks, c.Flows[0].Back = 2, true },
		"Cell.LossBurst":           func(c *Cell) { c.LossBurst = 0.5 },
		"Cell.Jitter":              func(c *Cell) { c.Jitter = c.RTT + 1 },
		"CoDel.Limit":              func(c *Cell) { c.Queue = &queue.Queue{Discipline: queue.CoDel{Limit: -1}} },
		"Discipline":               func(c *Cell) { c.Queue = &queue.Queue{} },
		"Cell.Sysctls":             func(c *Cell) { c.Sysctls["vm.swappiness"] = "1" },
	} {
		c := good()
		c.Sysctls = map[string]string{}
		spoil(&c)
		g.Expect(c.Validate()).To(MatchError(ContainSubstring(what)))
		_, err := Suite([]Cell{c})
		g.Expect(err).To(HaveOccurred(), what)
	}
	g.Expect(Trial{Kind: "x"}.Validate()).To(MatchError(ContainSubstring("Trial.Kind: x")))
	g.Expect(Trial{Kind: Ports, Count: 5001}.Validate()).To(MatchError(ContainSubstring("Trial.Count")))
}

// What goes into a guest is what comes out of its environment.
func TestCarried(t *testing.T) {
	g := NewWithT(t)
	queued := good()
	queued.Queue = &queue.Queue{Discipline: queue.FQCoDel{Target: time.Millisecond}}
	all := []Measurement{good(), queued, Trial{Kind: Bursts, RTT: time.Second, Rate: 1e6, Bytes: 9, Idle: time.Minute}}
	suite, err := Suite(all)
	g.Expect(err).NotTo(HaveOccurred())
	seen := map[string]bool{}
	for i, spec := range suite.Specs {
		g.Expect(spec.Text).To(Equal(all[i].String()))
		g.Expect(spec.Env).To(HaveLen(1))
		key, text, _ := strings.Cut(spec.Env[0], "=")
		g.Expect(key).To(HavePrefix(variable))
		g.Expect(seen[key]).To(BeFalse(), "two have one variable")
		seen[key] = true
		var c carrier
		g.Expect(json.Unmarshal([]byte(text), &c)).To(Succeed())
		g.Expect(c.carried()).To(Equal(all[i]))
	}
	g.Expect(carrier{}.carried()).To(BeNil())
}

func TestFigures(t *testing.T) {
	g := NewWithT(t)
	g.Expect(quantile([]float64{3, 1, 2}, 0.5)).To(Equal(2 * time.Second))
	g.Expect(quantile([]float64{3, 1, 2}, 0.95)).To(Equal(3 * time.Second))
	g.Expect(quantile(nil, 0.5)).To(BeZero())
}

// A bottleneck of 1 Mbit/s that sends nothing for a second, half for one, and then all.
func TestFillTime(t *testing.T) {
	g := NewWithT(t)
	var samples []kernel.QdiscSample
	bytes := 0.
	for at := time.Duration(0); at <= 4*time.Second; at += 50 * time.Millisecond {
		samples = append(samples, kernel.QdiscSample{At: time.Minute + at, Stats: netdev.Stats{Bytes: uint64(bytes)}})
		switch {
		case at >= 2*time.Second:
			bytes += 125_000 * 0.05
		case at >= time.Second:
			bytes += 62_500 * 0.05
		}
	}
	took, full := fillTime(samples, 1e6, 200*time.Millisecond)
	g.Expect(full).To(BeTrue())
	// A window that is full for 95 % of its 200 ms has 180 ms of the time after 2 s, or 200 by the samples' 50 ms.
	g.Expect(took).To(Equal(2200 * time.Millisecond))
	_, full = fillTime(samples[:40], 1e6, 200*time.Millisecond)
	g.Expect(full).To(BeFalse())
	_, full = fillTime(nil, 1e6, time.Second)
	g.Expect(full).To(BeFalse())
}

func TestLossInBursts(t *testing.T) {
	g := NewWithT(t)
	c := good()
	g.Expect(c.loss()).To(Equal(impair.RandomLoss{Percent: 1}))
	c.LossBurst = 4
	// In the long run p/(p+r) is lost, in bursts of 1/r.
	model := c.loss().(impair.GilbertElliott)
	g.Expect(float64(model.R)).To(BeNumerically("~", 25, 1e-9))
	g.Expect(float64(model.P / (model.P + model.R))).To(BeNumerically("~", 0.01, 1e-9))
}
