package sweep

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// A Text is a grid as somebody writes it: on a command line, or in a file. Values have commas between them, or are a range: 0.01%..10%/7.
type Text struct {
	Flows     Words        `yaml:"cc"`
	Rate      Words        `yaml:"rate"`
	RTT       Words        `yaml:"rtt"`
	InARow    Words        `yaml:"bottlenecks"`
	Jitter    Words        `yaml:"jitter"`
	Loss      Words        `yaml:"loss"`
	LossBurst Words        `yaml:"loss-burst"`
	Queue     Words        `yaml:"queue"`
	Buffer    Words        `yaml:"buffer"`
	Pacing    Words        `yaml:"pacing"` // on, off
	Sysctls   []SysctlText `yaml:"sysctls"`
	Duration  string       `yaml:"duration"`

	// What is not of the grid.
	Seeds  string `yaml:"seeds"`
	Kernel Words  `yaml:"kernel"`
	Memory int    `yaml:"memory"`
	MIPS   int    `yaml:"mips"`
}

// Words are one text, or a list of them.
type Words []string

// UnmarshalYAML reads either.
func (w *Words) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		*w = Words{node.Value}
		return nil
	}
	var list []string
	if err := node.Decode(&list); err != nil {
		return err
	}
	*w = list
	return nil
}

func (w Words) joined() string { return strings.Join(w, ",") }

// A SysctlText has the settings of all hosts of a cell.
type SysctlText map[string]string

// mostText is more than any grid is written in.
const mostText = 1 << 20

// ReadText reads a file: YAML with the names of the command's options. A name that it does not know is refused with its line.
func ReadText(r io.Reader) (Text, error) {
	data, err := io.ReadAll(io.LimitReader(r, mostText))
	if err != nil {
		return Text{}, err
	}
	var t Text
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&t); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("there is nothing in it")
		}
		return Text{}, inOneLine(err)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Text{}, errors.New("there is more than one document in it")
	}
	return t, nil
}

// inOneLine is without the lines, and the names of Go's types, that the package puts into its errors.
func inOneLine(err error) error {
	text := strings.ReplaceAll(err.Error(), "yaml: unmarshal errors:\n", "")
	text = strings.ReplaceAll(text, " not found in type sweep.Text", " is not known")
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return errors.New(strings.Join(lines, "; "))
}

// Grid is what the text says. Each error begins with the name of what is wrong, after a prefix such as "--".
func (t Text) Grid(prefix string) (g Grid, err error) {
	fail := func(name string, err error) error { return fmt.Errorf("%s%s: %w", prefix, name, err) }
	for _, text := range t.Flows {
		for part := range strings.SplitSeq(text, ",") {
			flows, err := ParseFlows(strings.TrimSpace(part))
			if err != nil {
				return Grid{}, fail("cc", err)
			}
			g.Flows = append(g.Flows, flows)
		}
	}
	for _, needed := range []struct {
		name  string
		words Words
	}{{"cc", t.Flows}, {"rate", t.Rate}, {"rtt", t.RTT}} {
		if len(needed.words) == 0 {
			return Grid{}, fail(needed.name, errors.New("is missing"))
		}
	}
	if g.Rates, err = ParseRates(t.Rate.joined()); err != nil {
		return Grid{}, fail("rate", err)
	}
	if g.RTTs, err = ParseTimes(t.RTT.joined()); err != nil {
		return Grid{}, fail("rtt", err)
	}
	if len(t.InARow) > 0 {
		numbers, err := ParseNumbers(t.InARow.joined())
		if err != nil {
			return Grid{}, fail("bottlenecks", err)
		}
		for _, n := range numbers {
			if n != math.Trunc(n) || n < 1 {
				return Grid{}, fail("bottlenecks", fmt.Errorf("%g: there are 1 and more, in whole numbers", n))
			}
			g.Bottlenecks = append(g.Bottlenecks, int(n))
		}
	}
	if len(t.Jitter) > 0 {
		if g.Jitters, err = ParseTimes(t.Jitter.joined()); err != nil {
			return Grid{}, fail("jitter", err)
		}
	}
	if len(t.Loss) > 0 {
		if g.Losses, err = ParseLosses(t.Loss.joined()); err != nil {
			return Grid{}, fail("loss", err)
		}
	}
	if len(t.LossBurst) > 0 {
		if g.LossBursts, err = ParseNumbers(t.LossBurst.joined()); err != nil {
			return Grid{}, fail("loss-burst", err)
		}
	}
	if g.Queues, err = ParseQueues(t.queues()); err != nil {
		return Grid{}, fail("queue", err)
	}
	// That 1bdp is at least 64 packets.
	if buffer := t.Buffer.joined(); buffer != "" && buffer != "1bdp" {
		if g.Buffers, err = ParseBuffers(buffer); err != nil {
			return Grid{}, fail("buffer", err)
		}
	}
	for _, text := range t.Pacing {
		for word := range strings.SplitSeq(text, ",") {
			switch strings.TrimSpace(word) {
			case "on", "true":
				g.Pacing = append(g.Pacing, true)
			case "off", "false":
				g.Pacing = append(g.Pacing, false)
			default:
				return Grid{}, fail("pacing", fmt.Errorf("%q: want on, off, or both with a comma between them", word))
			}
		}
	}
	for _, set := range t.Sysctls {
		settings := map[string]string{}
		for key, value := range set {
			k, v, err := ParseSysctl(key + "=" + value)
			if err != nil {
				return Grid{}, fail("sysctls "+key, err)
			}
			settings[k] = v
		}
		g.Sysctls = append(g.Sysctls, settings)
	}
	g.Duration = 30 * time.Second
	if t.Duration != "" {
		if g.Duration, err = time.ParseDuration(t.Duration); err != nil {
			return Grid{}, fail("duration", err)
		}
	}
	return g, nil
}

// queues are the disciplines: in a list each, on a command line with commas between them.
func (t Text) queues() []string {
	var all []string
	for _, text := range t.Queue {
		all = append(all, strings.Split(text, ",")...)
	}
	return all
}
