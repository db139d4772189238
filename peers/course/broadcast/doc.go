// Package broadcast is a server that sends each message of a client to all other clients, and its client: the third program of a
// course on TCP. Messages are those of package framing, after their length in four bytes.
//
// # Contract
//
// What a client says goes to every other client that is there at that moment. Each gets the messages of one sender in the order in
// which they were sent, and nothing that was said before it joined. A client leaves by its FIN.
//
// Nobody is held up by another client. Each client has a queue of [Server].Queue messages, and a goroutine that writes them. Who does
// not take them is evicted: when its queue is full ([ErrSlow]), when a write has taken [Server].WriteTimeout, or when it has said
// nothing for [Server].Idle, whichever comes first. An evicted client is taken from the registry at once, what waits for it is
// dropped, in the kernel, too (by a reset), and [Server].Left is told why. So the server holds at most Queue messages for each of its
// MaxClients, however they behave.
//
// # The bug
//
// [Locked] writes to each client while it holds the registry's lock. A write to a socket whose buffer is full waits: for a client that
// reads slowly, or no longer, or whose link is dark. All others wait with it, and so does who wants to join. A write deadline bounds
// how long, for each such client, and does not prevent it.
package broadcast
