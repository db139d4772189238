package figure

import "time"

// chart is a plot over time.
type chart struct {
	*drawing
	*plane
}

// axes begins a chart whose values are up to high, and draws its axes. How a value is written, unit says.
func (d *drawing) axes(title string, high float64, unit string, legend func(c *chart) []entry) *chart {
	d.begin(d.Format, d.Title)
	c := &chart{d, &plane{on: &d.page}}
	c.up = axis{title: title, high: max(high, 1e-12) * 1.05}
	c.across = axis{low: float64(d.From), high: float64(d.To)}
	c.legend = legend(c)
	c.lay()
	c.number(unit)
	c.grid()
	return c
}

// x and y are where a time and a value are.
func (c *chart) x(at time.Duration) float64 { return c.across.at(float64(at)) }
func (c *chart) y(value float64) float64    { return c.up.at(value) }

// number gives the axes their numbers and units.
func (c *chart) number(unit string) {
	value, name := scaled(c.up.high, unit)
	c.up.ticks = linearTicks(0, c.up.high, value, nice(c.up.high/value/5))
	if name != "" {
		c.up.title += " (" + name + ")"
	}
	second, timeName := time.Second, "s"
	if c.To-c.From < 2*time.Second {
		second, timeName = time.Millisecond, "ms"
	}
	step := nice(float64(c.To-c.From) / float64(second) / max(2, (c.right-c.left)/60))
	c.across.ticks = linearTicks(c.across.low, c.across.high, float64(second), step)
	c.across.title = "time (" + timeName + ")"
}

// scaled is the unit that a value of this size is written in: how much of the value's own that is, and its name.
func scaled(high float64, unit string) (value float64, name string) {
	switch {
	case unit == "s" && high < 1e-3:
		return 1e-6, "µs"
	case unit == "s" && high < 2:
		return 1e-3, "ms"
	case unit == "bit/s" && high >= 2e9:
		return 1e9, "Gbit/s"
	case unit == "bit/s" && high >= 2e6:
		return 1e6, "Mbit/s"
	case unit == "bit/s" && high >= 2e3:
		return 1e3, "kbit/s"
	case unit == "bytes" && high >= 2e6:
		return 1e6, "MB"
	case unit == "bytes" && high >= 2e4:
		return 1e3, "kB"
	}
	return 1, unit
}
