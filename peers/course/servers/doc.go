// Package servers has one service in four architectures: a goroutine for each connection, a pool of workers, and one thread with epoll,
// level-triggered and edge-triggered. All have one contract, so that what differs is the price: see the table in docs/programs.md.
//
// # Contract
//
// Requests and answers are messages after their length in four bytes (framing.Prefixed). The answer to a request begins with '+'. Requests
// may be pipelined: the answers come in their order. However the network slices the stream, the answers are the same.
//
// Who is not served is told: an answer that begins with '-' and says why, and after it a FIN. No request behind it was handled, so that it
// is safe to send those again. That is so for who comes when MaxClients are there ([ErrBusy]), for a request that the queue of a [Pool] has
// no place for (the same), for what is no message, for a request that does not come within its time, and when none comes for too long. The FIN
// is sent first and the socket closed when the client has closed, or after a while: to close it with unread bytes would be a reset, on
// which the answer can be lost.
//
// A server reads no further while its answers are not taken. So what it holds of a client is bounded: the bytes of one read, a request and
// its answer, whatever the client sends. A client that does not take an answer within the time-out is reset.
//
// Serve ends with its context: the listener and all connections are closed then, and no goroutine and no file descriptor is left.
//
// # Which one
//
// [Goroutines] is the plain one, and the one to begin with. [Pool] bounds how many requests are handled at a time, which is for work that
// needs something of which there is little. [LevelTriggered] and [EdgeTriggered] need no stack and no buffer for an idle connection; but
// all that Handle does, it does to everybody: it must not wait. Level-triggered, the kernel says again and again that there is something
// to read, and a server may read a part. Edge-triggered it says so once, when something arrives, and the server must read until there is no
// more (EAGAIN): that spares calls of epoll_ctl(2), and is easy to get wrong.
//
// # The bug
//
// [OneRead] is edge-triggered and reads once for each edge. What does not fit in one read stays in the socket. No edge follows, as
// nothing arrives: the client has sent all, and waits. Both wait until a time-out.
package servers
