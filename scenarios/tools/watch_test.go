package tools

import (
	"io"
	"net"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/internal/watch"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// watching looks each time that it is continued, until it is stopped.
var watching = peers.Func("watch", func(t *peers.Task, o watch.Options) (readings []*watch.Reading, err error) {
	w, err := watch.New(nil, o)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	if err := t.Ready(nil); err != nil {
		return nil, err
	}
	for t.Await() == nil { // its error is that it was stopped
		reading, err := w.Read(watch.Query{Listed: 20})
		if err != nil {
			return readings, err
		}
		readings = append(readings, reading)
	}
	return readings, nil
})

// look has watches look, and returns when they have.
func look(watches ...*harness.Peer) {
	GinkgoHelper()
	for _, w := range watches {
		w.Continue()
		w.Waiting()
	}
}

// readingsOf ends a watch.
func readingsOf(watch *harness.Peer) []*watch.Reading {
	GinkgoHelper()
	readings, err := watching.Value(watch.Stop())
	Expect(err).NotTo(HaveOccurred())
	return readings
}

// byState are the counts of a reading that are not 0.
func byState(r *watch.Reading) map[kernel.State]int {
	counts := map[kernel.State]int{}
	for _, s := range r.States {
		if s.Count > 0 {
			counts[s.State] = s.Count
		}
	}
	return counts
}

// kindsOf is what is wrong with a connection.
func kindsOf(c watch.Connection) (kinds []watch.TroubleKind) {
	for _, t := range c.Troubles {
		kinds = append(kinds, t.Kind)
	}
	return kinds
}

// readingServer serves all who come, and closes when they have.
var readingServer = peers.Func("reading-server", func(t *peers.Task, address string) (none struct{}, err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return none, err
	}
	if err := t.Ready(listener.Addr()); err != nil {
		return none, err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return none, err
		}
		go func() {
			defer conn.Close()
			_, _ = io.Copy(io.Discard, conn)
		}()
	}
})

// A visit is some connections that are there until the peer is continued.
type visit struct {
	Address string
	Count   int
}

var visiting = peers.Func("visit", func(t *peers.Task, v visit) (none struct{}, err error) {
	for range v.Count {
		conn, err := net.Dial("tcp", v.Address)
		if err != nil {
			return none, err
		}
		defer conn.Close()
	}
	if err := t.Ready(nil); err != nil {
		return none, err
	}
	return none, t.Await()
})

var _ = Describe("watch:", func() {
	It("counts sockets by state, and names their owners, while ten clients come and go", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		server, client := path.Server(), path.Client()
		serving := lab.Start(server, readingServer.With(server.Addr(port).String()), harness.MayFail) // it serves until it is killed
		there, here := lab.Start(server, watching.With(watch.Options{})), lab.Start(client, watching.With(watch.Options{}))
		come := func(count int) *harness.Peer {
			return lab.Start(client, visiting.With(visit{server.Addr(port).String(), count}))
		}
		var currentlyEstablished []int64
		settle := func() {
			time.Sleep(2*rtt + harness.Settle)
			look(there, here)
			currentlyEstablished = append(currentlyEstablished, client.Counters()["TcpCurrEstab"], server.Counters()["TcpCurrEstab"])
		}
		six, four := come(6), come(4)
		settle()
		six.Continue()
		six.Wait()
		settle()
		three := come(3)
		settle()
		for _, p := range []*harness.Peer{four, three} {
			p.Continue()
			p.Wait()
		}
		settle()
		time.Sleep(client.Oracle().TimeWait().Latest)
		settle()

		const l, e, w = kernel.Listen, kernel.Established, kernel.TimeWait
		serverSide := []map[kernel.State]int{{l: 1, e: 10}, {l: 1, e: 4}, {l: 1, e: 7}, {l: 1}, {l: 1}}
		clientSide := []map[kernel.State]int{{e: 10}, {e: 4, w: 6}, {e: 7, w: 6}, {w: 13}, {}}
		thereRead, hereRead := readingsOf(there), readingsOf(here)
		Expect(thereRead).To(HaveLen(len(serverSide)))
		wrong := 0
		for i := range serverSide {
			Expect(byState(thereRead[i])).To(Equal(serverSide[i]), "the server's host, look %d", i)
			Expect(byState(hereRead[i])).To(Equal(clientSide[i]), "the client's host, look %d", i)
			// /proc/net/snmp counts them, too.
			Expect(currentlyEstablished[2*i:][:2]).To(Equal([]int64{int64(clientSide[i][e]), int64(serverSide[i][e])}), "look %d", i)
			wrong += thereRead[i].Sick + hereRead[i].Sick
		}
		lab.Measure("sick connections", wrong, bounds.Exactly(0), "all are as they should be")

		owners := map[int]int{}
		for _, c := range hereRead[2].Connections {
			if c.State == e {
				Expect(c.Owner).NotTo(BeNil())
				owners[c.Owner.PID]++
			}
		}
		Expect(owners).To(Equal(map[int]int{four.PID(): 4, three.PID(): 3}))
		Expect(thereRead[0].Listeners).To(HaveLen(1))
		Expect(thereRead[0].Listeners[0].Owner).To(HaveField("PID", serving.PID()))
		lab.Measure("in TIME-WAIT", byState(hereRead[3])[w], bounds.Exactly(6+4+3), "all that the client has closed")
		Expect(client.Counters()).To(HaveKeyWithValue("TcpExtTW", BeEquivalentTo(6+4+3)))
	})

	It("names the server that forgets to close, and its peer that waits for it", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		long := 10 * time.Second
		there := lab.Start(path.Server(), watching.With(watch.Options{Long: long}))
		here := lab.Start(path.Client(), watching.With(watch.Options{Long: long}))
		forgetful := lab.Start(path.Server(), peers.Script{Listen: path.Server().Addr(port), Steps: peers.Steps(
			peers.ReadAll(), peers.Await())})
		before := time.Now()
		lab.Start(path.Client(), peers.Script{Connect: path.Server().Addr(port), Steps: peers.Steps(peers.Write(100), peers.CloseWrite(), peers.Await())})
		forgetful.Waiting()
		closed := time.Now()
		look(there, here)
		time.Sleep(long + time.Second)
		soonest := time.Since(closed)
		look(there, here)
		latest := time.Since(before)
		forgetful.Continue()
		time.Sleep(rtt + harness.Settle)
		look(there, here)

		servers, clients := readingsOf(there), readingsOf(here)
		sick := []int{}
		for i := range servers {
			sick = append(sick, servers[i].Sick, clients[i].Sick)
		}
		Expect(sick).To(Equal([]int{0, 0, 1, 1, 0, 0}), "at once, after Options.Long, and when it is closed")
		closeWait, finWait := servers[1].Sickest[0], clients[1].Sickest[0]
		Expect(closeWait).To(And(HaveField("State", kernel.CloseWait), HaveField("Owner.PID", forgetful.PID())))
		Expect(kindsOf(closeWait)).To(Equal([]watch.TroubleKind{watch.CloseWait}))
		Expect(finWait).To(HaveField("State", kernel.FinWait2))
		Expect(kindsOf(finWait)).To(Equal([]watch.TroubleKind{watch.FinWait}))
		const (
			tick   = 10 * time.Millisecond  // or less: the kernel counts them
			delack = 200 * time.Millisecond // TCP_DELACK_MAX
		)
		lab.Measure("in CLOSE-WAIT", closeWait.InState, bounds.Between(soonest-tick, latest), "since the FIN")
		lab.Measure("in FIN-WAIT-2", finWait.InState, bounds.Between(soonest-rtt-delack-tick, latest), "since the ACK of the FIN, which may be delayed (TCP_DELACK_MAX)")
	})

	It("the connection over a link that loses 10 % is the sickest", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		var graph netns.Graph
		client, router, lossy, sound := graph.Host("client"), graph.Router("router"), graph.Host("lossy"), graph.Host("sound")
		graph.Link(client, router)
		bad, good := graph.Link(router, lossy), graph.Link(router, sound)
		path := lab.Build(&graph)
		path.Link(bad).A.Impair(impair.Netem{Delay: rtt, Loss: impair.RandomLoss{Percent: 10}})
		path.Link(good).A.Impair(impair.Netem{Delay: rtt})
		here := lab.Start(path.Host("client"), watching.With(watch.Options{}))
		const looks = 15
		for _, name := range []string{"lossy", "sound"} {
			address := path.Host(name).Addr(port)
			lab.Start(path.Host(name), peers.Script{Listen: address, Steps: peers.Steps(peers.ReadAll())})
			lab.Start(path.Host("client"), peers.Script{Connect: address, Steps: peers.Steps(
				peers.Repeat(10*(looks+10), peers.Write(10*harness.MSS()), peers.Sleep(100*time.Millisecond)))})
		}
		look(here)
		time.Sleep(2 * time.Second) // in three, with 300 segments, the chance that none is lost is 2e-14
		var before, after int64
		for range looks {
			time.Sleep(time.Second)
			before = path.Host("client").Counters()["TcpRetransSegs"]
			look(here)
			after = path.Host("client").Counters()["TcpRetransSegs"]
		}

		first, others, repairs := 0, 0, uint32(0)
		for _, r := range readingsOf(here)[1:] {
			for i, c := range r.Sickest {
				switch {
				case c.Remote == path.Host("sound").Addr(port):
					others++
				case i == 0 && (kindsOf(c)[0] == watch.Retransmitting || kindsOf(c)[0] == watch.BackedOff):
					first++
					repairs = c.Retransmits
				}
			}
		}
		lab.Measure("looks in which it is the sickest", first, bounds.Exactly(looks), "100 segments a second: one in 10 is lost")
		lab.Measure("looks in which the other is sick", others, bounds.Exactly(0), "its link loses nothing")
		lab.Measure("retransmits", int64(repairs), bounds.Between(before, after), "TcpRetransSegs, just before and after the last look")
	})
})
