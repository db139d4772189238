// Package results is the record of a run: a model for what one scenario left behind, a store for many of them, a
// comparison of two runs, and reports: the table at the end, and the same for other programs.
//
// It knows nothing of networks. Who runs scenarios fills in a [Record] and writes it; who reads results needs nothing
// but this package, or jq. It needs no privileges, no kernel feature and no other program. Its tests:
//
//	go test ./results
//	go test ./results -run '^$' -fuzz FuzzParse -fuzztime 30s   # or FuzzSlug, FuzzCompare, FuzzTable, FuzzReporters
//	go test ./results -run Golden -update                       # after a change of the schema or a report
//
// # On disk
//
//	results/                                  the root, given to Create
//	  latest -> 20260101-120000               the newest run; a relative link, replaced atomically
//	  20260101-120000/                        a run
//	    handshake/                            Slug of the suite
//	      syn-is-retransmitted_1f0c6ab2d3/    Slug of the scenario
//	        record.json
//	        client.pcapng                     artefacts, also in sub-folders
//
// Scenarios of one run may be written by several processes at once (ginkgo -p, several guests): each has its own
// folder, and record.json appears whole or not at all. A folder without record.json is a scenario that is still
// running or was killed: [Run.Unfinished].
//
// # The schema
//
// record.json is one JSON object, UTF-8, indented, its members in the order of [Record]'s fields. The same record
// gives the same bytes.
//
//	schema       4. Rises when a member is removed or changes its meaning; ignore members that you do not know.
//	suite, scenario, labels
//	verdict      passed, failed, skipped, pending, panicked, timedout, interrupted or aborted
//	failure      message and location, if it did not pass
//	reason       why it was skipped
//	together     the scenarios that ran in the same guest or process, in their order; absent if it ran alone
//	kernel       release, version and machine of the kernel whose TCP was tested
//	clock        "virtual" or "real"; every time outside host is on this clock
//	ipv6         true if the run was on IPv6; absent on IPv4
//	seed         a string of decimal digits, since jq 1.6 and JavaScript round numbers above 2^53
//	inputs       QEMU's version, the guest's seed and speed, and the hashes of QEMU, the kernel, the initramfs and QEMU's
//	             command line: the same inputs give the same bytes. Absent in real time.
//	duration_ns  of the spec
//	topology     kind, hosts (name, addresses, sysctls that were set), links (two ends, mtu, offload)
//	impairments  at_ns (since the start of the spec), end, direction, asked, applied (as read back from the kernel), notes
//	peers        name, host, program, config, result, error
//	counters     per host, what the kernel's counters rose by, under nstat's names, and the value of gauges
//	             (TcpCurrEstab) at the end; those that are 0 are absent
//	queues       qdisc statistics per link end
//	captures     file, and per interface the packets captured and those that the capture dropped
//	metrics      the numbers that the scenario is about: name, value, unit, bounds (with margin and source)
//	checks       what it asserts besides, of all that has bounds: the same members
//	artefacts    path (relative to the record, never outside its folder), size in bytes, sha256
//	busy         how busy the guest's processor was, in percent; absent in real time
//	left_out     what is missing of the evidence because there was too much of it
//	host         wall time, start, the machine, and artefacts that depend on them. The only part that may differ
//	             between two runs of the same seed in virtual time.
//
// A time is in whole nanoseconds, and its name ends in _ns; only host.started is a date, by RFC 3339. A link end is
// "host/interface" (of a middlebox it is the host). docs/results.md has the other files of a run, which follow the same rules.
// Lists are never null. asked, applied, config and result are the JSON of whoever produced them (see [Raw]) and keep
// the order of their members.
//
// # Reading records with jq
//
// Which scenarios did not pass, and why:
//
//	jq -r 'select(.failure) | "\(.suite): \(.scenario): \(.failure.message)"' results/latest/*/*/record.json
//
// The metrics as tab-separated values:
//
//	jq -r '. as $r | .metrics[] | [$r.suite, $r.scenario, .name, .value, .unit] | @tsv' results/latest/*/*/record.json
//
// One counter of one host, which is 0 where it is absent:
//
//	jq '.counters[] | select(.host == "client") | .diff.TcpExtTCPSynRetrans // 0' results/latest/*/*/record.json
//
// Where the kernel applied something other than what was asked:
//
//	jq -c '.impairments[] | select(.notes != []) | {"end": .end, asked, applied, notes}' results/latest/*/*/record.json
//
// Packets that a capture lost:
//
//	jq '[.captures[].interfaces[].dropped] | add' results/latest/*/*/record.json
//
// A list for sha256sum --check, to run in the record's folder:
//
//	jq -r '.artefacts[] | "\(.sha256)  \(.path)"' results/latest/*/*/record.json
//
// What must be the same when the seed is the same (Compare does this, and compares the artefacts as well):
//
//	jq 'del(.host)' results/latest/*/*/record.json
package results
