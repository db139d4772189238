// Package peers runs paired client and server programs as real processes that can be stopped, killed and inspected,
// for experiments with the kernel's TCP.
//
// The pairs are [BulkServer] and [BulkClient] (a transfer in one direction, for a time or a size), [EchoServer] and
// [EchoClient] (requests, answers and their latencies), [Accept] and [Dial] (connections only). [Script] is either
// side and does exactly its steps; [SYNFlood] only sends SYNs. Without TCP, [ProbeSender] and [ProbeReceiver]
// exchange numbered datagrams. [Func] makes a Go function of your own a peer, and [Command] any other program, with what
// makes it ready, its user, its standard input and its exit status.
//
// A peer is a new process of the running program: call [Main] first in main or in TestMain, and start peers with
// [Start].
//
//	func TestMain(m *testing.M) {
//		peers.Main() // never returns in a peer
//		os.Exit(m.Run())
//	}
//
// # Functions
//
// The program to test on a bad link is mostly your own. [Func] makes its functions peers; each call is a process:
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
// A [Starter] decides where a process runs: [Local], or a host of a lab. A process inherits its network namespace, so
// a peer just opens sockets.
//
// # Sockets
//
// Package net is not used, as it adds what an experiment has not asked for. The socket of a peer is plain TCP (no
// MPTCP), without keepalive, with Nagle's algorithm unless NoDelay is set, with SO_REUSEADDR only if it binds, and
// IPv6 only on an IPv6 address. The requested options ([Socket]) are set before connect(2) or listen(2) and read
// back: it is an error if the kernel keeps another value. How long connect(2) tries is left to the kernel; nothing is
// retried.
//
// # How peers read
//
// A [BulkServer], and a [Script] in its step [ReadAll], reads by blocking calls of recv(2) for 256 KiB each
// (MSG_WAITALL), and drops the data in the kernel (MSG_TRUNC). For TCP that is a program that always waits in
// read(2): each segment wakes it in the kernel, and it takes the data, which tunes the buffer and sends ACKs. It
// costs two context switches and none of Go's scheduler. A BulkServer with a ProgressInterval, or with more than 16
// Connections (each call takes a thread), reads by Go's poller, as all other programs do. At 20 Mbit/s and 40 ms a
// guest then needs some 100 us and 6.4 context switches per segment, instead of 52 us and 1.9; goodput and retransmits
// are the same. Socket.ReceiveLowWater wakes either less often, and changes what TCP does: unread data narrows the
// window.
//
// If the FIN arrives later than the last bytes, their time is taken from the kernel (tcpi_last_data_recv), which
// counts ticks: 4 ms in Debian's kernels.
//
// # Scripts
//
// A [Script] is a list of steps. This client sends a request, shuts down its sending side, and reads the answer. Then
// it waits until the parent lets it continue (after it has made the link a blackhole, for example), and closes:
//
//	client, err := peers.Start(ctx, host, "client", peers.Script{
//		Connect: server,
//		Socket:  peers.Socket{KeepAlive: true, KeepIdle: 2 * time.Second, KeepInterval: time.Second, KeepProbes: 3},
//		Steps:   peers.Steps(peers.Write(100), peers.CloseWrite(), peers.ReadAll(), peers.Await(), peers.Close()),
//	})
//	...
//	err = client.Continue(ctx) // waits until the client is at its Await
//
// The outcome of each step is in [Connection].Steps: bytes, times, and the errno of a step that may fail, with [Try].
// Any other error ends the script, and Wait returns it. Several connections run one after the other, or concurrently
// with Script.Together:
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
// [WriteBytes] and [ReadBytes] speak a protocol. What comes instead of the expected bytes ends the script, and is in its error:
//
//	peers.Steps(peers.WriteBytes([]byte("GET /small HTTP/1.0\r\n\r\n")), peers.ReadBytes([]byte("HTTP/1.0 200 OK\r\n")), peers.ReadAll())
//
// # What is measured
//
// Each connection in a [Result] has the state of its socket just before it was closed: [tcpinfo.Info], the congestion
// control, the buffers. A bulk or echo client closes first, and reads TCP_INFO when it has received the server's FIN.
// The server closes only after it has read all, so everything that the client sent is acknowledged then, including
// its FIN, and total_retrans is final. The state is CLOSE (7) by then, because the kernel keeps TIME-WAIT outside of
// the socket; the other fields are still there. The server likewise waits for the ACK of its FIN.
//
// Both sides report goodput. The receiver's is from the first to the last byte read; the sender's from before its
// first write until it received the server's FIN.
//
// # Protocol
//
// Parent and peer exchange lines, each one JSON object, on the standard input and output of the peer. Its standard
// error is for people. A line to the peer has at most 32 KiB, one from the peer 32 MiB. Both sides refuse unknown
// fields, unknown types and other versions.
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
// A peer exits with 0 after result or error, and with 3 when its standard input ends: it does not survive its parent.
// [Peer.Fault] reports any other end, such as a panic. [Run] runs a program at a shell, with its configuration as an
// argument.
//
// # Requirements and tests
//
// Linux 4.6 or later. No root; but TCP_CONGESTION beyond tcp_allowed_congestion_control needs CAP_NET_ADMIN, and
// SYNFlood CAP_NET_RAW. Most tests use the loopback interface and need no root either. Those with a network namespace
// need root, and one that loses packets needs sch_netem; otherwise they are skipped by name:
//
//	go test ./peers
package peers
