package capture

import (
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkStartStop is what a capture of both ends of a link costs beside the
// packets.
func BenchmarkStartStop(b *testing.B) {
	client, server := pair(b)
	path := filepath.Join(b.TempDir(), "x.pcapng")
	var starts, stops time.Duration
	for b.Loop() {
		t0 := time.Now()
		c, err := Start(path, Config{},
			Interface{Name: "client", Device: client.device("eth0")},
			Interface{Name: "server", Device: server.device("eth0")})
		if err != nil {
			b.Fatal(err)
		}
		t1 := time.Now()
		if _, err := c.Stop(); err != nil {
			b.Fatal(err)
		}
		starts += t1.Sub(t0)
		stops += time.Since(t1)
	}
	b.ReportMetric(float64(starts.Microseconds())/float64(b.N), "start-µs/op")
	b.ReportMetric(float64(stops.Microseconds())/float64(b.N), "stop-µs/op")
}

// BenchmarkGigabit captures both ends of a link while TCP sends 1 Gbit/s over it
// for half a second, one packet per segment. It shows how many packets were
// dropped, which should be none on an idle machine with two cores, and how much
// was sent, which is less than 1000 Mbit/s if the machine is not up to it. The
// client, the server and the capture share the machine.
func BenchmarkGigabit(b *testing.B) {
	for _, snap := range []int{-1, 0, 128} { // -1: without a capture, to compare
		b.Run(fmt.Sprintf("snap=%d", snap), func(b *testing.B) {
			client, server := pair(b)
			listener := server.listen(b, "192.0.2.2:8080")
			var packets, dropped uint64
			var sending time.Duration
			const chunk, chunks = 125_000, 500 // 1 ms each at 1 Gbit/s
			for b.Loop() {
				var c *Capture
				if snap >= 0 {
					c = start(b, Config{SnapLength: snap},
						Interface{Name: "client", Device: client.device("eth0")},
						Interface{Name: "server", Device: server.device("eth0")})
				}
				received := make(chan int64, 1)
				go func() {
					conn, err := listener.Accept()
					if err != nil {
						received <- 0
						return
					}
					defer conn.Close()
					n, _ := io.Copy(io.Discard, conn)
					received <- n
				}()
				conn := client.dial(b, "tcp4", "192.0.2.2:8080")
				data := make([]byte, chunk)
				began := time.Now()
				for i := range chunks {
					if _, err := conn.Write(data); err != nil {
						b.Fatal(err)
					}
					time.Sleep(time.Until(began.Add(time.Duration(i+1) * time.Millisecond)))
				}
				conn.Close()
				if n := <-received; n != chunk*chunks {
					b.Fatalf("received %d bytes, want %d", n, chunk*chunks)
				}
				sending += time.Since(began)
				if snap >= 0 {
					s := stop(b, c)
					packets += s.Packets()
					dropped += s.Dropped()
				}
			}
			n := float64(b.N)
			b.ReportMetric(float64(packets)/n, "packets/op")
			b.ReportMetric(float64(dropped)/n, "dropped/op")
			b.ReportMetric(n*chunk*chunks*8/1e6/sending.Seconds(), "Mbit/s")
		})
	}
}
