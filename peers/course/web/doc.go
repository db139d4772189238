// Package web has what a course on TCP says of HTTP: a HEAD request on a bare connection, and a client that sends requests again, but only
// those that it may.
//
// # Contract
//
// [Head] writes the request itself and reads the head of the answer, and waits for no more: whatever Content-Length says, no body follows
// an answer to HEAD (RFC 9112, section 6.3). The head has a bounded size, and the answer a time-out.
//
// [Retry] sends a request again after an error if nothing of it can have reached the server, since there was no connection; or if it does
// not matter how often it is carried out: its method is idempotent (RFC 9110, section 9.2.2), or it has an Idempotency-Key by which the
// server knows it again. Any other one may have been carried out, although no answer came. Its error says so, [ErrUnknown], and what to do
// about it only the caller knows.
//
// # The bugs
//
// [HeadAndBody] takes Content-Length for the length of what follows, and waits for a body that nobody sends. [RetryAll] sends everything
// again. When it is the answer that is lost, a POST is carried out twice.
package web
