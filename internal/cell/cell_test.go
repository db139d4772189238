package cell

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func good() Cell {
	return Cell{Rate: 20e6, RTT: 100 * time.Millisecond, Loss: 0.01, Duration: time.Minute, Flows: []Flow{
		{Congestion: "bbr"}, {Congestion: "cubic", Count: 16, RTT: 20 * time.Millisecond, After: time.Second},
	}, Sysctls: map[string]string{"net.ipv4.tcp_sack": "0"}}
}

func TestNames(t *testing.T) {
	g := NewWithT(t)
	g.Expect(good().String()).To(Equal("bbr, 16 cubic with 20ms more after 1s, 20 Mbit/s, RTT 100ms, loss 1 %, a buffer of 165 packets, tcp_sack = 0, 1m0s"))
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
		"Cell.Sysctls":              func(c *Cell) { c.Sysctls["vm.swappiness"] = "1" },
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
	all := []Measurement{good(), Trial{Kind: Bursts, RTT: time.Second, Rate: 1e6, Bytes: 9, Idle: time.Minute}}
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
	g.Expect(jain([]float64{5, 5, 5})).To(BeNumerically("~", 1, 1e-9))
	g.Expect(jain([]float64{9, 0, 0})).To(BeNumerically("~", 1./3, 1e-9))
	g.Expect(jain([]float64{0, 0})).To(Equal(1.))
	g.Expect(quantile([]float64{3, 1, 2}, 0.5)).To(Equal(2 * time.Second))
	g.Expect(quantile([]float64{3, 1, 2}, 0.95)).To(Equal(3 * time.Second))
	g.Expect(quantile(nil, 0.5)).To(BeZero())
}
