package analysis

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// MarkFrames counts frames by mark: index i belongs to Mark 1<<i. In JSON it is an
// object by Wireshark's names, of those that occur.
type MarkFrames [len(markNames)]Frames

// MarshalJSON writes the marks that occur.
func (m MarkFrames) MarshalJSON() ([]byte, error) { return marshalNamed(markNames[:], m[:]) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (m *MarkFrames) UnmarshalJSON(b []byte) error {
	*m = MarkFrames{}
	return unmarshalNamed(b, markNames[:], m[:])
}

// CauseFrames counts frames by [Cause]. In JSON it is an object by the names syn, fast,
// tlp, rto, recovery, spurious, fast_open, path_mtu and unknown, of those that occur.
type CauseFrames [causes]Frames

// MarshalJSON writes the causes that occur.
func (c CauseFrames) MarshalJSON() ([]byte, error) { return marshalNamed(causeKeys(), c[:]) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (c *CauseFrames) UnmarshalJSON(b []byte) error {
	*c = CauseFrames{}
	return unmarshalNamed(b, causeKeys(), c[:])
}

func causeKeys() []string {
	keys := make([]string, causes)
	for i, n := range causeNames {
		keys[i] = n.key
	}
	return keys
}

// marshalNamed writes what is not zero, in the order of the names.
func marshalNamed(names []string, all []Frames) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range all {
		if f.Count == 0 {
			continue
		}
		value, err := json.Marshal(f)
		if err != nil {
			return nil, err
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%s", names[i], value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// unmarshalNamed passes over names that it does not know, as encoding/json does.
func unmarshalNamed(b []byte, names []string, all []Frames) error {
	var values map[string]Frames
	if err := json.Unmarshal(b, &values); err != nil {
		return err
	}
	for i, name := range names {
		all[i] = values[name]
	}
	return nil
}

// MarshalJSON writes a list of names, such as ["SYN","SYN-ACK","ACK"].
func (c Completeness) MarshalJSON() ([]byte, error) {
	return json.Marshal(append([]string{}, c.names()...))
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (c *Completeness) UnmarshalJSON(b []byte) error {
	var names []string
	if err := json.Unmarshal(b, &names); err != nil {
		return err
	}
	*c = 0
	for _, name := range names {
		i := slices.Index(completenessNames[:], name)
		if i < 0 {
			return fmt.Errorf("completeness: unknown part %q", name)
		}
		*c |= 1 << i
	}
	return nil
}

// optionsJSON is how options look in JSON: what is absent is left out. SACK blocks and
// the values of timestamps and AccECN are not part of it.
type optionsJSON struct {
	MSS           uint16 `json:"mss,omitempty"`
	WindowScale   *uint8 `json:"window_scale,omitempty"`
	SACKPermitted bool   `json:"sack_permitted,omitempty"`
	Timestamps    bool   `json:"timestamps,omitempty"`
	AccECN        bool   `json:"accecn,omitempty"`
	Incomplete    bool   `json:"incomplete,omitempty"`
}

// MarshalJSON writes which options there are: mss in bytes, window_scale as a shift
// count, sack_permitted, timestamps, accecn and incomplete.
func (o Options) MarshalJSON() ([]byte, error) {
	j := optionsJSON{o.MSS, nil, o.SACKPermitted, o.HasTimestamps, o.HasAccECN, o.Incomplete}
	if o.HasWindowScale {
		j.WindowScale = &o.WindowScale
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (o *Options) UnmarshalJSON(b []byte) error {
	var j optionsJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*o = Options{MSS: j.MSS, SACKPermitted: j.SACKPermitted, HasTimestamps: j.Timestamps, HasAccECN: j.AccECN, Incomplete: j.Incomplete}
	if j.WindowScale != nil {
		o.HasWindowScale, o.WindowScale = true, *j.WindowScale
	}
	return nil
}
