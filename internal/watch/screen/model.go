package screen

import (
	"regexp"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/tcplab/tcplab/internal/watch"
)

// listed is how many connections a reading lists: more than anybody scrolls through.
const listed = 1000

// mostPoints is how many readings of an opened connection are remembered.
const mostPoints = 600

// A pane is what the lower part of the screen shows.
type pane int

const (
	connections pane = iota
	listeners
	counters
	panes
)

func (p pane) String() string { return [...]string{"connections", "listeners", "counters"}[p] }

// A model is all that is shown. It changes by messages only, in the program's one goroutine.
type model struct {
	reader Reader
	o      Options

	width, height int
	query         watch.Query
	latest        *watch.Reading // that was read
	shown         *watch.Reading // that is drawn: another one while frozen
	err           error          // of the latest reading
	frozen        bool
	reading       bool // one is under way

	pane     pane
	selected uint64 // the cookie of the connection at the cursor
	cursor   int    // in the pane's list
	offset   int    // of the first that is drawn
	help     bool
	typing   bool
	typed    string
	complain string // about what was typed

	open *opened
}

// opened is a connection that is shown alone.
type opened struct {
	cookie uint64
	last   *watch.Opened
	points []watch.Connection // the latest last
	drawn  int                // how many of them: fewer while frozen
	gone   bool
}

func newModel(reader Reader, o Options) *model {
	if o.Interval == 0 {
		o.Interval = time.Second
	}
	m := &model{reader: reader, o: o, query: o.Query}
	m.query.Listed = listed
	return m
}

type (
	readMsg struct {
		reading *watch.Reading
		err     error
	}
	tickMsg struct{}
)

// Init implements tea.Model.
func (m *model) Init() tea.Cmd { return m.read() }

// read reads beside the program's goroutine: on a machine with many sockets keys would wait otherwise.
func (m *model) read() tea.Cmd {
	m.reading = true
	reader, query := m.reader, m.query
	return func() tea.Msg {
		reading, err := reader.Read(query)
		return readMsg{reading, err}
	}
}

// Update implements tea.Model.
func (m *model) Update(message tea.Msg) (tea.Model, tea.Cmd) {
	switch message := message.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = message.Width, message.Height
	case readMsg:
		return m, m.take(message)
	case tickMsg:
		if !m.reading {
			return m, m.read()
		}
	case tea.KeyPressMsg:
		return m, m.key(message)
	}
	return m, nil
}

// take shows what was read, and has the next reading begin an interval after this one began.
func (m *model) take(message readMsg) tea.Cmd {
	m.reading = false
	wait := m.o.Interval
	if m.err = message.err; m.err == nil {
		m.latest = message.reading
		wait = max(0, m.o.Interval-time.Since(m.latest.At))
		if m.open != nil {
			m.open.take(m.latest.Opened)
		}
		if !m.frozen {
			m.show()
		}
	}
	return tea.Tick(wait, func(time.Time) tea.Msg { return tickMsg{} })
}

// show draws the latest from now on. The cursor stays on its connection.
func (m *model) show() {
	if m.latest == nil {
		return
	}
	m.shown = m.latest
	if m.open != nil {
		m.open.drawn = len(m.open.points)
	}
	m.follow()
}

// follow puts the cursor where its connection is now.
func (m *model) follow() {
	if m.pane == connections && m.shown != nil && m.selected != 0 {
		i := slices.IndexFunc(m.shown.Connections, func(c watch.Connection) bool { return c.Cookie == m.selected })
		if i >= 0 {
			m.cursor = i
		}
	}
	m.move(0)
}

// move moves the cursor within the pane's list.
func (m *model) move(by int) {
	m.cursor = max(0, min(m.cursor+by, m.length()-1))
	if by != 0 {
		m.selected = 0
		if m.pane == connections && m.cursor > 0 { // at the top the cursor stays there, whatever comes up
			m.selected = m.shown.Connections[m.cursor].Cookie
		}
	}
}

// length is that of the pane's list.
func (m *model) length() int {
	if m.shown == nil {
		return 0
	}
	return [...]int{connections: len(m.shown.Connections), listeners: len(m.shown.Listeners), counters: len(m.shown.Moved)}[m.pane]
}

func (o *opened) take(now *watch.Opened) {
	if o.gone = now == nil || now.Cookie != o.cookie; o.gone {
		return
	}
	o.last = now
	if len(o.points) == mostPoints {
		o.points = slices.Delete(o.points, 0, 1)
		o.drawn = max(0, o.drawn-1)
	}
	o.points = append(o.points, now.Connection)
}

// key does what a key is for.
func (m *model) key(message tea.KeyPressMsg) tea.Cmd {
	switch message.String() {
	case "ctrl+c":
		return tea.Quit
	case "ctrl+z":
		return tea.Suspend
	}
	if m.typing {
		m.typeKey(message)
		return nil
	}
	page := max(1, m.height/2)
	switch message.String() {
	case "q":
		return tea.Quit
	case "space", "p":
		if m.frozen = !m.frozen; !m.frozen {
			m.show()
		}
	case "?", "h":
		m.help = !m.help
	case "esc", "backspace", "left":
		m.back()
	case "enter", "right":
		m.enter()
	case "tab", "shift+tab":
		step := map[string]pane{"tab": 1, "shift+tab": panes - 1}[message.String()]
		m.pane, m.cursor, m.offset, m.selected = (m.pane+step)%panes, 0, 0, 0
	case "s":
		m.sort(m.query.Order.Next(), false)
	case "r":
		m.sort(m.query.Order, !m.query.Reverse)
	case "/":
		m.typing, m.typed, m.complain = true, m.query.Filter.String(), ""
	case "up", "k":
		m.move(-1)
	case "down", "j":
		m.move(1)
	case "pgup":
		m.move(-page)
	case "pgdown":
		m.move(page)
	case "home", "g":
		m.move(-m.length())
	case "end", "G":
		m.move(m.length())
	case "+":
		m.o.Interval = min(2*m.o.Interval, time.Minute)
	case "-":
		m.o.Interval = max(m.o.Interval/2, MinInterval)
	}
	return nil
}

// MinInterval is the shortest time from one reading to the next.
const MinInterval = 100 * time.Millisecond

// back goes to where one came from: out of help, out of a connection, then out of the filter.
func (m *model) back() {
	switch {
	case m.help:
		m.help = false
	case m.open != nil:
		m.open, m.query.Open = nil, 0
	case m.complain != "":
		m.complain = ""
	default:
		m.query.Filter = m.o.Query.Filter
	}
}

// enter opens the connection at the cursor.
func (m *model) enter() {
	if m.help || m.open != nil || m.pane != connections || m.cursor >= m.length() {
		return
	}
	c := m.shown.Connections[m.cursor]
	m.open = &opened{cookie: c.Cookie}
	m.open.points, m.open.drawn = []watch.Connection{c}, 1
	m.selected, m.query.Open = c.Cookie, c.Cookie
}

// sort sorts what is shown at once. Of more connections than are listed, the next reading has the right ones.
func (m *model) sort(by watch.Order, reverse bool) {
	m.query.Order, m.query.Reverse = by, reverse
	if m.shown != nil {
		by.Sort(m.shown.Connections, reverse)
		m.follow()
	}
}

// typeKey takes a key of the filter.
func (m *model) typeKey(message tea.KeyPressMsg) {
	const longest = 200
	switch key := message.String(); {
	case key == "esc":
		m.typing = false
	case key == "enter":
		filter, err := watch.ParseFilter(m.typed)
		if m.typing = false; err != nil {
			m.complain = err.Error()
			return
		}
		m.query.Filter, m.complain = filter, ""
	case key == "backspace":
		if letters := []rune(m.typed); len(letters) > 0 {
			m.typed = string(letters[:len(letters)-1])
		}
	case key == "ctrl+u":
		m.typed = ""
	case message.Text != "" && len(m.typed) < longest:
		m.typed += message.Text
	}
}

var utf8Locale = regexp.MustCompile(`(?i)utf-?8`)

func isUTF8(locale string) bool { return utf8Locale.MatchString(locale) }

// View implements tea.Model.
func (m *model) View() tea.View {
	view := tea.NewView(m.draw())
	view.AltScreen = true
	return view
}
