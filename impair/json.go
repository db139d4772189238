package impair

import (
	"encoding/json"
	"fmt"
	"time"
)

// span is a duration in JSON: "20ms".
type span time.Duration

func (s span) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

func (s *span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	*s = span(d)
	return err
}

// netemJSON is the form of Netem in a record. It is a format: names are added,
// never changed.
type netemJSON struct {
	Delay            span         `json:"delay,omitzero"`
	Jitter           span         `json:"jitter,omitzero"`
	DelayCorrelation Percent      `json:"delay_correlation,omitzero"`
	Distribution     Distribution `json:"distribution,omitzero"`
	Loss             *lossJSON    `json:"loss,omitzero"`
	ECN              bool         `json:"ecn,omitzero"`
	Reorder          Reorder      `json:"reorder,omitzero"`
	Duplicate        Duplicate    `json:"duplicate,omitzero"`
	Corrupt          Corrupt      `json:"corrupt,omitzero"`
	Rate             Rate         `json:"rate,omitzero"`
	Limit            int          `json:"limit,omitzero"`
	Slot             Slot         `json:"slot,omitzero"`
	Seed             uint64       `json:"seed,omitzero"`
}

// MarshalJSON writes what is not zero: durations as strings ("20ms"),
// percentages and rates as numbers, the loss with the name of its model.
func (n Netem) MarshalJSON() ([]byte, error) {
	loss, err := lossToJSON(n.Loss)
	if err != nil {
		return nil, err
	}
	return json.Marshal(netemJSON{
		Delay:            span(n.Delay),
		Jitter:           span(n.Jitter),
		DelayCorrelation: n.DelayCorrelation,
		Distribution:     n.Distribution,
		Loss:             loss,
		ECN:              n.ECN,
		Reorder:          n.Reorder,
		Duplicate:        n.Duplicate,
		Corrupt:          n.Corrupt,
		Rate:             n.Rate,
		Limit:            n.Limit,
		Slot:             n.Slot,
		Seed:             n.Seed,
	})
}

// UnmarshalJSON reads what MarshalJSON writes. It does not validate.
func (n *Netem) UnmarshalJSON(data []byte) error {
	var j netemJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	loss, err := j.Loss.loss()
	if err != nil {
		return err
	}
	*n = Netem{
		Delay:            time.Duration(j.Delay),
		Jitter:           time.Duration(j.Jitter),
		DelayCorrelation: j.DelayCorrelation,
		Distribution:     j.Distribution,
		Loss:             loss,
		ECN:              j.ECN,
		Reorder:          j.Reorder,
		Duplicate:        j.Duplicate,
		Corrupt:          j.Corrupt,
		Rate:             j.Rate,
		Limit:            j.Limit,
		Slot:             j.Slot,
		Seed:             j.Seed,
	}
	return nil
}

// lossJSON is any loss model.
type lossJSON struct {
	Model string `json:"model"`

	Percent     Percent `json:"percent,omitzero"`
	Correlation Percent `json:"correlation,omitzero"`

	P         Percent `json:"p,omitzero"`
	R         Percent `json:"r,omitzero"`
	OneMinusH Percent `json:"one_minus_h,omitzero"`
	OneMinusK Percent `json:"one_minus_k,omitzero"`

	P13 Percent `json:"p13,omitzero"`
	P31 Percent `json:"p31,omitzero"`
	P32 Percent `json:"p32,omitzero"`
	P23 Percent `json:"p23,omitzero"`
	P14 Percent `json:"p14,omitzero"`
}

func lossToJSON(loss Loss) (*lossJSON, error) {
	switch l := loss.(type) {
	case nil:
		return nil, nil
	case RandomLoss:
		return &lossJSON{Model: l.lossModel(), Percent: l.Percent, Correlation: l.Correlation}, nil
	case GilbertElliott:
		return &lossJSON{Model: l.lossModel(), P: l.P, R: l.R, OneMinusH: l.OneMinusH, OneMinusK: l.OneMinusK}, nil
	case FourState:
		return &lossJSON{Model: l.lossModel(), P13: l.P13, P31: l.P31, P32: l.P32, P23: l.P23, P14: l.P14}, nil
	}
	return nil, fmt.Errorf("loss model %T: want a value of RandomLoss, GilbertElliott or FourState", loss)
}

func (j *lossJSON) loss() (Loss, error) {
	if j == nil {
		return nil, nil
	}
	switch j.Model {
	case RandomLoss{}.lossModel():
		return RandomLoss{Percent: j.Percent, Correlation: j.Correlation}, nil
	case GilbertElliott{}.lossModel():
		return GilbertElliott{P: j.P, R: j.R, OneMinusH: j.OneMinusH, OneMinusK: j.OneMinusK}, nil
	case FourState{}.lossModel():
		return FourState{P13: j.P13, P31: j.P31, P32: j.P32, P23: j.P23, P14: j.P14}, nil
	}
	return nil, fmt.Errorf("loss model %q: want random, gilbert-elliott or four-state", j.Model)
}

type slotJSON struct {
	MinDelay     span         `json:"min_delay,omitzero"`
	MaxDelay     span         `json:"max_delay,omitzero"`
	Delay        span         `json:"delay,omitzero"`
	Jitter       span         `json:"jitter,omitzero"`
	Distribution Distribution `json:"distribution,omitzero"`
	Packets      int          `json:"packets,omitzero"`
	Bytes        int          `json:"bytes,omitzero"`
}

// MarshalJSON writes what is not zero, durations as strings.
func (s Slot) MarshalJSON() ([]byte, error) {
	return json.Marshal(slotJSON{
		MinDelay:     span(s.MinDelay),
		MaxDelay:     span(s.MaxDelay),
		Delay:        span(s.Delay),
		Jitter:       span(s.Jitter),
		Distribution: s.Distribution,
		Packets:      s.Packets,
		Bytes:        s.Bytes,
	})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (s *Slot) UnmarshalJSON(data []byte) error {
	var j slotJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*s = Slot{
		MinDelay:     time.Duration(j.MinDelay),
		MaxDelay:     time.Duration(j.MaxDelay),
		Delay:        time.Duration(j.Delay),
		Jitter:       time.Duration(j.Jitter),
		Distribution: j.Distribution,
		Packets:      j.Packets,
		Bytes:        j.Bytes,
	}
	return nil
}
