package impair

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// path is the object that the field is in, "" for Netem's own, and its name there.
func (f field) path() (object, name string) {
	if object, name, nested := strings.Cut(f.json, "."); nested {
		return object, name
	}
	return "", f.json
}

// MarshalJSON writes what is not zero: durations in nanoseconds ("delay_ns"), percentages as numbers, rates as bits per second,
// the loss with the name of its model. It is a format: names are added, never changed.
func (n Netem) MarshalJSON() ([]byte, error) {
	p := takeApart(n)
	if n.Loss != nil && p.model == noLoss {
		return nil, fmt.Errorf("loss model %T: want a value of RandomLoss, GilbertElliott or FourState", n.Loss)
	}
	text, within := []byte("{"), ""
	member := func(name string) {
		if text[len(text)-1] != '{' {
			text = append(text, ',')
		}
		text = append(strconv.AppendQuote(text, name), ':')
	}
	for _, f := range fields {
		if f.isZero(&p) {
			continue
		}
		object, name := f.path()
		if object != within {
			if within != "" {
				text = append(text, '}')
			}
			if object != "" {
				member(object)
				text = append(text, '{')
			}
			within = object
		}
		value, err := json.Marshal(f.at(&p))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		member(name)
		text = append(text, value...)
	}
	if within != "" {
		text = append(text, '}')
	}
	return append(text, '}'), nil
}

// UnmarshalJSON reads what MarshalJSON writes. It does not validate.
func (n *Netem) UnmarshalJSON(data []byte) error {
	type object map[string]json.RawMessage
	var netem object
	if err := json.Unmarshal(data, &netem); err != nil {
		return err
	}
	objects := map[string]object{"": netem}
	var p parts
	for _, f := range fields {
		in, name := f.path()
		if _, read := objects[in]; !read && netem[in] != nil {
			var o object
			if err := json.Unmarshal(netem[in], &o); err != nil {
				return fmt.Errorf("%s: %w", in, err)
			}
			objects[in] = o
		}
		if value, ok := objects[in][name]; ok {
			if err := json.Unmarshal(value, f.at(&p)); err != nil {
				return fmt.Errorf("%s: %w", f.json, err)
			}
		}
	}
	if objects["loss"] != nil {
		switch p.model {
		case randomModel, gilbertModel, fourStateModel:
		default:
			return fmt.Errorf("loss model %q: want random, gilbert-elliott or four-state", p.model)
		}
	}
	*n = p.assemble()
	return nil
}
