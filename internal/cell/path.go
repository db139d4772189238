package cell

import (
	"slices"
	"time"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/queue"
)

// path is a pair of hosts for each kind of flow, and a bottleneck between two routers. The delay is on the way back, so that the bottleneck's
// limit is its buffer and nothing else. Where flows go back, too, there is such a bottleneck on that way, and the delay is behind it.
func (c Cell) path(lab *harness.Lab) *harness.Network {
	net := lab.Dumbbell(len(c.Flows), settingsOf(c.Sysctls))
	back := slices.ContainsFunc(c.Flows, func(f Flow) bool { return f.Back })
	c.bottleneck(net.ToServer, c.Loss)
	if c.Loss > 0 && c.Queue != nil {
		// Netem has no place beside a queue: what is lost has passed the bottleneck.
		for _, server := range net.Servers {
			toward(net, server).Impair(impair.Netem{Loss: c.loss(), Limit: roomBack})
		}
	}
	if back {
		c.bottleneck(net.ToClient, 0)
	} else if c.RTT > 0 {
		net.ToClient.Impair(c.delay(c.RTT))
	}
	for i, f := range c.Flows {
		switch {
		case back && c.RTT+f.RTT > 0:
			toward(net, net.Clients[i]).Impair(c.delay(c.RTT + f.RTT))
		case !back && f.RTT > 0:
			net.Servers[i].Ends()[0].Impair(impair.Netem{Delay: f.RTT, Limit: roomBack})
		}
		if c.Pacing {
			sender(net, i, f).Ends()[0].SetQueue(queue.Queue{Discipline: queue.FQ{}})
		}
	}
	return net
}

// bottleneck makes a link's end one.
func (c Cell) bottleneck(end *harness.End, loss float64) {
	if c.Queue == nil {
		netem := impair.Netem{Rate: impair.Rate{BitsPerSecond: c.Rate}, Limit: c.buffer()}
		if loss > 0 {
			netem.Loss = c.loss()
		}
		end.Impair(netem)
		return
	}
	end.SetQueue(at(c.Rate, c.Queue.Discipline))
}

func (c Cell) loss() impair.Loss {
	if c.LossBurst > 1 {
		// A burst ends with each of its packets by 1/LossBurst, and as many begin as there are to be lost in the long run.
		recovers := 1 / c.LossBurst
		return impair.SimpleGilbert(impair.Percent(100*c.Loss*recovers/(1-c.Loss)), impair.Percent(100*recovers))
	}
	return impair.RandomLoss{Percent: impair.Percent(100 * c.Loss)}
}

// fast is a rate that keeps netem from changing the order of packets, and is none otherwise.
const fast = 10 * impair.Gbit

// delay is that of the way back.
func (c Cell) delay(d time.Duration) impair.Netem {
	netem := impair.Netem{Delay: d, Limit: roomBack}
	if c.Jitter > 0 {
		netem.Jitter, netem.Rate = c.Jitter, impair.Rate{BitsPerSecond: fast}
	}
	return netem
}

// toward is the router's end of the link to a host.
func toward(net *harness.Network, host *harness.Host) *harness.End {
	own := host.Ends()[0]
	for _, link := range net.Links {
		switch own {
		case link.A:
			return link.B
		case link.B:
			return link.A
		}
	}
	panic("cell: a host without a link")
}

// sender is the host that a flow's data comes from.
func sender(net *harness.Network, i int, f Flow) *harness.Host {
	if f.Back {
		return net.Servers[i]
	}
	return net.Clients[i]
}

// at is a queue at a rate.
func at(rate int64, d queue.Discipline) queue.Queue {
	if cake, ok := d.(queue.Cake); ok {
		cake.BitsPerSecond = rate
		return queue.Queue{Discipline: cake}
	}
	return queue.Queue{Bottleneck: queue.Bottleneck{BitsPerSecond: rate}, Discipline: d}
}
