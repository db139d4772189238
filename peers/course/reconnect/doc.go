// Package reconnect is a client that reconnects, and the server that it needs, for messages of which each sender is told what became
// of it.
//
// # Contract
//
// [Client.Send] returns
//
//   - nil: the server has processed the message, once.
//   - an error that is [ErrUnknown]: the message was written to a connection, and no answer came. The server has processed it
//     once or not at all; the client will not send it again.
//   - an error that is [ErrNotSent]: no byte of it was written, and none will be.
//
// Messages that are not acknowledged are sent again on the next connection, with the number that they had, so that the server can tell
// them from new ones. Messages of one client are processed in the order of their numbers.
//
// A successful write means that the kernel has the bytes, and no more: the peer may have died before, and what is in the send buffer of
// a connection that fails is gone without a word. [Trusting] is the client that overlooks this.
//
// # Protocol
//
// All numbers are big-endian.
//
//	client    hello: its ID (8 bytes)
//	server    welcome: the ledger's ID (8 bytes), the last number that it has processed of this client (8 bytes)
//	client    message: number (8 bytes), length (4 bytes), payload
//	server    acknowledgement: number (8 bytes): this message and those before it have been processed
//
// The welcome settles what was under way when a connection ended: messages up to that number have been processed, and those above it
// are sent again. It holds as long as the server keeps its [Ledger]. Another ledger knows nothing of earlier messages: those that had
// been written before are reported as unknown.
//
// # What bounds what
//
// An attempt to connect, a welcome, a write and the acknowledgement of what is in flight each have at most [Config.Timeout]; then the
// connection is given up. So a server that accepts and never answers, and a path that has become a blackhole, cost one Timeout.
// Between attempts the client waits for a random time up to a bound that doubles from [Config.Base] to [Config.Cap] (full jitter), so
// that clients that lost their server in one moment do not come back in one moment. A server takes messages of up to [MaxMessage]
// bytes and a limited number of clients.
//
// A connection without messages in flight has no time-out: nobody waits for anything. Package net enables TCP keepalive.
package reconnect
