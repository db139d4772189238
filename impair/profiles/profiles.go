package profiles

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/impair"
)

// A source gives the delay of each direction, or that of both together, which is halved for each.
const (
	countedOneWay    = "one way"
	countedRoundTrip = "round trip"
)

// Profile is a link between a user and the network.
type Profile struct {
	Name  string // "chrome-slow-4g"
	Title string // what its source calls it

	// Rates in bits a second, of the Ethernet frame as netem counts. 0 is no limit.
	DownRate, UpRate int64

	// Delays are one way, whatever the source counts.
	downDelay, upDelay time.Duration

	// Loss of packets, or nil.
	downLoss, upLoss impair.Loss

	// MTU of the link, in bytes. It is a topology's, not netem's.
	mtu int

	Counted string // what the delay of the source is: "one way" or "round trip"
	Source  string // where the figures stand
	Doubt   string // what could not be looked up there, or is our own choice; "" is nothing
}

// RTT is the delay of both directions together.
func (p Profile) RTT() time.Duration { return p.downDelay + p.upDelay }

// Down is what the link does to packets to the user.
func (p Profile) Down() impair.Netem { return p.netem(p.DownRate, p.downDelay, p.downLoss) }

// Up is what the link does to packets from the user.
func (p Profile) Up() impair.Netem { return p.netem(p.UpRate, p.upDelay, p.upLoss) }

// netem is the impairment of one direction. Its limit is the packets in the delay line (netem counts them, too) and a
// queue of one bandwidth-delay product of the RTT: what Reno needs to keep the link full. The queue has at least 64
// packets, more than a burst of 64 KiB, or what the link sends in a second if that is less; and never less than the
// ten packets of an initial window (RFC 6928). Without a rate, package impair sizes it.
func (p Profile) netem(rate int64, delay time.Duration, loss impair.Loss) impair.Netem {
	n := impair.Netem{Delay: delay, Loss: loss, Rate: impair.Rate{BitsPerSecond: rate}}
	if rate == 0 {
		return n
	}
	const header = 14 // Ethernet's, which netem counts
	packets := func(d time.Duration) int {
		return int(math.Ceil(float64(rate) * d.Seconds() / 8 / float64(p.mtu+header)))
	}
	const burst, initialWindow = 64, 10
	least := max(min(burst, packets(time.Second)), initialWindow)
	n.Limit = packets(delay) + max(packets(p.RTT()), least)
	return n
}

// All returns all profiles, in the order of docs/profiles.md.
func All() []Profile { return slices.Clone(profiles) }

// Names returns the names of all profiles, in alphabetical order.
func Names() []string {
	names := make([]string, len(profiles))
	for i, p := range profiles {
		names[i] = p.Name
	}
	slices.Sort(names)
	return names
}

// UnknownError says that there is no profile of that name.
type UnknownError struct {
	Name string
	Near []string // names that may have been meant, the nearest first
}

func (e *UnknownError) Error() string {
	s := fmt.Sprintf("profile %q: there is none of that name", e.Name)
	if len(e.Near) > 0 {
		return s + "; near it are " + strings.Join(e.Near, ", ")
	}
	return s + "; there are " + strings.Join(Names(), ", ")
}

// Get returns the profile of a name, or an [*UnknownError].
func Get(name string) (Profile, error) {
	for _, p := range profiles {
		if p.Name == name {
			return p, nil
		}
	}
	return Profile{}, &UnknownError{Name: name, Near: near(name)}
}

// near returns the names that share a word with one, or differ in a few letters, the nearest first.
func near(name string) []string {
	const most = 4
	name = strings.ToLower(name)
	distances := map[string]int{}
	var found []string
	for _, candidate := range Names() {
		d := distance(name, candidate)
		if d <= max(2, len(candidate)/4) || sharesWord(name, candidate) {
			distances[candidate] = d
			found = append(found, candidate)
		}
	}
	slices.SortStableFunc(found, func(a, b string) int { return cmp.Compare(distances[a], distances[b]) })
	return found[:min(len(found), most)]
}

// sharesWord reports whether two names have a word in common, apart from a source's name.
func sharesWord(a, b string) bool {
	separator := func(r rune) bool { return strings.ContainsRune("-_ ", r) }
	_, kind, _ := strings.Cut(b, "-")
	for word := range strings.FieldsFuncSeq(a, separator) {
		if slices.Contains(strings.FieldsFunc(kind, separator), word) {
			return true
		}
	}
	return false
}

// distance is how many letters have to be put in, left out or changed to make one name of another (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			changed := diagonal
			if a[i] != b[j] {
				changed++
			}
			diagonal = row[j+1]
			row[j+1] = min(changed, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
