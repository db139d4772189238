package mutate

// A mutation breaks tcplab in one way.
type mutation struct {
	name string
	// file is relative to the module's root. The text old stands in it exactly once, and is replaced.
	file, old, new string
	suites         []string // that should notice
	focus          string   // on specs of these suites; empty: all
	// Of what does not run in guests, tests notice: those of this package that match.
	tests, match string
}

// few are specs of the two suites that between them look at each thing that is broken below: all of
// the suites would notice no more, and take an hour.
const few = "is refused|completes a three-way|retransmits what was lost"

const (
	findings       = "github.com/tcplab/tcplab/scenarios/findings"
	handshake      = "github.com/tcplab/tcplab/scenarios/handshake"
	injection      = "github.com/tcplab/tcplab/scenarios/injection"
	middlebox      = "github.com/tcplab/tcplab/scenarios/middlebox"
	programs       = "github.com/tcplab/tcplab/scenarios/programs"
	retransmission = "github.com/tcplab/tcplab/scenarios/retransmission"
	services       = "github.com/tcplab/tcplab/scenarios/services"
	tools          = "github.com/tcplab/tcplab/scenarios/tools"

	harness = "github.com/tcplab/tcplab/harness"
	netns   = "github.com/tcplab/tcplab/netns"
	oracle  = "github.com/tcplab/tcplab/harness/oracle"
	peers   = "github.com/tcplab/tcplab/peers"
	runner  = "github.com/tcplab/tcplab/internal/runner"

	reconnect = "github.com/tcplab/tcplab/peers/course/reconnect"
)

var mutations = []mutation{
	{
		name:   "netem is there, and impairs nothing",
		file:   "impair/device.go",
		old:    "r, err := prepare(n, change)",
		new:    "r, err := prepare(Netem{}, change)",
		suites: []string{handshake, retransmission},
		focus:  few,
	},
	{
		name:   "the other direction is impaired",
		file:   "netns/topology.go",
		old:    "return t.Link(far).A, t.Link(near).B",
		new:    "return t.Link(near).B, t.Link(far).A",
		suites: []string{handshake, retransmission},
		focus:  few,
	},
	{
		name:   "segmentation offload is left on",
		file:   "netns/topology.go",
		old:    "LinkConfig{MTU: g.config.MTU, Offload: g.config.Offload}",
		new:    "LinkConfig{MTU: g.config.MTU, Offload: true}",
		suites: []string{handshake, retransmission},
		focus:  few,
	},
	{
		name:   "the sysctls of a topology's clients are not set",
		file:   "netns/topology.go",
		old:    "slices.Concat(g.config.Sysctls, g.config.ClientSysctls)",
		new:    "slices.Concat[[]Setting](nil)",
		suites: []string{handshake, retransmission},
		focus:  "negotiates the options|after tcp_retries2|no later than the RTO|by RTO alone",
	},
	{
		name:   "counters are read in the namespace of the suite",
		file:   "harness/kernel/counters.go",
		old:    "err = in.Do(read)",
		new:    "err = read()",
		suites: []string{handshake},
		focus:  few,
	},
	{
		name:   "a capture ends after five packets",
		file:   "harness/capture/end.go",
		old:    "e.spool.add(p, e.config.SnapLength)",
		new:    "if e.read <= 5 { e.spool.add(p, e.config.SnapLength) }",
		suites: []string{handshake, retransmission},
		focus:  few,
	},
	{
		name:   "a drop rule drops the next packet",
		file:   "impair/rules/set.go",
		old:    "First: m.first, Last: m.last, Step:",
		new:    "First: m.first + 1, Last: m.last + 1, Step:",
		suites: []string{retransmission},
		focus:  "a lost last segment|a whole lost window",
	},
	{
		name:   "the oracle is off by one retry",
		file:   "harness/oracle/retry.go",
		old:    "if p.most >= 0 && n >= p.most {",
		new:    "if p.most >= 0 && n >= p.most+1 {",
		suites: []string{handshake},
		focus:  "with exponential back-off",
	},
	{
		name:   "the line echo closes on who is still sending",
		file:   "peers/course/lineecho/server.go",
		old:    "serve.Finish(conn, finishBytes, min(s.Timeout, finishTime))",
		new:    "_ = serve.Finish",
		suites: []string{programs},
		focus:  "100 kB without an end",
	},
	{
		name:   "one Read of a length prefix is all of it",
		file:   "peers/course/framing/framing.go",
		old:    "io.ReadFull(stream, prefix[:])",
		new:    "stream.Read(prefix[:])",
		suites: []string{programs},
		focus:  "a prefix in two segments",
	},
	{
		name:   "a broadcast waits for room in a full queue",
		file:   "peers/course/broadcast/registry.go",
		old:    "\t\tdefault:\n",
		new:    "\t\tcase <-context.Background().Done():\n",
		suites: []string{programs},
		focus:  "holds up nobody for a dead one",
	},
	{
		name:  "specs of an Ordered container run apart",
		file:  "internal/runner/ordered.go",
		old:   `ok && spec.Container != ""`,
		new:   `ok && spec.Container != "" && false`,
		tests: runner, match: "TestOrderedContainers$",
	},
	{
		name:  "a filter takes an Ordered container apart",
		file:  "internal/runner/ordered.go",
		old:   "spec.Selected, spec.Completes = true, true",
		new:   "_ = spec",
		tests: runner, match: "TestOrderedContainers$",
	},
	{
		name:  "a test may call os.Exit(0)",
		file:  "internal/runner/gotest.go",
		old:   `[]string{panicOnExit, `,
		new:   `[]string{`,
		tests: runner, match: "TestPlainTests",
	},
	{
		name:  "nobody asks whether a test ran",
		file:  "internal/runner/gotest.go",
		old:   "case len(l.ran) == 0:",
		new:   "case false:",
		tests: runner, match: "TestPlainTests",
	},
	{
		name:  "a test that began need not end",
		file:  "internal/runner/gotest.go",
		old:   `case l.unfinished() != "":`,
		new:   `case false:`,
		tests: runner, match: "TestPlainTests",
	},
	{
		name:  "a guest's files go where the guest says",
		file:  "internal/runner/virtual.go",
		old:   "return path.Join(dirs[0], filesDir, name)",
		new:   "return name",
		tests: runner, match: "TestPlace",
	},
	{
		name:  "a spec's record is believed against Ginkgo's report",
		file:  "internal/runner/verdict.go",
		old:   "case !record.Verdict.Failed() && record.Verdict != results.Verdict(judgement.State.String()):",
		new:   "case false:",
		tests: runner, match: "TestVerdict",
	},
	{
		name:  "a record that is another's is believed",
		file:  "internal/runner/verdict.go",
		old:   "case record.Suite != suite.Name || record.Scenario != spec.Text:",
		new:   "case false:",
		tests: runner, match: "TestRecordsThatAreNoRecords",
	},
	{
		name:  "a record in the cache is believed",
		file:  "internal/runner/cache.go",
		old:   "if hash != string(saved) {",
		new:   "if hash != string(saved) && false {",
		tests: runner, match: "TestCacheThatIsDamaged",
	},
	{
		name:  "a damaged entry of the cache stays",
		file:  "internal/runner/cache.go",
		old:   "os.RemoveAll(dir), os.RemoveAll(entry))",
		new:   "os.RemoveAll(dir))",
		tests: runner, match: "TestCacheThatIsDamaged",
	},
	{
		name:  "a run of skips becomes the latest",
		file:  "internal/runner/session.go",
		old:   "r.Verdict == results.Passed || r.Verdict.Failed()",
		new:   "true",
		tests: runner, match: "TestRunOfSkips",
	},
	{
		name:  "a peer may end in any way",
		file:  "harness/peer.go",
		old:   "if err := p.Peer.Fault(); err != nil {",
		new:   "if err := p.Peer.Fault(); err != nil && false {",
		tests: harness, match: "TestSpecsThatDoNotPass/peer_",
	},
	{
		name:  "a peer that nobody waits for may end in any way",
		file:  "harness/lab.go",
		old:   "errs := l.faults(report)",
		new:   "errs := l.faults(report)[:0]",
		tests: harness, match: "TestSpecsThatDoNotPass/peer_|TestEvidenceOfADeadPeer",
	},
	{
		name:  "a peer may exit with any status",
		file:  "peers/command.go",
		old:   "return status == 0",
		new:   "return status == 0 || status < 256",
		tests: peers, match: "TestFault$",
	},
	{
		name:  "a peer may end by a signal that nobody sent",
		file:  "peers/peer.go",
		old:   "slices.ContainsFunc(p.signals, isNamed(status.Signal))",
		new:   "!slices.ContainsFunc(p.signals, isNamed(status.Signal))",
		tests: peers, match: "TestFault$",
	},
	{
		name:  "a daemon outlives its lab",
		file:  "netns/host.go",
		old:   "errs = append(errs, h.killLeft())",
		new:   "errs = append(errs, nil)",
		tests: netns, match: "TestCloseKillsDaemons$",
	},
	{
		name:  "the oracle's closed window ignores TCP_USER_TIMEOUT",
		file:  "harness/oracle/established.go",
		old:   "if passed.Earliest >= p.UserTimeout {",
		new:   "if passed.Earliest >= 2*p.UserTimeout {",
		tests: oracle, match: "TestZeroWindowUserTimeout$",
	},
	{
		name:  "TCP may run out of memory unnoticed",
		file:  "harness/pressure.go",
		old:   "if n := since[name]; n > 0 {",
		new:   "if n := since[name]; n > 1<<40 {",
		tests: harness, match: "TestMemoryPressure",
	},
	{
		name:  "what is skipped is not said",
		file:  "harness/suite.go",
		old:   "\tnoteSkipped(err.Error())\n",
		new:   "",
		tests: harness, match: "TestWhatIsSkipped",
	},
	{
		name:  "a server processes again what it has processed",
		file:  "peers/course/reconnect/server.go",
		old:   "if number > a.last {",
		new:   "if number != 0 {",
		tests: reconnect, match: "TestServerProcessesAMessageOnce$",
	},
	{
		name:   "a client takes a server that has forgotten all for the same",
		file:   "peers/course/reconnect/client.go",
		old:    "if c.known && c.ledger != ledger {",
		new:    "if false {",
		suites: []string{programs},
		focus:  "restarts without its ledger",
	},
	{
		name:   "a pool does not look at the socket",
		file:   "peers/course/pool/pool.go",
		old:    "if quiet(c.Conn) != nil {",
		new:    "if false {",
		suites: []string{programs},
		focus:  "fails no request after the server has restarted",
	},
	{
		name:   "a server closes with unread data",
		file:   "peers/course/closing/closing.go",
		old:    "if !s.CloseUnread {",
		new:    "if false {",
		suites: []string{programs},
		focus:  "is read where the server lingers",
	},
	{
		name:   "a copy of a datagram is a message more",
		file:   "peers/course/numbered/numbered.go",
		old:    "if t.Took[number] != 0 {",
		new:    "if t.Took[number] < 0 {",
		suites: []string{programs},
		focus:  "loses, doubles and swaps datagrams",
	},
	{
		name:   "an edge-triggered server reads once for each edge",
		file:   "peers/course/servers/edge.go",
		old:    "if errors.Is(err, errAgain) {",
		new:    "if err == nil || errors.Is(err, errAgain) {",
		suites: []string{programs},
		focus:  "requests of 40 kB that are sent ahead are answered by edge-triggered",
	},
	{
		name:   "a server is silent to whom it has no place for",
		file:   "peers/course/servers/goroutines.go",
		old:    "		if session.Err != nil {\n			c.refuse(",
		new:    "		if session.Err != nil && session.Err != ErrBusy {\n			c.refuse(",
		suites: []string{programs},
		focus:  "whoever comes when all places are taken is told so within two RTTs, and gets a FIN, from a goroutine",
	},
	{
		name:   "a POST is sent again",
		file:   "peers/course/web/retry.go",
		old:    "case !may(sent.Load()):",
		new:    "case !may(false):",
		suites: []string{programs},
		focus:  "is reported as unknown if it is a POST",
	},
	{
		name:   "a body is read after the answer to HEAD",
		file:   "peers/course/web/head.go",
		old:    "return ask(ctx, r, func(Answer, *bufio.Reader) error { return nil })",
		new:    "return HeadAndBody(ctx, r)",
		suites: []string{programs},
		focus:  "HEAD on a bare connection is answered in two RTTs",
	},
	{
		name:   "silence is not noticed",
		file:   "peers/course/liveness/liveness.go",
		old:    "Idle: orForever(o.Silence)",
		new:    "Idle: forever",
		suites: []string{programs},
		focus:  "is noticed by a heartbeat when its process is stopped",
	},
	{
		name:   "no pings are sent",
		file:   "peers/course/liveness/liveness.go",
		old:    "if o.Heartbeat > 0 {",
		new:    "if false {",
		suites: []string{programs},
		focus:  "is alive as long as it answers pings, on a clean link",
	},
	{
		name:   "an injected segment's checksum is right in any case",
		file:   "impair/inject/segment.go",
		old:    "return n.serialize(s.BadChecksum,",
		new:    "return n.serialize(false,",
		suites: []string{injection},
		focus:  "with a wrong checksum, at RCV.NXT",
	},
	{
		name:   "an ICMP error has another code",
		file:   "impair/inject/icmp.go",
		old:    "PortUnreachable:     {{3, 3}, {1, 4}},",
		new:    "PortUnreachable:     {{3, 2}, {4, 1}},",
		suites: []string{injection},
		focus:  "port unreachable",
	},
	{
		name:   "a NAT is silent where it should reset",
		file:   "impair/middlebox/rules.go",
		old:    "	case Reset:\n		return []rule{join(",
		new:    "	case Reset + Prohibited:\n		return []rule{join(",
		suites: []string{middlebox},
		focus:  "none that it resets: ECONNREFUSED",
	},
	{
		name:   "a box leaves an option that it should strip",
		file:   "impair/middlebox/rules.go",
		old:    "has(option), count(), strip(option)))",
		new:    "has(option), count()))",
		suites: []string{middlebox},
		focus:  "timestamps|window scaling|SACK",
	},
	{
		name:   "a router does not clamp the MSS",
		file:   "impair/middlebox/rules.go",
		old:    "if b.ClampMSS != 0 {",
		new:    "if b.ClampMSS > 1<<16-2 {",
		suites: []string{services},
		focus:  "is not in the way of a router that clamps the MSS|logs in if a router clamps the MSS",
	},
	{
		name:   "diagnose takes a full queue of this machine's listener for a filter",
		file:   "internal/diagnose/judge_connect.go",
		old:    "case j.full(f, route):",
		new:    "case false && j.full(f, route):",
		suites: []string{tools},
		focus:  "its accept queue is full|its SYN queue is full",
	},
	{
		name:   "watch takes nothing for sick that stays for long",
		file:   "internal/watch/watch.go",
		old:    "c.judge(w.options.Long)",
		new:    "c.judge(1 << 62)",
		suites: []string{tools},
		focus:  "names the server that forgets to close",
	},
	{
		name:   "a window is full whatever is in flight",
		file:   "harness/analysis/find_window.go",
		old:    "if !bySegments && !byACKs {",
		new:    "if !bySegments && !byACKs && sender.fresh == 0 {",
		suites: []string{findings},
		focus:  "nothing is found in healthy conversations without delay",
	},
	{
		name:   "a black hole needs no proof that small segments pass",
		file:   "harness/analysis/find_silence.go",
		old:    "if d.timeoutLength < smallest || d.ackedLength == 0 || d.timeoutLength <= d.ackedLength {",
		new:    "if false {",
		suites: []string{findings},
		focus:  "unanswered-data: the path goes dark",
	},
	{
		name:   "a program's late answer is nobody's fault",
		file:   "harness/analysis/find_delay.go",
		old:    "if d != &c.server || t.slow.Count == 0 {",
		new:    "if d != &c.client || t.slow.Count == 0 {",
		suites: []string{findings},
		focus:  "slow-answer",
	},
}
