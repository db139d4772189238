// Package peers runs paired client and server programs as real processes that can be stopped, killed and inspected,
// for experiments with the kernel's TCP.
//
// The pairs are [BulkServer] and [BulkClient] (a transfer one way, for a time or a size), [EchoServer] and
// [EchoClient] (requests, answers and their latencies), [Accept] and [Dial] (connections and nothing else). [Script] is
// either side and does exactly the steps that it is given; [SYNFlood] sends SYNs and nothing else. Without TCP,
// [ProbeSender] and [ProbeReceiver] exchange numbered datagrams. [Func] makes a Go function of your own a peer, and
// [Command] any other program.
//
// A peer is the running program once more: call [Main] first in main or in TestMain, and start peers with [Start].
//
//	func TestMain(m *testing.M) {
//		peers.Main() // never returns in a peer
//		os.Exit(m.Run())
//	}
//
// # Functions
//
// What is to be tried on a bad link is mostly a program of one's own. Its functions become peers by [Func]; each call is a process:
//
//	var serve = peers.Func("serve", func(t *peers.Task, listen string) (requests int, err error) {
//		listener, err := net.Listen("tcp", listen)
//		if err != nil {
//			return 0, err
//		}
//		if err := t.Ready(listener.Addr()); err != nil { // now clients can come
//			return 0, err
//		}
//		server := http.Server{Handler: ...}
//		context.AfterFunc(t.Context(), func() { server.Close() }) // the context ends by Peer.Stop
//		...
//	})
//
//	server, err := peers.Start(ctx, host, "server", serve.With("10.0.2.2:80"))
//	...
//	result, err := server.Stop(ctx)
//	requests, err := serve.Value(result)
//
// # Where they run
//
// Where a process runs is up to a [Starter]: [Local], or a host of a lab. A process inherits its network namespace, so
// a peer just opens sockets.
//
// # Sockets
//
// Package net is not used, for it adds what an experiment has not asked for. A peer's socket is plain TCP (no MPTCP),
// without keepalive, with Nagle's algorithm unless NoDelay is set, with SO_REUSEADDR on what binds only, and IPv6 only
// on an IPv6 address. Options that are asked for ([Socket]) are set before connect(2) or listen(2) and read back: that
// the kernel has kept something else is an error. How long to try to connect is left to the kernel; nothing is tried
// twice.
//
// # How peers read
//
// A [BulkServer], and a [Script] in its step [ReadAll], reads by blocking calls of recv(2) that go on until they have
// 256 KiB (MSG_WAITALL), and drops what it reads in the kernel (MSG_TRUNC). To TCP that is a program that always waits
// in read(2): at each segment the kernel wakes it, and it takes what is there, which tunes the buffer and sends ACKs.
// But that is two context switches, and none of Go's. A BulkServer with a ProgressInterval, or with more than 16
// Connections, since each call takes a thread, reads by Go's poller instead, as all others do. At 20 Mbit/s and 40 ms a
// guest then takes 97 us and 6.4 context switches for each segment, rather than 52 us and 1.9; goodput and retransmits
// are the same. Socket.ReceiveLowWater wakes either less often, and changes what TCP does: what is not yet read narrows
// the window.
//
// Where the FIN comes later than the last bytes, the time of these is the kernel's (tcpi_last_data_recv), which counts
// ticks: 4 ms in Debian's kernels.
//
// # Scripts
//
// A [Script] is a list of steps. This client sends a request, says that it has no more, and reads the answer; then it
// waits until the parent says to go on, as it does when it has made the link silent, say, and closes:
//
//	client, err := peers.Start(ctx, host, "client", peers.Script{
//		Connect: server,
//		Socket:  peers.Socket{KeepAlive: true, KeepIdle: 2 * time.Second, KeepInterval: time.Second, KeepProbes: 3},
//		Steps:   peers.Steps(peers.Write(100), peers.CloseWrite(), peers.ReadAll(), peers.Await(), peers.Close()),
//	})
//	...
//	err = client.Continue(ctx) // waits until the client has come to its Await
//
// What became of each step is in [Connection].Steps: bytes, times, and the errno of a step that may fail, with [Try].
// Errors that nobody tries end the script, and Wait returns them. Several connections come one after the other, or
// with Script.Together side by side:
//
//	// Seven connections that this side closes first: seven sockets in TIME_WAIT.
//	peers.Script{Connect: server, Connections: 7, Steps: peers.Steps(peers.CloseWrite(), peers.ReadAll())}
//	peers.Script{Listen: server, Connections: 7, Steps: peers.Steps(peers.ReadAll())}
//
//	// Ten ephemeral ports: the 11th connection has EADDRNOTAVAIL as its Err.
//	peers.Script{Connect: server, Connections: 11, Together: true, TryConnect: true}
//
//	// Write, write, read, ten times; slices.Chunk(steps, 3) are the exchanges.
//	peers.Script{Connect: server, Steps: peers.Steps(peers.Repeat(10, peers.Write(1), peers.Write(1), peers.Read(1)))}
//
// # What is measured
//
// Each connection in a [Result] carries what the kernel said of its socket just before it was closed: [tcpinfo.Info], the
// congestion control, the buffers. A bulk or echo client closes first, and reads TCP_INFO when it has seen the server's
// FIN: since the server closes only after it has read all, everything that the client sent is acknowledged then, its
// own FIN included, and total_retrans is final. It still is in TCP_INFO although the state is CLOSE (7), because the
// kernel moves TIME_WAIT out of the socket. The server likewise waits for the acknowledgment of its FIN.
//
// Goodput is reported by both sides: the receiver's runs from the first byte to the last that it read; the sender's from
// before its first write to the moment when it saw the server's FIN.
//
// # Protocol
//
// Parent and peer exchange lines, each one JSON object, on the peer's standard input and output. Its standard error is
// for people. A line to the peer has at most 32 KiB, one from the peer 32 MiB. Unknown fields, unknown types and other
// versions are refused on both sides.
//
//	direction  type      content
//	to peer    config    version, name, program, config: the first line
//	to peer    start     connect now, or accept; only a program whose config has await_begin waits for it
//	to peer    continue  leave the Await at which a script or a function stands
//	to peer    stop      finish and report; once more: without waiting for the other side
//	from peer  ready     version, ready.addr: the sockets are made, a server listens at addr
//	from peer  started   started.local, started.remote: the first connection is there
//	from peer  progress  progress.elapsed_ns, progress.bytes: at an interval, where asked for
//	from peer  waiting   waiting.number: a script or a function stands at its first, second, ... Await
//	from peer  result    result: a Result. The last line
//	from peer  error     version, error: a PeerError. The last line: the work could not begin
//
// A peer exits with 0 after result or error, and with 3 when its standard input ends: it does not outlive its parent.
// [Peer.Fault] says what else became of it, such as a panic.
// [Run] runs a program at a shell, with its configuration given.
//
// # Requirements and tests
//
// Linux 4.6 or later. No root; TCP_CONGESTION beyond tcp_allowed_congestion_control needs CAP_NET_ADMIN, and SYNFlood
// CAP_NET_RAW. Most tests use the loopback interface and need no root either; those with a namespace of their own need
// root, and one that loses packets needs sch_netem. Without, they are skipped by name:
//
//	go test ./peers
package peers
