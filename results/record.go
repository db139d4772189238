package results

import (
	"encoding/json"
	"time"

	"github.com/tcplab/tcplab/netns/netdev"
)

// SchemaVersion is the version of the record's schema that this package writes, and the only one that it reads.
// It counts for all JSON files of a run, which docs/results.md lists. It rises when a field is removed or changes its
// meaning. A new field does not raise it: readers ignore names that they do not know.
//
// Version 3: all times are whole nanoseconds, and their names end in _ns. Version 4: figures are called metrics.
const SchemaVersion = 4

// FileName is the name of a record inside its scenario's folder.
const FileName = "record.json"

// A Verdict is how a spec ended, in Ginkgo's words.
type Verdict string

// The verdicts. They are what Ginkgo's SpecState prints.
const (
	Passed      Verdict = "passed"
	Failed      Verdict = "failed"
	Skipped     Verdict = "skipped"
	Pending     Verdict = "pending"
	Panicked    Verdict = "panicked"
	TimedOut    Verdict = "timedout"
	Interrupted Verdict = "interrupted"
	Aborted     Verdict = "aborted"
)

// Failed reports whether a spec ran and did not pass.
func (v Verdict) Failed() bool { return v != Passed && v != Skipped && v != Pending }

// The clocks that a scenario can run on.
const (
	ClockVirtual = "virtual" // a guest kernel whose time is counted in executed instructions
	ClockReal    = "real"    // this machine's clock
)

// A Record is what one spec left behind. Its fields are written in this order.
//
// Everything except Host is a function of Inputs when the clock is virtual: two runs of the same inputs must give
// the same bytes. What can differ (wall time, the machine) belongs into Host and nowhere else.
//
// A link end is written as "host/interface", for example "router/eth1", wherever a field is called end (of a middlebox it is
// the host).
type Record struct {
	Schema   int      `json:"schema"`   // SchemaVersion; zero in a record that was never written
	Suite    string   `json:"suite"`    // for example "handshake"
	Scenario string   `json:"scenario"` // the spec's full text
	Labels   []string `json:"labels"`
	Verdict  Verdict  `json:"verdict"`
	Failure  *Failure `json:"failure,omitempty"`
	Reason   string   `json:"reason,omitempty"` // why it was skipped

	// Together are the scenarios that ran in one guest, or in one process, in their order, this one among them: of an Ordered
	// container, where each can build on what those before it have left, or with --share. Empty: it ran alone.
	Together []string `json:"together,omitempty"`

	Kernel   Uname         `json:"kernel"`          // the kernel whose TCP was tested
	Clock    string        `json:"clock"`           // ClockVirtual or ClockReal
	IPv6     bool          `json:"ipv6,omitempty"`  // the Internet protocol of the run, else IPv4
	Seed     uint64        `json:"seed,string"`     // the seed of the scenario's own random choices
	Inputs   Inputs        `json:"inputs,omitzero"` // what else the run depends on
	Duration time.Duration `json:"duration_ns"`     // of the spec, on Clock

	Topology    *Topology     `json:"topology,omitempty"`
	Impairments []Impairment  `json:"impairments"` // in the order in which they were applied
	Peers       []Peer        `json:"peers"`
	Counters    []CounterDiff `json:"counters"`
	Queues      []Queue       `json:"queues"`
	Captures    []Capture     `json:"captures"`
	Metrics     []Metric      `json:"metrics"` // what the scenario is about
	Checks      []Metric      `json:"checks"`  // what it asserts besides, of all that has bounds
	Artefacts   []Artefact    `json:"artefacts"`

	// Busy is how busy the guest's processor was. Nil in real time, where programs of other people keep it busy, too.
	Busy *Busy `json:"busy,omitempty"`

	// LeftOut says what is missing of the evidence because there was too much of it.
	LeftOut []string `json:"left_out,omitempty"`

	// Host is the only part that may differ between two runs of the same seed, and the only one that Compare
	// leaves out.
	Host *HostPart `json:"host,omitempty"`

	dir string // where Read found it, or Write put it
	run string // the name of its run, where Join needed it
}

// Dir returns the folder that Read or Run.Records found the record in, or that Write put it into, and "" for a record that
// is in memory only.
func (r *Record) Dir() string { return r.dir }

// A Failure is why a spec did not pass.
type Failure struct {
	Message  string `json:"message"`
	Location string `json:"location,omitempty"` // file:line
}

// Uname names a kernel by fields of uname(2).
type Uname struct {
	Release string `json:"release"` // for example "6.1.0-40-amd64"
	Version string `json:"version"` // for example "#1 SMP PREEMPT_DYNAMIC Debian 6.1.153-1 (2025-09-20)"
	Machine string `json:"machine"` // for example "x86_64"
}

// Inputs are what a run in virtual time depends on: the same inputs give the same bytes. All are empty in real
// time, where nothing gives the same bytes. Hashes are SHA-256 in lower-case hex.
type Inputs struct {
	QEMUVersion       string `json:"qemu_version,omitempty"`
	QEMUSHA256        string `json:"qemu_sha256,omitempty"` // over its program and firmware
	KernelSHA256      string `json:"kernel_sha256,omitempty"`
	InitramfsSHA256   string `json:"initramfs_sha256,omitempty"`
	CommandLineSHA256 string `json:"command_line_sha256,omitempty"` // of QEMU's arguments
	MIPS              int    `json:"mips,omitempty"`                // how fast the guest was, which the arguments say
	Seed              uint64 `json:"seed,string"`                   // of all that is random in the guest, and of when its program starts
}

// A Topology is the hosts and links of a scenario.
type Topology struct {
	Kind  string `json:"kind"` // "direct", "routed", "dumbbell"; "graph" is any other
	Hosts []Host `json:"hosts"`
	Links []Link `json:"links"`
}

// A Host is a network namespace.
type Host struct {
	Name      string            `json:"name"`
	Addresses []string          `json:"addresses"` // with prefix length: "10.0.0.1/24"
	Sysctls   map[string]string `json:"sysctls"`   // those that were set, by package netns or by the scenario
}

// A Link is a veth pair.
type Link struct {
	Ends [2]string `json:"ends"`
	MTU  int       `json:"mtu"` // bytes

	// Offload is false when every packet in the qdisc is one segment, and true when segmentation offload was
	// left on, so that netem decides on super-packets of up to 64 KB.
	Offload bool `json:"offload"`
}

// An Impairment is one setting of a link end. Asked and Applied are the impairment's own JSON (see Raw); both are
// absent when it was cleared.
type Impairment struct {
	At        time.Duration   `json:"at_ns"` // since the start of the spec, on its clock
	End       string          `json:"end"`
	Direction string          `json:"direction"`         // for example "egress", "client to server"
	Asked     json.RawMessage `json:"asked,omitempty"`   // what the scenario wanted
	Applied   json.RawMessage `json:"applied,omitempty"` // what was read back from the kernel
	Notes     []string        `json:"notes"`             // where the two differ, and why
}

// A Peer is a process in a host. Config and Result are its own JSON.
type Peer struct {
	Name    string          `json:"name"`
	Host    string          `json:"host"`
	Program string          `json:"program"` // "bulk-server", a function's name, or "command"
	Config  json.RawMessage `json:"config,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   string          `json:"error,omitempty"`
}

// A CounterDiff is what a host's kernel counters rose by during the spec, under nstat's names
// ("TcpRetransSegs", "TcpExtTCPTimeouts"). Only what is not zero is recorded. Of a gauge, such as TcpCurrEstab, it is
// the value at the end.
type CounterDiff struct {
	Host string           `json:"host"`
	Diff map[string]int64 `json:"diff"`
}

// A Queue is a qdisc's statistics at the end of the spec.
type Queue struct {
	End  string `json:"end"`
	Kind string `json:"kind"` // "netem", "tbf", "fq_codel", "police", ...; of a bottleneck the token bucket comes first, then what waits in it
	netdev.Stats
	Own map[string]uint64 `json:"own,omitempty"` // the kind's own counters, under the kernel's names: "ecn_mark"
}

// A Capture is a pcapng file and what it holds.
type Capture struct {
	File       string             `json:"file"` // the path of its artefact
	Interfaces []CaptureInterface `json:"interfaces"`
}

// A CaptureInterface is one interface of a capture, in the file's order.
type CaptureInterface struct {
	End     string `json:"end"`
	Packets uint64 `json:"packets"`
	Dropped uint64 `json:"dropped"` // by the capture, for want of room; not by the link
}

// Busy is how busy the processor of a guest was while a scenario's peers ran, in percent. A guest has one processor, of a speed that
// Inputs have, for all hosts and programs of a scenario: where it is busy throughout, metrics are the machine's and not TCP's.
type Busy struct {
	Share float64 `json:"share"` // of all of the scenario
	// Most is of the busiest part of a second or more, between two things that the scenario did: Start, Wait and the like. It
	// is absent if the scenario was shorter.
	Most float64       `json:"most,omitempty"`
	From time.Duration `json:"from_ns,omitempty"` // where that part began, since the start of the spec
	For  time.Duration `json:"for_ns,omitempty"`  // how long it was
	// Allowed is true of a scenario whose metrics are counts, which a slow machine leaves as they are.
	Allowed bool `json:"allowed,omitempty"`
}

// An Artefact is a file in the record's folder.
type Artefact struct {
	Path   string `json:"path"`   // relative to the record, with slashes, never outside its folder
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // lower-case hex
}

// HostPart is what depends on the machine that the run happened on and on the moment.
type HostPart struct {
	Started time.Time     `json:"started,omitzero"` // written in UTC
	Wall    time.Duration `json:"wall_ns"`          // of the spec, with its guest's start: an equal part of what all took that shared the guest
	Kernel  Uname         `json:"kernel,omitzero"`  // of the machine; with a guest, not the kernel that was tested
	CPU     string        `json:"cpu,omitempty"`    // model name
	CPUs    int           `json:"cpus,omitempty"`   // that the run could use
	Memory  uint64        `json:"memory,omitempty"` // bytes
	// Cached says that the files are copies of an earlier run of the same inputs, which passed.
	Cached bool `json:"cached,omitempty"`
	// Artefacts are the files that hold wall times or the like. Compare leaves them out.
	Artefacts []Artefact `json:"artefacts"`
}
