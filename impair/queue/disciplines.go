package queue

import (
	"math"
	"time"
)

// Switch is something that a discipline does or does not do. The zero value leaves it as the kernel has it.
type Switch string

// The positions of a Switch.
const (
	On  Switch = "on"
	Off Switch = "off"
)

// DropTail sends in order, and drops what does not fit (pfifo, bfifo). With neither limit it holds as many packets as the device's
// queue is long: 1000 on a veth.
type DropTail struct {
	Packets int `json:"packets,omitempty"` // 1 and more; not with Bytes
	Bytes   int `json:"bytes,omitempty"`   // Ethernet headers included; 1 and more
}

// FQ gives each flow a queue of its own, and sends the packets of a socket at the rate that it paces at (fq, tc-fq(8)). It is the queue for
// senders: put it on the host's own end, without a Bottleneck.
type FQ struct {
	Limit            int           `json:"limit,omitempty"`              // packets in all
	FlowLimit        int           `json:"flow_limit,omitempty"`         // packets of a flow
	Quantum          int           `json:"quantum,omitempty"`            // bytes of a flow in a round
	InitialQuantum   int           `json:"initial_quantum,omitempty"`    // bytes of a new flow
	MaxRate          int64         `json:"max_rate_bit_per_s,omitempty"` // bit/s of a flow, below 34 Gbit/s
	Buckets          int           `json:"buckets,omitempty"`            // of the hash table: a power of two, 1 to 262144
	RefillDelay      time.Duration `json:"refill_delay_ns,omitempty"`    // after which an idle flow has its initial quantum again
	LowRateThreshold int64         `json:"low_rate_bit_per_s,omitempty"` // bit/s, below which each packet is paced
	CEThreshold      time.Duration `json:"ce_threshold_ns,omitempty"`    // a packet that has waited longer is marked CE
	TimerSlack       time.Duration `json:"timer_slack_ns,omitempty"`     // how late a timer may be
	Horizon          time.Duration `json:"horizon_ns,omitempty"`         // up to which a packet may be timed in advance
	HorizonDrop      Switch        `json:"horizon_drop,omitempty"`       // what is timed later is dropped; Off: sent at the horizon
	Pacing           Switch        `json:"pacing,omitempty"`
}

// CoDel drops or marks where the least time that packets wait stays above Target for an Interval (RFC 8289, tc-codel(8)).
type CoDel struct {
	Limit       int           `json:"limit,omitempty"`       // packets; by default 1000
	Target      time.Duration `json:"target_ns,omitempty"`   // by default 5 ms
	Interval    time.Duration `json:"interval_ns,omitempty"` // by default 100 ms
	ECN         Switch        `json:"ecn,omitempty"`         // by default Off
	CEThreshold time.Duration `json:"ce_threshold_ns,omitempty"`
}

// FQCoDel gives each flow a queue of its own with CoDel in it, and serves new and sparse ones first (RFC 8290, tc-fq_codel(8)).
type FQCoDel struct {
	Limit       int           `json:"limit,omitempty"`           // packets in all; by default 10240
	Flows       int           `json:"flows,omitempty"`           // queues, 1 to 65536; by default 1024
	Target      time.Duration `json:"target_ns,omitempty"`       // by default 5 ms
	Interval    time.Duration `json:"interval_ns,omitempty"`     // by default 100 ms
	Quantum     int           `json:"quantum,omitempty"`         // bytes of a flow in a round, 256 to 1048576; by default a frame
	ECN         Switch        `json:"ecn,omitempty"`             // by default On
	CEThreshold time.Duration `json:"ce_threshold_ns,omitempty"` // a packet that has waited longer is marked CE, as DCTCP wants
	MemoryLimit int           `json:"memory_limit,omitempty"`    // bytes; by default 32 MB
	DropBatch   int           `json:"drop_batch,omitempty"`      // packets that are dropped at once where Limit is reached; by default 64
}

// PIE drops or marks at random, by a probability that holds the wait at Target (RFC 8033, tc-pie(8)).
type PIE struct {
	Limit           int           `json:"limit,omitempty"`      // packets; by default 1000
	Target          time.Duration `json:"target_ns,omitempty"`  // by default 15 ms
	TUpdate         time.Duration `json:"tupdate_ns,omitempty"` // how often the probability is computed, in whole ticks; by default 15 ms
	Alpha           int           `json:"alpha,omitempty"`      // 1 to 32, in 1/16 Hz; by default 2
	Beta            int           `json:"beta,omitempty"`       // 1 to 32, in 1/16 Hz; by default 20
	ECN             Switch        `json:"ecn,omitempty"`        // by default Off; packets are marked up to a probability of 10 %
	ByteMode        Switch        `json:"bytemode,omitempty"`
	DQRateEstimator Switch        `json:"dq_rate_estimator,omitempty"` // the wait from the rate of departures, as in the RFC; by default Off: from timestamps
}

// Cake shapes, gives each host and each of its flows their share, and holds the wait low (tc-cake(8)). It is a bottleneck by itself.
type Cake struct {
	BitsPerSecond int64         `json:"rate_bit_per_s,omitempty"` // as [Bottleneck]; 0 is no limit
	RTT           time.Duration `json:"rtt_ns,omitempty"`         // CoDel's interval: 1 µs to 1000 s; by default 100 ms
	Target        time.Duration `json:"target_ns,omitempty"`      // 0: a twentieth of RTT, as tc sets it, and 5 ms without
	Diffserv      string        `json:"diffserv,omitempty"`       // "diffserv3" (default), "diffserv4", "diffserv8", "besteffort", "precedence"
	// Flows is what shares fairly: "flowblind", "srchost", "dsthost", "hosts", "flows", "dual-srchost" (each source host alike, and each of its
	// flows), "dual-dsthost", "triple-isolate" (default).
	Flows     string `json:"flows,omitempty"`
	ACKFilter string `json:"ack_filter,omitempty"` // "no-ack-filter" (default), "ack-filter", "ack-filter-aggressive"
	NAT       Switch `json:"nat,omitempty"`        // hosts as they were before NAT
	Wash      Switch `json:"wash,omitempty"`       // clears DSCP
	Ingress   Switch `json:"ingress,omitempty"`    // what is dropped counts as sent
	SplitGSO  Switch `json:"split_gso,omitempty"`  // by default On
	// Overhead of each packet, in bytes beside the IP packet: -64 to 256. 0 leaves it to the kernel, which counts the Ethernet header.
	Overhead int    `json:"overhead,omitempty"`
	MPU      int    `json:"mpu,omitempty"` // the least size that a packet counts with, up to 256 bytes
	ATM      string `json:"atm,omitempty"` // cells: "noatm" (default), "atm", "ptm"
	Memory   int    `json:"memory_bytes,omitempty"`
}

// DualPI2 has a queue for L4S, which marks early, beside one for others, coupled so that both get the same (RFC 9332). Linux has it since
// 6.17.
type DualPI2 struct {
	Limit             int           `json:"limit,omitempty"` // packets; by default 10000
	MemoryLimit       int           `json:"memory_limit,omitempty"`
	Target            time.Duration `json:"target_ns,omitempty"`          // of the classic queue; by default 15 ms
	TUpdate           time.Duration `json:"tupdate_ns,omitempty"`         // by default 16 ms
	Alpha             float64       `json:"alpha_hz,omitempty"`           // in steps of 1/256 Hz; by default 0.16
	Beta              float64       `json:"beta_hz,omitempty"`            // likewise; by default 3.2
	StepThreshold     time.Duration `json:"step_threshold_ns,omitempty"`  // L4S packets that have waited longer are marked; by default 1 ms
	StepPackets       int           `json:"step_packets,omitempty"`       // likewise in packets; not with StepThreshold
	MinQueueStep      int           `json:"min_qlen_step,omitempty"`      // packets that the L4S queue has at least where it marks
	Coupling          int           `json:"coupling_factor,omitempty"`    // 1 to 255; by default 2
	DropOverload      Switch        `json:"drop_on_overload,omitempty"`   // by default On; Off: it overflows
	DropEnqueue       Switch        `json:"drop_enqueue,omitempty"`       // by default Off: drops at the head
	ClassicProtection int           `json:"classic_protection,omitempty"` // percent of the rate, 1 to 100; by default 10
	AnyECT            Switch        `json:"any_ect,omitempty"`            // On: ECT(0) goes into the L4S queue, too
	SplitGSO          Switch        `json:"split_gso,omitempty"`          // by default On
}

const (
	maxInt       = math.MaxInt32
	maxMicros    = math.MaxUint32 * time.Microsecond
	maxCoDel     = time.Hour // far beyond: the kernel counts in 1.024 µs, in 32 bits
	maxPIETarget = time.Second
	// fqRateMost is what 32 bits hold, the greatest of which means no limit.
	fqRateMost = (math.MaxUint32 - 1) * 8
)

func (q *FQ) options() []option {
	return []option{
		{"Limit", "limit", 1, number(&q.Limit, 1, maxInt, "packets")},
		{"FlowLimit", "flow_limit", 2, number(&q.FlowLimit, 1, maxInt, "packets")},
		{"Quantum", "quantum", 3, number(&q.Quantum, 1, 1<<20, "bytes")},
		{"InitialQuantum", "initial_quantum", 4, number(&q.InitialQuantum, 1, maxInt, "bytes")},
		{"MaxRate", "maxrate", 7, rate(&q.MaxRate, 4, fqRateMost)},
		{"Buckets", "buckets", 8, power(&q.Buckets, 18)},
		{"RefillDelay", "refill_delay", 9, jiffies(&q.RefillDelay, time.Minute)},
		{"LowRateThreshold", "low_rate_threshold", 11, rate(&q.LowRateThreshold, 4, fqRateMost)},
		{"CEThreshold", "ce_threshold", 12, micros(&q.CEThreshold, maxMicros-time.Microsecond)},
		{"TimerSlack", "timer_slack", 13, nanos(&q.TimerSlack, time.Second)},
		{"Horizon", "horizon", 14, micros(&q.Horizon, maxMicros)},
		{"HorizonDrop", "horizon_drop|horizon_cap", 15, toggle(&q.HorizonDrop, 1)},
		{"Pacing", "pacing|nopacing", 5, toggle(&q.Pacing, 4)},
	}
}

func (q *CoDel) options() []option {
	return []option{
		{"Limit", "limit", 2, number(&q.Limit, 1, maxInt, "packets")},
		{"Target", "target", 1, codelTime(&q.Target)},
		{"Interval", "interval", 3, codelTime(&q.Interval)},
		{"ECN", "ecn|noecn", 4, toggle(&q.ECN, 4)},
		{"CEThreshold", "ce_threshold", 5, codelTime(&q.CEThreshold)},
	}
}

func (q *FQCoDel) options() []option {
	return []option{
		{"Limit", "limit", 2, number(&q.Limit, 1, maxInt, "packets")},
		{"Flows", "flows", 5, number(&q.Flows, 1, 65536, "queues")},
		{"Target", "target", 1, codelTime(&q.Target)},
		{"Interval", "interval", 3, codelTime(&q.Interval)},
		{"Quantum", "quantum", 6, number(&q.Quantum, 256, 1<<20, "bytes")},
		{"ECN", "ecn|noecn", 4, toggle(&q.ECN, 4)},
		{"CEThreshold", "ce_threshold", 7, codelTime(&q.CEThreshold)},
		{"MemoryLimit", "memory_limit", 9, number(&q.MemoryLimit, 1, maxInt, "bytes")},
		{"DropBatch", "drop_batch", 8, number(&q.DropBatch, 1, maxInt, "packets")},
	}
}

func (q *PIE) options() []option {
	return []option{
		{"Limit", "limit", 2, number(&q.Limit, 1, maxInt, "packets")},
		{"Target", "target", 1, ticks(&q.Target, maxPIETarget)},
		{"TUpdate", "tupdate", 3, jiffies(&q.TUpdate, time.Second)},
		{"Alpha", "alpha", 4, number(&q.Alpha, 1, 32, "(1/16 Hz)")},
		{"Beta", "beta", 5, number(&q.Beta, 1, 32, "(1/16 Hz)")},
		{"ECN", "ecn|noecn", 6, toggle(&q.ECN, 4)},
		{"ByteMode", "bytemode|nobytemode", 7, toggle(&q.ByteMode, 4)},
		{"DQRateEstimator", "dq_rate_estimator|no_dq_rate_estimator", 8, toggle(&q.DQRateEstimator, 4)},
	}
}

func (q *Cake) options() []option {
	return []option{
		{"BitsPerSecond", "bandwidth", 2, rate(&q.BitsPerSecond, 8, maxRate)},
		{"RTT", "rtt", 7, micros(&q.RTT, 1000*time.Second)},
		{"Target", "target", 8, micros(&q.Target, 1000*time.Second)},
		{"Diffserv", "", 3, word(&q.Diffserv, "diffserv3", "diffserv4", "diffserv8", "besteffort", "precedence")},
		{"Flows", "", 5, word(&q.Flows,
			"flowblind", "srchost", "dsthost", "hosts", "flows", "dual-srchost", "dual-dsthost", "triple-isolate")},
		{"ACKFilter", "", 16, word(&q.ACKFilter, "no-ack-filter", "ack-filter", "ack-filter-aggressive")},
		{"NAT", "nat|nonat", 11, toggle(&q.NAT, 4)},
		{"Wash", "wash|nowash", 13, toggle(&q.Wash, 4)},
		{"Ingress", "ingress|egress", 15, toggle(&q.Ingress, 4)},
		{"SplitGSO", "split-gso|no-split-gso", 17, toggle(&q.SplitGSO, 4)},
		{"Overhead", "overhead", 6, signed(&q.Overhead, -64, 256, "bytes")},
		{"MPU", "mpu", 14, number(&q.MPU, 1, 256, "bytes")},
		{"ATM", "", 4, word(&q.ATM, "noatm", "atm", "ptm")},
		{"Memory", "memlimit", 10, number(&q.Memory, 1, maxInt, "bytes")},
	}
}

func (q *DualPI2) options() []option {
	return []option{
		{"Limit", "limit", 1, number(&q.Limit, 1, maxInt, "packets")},
		{"MemoryLimit", "memlimit", 2, number(&q.MemoryLimit, 1, maxInt, "bytes")},
		{"Target", "target", 3, micros(&q.Target, 4*time.Second)},
		{"TUpdate", "tupdate", 4, micros(&q.TUpdate, 4*time.Second)},
		{"Alpha", "alpha", 5, hertz(&q.Alpha)},
		{"Beta", "beta", 6, hertz(&q.Beta)},
		{"StepThreshold", "step_thresh", 8, micros(&q.StepThreshold, 4*time.Second)},
		{"StepPackets", "step_thresh", 7, number(&q.StepPackets, 1, maxInt, "packets")},
		{"MinQueueStep", "min_qlen_step", 9, number(&q.MinQueueStep, 1, maxInt, "packets")},
		{"Coupling", "coupling_factor", 10, small(number(&q.Coupling, 1, 255, ""))},
		{"DropOverload", "drop_on_overload|overflow", 11, toggle(&q.DropOverload, 1)},
		{"DropEnqueue", "drop_enqueue|drop_dequeue", 12, toggle(&q.DropEnqueue, 1)},
		{"ClassicProtection", "classic_protection", 13, small(number(&q.ClassicProtection, 1, 100, "percent"))},
		{"AnyECT", "any_ect|l4s_ect", 14, ectMask(&q.AnyECT)},
		{"SplitGSO", "split_gso|no_split_gso", 15, toggle(&q.SplitGSO, 1)},
	}
}
