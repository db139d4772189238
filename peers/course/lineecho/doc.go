// Package lineecho is a server that answers each line with "Echo: " and the line, and its client: the first program of a course on
// TCP. It shows how lines are found in a stream of bytes.
//
// # Contract
//
// A line is what stands before a line feed; a carriage return before that is not part of it. It has at most [Server].MaxLine bytes and
// no NUL. The server answers lines in the order in which they come, each with "Echo: ", the line and a line feed, in one write. It
// closes the connection on the line "quit", and when the client has sent its FIN after a whole line.
//
// A client that breaks these rules gets one line that begins with "error: ", and then the end of the stream: a line that is longer,
// or has a NUL, or did not come within the time-out, or ended without a line feed. Other clients notice nothing. The server holds one
// buffer of MaxLine bytes for each client, whatever comes, and has at most [Server].MaxClients of them. The time-out is for a whole
// line, so a client that sends one byte at a time does not stay longer.
//
// With [Server].Plain there are no lines: what comes is sent back, byte by byte the same, through a buffer of fixed size.
//
// # The bug
//
// [Naive] takes what one Read returns for a line. TCP keeps no boundaries of writes: a Read returns a part of a line where a segment
// ends in it, and several lines where they came together. On an idle connection over a good link lines are short enough for that
// never to happen. [WriteFirst] is the bug of a client of the plain echo: it writes all before it reads. When the answers fill its
// receive buffer the server stops reading, and both wait.
package lineecho
