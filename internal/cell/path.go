package cell

import (
	"fmt"
	"slices"
	"time"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/queue"
	"github.com/tcplab/tcplab/netns"
)

// path is a pair of hosts for each kind of flow, and a bottleneck between two routers, or a row of them. The delay is on the way back, so that a
// bottleneck's limit is its buffer and nothing else. It returns the ends that are bottlenecks, in the data's order.
func (c Cell) path(lab *harness.Lab) (*harness.Network, []*harness.End) {
	var net *harness.Network
	var bottlenecks []*harness.End
	if c.bottlenecks() > 1 {
		net, bottlenecks = c.row(lab)
	} else {
		net = c.dumbbell(lab)
		bottlenecks = []*harness.End{net.ToServer}
	}
	if c.Pacing {
		for i, f := range c.Flows {
			sender(net, i, f).Ends()[0].SetQueue(queue.Queue{Discipline: queue.FQ{}})
		}
	}
	return net, bottlenecks
}

// dumbbell has one bottleneck. Where flows go back, too, there is such a one on that way, and the delay is behind it.
func (c Cell) dumbbell(lab *harness.Lab) *harness.Network {
	net := lab.Dumbbell(len(c.Flows), settingsOf(c.Sysctls))
	back := slices.ContainsFunc(c.Flows, func(f Flow) bool { return f.Back })
	c.bottleneck(net.ToServer, c.Loss)
	if c.Queue != nil {
		c.lose(net) // netem has no place beside a queue
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
	}
	return net
}

// row is a row of routers whose links are the bottlenecks. Each flow has its delay at its server, so that it is the same however many it passes.
func (c Cell) row(lab *harness.Lab) (*harness.Network, []*harness.End) {
	var graph netns.Graph
	settings := settingsOf(c.Sysctls).Sysctls
	routers := []string{graph.Router("router0", settings...)}
	var names []string
	for i := 1; i <= c.bottlenecks(); i++ {
		routers = append(routers, graph.Router(fmt.Sprintf("router%d", i), settings...))
		names = append(names, graph.Link(routers[i-1], routers[i], netns.LinkConfig{Name: fmt.Sprintf("bottleneck%d", i)}))
	}
	var clients, servers []string
	for i, f := range c.Flows {
		clients = append(clients, graph.Host(fmt.Sprintf("client%d", i+1), settings...))
		servers = append(servers, graph.Host(fmt.Sprintf("server%d", i+1), settings...))
		first, last := 0, len(names)
		if f.At > 0 {
			first, last = f.At-1, f.At
		}
		graph.Link(clients[i], routers[first])
		graph.Link(routers[last], servers[i])
	}
	net := lab.Build(&graph)
	for i := range c.Flows {
		net.Clients, net.Servers = append(net.Clients, net.Host(clients[i])), append(net.Servers, net.Host(servers[i]))
		if rtt := c.RTT + c.Flows[i].RTT; rtt > 0 {
			net.Servers[i].Ends()[0].Impair(c.delay(rtt))
		}
	}
	c.lose(net)
	var bottlenecks []*harness.End
	for _, name := range names {
		end := net.Link(name).A
		c.bottleneck(end, 0)
		bottlenecks = append(bottlenecks, end)
	}
	return net, bottlenecks
}

// lose has packets lost on the links to the servers: what is lost has passed the bottlenecks.
func (c Cell) lose(net *harness.Network) {
	if c.Loss == 0 {
		return
	}
	for _, server := range net.Servers {
		toward(net, server).Impair(impair.Netem{Loss: c.loss(), Limit: roomBack})
	}
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
