package screen

import "strings"

// help is one page for a screen of 80x24.
const help = `Keys
  up down pgup pgdn home end   move      enter  open a connection     esc  back
  s  sort by the next order    r  reverse       space  freeze, go on    q  quit
  tab  connections, listeners, counters   + -   longer, shorter interval
  /  filter: pid N, port N, state NAME, sick, an address or prefix, or a part
     of a process's name

Columns
  RTT    smoothed round trip          CWND   congestion window, segments
  FLY    segments in flight           RETR   retransmits since the beginning
  RCVQ   bytes that the program has not read (this side's)
  SNDQ   bytes that are not acknowledged, sent or not
  OUT/s  bytes a second that were acknowledged; IN/s that were received
  AGE    time in the state; > means at least: it was so before the first look

What is sick, the worst first
  backed off      retransmits are not answered, so the timer's time has doubled
  zero window     the peer's program does not read, and data waits here
  retransmitting  in the last 10 to 20 s
  not read        for 10 s this side's program has not read what waits
  CLOSE-WAIT      for 10 s: the peer has closed, this side's program has not
  FIN-WAIT, CLOSING, LAST-ACK  for 10 s: the peer has not closed or answered`

func (m *model) drawHelp(c *canvas) {
	for line := range strings.SplitSeq(help, "\n") {
		c.add(plain, "%s", line)
	}
}
