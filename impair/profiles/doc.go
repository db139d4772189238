// Package profiles has named links: what Apple's Network Link Conditioner, the developer tools of Chrome and Firefox,
// and WebPageTest call 3G, DSL or Wi-Fi; and satellites, a data centre and a bad Wi-Fi.
//
//	p, err := profiles.Get("chrome-slow-4g")
//	net.ToServer.Impair(p.Up())   // what the client sends
//	net.ToClient.Impair(p.Down()) // what it receives
//
// Each profile names the source of its figures, says whether they could be verified there, and whether the source
// counts delay one way or as RTT. docs/profiles.md is the table of all.
//
// A profile is a teaching aid: a constant rate, delay and loss are not a network of that name. Real ones vary from
// second to second (package schedule), share their queues, and retransmit below IP.
//
// The package needs no root and no netem: it only makes [impair.Netem] values.
package profiles
