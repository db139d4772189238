// Package framing finds messages in a stream of bytes, in three ways behind one interface: messages of a fixed length, messages that
// end in a delimiter, and messages after their length in four bytes. With it are a server and a client that exchange messages: the
// second program of a course on TCP.
//
// # Contract
//
// A message has 1 to Max bytes. The stream of messages is the same however the network slices it: one byte at a time, ten messages in
// one segment, a length of which two bytes come now and two later. [Framing].Append and Read are each other's inverse.
//
// What is no message is an error, and the reader allocates no more than the longest message needs: a length of 0 ([ErrEmpty]), beyond
// the limit or 0xffffffff ([ErrTooLong]). The stream's end between two messages is [io.EOF], and within one [io.ErrUnexpectedEOF].
// After an error nothing can be read any more: nobody knows where the next message begins.
//
// A [Server] reads the messages of each client in their order, hands each to its Handle, and writes what that returns. It closes the
// connection of a client whose stream has an error, in a way that lets its earlier answers arrive, and other clients notice nothing.
// Each message has to arrive within a time-out, which starts with its first byte.
//
// # The bug
//
// [NaivePrefixed] takes for granted that one Read returns the four bytes of the length, and the next one the whole message. [OneRead]
// takes what one Read returns for a message. Both are right as long as each message travels alone in a segment of its own, as it does
// on a test's loopback interface. [TrustingPrefixed] reads well, but allocates whatever a length says: four bytes can end it.
package framing
