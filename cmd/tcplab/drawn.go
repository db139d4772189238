package main

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/internal/picture"
	"github.com/tcplab/tcplab/internal/show"
	"github.com/tcplab/tcplab/internal/text"
	"github.com/tcplab/tcplab/results"
)

// drawn is what analyze draws, or lists over time, of conversations instead of telling of them.
type drawn struct {
	ladder, plot bool
	around       int    // a frame to show the ladder around; 0: from its beginning
	series       string // "csv" or "json"
}

func (d drawn) wanted() bool { return d.ladder || d.plot || d.series != "" || d.around != 0 }

// mostDrawn is how many conversations are drawn one below the other.
const mostDrawn = 20

// all reads captures and draws what was chosen of them.
func (d drawn) all(command *cobra.Command, files []string, choice analysis.Choice, all bool) error {
	if d.series != "" && d.series != "csv" && d.series != "json" {
		return fmt.Errorf("--series %s: there are csv and json", d.series)
	}
	if d.around < 0 || d.around > 0 && !d.ladder {
		return fmt.Errorf("--around %d: it is a frame of a --ladder, counted from 1", d.around)
	}
	var pictures []*picture.Picture
	var unread []error
	damaged := false
	for _, file := range files {
		p, err := d.read(command, file)
		if err != nil {
			unread = append(unread, err)
			continue
		}
		for _, c := range p.Captures {
			for _, note := range append(c.Notes, p.Notes...) {
				fmt.Fprintf(command.ErrOrStderr(), "tcplab: %s: %s\n", text.Printable(c.File), text.Printable(note))
			}
			damaged = damaged || c.Damaged
		}
		if err := hasStreams(p, choice.Streams); err != nil {
			return err
		}
		pictures = append(pictures, p)
	}
	var err error
	if d.series != "" {
		err = picture.WriteSeries(command.OutOrStdout(), d.series, rowsOf(pictures, choice))
	} else {
		err = d.draw(command, pictures, choice, all)
	}
	switch {
	case err != nil || len(unread) > 0:
		return errors.Join(append(unread, err)...)
	case damaged:
		return errFailed
	}
	return nil
}

func (d drawn) read(command *cobra.Command, file string) (*picture.Picture, error) {
	reader, err := openCapture(command.InOrStdin(), file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = reader.Close() }() // read only: there is nothing that an error could tell
	defer showProgress(command.Context(), reader, file).Done()
	name := filepath.Base(file)
	if file == standardInput {
		name = "standard input"
	}
	return picture.OfReader(reader, name), nil
}

// hasStreams refuses numbers that a capture has not.
func hasStreams(p *picture.Picture, streams []int) error {
	last := -1
	for i := range p.Connections {
		for _, v := range p.Connections[i].Views {
			last = max(last, v.Summary.Stream)
		}
	}
	for _, n := range streams {
		if n < 0 || n > last {
			return fmt.Errorf("%s has no stream %d: it has %d, numbered from 0", p.Captures[0].File, n, last+1)
		}
	}
	return nil
}

func rowsOf(pictures []*picture.Picture, choice analysis.Choice) iter.Seq[[]picture.SeriesRow] {
	return func(yield func([]picture.SeriesRow) bool) {
		for _, p := range pictures {
			for rows := range p.SeriesRows(choice.Has) {
				if !yield(rows) {
					return
				}
			}
		}
	}
}

func (d drawn) draw(command *cobra.Command, pictures []*picture.Picture, choice analysis.Choice, all bool) error {
	type one struct {
		picture          *picture.Picture
		connection, view int
	}
	var chosen []one
	for _, p := range pictures {
		for k := range p.Connections {
			for v := range p.Connections[k].Views {
				if choice.Has(&p.Connections[k].Views[v].Summary) {
					chosen = append(chosen, one{p, k, v})
				}
			}
		}
	}
	if len(chosen) > mostDrawn && !all {
		return fmt.Errorf("%d conversations are too many to draw: choose some with --stream, --host, --port, --from and --to or --findings, or say --all", len(chosen))
	}
	out := command.OutOrStdout()
	o := show.Options{Columns: columns(80, 200), Around: d.around, All: all, Colour: results.Terminal(os.Stdout).Colour}
	for i, c := range chosen {
		k := &c.picture.Connections[c.connection]
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "%s, stream %d: %v > %v\n", text.Printable(c.picture.Captures[0].File), k.Views[c.view].Summary.Stream, k.Client, k.Server)
		o.Connection, o.View = c.connection, c.view
		if d.plot {
			if err := show.Plots(out, c.picture, o); err != nil {
				return err
			}
		}
		if d.ladder {
			if err := show.Ladder(out, c.picture, o); err != nil {
				return err
			}
		}
	}
	return nil
}
