package queue

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/mdlayher/netlink"

	"github.com/tcplab/tcplab/impair/internal/qdisc"
	"github.com/tcplab/tcplab/netns/netdev"
)

// Stats are what a qdisc has counted since it was made.
type Stats struct {
	Kind string `json:"kind"` // "tbf", "fq_codel"
	netdev.Stats

	// Own are the kind's own counters, under the kernel's names (include/uapi/linux/pkt_sched.h): of fq_codel struct tc_fq_codel_qd_stats, with
	// "ecn_mark", "new_flow_count", "drop_overlimit". Of cake they are sums of its tins. Names of times end in their unit where the kernel's do.
	Own map[string]uint64 `json:"own,omitempty"`
}

// marks are the counters of packets that were marked CE. ce_mark and step_marks are of those above a threshold.
var marks = []string{"ecn_mark", "ce_mark", "step_marks", "marked", "ecn_marked_packets"}

// Marks is how many packets were marked CE, for whatever reason.
func (s Stats) Marks() uint64 {
	var sum uint64
	for name, value := range s.Own {
		if slices.Contains(marks, name) {
			sum += value
		}
	}
	return sum
}

// A counter is one of the kernel's structs: its name, "" for one that is passed over (it is signed), and its size in bytes.
type counter struct {
	name string
	size int
}

func counters(size int, names ...string) []counter {
	var all []counter
	for _, name := range names {
		all = append(all, counter{name, size})
	}
	return all
}

// layouts are the structs of TCA_STATS_APP.
var layouts = map[string][]counter{
	"codel": counters(4, "maxpacket", "count", "lastcount", "ldelay", "", "drop_overlimit", "ecn_mark", "dropping", "ce_mark"),
	// The first word says what follows: a qdisc's statistics.
	"fq_codel": counters(4, "", "maxpacket", "drop_overlimit", "ecn_mark", "new_flow_count", "new_flows_len", "old_flows_len", "ce_mark",
		"memory_usage", "drop_overmemory"),
	"fq": slices.Concat(
		counters(8, "gc_flows", "highprio_packets", "tcp_retrans", "throttled", "flows_plimit", "pkts_too_long", "allocation_errors", ""),
		counters(4, "flows", "inactive_flows", "throttled_flows", "unthrottle_latency_ns"),
		counters(8, "ce_mark", "horizon_drops", "horizon_caps", "fastpath_packets")),
	"pie": append(counters(8, "prob"),
		counters(4, "delay", "avg_dq_rate", "dq_rate_estimating", "packets_in", "dropped", "overlimit", "maxq", "ecn_mark")...),
	"red": counters(4, "early", "pdrop", "other", "marked"),
	"dualpi2": counters(4, "prob", "delay_c", "delay_l", "packets_in_c", "packets_in_l", "maxq", "ecn_mark", "step_marks", "", "memory_used",
		"max_memory_used", "memory_limit"),
}

// statsOf adds what the kind counts itself.
func statsOf(q qdisc.Qdisc) (Stats, error) {
	s := Stats{Kind: q.Kind, Stats: q.Stats}
	var err error
	switch layout := layouts[q.Kind]; {
	case q.App == nil:
	case q.Kind == Cake{}.Kind():
		s.Own, err = cakeStats(q.App)
	case layout != nil:
		s.Own = read(layout, q.App)
	}
	return s, err
}

// read is what a struct has. Kernels have added to the ends of theirs: what is not there is not counted.
func read(layout []counter, data []byte) map[string]uint64 {
	own := map[string]uint64{}
	for _, c := range layout {
		if len(data) < c.size {
			break
		}
		value := uint64(binary.NativeEndian.Uint32(data))
		if c.size == 8 {
			value = binary.NativeEndian.Uint64(data)
		}
		if c.name != "" {
			own[c.name] = value
		}
		data = data[c.size:]
	}
	return own
}

// The attributes of cake's statistics.
const (
	attrCakeMemoryLimit = 3
	attrCakeMemoryUsed  = 4
	attrCakeTins        = 10
)

// cakeTin are the counters of a tin, by attribute. Times are of the tin where they are longest.
var cakeTin = map[uint16]string{
	2: "sent_packets", 4: "dropped_packets", 6: "acks_dropped_packets", 8: "ecn_marked_packets",
	15: "way_indirect_hits", 16: "way_misses", 17: "way_collisions", 18: "peak_delay_us", 19: "avg_delay_us", 20: "base_delay_us",
	21: "sparse_flows", 22: "bulk_flows", 23: "unresponsive_flows",
}

// longest are those that are no sums.
var longest = []string{"peak_delay_us", "avg_delay_us", "base_delay_us"}

func cakeStats(data []byte) (map[string]uint64, error) {
	own := map[string]uint64{}
	all, err := attributes(data)
	if err != nil {
		return nil, fmt.Errorf("TCA_STATS_APP of cake: %w", err)
	}
	word := func(name string, data []byte) (err error) {
		var v uint32
		if err = qdisc.Unpack(name, data, &v); err != nil {
			return err
		}
		if slices.Contains(longest, name) {
			own[name] = max(own[name], uint64(v))
		} else {
			own[name] += uint64(v)
		}
		return nil
	}
	for attribute, name := range map[uint16]string{attrCakeMemoryLimit: "memory_limit", attrCakeMemoryUsed: "memory_used"} {
		if data, there := all[attribute]; there {
			if err := word(name, data); err != nil {
				return nil, err
			}
		}
	}
	tins, err := netlink.UnmarshalAttributes(all[attrCakeTins])
	if err != nil {
		return nil, fmt.Errorf("TCA_CAKE_STATS_TIN_STATS: %w", err)
	}
	for _, tin := range tins {
		of, err := attributes(tin.Data)
		if err != nil {
			return nil, fmt.Errorf("TCA_CAKE_STATS_TIN_STATS: %w", err)
		}
		for _, attribute := range slices.Sorted(maps.Keys(cakeTin)) {
			if data, there := of[attribute]; there {
				if err := word(cakeTin[attribute], data); err != nil {
					return nil, err
				}
			}
		}
	}
	return own, nil
}
