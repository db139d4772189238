package profiles

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Markdown writes the table that docs/profiles.md has, and the sources below it.
func Markdown(w io.Writer) error {
	var text strings.Builder
	text.WriteString("| name | title | down | up | delay down, up (one way) | round trip | loss, each way | source counts |\n")
	text.WriteString("|---|---|---|---|---|---|---|---|\n")
	for _, p := range profiles {
		fmt.Fprintf(&text, "| `%s` | %s | %s | %s | %v, %v | %v | %s | %s |\n", p.Name, p.Title,
			Rate(p.DownRate), Rate(p.UpRate), p.DownDelay, p.UpDelay, p.RTT(), p.Loss(), p.Counted)
	}
	text.WriteString("\n## Sources\n\n")
	for i := 0; i < len(profiles); {
		names, first := []string{}, profiles[i]
		for ; i < len(profiles) && profiles[i].Source == first.Source && profiles[i].Doubt == first.Doubt; i++ {
			names = append(names, "`"+profiles[i].Name+"`")
		}
		fmt.Fprintf(&text, "- %s: %s.", strings.Join(names, ", "), first.Source)
		if first.Doubt != "" {
			fmt.Fprintf(&text, " **Not verified:** %s.", first.Doubt)
		}
		text.WriteString("\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// Rate writes a rate for people: "1.6 Mbit/s"; "no limit" for 0.
func Rate(bits int64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "Gbit/s"}, {1e6, "Mbit/s"}, {1e3, "kbit/s"}} {
		if float64(bits) >= unit.size {
			return strconv.FormatFloat(float64(bits)/unit.size, 'f', -1, 64) + " " + unit.name
		}
	}
	if bits == 0 {
		return "no limit"
	}
	return strconv.FormatInt(bits, 10) + " bit/s"
}

// Loss writes the loss of both directions, which are the same in all profiles.
func (p Profile) Loss() string {
	if p.DownLoss == nil {
		return "none"
	}
	return strings.TrimPrefix(p.DownLoss.String(), "loss ")
}

// Delay writes the one-way delays: "50ms down, 65ms up", or "50ms each way".
func (p Profile) Delay() string {
	if p.DownDelay == p.UpDelay {
		return p.DownDelay.Round(time.Microsecond).String() + " each way"
	}
	return fmt.Sprintf("%v down, %v up", p.DownDelay, p.UpDelay)
}
