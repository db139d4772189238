package peers

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Step is one thing that a [Script] does with its connection. Make it with [Write], [WriteBytes], [Read], [ReadBytes],
// [ReadSome], [ReadAll], [ReadSlowly], [Sleep], [Await], [CloseWrite], [Close], [Abort], [Set], [Inspect], [Repeat] and [Try].
type Step struct {
	Do string `json:"do"` // "write"; the other fields are those of that step

	Bytes         int64         `json:"bytes,omitempty"`           // write, read: how many
	Data          []byte        `json:"data,omitempty"`            // write, read: or which
	BitsPerSecond int64         `json:"bits_per_second,omitempty"` // read-slowly
	Duration      time.Duration `json:"duration_ns,omitempty"`     // sleep
	Option        string        `json:"option,omitempty"`          // set: "TCP_CORK"
	Value         int           `json:"value,omitempty"`           // set
	Times         int           `json:"times,omitempty"`           // repeat
	Steps         []Step        `json:"steps,omitempty"`           // repeat

	Try bool `json:"try,omitempty"` // its error does not end the script
}

// The steps, by their names in JSON and in results.
const (
	doWrite      = "write"
	doRead       = "read"
	doReadSome   = "read-some"
	doReadAll    = "read-all"
	doReadSlowly = "read-slowly"
	doSleep      = "sleep"
	doAwait      = "await"
	doCloseWrite = "close-write"
	doClose      = "close"
	doAbort      = "abort"
	doSet        = "set"
	doInspect    = "inspect"
	doRepeat     = "repeat"
)

// Steps makes a list of steps.
func Steps(steps ...Step) []Step { return steps }

// Write writes that many bytes, up to 1 GiB, in one write(2), or one for each MiB. It waits until the kernel has
// accepted all. The n-th byte of a connection is n modulo 256.
func Write(bytes int64) Step { return Step{Do: doWrite, Bytes: bytes} }

// WriteBytes writes these bytes, in one write(2), and waits as Write does. All bytes of a script's steps together have to fit
// into the first line to its process: that is about 20 KB.
func WriteBytes(data []byte) Step { return Step{Do: doWrite, Data: data} }

// Read reads exactly that many bytes. It is an error if the other side closes before.
func Read(bytes int64) Step { return Step{Do: doRead, Bytes: bytes} }

// ReadBytes reads exactly these bytes, and nothing behind them. It is an error if others come, at once, and if the other side
// closes before.
func ReadBytes(want []byte) Step { return Step{Do: doRead, Data: want} }

// ReadSome waits until there is data, and calls read(2) once, for up to 256 KiB. After the FIN it reads 0 bytes,
// which is no error.
func ReadSome() Step { return Step{Do: doReadSome} }

// ReadAll reads until the other side closes, in calls that block (see the package's documentation).
func ReadAll() Step { return Step{Do: doReadAll} }

// ReadSlowly reads until the other side closes, 10 ms' worth of bytes every 10 ms (below 800 bit/s, a byte at a time).
// Up to 200,000,000 bit/s.
func ReadSlowly(bitsPerSecond int64) Step {
	return Step{Do: doReadSlowly, BitsPerSecond: bitsPerSecond}
}

// Sleep waits. Sleep(UntilStopped) waits until Peer.Stop, which ends the script.
func Sleep(d time.Duration) Step { return Step{Do: doSleep, Duration: d} }

// Await waits for [Peer.Continue] by the parent.
func Await() Step { return Step{Do: doAwait} }

// CloseWrite sends a FIN: shutdown(2) with SHUT_WR. Reading is still possible.
func CloseWrite() Step { return Step{Do: doCloseWrite} }

// Close calls close(2). Only Sleep and Await can follow.
func Close() Step { return Step{Do: doClose} }

// Abort closes with RST: SO_LINGER on with 0 s, then close(2). Only Sleep and Await can follow.
func Abort() Step { return Step{Do: doAbort} }

// Set sets an option by the kernel's name and in the kernel's unit, as in Set("TCP_CORK", 0), and reads it back. For
// options before connect(2) or listen(2) there is [Socket]. Set("TCP_QUICKACK", 0) before a read makes sure that its
// ACK is delayed.
func Set(option string, value int) Step { return Step{Do: doSet, Option: option, Value: value} }

// Inspect records TCP_INFO in the result.
func Inspect() Step { return Step{Do: doInspect} }

// Repeat runs steps several times. Each run of each step has an entry in the result.
func Repeat(times int, steps ...Step) Step { return Step{Do: doRepeat, Times: times, Steps: steps} }

// Try makes an error of the step a result only: the script continues. With Repeat, it applies to all its steps.
func Try(step Step) Step {
	step.Try = true
	return step
}

// String returns the step as it stands in results: "write 1000", `write "GET /\r\n"`, "set TCP_CORK 0".
func (s Step) String() string {
	switch s.Do {
	case doWrite, doRead:
		if len(s.Data) > 0 {
			return s.Do + " " + quoted(s.Data)
		}
		return fmt.Sprintf("%s %d", s.Do, s.Bytes)
	case doReadSlowly:
		return fmt.Sprintf("%s %d bit/s", s.Do, s.BitsPerSecond)
	case doSleep:
		if s.Duration == UntilStopped {
			return s.Do + " until stopped"
		}
		return fmt.Sprintf("%s %v", s.Do, s.Duration)
	case doSet:
		return fmt.Sprintf("%s %s %d", s.Do, s.Option, s.Value)
	case doRepeat:
		return fmt.Sprintf("%s %d", s.Do, s.Times)
	}
	return s.Do
}

// quoted is the begin of some bytes, as Go writes it.
func quoted(b []byte) string {
	const most = 60
	if len(b) <= most {
		return fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf("%q and %d bytes more", b[:most], len(b)-most)
}

// isShared reports whether a step runs once for several connections, because it concerns none of them.
func (s Step) isShared() bool { return s.Do == doSleep || s.Do == doAwait }

// ends reports whether a step closes the socket.
func (s Step) ends() bool { return s.Do == doClose || s.Do == doAbort }

// The bounds of steps.
const (
	maxWrite    = 1 << 30
	maxSlowRate = 200_000_000 // its 10 ms fit into readSize
	maxDepth    = 8           // of Repeat in Repeat
)

// steps checks a list of steps and returns how many there are with all repetitions, how many of these are Inspect,
// and whether the last closes the socket.
func (c *check) steps(field string, steps []Step, closed bool, depth int) (total, inspects int64, closedAfter bool) {
	if depth > maxDepth {
		c.fail(field, "too deep", fmt.Sprintf("Repeat in Repeat goes %d deep at most", maxDepth))
		return 0, 0, closed
	}
	for i, s := range steps {
		name := fmt.Sprintf("%s[%d]", field, i)
		c.step(name, s)
		if closed && !s.isShared() {
			c.fail(name, s, "the socket is closed by an earlier step; only Sleep and Await can follow")
		}
		if s.Do != doRepeat {
			total++
			if s.Do == doInspect {
				inspects++
			}
			closed = closed || s.ends()
			continue
		}
		n, k, closes := c.steps(name+".Steps", s.Steps, closed, depth+1)
		if closes && !closed && s.Times > 1 {
			c.fail(name, s, "closes the socket the first time; use Script.Connections for several connections")
		}
		total += n * int64(s.Times)
		inspects += k * int64(s.Times)
		closed = closed || closes
		// Whatever is above the bound is too much; so no product of repetitions overflows.
		total, inspects = min(total, MaxOutcomes+1), min(inspects, MaxOutcomes+1)
	}
	return total, inspects, closed
}

// step checks a single step.
func (c *check) step(name string, s Step) {
	within := func(field string, value, least, most int64) {
		if value < least || value > most {
			c.fail(name+"."+field, value, fmt.Sprintf("want %d to %d", least, most))
		}
	}
	rest := s // what is left when the fields of that step are taken away
	rest.Do, rest.Try = "", false
	switch s.Do {
	case doWrite, doRead:
		switch {
		case len(s.Data) == 0:
			within("Bytes", s.Bytes, 1, maxWrite)
		case s.Bytes != 0:
			c.fail(name+".Bytes", s.Bytes, "only one of Bytes and Data can be set")
		}
		rest.Bytes, rest.Data = 0, nil
	case doReadSlowly:
		within("BitsPerSecond", s.BitsPerSecond, 1, maxSlowRate)
		rest.BitsPerSecond = 0
	case doSleep:
		c.duration(name+".Duration", s.Duration)
		rest.Duration = 0
	case doSet:
		if o, ok := optionNamed(s.Option); !ok || !o.later {
			c.fail(name+".Option", fmt.Sprintf("%q", s.Option), "known are "+strings.Join(laterOptions(), ", "))
		} else {
			within("Value", int64(s.Value), int64(o.min), int64(o.max))
			if s.Value == 0 && o.min < 0 {
				c.fail(name+".Value", 0, "is what the kernel would choose, and not to be read back: leave it out, or use another value")
			}
		}
		rest.Option, rest.Value = "", 0
	case doRepeat:
		within("Times", int64(s.Times), 1, MaxOutcomes)
		if len(s.Steps) == 0 {
			c.fail(name+".Steps", "empty", "Repeat needs steps")
		}
		rest.Times, rest.Steps = 0, nil
	default:
		if !slices.Contains([]string{doReadSome, doReadAll, doAwait, doCloseWrite, doClose, doAbort, doInspect}, s.Do) {
			c.fail(name+".Do", fmt.Sprintf("%q", s.Do), "unknown; make steps with Write, Read and so on")
		}
	}
	if !rest.isZero() {
		c.fail(name, s, "has a field that belongs to another step; make steps with Write, Read and so on")
	}
}

func (s Step) isZero() bool {
	return s.Do == "" && s.Bytes == 0 && len(s.Data) == 0 && s.BitsPerSecond == 0 && s.Duration == 0 && s.Option == "" && s.Value == 0 &&
		s.Times == 0 && len(s.Steps) == 0 && !s.Try
}
