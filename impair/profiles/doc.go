// Package profiles has links with a name: what Apple's Network Link Conditioner, the developer tools of Chrome and
// Firefox and WebPageTest call 3G, DSL or Wi-Fi, and satellites, a data centre and a bad Wi-Fi.
//
//	p, err := profiles.Get("chrome-slow-4g")
//	net.ToServer.Impair(p.Up())   // what the client sends
//	net.ToClient.Impair(p.Down()) // what it receives
//
// Each says where its figures come from, whether they could be looked up there, and whether its source speaks of delay
// one way or of the round trip. docs/profiles.md is the table of all.
//
// A profile is a teaching aid: a single rate, delay and loss are not a network of that name. Real ones change from
// second to second (package schedule), share their queues, and retransmit below IP.
//
// The package needs nothing: it only makes [impair.Netem] values.
package profiles
