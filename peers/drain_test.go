package peers_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tcplab/tcplab/peers"
)

// How a server reads is no matter for what it reports: it blocks in the first of these, and polls in the others.
func readers() map[string]peers.BulkServer {
	return map[string]peers.BulkServer{
		"blocking":                 {Listen: loopback},
		"polled for its progress":  {Listen: loopback, ProgressInterval: time.Hour},
		"polled, many connections": {Listen: loopback, Connections: 17},
	}
}

// The FIN ends the call that has the last bytes, whenever they came.
func TestReaderKnowsWhenTheLastBytesCame(t *testing.T) {
	const pause, idle = 300 * time.Millisecond, 700 * time.Millisecond
	for name, config := range readers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			server := start(t, ctx, "server", config)
			n := max(config.Connections, 1)
			client := start(t, ctx, "client", peers.Script{
				Connect: readyAddr(t, ctx, server), Connections: n, Together: true,
				Steps: peers.Steps(peers.Write(1000), peers.Sleep(pause), peers.Write(2000), peers.Sleep(idle), peers.CloseWrite(), peers.ReadAll()),
			})
			if _, err := client.Wait(ctx); err != nil {
				t.Fatal(err)
			}
			r, err := server.Wait(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Connections) != n {
				t.Fatalf("%d connections, expected %d", len(r.Connections), n)
			}
			for _, c := range r.Connections {
				// tcpi_last_data_recv comes in ticks of up to 10 ms; a busy machine is late.
				if c.Received != 3000 || c.Elapsed < pause-20*time.Millisecond || c.Elapsed > pause+idle/2 {
					t.Errorf("%d bytes in %v, expected 3000 in %v", c.Received, c.Elapsed, pause)
				}
			}
		})
	}
}

// A stop ends a reader that waits: before the first byte, and within what it waits for.
func TestReaderThatWaitsIsStopped(t *testing.T) {
	for name, config := range readers() {
		for _, bytes := range []int64{0, 1, 1000} {
			t.Run(fmt.Sprintf("%s, %d bytes", name, bytes), func(t *testing.T) {
				t.Parallel()
				ctx := testContext(t)
				server := start(t, ctx, "server", config)
				var steps []peers.Step
				if bytes > 0 {
					steps = append(steps, peers.Write(bytes))
				}
				client := start(t, ctx, "client", peers.Script{
					Connect: readyAddr(t, ctx, server), Steps: append(steps, peers.Await()),
				})
				if _, err := client.Waiting(ctx); err != nil {
					t.Fatal(err)
				}
				if _, err := server.Started(ctx); err != nil {
					t.Fatal(err)
				}
				r, err := server.Stop(ctx)
				contains(t, err, "read ", "ECANCELED", "stopped before the other side had closed")
				if r.Connections[0].TCPInfo == nil || r.Connections[0].TCPInfo.State != 1 {
					t.Errorf("TCP_INFO: %+v, expected state 1, ESTABLISHED", r.Connections[0].TCPInfo)
				}
			})
		}
	}
}
