// Package picture is what there is to draw of a capture, and of what a scenario recorded beside it: packets with what became of
// them, connections, series of values over time, bands and steps, all on one time axis.
//
// It draws nothing itself. A page, a terminal and a file of vector graphics draw the same [Picture], each in its own way, so that they
// cannot contradict each other. What the link did to a packet (the injected truth) and what TCP made of that stand in one place:
// a [Packet] has its [Fate] and the rule that acted on it beside Wireshark's marks and the cause of a retransmission.
//
//	p, err := picture.OfScenario(record)             // all captures, rules, samples, events and queues of its folder
//	p, err := picture.OfCapture("theirs.pcapng", limits)
//	small := p.Reduce(500)                           // for the eye, but exact near every event
//
// It needs nothing: neither root, nor the kernel, nor other programs. Its tests:
//
//	go test ./internal/picture
//	go test ./internal/picture -run '^$' -fuzz FuzzEvidence
package picture
